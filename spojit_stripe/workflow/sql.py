"""A first look at a transform's SQL: one SELECT, over nodes that have run, without templates.

The database itself refuses the rest when it runs; this finds what a glance can find.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from spojit_stripe.expressions.bounds import listed
from spojit_stripe.words import nearest
from spojit_stripe.workflow.faults import Report, quoted
from spojit_stripe.workflow.model import SqlNode

__all__ = ["check_sql", "tables_of"]

_TOKEN = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'"
    r'|(?P<quoted>"(?:[^"]|"")*")|(?P<parameter>\$\w+)|(?P<word>[A-Za-z_]\w*)|(?P<sign>[^\s\w])',
    re.DOTALL,
)
_STARTS: Final = ("select", "with", "from", "values")
_HOW: Final = frozenset({"not", "materialized"})
# Words behind which the list of tables has ended.
_ENDS: Final = frozenset(
    {"where", "group", "order", "having", "limit", "offset", "union", "intersect", "except", "window", "qualify"}
    | {"select", "sample", "using", "on", "set"}
)
_JOINS: Final = frozenset(
    {"join", "inner", "left", "right", "full", "outer", "cross", "natural", "semi", "anti", "asof", "positional"}
    | {"lateral", "as"}
)


def check_sql(report: Report, node: SqlNode, tables: Iterable[str]) -> None:
    """Report what is wrong with the statement. `tables` are the nodes that can be read."""
    path = (*node.path, "sql")
    if not node.sql:
        return
    if "{{" in node.sql or "{%" in node.sql:
        report.error(
            path, "sql takes no {{ … }}, for data would become SQL", "write $name, and its value under params:"
        )
        return
    tokens = [*_tokens(node.sql)]
    words = [text.lower() for kind, text in tokens if kind == "word"]
    if not words or words[0] not in _STARTS:
        report.error(path, f"sql begins with {quoted(words[0] if words else '')}", "it is one SELECT")
        return
    if any(text == ";" for _, text in tokens[:-1]):
        report.error(path, "sql holds more than one statement", "it is one SELECT")
    _check_parameters(report, node, {text[1:] for kind, text in tokens if kind == "parameter"})
    known = {name.lower(): name for name in tables}
    own = {name.lower() for name in _named_in_with(tokens)}
    for table in dict.fromkeys(_tables(tokens)):
        if table.lower() not in known and table.lower() not in own:
            guess = nearest(table, known.values()) or (
                f"there is {listed(known.values())}" if known else "none has run"
            )
            report.error(path, f"sql reads from {quoted(table)}, and no earlier node is called so", guess)


def tables_of(sql: str) -> set[str]:
    """What the statement reads from, in lower case, common table expressions left out."""
    tokens = [*_tokens(sql)]
    own = {name.lower() for name in _named_in_with(tokens)}
    return {table.lower() for table in _tables(tokens)} - own


def _check_parameters(report: Report, node: SqlNode, used: set[str]) -> None:
    given = node.params.source if isinstance(node.params.source, dict) else {}
    for name in sorted(used - given.keys()):
        advice = nearest(name, given) or f"write it as params: {{{name}: …}}"
        report.error((*node.path, "sql"), f"sql uses ${name}, which params does not give", advice)
    for name in given:
        if name not in used:
            report.error((*node.path, "params", name), f"sql does not use ${name}", nearest(name, used))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "quoted":
            yield "name", match.group()[1:-1].replace('""', '"')
        elif match.lastgroup is not None:
            yield match.lastgroup, match.group()


def _named_in_with(tokens: list[tuple[str, str]]) -> Iterator[str]:
    """Names of common table expressions: those before `as (`, or before columns and `as`."""
    for place, (kind, text) in enumerate(tokens):
        if kind != "word" or text.lower() != "as":
            continue
        following = [word.lower() for _, word in tokens[place + 1 : place + 4] if word.lower() not in _HOW]
        before = place - 1
        if before > 0 and tokens[before] == ("sign", ")"):  # behind the names of its columns
            before = max(at for at in range(before) if tokens[at] == ("sign", "(") or not at) - 1
        if following[:1] == ["("] and before >= 0:
            yield tokens[before][1]


def _tables(tokens: list[tuple[str, str]]) -> Iterator[str]:
    """Names that stand where a table does; functions and queries in brackets are none."""
    for place, (kind, text) in enumerate(tokens):
        if kind == "word" and text.lower() in ("from", "join") and not _of_function(tokens, place):
            yield from _listed_at(tokens, place + 1, commas=text.lower() == "from")


def _of_function(tokens: list[tuple[str, str]], place: int) -> bool:
    """`from` inside `extract(… from …)`, `trim(… from …)`, `is distinct from`."""
    if place and tokens[place - 1][1].lower() == "distinct":
        return True
    depth = 0
    for at in range(place - 1, -1, -1):
        sign = tokens[at][1]
        depth += (sign == ")") - (sign == "(")
        if depth < 0:
            return at > 0 and tokens[at - 1][1].lower() in ("extract", "trim", "substring", "overlay", "position")
    return False


def _listed_at(tokens: list[tuple[str, str]], place: int, *, commas: bool) -> Iterator[str]:
    depth, expected = 0, True
    for at in range(place, len(tokens)):
        kind, text = tokens[at]
        lower = text.lower()
        depth += (text == "(" and kind == "sign") - (text == ")" and kind == "sign")
        if depth < 0 or (depth == 0 and kind == "word" and lower in _ENDS):
            return
        if depth:
            expected = False
        elif kind == "sign" and text == ",":
            expected = commas
        elif expected and kind in ("word", "name") and (kind == "name" or lower not in _JOINS):
            expected = False
            if tokens[at + 1 : at + 2] not in ([("sign", "(")], [("sign", ".")]):
                yield text
        elif kind == "word" and lower == "join":
            return
