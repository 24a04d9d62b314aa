"""docs/sync.md says what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from spojit_stripe.cli.app import run
from spojit_stripe.cli.sync import reconcile, sync
from spojit_stripe.sync import RESOURCES
from spojit_stripe.sync.resources import RESERVED
from spojit_stripe.sync.views import VIEWS

DOCS = Path(__file__).parents[2] / "docs" / "sync.md"


@pytest.mark.checkout
def test_every_resource_column_view_and_option_is_documented() -> None:
    text = DOCS.read_text()
    names = [*RESOURCES, *RESERVED, *VIEWS]
    for command in (sync, reconcile):
        names += [option for param in command.params for option in param.opts if option.startswith("--")]
    own = {"--connections", "--connection", "--state"}  # the same everywhere
    assert [name for name in names if name not in text and name not in own] == []


@pytest.mark.checkout
def test_the_workflow_in_the_docs_is_without_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "payout.yaml").write_text("name:" + DOCS.read_text().split("```yaml\nname:")[1].split("```")[0])
    monkeypatch.chdir(tmp_path)
    assert run(["validate", "payout.yaml"]) == 0, capsys.readouterr()


def test_the_help_names_every_resource() -> None:
    assert [name for name in RESOURCES if name not in str(sync.help)] == []
