"""A value of a workflow with its expressions compiled: rendered as often as a loop needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, cast

from spojit_stripe.errors import InputError
from spojit_stripe.expressions.bounds import MOST_TEXT, as_text, check_text, first_null, kind_of, shown_name
from spojit_stripe.expressions.filters import Filter
from spojit_stripe.expressions.grammar import Expression, split
from spojit_stripe.expressions.reading import Reference
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Compiled", "parse_value"]

Path = tuple[str | int, ...]
_NO_FILTERS: Final[Mapping[str, Filter]] = {}


class _Omitted:
    """What `| omit` gives for null."""


_OMITTED: Final = _Omitted()


class Compiled:
    """A value and its templates, by the path at which each stands in it."""

    __slots__ = ("_templates", "source")

    def __init__(self, source: JsonValue, templates: Mapping[Path, list[str | Expression]]) -> None:
        self.source = source
        self._templates = templates

    @property
    def is_literal(self) -> bool:
        """There is nothing to render: the value is `source`."""
        return not self._templates

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the templates stand."""
        return tuple(self._templates)

    @property
    def references(self) -> frozenset[Reference]:
        """Everything that the value reads."""
        return frozenset(reference for _, reference in self.references_by_path())

    def references_by_path(self) -> Iterator[tuple[Path, Reference]]:
        """What each template reads, with the path of the template."""
        for path, parts in self._templates.items():
            for part in parts:
                if isinstance(part, Expression):
                    yield from ((path, reference) for reference in part.references)

    def is_expression(self, path: Path = ()) -> bool:
        """The value at `path` is exactly one expression, so it keeps its type."""
        parts = self._templates.get(path, [])
        return len(parts) == 1 and isinstance(parts[0], Expression)

    def is_reference(self, path: Path = ()) -> Reference | None:
        """The reference that the value at `path` is, if it is nothing else."""
        parts = self._templates.get(path, [])
        only = parts[0] if len(parts) == 1 else None
        return only.pure if isinstance(only, Expression) else None

    def written(self, path: Path = ()) -> str:
        """What stands around the templates of the text at `path`."""
        return "".join(part for part in self._templates.get(path, []) if isinstance(part, str))

    def render(self, scope: Mapping[str, JsonValue], *, now: int, where: str, allow_null: bool = False) -> JsonValue:
        """The value in `scope`; data of the scope is given on as it is, never as a template.

        `now` is the run's own clock in Unix seconds, `where` begins every message. Raises
        `InputError`: what is missing, null (but for `allow_null`), too large or of the wrong kind.
        """
        rendered = self._render(self.source, (), _Rendering(scope, now, where))
        if isinstance(rendered, _Omitted):
            raise InputError(f"{where}: omit leaves out a key of an object or an item of a list; here is neither")
        if not allow_null:
            _refuse_null(rendered, where)
        return rendered

    def decide(self, scope: Mapping[str, JsonValue], *, now: int, where: str) -> bool:
        """The value of a condition. Raises `InputError` where it is neither true nor false."""
        value = self.render(scope, now=now, where=where, allow_null=True)
        if not isinstance(value, bool):
            raise InputError(f"{where}: a condition is true or false, and this is {kind_of(value)}; compare it")
        return value

    def _render(self, value: JsonValue, path: Path, how: _Rendering) -> JsonValue | _Omitted:
        parts = self._templates.get(path)
        if parts is not None:
            return how.rendered(parts, path)
        if isinstance(value, dict):
            return self._object(value, path, how)
        if isinstance(value, list):
            items = [self._render(item, (*path, place), how) for place, item in enumerate(value)]
            return [item for item in items if not isinstance(item, _Omitted)]
        return value

    def _object(self, value: JsonObject, path: Path, how: _Rendering) -> JsonObject:
        rendered: JsonObject = {}
        for key, inner in value.items():
            one = self._render(inner, (*path, key), how)
            if not isinstance(one, _Omitted):
                rendered[key] = one
        return rendered


class _Rendering:
    """One rendering of one value."""

    def __init__(self, scope: Mapping[str, JsonValue], now: int, where: str) -> None:
        self._scope = scope
        self._now = now
        self._where = where

    def rendered(self, parts: list[str | Expression], path: Path) -> JsonValue | _Omitted:
        try:
            only = parts[0]
            if len(parts) == 1 and isinstance(only, Expression):
                value = only.value(self._scope, self._now)
                return _OMITTED if only.omit and value is None else value
            return self._text(parts)
        except InputError as error:
            raise InputError(f"{_place(self._where, path)}: {error.message}") from None

    def _text(self, parts: list[str | Expression]) -> str:
        texts: list[str] = []
        length = 0
        for part in parts:
            text = part if isinstance(part, str) else self._inside(part)
            length += len(text)
            if length > MOST_TEXT:
                raise InputError(f"gives a text of more than {MOST_TEXT:,} characters")
            texts.append(text)
        return check_text("".join(texts))

    def _inside(self, part: Expression) -> str:
        value = part.value(self._scope, self._now)
        try:
            return as_text(value)
        except InputError as error:
            what = str(part.pure) if part.pure else "{{ … }}"
            raise InputError(f"{what} {error.message}") from None


def _refuse_null(value: JsonValue, where: str) -> None:
    path = first_null(value)
    if path is not None:
        raise InputError(
            f"{_place(where, path)}: is null; write | omit to leave it out on purpose, or | default(…) to give another"
        )


def _place(where: str, path: Path) -> str:
    text = where
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{shown_name(part)}"
    return text


def parse_value(value: JsonValue, *, filters: Mapping[str, Filter] = _NO_FILTERS) -> Compiled:
    """Compile every template in `value`; keys are never templates.

    `filters` are a plug-in's, beside the built-in ones, which they can't replace. Raises
    `InputError`: its message names the first fault and its path, `faults` all of them.
    """
    templates: dict[Path, list[str | Expression]] = {}
    faults: list[str] = []
    for path, text in _texts(value, ()):
        try:
            parts = split(text, filters)
            _check_omit(parts)
        except InputError as error:
            faults.append(f"{_place('', path).removeprefix('.')}: {error.message}" if path else error.message)
            continue
        if any(isinstance(part, Expression) for part in parts):
            templates[path] = parts
    if faults:
        raise InputError(faults[0], faults=tuple(faults))
    return Compiled(value, templates)


def _check_omit(parts: list[str | Expression]) -> None:
    if len(parts) > 1 and any(isinstance(part, Expression) and part.omit for part in parts):
        raise InputError("omit stands last, and in a value that is one expression")


def _texts(value: JsonValue, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*path, key))
    elif isinstance(value, list):
        for place, item in enumerate(cast("list[JsonValue]", value)):
            yield from _texts(item, (*path, place))
