"""`docs/workflows.md`: what it shows works, and what there is stands in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spojit_stripe.expressions import FILTERS, FUNCTIONS, TESTS
from spojit_stripe.workflow import check_workflow, load_workflow
from spojit_stripe.workflow.vocabulary import NODE_TYPES

TEXT = (Path(__file__).parents[2] / "docs" / "workflows.md").read_text(encoding="utf-8")


def test_its_example_has_no_faults(stage) -> None:
    example = re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert example is not None
    workflow = load_workflow(example[1], name="docs.yaml")
    assert [str(fault) for fault in check_workflow(workflow, stage.host.connectors)] == []


@pytest.mark.parametrize("name", [*NODE_TYPES, *FILTERS, *FUNCTIONS, *TESTS, "omit", "when", "on_error", "once"])
def test_everything_is_documented(name: str) -> None:
    assert re.search(rf"`{name}\b", TEXT), name


@pytest.mark.parametrize("code", [0, 2, 3, 4, 5, 6, 7, 8, 130])
def test_every_exit_code_is_documented(code: int) -> None:
    assert f"\n| {code} | " in TEXT
