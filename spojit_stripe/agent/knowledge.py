"""What an agent's node has fetched: objects for SQL, ids that a write may name, numbers an answer may tell.

All of it is made again from the records when a run is resumed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, cast, overload
from urllib.parse import unquote

from spojit_stripe.catalog.shown import dotted, shown
from spojit_stripe.connector import BoundCall, Connector, Explains, Vocabulary
from spojit_stripe.values import Effect, JsonObject, JsonValue

__all__ = ["Knowledge", "kind_of", "leaves", "vocabulary_of"]

Place = tuple[str | int, ...]

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}")
_NUMBER = re.compile(r"-?\d+")
_SHORTEST_PERSONAL: Final = 6
_MOST_PERSONAL: Final = 50_000


def vocabulary_of(connector: Connector) -> Vocabulary:
    """How the connector's objects read; a plain guess where it does not say."""
    return connector.vocabulary if isinstance(connector, Explains) else Vocabulary()


def leaves(value: JsonValue, place: Place = ()) -> Iterator[tuple[Place, JsonValue]]:
    """Every plain value in `value`, with where it stands."""
    todo: list[tuple[Place, JsonValue]] = [(place, value)]
    while todo:
        at, one = todo.pop()
        if isinstance(one, dict):
            todo += [((*at, name), inner) for name, inner in reversed(one.items())]
        elif isinstance(one, list):
            todo += [((*at, index), inner) for index, inner in reversed(list(enumerate(one)))]
        else:
            yield at, one


def kind_of(row: JsonValue, otherwise: str) -> str:
    """The name of the table an object belongs to: `charges` of a charge."""
    named = row.get("object") if isinstance(row, dict) else None
    kind = named if isinstance(named, str) and re.fullmatch(r"[a-z][a-z0-9_.]*", named) else otherwise
    plain = re.sub(r"[^a-z0-9]+", "_", kind.lower()).strip("_") or "object"
    if plain.endswith("y"):
        return f"{plain[:-1]}ies"
    return plain if plain.endswith("s") else f"{plain}s"


class _Newest(Sequence[JsonValue]):
    """Several lists of objects as one, each object as it was seen last; read where they are, never held."""

    def __init__(self, parts: Sequence[Sequence[JsonValue]]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[JsonValue]:
        seen: set[str] = set()
        for part in reversed(self._parts):
            for row in part:
                own = row.get("id") if isinstance(row, dict) else None
                if isinstance(own, str):
                    if own in seen:
                        continue
                    seen.add(own)
                yield row

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @overload
    def __getitem__(self, index: int) -> JsonValue: ...
    @overload
    def __getitem__(self, index: slice) -> list[JsonValue]: ...
    def __getitem__(self, index: int | slice) -> JsonValue:
        return [*self][index]


@dataclass
class Knowledge:
    """What is known so far. `trusted` are the author's own words, `prompt` all that the model was told."""

    vocabulary: Vocabulary
    trusted: Sequence[str]
    prompt: str
    sources: dict[str, list[Sequence[JsonValue]]] = field(default_factory=dict[str, "list[Sequence[JsonValue]]"])
    schemas: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    ids: set[str] = field(default_factory=set[str])
    numbers: set[int] = field(default_factory=set[int])
    owners: dict[str, str] = field(default_factory=dict[str, str])
    objects: int = 0
    _personal: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        for text in self.trusted:
            self.ids.update(self.ids_in(text))
        self.numbers.update(int(one) for one in _NUMBER.findall(self.prompt) if len(one) < 19)

    def ids_in(self, text: str) -> list[str]:
        """What in a text has the shape of an id."""
        whole = re.compile(rf"(?<![A-Za-z0-9_])(?:{self.vocabulary.id_shape.pattern})(?![A-Za-z0-9_])")
        return whole.findall(text)

    # Learning

    def learn(self, rows: Sequence[JsonValue], otherwise: str, schema: JsonObject | None = None) -> None:
        """Take in objects that a call has given."""
        kind = kind_of(rows[0] if rows else _example(schema), otherwise)
        self.sources.setdefault(kind, []).append(rows)
        if schema is not None:
            self.schemas.setdefault(kind, schema)
        for row in rows:
            self.objects += 1
            self._learn_object(row)

    def learn_numbers(self, value: JsonValue) -> None:
        """Numbers that our own code has made of what was fetched: totals, results of SQL."""
        for _, one in leaves(value):
            if isinstance(one, int) and not isinstance(one, bool):
                self.numbers.add(one)

    def _learn_object(self, row: JsonValue) -> None:
        words = self.vocabulary
        if isinstance(row, dict):
            own, customer = row.get("id"), row.get("customer")
            customer = customer.get("id") if isinstance(customer, dict) else customer
            if isinstance(own, str) and isinstance(customer, str):
                self.owners[own] = customer
        todo: list[tuple[str, JsonValue, bool]] = [("", row, False)]
        while todo:
            name, value, free = todo.pop()
            if isinstance(value, dict):
                for key, inner in value.items():
                    if inner is not None:
                        todo.append((key, inner, free or key in words.free_objects or key in words.free_fields))
            elif isinstance(value, list):
                todo += [(name, inner, free) for inner in value]
            elif isinstance(value, str):
                self._learn_text(name, value, free=free)
            elif isinstance(value, int) and not isinstance(value, bool) and not free:
                self.numbers.add(value)

    def _learn_text(self, name: str, value: str, *, free: bool) -> None:
        if not free:
            if name in self.vocabulary.id_fields and value:
                self.ids.add(value)
        elif len(value) >= _SHORTEST_PERSONAL and len(self._personal) < _MOST_PERSONAL:
            if "@" in value:
                self._personal.update(_EMAIL.findall(value))
            if name in ("phone", "line1"):
                self._personal.add(value)

    def _is_free(self, place: Place) -> bool:
        names = [part for part in place if isinstance(part, str)]
        words = self.vocabulary
        return any(name in words.free_objects for name in names[:-1]) or (
            bool(names) and names[-1] in words.free_fields
        )

    # Asking

    def rows_of(self, kind: str) -> Sequence[JsonValue]:
        """The objects of one kind, the newest state of each."""
        parts = self.sources[kind]
        return parts[0] if len(parts) == 1 else _Newest(parts)

    def fault_of_ids(self, bound: BoundCall) -> str | None:
        """Why a write may not name what it names, or None."""
        for where, found in self._named(bound):
            if found in self.ids or self._in_trusted(found):
                continue
            return (
                f"{where}: {shown(found)} is named neither by the author nor by an id field of a result; fetch the "
                "object first. What only stands in a text (a description, a name, metadata) is never written to"
            )
        return None

    def doubt_of_texts(self, bound: BoundCall) -> str | None:
        """Why a person should look at the texts of a write: they would carry one object's data to another."""
        for place, value in leaves(bound.request.params):
            if not isinstance(value, str) or value in self.ids:
                continue
            carried = next((one for one in self._personal if one in value and one not in self.prompt), None)
            if carried is not None:
                return f"its {dotted(place)} carries personal data out of a result"
        return None

    def doubt_of_target(self, bound: BoundCall) -> str | None:
        """Why a person should look at where the money of a call goes: nothing known is named in it."""
        if bound.effect not in (Effect.MONEY, None) or any(True for _ in self._named(bound)):
            return None
        return f"{bound.operation} names no object that the money belongs to"

    def customers_of(self, bound: BoundCall) -> list[str]:
        """The customers whom the objects that a call names belong to."""
        found: dict[str, None] = {}
        for where, one in self._named(bound):
            owner = one if where.endswith("customer") else self.owners.get(one)
            if owner is not None:
                found[owner] = None
        return list(found)

    def _named(self, bound: BoundCall) -> Iterator[tuple[str, str]]:
        request = bound.request
        for part, given in zip(request.template.split("/"), request.path.split("/"), strict=False):
            if part.startswith("{"):
                yield part[1:-1], unquote(given)
        if request.account is not None:
            yield "account", request.account
        words = self.vocabulary
        for place, value in leaves(request.params):
            if not isinstance(value, str) or not value or self._is_free(place):
                continue  # an id in a note is a word; nothing is done to what it names
            name = next((part for part in reversed(place) if isinstance(part, str)), "")
            if name in words.id_fields or words.id_shape.fullmatch(value):
                yield dotted(place), value

    def _in_trusted(self, found: str) -> bool:
        word = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(found)}(?![A-Za-z0-9_])")
        return any(word.search(text) for text in self.trusted)


def _example(schema: JsonObject | None) -> JsonValue:
    """An object of `schema`, as far as its kind goes: an empty list has a table too."""
    properties = cast("JsonObject", (schema or {}).get("properties", {}))
    named = properties.get("object")
    return {"object": named.get("const")} if isinstance(named, dict) else None
