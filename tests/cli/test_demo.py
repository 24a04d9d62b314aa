"""The demo, as a person runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_demo(tmp_path: Path) -> None:
    """Calls, then workflows in both modes, in that order; it cleans up after itself."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-m", "spojit_stripe", "demo"],
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    shown = [
        r"^\$ spojit-stripe tools$",
        r"^list-charges ",
        r"^\$ spojit-stripe connections add books ",
        r"^\$ spojit-stripe connections test books$",
        r"^list-charges +works$",
        r"^\$ spojit-stripe call list-charges --connection books --status failed --all$",
        r"^ch_\w+ +[\d,.]+ [A-Z]{3}  failed",
        r"^\d+ charges?, \d+ looked at, complete, \d+ pages?, as of \S+$",
        r"^\$ spojit-stripe call create-customer ",
        r"^\$ spojit-stripe call create-charge .* --run-id order-6735-charge",
        r"^Killed$",
        r"^\$ spojit-stripe ledger list --writes$",
        r"POST /v1/charges +105\.00 USD  open ",
        r"^Stripe had carried out this call before and gave its stored answer$",
        r"nothing was sent now$",
        r"^1 charge, complete, 1 page, as of \S+$",
        r"^\$ spojit-stripe call raw-api-request .* --connection books$",
        r"^error: writes are denied on connection 'books'",
        r"^\(exit code 4\)$",
        r"^\$ spojit-stripe call raw-api-request .* --connection till$",
        r"^amount +25\.00 USD$",
        r"^\$ spojit-stripe ledger list$",
        r"POST /v1/refunds +25\.00 USD  done ",
        r"^\$ spojit-stripe run .*charges-of-a-day\.yaml ",
        r'"story": "Customer cus_\w+ was charged 105\.00 USD',
        r"^\$ spojit-stripe run .*investigate-refund\.yaml ",
        r"^\(exit code 5\)$",
        r"^\$ spojit-stripe approvals approve apr_",
        r"^Killed$",
        r"^\$ spojit-stripe runs show grace-asks$",
        r"POST /v1/refunds +5\.00 USD  open",
        r"^\$ spojit-stripe runs resume grace-asks$",
        r"^run grace-asks is done$",
        r"^2 objects, complete, ",
        r"^together: 4 turns, 5 tool calls, ",
    ]
    at = 0
    for pattern in shown:
        match = re.compile(pattern, re.MULTILINE).search(ran.stdout, at)
        assert match is not None, f"{pattern} is not in the rest of the output"
        at = match.end()
    assert ran.stdout.count("? investigation  waiting") == 1, "a decision that is there is not waited for again"
    assert len(re.findall(r"^amount +5\.00 USD$", ran.stdout, re.MULTILINE)) == 1
    assert "sk_test_" not in ran.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.checkout
def test_the_script_is_in_order() -> None:
    """`scripts/demo` is executable, and bash accepts it."""
    script = ROOT / "scripts" / "demo"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
