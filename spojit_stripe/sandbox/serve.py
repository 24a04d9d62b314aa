"""`spojit-stripe sandbox`: serve until told to stop."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from spojit_stripe.sandbox import access
from spojit_stripe.sandbox.app import App
from spojit_stripe.sandbox.clock import Clock
from spojit_stripe.sandbox.context import Settings
from spojit_stripe.sandbox.errors import SandboxError
from spojit_stripe.sandbox.seed import Seed
from spojit_stripe.sandbox.server import Server

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 12_111
SEARCH_LAG = 0.5  # seconds


def serve(
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    state: Path | str | None = None,
    seed: int | str | None = None,
    latency_ms: float = 0.0,
    rate: float | None = None,
) -> None:
    """Serve a sandbox until SIGINT or SIGTERM.

    `state` keeps it in a file; a file that has objects already is not seeded again.
    `rate` limits requests per second of an account. Prints its URL and keys to standard
    output, and to standard error that it is not Stripe. Raises `SandboxError` when it can't start.
    """
    planted = None if seed is None else Seed.checked(seed)
    if latency_ms < 0 or (rate is not None and rate <= 0):
        raise SandboxError("latency is not negative, and a rate is more than zero")
    app = App.open(None if state is None else Path(state), Clock(), Settings(SEARCH_LAG, latency_ms / 1000))
    try:
        app.limits.account = rate
        if planted is not None and app.store.meta("seeded") is None:
            planted.plant(app)
        asyncio.run(_serve(app, host, port))
    finally:
        app.store.close()


async def _serve(app: App, host: str, port: int) -> None:
    server = Server(app)
    url = await server.start(host, port)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, ValueError):
            loop.add_signal_handler(each, stopped.set)
    announce(app, url)
    try:
        await stopped.wait()
    finally:
        await server.stop()


def announce(app: App, url: str) -> None:
    """Say where it is and that it is not Stripe."""
    sys.stderr.write(
        "This is a sandbox on this machine. It is NOT Stripe: no money moves, and its keys open nothing else.\n"
    )
    lines = {
        "url": url,
        "secret key": access.SECRET_KEY,
        "restricted key": access.RESTRICTED_KEY,
        "live secret key": f"{access.LIVE_KEY} (live-shaped, to test guards)",
        "live restricted key": f"{access.LIVE_RESTRICTED_KEY} (live-shaped, to test guards)",
        "account": access.ACCOUNT,
        "api version": app.index.api_version,
    }
    sys.stdout.write("".join(f"{name:<20} {value}\n" for name, value in lines.items()))
    sys.stdout.flush()
