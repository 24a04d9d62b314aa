"""A workflow with money in it, killed at random moments: it ends like one that nothing happened to.

Real processes, SIGKILL, a sandbox with faults on. `scripts/crash_soak.py` is the long form.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from spojit_stripe.testing.crashes import CrashLab, Outcome

RUNS = 20
KILLS = 60
KILLS_OF_A_RUN = 3
GROUPS = 4


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The outcome of a run that nobody kills, in a sandbox without faults."""
    return CrashLab(tmp_path_factory.mktemp("quiet")).outcome(kills=0)


def test_an_undisturbed_run_pays_each_thing_once(quiet: Outcome) -> None:
    assert quiet.held == {
        "writes": 8,
        "charge": 2,
        "charge amounts": ["4000", "4000"],
        "refund": 5,
        "refund amounts": ["100", "200", "300", "400", "500"],
        "customer": 1,
    }
    assert isinstance(quiet.output, dict)
    assert quiet.output["both"] == {
        "charges": {"ids": ["ch_1"]},
        "totals": {"data": [{"currency": "usd", "amount": 1500, "n": 5}], "count": 1},
    }
    assert quiet.output["refunds"] == ["re_1", "re_2", "re_3", "re_4", "re_5"]


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("group", range(GROUPS))
def test_killed_at_random_moments_a_run_ends_like_an_undisturbed_one(
    quiet: Outcome, group: int, tmp_path: Path
) -> None:
    lab = CrashLab(tmp_path)
    number = group
    while lab.runs < RUNS // GROUPS or lab.kills < KILLS // GROUPS:  # some end before their last kill
        outcome = lab.outcome(kills=KILLS_OF_A_RUN, chance=Random(number))
        assert outcome.output == quiet.output, f"run {number}"
        assert outcome.held == quiet.held, f"run {number}"
        assert outcome.steps == quiet.steps, f"run {number}"
        number += GROUPS
