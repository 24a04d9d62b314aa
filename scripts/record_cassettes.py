#!/usr/bin/env python3
"""Record `cassettes/` anew, one per tool, from the sandbox with a standing clock.

    python scripts/record_cassettes.py

The calls are written to `cassettes/calls.json`, because their ids are the sandbox's.
Port 12111 of this machine must be free. Needs the development dependencies.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import vcr  # pyright: ignore[reportMissingTypeStubs]

from spojit_stripe.redact import redact_text
from spojit_stripe.sandbox import Sandbox, sandbox
from spojit_stripe.testing import FakeClock, Workbench
from spojit_stripe.values import Done, Paging, ToolCall
from spojit_stripe.wire.connector import StripeConnector

CASSETTES = Path(__file__).parents[1] / "cassettes"
PORT = 12111  # in the recorded addresses, so that recording twice gives the same
NOW = 1_790_000_000
SEED = 6
WEEK = 7 * 86_400
RUN = "cassette"


def calls(source: Sandbox) -> dict[str, dict[str, Any]]:
    """One call of each tool: its parameters and, for lists, how far it reads."""
    customer = source.objects("customer")[0]["id"]
    charge = next(
        found for found in source.objects("charge") if found["status"] == "succeeded" and not found["refunded"]
    )
    failed = next(found["created"] for found in source.objects("charge") if found["status"] == "failed")
    products = [found["id"] for found in source.objects("product")[:2]]
    return {
        "create-charge": {
            "params": {
                "amount": 1050,
                "currency": "usd",
                "source": "tok_visa",
                "description": "Order 6735",
                "metadata": {"order_id": "6735"},
            }
        },
        "create-customer": {
            "params": {
                "name": "Zoë O'Neil & Söhne",
                "email": "zoe+test@example.com",
                "address": {"city": "Łódź", "country": "PL"},
                "preferred_locales": ["pl", "en"],
            }
        },
        "create-invoice": {
            "params": {
                "customer": customer,
                "auto_advance": False,
                "collection_method": "send_invoice",
                "days_until_due": 30,
            }
        },
        "create-payment-intent": {
            "params": {
                "amount": 2000,
                "currency": "eur",
                "payment_method": "pm_card_visa",
                "confirm": True,
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            }
        },
        "get-customer": {"params": {"customer": customer}},
        "list-charges": {
            "params": {"created": {"gte": cast("int", failed) - WEEK, "lte": failed}, "status": "failed", "limit": 3}
        },
        "list-customers": {"params": {"limit": 4, "created": {"lte": NOW}}, "paging": {"paginate": "all"}},
        "list-invoices": {"params": {"status": "paid"}},
        "list-payment-intents": {"params": {"limit": 2, "expand": ["data.customer"]}},
        "list-products": {"params": {"active": True, "ids": products}},
        "list-subscriptions": {"params": {"status": "all"}, "paging": {"paginate": "all", "max_items": 1}},
        "raw-api-request": {
            "params": {"method": "POST", "path": "/v1/refunds", "params": {"charge": charge["id"], "amount": 1}}
        },
    }


def scrubbed(response: dict[str, Any]) -> dict[str, Any]:
    """The answer without client secrets, and so without its length."""
    body = redact_text(response["body"]["string"].decode())
    headers = {name: value for name, value in response["headers"].items() if name.lower() != "content-length"}
    return {**response, "headers": headers, "body": {"string": body.encode()}}


def record(source: Sandbox, tool: str, call: dict[str, Any], folder: Path) -> None:
    """Make the call through the real wire and write what went over it. Raises `SystemExit` where it fails."""
    file = CASSETTES / f"{tool}.yaml"
    file.unlink(missing_ok=True)
    recorder = vcr.VCR(
        record_mode=vcr.mode.ONCE,
        match_on=["method", "path", "query", "body"],
        filter_headers=["authorization", "user-agent"],  # a secret, and the versions of whoever records
        before_record_response=scrubbed,
        decode_compressed_response=True,
    )
    with Workbench(folder / tool, StripeConnector(), clock=FakeClock(NOW), secret=source.secret_key) as bench:
        made = ToolCall(tool=tool, params=call["params"], paging=Paging(**call.get("paging", {})))
        with recorder.use_cassette(str(file)):  # pyright: ignore[reportUnknownMemberType]
            outcome = bench.run(made, at=f"{RUN}-{tool}", base_url=source.url)
    if not isinstance(outcome, Done):
        sys.exit(f"{tool}: {outcome}")
    print(f"{file.name}: {file.stat().st_size} bytes")


def main() -> None:
    CASSETTES.mkdir(exist_ok=True)
    with sandbox(seed=SEED, now=NOW, port=PORT) as source, tempfile.TemporaryDirectory() as folder:
        chosen = calls(source)
        text = json.dumps(chosen, indent=2, ensure_ascii=False, sort_keys=True)
        (CASSETTES / "calls.json").write_text(text + "\n", encoding="utf-8")
        for tool, call in chosen.items():
            source.reset(SEED)  # so that no recording depends on the one before
            record(source, tool, call, Path(folder))


if __name__ == "__main__":
    main()
