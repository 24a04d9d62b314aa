"""Nodes, from YAML to the model; what is wrong with their form is reported."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypedDict, cast

from pydantic import ValidationError

from spojit_stripe.connection import Cap, Caps, Policy
from spojit_stripe.errors import InputError
from spojit_stripe.expressions import Compiled
from spojit_stripe.expressions.bounds import kind_of
from spojit_stripe.redact import redact_text
from spojit_stripe.values import JsonValue, Paging
from spojit_stripe.words import nearest
from spojit_stripe.workflow.faults import Path, Report, quoted
from spojit_stripe.workflow.fields import Fields
from spojit_stripe.workflow.guesses import lasting_faults
from spojit_stripe.workflow.model import (
    RESERVED,
    AgentLimits,
    AgentNode,
    Branch,
    ConditionNode,
    DirectNode,
    Goto,
    HumanNode,
    LoopNode,
    Node,
    OnError,
    ParallelNode,
    PluginNode,
    ResponseNode,
    SetNode,
    SqlNode,
    SubworkflowNode,
    Unreadable,
)
from spojit_stripe.workflow.schemas import check_schema
from spojit_stripe.workflow.vocabulary import NO_EXTRAS, NODE_TYPES, NodeType, Vocabulary
from spojit_stripe.yamlfile import Document

__all__ = ["read_node", "read_nodes"]

_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_COMMON: Final = ("id", "type", "when", "on_error", "timeout")
_CONNECTOR: Final = (*_COMMON, "connector", "connection", "mode", "policy")
_PAGING: Final = ("paginate", "max_items", "max_pages", "order")
_DIRECT: Final = (*_CONNECTOR, "tool", "params", "options", *_PAGING, "once")
_AGENT: Final = (*_CONNECTOR, "prompt", "tools", "model", "limits", "response_schema", "on_limit")
_LIMITS: Final[Mapping[str, int]] = {
    "turns": 1_000,
    "tool_calls": 10_000,
    "tokens": 100_000_000,
    "seconds": 86_400,
    "objects": 10_000_000,
}
_POLICY_KEYS: Final = (*Policy.model_fields, *Caps.model_fields, *Cap.model_fields)
_DEEPEST: Final = 20
_MOST: Final = 10**9
_MOST_CONCURRENCY: Final = 100


class _Common(TypedDict):
    id: str
    path: Path
    when: Compiled | None
    on_error: OnError
    timeout: float | None


def read_nodes(report: Report, value: JsonValue, path: Path, what: str, depth: int = 0) -> tuple[Node, ...]:
    """A list of nodes; those whose type or id is no good are left out and reported."""
    if not isinstance(value, list):
        report.error(path, f"{what} is {kind_of(value)}, but a list of nodes is needed")
        return ()
    if not value:
        report.error(path, f"{what} is empty", "it needs at least one node")
    if depth > _DEEPEST:
        report.error(path, f"nodes stand more than {_DEEPEST} deep in each other", "use a subworkflow")
        return ()
    found = [_node(report, item, (*path, place), depth) for place, item in enumerate(value)]
    return tuple(node for node in found if node is not None)


def read_node(data: JsonValue, vocabulary: Vocabulary = NO_EXTRAS) -> Node:
    """One node that stands in no file. Raises `InputError`, its `faults` all that is wrong with its form."""
    report = Report(Document("node", data), vocabulary)
    node = _node(report, data, (), 0)
    lines = tuple(f"{one.message}{'; ' if one.suggestion else ''}{one.suggestion}" for one in report.faults)
    if node is None or lines:
        raise InputError(lines[0], faults=lines)
    return node


def _types(report: Report) -> tuple[str, ...]:
    return (*NODE_TYPES, *report.vocabulary.node_types)


def _node(report: Report, value: JsonValue, path: Path, depth: int) -> Node | None:
    if not isinstance(value, dict):
        report.error(path, f"a node is {kind_of(value)}, but a mapping is needed", "write - id: …")
        return None
    given_id = value.get("id")
    what = f"node {quoted(given_id)}" if isinstance(given_id, str) else "the node"
    fields = Fields(report, value, path, what)
    id_ = _id(fields)
    kind = fields.text("type", required=True, advice=f"it is one of {', '.join(_types(report))}")
    read = _READERS.get(kind or "")
    extra = report.vocabulary.node_types.get(kind or "")
    if extra is not None:
        return _plugin(fields, _common(fields, id_ or "?"), extra)
    if kind is None or read is None:
        _unknown_type(fields, kind)
        return Unreadable(id=id_ or "?", path=path)
    return read(fields, _common(fields, id_ or "?"), depth)


def _unknown_type(fields: Fields, kind: str | None) -> None:
    if kind is not None:
        known = _types(fields.report)
        guess = nearest(kind, known) or f"it is one of {', '.join(known)}"
        fields.error("type", f"unknown node type {quoted(kind)}", guess)


def _id(fields: Fields) -> str | None:
    found = fields.text("id", required=True, advice="expressions name the node by it")
    if found is None:
        return None
    if not _ID.fullmatch(found):
        better = re.sub(r"[^A-Za-z0-9_]+", "_", found).strip("_0123456789")[:63]
        advice = f"write {better}" if better else "write letters, digits and underscores"
        fields.error("id", f"the id {quoted(found)} can't be written in an expression", advice)
        return None
    if found.lower() in RESERVED:
        fields.error("id", f"the id {found!r} has a meaning of its own in expressions", "choose another")
        return None
    return found


def _common(fields: Fields, id_: str) -> _Common:
    return {
        "id": id_,
        "path": fields.path,
        "when": fields.condition("when") if "when" in fields else None,
        "on_error": _on_error(fields),
        "timeout": fields.duration("timeout"),
    }


def _on_error(fields: Fields) -> OnError:
    value = fields.data.get("on_error", "fail")
    if value == "fail":
        return "fail"
    if value == "continue":
        return "continue"
    if isinstance(value, dict) and set(value) == {"goto"} and isinstance(value["goto"], str):
        return Goto(value["goto"])
    guess = nearest(value, ("fail", "continue")) if isinstance(value, str) else ""
    shown = quoted(value) if isinstance(value, str) else kind_of(value)
    fields.error("on_error", f"on_error is {shown}", guess or "it is fail, continue or {goto: id}")
    return "fail"


def _connector(fields: Fields, common: _Common, _depth: int) -> Node:
    mode = fields.choice("mode", ("direct", "agent"), "direct")
    fields.only(_DIRECT if mode == "direct" else _AGENT)
    connector = fields.text("connector", required=True, advice="write connector: stripe") or ""
    connection = fields.text("connection", required=True, advice="name one of connections.yaml") or ""
    policy = _policy(fields)
    if mode == "agent":
        return AgentNode(
            **common,
            connector=connector,
            connection=connection,
            policy=policy,
            prompt=fields.compiled_text("prompt", required=True),
            tools=fields.texts("tools", required=True) if "tools" in fields else None,
            model=fields.text("model"),
            limits=_limits(fields),
            response_schema=check_schema(fields, "response_schema"),
            on_limit=fields.choice("on_limit", ("incomplete", "fail"), "incomplete"),
        )
    return DirectNode(
        **common,
        connector=connector,
        connection=connection,
        policy=policy,
        tool=fields.text("tool", required=True) or "",
        params=fields.compiled_mapping("params"),
        options=fields.compiled_mapping("options"),
        paging=_paging(fields),
        once=fields.compiled_text("once") if "once" in fields else None,
    )


def _paging(fields: Fields) -> Paging:
    if "order" in fields and fields.data.get("paginate", "page") == "page":
        fields.error("order", "order is for whole lists", "write paginate: all, or leave it out")
    return Paging(
        paginate=fields.choice("paginate", ("page", "all"), "page"),
        max_items=fields.integer("max_items", least=1, most=_MOST),
        max_pages=fields.integer("max_pages", least=1, most=_MOST),
        order=fields.choice("order", ("newest", "any"), "newest"),
    )


def _policy(fields: Fields) -> Policy:
    data = fields.mapping("policy")
    try:
        return Policy.model_validate(data)
    except ValidationError as error:
        for one in error.errors():
            path: Path = (*fields.path, "policy")
            for part in one["loc"]:  # pydantic's, with parts of its own
                path = (*path, part) if (*path, part) in fields.report.document.positions else path
            fields.report.error(path, *_policy_fault(cast("dict[str, Any]", one)))
        return Policy()


def _policy_fault(error: dict[str, Any]) -> tuple[str, str]:
    name = ".".join(["policy", *(part for part in error["loc"] if isinstance(part, str) and part.isidentifier())])
    kind = error["type"]
    if kind == "extra_forbidden":
        name = str(error["loc"][-1])
        return f"unknown key {quoted(name)} in policy", nearest(name, _POLICY_KEYS)
    if kind == "missing":
        return f"{name} is missing", ""
    if kind == "value_error":
        return redact_text(f"{name}: {error['ctx']['error']}"), ""
    return redact_text(f"{name}: {error['msg'][:1].lower()}{error['msg'][1:]}"), ""


def _limits(fields: Fields) -> AgentLimits:
    inner = Fields(fields.report, fields.mapping("limits"), (*fields.path, "limits"), "limits")
    inner.only((*_LIMITS, "cost_usd"))
    default = AgentLimits()
    cost = inner.data.get("cost_usd", default.cost_usd)
    if isinstance(cost, bool) or not isinstance(cost, int | float) or cost <= 0:
        inner.error("cost_usd", f"cost_usd is {cost!r}", "it is a number of US dollars above 0")
        cost = default.cost_usd
    numbers = {name: inner.integer(name, least=1, most=most) for name, most in _LIMITS.items()}
    return AgentLimits(
        turns=numbers["turns"] or default.turns,
        tool_calls=numbers["tool_calls"] or default.tool_calls,
        tokens=numbers["tokens"] or default.tokens,
        cost_usd=float(cost),
        seconds=numbers["seconds"] or default.seconds,
        objects=numbers["objects"] or default.objects,
    )


def _transform(fields: Fields, common: _Common, _depth: int) -> Node:
    fields.only((*_COMMON, "set", "sql", "params"))
    if ("set" in fields) == ("sql" in fields):
        both = "set" in fields
        fields.report.error(
            fields.path,
            f"{fields.what} has {'both set and sql' if both else 'neither set nor sql'}",
            "a transform has one of them",
        )
        return Unreadable(**common)
    if "set" in fields:
        if "params" in fields:
            fields.error("params", "params belong to sql", "set takes its values itself")
        return SetNode(**common, set=fields.compiled_mapping("set"))
    return SqlNode(**common, sql=fields.text("sql") or "", params=fields.compiled_mapping("params"))


def _condition(fields: Fields, common: _Common, depth: int) -> Node:
    fields.only((*_COMMON, "if", "then", "elif", "else"))
    for key in ("if", "then"):
        if key not in fields:
            fields.missing(key)
    branches: list[Branch] = []
    if "if" in fields and "then" in fields:
        branches.append(_choice(fields, "if", depth))
    for place, item in enumerate(fields.items("elif")):
        path = (*fields.path, "elif", place)
        inner = Fields(fields.report, item, path, f"elif {place + 1} of {fields.what}")
        inner.only(("if", "then"))
        for key in ("if", "then"):
            if key not in inner and inner.data:
                inner.missing(key)
        if "if" in inner and "then" in inner:
            branches.append(_choice(inner, f"elif {place + 1}", depth))
    if "else" in fields:
        branches.append(_plain_branch(fields, "else", "else", fields.data["else"], depth))
    return ConditionNode(**common, choices=tuple(branches))


def _choice(fields: Fields, name: str, depth: int) -> Branch:
    return Branch(
        name=name,
        test=fields.condition("if"),
        nodes=read_nodes(fields.report, fields.data["then"], (*fields.path, "then"), "then", depth + 1),
        path=fields.path,
    )


def _plain_branch(fields: Fields, name: str, key: str, value: JsonValue, depth: int) -> Branch:
    path = (*fields.path, key) if key == "else" else (*fields.path, "branches", key)
    return Branch(name=name, nodes=read_nodes(fields.report, value, path, name, depth + 1), path=path)


def _loop(fields: Fields, common: _Common, depth: int) -> Node:
    fields.only((*_COMMON, "for_each", "as", "concurrency", "nodes"))
    for_each = fields.compiled("for_each", required=True, advice='write for_each: "{{ node.data }}"')
    literal = fields.data.get("for_each", [])
    if not isinstance(literal, list) and not for_each.is_expression():
        fields.error("for_each", f"for_each is {kind_of(literal)}", "write one {{ … }} that gives a list, or a list")
    item = fields.text("as") or "item"
    if not _ID.fullmatch(item) or item.lower() in RESERVED:
        fields.error("as", f"the name {quoted(item)} can't be an item's", "write letters, digits and underscores")
        item = "item"
    if "nodes" not in fields:
        fields.missing("nodes")
    return LoopNode(
        **common,
        for_each=for_each,
        item=item,
        concurrency=fields.integer("concurrency", least=1, most=_MOST_CONCURRENCY) or 1,
        nodes=read_nodes(fields.report, fields.data["nodes"], (*fields.path, "nodes"), "nodes", depth + 1)
        if "nodes" in fields
        else (),
    )


def _parallel(fields: Fields, common: _Common, depth: int) -> Node:
    fields.only((*_COMMON, "branches"))
    named = fields.mapping("branches")
    if len(named) < 2 and ("branches" not in fields or isinstance(fields.data["branches"], dict)):
        fields.report.error(
            fields.path, f"{fields.what} has {'one branch' if named else 'no branches'}", "it needs two or more"
        )
    for name in named:
        if not _ID.fullmatch(name):
            fields.report.error(
                (*fields.path, "branches", name),
                f"the branch name {quoted(name)} can't be written in an expression",
                "write letters, digits and underscores",
            )
    return ParallelNode(
        **common, named=tuple(_plain_branch(fields, name, name, value, depth) for name, value in named.items())
    )


def _human(fields: Fields, common: _Common, _depth: int) -> Node:
    fields.only((*_COMMON, "message", "approvers", "urgency"))
    approvers = fields.texts("approvers")
    for name in approvers:
        if "{{" in name:
            told = f"approvers are names as they stand, so nobody is {quoted(name)}"
            fields.report.warn((*fields.path, "approvers"), told, "write the names out")
    return HumanNode(
        **common,
        message=fields.compiled_text("message", required=True),
        approvers=approvers,
        urgency=fields.choice("urgency", ("low", "normal", "high"), "normal"),
    )


def _subworkflow(fields: Fields, common: _Common, _depth: int) -> Node:
    fields.only((*_COMMON, "workflow", "inputs"))
    return SubworkflowNode(
        **common,
        workflow=fields.text("workflow", required=True, advice="give its path from this file") or "",
        inputs=fields.compiled_mapping("inputs"),
    )


def _plugin(fields: Fields, common: _Common, kind: NodeType) -> Node:
    properties = kind.schema.get("properties")
    known = [*properties] if isinstance(properties, dict) else []
    fields.only((*_COMMON, *known))
    own = {name: fields.data[name] for name in known if name in fields}
    compiled = fields.report.compiled(fields.path, own, fields.what)
    for line in (*lasting_faults(compiled, kind.key_faults), *kind.own_faults(own)):
        name = line.partition(": ")[0]
        place = (*fields.path, name) if name in own else fields.path
        fields.report.line(place, line)
    return PluginNode(**common, kind=kind.name, fields=compiled)


def _response(fields: Fields, common: _Common, _depth: int) -> Node:
    fields.only((*_COMMON, "body", "status"))
    return ResponseNode(
        **common,
        body=fields.compiled("body", required=True),
        status=fields.integer("status", least=200, most=599) or 200,
    )


_READERS: Final[Mapping[str, Callable[[Fields, _Common, int], Node]]] = {
    "connector": _connector,
    "transform": _transform,
    "condition": _condition,
    "loop": _loop,
    "parallel": _parallel,
    "human": _human,
    "subworkflow": _subworkflow,
    "response": _response,
}
