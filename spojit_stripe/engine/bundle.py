"""The files that a run runs: its workflow and all subworkflows, kept by value.

Editing a file changes no run that has begun, because a run reads only its bundle.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from dataclasses import dataclass
from pathlib import Path

from spojit_stripe.errors import InputError
from spojit_stripe.values import JsonObject
from spojit_stripe.workflow import SubworkflowNode, Vocabulary, Workflow, load_workflow, read_workflow, text_of

__all__ = ["Bundle"]


@dataclass(frozen=True, slots=True)
class Bundle:
    """Workflows by the path of their file, seen from the folder of the first. `digest` names the version."""

    digest: str
    file: Path
    workflows: dict[str, Workflow]

    @property
    def root(self) -> str:
        return next(iter(self.workflows))

    @classmethod
    def of_file(cls, file: Path, vocabulary: Vocabulary) -> Bundle:
        """A workflow's file and those it names. Raises `InputError` for their faults, `ConfigurationError`."""
        workflows: dict[str, Workflow] = {}
        waiting = [file.name]
        while waiting:
            name = waiting.pop()
            if name in workflows:
                continue
            path = file.parent / name
            workflow, faults = read_workflow(text_of(path), str(path), vocabulary)
            errors = tuple(str(one) for one in faults if one.severity == "error")
            if workflow is None or errors:
                raise InputError(errors[0], faults=errors)
            workflows[name] = workflow
            waiting += [_beside(name, node) for node in workflow.all_nodes if isinstance(node, SubworkflowNode)]
        return cls(_digest({name: one.source for name, one in workflows.items()}), file, workflows)

    @classmethod
    def of_record(cls, files: JsonObject, file: Path, vocabulary: Vocabulary) -> Bundle:
        """A bundle as it was recorded."""
        known = {name: str(text) for name, text in files.items()}
        root = next(iter(known))
        workflows = {
            name: load_workflow(text, name=str(file.parent / name), vocabulary=vocabulary)
            for name, text in known.items()
        }
        return cls(_digest(known), file.parent / root, workflows)

    def to_json(self) -> JsonObject:
        return {name: workflow.source for name, workflow in self.workflows.items()}

    def inner(self, name: str, node: SubworkflowNode) -> str:
        """The name of the file that a node of file `name` runs."""
        return _beside(name, node)


def _beside(name: str, node: SubworkflowNode) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), node.workflow))


def _digest(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]
