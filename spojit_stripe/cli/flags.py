"""The flags of a tool, made from its descriptor, and the parameters they add up to.

--amount 1050                  a scalar
--created.gte 1700000000       inside an object: dots
--expand data.customer         a list: repeat the flag
--metadata order_id=6735       names of your own: repeat NAME=VALUE
--capture / --no-capture       true and false; also --capture true|false
--shipping '{"name": "…"}'     any object or list as JSON
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

import click
from click.shell_completion import CompletionItem

from spojit_stripe.catalog import Tool
from spojit_stripe.cli.given import branches_of, from_text, json_object_from, kinds_of, parse_json
from spojit_stripe.errors import InputError
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Flag", "collect", "flags_of", "option_name", "options_for"]

Form: TypeAlias = Literal["scalar", "boolean", "list", "map", "json", "object"]
Path: TypeAlias = tuple[str, ...]

_SHOWN_DEPTH: Final = 2  # deeper flags work, but would bury the help
_PREFIX: Final = "tool_"
_BOOLEAN: Final = frozenset({"boolean"})
_OBJECT: Final = frozenset({"object"})


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of a tool: the path of the parameter it sets, and how its text is read."""

    path: Path
    form: Form
    kinds: frozenset[str]
    inner: frozenset[str]
    help: str
    choices: tuple[str, ...]
    hidden: bool
    author_only: bool

    @property
    def name(self) -> str:
        return option_name(self.path)

    @property
    def where(self) -> str:
        return ".".join(self.path)


def option_name(path: Iterable[str]) -> str:
    """`("created", "gte")` as `--created.gte`, with dashes for underscores."""
    return "--" + ".".join(path).replace("_", "-")


def flags_of(tool: Tool) -> list[Flag]:
    """Every flag of a tool, those of nested parameters included."""
    properties = _objects(tool.input_schema.get("properties"))
    required = tool.input_schema.get("required")
    first = [str(name) for name in required] if isinstance(required, list) else []
    names = [*first, *(name for name in properties if name not in first)]
    return [
        flag
        for name in names
        for flag in _walk((name,), properties[name], author_only=name in tool.binding.author_only)
    ]


def _walk(path: Path, schema: JsonObject, *, author_only: bool) -> Iterator[Flag]:
    branches = branches_of(schema)
    kinds = kinds_of(branches)
    inner: frozenset[str] = frozenset()
    fields: dict[str, JsonObject] = {}
    form: Form = "scalar"
    for branch in branches:
        items, values = branch.get("items"), branch.get("additionalProperties")
        if branch.get("type") == "array" and isinstance(items, dict):
            inner = kinds_of(branches_of(items))
            form = "json" if inner & {"object", "array"} else "list"
        elif branch.get("type") == "object" and "properties" in branch:
            fields = _objects(branch["properties"])
        elif branch.get("type") == "object":
            inner = kinds_of(branches_of(values)) if isinstance(values, dict) else frozenset()
            form = "map" if inner else "object"
    if kinds == _BOOLEAN:
        form = "boolean"
    yield Flag(
        path=path,
        form=form,
        kinds=kinds,
        inner=inner,
        help=str(schema.get("description", "")),
        choices=_choices(branches),
        # An object's own flag takes JSON; the flags of its fields are what people use.
        hidden=len(path) > _SHOWN_DEPTH or (bool(fields) and kinds == _OBJECT),
        author_only=author_only,
    )
    for name, field in fields.items():
        yield from _walk((*path, name), field, author_only=author_only)


def _objects(value: JsonValue) -> dict[str, JsonObject]:
    if not isinstance(value, dict):
        return {}
    return {name: one for name, one in value.items() if isinstance(one, dict)}


def _choices(branches: Iterable[JsonObject]) -> tuple[str, ...]:
    found: list[str] = []
    for branch in branches:
        items = branch.get("items")
        known = (items if isinstance(items, dict) else branch).get("enum")
        if isinstance(known, list):
            found.extend(one for one in known if isinstance(one, str) and one)
    return tuple(found)


# --- flags as click options ------------------------------------------------------------------


def options_for(flags: Iterable[Flag], taken: frozenset[str]) -> list[click.Parameter]:
    """The options of `flags`, without those whose name the command itself uses."""
    options: list[click.Parameter] = []
    for number, flag in enumerate(flags):
        if flag.name not in taken:
            options.extend(_options(flag, f"{_PREFIX}{number}"))
    return options


def _options(flag: Flag, name: str) -> Iterator[click.Parameter]:
    if flag.form == "boolean":
        yield click.Option(
            [flag.name, name],
            is_flag=False,
            flag_value="true",
            multiple=True,
            metavar="[true|false]",
            help=_help(flag),
            hidden=flag.hidden,
            shell_complete=_completer(("true", "false")),
        )
        path = (*flag.path[:-1], f"no-{flag.path[-1]}")
        yield click.Option([option_name(path), f"{name}_no"], count=True, hidden=True)
        return
    yield click.Option(
        [flag.name, name],
        multiple=True,
        metavar=_metavar(flag),
        help=_help(flag),
        hidden=flag.hidden,
        shell_complete=_completer(flag.choices),
    )


def _help(flag: Flag) -> str:
    text = flag.help
    if flag.author_only and "uthor only" not in text:
        text = f"{text} Author only."
    return text


def _metavar(flag: Flag) -> str:
    if flag.form in ("map", "object"):
        return "NAME=VALUE" if flag.form == "map" else "JSON|@FILE"
    if flag.form == "json" or flag.kinds == _OBJECT:
        return "JSON"
    if flag.choices and len(flag.choices) <= 4:
        return "|".join(flag.choices)
    kinds = flag.inner if flag.form == "list" else flag.kinds
    return "INTEGER" if "integer" in kinds else "NUMBER" if "number" in kinds else "TEXT"


def _completer(
    choices: tuple[str, ...],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(one) for one in choices if one.startswith(incomplete)]

    return complete


# --- what was given --------------------------------------------------------------------------


def collect(
    flags: Iterable[Flag], given: Mapping[str, object], params: JsonObject, known: frozenset[str]
) -> tuple[JsonObject, JsonObject]:
    """The parameters and the author's parameters that the flags and `params` add up to.

    `known` are the command's option names: one of them in place of a value means that the
    value was forgotten. Raises `InputError` for what is given twice or can't be read.
    """
    together: JsonObject = dict(params)
    author: JsonObject = {}
    for number, flag in enumerate(flags):
        name = f"{_PREFIX}{number}"
        texts = given.get(name)
        values = [*cast("tuple[str, ...]", texts)] if isinstance(texts, tuple) else []
        values += ["false"] * int(str(given.get(f"{name}_no") or 0))
        if not values:
            continue
        forgotten = next((text for text in values if text in known), None)
        if forgotten is not None:
            raise InputError(f"{flag.where}: {flag.name} needs a value, but {forgotten} follows")
        _put(author if flag.author_only else together, flag, _value(flag, values))
    return together, author


def _value(flag: Flag, texts: list[str]) -> JsonValue:
    if flag.form == "object" and len(texts) == 1:
        return json_object_from(texts[0], flag.where)
    if flag.form == "map":
        return _map(flag, texts)
    if flag.form in ("list", "json") and not _is_whole(flag, texts):
        if flag.form == "json":
            return [parse_json(text, flag.where) for text in texts]
        return [from_text(text, flag.inner, flag.where) for text in texts]
    if len(texts) > 1:
        raise InputError(f"{flag.where}: given {len(texts)} times; give it once")
    if flag.kinds == _OBJECT and not texts[0].lstrip().startswith("{"):
        raise InputError(f"{flag.where}: {texts[0]!r} is no JSON object; set its fields with {flag.name}.NAME")
    return from_text(texts[0], flag.kinds, flag.where)


def _is_whole(flag: Flag, texts: list[str]) -> bool:
    """A single text that is the whole list, or the empty text that unsets it."""
    return len(texts) == 1 and (texts[0].lstrip().startswith("[") or (texts[0] == "" and "string" in flag.kinds))


def _map(flag: Flag, texts: list[str]) -> JsonValue:
    if len(texts) == 1 and (texts[0].lstrip().startswith("{") or (texts[0] == "" and "string" in flag.kinds)):
        return parse_json(texts[0], flag.where) if texts[0] else ""
    found: JsonObject = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"{flag.where}: {text!r} is not of the form NAME=VALUE")
        if name in found:
            raise InputError(f"{flag.where}.{name}: given twice; give it once")
        found[name] = from_text(value, flag.inner, f"{flag.where}.{name}")
    return found


def _put(target: JsonObject, flag: Flag, value: JsonValue) -> None:
    at = target
    for part in flag.path[:-1]:
        inner = at.setdefault(part, {})
        if not isinstance(inner, dict):
            raise InputError(f"{flag.where}: {flag.name} does not go with another value of {part}")
        at[part] = inner = dict(inner)  # what --params brought is not ours to change
        at = inner
    last = flag.path[-1]
    present = at.get(last)
    if flag.form == "map" and isinstance(present, dict) and isinstance(value, dict):
        twice = next((name for name in value if name in present), None)
        if twice is None:
            at[last] = {**present, **value}
            return
        raise InputError(f"{flag.where}.{twice}: given twice; give it once")
    if last in at:
        raise InputError(f"{flag.where}: given by {flag.name} and in another way too; give it once")
    at[last] = value
