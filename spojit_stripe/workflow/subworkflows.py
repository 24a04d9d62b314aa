"""Subworkflows: their files, their inputs, and that none contains itself."""

from __future__ import annotations

from pathlib import Path as File
from typing import cast

from spojit_stripe.errors import ConfigurationError
from spojit_stripe.expressions.bounds import listed
from spojit_stripe.values import JsonObject
from spojit_stripe.workflow.faults import Report, quoted
from spojit_stripe.workflow.guesses import dotted, lasting_faults
from spojit_stripe.workflow.load import read_workflow, text_of
from spojit_stripe.workflow.model import Schedule, SubworkflowNode, Workflow
from spojit_stripe.workflow.schemas import checker_of

__all__ = ["check_schedule", "check_subworkflows", "file_of"]


def file_of(node: SubworkflowNode, workflow: Workflow) -> File:
    """The file that a subworkflow node names, from the folder of its own."""
    return File(workflow.document.name).parent / node.workflow


def check_subworkflows(report: Report, workflow: Workflow) -> None:
    """Report files that can't be read, inputs that don't fit, and circles."""
    for node in workflow.all_nodes:
        if isinstance(node, SubworkflowNode) and node.workflow:
            _check(report, workflow, node)


def _check(report: Report, workflow: Workflow, node: SubworkflowNode) -> None:
    path = (*node.path, "workflow")
    try:
        file = file_of(node, workflow)
        inner, faults = read_workflow(text_of(file), str(file), report.vocabulary)
    except ConfigurationError as error:
        report.error(path, error.message, "give its path from the folder of this file")
        return
    if faults:
        first, *others = faults
        more = f" and {len(others)} more" if others else ""
        report.error(path, f"the subworkflow has a fault at {first}{more}")
    circle = (
        _circle(inner, (File(workflow.document.name).resolve(), file.resolve()), set()) if inner is not None else None
    )
    if circle:
        report.error(path, f"a circle of subworkflows: {circle}")
    if inner is not None:
        _check_inputs(report, node, inner)


def _circle(workflow: Workflow, above: tuple[File, ...], clean: set[File]) -> str | None:
    """How `workflow` comes back to a file that it is part of, or None. `clean` files don't."""
    *before, own = above
    if own in before:
        return " → ".join(file.name for file in above[before.index(own) :])
    if own in clean:
        return None
    for node in workflow.all_nodes:
        if not isinstance(node, SubworkflowNode) or not node.workflow:
            continue
        file = file_of(node, workflow)
        try:
            inner, _ = read_workflow(text_of(file), str(file), workflow.vocabulary)
        except ConfigurationError:
            continue
        found = _circle(inner, (*above, file.resolve()), clean) if inner is not None else None
        if found:
            return found
    clean.add(own)
    return None


def _check_inputs(report: Report, node: SubworkflowNode, inner: Workflow) -> None:
    start = (*node.path, "inputs")
    given = cast("JsonObject", node.inputs.source)
    if inner.inputs is None:
        for name in given:
            report.error((*start, name), f"workflow {inner.name!r} declares no input {quoted(name)}")
        return
    checker = checker_of(f"workflow {inner.name!r}", inner.inputs)
    for line in lasting_faults(node.inputs, checker.faults):
        name = line.partition(": ")[0]
        place = next(
            (
                path
                for path in report.document.positions
                if path[: len(start)] == start and dotted(path[len(start) :]) == name
            ),
            start,
        )
        report.line(place if place in report.document.positions else node.path, line)


def check_schedule(report: Report, workflow: Workflow) -> None:
    """The clock gives no inputs but those of the trigger."""
    if not isinstance(workflow.trigger, Schedule):
        return
    start = ("trigger", "inputs")
    given = dict(workflow.trigger.inputs)
    if workflow.inputs is None:
        if given:
            report.error(start, f"the workflow declares no inputs, and the schedule gives {listed(given)}")
        return
    for line in checker_of(f"workflow {workflow.name!r}", workflow.inputs).faults(given):
        name = line.partition(": ")[0]
        report.line((*start, name) if name in given else ("trigger",), line)
