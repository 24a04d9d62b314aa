"""`connections`: which accounts there are, and what their keys may do."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from spojit_stripe.cli.base import Command, Group, Settings, complete_connections, settings_of
from spojit_stripe.cli.given import from_text
from spojit_stripe.cli.report import json_text, note, warn
from spojit_stripe.cli.show import write_table
from spojit_stripe.errors import ConfigurationError, InputError, SpojitError
from spojit_stripe.values import JsonObject, JsonValue

if TYPE_CHECKING:
    from spojit_stripe.connection import Connection, Connections

__all__ = ["connections"]

_CAP = re.compile(r"(?P<amount>[0-9]+):(?P<currency>[A-Za-z]{3})")
_EXCEPTIONS = 8


@click.group("connections", cls=Group, help="Add, list, test and remove connections.")
def connections() -> None:
    pass


def _load(settings: Settings, *, missing_ok: bool = False) -> Connections:
    from spojit_stripe.connection import Connections

    return Connections.load(settings.connections, missing_ok=missing_ok)


# --- add and remove ---------------------------------------------------------------------------


@connections.command("add", cls=Command, uses=("connections", "json", "dry_run"))
@click.argument("name")
@click.option("--connector", default="stripe", show_default=True, help="The service.")
@click.option(
    "--secret-key",
    required=True,
    metavar="REFERENCE",
    help="Where the key is: '${env:STRIPE_SECRET_KEY}' or '${file:/run/secrets/stripe}'. Quote it for the shell.",
)
@click.option("--mode", type=click.Choice(["test", "live"]), required=True, help="Must be the key's mode.")
@click.option("--api-version", metavar="VERSION", help="Stripe-Version; the catalog's when left out.")
@click.option("--account", metavar="acct_…", help="Connected account to act for.")
@click.option("--base-url", metavar="URL", help="Another server, such as the sandbox's; this machine only.")
@click.option("--allow-host", metavar="HOST", help="Let the key go to this host of --base-url.")
@click.option("--writes", type=click.Choice(["deny", "plan", "ask", "allow"]), help="Policy; deny when left out.")
@click.option("--allow-live", is_flag=True, help="Let writes through in live mode.")
@click.option("--cap-per-call", multiple=True, metavar="AMOUNT:CUR", help="Most per call, in minor units: 50000:usd.")
@click.option("--cap-per-run", multiple=True, metavar="AMOUNT:CUR", help="Most per run.")
@click.option("--cap-per-day", multiple=True, metavar="AMOUNT:CUR", help="Most per day (UTC).")
@click.option("--cap-count", type=click.IntRange(min=0), metavar="N", help="Most money calls per run.")
@click.option("--pin", multiple=True, metavar="NAME=VALUE", help="Fix a parameter, as in currency=usd.")
@click.option("--limit-account", type=float, metavar="N", help="Requests per second over all.")
@click.option("--limit-endpoint", type=float, metavar="N", help="Requests per second per endpoint.")
@click.option("--limit-search", type=float, metavar="N", help="Search requests per second.")
@click.option("--no-stamp-metadata", is_flag=True, help="Do not note the idempotency key in metadata.")
@click.option("--disabled", is_flag=True, help="Add it switched off for writes.")
@click.option("--replace", is_flag=True, help="Replace the connection of this name.")
@click.pass_context
def add(ctx: click.Context, name: str, replace: bool, **given: Any) -> int:
    """Add a connection to the file; the others stay as they are."""
    from spojit_stripe.cli import connections_file as file

    settings = settings_of(ctx)
    entry = _entry_of(given)
    _check(settings, name, entry)
    path = _load(settings, missing_ok=True).path
    if settings.dry_run:
        sys.stdout.write("\n".join(["connections:", *file.block_of(name, _shown(entry), 2), ""]))
        note(f"dry run: {path} was not changed")
        return 0
    with file.locked(path):
        # Read again under the lock: nobody's entry may get lost.
        present = _load(settings, missing_ok=True).names
        if name in present and not replace:
            raise InputError(f"connection {name!r} exists already in {path}; --replace replaces it")
        text, document = file.read(path)
        new, kept = file.edited(text, document, name, entry)
        file.save(path, new)
    if not kept:
        warn(f"{path} was written anew, without its comments")
    note(f"connection {name!r} {'replaced' if name in present else 'added'} in {path}")
    if settings.json:
        sys.stdout.write(f"{json_text({'name': name, **_shown(entry), 'file': str(path)})}\n")
    return 0


def _entry_of(given: dict[str, Any]) -> JsonObject:
    simple = ("connector", "secret_key", "mode", "api_version", "account", "base_url", "allow_host")
    entry: JsonObject = {name: given[name] for name in simple if given[name] is not None}
    caps: JsonObject = {
        which: _caps(which, cast("tuple[str, ...]", given[f"cap_{which}"]))
        for which in ("per_call", "per_run", "per_day")
        if given[f"cap_{which}"]
    }
    if given["cap_count"] is not None:
        caps["count"] = given["cap_count"]
    policy: JsonObject = {}
    if given["writes"]:
        policy["writes"] = given["writes"]
    if given["allow_live"]:
        policy["allow_live"] = True
    if caps:
        policy["caps"] = caps
    if given["pin"]:
        policy["pins"] = _pins(cast("tuple[str, ...]", given["pin"]))
    if policy:
        entry["policy"] = policy
    limits: JsonObject = {
        which: given[f"limit_{which}"] for which in ("account", "endpoint", "search") if given[f"limit_{which}"]
    }
    if limits:
        entry["limits"] = limits
    if given["no_stamp_metadata"]:
        entry["stamp_metadata"] = False
    if given["disabled"]:
        entry["enabled"] = False
    return entry


def _caps(which: str, texts: tuple[str, ...]) -> JsonValue:
    found: list[JsonValue] = []
    for text in texts:
        match = _CAP.fullmatch(text)
        if match is None:
            raise InputError(
                f"--cap-{which.replace('_', '-')}: {text!r} is not AMOUNT:CURRENCY in minor units; "
                "write 50000:usd for 500.00 USD"
            )
        found.append({"amount": int(match["amount"]), "currency": match["currency"].lower()})
    return found[0] if len(found) == 1 else found


def _pins(texts: tuple[str, ...]) -> JsonObject:
    pins: JsonObject = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"--pin: {text!r} is not of the form NAME=VALUE")
        if name in pins:
            raise InputError(f"--pin: {name} is given twice")
        pins[name] = from_text(value, frozenset({"integer", "boolean"}), f"--pin {name}")
    return pins


def _shown(entry: JsonObject) -> JsonObject:
    """The entry as it may be shown: a literal key is not."""
    from spojit_stripe.connection import SecretRef

    return {**entry, "secret_key": str(SecretRef(str(entry["secret_key"])))}


def _check(settings: Settings, name: str, entry: JsonObject) -> None:
    """Refuse at once what could never work; a key that is not at hand yet is only mentioned."""
    from spojit_stripe.connection import Connections
    from spojit_stripe.yamlfile import Document

    document = Document("connections add", {"connections": {name: entry}})
    try:
        connection = Connections(document, Path("connections add")).get(name)
    except ConfigurationError as error:
        raise InputError(error.message) from None
    with settings.host() as host:
        connector = host.connector(connection.connector)
        try:
            secret = host.secret(connection)
        except ConfigurationError as error:
            warn(f"{error.message}; the connection works only once it can be read")
        else:
            connector.check_secret(connection, secret)
    for text in connection.warnings:
        warn(text)


@connections.command("remove", cls=Command, uses=("connections", "json", "dry_run"))
@click.argument("name", shell_complete=complete_connections)
@click.pass_context
def remove(ctx: click.Context, name: str) -> int:
    """Take a connection out of the file; the others stay as they are."""
    from spojit_stripe.cli import connections_file as file
    from spojit_stripe.words import nearest

    settings = settings_of(ctx)
    path = _load(settings).path
    with file.locked(path):
        names = _load(settings).names
        if name not in names:
            have = ", ".join(names) or "none"
            raise ConfigurationError(f"unknown connection {name!r}{nearest(name, names)}; {path} has: {have}")
        if settings.dry_run:
            note(f"dry run: connection {name!r} would be removed from {path}")
            return 0
        text, document = file.read(path)
        new, kept = file.edited(text, document, name, None)
        file.save(path, new)
    if not kept:
        warn(f"{path} was written anew, without its comments")
    note(f"connection {name!r} removed from {path}")
    return 0


# --- list -------------------------------------------------------------------------------------


@connections.command("list", cls=Command, uses=("connections", "json"))
@click.pass_context
def list_(ctx: click.Context) -> int:
    """List the connections; keys are never shown."""
    settings = settings_of(ctx)
    known = _load(settings)
    found: list[Connection] = []
    broken: JsonObject = {}
    for name in known:
        try:
            found.append(known.get(name))
        except SpojitError as error:
            broken[name] = error.message
    if settings.json:
        listed: list[JsonValue] = [_as_json(one) for one in found]
        listed += [{"name": name, "error": text} for name, text in broken.items()]
        sys.stdout.write(f"{json_text(listed)}\n")
    else:
        headers = ["connection", "connector", "mode", "key", "account", "writes", "server"]
        write_table(sys.stdout, headers, [_row(one) for one in found])
    for one in found:
        for text in one.warnings:
            warn(text)
    for text in broken.values():
        note(f"error: {text}")
    note(f"{len(found)} of {len(known.names)} connections in {known.path}")
    return _EXCEPTIONS if broken else 0


def _row(one: Connection) -> list[str]:
    writes = one.policy.writes.value
    if not one.enabled:
        writes += " (switched off)"
    elif one.mode == "live" and not one.policy.allow_live:
        writes += " (not in live mode)"
    key = "in the file itself" if one.secret_key.is_literal else str(one.secret_key)
    return [one.name, one.connector, one.mode, key, one.account or "own", writes, one.base_url or "the service's own"]


def _as_json(one: Connection) -> JsonObject:
    return {
        "name": one.name,
        "connector": one.connector,
        "mode": one.mode,
        "secret_key": str(one.secret_key),
        "account": one.account,
        "api_version": one.api_version,
        "base_url": one.base_url,
        "enabled": one.enabled,
        "policy": one.policy.model_dump(mode="json"),
        "limits": one.limits.model_dump(mode="json"),
    }


# --- test -------------------------------------------------------------------------------------


@connections.command("test", cls=Command, uses=("connections", "connection", "state", "json", "dry_run"))
@click.argument("name", required=False, shell_complete=complete_connections)
@click.option("--tool", "wanted", multiple=True, metavar="TOOL", help="A tool that must work. Repeat it.")
@click.pass_context
def test(ctx: click.Context, name: str | None, wanted: tuple[str, ...]) -> int:
    """Try each tool with a harmless read, and say what the key may do.

    Without --tool it fails only where the key itself does: a restricted key need not have
    the permissions of tools that nobody wants.
    """
    from spojit_stripe.cli.probing import probe

    settings = settings_of(ctx)
    if name is not None:
        settings.connection = name
    return probe(settings, wanted)
