"""Broken workflows and exactly what is said of each: `broken.txt` holds both."""

from __future__ import annotations

from pathlib import Path

import pytest

from spojit_stripe.errors import InputError
from spojit_stripe.workflow import load_workflow, read_workflow

TABLE = (Path(__file__).parent / "broken.txt").read_text()


def _cases() -> list[tuple[str, str, str]]:
    cases: list[tuple[str, str, str]] = []
    for case in TABLE.split("=== ")[1:]:
        title, _, rest = case.partition("\n")
        text, _, lines = rest.partition("---\n")
        cases.append((title, text, lines))
    return cases


CASES = _cases()


def test_the_table_is_long_enough() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize(("text", "lines"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_all_faults_at_once_with_their_places(check, text: str, lines: str) -> None:
    """In the order of the file; `case.yaml:` before each is left out in the table."""
    assert "".join(f"{fault}\n".removeprefix("case.yaml:") for fault in check(text)) == lines


@pytest.mark.parametrize("text", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_loading_raises_the_structural_faults_in_one_error(text: str) -> None:
    _, faults = read_workflow(text, "case.yaml")
    if not faults:
        assert load_workflow(text, name="case.yaml").name == "x"
        return
    with pytest.raises(InputError) as caught:
        load_workflow(text, name="case.yaml")
    assert caught.value.faults == tuple(str(fault) for fault in faults)
    assert caught.value.message == str(faults[0])


def test_every_line_of_a_fault_is_one_line(check) -> None:
    """Whatever stands in the file."""
    nasty = 'name: "a\\u001b[31m\\nb"\nnodes:\n  - {id: "x\\ny", type: "t\\u202e"}\n'
    for fault in check(nasty):
        assert str(fault).isprintable(), fault
