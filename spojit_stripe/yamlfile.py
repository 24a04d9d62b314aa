"""YAML 1.2 core values with the line and column of each, for messages that point.

PyYAML speaks YAML 1.1, where `no` is false and `12:30` is 750. Money and country codes
can't live with that, so its resolver is replaced by the core schema of YAML 1.2, without
that schema's octal and hexadecimal numbers and infinities, which stay text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import yaml

from spojit_stripe.errors import ConfigurationError
from spojit_stripe.redact import redact_text
from spojit_stripe.values import JsonValue

__all__ = ["Document", "parse"]

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its data, and where each path of it stands (line and column from 1)."""

    name: str
    data: JsonValue
    positions: dict[Path, tuple[int, int]] = field(default_factory=dict[Path, tuple[int, int]])

    def where(self, path: Path) -> str:
        """`file:line:column` of `path`, or of its nearest parent that has a position."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.positions:
                line, column = self.positions[path[:end]]
                return f"{self.name}:{line}:{column}"
        return self.name


class _CoreLoader(yaml.SafeLoader):
    """SafeLoader whose plain scalars follow YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 # PyYAML's own attribute


_CORE: tuple[tuple[str, str, str], ...] = (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN\0"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
)
for _tag, _pattern, _first in _CORE:
    _CoreLoader.add_implicit_resolver(  # pyright: ignore[reportUnknownMemberType] # untyped in PyYAML's stubs
        _tag, re.compile(rf"^(?:{_pattern})$"), [*_first.replace("\0", ""), ""]
    )


# Aliases of aliases can make a page of YAML into more values than memory holds.
_MOST_VALUES = 200_000
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


def _int(_loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value)  # decimal always: PyYAML would read 010 as eight


_CoreLoader.add_constructor("tag:yaml.org,2002:int", _int)


def parse(text: str, name: str) -> Document:
    """Parse one YAML document.

    Raises `ConfigurationError` with `file:line:column` for broken YAML, a duplicate key,
    a tag or anchor cycle, a number that is none, or a key that is no text.
    """
    try:
        loader = _CoreLoader(text)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = f"{name}:{before.count(chr(10)) + 1}:{error.position - before.rfind(chr(10))}"
        raise ConfigurationError(f"{place}: not valid YAML: U+{ord(text[error.position]):04X} is not allowed") from None
    try:
        root = loader.get_single_node()
        if root is None:
            return Document(name, None)
        document = Document(name, None)
        data = _build(loader, root, (), document, ())
    except RecursionError:
        raise ConfigurationError(f"{name}: not valid YAML: nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise ConfigurationError(f"{place}: not valid YAML: {error.problem or error.context}") from None
    finally:
        loader.dispose()
    return Document(name, data, document.positions)


def _build(loader: Any, node: yaml.Node, path: Path, document: Document, above: tuple[int, ...]) -> JsonValue:
    place = (node.start_mark.line + 1, node.start_mark.column + 1)
    document.positions.setdefault(path, place)
    if len(document.positions) > _MOST_VALUES:
        raise _fault(document, place, f"more than {_MOST_VALUES} values, counting those behind aliases")
    if id(node) in above:
        raise _fault(document, place, "an alias that contains itself")
    if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTIONS:
        raise _fault(document, place, f"the tag {node.tag!r} is not supported")
    above = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        built: dict[str, JsonValue] = {}
        for key_node, value_node in node.value:
            key = _key(key_node, document)
            where = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if key in built:
                raise _fault(document, where, f"{key!r} is given twice")
            document.positions[(*path, key)] = where
            built[key] = _build(loader, value_node, (*path, key), document, above)
        return built
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*path, n), document, above) for n, item in enumerate(node.value)]
    return _scalar(loader, node, document, place)


def _scalar(loader: Any, node: Any, document: Document, place: tuple[int, int]) -> JsonValue:
    try:
        value: Hashable = loader.construct_object(node)
    except (ValueError, KeyError, AttributeError, TypeError):  # PyYAML's ways to say that the text doesn't fit the tag
        raise _fault(document, place, f"{_shown(node)} is no value of the tag {node.tag!r}") from None
    if isinstance(value, str):
        return _whole(value, document, place)
    if isinstance(value, float) and not math.isfinite(value):
        raise _fault(document, place, f"{_shown(node)} is no finite number")
    if value is None or isinstance(value, bool | int | float):
        return value
    raise _fault(document, place, f"the tag {node.tag!r} is not supported")


def _key(node: yaml.Node, document: Document) -> str:
    place = (node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.ScalarNode) and node.value == "<<" and node.style is None:
        raise _fault(document, place, "<< merges nothing here; write the keys out, or `key: *name` for a whole value")
    if isinstance(node, yaml.ScalarNode) and node.tag != "tag:yaml.org,2002:null":
        return _whole(str(node.value), document, place)
    raise _fault(document, place, "a key must be text")


def _whole(text: str, document: Document, place: tuple[int, int]) -> str:
    """`text` with JSON's pairs of escapes joined; a half of one fits no file and no terminal."""
    try:
        return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise _fault(document, place, "an escape that is half a character") from None


def _shown(node: yaml.ScalarNode) -> str:
    return repr(redact_text(str(node.value))[:40])


def _fault(document: Document, place: tuple[int, int], what: str) -> ConfigurationError:
    return ConfigurationError(f"{document.name}:{place[0]}:{place[1]}: {what}")
