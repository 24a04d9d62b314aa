"""Runs of a workflow that are killed at random moments, and what must be true of them afterwards.

    with CrashLab(folder) as lab:
        quiet = lab.outcome(kills=0)
        for number in range(20):
            assert lab.outcome(kills=3, chance=Random(number)) == quiet

Each outcome is that of a fresh sandbox with faults on: real processes of the command line, killed
with SIGKILL, resumed, their approval given. What can't be equal is made equal: ids are numbered by
their first appearance, times are dropped.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from spojit_stripe.records import Records, State
from spojit_stripe.sandbox import Fault, Sandbox, sandbox
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["CrashLab", "Outcome", "renumbered"]

_WORKFLOW: Final = """
name: crash-matrix
trigger: {type: manual}
inputs:
  type: object
  properties: {amount: {type: integer}, parts: {type: array, items: {type: integer}}}
  required: [amount, parts]
nodes:
  - {id: before, type: connector, connector: stripe, connection: shop, tool: list-charges, paginate: all}
  - id: customer
    type: connector
    connector: stripe
    connection: shop
    tool: create-customer
    params: {email: someone@example.com, metadata: {run: "{{ run.workflow }}"}}
  - id: charge
    type: connector
    connector: stripe
    connection: shop
    tool: create-charge
    params: {amount: "{{ input.amount }}", currency: usd, source: tok_visa}
  - id: refunds
    type: loop
    for_each: "{{ input.parts }}"
    as: part
    concurrency: 2
    nodes:
      - id: seen
        type: transform
        set: {amount: "{{ part }}", of: "{{ charge.id }}"}
      - id: refund
        type: connector
        connector: stripe
        connection: shop
        tool: raw-api-request
        params: {method: POST, path: /v1/refunds, params: {charge: "{{ seen.of }}", amount: "{{ seen.amount }}"}}
        once: "{{ run.id }} {{ part }}"
  - id: both
    type: parallel
    branches:
      charges:
        - {id: charges, type: connector, connector: stripe, connection: shop, tool: list-charges}
        - {id: found, type: transform, set: {ids: "{{ charges.data | map('id') }}"}}
      totals:
        - id: totals
          type: transform
          sql: select currency, sum(amount) as amount, count(*) as n from refunds group by 1
  - {id: approval, type: human, message: "Charge again after {{ both.totals.data[0].n }} refunds?"}
  - {id: again, type: subworkflow, workflow: inner.yaml, inputs: {amount: "{{ input.amount }}"}}
  - id: answer
    type: response
    body:
      before: "{{ before.fetched }}"
      customer: "{{ customer.id }}"
      charge: "{{ charge.id }}"
      refunds: "{{ refunds.results | map('id') }}"
      both: "{{ both }}"
      approved: "{{ approval.approved }}"
      again: "{{ again }}"
"""
_INNER: Final = """
name: crash-inner
inputs: {type: object, properties: {amount: {type: integer}}, required: [amount]}
nodes:
  - id: pay
    type: connector
    connector: stripe
    connection: shop
    tool: create-charge
    params: {amount: "{{ input.amount }}", currency: usd, source: tok_visa}
  - {id: gives, type: response, body: {charge: "{{ pay.id }}", amount: "{{ pay.amount }}"}}
"""
_INPUTS: Final[JsonObject] = {"amount": 4_000, "parts": [100, 200, 300, 400, 500]}

# What is slow to import is there before the clock of the kill begins.
_DRIVER: Final = """
import sys
import spojit_stripe.engine, spojit_stripe.wire.client, spojit_stripe.catalog.check, duckdb
from spojit_stripe.cli.app import run
print("ready", flush=True)
sys.stdin.readline()
sys.exit(run(sys.argv[1:]))
"""
_RUN: Final = "run-1"
_LONGEST: Final = 2.2
_IDS: Final = re.compile(r"\b(?:ch|cus|re|txn|py|card|src|req|evt|apr)_[A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to: its output, what Stripe holds, and the steps that its engine recorded."""

    output: JsonValue
    held: JsonObject
    steps: dict[str, list[tuple[int, str]]]


@dataclass(slots=True)
class CrashLab:
    """Runs of one workflow, each against a sandbox and a state folder of its own, under `folder`."""

    folder: Path
    kills: int = 0
    runs: int = 0
    _numbered: int = field(default=0)

    def outcome(self, *, kills: int, chance: Random | None = None) -> Outcome:
        """Run the workflow to its end, killed `kills` times on the way, with faults where `chance` is given."""
        self._numbered += 1
        folder = self.folder / str(self._numbered)
        folder.mkdir(parents=True)
        with sandbox() as stripe:
            shop = _Shop(stripe, folder)
            if chance is not None:
                shop.disturb(chance)
            left = kills
            words = ["run", str(folder / "outer.yaml"), "--run-id", _RUN, "--inputs", json.dumps(_INPUTS)]
            output: JsonValue = None
            for _ in range(kills * 3 + 20):
                killed_after = chance.uniform(0, _LONGEST) if chance is not None and left > 0 else None
                code, told = shop.go(words, killed_after)
                if code == -9:
                    left -= 1
                    self.kills += 1
                elif code == 5:
                    shop.approve()
                elif code == 0:
                    output = told["output"]
                    break
                else:
                    raise AssertionError(f"run ended with {code}: {told}")
                if shop.begun():
                    words = ["runs", "resume", _RUN]
            else:
                raise AssertionError("the run never came to its end")
            assert not stripe.crashes(), stripe.crashes()[0]
            self.runs += 1
            return Outcome(renumbered(output), shop.held(), shop.steps())


class _Shop:
    def __init__(self, stripe: Sandbox, folder: Path) -> None:
        self._stripe = stripe
        self._folder = folder
        self._state = folder / "state"
        self._connections = folder / "connections.yaml"
        about = f"connector: stripe, secret_key: '${{env:KEY}}', mode: test, base_url: '{stripe.url}'"
        self._connections.write_text(f"connections: {{shop: {{{about}, policy: {{writes: allow}}}}}}\n")
        (folder / "outer.yaml").write_text(_WORKFLOW)
        (folder / "inner.yaml").write_text(_INNER)

    def disturb(self, chance: Random) -> None:
        """Answers that come late, never, or too often."""
        add = self._stripe.add_fault
        add(Fault(path="/v1/*", latency_ms=chance.uniform(5, 40), times=0))
        add(Fault(method="POST", path="/v1/refunds", drop="after", skip=chance.randrange(4)))
        add(Fault(method="POST", path="/v1/charges", drop=chance.choice(["before", "after"]), skip=chance.randrange(2)))
        add(Fault(method="POST", status=429, reason="endpoint-rate", skip=chance.randrange(6), times=2))
        add(Fault(method="GET", status=500, skip=chance.randrange(3)))

    def go(self, words: list[str], killed_after: float | None) -> tuple[int, JsonObject]:
        process = subprocess.Popen(
            [sys.executable, "-c", _DRIVER, *self._options(), *words],
            env={**os.environ, "KEY": self._stripe.secret_key},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        if killed_after is not None:
            try:
                process.wait(killed_after)
            except subprocess.TimeoutExpired:
                process.kill()
        out, err = process.communicate(timeout=90)
        assert "Traceback" not in err, err
        if process.returncode == -9:  # it may have been killed amid its answer
            return process.returncode, {}
        return process.returncode, json.loads(out) if out.strip() else {"stderr": err}

    def _options(self) -> list[str]:
        return ["--connections", str(self._connections), "--state", str(self._state), "--json"]

    def approve(self) -> None:
        records = Records(self._state)
        try:
            (waits,) = records.approvals.list(state="pending")
        finally:
            records.close()
        command = [sys.executable, "-m", "spojit_stripe", *self._options(), "approvals", "approve", waits.id]
        done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr

    def begun(self) -> bool:
        records = Records(self._state)
        try:
            return records.runs.find(_RUN) is not None
        finally:
            records.close()

    def held(self) -> JsonObject:
        """What Stripe holds after the run, and that every write of the ledger is settled and known there."""
        records = Records(self._state)
        try:
            entries = list(records.ledger.entries(writes_only=True))
        finally:
            records.close()
        assert all(entry.state is State.DONE for entry in entries), [entry.state for entry in entries]
        assert all(self._stripe.object(str(entry.object_id)) is not None for entry in entries)
        found: JsonObject = {"writes": len(entries)}
        for kind in ("charge", "refund", "customer"):
            objects = self._stripe.objects(kind)
            found[kind] = len(objects)
            if kind != "customer":
                amounts: list[JsonValue] = [*sorted(str(one["amount"]) for one in objects)]
                found[f"{kind} amounts"] = amounts
        return found

    def steps(self) -> dict[str, list[tuple[int, str]]]:
        from spojit_stripe.engine import durable  # at use: the kit's other parts need no engine

        return durable.steps_of(durable.sqlite_url(self._state / "runs" / _RUN / "engine.db"), _RUN)


def renumbered(value: JsonValue) -> JsonValue:
    """`value` with every id as its kind and the number of its first appearance."""
    known: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        kind = match.group().partition("_")[0]
        count = sum(1 for one in known.values() if one.startswith(f"{kind}_"))
        return known.setdefault(match.group(), f"{kind}_{count + 1}")

    return json.loads(_IDS.sub(number, json.dumps(value)))
