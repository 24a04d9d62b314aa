"""How a call ended, for people and programs: data to a stream, words to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final, Literal, TextIO, TypeAlias, cast

from spojit_stripe.catalog import Tool
from spojit_stripe.cli.columns import cell, columns_of, iso, write_csv
from spojit_stripe.cli.report import json_text, note, warn
from spojit_stripe.errors import ConfigurationError
from spojit_stripe.redact import printable, redact_object
from spojit_stripe.values import Done, JsonObject, JsonValue, Meta, Params, Planned, Preview

__all__ = [
    "Format",
    "Pages",
    "is_list",
    "list_exit_code",
    "planned_json",
    "show_done",
    "show_fields",
    "show_preview",
    "tell_list",
    "tell_meta",
    "write_table",
]

Format: TypeAlias = Literal["table", "json", "ndjson", "csv"]

EXCEPTIONS: Final = 8
_WHY_STOPPED: Final = {
    "error": "stopped by an error",
    "anomaly": "Stripe's pages do not fit together",
    "deadline": "the time was up",
}


def is_list(value: JsonObject) -> bool:
    """Whether a result is the list envelope rather than one object of the service."""
    return isinstance(value.get("data"), list) and "stopped_because" in value


def show_done(stream: TextIO, done: Done, tool: Tool, form: Format | None, *, reveal: bool) -> None:
    """Write a result. Without `form` a list is a table and an object JSON."""
    value = done.value if reveal else redact_object(done.value)
    rows = _rows(value) if is_list(value) else None
    form = form or ("json" if rows is None else "table")
    if form == "json":
        stream.write(f"{json_text(value)}\n")
    elif form == "ndjson":
        _write_lines(stream, rows if rows is not None else [value])
    elif form == "csv":
        write_csv(stream, rows if rows is not None else [value], columns_of(tool))
    elif rows is None:
        fields = [(column.name, cell(value, column)) for column in columns_of(tool)]
        show_fields(stream, [(name, text) for name, text in fields if text])
    else:
        _show_table(stream, rows, tool)


class Pages:
    """A sink that writes a list's pages as they come, as `show_done` would write the whole.

    Once the output takes no more, `fault` says why, and the read ends as any that failed.
    """

    def __init__(self, stream: TextIO, tool: Tool, form: Literal["ndjson", "csv"], *, reveal: bool) -> None:
        self._stream = stream
        self._columns = columns_of(tool)
        self._form: Final = form
        self._reveal = reveal
        self._begun = False
        self.fault: OSError | None = None

    def write(self, objects: Sequence[JsonObject]) -> None:
        """Write the next objects; returns when the output has them."""
        try:
            self._put(objects if self._reveal else [redact_object(row) for row in objects])
        except OSError as error:
            self.fault = error
            raise ConfigurationError(f"the output takes no more: {error.strerror or error}") from None

    def finish(self) -> None:
        """Write what is due even where the list was empty."""
        if not self._begun:
            self._put([])

    def _put(self, rows: Sequence[JsonObject]) -> None:
        if self._form == "csv":
            write_csv(self._stream, rows, self._columns, header=not self._begun)
        else:
            _write_lines(self._stream, rows)
        self._stream.flush()
        self._begun = True


def _write_lines(stream: TextIO, rows: Sequence[JsonObject]) -> None:
    stream.writelines(f"{json_text(row, indent=None)}\n" for row in rows)


def _rows(value: JsonObject) -> list[JsonObject]:
    return cast("list[JsonObject]", value["data"])


def show_fields(stream: TextIO, fields: Sequence[tuple[str, str]]) -> None:
    """Name and value, one pair a line."""
    longest = max((len(name) for name, _ in fields), default=0)
    stream.writelines(f"{name:<{longest}}  {printable(text)}".rstrip() + "\n" for name, text in fields)


def _show_table(stream: TextIO, rows: Sequence[JsonObject], tool: Tool) -> None:
    columns = columns_of(tool)
    money = any(column.format == "minor-units" for column in columns)
    # An amount is shown with its currency, and a column without a value says nothing.
    columns = [
        column
        for column in columns
        if not (money and column.name == "currency")
        and (not rows or any(row.get(column.name) not in (None, "", {}, []) for row in rows))
    ]
    right = frozenset(at for at, column in enumerate(columns) if column.format == "minor-units")
    cells = [[cell(row, column) for column in columns] for row in rows]
    write_table(stream, [column.name for column in columns], cells, right=right)


def write_table(
    stream: TextIO,
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: frozenset[int] = frozenset(),
    wrapped: int | None = None,
) -> None:
    """A table; where the width is known only as many columns as fit, and the rest named."""
    from spojit_stripe.cli.table import render

    width = _width(stream)
    cells = [[printable(one) for one in row] for row in rows]
    text, shown = render(headers, cells, right=right, wrapped=wrapped, width=width)
    stream.write(text)
    if shown < len(headers):
        note(f"not shown for lack of room: {', '.join(headers[shown:])} (a wider window or --json shows them)")


def _width(stream: TextIO) -> int:
    """The width to keep to: what COLUMNS says, else a terminal's; a file or pipe takes any."""
    named = os.environ.get("COLUMNS", "")
    if stream is sys.stdout and named.isascii() and named.isdigit():
        return int(named)
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError):
        return 0


# --- words ------------------------------------------------------------------------------------


def tell_meta(meta: Meta) -> None:
    """What is worth knowing of how an answer came about."""
    for text in meta.warnings:
        warn(text)
    if meta.from_ledger:
        note(f"this call was carried out before (ledger entry {meta.ledger_id}); nothing was sent now")
    elif meta.replayed:
        note("Stripe had carried out this call before and gave its stored answer")


def tell_list(value: JsonObject, tool: Tool, params: Params) -> None:
    """One line on how complete a list is, and how to go on; `params` are those of the call."""
    noun = tool.name.removeprefix("list-").replace("-", " ") if tool.is_list else "objects"
    fetched, scanned, pages = (cast("int", value[name]) for name in ("fetched", "scanned", "pages"))
    parts = [f"{fetched} {noun if fetched != 1 else noun.removesuffix('s')}"]
    if scanned != fetched:
        parts.append(f"{scanned} looked at")
    parts.append(_completeness(value, tool, params))
    parts.append(f"{pages} page{'' if pages == 1 else 's'}")
    parts.append(f"as of {iso(cast('int', value['as_of']))}")
    note(", ".join(parts))


def _completeness(value: JsonObject, tool: Tool, params: Params) -> str:
    if value["complete"] is True:
        return "complete"
    why = str(value["stopped_because"])
    if why == "end":
        return "not complete for certain: found by Stripe's search, which lags writes by up to an hour"
    text = f"not complete ({_WHY_STOPPED[why]})" if why in _WHY_STOPPED else "not complete"
    cursor = value["next_cursor"]
    flag = _cursor_flag(tool, params)
    if cursor is None or flag is None:
        return f"{text}: more with --all"
    return f"{text}: more with {flag}{cursor} or --all"


def _cursor_flag(tool: Tool, params: Params) -> str | None:
    """The flag that takes the cursor of this list, or None where the tool has none."""
    if tool.binding.raw:
        path, inner = str(params.get("path")), params.get("params")
        if path.startswith("/v2/") or path.endswith("/search"):
            return "--param page="
        backwards = isinstance(inner, dict) and "ending_before" in inner
        return f"--param {'ending_before' if backwards else 'starting_after'}="
    if any(one.by == "search" and name in params for name, one in tool.binding.filters.items()):
        return None
    return "--ending-before " if "ending_before" in params else "--starting-after "


def list_exit_code(value: JsonObject) -> int:
    """8 where a list ends early for a reason that nobody asked for."""
    return EXCEPTIONS if value["stopped_because"] in _WHY_STOPPED else 0


def show_preview(stream: TextIO, preview: Preview, *, as_json: bool, run_id: str | None) -> None:
    """A dry run's result."""
    from spojit_stripe.money import format_amount

    shown = redact_object({**preview.to_json(), **({"run_id": run_id} if run_id else {})})
    if as_json:
        stream.write(f"{json_text(shown)}\n")
        return
    amount = preview.amount
    params: JsonValue = shown["params"]
    fields = [
        ("would send", f"{preview.method} {preview.path}"),
        ("parameters", json_text(params, indent=None)),
        ("connection", f"{preview.connection} ({preview.mode}, account {preview.account or 'own'})"),
        ("API version", preview.api_version),
        ("effect", preview.effect.value if preview.effect else "not known"),
        ("amount", format_amount(amount.amount, amount.currency) if amount else ""),
        ("target", preview.target or ""),
        ("key", preview.idempotency_key or ""),
        ("run id", run_id or ""),
        ("decision", f"{preview.decision}: {preview.reason}"),
    ]
    show_fields(stream, [(name, text) for name, text in fields if text])


def planned_json(planned: Planned) -> JsonObject:
    return {"planned": planned.number, "digest": planned.digest, "preview": redact_object(planned.preview.to_json())}
