"""Every operation of Stripe's API: found by method and path, or by words; parameters checked.

The index is `schemas/stripe-operations.json`, made by `scripts/remake_operations.py`.
Parameters stay undecoded until an operation is checked, so that loading is quick and small.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from spojit_stripe.catalog import schemas_dir
from spojit_stripe.errors import ConfigurationError
from spojit_stripe.values import Method, Params
from spojit_stripe.wire.finder import Finder
from spojit_stripe.wire.params import Param, Shared, faults_of

__all__ = ["HOSTS", "ListStyle", "Operation", "Operations"]

ListStyle: TypeAlias = Literal["cursor", "search", "v2", "plain"]
Where: TypeAlias = Literal["query", "form", "json", "multipart"]

HOSTS: Mapping[str, str] = {
    "api": "api.stripe.com",
    "files": "files.stripe.com",
    "meter_events": "meter-events.stripe.com",
    "connect": "connect.stripe.com",
}
_STYLES: Mapping[str, ListStyle] = {"cursor": "cursor", "v2:page+next_page_url": "v2", "no-cursor": "plain"}
# An id in a path: never needed literally to recognise an endpoint.
_ID_LIKE = re.compile(r"[a-zA-Z]+_\w{4,}|.*\d.*|\{.*\}")
_NEAR = 0.72
_NEAR_PART = 0.55
_VERBS = {"GET": "get", "POST": "create", "DELETE": "delete"}


class _Record(msgspec.Struct, frozen=True, gc=False):
    """One operation as the index has it; its legend explains the letters."""

    m: Method
    p: str
    id: str
    v: Literal[1, 2]
    sdk: str
    where: Where = msgspec.field(name="in")
    params: msgspec.Raw
    ret: str
    base: str = "api"
    path: tuple[str, ...] = ()
    list: str = ""
    search: str = ""
    deprecated: int = 0
    stream: int = 0


class _Source(msgspec.Struct, frozen=True):
    name: str
    version: str
    api_version: str


class _Index(msgspec.Struct, frozen=True):
    sources: tuple[_Source, ...]
    defs: dict[str, msgspec.Raw]
    operations: list[_Record]


class Operation:
    """One method of one endpoint."""

    __slots__ = ("_known", "_record", "_shared")

    def __init__(self, record: _Record, shared: Shared) -> None:
        self._record = record
        self._shared = shared
        self._known: tuple[Param, ...] | None = None

    @property
    def method(self) -> Method:
        return self._record.m

    @property
    def template(self) -> str:
        """The path with its parameters in braces: `/v1/charges/{charge}`."""
        return self._record.p

    @property
    def name(self) -> str:
        """`"POST /v1/charges"`: method and template, the operation's name everywhere."""
        return f"{self._record.m} {self._record.p}"

    @property
    def operation_id(self) -> str:
        return self._record.id

    @property
    def sdk(self) -> str:
        """Service and method of the official client: `"charge.create"`."""
        return self._record.sdk

    @property
    def version(self) -> Literal[1, 2]:
        """The API's major version: 1 takes forms, 2 takes JSON."""
        return self._record.v

    @property
    def host(self) -> str:
        return HOSTS[self._record.base]

    @property
    def sends(self) -> Where:
        """Where parameters go."""
        return self._record.where

    @property
    def path_params(self) -> tuple[str, ...]:
        return self._record.path

    @property
    def returns(self) -> str:
        """The type in the official client: `"Charge"`, `"ListObject[Charge]"`."""
        return self._record.ret

    @property
    def list_style(self) -> ListStyle | None:
        """How the answer is a list, or None where it is one object.

        `plain` lists have no cursor: one page is all of it.
        """
        if self._record.search:
            return "search"
        return _STYLES[self._record.list] if self._record.list else None

    @property
    def is_list(self) -> bool:
        return self.list_style is not None

    @property
    def is_search(self) -> bool:
        return bool(self._record.search)

    @property
    def deprecated(self) -> bool:
        return bool(self._record.deprecated)

    @property
    def stream(self) -> bool:
        """The answer is a file, not JSON."""
        return bool(self._record.stream)

    @property
    def unsupported(self) -> str | None:
        """Why a raw request cannot carry this operation, or None."""
        if self._record.where == "multipart":
            return f"{self.name} takes a file, which a raw request cannot send"
        if self.stream:
            return f"{self.name} answers with a file, which a raw request cannot return"
        if self._record.base == "meter_events":
            return f"{self.name} needs a meter event session instead of an API key; use POST /v1/billing/meter_events"
        return None

    @property
    def params(self) -> tuple[Param, ...]:
        """The parameters of the top level."""
        if self._known is None:
            self._known = msgspec.json.decode(self._record.params, type=tuple[Param, ...])
        return self._known

    @property
    def param_names(self) -> tuple[str, ...]:
        return tuple(param.n for param in self.params)

    @property
    def takes_metadata(self) -> bool:
        """The object that this writes can carry our own keys."""
        return self.method == "POST" and "metadata" in self.param_names

    def path_values(self, path: str) -> dict[str, str]:
        """What stands in `path` for the template's parameters, still escaped."""
        pairs = zip(self.template.split("/"), path.split("/"), strict=True)
        return {part[1:-1]: value for part, value in pairs if part.startswith("{")}

    def check(self, params: Params) -> list[str]:
        """What is wrong with `params`, one line each, unknown names first; empty if nothing is.

        Enumerations that Stripe extends without a new version are not enforced.
        """
        return faults_of(self.name, self.params, self._shared, params)

    def __repr__(self) -> str:
        return f"<Operation {self.name}>"


class _Node:
    """A place in the tree of path segments."""

    __slots__ = ("operations", "parts")

    def __init__(self) -> None:
        self.parts: dict[str, _Node] = {}
        self.operations: dict[str, Operation] = {}


_ANY = "{}"  # the segment of an id


class Operations:
    """The index as a lookup."""

    def __init__(self, operations: Iterable[Operation], api_version: str, shared: Shared) -> None:
        self.api_version = api_version
        self.shared = shared
        self._all = tuple(operations)
        self._by_name = {operation.name: operation for operation in self._all}
        self._tree = _Node()
        for operation in self._all:
            self._plant(operation)
        self._finder: Finder | None = None

    @classmethod
    def load(cls, file: Path | None = None) -> Operations:
        """The index of `file`, or the package's own, which is read once and kept.

        Raises `ConfigurationError` where it cannot be read.
        """
        return _read(file) if file else _own()

    def _plant(self, operation: Operation) -> None:
        node = self._tree
        for part in operation.template.split("/")[1:]:
            node = node.parts.setdefault(_ANY if part.startswith("{") else part, _Node())
        node.operations[operation.method] = operation

    def get(self, name: str) -> Operation | None:
        """The operation called `name`, such as `"POST /v1/charges/{charge}"`."""
        return self._by_name.get(name)

    def find(self, method: str, path: str) -> Operation | None:
        """The operation that a request of `method` to `path` reaches.

        Literal segments win over ids: `/v1/charges/search` is never the charge `search`.
        """
        parts = path.split("/")
        if parts[0] or len(parts) < 3:
            return None
        node = _walk(self._tree, parts[1:])
        return node.operations.get(method) if node else None

    def methods_of(self, path: str) -> tuple[Method, ...]:
        """The methods that exist for `path`."""
        node = _walk(self._tree, path.split("/")[1:])
        return tuple(sorted(one.method for one in node.operations.values())) if node else ()

    def nearest(self, method: str, path: str) -> str:
        """What to use instead of an unknown `method` and `path`, as the end of a sentence."""
        methods = self.methods_of(path)
        if methods:
            return f"this path exists with {' and '.join(methods)} only"
        scored = ((_likeness(path, one.template) + (one.method == method) * 0.01, one) for one in self._all)
        score, best = max(scored, key=lambda pair: pair[0])
        if score >= _NEAR:
            return f"did you mean {best.name}?"
        words = [part for part in path.split("/")[2:] if not _ID_LIKE.fullmatch(part)]
        if not words or not self.search(words[-1], 1):
            return "look it up in Stripe's API reference"
        best = self.search(f"{words[-1]} {_VERBS.get(method, '')}", 1)[0]
        return f"perhaps {best.name}?"

    def search(self, words: str, limit: int = 8) -> tuple[Operation, ...]:
        """The operations that fit `words` best, best first: `"capture payment"`, `"list refunds"`."""
        if self._finder is None:
            self._finder = Finder([(one.method, one.template, one.sdk, one.deprecated) for one in self._all])
        return tuple(self._all[place] for place in self._finder.best(words, limit))

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._all)


def _walk(node: _Node, parts: list[str]) -> _Node | None:
    if not parts:
        return node if node.operations else None
    part, rest = parts[0], parts[1:]
    literal = node.parts.get(part)
    found = _walk(literal, rest) if literal else None
    # An empty segment or a dot segment is no id: it would reach another path.
    if found is not None or part in ("", ".", ".."):
        return found
    by_id = node.parts.get(_ANY)
    return _walk(by_id, rest) if by_id else None


def _likeness(path: str, template: str) -> float:
    parts, wanted = path.strip("/").split("/"), template.strip("/").split("/")
    if abs(len(parts) - len(wanted)) > 1:
        return 0.0
    scores = [_part_likeness(part, one) for part, one in zip_longest(parts, wanted, fillvalue="")]
    # One part that is altogether different makes another endpoint of it.
    return sum(scores) / len(scores) if min(scores) >= _NEAR_PART else 0.0


@cache
def _part_likeness(part: str, wanted: str) -> float:
    if part == wanted:
        return 1.0
    if not part or not wanted:
        return 0.0
    if wanted.startswith("{"):
        return 0.95 if _ID_LIKE.fullmatch(part) else _NEAR_PART
    return SequenceMatcher(None, part, wanted).ratio()


def _read(file: Path) -> Operations:
    try:
        index = msgspec.json.decode(file.read_bytes(), type=_Index)
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}; reinstall the package") from None
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{file}: {error}; remake it or reinstall the package") from None
    shared = Shared(index.defs)
    return Operations([Operation(record, shared) for record in index.operations], index.sources[0].api_version, shared)


@cache
def _own() -> Operations:
    return _read(schemas_dir() / "stripe-operations.json")
