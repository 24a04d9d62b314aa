"""Connections: which account, in which mode, with which key and under which policy.

`connections.yaml` holds references to secrets, not secrets; a reference is resolved at the
wire. What a key must look like is the connector's business.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic import JsonValue as PydanticJson

from spojit_stripe.errors import ConfigurationError
from spojit_stripe.redact import redact_text
from spojit_stripe.values import Mode, Writes
from spojit_stripe.words import nearest
from spojit_stripe.yamlfile import Document, parse

__all__ = ["Cap", "Caps", "Connection", "Connections", "Count", "Limits", "Policy", "SecretRef", "is_loopback"]

_REFERENCE = re.compile(r"\$\{(?P<scheme>[a-z][a-z0-9_-]*):(?P<name>[^}]+)\}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _currency(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{3}", value):
        raise ValueError("a currency is a three-letter code such as usd")
    return value.lower()


Currency = Annotated[str, AfterValidator(_currency)]


class Cap(_Model):
    """At most `amount` minor units of `currency`."""

    amount: int = Field(ge=0)
    currency: Currency


class Count(_Model):
    """At most `count` money calls in `currency`, within a run."""

    count: int = Field(ge=0)
    currency: Currency


def _listed(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(cast("Iterable[object]", value))
    return (value,)


_CapList = Annotated[tuple[Cap, ...], BeforeValidator(_listed)]


def _counts(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else _listed(value)


class Caps(_Model):
    """Caps on money, in minor units of the currency each one names.

    `count` is a number of money calls in a run, over all currencies or by currency.
    As soon as any cap names a currency, a currency that none of them names asks.
    """

    per_call: _CapList = ()
    per_run: _CapList = ()
    per_day: _CapList = ()
    count: Annotated[Annotated[int, Field(ge=0)] | tuple[Count, ...] | None, BeforeValidator(_counts)] = None

    @property
    def currencies(self) -> frozenset[str]:
        named = {cap.currency for cap in (*self.per_call, *self.per_run, *self.per_day)}
        if isinstance(self.count, tuple):
            named |= {count.currency for count in self.count}
        return frozenset(named)


def _writes(value: Any) -> Writes:
    try:
        return Writes(value)
    except ValueError:
        raise ValueError(f"{value!r} is not one of {', '.join(Writes)}") from None


class Policy(_Model):
    """What may be written. The default lets nothing be written."""

    writes: Annotated[Writes, BeforeValidator(_writes)] = Writes.DENY
    caps: Caps | None = None
    pins: dict[str, PydanticJson] = {}
    allow_live: bool = False


class Limits(_Model):
    """Requests per second where the service has raised (or the author wants lower) limits.

    None keeps the documented value: 100/s live and 25/s test for the account, 25/s for an
    endpoint, 20/s over all search endpoints.
    """

    account: float | None = Field(default=None, gt=0, strict=False)
    endpoint: float | None = Field(default=None, gt=0, strict=False)
    search: float | None = Field(default=None, gt=0, strict=False)


class SecretRef:
    """Where a secret is found. Printing it shows the reference, never a literal key."""

    __slots__ = ("_literal", "name", "scheme")

    def __init__(self, text: str) -> None:
        match = _REFERENCE.fullmatch(text.strip())
        self.scheme: Final = match["scheme"] if match else "literal"
        self.name: Final = match["name"].strip() if match else ""
        self._literal: Final = "" if match else text.strip()

    @property
    def is_literal(self) -> bool:
        return self.scheme == "literal"

    def literal(self) -> str:
        """The key that was written into the file instead of a reference."""
        return self._literal

    def __str__(self) -> str:
        return "***" if self.is_literal else f"${{{self.scheme}:{self.name}}}"

    def __repr__(self) -> str:
        return f"SecretRef({self!s})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretRef) and (self.scheme, self.name, self._literal) == (
            other.scheme,
            other.name,
            other._literal,
        )

    def __hash__(self) -> int:
        return hash((self.scheme, self.name, self._literal))


def _secret_ref(value: Any) -> Any:
    if isinstance(value, SecretRef):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError("write a reference such as ${env:STRIPE_SECRET_KEY} or ${file:/run/secrets/stripe}")
    return SecretRef(value)


def is_loopback(host: str) -> bool:
    """Whether a host name is this machine's own, so that a key sent there goes nowhere."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Connection(_Model):
    """One account of one service, as a workflow or a person names it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)

    name: str
    connector: str = "stripe"
    secret_key: Annotated[SecretRef, BeforeValidator(_secret_ref)]
    mode: Mode
    api_version: str | None = Field(default=None, pattern=r"^\d{4}-\d{2}-\d{2}(\.[a-z]+)?$")
    account: str | None = Field(default=None, pattern=r"^acct_[A-Za-z0-9]+$")
    base_url: str | None = None
    allow_host: str | None = None
    policy: Policy = Policy()
    limits: Limits = Limits()
    stamp_metadata: bool = True
    enabled: bool = True

    @model_validator(mode="after")
    def _check_base_url(self) -> Connection:
        if self.base_url is not None:
            _check_base_url(self.base_url, self.allow_host)
        return self

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed but unwise."""
        if self.secret_key.is_literal:
            return (
                f"connection {self.name!r} holds its key in the file itself; "
                "write ${env:STRIPE_SECRET_KEY} or ${file:PATH} instead",
            )
        return ()


def _check_base_url(base_url: str, allow_host: str | None) -> None:
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    plain = not any(character in base_url for character in "?#@\\") and base_url.isascii() and base_url.isprintable()
    if parts.scheme not in ("http", "https") or not host or not plain or " " in base_url:
        raise ValueError("write http://127.0.0.1:PORT or https://HOST")
    try:
        _ = parts.port
    except ValueError as error:
        raise ValueError(str(error)) from None
    if parts.path not in ("", "/"):
        raise ValueError("must not have a path")
    if is_loopback(host):
        return
    if host != allow_host:
        plain = "" if parts.scheme == "https" else "write https:// and "
        raise ValueError(
            f"{host} is not this machine, and the key would go there; if that is meant, {plain}add allow_host: {host} "
            f"(with `connections add`: --allow-host {host})"
        )
    if parts.scheme != "https":
        raise ValueError(f"{host} is not this machine, so it needs https")


def _default_file() -> Path:
    from platformdirs import user_config_path

    return user_config_path("spojit-stripe") / "connections.yaml"


class Connections:
    """The connections of one file, each checked when it is asked for.

    One broken connection does not stop the others from working.
    """

    def __init__(self, document: Document, path: Path) -> None:
        self._document = document
        self.path = path
        data = document.data
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise ConfigurationError(f"{document.where(())}: expected a mapping with the key 'connections'")
        unknown = next((key for key in data if key != "connections"), None)
        if unknown is not None:
            raise ConfigurationError(f"{document.where((unknown,))}: unknown key {unknown!r}; expected 'connections'")
        entries = data.get("connections") or {}
        if not isinstance(entries, dict):
            raise ConfigurationError(f"{document.where(('connections',))}: expected a mapping of names to connections")
        self._entries = entries

    @classmethod
    def load(cls, path: Path | None = None, *, missing_ok: bool = False) -> Connections:
        """Read `path`, else the file that `SPOJIT_CONNECTIONS` names, else the user's config folder.

        Raises `ConfigurationError` for a missing, unreadable or broken file.
        """
        found = path or Path(os.environ.get("SPOJIT_CONNECTIONS") or _default_file())
        try:
            text = found.read_text(encoding="utf-8")
        except FileNotFoundError:
            if missing_ok:
                return cls(Document(str(found), None), found)
            raise ConfigurationError(
                f"no connections file at {found}; make one with `spojit-stripe connections add`, "
                "or name it with --connections or SPOJIT_CONNECTIONS"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"can't read the connections file {found}: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"can't read the connections file {found}: {error}") from None
        return cls(parse(text, str(found)), found)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def get(self, name: str) -> Connection:
        """The connection `name`, checked.

        Raises `ConfigurationError`: unknown name (nearest ones named), or a fault with its
        line and column.
        """
        if name not in self._entries:
            have = ", ".join(self.names) or "none"
            raise ConfigurationError(f"unknown connection {name!r}{nearest(name, self.names)}; {self.path} has: {have}")
        entry = self._entries[name]
        if not _NAME.fullmatch(name):
            raise self._fault(name, (), "a name is 1 to 63 letters, digits, dots, dashes or underscores")
        if not isinstance(entry, dict):
            raise self._fault(name, (), "expected a mapping with connector, secret_key and mode")
        if "name" in entry:
            raise self._fault(name, ("name",), "unknown key; the key above is its name")
        try:
            return Connection.model_validate({**entry, "name": name})
        except ValidationError as error:
            first = error.errors()[0]
            # Only base_url is checked together with another key, so its fault has no place.
            raise self._fault(name, first["loc"] or ("base_url",), _explain(first)) from None

    def _fault(self, name: str, loc: tuple[str | int, ...], what: str) -> ConfigurationError:
        path: tuple[str | int, ...] = ("connections", name)
        words: list[str] = []
        for part in loc:  # pydantic's, with parts of its own: the branch of a union, the index of a wrapped value
            known = (*path, part) in self._document.positions
            path = (*path, part) if known else path
            if isinstance(part, str) and (known or part.isidentifier()):
                words.append(part)
        field = f", {'.'.join(words)}" if words else ""
        return ConfigurationError(f"{self._document.where(path)}: connection {name!r}{field}: {what}")


_KEYS = {
    name for model in (Connection, Policy, Caps, Cap, Count, Limits) for name in model.model_fields if name != "name"
}


def _explain(error: Any) -> str:
    """One pydantic error in words, without the input where it could be a key."""
    kind: str = error["type"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return f"unknown key{nearest(str(error['loc'][-1]), _KEYS)}"
    if kind == "model_type":
        return redact_text(f"expected a mapping, got {error['input']!r}")
    if kind == "literal_error":
        return f"{error['input']!r} is not one of {error['ctx']['expected']}"
    if kind == "value_error":
        return redact_text(str(error["ctx"]["error"]))
    return redact_text(f"{error['msg'][:1].lower()}{error['msg'][1:]}, got {error['input']!r}")
