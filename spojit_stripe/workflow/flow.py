"""Which nodes can be reached, and where `goto` goes."""

from __future__ import annotations

from spojit_stripe.words import nearest
from spojit_stripe.workflow.faults import Report, quoted
from spojit_stripe.workflow.model import (
    ConditionNode,
    Goto,
    LoopNode,
    Node,
    ParallelNode,
    ResponseNode,
    Workflow,
)

__all__ = ["check_flow"]


def check_flow(report: Report, workflow: Workflow) -> None:
    """Report nodes that never run, circles, and answers that can't be given."""
    every = {node.id: node for node in workflow.all_nodes}
    _check_list(report, workflow.nodes, every, ())


def _check_list(report: Report, nodes: tuple[Node, ...], every: dict[str, Node], around: tuple[Node, ...]) -> None:
    places = {node.id: place for place, node in enumerate(nodes)}
    reached: set[int] = set()
    ended: Node | None = None
    for place, node in enumerate(nodes):
        if ended is None or place in reached:
            ended = None
        else:
            _unreachable(report, node, f"node {ended.id!r} always ends the run before")
        _check_goto(report, node, places, every, reached)
        _check_node(report, node, around)
        for branch in node.branches:
            _check_list(report, branch.nodes, every, (*around, node))
        if ended is None and _ends(node):
            ended = node


def _check_goto(report: Report, node: Node, places: dict[str, int], every: dict[str, Node], reached: set[int]) -> None:
    if not isinstance(node.on_error, Goto):
        return
    path, target = (*node.path, "on_error", "goto"), node.on_error.id
    if target == node.id:
        report.error(
            path, f"goto {target!r} is a circle: the node goes to itself", "the wire retries what may be retried"
        )
    elif target in places and places[target] < places[node.id]:
        report.error(path, f"goto {target!r} is a circle: that node stands further up", "go to one further down")
    elif target in places:
        reached.add(places[target])
    elif target in every:
        report.error(
            path, f"goto {target!r} leaves the list of nodes that {node.id!r} stands in", "go to one of the list"
        )
    else:
        report.error(path, f"goto: there is no node {quoted(target)}", nearest(target, places))


def _check_node(report: Report, node: Node, around: tuple[Node, ...]) -> None:
    if node.when is not None and node.when.source is False:
        _unreachable(report, node, "its when: is false")
    if isinstance(node, ConditionNode):
        _check_choices(report, node)
    owner = next((one for one in around if isinstance(one, LoopNode | ParallelNode)), None)
    if isinstance(node, ResponseNode) and owner is not None:
        report.error(
            node.path,
            f"response {node.id!r} stands inside {owner.type} {owner.id!r}, where more than one could answer",
            "put it after",
        )


def _check_choices(report: Report, node: ConditionNode) -> None:
    always: str | None = None
    for branch in node.choices:
        where = (*branch.path, "then") if branch.test is not None else branch.path
        if always is not None:
            report.warn(where, f"{branch.name} of {node.id!r} never runs: its {always} is always true")
        elif branch.test is not None and branch.test.source is False:
            report.warn(where, f"{branch.name} of {node.id!r} never runs: its test is false")
        elif branch.test is not None and branch.test.source is True:
            always = branch.name


def _unreachable(report: Report, node: Node, why: str) -> None:
    report.warn(node.path, f"node {node.id!r} never runs: {why}", "take it out, or let on_error go to it")


def _ends(node: Node) -> bool:
    """Whether the run always ends with `node`."""
    if node.when is not None:
        return False
    if isinstance(node, ResponseNode):
        return True
    if not isinstance(node, ConditionNode) or not node.choices or node.choices[-1].test is not None:
        return False
    return all(any(_ends(one) for one in branch.nodes) for branch in node.choices)
