"""What happens in a run, told as it happens: to its records, and to whoever looks on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from spojit_stripe.records import NodeNote, Runs
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Listener", "Watch"]

_SETTLED: Final = frozenset({"done", "skipped", "continued"})


class Listener(Protocol):
    """Sees what a run does. Nothing depends on it."""

    def node(self, note: NodeNote) -> None:
        """A node begins, goes on, or has ended."""
        ...

    def event(self, path: str, kind: str, facts: JsonObject) -> None:
        """Something inside a node: an agent's text, a call, a wait."""
        ...


@dataclass(slots=True)
class Watch:
    """The notes of one run. A node that had ended before the run was resumed is not noted again."""

    run_id: str
    runs: Runs | None = None
    listener: Listener | None = None
    clock: Callable[[], float] = time.time
    is_decided: Callable[[str], bool] = lambda _: False  # of an approval's id
    _notes: dict[str, NodeNote] = field(default_factory=dict[str, NodeNote])
    _settled: set[str] = field(default_factory=set[str])
    _began: dict[str, float | None] = field(default_factory=dict[str, "float | None"])

    def take_up(self) -> None:
        """Learn what was noted before."""
        if self.runs is not None:
            noted = self.runs.nodes(self.run_id)
            self._settled = {one.path for one in noted if one.state in _SETTLED}
            self._began = {one.path: one.started for one in noted if one.state in ("running", "waiting")}

    def begins(self, path: str, kind: str) -> None:
        started = self._began.get(path) or self.clock()
        self._say(NodeNote(path=path, type=kind, state="running", started=started, facts={}))

    def tells(self, path: str, **facts: JsonValue) -> None:
        """More is known of a node that runs."""
        note = self._notes.get(path)
        if note is not None:
            self._say(replace(note, facts={**note.facts, **facts}))

    def turns(self, path: str, state: str) -> None:
        note = self._notes.get(path)
        if note is not None:
            self._say(replace(note, state=state))

    def waits(self, path: str, facts: JsonObject) -> None:
        """A node waits for a decision on `approval_id`. One that a resumed run only comes by again is not told."""
        if not self.is_decided(str(facts["approval_id"])):
            self.turns(path, "waiting")
            self.event(path, "waiting", facts)

    def ends(self, path: str, kind: str, state: str, **facts: JsonValue) -> None:
        note = self._notes.pop(path, NodeNote(path=path, type=kind, state=state, facts={}))
        self._say(replace(note, state=state, finished=self.clock(), facts={**note.facts, **facts}), ended=True)

    def event(self, path: str, kind: str, facts: JsonObject) -> None:
        if self.listener is not None and path not in self._settled:
            self.listener.event(path, kind, facts)

    def transcript(self, path: str, transcript: JsonValue) -> None:
        if self.runs is not None and path not in self._settled:
            self.runs.keep_transcript(self.run_id, path, transcript)

    def _say(self, note: NodeNote, *, ended: bool = False) -> None:
        if note.path in self._settled:
            return
        if not ended:
            self._notes[note.path] = note
        if self.runs is not None:
            self.runs.note(self.run_id, note)
        if self.listener is not None:
            self.listener.node(note)
