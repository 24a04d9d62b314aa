"""For tests of connectors, workflows and of this package: a fake wire, a fake service, a sandbox.

    with FakeWire() as wire, Workbench(tmp_path, FakeConnector(wire)) as bench:
        wire.will("POST /v1/payments", {"id": "pay_1"})
        outcome = bench.run(ToolCall(tool="make-payment", params={"amount": 500, "currency": "usd"}))

`check_connector(connector)` holds any connector against the rules that the core relies on.
`ScriptedModel` plays an agent's model over HTTP; its turns are made with `scripted_model.say`, `use` and the like.
A pytest fixture with a running Stripe sandbox: `from spojit_stripe.testing.fixtures import stripe_sandbox`.
"""

from __future__ import annotations

from spojit_stripe.testing.bench import FakeClock, Workbench
from spojit_stripe.testing.conformance import Case, cases, check_connector
from spojit_stripe.testing.fake_connector import FakeConnector
from spojit_stripe.testing.fake_wire import FakeWire, Sent, UnexpectedRequestError, UnplayedError, listing_of
from spojit_stripe.testing.samples import sample_params
from spojit_stripe.testing.scripted_model import ScriptedModel

__all__ = [
    "Case",
    "FakeClock",
    "FakeConnector",
    "FakeWire",
    "ScriptedModel",
    "Sent",
    "UnexpectedRequestError",
    "UnplayedError",
    "Workbench",
    "cases",
    "check_connector",
    "listing_of",
    "sample_params",
]
