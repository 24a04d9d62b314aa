"""Recording what handlers do, so that it can be repeated a million times.

A story (a customer signs up, an order is paid and refunded) is told once to the same
handlers that answer requests, on a store of its own. All ids that they make are marks,
`ch_3@@0010@@`, by which `stamping` finds them again in the objects that came out.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from spojit_stripe.sandbox import ids
from spojit_stripe.sandbox.context import Context
from spojit_stripe.sandbox.routes import HANDLERS
from spojit_stripe.sandbox.store import Cell, Record, Store
from spojit_stripe.sandbox.timers import run as run_timer
from spojit_stripe.sandbox.values import JsonObject

DAY = 86_400


@dataclass
class Marks:
    """The marks given so far: how long each one's letters and digits are to be."""

    lengths: list[int] = field(default_factory=lambda: [])
    _shapes: dict[str, tuple[str, int]] = field(default_factory=lambda: {})

    def take(self, length: int) -> str:
        """A mark that stands for so many letters and digits."""
        self.lengths.append(length)
        return f"@@{len(self.lengths) - 1:04d}@@"

    def id(self, prefix: str) -> str:
        """A mark in the shape of the ids with this prefix."""
        if prefix not in self._shapes:
            made = [ids.make(prefix, number) for number in range(12)]
            alike = [len(set(letters)) == 1 for letters in zip(*made, strict=True)]
            self._shapes[prefix] = (made[0][: alike.index(False)], len(alike) - alike.index(False))
        begin, length = self._shapes[prefix]
        return begin + self.take(length)


@dataclass
class MarkedContext(Context):
    """A context whose new ids are marks."""

    marks: Marks = field(default_factory=Marks)

    def new_id(self, prefix: str) -> str:
        """A mark in place of an id."""
        return self.marks.id(prefix)

    def secret(self, length: int = 24) -> str:
        """A mark in place of a secret."""
        return self.marks.take(length)


@dataclass(frozen=True)
class Recording:
    """What a story left: rows and timers, the marks in them, and how many marks others share."""

    rows: list[tuple[Cell, ...]]
    timers: list[tuple[int, str, str]]
    lengths: list[int]
    shared: int


class Stage:
    """Where one story is told."""

    def __init__(self, context: MarkedContext) -> None:
        self._context = context
        self._begin = context.store.last_seq()
        self._timers: set[int] = set()
        self._shared = 0

    def at(self, moment: int) -> Context:
        """What time brings until a moment, then a context at that moment."""
        store = self._context.store
        while (timer := store.next_timer(moment)) is not None:
            store.drop_timer(timer)
            run_timer(self._then(timer.due), timer)
        return self._then(moment)

    def cut(self) -> None:
        """What was told so far belongs to another story; its marks are shared."""
        self._begin = self._context.store.last_seq()
        self._timers = {timer.id for timer in self._context.store.timers()}
        self._shared = len(self._context.marks.lengths)

    def recording(self) -> Recording:
        """The story as it stands."""
        store = self._context.store
        timers = [(each.due, each.action, each.object) for each in store.timers() if each.id not in self._timers]
        return Recording(store.rows_after(self._begin), timers, self._context.marks.lengths, self._shared)

    def _then(self, moment: int) -> MarkedContext:
        return replace(self._context, now=moment, exact_now=float(moment))


class Recorder:
    """A store for stories, with the products and prices that they need."""

    def __init__(self, context: Context, catalog: Sequence[Record]) -> None:
        self._store = Store()
        self._context = context
        for record in catalog:
            self._store.insert(context.scope, Record(record.body, record.private))

    def close(self) -> None:
        """Forget everything."""
        self._store.close()

    @contextmanager
    def stage(self) -> Generator[Stage]:
        """A stage for one story; it is empty again afterwards."""
        context = self._context
        marked = MarkedContext(
            self._store,
            replace(context.settings, search_lag=0.0),
            context.scope,
            context.account,
            context.livemode,
            context.now,
            context.exact_now,
            context.api_version,
        )
        with suppress(_Over), self._store.transaction():
            yield Stage(marked)
            raise _Over


class _Over(Exception):
    """The story is over: everything it did is undone."""


def call(context: Context, method: str, path: str, params: JsonObject, **names: str) -> JsonObject:
    """Call a handler as a request would, without the parameter check."""
    answer = HANDLERS[method, path](replace(context, path=path, ids=names, params=params))
    if not isinstance(answer, dict):
        raise TypeError(f"{method} {path} does not answer one object")
    return answer
