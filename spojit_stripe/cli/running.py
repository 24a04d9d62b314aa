"""A run in the foreground: what it does as it does it, how it ended, and what to do next."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO, cast

from spojit_stripe.cli.columns import iso
from spojit_stripe.cli.report import data_line, json_text, note, report_error, warn
from spojit_stripe.errors import ServiceError, error_from_record
from spojit_stripe.redact import printable

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from spojit_stripe.engine import Embedded
    from spojit_stripe.host import Host
    from spojit_stripe.records import Entry, NodeNote, Run
    from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["conducted", "engine_of", "tell_outcome", "told_of", "watched", "write_value"]

WAITING: Final = 5
CANCELLED: Final = 4
EXCEPTIONS: Final = 8
INTERRUPTED: Final = 130

_MOST_ITEMS: Final = 20
_MOST_INSIDE: Final = 6
_MARKS: Final = {
    "running": "…",
    "waiting": "?",
    "done": "✓",
    "skipped": "-",
    "continued": "!",
    "failed": "✗",
    "unknown": "✗",
}
_COLOURS: Final = {"done": "green", "failed": "red", "unknown": "red", "continued": "yellow", "waiting": "yellow"}


def engine_of(host: Host, listener: object | None = None) -> Embedded:
    """The runs of the chosen state folder. Raises `ConfigurationError` where the engine is not installed."""
    from spojit_stripe.errors import ConfigurationError

    try:
        from spojit_stripe.engine import Embedded, Listener
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"workflows need the package {error.name!r}: pip install 'spojit_stripe[engine,data]'"
        ) from None
    return Embedded(host, cast("Listener | None", listener))


# What is seen while it runs


def told_of(note_: NodeNote) -> str:
    """What a node did, in a few words: time, objects, pages, what it made or why it failed."""
    facts = note_.facts
    parts: list[str] = []
    if note_.started is not None and note_.finished is not None:
        parts.append(seconds(note_.finished - note_.started))
    for name, words in (("items", "items"), ("fetched", "objects"), ("pages", "pages")):
        if isinstance(facts.get(name), int):
            number = cast("int", facts[name])
            parts.append(f"{number:,} {words if number != 1 else words.removesuffix('s')}")
    if facts.get("complete") is False:
        parts.append("not complete")
    if isinstance(facts.get("calls"), int) and "pages" not in facts:
        parts.append(f"{facts['calls']} call{'' if facts['calls'] == 1 else 's'}")
    if facts.get("cost_usd"):
        parts.append(f"{facts['cost_usd']} USD of model")
    parts += [str(facts[name]) for name in ("object", "branch", "error", "note") if facts.get(name)]
    if facts.get("ledger"):
        parts.append(f"ledger {facts['ledger']}")
    return ", ".join(parts)


def seconds(number: float) -> str:
    """`0.4 s`, `3 min 20 s`, `2 d 4 h`."""
    if number < 60:
        return f"{number:.1f} s"
    whole = int(number)
    units = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
    first = next(at for at, (size, _) in enumerate(units) if whole >= size)
    parts = [(whole // units[first][0], units[first][1])]
    if first + 1 < len(units):
        parts.append((whole % units[first][0] // units[first + 1][0], units[first + 1][1]))
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


class _Lines:
    """One line for each node that ends, for pipes and logs; a long loop is told by its own line."""

    def __init__(self) -> None:
        self._items: dict[str, int] = {}

    def node(self, note: NodeNote) -> None:
        if note.state == "running" or (note.state == "waiting" and not note.finished):
            return
        owner, bracket, _ = note.path.partition("[")
        if bracket and note.state == "done":
            self._items[owner] = self._items.get(owner, 0) + 1
            if self._items[owner] > _MOST_ITEMS:
                return
        _line(f"{_MARKS.get(note.state, ' ')} {note.path}", note.state, told_of(note))

    def event(self, path: str, kind: str, facts: JsonObject) -> None:
        tell_event(path, kind, facts)


def _line(name: str, state: str, told: str) -> None:
    note(f"  {name}  {state}{f'  {told}' if told else ''}")


def tell_event(path: str, kind: str, facts: JsonObject) -> None:
    """An agent's calls, each a line when it has ended, and waits for a person."""
    if kind == "tool" and facts.get("state") != "begins":
        told = facts.get("says") or facts.get("state")
        note(f"    {path} · {facts.get('tool')}: {told}")
    elif kind == "waiting":
        note(f"  ? {path}  waiting  for {facts.get('approval_id')}: {facts.get('reason')}")


class _Tree:
    """The nodes as a tree that changes in place, on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._notes: dict[str, NodeNote] = {}
        self._inner: dict[str, NodeNote] = {}  # inside others, and not done: a long loop must not slow the drawing
        self._said: dict[str, str] = {}
        self._live: Live = Live(
            console=Console(stderr=True, highlight=False, markup=False),
            refresh_per_second=8,
            get_renderable=self._drawn,
        )

    def node(self, note: NodeNote) -> None:
        if "/" not in note.path:
            self._notes[note.path] = note
        elif note.state in ("done", "skipped"):
            self._inner.pop(note.path, None)
        else:
            self._inner[note.path] = note

    def event(self, path: str, kind: str, facts: JsonObject) -> None:
        if kind == "text":
            self._said[path] = (self._said.get(path, "") + str(facts.get("text", "")))[-400:]
        elif kind == "turn":
            self._said[path] = ""
        elif kind == "tool":
            self._said[path] = (
                f"{facts.get('tool')}: {facts.get('says') or json_text(facts.get('arguments'), indent=None)}"
            )
        elif kind == "waiting":
            self._said[path] = f"waits for {facts.get('approval_id')}: {facts.get('reason')}"

    def _drawn(self) -> Group:
        from rich.console import Group

        lines: list[Text] = []
        # Copies: this is drawn in a thread of its own while the run goes on.
        inner = [*self._inner.values()]
        for one in [*self._notes.values()]:
            lines.append(self._text(one, 0))
            lines += self._inside(one.path, inner)
        return Group(*lines)

    def _inside(self, owner: str, every: list[NodeNote]) -> Iterator[Text]:
        from rich.text import Text

        inner = [one for one in every if one.path.startswith((f"{owner}/", f"{owner}[", f"{owner}."))]
        for one in inner[:_MOST_INSIDE]:
            yield self._text(one, 1)
        if len(inner) > _MOST_INSIDE:
            yield Text(f"    and {len(inner) - _MOST_INSIDE} more")

    def _text(self, note: NodeNote, depth: int) -> Text:
        from rich.text import Text

        told = told_of(note)
        if note.finished is None and note.started is not None:
            told = ", ".join(part for part in (seconds(time.time() - note.started), told) if part)
        text = Text("  " * (depth + 1))
        text.append(f"{_MARKS.get(note.state, ' ')} ", style=_COLOURS.get(note.state, ""))
        text.append(printable(note.path))
        text.append(f"  {printable(told)}", style="dim")
        said = self._said.get(note.path)
        if said and note.finished is None:
            text.append(f"\n      {printable(' '.join(said.split()))[-100:]}", style="dim")
        return text

    def __enter__(self) -> _Tree:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


@contextmanager
def watched() -> Generator[object]:
    """A listener that shows a run on standard error: a live tree on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    with _Tree() as tree:
        yield tree


# How it ended


def conducted(host: Host, work: Callable[[Embedded], Run], run_id: str, *, as_json: bool) -> int:
    """Run or resume in the foreground, watched; gives the exit code."""
    from spojit_stripe.engine import Interrupted

    with watched() as listener:
        engine = engine_of(host, listener)
        try:
            run = work(engine)
        except (Interrupted, KeyboardInterrupt):
            run = None
    if run is None:
        note(f"interrupted: run {run_id} stands where it is, and nothing is sent twice when it goes on")
        note(f"`spojit-stripe runs show {run_id}` tells where; `spojit-stripe runs resume {run_id}` goes on")
        return INTERRUPTED
    if host.records.runs.fault is not None:
        warn(f"what the nodes did could not be noted: {host.records.runs.fault.message}")
    return tell_outcome(host, engine, run, as_json=as_json)


def tell_outcome(host: Host, engine: Embedded, run: Run, *, as_json: bool) -> int:
    """The output of a run on standard output, what to do next on standard error; gives the exit code."""
    from spojit_stripe.records import RunState

    if run.state is RunState.DONE:
        return _tell_done(engine, run, as_json=as_json)
    if run.state is RunState.WAITING:
        return _tell_waiting(host, run, as_json=as_json)
    if run.state is RunState.CANCELLED:
        note(f"run {run.id} was cancelled; `spojit-stripe runs resume {run.id}` takes it up again")
        if as_json:
            data_line(json_text({"run_id": run.id, "state": "cancelled", "exit_code": CANCELLED}))
        return CANCELLED
    return _tell_failed(host, run, as_json=as_json)


def _tell_done(engine: Embedded, run: Run, *, as_json: bool) -> int:
    output = run.output or {}
    status = output.get("status")
    code = EXCEPTIONS if run.exceptions or (isinstance(status, int) and status >= 400) else 0
    value = engine.value_of(run)
    if as_json:
        head: JsonObject = {"run_id": run.id, "state": "done", "exceptions": run.exceptions, "status": status}
        write_value(sys.stdout, {**head, "exit_code": code, "output": value})
    else:
        write_value(sys.stdout, value)
    told = f"run {run.id} is done"
    if run.exceptions:
        what = "thing" if run.exceptions == 1 else "things"
        told += f", though {run.exceptions} {what} in it failed; `spojit-stripe runs show {run.id}` names them"
    note(told)
    return code


def _tell_waiting(host: Host, run: Run, *, as_json: bool) -> int:
    approvals: list[JsonObject] = []
    for wait in host.records.runs.waits(run_id=run.id):
        approval = host.records.approvals.find(wait.topic.partition(":")[2])
        if approval is None:
            continue
        approvals.append({"approval": approval.id, "reason": approval.reason, "expires": approval.expires})
        note(f"waiting for {approval.id}: {approval.reason}")
        until = iso(approval.expires)
        note(f"  `spojit-stripe approvals show {approval.id}`, then approve or reject it until {until}, and")
    note(f"  `spojit-stripe runs resume {run.id}` goes on; no process has to wait")
    if as_json:
        waits = cast("list[JsonValue]", approvals)
        data_line(json_text({"run_id": run.id, "state": "waiting", "approvals": waits, "exit_code": WAITING}))
    return WAITING


def _tell_failed(host: Host, run: Run, *, as_json: bool) -> int:
    record = {name: value for name, value in (run.error or {}).items() if name not in ("node", "failure")}
    where = (run.error or {}).get("node")
    error = error_from_record(record)
    if where:
        error.message = f"node {where}: {error.message}"
    more: JsonObject = {"run_id": run.id, "state": run.state.value, "node": where}
    code = report_error(error, as_json=as_json, more=more)
    if run.state.value == "unknown" and isinstance(error, ServiceError):
        unsettled = [one for one in host.records.ledger.entries(run_id=run.id, writes_only=True) if one.state.unsettled]
        for line in how_to_settle(run, unsettled):
            note(f"       {line}")
    else:
        note(f"       `spojit-stripe runs show {run.id}` tells what was done; mend the cause, then")
        note(f"       `spojit-stripe runs resume {run.id}` goes on, with the file as it was, and does nothing twice")
    return code


def how_to_settle(run: Run, unsettled: Sequence[Entry]) -> list[str]:
    """What to do about a run that stopped at writes whose outcome is unknown; of another run where it has none."""
    resume = f"`spojit-stripe runs resume {run.id}`"
    if not unsettled:
        return [f"when that is settled, {resume} goes on"]
    lines = [f"{resume} settles it first, under its own key, and then goes on"]
    for entry in unsettled:
        ways = f"`spojit-stripe ledger resolve {entry.id}`, with --found OBJECT or --none if you know"
        lines.append(f"where that can't tell, ledger entry {entry.id} ({entry.operation}): {ways}")
    return lines


def write_value(stream: TextIO, value: JsonValue) -> None:
    """JSON that reads well; a list that lies in a file is written as it is read, never held."""
    for part in _parts(value, 0):
        stream.write(part)
    stream.write("\n")
    stream.flush()


def _parts(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value)
        yield from _block("{", "}", ((f"{json_text(name)}: ", inner) for name, inner in items.items()), depth)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from _block("[", "]", (("", inner) for inner in cast("Sequence[object]", value)), depth)
    else:
        yield json_text(cast("JsonValue", value))


def _block(opening: str, closing: str, items: Iterator[tuple[str, object]], depth: int) -> Iterator[str]:
    yield opening
    empty = True
    for name, inner in items:
        yield f"{'' if empty else ','}\n{'  ' * (depth + 1)}{name}"
        empty = False
        yield from _parts(inner, depth + 1)
    yield closing if empty else f"\n{'  ' * depth}{closing}"
