"""Connections to the service, and what their failures tell of an attempt."""

from __future__ import annotations

import ssl
from functools import cache
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpx2

from spojit_stripe.connection import is_loopback
from spojit_stripe.errors import ConfigurationError
from spojit_stripe.wire.retry import Trouble

__all__ = ["TIMEOUTS", "transport_to", "trouble_of"]

# Stripe's own clients wait 80 seconds; a connection that is not made in 10 is not made later.
TIMEOUTS: Final = {"connect": 10.0, "read": 80.0, "write": 80.0, "pool": 80.0}
# In flight = rate x latency: 100/s at 0.3 s is 30. The library keeps only 20 by default.
_POOL: Final = httpx2.Limits(max_connections=100, max_keepalive_connections=64, keepalive_expiry=30.0)

_UNSENT: Final[dict[type[Exception], str]] = {
    httpx2.ConnectTimeout: f"no connection in {TIMEOUTS['connect']:.0f} seconds",
    httpx2.PoolTimeout: "too many requests at once, no connection became free",
}


def transport_to(origin: httpx2.URL) -> httpx2.AsyncBaseTransport:
    """A transport with kept connections, through the environment's proxy where there is one.

    Raises `ConfigurationError` for a proxy that can't be used.
    """
    here = is_loopback(origin.host)
    # Loading CA certificates costs more than forty requests: not for plain HTTP, and once.
    plain = origin.scheme == "http"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else _shared_tls_context(trust_env=not here)
    found = None if here or proxy_bypass(origin.host) else _proxy_for(origin.scheme)
    try:
        proxy = None if found is None else httpx2.Proxy(found if "://" in found else f"http://{found}")
        return httpx2.AsyncHTTPTransport(verify=context, trust_env=not here, limits=_POOL, proxy=proxy)
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        # The proxy's URL may hold a password, so it is not shown.
        name = f"{origin.scheme.upper()}_PROXY"
        raise ConfigurationError(f"the proxy in {name} or ALL_PROXY can't be used ({type(error).__name__})") from None


def _proxy_for(scheme: str) -> str | None:
    proxies = getproxies()
    return proxies.get(scheme) or proxies.get("all")


@cache
def _shared_tls_context(*, trust_env: bool) -> ssl.SSLContext:
    return httpx2.create_ssl_context(trust_env=trust_env)


def trouble_of(error: Exception) -> Trouble:
    """What an exception of the HTTP library tells about an attempt.

    What is not known to have come before sending counts as sent.
    """
    text = str(error) or type(error).__name__
    if isinstance(error, httpx2.ConnectError):
        fault = _tls_fault(error)
        if fault is not None:
            return Trouble(f"TLS failed ({fault}); check base_url and the CA certificates", False, False, True)
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return Trouble(f"{text}; check base_url", sent=False, retry=False, configuration=True)
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError):
        return Trouble(_UNSENT.get(type(error), text), sent=False)
    if isinstance(error, httpx2.TimeoutException):
        return Trouble(f"no answer in {TIMEOUTS['read']:.0f} seconds", sent=True)
    if isinstance(error, httpx2.DecodingError):
        return Trouble("the answer could not be decompressed", sent=True)
    retry = isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError | OSError)
    return Trouble(f"the connection broke ({text})", sent=True, retry=retry)


def _tls_fault(error: BaseException) -> str | None:
    """What is wrong with TLS itself, where that and not the network is why `error` came."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLWantReadError):
            return None
        if isinstance(seen, ssl.SSLCertVerificationError):
            return getattr(seen, "verify_message", None) or str(seen)
        if isinstance(seen, ssl.SSLError):
            return getattr(seen, "reason", None) or str(seen)
        seen = seen.__cause__ or seen.__context__
    return None
