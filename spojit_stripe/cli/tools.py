"""`tools`: what can be called, and how."""

from __future__ import annotations

import sys

import click
from click.shell_completion import CompletionItem

from spojit_stripe.catalog import Catalog, Tool
from spojit_stripe.cli.base import Command, settings_of
from spojit_stripe.cli.flags import Flag, flags_of
from spojit_stripe.cli.report import json_text, note
from spojit_stripe.cli.show import show_fields, write_table
from spojit_stripe.values import JsonObject

__all__ = ["tools"]

_LONGEST = 100
_FILTERED_BY = {
    "server": "Stripe's list",
    "client": "this program, page by page",
    "search": "Stripe's search, which lags writes",
}


def _names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(tool.name, help=tool.title) for tool in Catalog.load() if tool.name.startswith(incomplete)]


@click.command("tools", cls=Command, uses=("json",), help="List the tools, or show one with its parameters.")
@click.argument("name", required=False, shell_complete=_names)
@click.pass_context
def tools(ctx: click.Context, name: str | None) -> int:
    catalog = Catalog.load()
    as_json = settings_of(ctx).json
    if name is None:
        _list(catalog, as_json=as_json)
    else:
        _show(catalog.tool(name), as_json=as_json)
    return 0


def _list(catalog: Catalog, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(f"{json_text([_descriptor(tool) for tool in catalog])}\n")
        return
    rows = [[tool.name, _does(tool), _first_sentence(tool.description)] for tool in catalog]
    write_table(sys.stdout, ["tool", "does", "what it is for"], rows, wrapped=2)
    note(f"{len(rows)} tools; `spojit-stripe tools NAME` shows one, `spojit-stripe call NAME --help` its flags")


def _descriptor(tool: Tool) -> JsonObject:
    """The whole descriptor, as a client of MCP and a workflow's author need it."""
    one = tool.binding
    filters: JsonObject = {name: {"by": filter_.by, "field": filter_.field} for name, filter_ in one.filters.items()}
    binding: JsonObject = {
        "request": "raw" if one.raw else {"method": one.method, "path": one.path},
        "list": one.list_style,
        "filters": filters,
        "lean": [*one.lean],
        "author_only": [*sorted(one.author_only)],
    }
    return {**tool.to_mcp(), "inputSchema": tool.input_schema, "binding": binding}


def _does(tool: Tool) -> str:
    if tool.binding.raw:
        return "reads or writes"
    return "reads" if tool.annotations.read_only else "writes"


def _first_sentence(text: str) -> str:
    sentence = text.split(". ")[0].rstrip(".")
    return sentence if len(sentence) <= _LONGEST else sentence.split(": ")[0]


def _show(tool: Tool, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(f"{json_text(_descriptor(tool))}\n")
        return
    binding = tool.binding
    show_fields(
        sys.stdout,
        [
            ("tool", tool.name),
            ("title", tool.title),
            ("does", _does(tool)),
            ("request", "any" if binding.raw else f"{binding.method} {binding.path}"),
            ("columns", ", ".join(binding.lean)),
        ],
    )
    sys.stdout.write(f"\n{tool.description}\n\n")
    required = tool.input_schema.get("required")
    needed = frozenset(required if isinstance(required, list) else ())
    rows = [_parameter(tool, flag, needed=flag.path[0] in needed and len(flag.path) == 1) for flag in flags_of(tool)]
    rows = [row for row, flag in zip(rows, flags_of(tool), strict=True) if not flag.hidden]
    write_table(sys.stdout, ["parameter", "type", "needed", "filtered by", "who may set it"], rows, wrapped=1)


def _parameter(tool: Tool, flag: Flag, *, needed: bool) -> list[str]:
    filtered = tool.binding.filters.get(flag.path[0])
    return [
        flag.where,
        _type(flag),
        "yes" if needed else "",
        _FILTERED_BY[filtered.by] if filtered else "",
        "author only" if flag.author_only else "anyone",
    ]


def _type(flag: Flag) -> str:
    if flag.form == "map":
        return f"object of {' or '.join(sorted(flag.inner))}"
    if flag.form in ("list", "json"):
        return f"list of {' or '.join(sorted(flag.inner))}"
    kinds = " or ".join(sorted(flag.kinds))
    return f"{kinds}: {', '.join(flag.choices)}" if 0 < len(flag.choices) <= 12 else kinds
