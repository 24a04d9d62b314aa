"""Scripts for the model of two example workflows: what a sensible model would do, turn by turn.

They read the results that the agent got, as a model does, and make their answer of them. So the
demo and the tests run the examples end to end without a model; nothing here is a model's work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from spojit_stripe.money import format_amount
from spojit_stripe.testing.scripted_model import ModelTurn, Played, Scripted, say, use

__all__ = ["charges_of_a_day", "investigate_refund"]

_SAME: Final = "every row: "
_TOTALS: Final = (
    "select currency, sum(amount)::bigint as amount, count(*) as n from charges "
    "where status = 'succeeded' group by currency order by currency"
)


def charges_of_a_day(customer: str) -> Sequence[Scripted]:
    """The `story` of charges-of-a-day.yaml: look, add up with SQL, tell."""

    def tells(played: Played) -> ModelTurn:
        rows = _rows(played.result())
        paid = [f"{format_amount(int(row['amount']), row['currency'])} ({row['n']} in all)" for row in rows]
        what = " and ".join(paid) or "nothing"
        return say({"summary": f"Customer {customer} was charged {what}. No invoice stands behind that."})

    return (
        use("get-customer", customer=customer)
        .then(use("list-charges", customer=customer))
        .then(use("list-invoices", customer=customer)),
        use("query-data", sql=_TOTALS),
        tells,
    )


def investigate_refund(customer: str, goodwill: int) -> Sequence[Scripted]:
    """The `investigation` of investigate-refund.yaml: look, find the refund, propose one, explain."""
    known: dict[str, str] = {}

    def finds(played: Played) -> ModelTurn:
        row = next(row for row in _rows(played.result(1)) if row.get("amount_refunded", "0") not in ("", "0"))
        known.update(charge=row["id"], currency=row["currency"], amount=row["amount"], refunded=row["amount_refunded"])
        return use("raw-api-request", method="GET", path="/v1/refunds", params={"charge": row["id"]})

    def proposes(played: Played) -> ModelTurn:
        known["refund"] = _rows(played.result())[0]["id"]
        params = {"charge": known["charge"], "amount": goodwill}
        return use("raw-api-request", method="POST", path="/v1/refunds", params={**params})

    def explains(played: Played) -> ModelTurn:
        made = re.search(r"\bre_\w+", played.result())
        refunded, amount = (_money(known, name) for name in ("refunded", "amount"))
        return say(
            {
                "explanation": f"Of charge {known['charge']} over {amount}, {refunded} were paid back with "
                f"{known['refund']}; the rest was kept. There is no invoice behind it.",
                "refund": known["refund"],
                "charge": known["charge"],
                "goodwill_refund": made.group() if made else None,
                "amount": goodwill if made else None,
                "currency": known["currency"] if made else None,
            }
        )

    return (
        use("get-customer", customer=customer)
        .then(use("list-charges", customer=customer))
        .then(use("list-invoices", customer=customer)),
        finds,
        proposes,
        explains,
    )


def _money(known: Mapping[str, str], name: str) -> str:
    return format_amount(int(known[name]), known["currency"])


def _rows(result: str) -> list[dict[str, str]]:
    """The rows of a result's table, under their columns, with what every row has."""
    same: dict[str, str] = {}
    table: list[list[str]] = []
    for line in result.splitlines():
        if line.startswith(_SAME):
            same = dict(part.split("=", 1) for part in line.removeprefix(_SAME).split("; "))
        elif "|" in line:
            table.append([cell.strip() for cell in line.split("|")])
    return [{**same, **dict(zip(table[0], cells, strict=False))} for cells in table[1:]]
