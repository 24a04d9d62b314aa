"""A workflow from its file or text, with every structural fault at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.values import JsonObject
from spojit_stripe.words import nearest
from spojit_stripe.workflow.faults import Fault, Report, fault_of_file, quoted
from spojit_stripe.workflow.fields import Fields
from spojit_stripe.workflow.model import Webhook, Workflow, walk
from spojit_stripe.workflow.nodes import read_nodes
from spojit_stripe.workflow.schemas import check_schema
from spojit_stripe.workflow.triggers import read_trigger
from spojit_stripe.workflow.vocabulary import NO_EXTRAS, Vocabulary
from spojit_stripe.yamlfile import Document, parse

__all__ = ["load_workflow", "read_workflow", "text_of"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_KEYS: Final = ("name", "description", "trigger", "inputs", "trusted_ids", "nodes")


def text_of(path: Path) -> str:
    """The text of a file. Raises `ConfigurationError` where it can't be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"can't read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"can't read {path}: it is no UTF-8 text") from None
    except ValueError:  # a NUL
        raise ConfigurationError(f"can't read {str(path)!r}: no file has such a name") from None


def load_workflow(source: Path | str, *, name: str = "workflow.yaml", vocabulary: Vocabulary = NO_EXTRAS) -> Workflow:
    """The workflow of a file, or of a text that messages call `name`.

    `vocabulary` is what plug-ins add, `Host.vocabulary`.

    Raises `InputError` with every structural fault in `faults`, `ConfigurationError` where
    the file can't be read.
    """
    text, name = (text_of(source), str(source)) if isinstance(source, Path) else (source, name)
    workflow, faults = read_workflow(text, name, vocabulary)
    lines = tuple(str(fault) for fault in faults)
    if workflow is None or lines:
        raise InputError(lines[0], faults=lines)
    return workflow


def read_workflow(
    text: str, name: str, vocabulary: Vocabulary = NO_EXTRAS
) -> tuple[Workflow | None, tuple[Fault, ...]]:
    """The workflow as far as it can be read, and what is wrong with its form.

    Only one without faults may run; the others are for `check_workflow`, to tell all at once.
    """
    try:
        document = parse(text, name)
    except ConfigurationError as error:
        return None, (fault_of_file(error, name),)
    report = Report(document, vocabulary)
    workflow = _workflow(report, document, text)
    return workflow, report.faults


def _workflow(report: Report, document: Document, text: str) -> Workflow | None:
    if document.data is None:
        report.error((), "the file is empty", "a workflow has at least name and nodes")
        return None
    fields = Fields(report, document.data, (), "the workflow")
    if not fields.data:
        return None
    fields.only(_KEYS)
    inputs = check_schema(fields, "inputs")
    if "nodes" not in fields:
        fields.missing("nodes")
    workflow = Workflow(
        name=_name(fields),
        description=fields.text("description") or "",
        trigger=read_trigger(fields),
        inputs=inputs,
        trusted_ids=fields.texts("trusted_ids"),
        nodes=read_nodes(report, fields.data["nodes"], ("nodes",), "nodes") if "nodes" in fields else (),
        document=document,
        vocabulary=report.vocabulary,
        source=text,
    )
    _check_trusted(report, workflow)
    _check_ids(report, workflow)
    return workflow


def _name(fields: Fields) -> str:
    name = fields.text("name", required=True, advice="runs and their keys are named after it") or ""
    if name and not _NAME.fullmatch(name):
        better = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:63].lower()
        advice = f"write {better}" if better else ""
        fields.error("name", f"the name {quoted(name)} can't be part of a run's id", advice)
    return name


def _check_trusted(report: Report, workflow: Workflow) -> None:
    inputs = workflow.inputs or {}
    declared = inputs.get("properties", {})
    names: JsonObject = declared if isinstance(declared, dict) else {}
    if inputs.get("additionalProperties") is True or (
        workflow.inputs is None and isinstance(workflow.trigger, Webhook)
    ):
        return
    for place, name in enumerate(workflow.trusted_ids):
        if name not in names:
            advice = nearest(name, names) or "only declared inputs can be trusted"
            report.error(("trusted_ids", place), f"there is no input {quoted(name)}", advice)


def _check_ids(report: Report, workflow: Workflow) -> None:
    seen: dict[str, int] = {}
    for node in walk(workflow.nodes):
        if node.id == "?":
            continue
        line = report.position((*node.path, "id"))[0]
        if node.id in seen:
            report.error(
                (*node.path, "id"),
                f"the id {node.id!r} is taken by the node of line {seen[node.id]}",
                "ids are unique in the whole file",
            )
        seen.setdefault(node.id, line)
