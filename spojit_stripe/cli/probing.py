"""What a key may do, found out by harmless reads through the one path to Stripe."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from spojit_stripe.cli.base import Settings
from spojit_stripe.cli.report import json_text, note, warn
from spojit_stripe.cli.show import write_table
from spojit_stripe.errors import AccessError, ServiceError, UnavailableError
from spojit_stripe.values import Done, Failed, JsonObject, JsonValue, Outcome, Position, ToolCall

if TYPE_CHECKING:
    from spojit_stripe.catalog import Catalog, Tool
    from spojit_stripe.session import Session

__all__ = ["probe"]

_FORBIDDEN = 3


class _State(StrEnum):
    WORKS = "works"
    FORBIDDEN = "forbidden"
    FAILED = "failed"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class _Found:
    """What a probe of one tool found. `missing` is the permission that the key lacks."""

    tool: str
    state: _State
    remark: str = ""
    missing: str | None = None

    def to_json(self) -> JsonObject:
        return {
            "tool": self.tool,
            "state": self.state.value,
            "missing_permission": self.missing,
            "remark": self.remark,
        }


def probe(settings: Settings, wanted: tuple[str, ...]) -> int:
    """Try the tools and show what works; 3 where a wanted one does not.

    Raises `InputError` for an unknown tool, and the error of a key that works for nothing.
    """
    with settings.host() as host:
        connection = settings.chosen(host.connections)
        for text in connection.warnings:
            warn(text)
        session = host.session(connection)
        catalog = session.connector.catalog
        tools = [catalog.tool(name) for name in dict.fromkeys(wanted)] or list(catalog)
        if settings.dry_run:
            tried = [tool.name for tool in tools if _reads(tool)]
            note(f"dry run: would try {', '.join(tried) or 'nothing'} on {connection.name!r}; nothing was sent")
            return 0
        host.records  # noqa: B018 # an unusable folder is found before anything is sent
        found = asyncio.run(_probe_all(tools, catalog, session))
    _show(found, connection.name, as_json=settings.json)
    lacking = [one for one in found if one.state in (_State.FORBIDDEN, _State.FAILED)]
    return _FORBIDDEN if wanted and lacking else 0


def _show(found: list[_Found], connection: str, *, as_json: bool) -> None:
    if as_json:
        listed: list[JsonValue] = [one.to_json() for one in found]
        sys.stdout.write(f"{json_text({'connection': connection, 'tools': listed})}\n")
    else:
        rows = [[one.tool, one.state.value, one.missing or "", one.remark] for one in found]
        write_table(sys.stdout, ["tool", "result", "missing permission", "remark"], rows, wrapped=3)
    counts = {state: sum(one.state is state for one in found) for state in _State}
    note(f"connection {connection!r}: " + ", ".join(f"{count} {state}" for state, count in counts.items() if count))


def _reads(tool: Tool) -> bool:
    return tool.binding.method == "GET"


async def _probe_all(tools: list[Tool], catalog: Catalog, session: Session) -> list[_Found]:
    async with session:
        return [await _probe_one(tool, catalog, session) for tool in tools]


async def _probe_one(tool: Tool, catalog: Catalog, session: Session) -> _Found:
    if tool.binding.raw:
        return _Found(tool.name, _State.NOT_TRIED, "each path has a permission of its own")
    if not _reads(tool):
        return _Found(tool.name, _State.NOT_TRIED, "it would write")
    if tool.is_list:
        return _judged(tool, await _read(tool, {"limit": 1}, session))
    # One object is read by the id of any; the permission is that of its list.
    collection = (tool.binding.path or "").rpartition("/")[0]
    source = next((one for one in catalog if one.is_list and one.binding.path == collection), None)
    if source is None or len(tool.path_params) != 1:
        return _Found(tool.name, _State.NOT_TRIED, "it needs an id")
    outcome = await _read(source, {"limit": 1}, session)
    object_id = _first_id(outcome)
    if isinstance(outcome, Done) and object_id is None:
        return _Found(tool.name, _State.NOT_TRIED, "there is no object to read yet")
    if object_id is not None:
        outcome = await _read(tool, {tool.path_params[0]: object_id}, session)
    return _judged(tool, outcome)


async def _read(tool: Tool, params: JsonObject, session: Session) -> Outcome:
    from spojit_stripe.direct import run_tool

    at = Position(run_id="connections-test")
    return await run_tool(ToolCall(tool=tool.name, params=params), at=at, session=session)


def _first_id(outcome: Outcome) -> str | None:
    data = outcome.value.get("data") if isinstance(outcome, Done) else None
    first = data[0] if isinstance(data, list) and data else None
    found = first.get("id") if isinstance(first, dict) else None
    return found if isinstance(found, str) else None


def _judged(tool: Tool, outcome: Outcome) -> _Found:
    """Raises the error where it says that no tool can work: the key, the account, the network."""
    if isinstance(outcome, Done):
        return _Found(tool.name, _State.WORKS)
    if not isinstance(outcome, Failed):
        return _Found(tool.name, _State.NOT_TRIED, "it waits for an approval")
    error = outcome.error
    missing = error.problem.missing_permission if isinstance(error, ServiceError) else None
    if missing is not None:
        return _Found(tool.name, _State.FORBIDDEN, "", missing)
    if isinstance(error, AccessError | UnavailableError) or not isinstance(error, ServiceError):
        raise error
    return _Found(tool.name, _State.FAILED, error.message)
