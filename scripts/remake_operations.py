#!/usr/bin/env python3
"""Remake `schemas/stripe-operations.json` from the installed `stripe` package.

A new API version is one command and a diff:

    pip install -U stripe && python scripts/remake_operations.py

`--check` changes nothing: exit code 1 and a summary where the file is not what the
installed package gives. The package is read, never called: paths come from the source of
its service classes, parameters from its TypedDicts.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import importlib.metadata
import json
import re
import sys
import types
import typing
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import stripe
import typing_extensions
from stripe import RequestOptions

# What typing says about foreign types has no better type than Any.
Node: TypeAlias = dict[str, Any]

INDEX = Path(__file__).parents[1] / "schemas" / "stripe-operations.json"
PACKAGE = Path(stripe.__file__).parent
SHORTEST_SHARED = 60  # characters of JSON from which a repeated list of children is shared

LEGEND = {
    "m": "method",
    "p": "path template",
    "id": "operation id, derived from method and path",
    "v": "of an operation: major version of the API, 1 takes forms and 2 takes JSON; of a map: its values",
    "sdk": "service and method in stripe-python",
    "base": "host; absent = api.stripe.com, files = files.stripe.com, meter_events = meter-events.stripe.com",
    "path": "path parameters: strings, all required",
    "in": "where params go: query, form, json or multipart",
    "params": "parameters, without those of the path",
    "n": "name",
    "t": "string|integer|boolean|number|decimal|object|array|map|any|alt",
    "r": "1 = required",
    "u": "1 = an empty string is accepted and unsets",
    "null": "1 = null is accepted and unsets (API 2)",
    "e": "known values",
    "eo": "1 = the list of known values is open: Stripe adds some without a new version",
    "i": "item of an array",
    "c": "children of an object",
    "d": "children of an object = defs[d]",
    "alt": "one of these",
    "list": "cursor = limit, starting_after, ending_before -> has_more, data; "
    "v2:page+next_page_url = page -> next_page_url, data; no-cursor = data only",
    "search": "page+next_page = query, page -> next_page, data",
    "deprecated": "1 = marked as deprecated",
    "stream": "1 = answers with bytes",
    "ret": "type in stripe-python",
}
HTTP_IN = {"get": "query", "delete": "query", "post": "form"}
SCALARS: dict[object, str] = {str: "string", int: "integer", bool: "boolean", float: "number"}
ORDER = ("object", "array", "map", "string", "integer", "number", "decimal", "boolean", "any")


class RemakeError(Exception):
    """The package looks unlike anything this script knows."""


# --- parameters -------------------------------------------------------------------------------


def params_of(module: str, name: str) -> list[Node]:
    """The parameters that the TypedDict `name` of `module` declares, options of a request left out."""
    return _children(getattr(importlib.import_module(module), name))


def _children(typed_dict: Any) -> list[Node]:
    options = RequestOptions.__annotations__ if _is_request(typed_dict) else {}
    # The base class names types that exist for type checkers only.
    names = {"StripeContext": object, "Mapping": Mapping}
    hints = typing_extensions.get_type_hints(typed_dict, localns=names, include_extras=True)
    required = typed_dict.__required_keys__
    return [
        {"n": name, **_typed(hint), **({"r": 1} if name in required else {})}
        for name, hint in sorted(hints.items())
        if name not in options
    ]


def _is_request(typed_dict: Any) -> bool:
    return RequestOptions.__annotations__.keys() <= typed_dict.__annotations__.keys()


def _typed(hint: Any) -> Node:
    origin, args = typing_extensions.get_origin(hint), typing_extensions.get_args(hint)
    if origin in (typing_extensions.NotRequired, typing_extensions.Required):
        return _typed(args[0])
    if origin in (typing.Union, types.UnionType):
        return _union(list(args))
    if origin is typing.Literal:
        return {"t": "string", "u": 1} if args == ("",) else {"t": "string", "e": sorted(args)}
    if origin is list:
        return {"t": "array", "i": _typed(args[0])}
    if origin is dict:
        return {"t": "map", "v": _typed(args[1])}
    if hint in SCALARS:
        return {"t": SCALARS[hint]}
    return _named(hint)


def _named(hint: Any) -> Node:
    if typing_extensions.is_typeddict(hint):
        return {"t": "object", "c": _children(hint)}
    if getattr(hint, "__name__", "") == "Decimal":
        return {"t": "decimal"}
    if hint is Any:
        return {"t": "any"}
    raise RemakeError(f"no rule for the type {hint!r}")


def _union(args: list[Any]) -> Node:
    marks: Node = {}
    kept: list[Any] = []
    for arg in args:
        if arg is type(None):
            marks["null"] = 1
        elif typing.get_origin(arg) is typing.Literal and typing.get_args(arg) == ("",):
            marks["u"] = 1
        elif getattr(typing.get_origin(arg), "__name__", "") != "UntypedStripeObject":
            kept.append(arg)
    enums = [arg for arg in kept if typing.get_origin(arg) is typing.Literal]
    if str in kept and enums:  # Literal["a"] | str: known values, and others
        kept.remove(str)
        found = [_typed(arg) for arg in kept]
        found[kept.index(enums[0])]["eo"] = 1
    else:
        found = [_typed(arg) for arg in kept]
    if len(found) == 1:
        return {**found[0], **marks}
    # typing keeps the order in which it first met a union, which depends on what was read before.
    found.sort(key=lambda node: (ORDER.index(node["t"]), _compact(node)))
    return {"t": "alt", "alt": found, **marks}


# --- operations -------------------------------------------------------------------------------


def operations() -> Iterator[Node]:
    """Every operation of every service class, in no order."""
    for file in sorted(PACKAGE.rglob("_*_service.py")):
        module = ".".join(("stripe", *file.relative_to(PACKAGE).with_suffix("").parts))
        tree = ast.parse(file.read_text(encoding="utf-8"))
        imports = {
            alias.asname or alias.name: node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
        for service in (node for node in tree.body if isinstance(node, ast.ClassDef)):
            for method in (node for node in service.body if isinstance(node, ast.FunctionDef)):
                operation = _operation(module, method, imports)
                if operation:
                    yield operation


def _operation(module: str, method: ast.FunctionDef, imports: dict[str, str]) -> Node | None:
    call = next((node for node in ast.walk(method) if _is_request_call(node)), None)
    if call is None:
        return None
    assert isinstance(call, ast.Call)
    verb, path = _text(call.args[0]), _path(call.args[1])
    keywords = {word.arg: word.value for word in call.keywords}
    base = _text(keywords["base_address"])
    version = 2 if path.startswith("/v2/") else 1
    where = HTTP_IN[verb]
    if verb == "post":
        where = "multipart" if "multipart" in ast.dump(method) else "json" if version == 2 else "form"
    name = _params_name(method)
    params = params_of(imports[name], name) if name else []
    returns = _text(method.returns) if method.returns else "None"
    operation: Node = {
        "m": verb.upper(),
        "p": path,
        "id": _operation_id(verb, path),
        "v": version,
        "sdk": _sdk_name(module, method.name),
        **({"base": base} if base != "api" else {}),
        **({"path": found} if (found := re.findall(r"{(\w+)}", path)) else {}),
        "in": where,
        "params": params,
        **_list_style(version, returns, params),
        **({"deprecated": 1} if re.match(r"\[Deprecated\]|This method is deprecated", _doc(method)) else {}),
        **({"stream": 1} if "stream" in _called(call) else {}),
        "ret": returns,
    }
    return operation


def _is_request_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _called(node) in ("_request", "_request_stream")


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    raise RemakeError(f"no constant: {ast.unparse(node)}")


def _path(node: ast.expr) -> str:
    # Either "/v1/charges" or "/v1/charges/{charge}".format(charge=sanitize_id(charge)).
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _text(node.func.value)
    return _text(node)


def _params_name(method: ast.FunctionDef) -> str | None:
    for arg in method.args.args:
        if arg.arg == "params" and arg.annotation is not None:
            names = re.findall(r"\w+Params\b", ast.unparse(arg.annotation))
            return names[0] if names else None
    return None


def _doc(method: ast.FunctionDef) -> str:
    return ast.get_docstring(method) or ""


def _sdk_name(module: str, method: str) -> str:
    *folders, file = module.split(".")[1:]
    return ".".join((*folders, file.removeprefix("_").removesuffix("_service"), method))


def _operation_id(verb: str, path: str) -> str:
    words = re.split(r"[/_.{}]+", path.removeprefix("/v1"))
    return verb.capitalize() + "".join(word[:1].upper() + word[1:] for word in words)


def _list_style(version: int, returns: str, params: list[Node]) -> Node:
    if returns.startswith("SearchResultObject["):
        return {"search": "page+next_page"}
    if not returns.startswith("ListObject["):
        return {}
    if version == 2:
        return {"list": "v2:page+next_page_url"}
    return {"list": "cursor" if any(param["n"] == "starting_after" for param in params) else "no-cursor"}


# --- shared children --------------------------------------------------------------------------


def _lists_of_children(nodes: Iterable[Node]) -> Iterator[list[Node]]:
    for node in nodes:
        if "c" in node:
            yield node["c"]
            yield from _lists_of_children(node["c"])
        yield from _lists_of_children(node.get("alt", ()))
        for key in ("i", "v"):
            if isinstance(node.get(key), dict):
                yield from _lists_of_children((node[key],))


def share(found: list[Node]) -> tuple[dict[str, Any], list[Node]]:
    """`found` with lists of children that occur twice or more moved to the definitions.

    A definition is named by the hash of its full content, so that what did not change
    keeps its name, whatever changed around it.
    """
    seen = Counter(_compact(children) for operation in found for children in _lists_of_children(operation["params"]))
    shared = {text for text, times in seen.items() if times > 1 and len(text) >= SHORTEST_SHARED}
    defs: dict[str, Any] = {}

    def moved(node: Node) -> Node:
        result = dict(node)
        if "c" in node:
            text = _compact(node["c"])
            children = [moved(child) for child in node["c"]]
            if text in shared:
                del result["c"]
                result["d"] = hashlib.sha256(text.encode()).hexdigest()[:10]
                defs[result["d"]] = children
            else:
                result["c"] = children
        if "alt" in node:
            result["alt"] = [moved(child) for child in node["alt"]]
        for key in ("i", "v"):
            if isinstance(node.get(key), dict):
                result[key] = moved(node[key])
        return result

    operations_ = [{**one, "params": [moved(param) for param in one["params"]]} for one in found]
    return dict(sorted(defs.items())), operations_


# --- file -------------------------------------------------------------------------------------


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def text_of_index() -> str:
    """The whole file: one definition and one operation per line."""
    order = sorted(operations(), key=lambda one: (one["v"], one["p"], one["m"], one["sdk"]))
    defs, shared = share(_unique(order))
    source = {
        "name": "stripe-python",
        "version": importlib.metadata.version("stripe"),
        "api_version": stripe.api_version,
        "license": "MIT",
        "ops": len(shared),
    }
    lines = [f"{_compact(name)}:{_compact(children)}" for name, children in defs.items()]
    return "\n".join(
        (
            f'{{"sources":[{_compact(source)}],',
            '"legend":{',
            ",\n".join(f"{_compact(key)}:{_compact(text)}" for key, text in LEGEND.items()),
            '},\n"defs":{',
            ",\n".join(lines),
            '},\n"operations":[',
            ",\n".join(_compact(one) for one in shared),
            "]}\n",
        )
    )


def _unique(found: list[Node]) -> list[Node]:
    """One entry per method and path; two services may offer the same one."""
    result: dict[tuple[str, str], Node] = {}
    for one in found:
        other = result.setdefault((one["m"], one["p"]), one)
        if other is not one and other["params"] != one["params"]:
            raise RemakeError(f"{one['m']} {one['p']} has two sets of parameters")
    return list(result.values())


def difference(old: str, new: str) -> list[str]:
    """What changed, in a few lines."""

    def keyed(text: str) -> dict[str, Any]:
        return {f"{one['m']} {one['p']}": one for one in json.loads(text)["operations"]} if text else {}

    before, after = keyed(old), keyed(new)
    lines = [f"+ {name}" for name in after.keys() - before.keys()]
    lines += [f"- {name}" for name in before.keys() - after.keys()]
    lines += [f"~ {name}" for name in after.keys() & before.keys() if before[name] != after[name]]
    return sorted(lines, key=lambda line: (line[2:], line[0]))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the file is out of date")
    parser.add_argument("--file", type=Path, default=INDEX)
    options = parser.parse_args()
    file: Path = options.file
    new = text_of_index()
    old = file.read_text(encoding="utf-8") if file.exists() else ""
    if old == new:
        print(f"{file.name} is up to date: {new.count(chr(10))} lines, API {stripe.api_version}")
        return 0
    changes = difference(old, new)
    for line in changes[:40]:
        print(line)
    if len(changes) > 40:
        print(f"… and {len(changes) - 40} more")
    if options.check:
        print(f"{file.name} is out of date: {len(changes)} operations differ; run {Path(__file__).name}")
        return 1
    file.write_text(new, encoding="utf-8")
    print(f"{file.name} written: API {stripe.api_version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
