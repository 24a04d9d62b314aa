"""Whether a payout is the sum of what it settled, to the last unit, and what that was.

    payout ─► balance transactions ─► charges, refunds, disputes, fees, adjustments
    variance = payout − (gross + refunds + disputes + adjustments + fees) = 0, by currency

Amounts are signed as the balance sees them: refunds, lost disputes and fees are negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Final
from urllib.parse import quote

from spojit_stripe.direct import run_tool
from spojit_stripe.errors import InputError, ServiceError, UnavailableError
from spojit_stripe.session import Session
from spojit_stripe.sync.pages import Pages
from spojit_stripe.sync.views import CATEGORIES, RETURNED
from spojit_stripe.values import Done, Failed, JsonObject, JsonValue, Paging, Position, ToolCall

__all__ = ["Reconciling", "category_of", "reconcile", "reconcile_payout"]

_CATEGORY: Final = {name: category for category, names in CATEGORIES.items() for name in names}


def category_of(transaction: JsonObject) -> str:
    """`gross`, `refunds`, `disputes`, `fees` or `adjustments`."""
    known = transaction.get("reporting_category") or transaction.get("type")
    return _CATEGORY.get(str(known), "adjustments")


@dataclass(slots=True)
class _Sums:
    """What a payout settled in one currency. `unbalanced`: by how much nets differ from amounts less fees."""

    gross: int = 0
    refunds: int = 0
    disputes: int = 0
    adjustments: int = 0
    fees: int = 0
    unbalanced: int = 0
    transactions: int = 0

    @property
    def net(self) -> int:
        return self.gross + self.refunds + self.disputes + self.adjustments + self.fees


class Reconciling:
    """Adds up the transactions of one payout as they come; holds sums, never the transactions."""

    def __init__(self, payout: JsonObject) -> None:
        self._payout = payout
        self._id = _text(payout, "id")
        self._currency = _text(payout, "currency")
        self._amount = _integer(payout, "amount")
        self._own = payout.get("balance_transaction")
        self._sums: dict[str, _Sums] = {}

    def add(self, transactions: Iterable[JsonObject]) -> None:
        """Raises `ServiceError` for what is no balance transaction."""
        for one in transactions:
            if one.get("id") == self._own_id:
                continue  # the payout leaving the balance, which Stripe lists among what it settled
            amount, fee, net = (_integer(one, name) for name in ("amount", "fee", "net"))
            sums = self._sums.setdefault(_text(one, "currency"), _Sums())
            category = category_of(one)
            setattr(sums, category, getattr(sums, category) + amount)
            sums.fees -= fee
            sums.unbalanced += amount - fee - net
            sums.transactions += 1

    @property
    def _own_id(self) -> JsonValue:
        return self._own.get("id") if isinstance(self._own, dict) else self._own

    def result(self) -> JsonObject:
        """The sums by currency, and the `outcome` in one word. `reconciled` says that it is that one."""
        settles = self._payout.get("automatic") is True
        currencies = [self._of(code) for code in sorted({self._currency, *self._sums})] if settles else []
        outcome = self._outcome(currencies)
        lines: list[JsonValue] = [*currencies]
        return {
            "payout": self._id,
            "status": self._payout.get("status"),
            "arrival_date": self._payout.get("arrival_date"),
            "amount": self._amount,
            "currency": self._currency,
            "automatic": settles,
            "reconciliation_status": self._payout.get("reconciliation_status"),
            "reconciled": outcome == "reconciled",
            "outcome": outcome,
            "currencies": lines,
        }

    def _outcome(self, currencies: Sequence[JsonObject]) -> str:
        if self._payout.get("automatic") is not True:
            return "manual"
        if self._payout.get("reconciliation_status") not in ("completed", None):
            return "open"
        if any(one[name] for one in currencies for name in ("variance", "unbalanced")):
            return "unreconciled"
        return "returned" if self._payout.get("status") in RETURNED else "reconciled"

    def _of(self, currency: str) -> JsonObject:
        sums = self._sums.get(currency, _Sums())
        amount = self._amount if currency == self._currency else 0
        told: JsonObject = {"currency": currency, "amount": amount}
        told |= {one.name: getattr(sums, one.name) for one in fields(sums)}
        return {**told, "net": sums.net, "variance": amount - sums.net}


def reconcile(payout: JsonObject, transactions: Iterable[JsonObject]) -> JsonObject:
    """A payout against the balance transactions that it settled.

    Gives `reconciled`, and in `currencies` for each one `amount` (of the payout), `gross`,
    `refunds`, `disputes`, `adjustments`, `fees`, `net`, `variance` and `transactions`. Only an
    automatic payout settles certain transactions; of a manual one `currencies` is empty.

    `outcome` is `reconciled`, `returned` (it adds up, but failed or was canceled, so its amount is
    back in the balance), `unreconciled` (something is left over), `open` (Stripe has not told all
    yet) or `manual`.

    Raises `ServiceError` where an amount is missing or no integer.
    """
    work = Reconciling(payout)
    work.add(transactions)
    return work.result()


async def reconcile_payout(payout_id: str, *, session: Session, run_id: str) -> JsonObject:
    """`reconcile` for a payout by its id, read from Stripe now. Any number of transactions takes no memory.

    Raises `SpojitError`, `UnavailableError` where not all transactions could be read.
    """
    if not payout_id.startswith("po_"):
        raise InputError(f"payout: {payout_id!r} is no payout's id; it looks like po_1QabcDEF")
    path = f"/v1/payouts/{quote(payout_id, safe='')}"
    payout = (await _read(path, {}, session, run_id, 0)).value
    work = Reconciling(payout)
    if payout.get("automatic") is True:
        pages = Pages(lambda page: work.add(page))
        done = await _read("/v1/balance_transactions", {"payout": payout_id}, session, run_id, 1, pages)
        if done.value.get("complete") is not True:
            why: Sequence[str] = done.meta.warnings or ("the list is not complete",)
            raise UnavailableError(f"payout {payout_id} can't be reconciled: {why[-1]}")
    return work.result()


async def _read(
    path: str, params: JsonObject, session: Session, run_id: str, ordinal: int, pages: Pages | None = None
) -> Done:
    call = ToolCall(
        tool="raw-api-request",
        params={"method": "GET", "path": path, "params": params},
        author_params={"api_version": session.connector.default_api_version},
        paging=Paging(paginate="all", order="any"),
    )
    at = Position(run_id=run_id, node="reconcile", ordinal=ordinal)
    outcome = await run_tool(call, at=at, session=session, sink=pages)
    if pages is not None and pages.error is not None:
        raise pages.error
    if isinstance(outcome, Done):
        return outcome
    raise outcome.error if isinstance(outcome, Failed) else ServiceError("a read was held back")


def _text(value: JsonObject, name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not found:
        raise ServiceError(f"{value.get('id')!r}: {name} is {found!r}, not text; it can't be reconciled")
    return found


def _integer(value: JsonObject, name: str) -> int:
    found = value.get(name)
    if not isinstance(found, int) or isinstance(found, bool):
        raise ServiceError(f"{value.get('id')!r}: {name} is {found!r}, not an integer; it can't be reconciled")
    return found
