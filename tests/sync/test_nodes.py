"""A sync and a reconciliation in a workflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spojit_stripe.engine import Bundle, Embedded
from spojit_stripe.errors import InputError
from spojit_stripe.host import Host
from spojit_stripe.records import Run, RunState
from spojit_stripe.sandbox import sandbox
from spojit_stripe.sync.passwords import passwords_in

NODES = """
name: copies
inputs: {type: object, properties: {to: {type: string}, payout: {type: string}}, required: [to, payout]}
nodes:
  - {id: copy, type: stripe-sync, connection: shop, resources: [products, payouts], to: "{{ input.to }}"}
  - {id: live, type: stripe-reconcile, connection: shop, payout: "{{ input.payout }}"}
  - id: payout
    type: connector
    connector: stripe
    connection: shop
    tool: raw-api-request
    params: {method: GET, path: "/v1/payouts/{{ input.payout }}"}
  - id: read
    type: connector
    connector: stripe
    connection: shop
    tool: raw-api-request
    params: {method: GET, path: /v1/balance_transactions, params: {payout: "{{ input.payout }}"}}
    paginate: all
  - {id: own, type: stripe-reconcile, payout: "{{ payout }}", transactions: "{{ read.data }}"}
  - id: out
    type: response
    body: {new: "{{ copy.resources | map('new') }}", live: "{{ live }}", own: "{{ own }}"}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the workflow on a seeded sandbox; gives the run, and that sandbox's objects by kind."""

    def go(text: str = NODES, **inputs: str) -> tuple[Run, dict[str, list[dict[str, Any]]]]:
        with sandbox(seed=5) as box:
            monkeypatch.setenv("SHOP_KEY", box.secret_key)
            about = f"{{connector: stripe, secret_key: '${{env:SHOP_KEY}}', mode: test, base_url: '{box.url}'}}"
            (tmp_path / "connections.yaml").write_text(f"connections: {{shop: {about}}}\n")
            (tmp_path / "copies.yaml").write_text(text)
            objects = {kind: box.objects(kind) for kind in ("payout", "product")}
            given = {"payout": objects["payout"][0]["id"], **inputs}
            with Host(connections=tmp_path / "connections.yaml", state=tmp_path / "state") as host:
                bundle = Bundle.of_file(tmp_path / "copies.yaml", host.vocabulary)
                return Embedded(host).start(bundle, given, "run-1"), objects

    return go


def test_a_workflow_keeps_a_copy_and_reconciles(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPY", f"sqlite:////{tmp_path}/shop.db".replace("////", "///", 1))
    done, objects = run(to="${env:COPY}")
    assert done.state is RunState.DONE, done.error
    told = done.output["value"]
    assert told["new"] == [len(objects["product"]), len(objects["payout"])]
    assert (tmp_path / "shop.db").exists()
    assert told["live"] == told["own"]
    assert json.dumps(told["own"]).count('"variance": 0') >= 1


@pytest.mark.parametrize(
    ("to", "line"),
    [
        (
            "postgresql://me:secret-word@localhost/shop",
            "to: holds a password, and workflows are recorded; write ${env:",
        ),
        (
            "postgresql://localhost/shop?user=me&password=secret-word",
            "to: holds a password, and workflows are recorded; write ${env:",
        ),
        ("${env:NOT_SET_HERE}", "to: the environment variable NOT_SET_HERE is not set"),
        ("nowhere", "--to: 'nowhere' is no place to sync to"),
    ],
)
def test_a_place_that_is_no_good_fails_the_node_in_one_line(run: Any, to: str, line: str) -> None:
    failed, _ = run(to=to)
    assert failed.state is RunState.FAILED
    assert failed.error["node"] == "copy"
    assert failed.error["message"].startswith(line)
    assert "secret-word" not in json.dumps(failed.error)


@pytest.mark.parametrize(
    "to",
    [
        "postgresql://me:secret-word@localhost/shop",
        "postgresql://me:secret-word@{{ input.to }}/shop",
        "postgresql://{{ input.to }}:secret-word@localhost/shop",
        "{{ 'postgresql://me:secret-word@localhost/' ~ input.to }}",
        "postgresql://localhost/shop?user=me&password=secret-word",
        "postgresql:///shop?sslpassword=secret-word&host={{ input.to }}",
        "postgresql:///shop?pass%77ord=secret-word",
    ],
)
def test_a_password_in_a_file_is_found_before_anything_of_it_is_recorded(run: Any, tmp_path: Path, to: str) -> None:
    with pytest.raises(InputError, match=r"to: holds a password, and workflows are recorded") as caught:
        run(NODES.replace('"{{ input.to }}"', f'"{to}"'), to="x")
    assert "secret-word" not in repr(caught.value.to_json())
    (tmp_path / "copies.yaml").unlink()
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and b"secret-word" in path.read_bytes()]
    assert kept == []


@pytest.mark.parametrize(
    "to",
    [
        "sqlite:///{{ input.to }}.db",
        "folder:2@x.parquet",
        "${env:SHOP_URL}",
        "postgresql://me@localhost:5432/shop?options=-csearch_path%3Dstripe",
        "postgresql://one:5432,two:5433/shop?application_name=me@here",
        "postgresql:///shop?passfile=/home/me/.pgpass",
    ],
)
def test_a_place_without_a_password_is_fine(to: str) -> None:
    assert passwords_in(to) == set()
