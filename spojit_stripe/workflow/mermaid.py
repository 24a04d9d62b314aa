"""A workflow as a Mermaid flowchart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from spojit_stripe.redact import printable
from spojit_stripe.workflow.model import (
    AgentNode,
    Branch,
    ConditionNode,
    DirectNode,
    Goto,
    LoopNode,
    Node,
    ParallelNode,
    ResponseNode,
    Schedule,
    SqlNode,
    SubworkflowNode,
    Webhook,
    Workflow,
)

__all__ = ["mermaid"]

_LONGEST: Final = 60
_SHAPES: Final[Mapping[str, tuple[str, str]]] = {
    "connector": ("[", "]"),
    "transform": ("[/", "/]"),
    "condition": ("{", "}"),
    "loop": ("[[", "]]"),
    "parallel": ("[[", "]]"),
    "human": ("{{", "}}"),
    "subworkflow": ("[[", "]]"),
    "response": ("([", "])"),
    "": ("[", "]"),
}


def mermaid(workflow: Workflow) -> str:
    """The flowchart's text, without a last line break."""
    return "\n".join(_lines(workflow))


def _lines(workflow: Workflow) -> Iterator[str]:
    yield "flowchart TD"
    yield f'    start_(("{_text(_trigger(workflow))}"))'
    nodes = workflow.nodes
    yield from _list(nodes, "    ", "end_")
    first = _name(nodes[0]) if nodes else "end_"
    yield f"    start_ --> {first}"
    yield '    end_(("end"))'


def _trigger(workflow: Workflow) -> str:
    trigger = workflow.trigger
    if isinstance(trigger, Schedule):
        return f"{trigger.cron} {trigger.timezone}"
    return ", ".join(trigger.events) or "any event" if isinstance(trigger, Webhook) else "manual"


def _list(nodes: tuple[Node, ...], indent: str, after: str) -> Iterator[str]:
    """The nodes of a list and what leads from one to the next; `after` follows the last."""
    for place, node in enumerate(nodes):
        following = _name(nodes[place + 1]) if place + 1 < len(nodes) else after
        yield from _node(node, indent)
        if not isinstance(node, ResponseNode):
            yield f"{indent}{_name(node)} --> {following}"
        elif node.when is not None:
            yield f'{indent}{_name(node)} -. "skipped" .-> {following}'
        if isinstance(node.on_error, Goto):
            yield f'{indent}{_name(node)} -. "on error" .-> {_id(node.on_error.id)}'


def _node(node: Node, indent: str) -> Iterator[str]:
    opening, closing = _SHAPES[node.type]
    yield f'{indent}{_name(node)}{opening}"{_text(_label(node))}"{closing}'
    for branch in node.branches:
        yield from _branch(node, branch, indent)


def _branch(node: Node, branch: Branch, indent: str) -> Iterator[str]:
    inside = _id(f"{node.id}_{branch.name.replace(' ', '_')}_")
    title = f"for each {branch.name}" if isinstance(node, LoopNode) else branch.name
    yield f'{indent}subgraph {inside}["{_text(title)}"]'
    inner = f"{indent}    "
    for place, one in enumerate(branch.nodes):
        yield from _node(one, inner)
        if place + 1 < len(branch.nodes) and not isinstance(one, ResponseNode):
            yield f"{inner}{_name(one)} --> {_name(branch.nodes[place + 1])}"
        if isinstance(one.on_error, Goto):
            yield f'{inner}{_name(one)} -. "on error" .-> {_id(one.on_error.id)}'
    yield f"{indent}end"
    if branch.nodes:
        test = (
            _test(branch) if isinstance(node, ConditionNode) else branch.name if isinstance(node, ParallelNode) else ""
        )
        label = f'-- "{_text(test)}" ' if test else ""
        yield f"{indent}{_name(node)} {label}--> {_name(branch.nodes[0])}"


def _test(branch: Branch) -> str:
    return branch.name if branch.test is None else str(branch.test.source)


def _label(node: Node) -> str:
    if isinstance(node, DirectNode):
        source = node.params.source
        raw = f": {source['method']} {source['path']}" if isinstance(source, dict) and _is_raw(source) else ""
        what = f"{node.tool}{raw}"
    elif isinstance(node, AgentNode):
        what = f"agent: {', '.join(node.tools or ('all that read',))}"
    elif isinstance(node, SubworkflowNode):
        what = node.workflow
    elif isinstance(node, LoopNode):
        what = f"for each of {node.for_each.source}" if isinstance(node.for_each.source, str) else "loop"
    else:
        what = "sql" if isinstance(node, SqlNode) else node.type or "?"
    skipped = f", when {node.when.source}" if node.when is not None else ""
    return f"{node.id}: {what}{skipped}"


def _is_raw(source: Mapping[str, object]) -> bool:
    return isinstance(source.get("method"), str) and isinstance(source.get("path"), str)


def _name(node: Node) -> str:
    return _id(node.id)


def _id(name: str) -> str:
    # `end` and a few more are words of Mermaid's own.
    return f"n_{name}"


def _text(text: str) -> str:
    """Text inside quotes: nothing that Mermaid or a page would take for its own."""
    cut = printable(text)
    cut = cut if len(cut) <= _LONGEST else f"{cut[: _LONGEST - 1]}…"
    for character, code in (
        ("#", "#35;"),
        ("&", "#amp;"),
        ("<", "#lt;"),
        (">", "#gt;"),
        ('"', "#quot;"),
        ("`", "#96;"),
    ):
        cut = cut.replace(character, code)
    return cut
