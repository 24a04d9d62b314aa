"""The books, whatever is called in whatever order: a state machine of calls, and sums that must agree."""

import asyncio
import json
from collections import Counter, defaultdict
from urllib.parse import urlencode

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from spojit_stripe.sandbox import control
from spojit_stripe.sandbox.access import SECRET_KEY
from spojit_stripe.sandbox.app import App, Request
from spojit_stripe.sandbox.clock import Clock
from spojit_stripe.sandbox.context import Settings

NOW = 1_795_000_000
DAY = 86_400
CARD_NAMES = (
    "visa mastercard chargeCustomerFail createDispute createDisputeInquiry refundFail pendingRefund bypassPending"
)
CARDS = CARD_NAMES.split()
CURRENCIES = ["usd", "eur", "jpy", "kwd"]
AMOUNTS = st.integers(20, 9_000).map(lambda tens: tens * 10)
# What tells of an object's state, and so must be in the latest event about it.
TOLD = {
    "charge": ("status", "captured", "amount_captured", "amount_refunded", "refunded", "disputed", "paid"),
    "payment_intent": ("status", "amount_received", "latest_charge"),
    "refund": ("status", "amount"),
    "dispute": ("status", "amount"),
    "payout": ("status", "amount"),
    "invoice": ("status", "amount_paid", "amount_due"),
    "subscription": ("status",),
    "customer": ("email", "name"),
}
LISTS = {
    "charge": "/v1/charges",
    "payment_intent": "/v1/payment_intents",
    "refund": "/v1/refunds",
    "dispute": "/v1/disputes",
    "payout": "/v1/payouts",
    "invoice": "/v1/invoices",
    "balance_transaction": "/v1/balance_transactions",
    "customer": "/v1/customers",
    "event": "/v1/events",
}


class Books(RuleBasedStateMachine):
    """Calls as a client makes them, on an app without sockets."""

    customers = Bundle("customers")

    def __init__(self) -> None:
        super().__init__()
        self.app = App.open(None, Clock(NOW), Settings())
        self.loop = asyncio.new_event_loop()
        self.ids: dict[str, list[str]] = defaultdict(list)

    def call(self, method: str, path: str, params: dict | None = None, *, ok: set[int] | None = None) -> dict:
        body = urlencode(params or {})
        headers = {"authorization": f"Bearer {SECRET_KEY}", "content-type": "application/x-www-form-urlencoded"}
        query = body if method == "GET" else ""
        request = Request(method, path, query, headers, b"" if method == "GET" else body.encode())
        reply = self.loop.run_until_complete(self.app.answer(request))
        assert self.app.crashes == []
        assert reply.status in (ok or {200, 400, 402, 404}), (method, path, params, reply.status, reply.body)
        found = json.loads(reply.body)
        if reply.status == 200 and method == "POST":
            self.ids[found["object"]].append(found["id"])
            if found.get("latest_charge"):
                self.ids["charge"].append(found["latest_charge"])
        return found

    def pick(self, kind: str, number: int) -> str:
        found = self.ids[kind]
        return found[number % len(found)] if found else "none"

    def all(self, kind: str, **params: str) -> list[dict]:
        """A list as a client reads it: page by page."""
        found: list[dict] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.call("GET", LISTS[kind], {"limit": "40", **params, **cursor}, ok={200})
            found += page["data"]
            if not page["has_more"]:
                return found
            cursor = {"starting_after": found[-1]["id"]}

    # What may happen

    @initialize(target=customers, card=st.sampled_from(CARDS), currency=st.sampled_from(CURRENCIES))
    def begin(self, card: str, currency: str) -> tuple[str, str]:
        """Something to sell, and a customer who has bought, so that there is money to move."""
        for each in CURRENCIES:
            params = {"currency": each, "unit_amount": 1500, "recurring[interval]": "month"}
            self.call("POST", "/v1/prices", {**params, "product_data[name]": "Plan"}, ok={200})
        who = self.customer(card, currency)
        for amount in (5_000, 7_770):
            self.charge(who, amount, capture=True)
            self.intent(who, amount, manual=False, confirm=True)
        self.advance(3 * DAY)
        return who

    @rule(target=customers, card=st.sampled_from(CARDS), currency=st.sampled_from(CURRENCIES))
    def customer(self, card: str, currency: str) -> tuple[str, str]:
        made = self.call("POST", "/v1/customers", {"name": "Ann", "source": f"tok_{card}"}, ok={200})
        return made["id"], currency

    @rule(who=customers, amount=AMOUNTS, capture=st.booleans())
    def charge(self, who: tuple[str, str], amount: int, capture: bool) -> None:
        params = {"amount": amount, "currency": who[1], "customer": who[0], "capture": str(capture).lower()}
        made = self.call("POST", "/v1/charges", params)
        if "error" in made and "charge" in made["error"]:
            self.ids["charge"].append(made["error"]["charge"])

    @rule(number=st.integers(0, 50), amount=AMOUNTS)
    def capture(self, number: int, amount: int) -> None:
        self.call("POST", f"/v1/charges/{self.pick('charge', number)}/capture", {"amount": amount})

    @rule(number=st.integers(0, 50), amount=st.none() | AMOUNTS)
    def refund(self, number: int, amount: int | None) -> None:
        params = {"charge": self.pick("charge", number), **({} if amount is None else {"amount": amount})}
        self.call("POST", "/v1/refunds", params)

    @rule(who=customers, amount=AMOUNTS, manual=st.booleans(), confirm=st.booleans())
    def intent(self, who: tuple[str, str], amount: int, manual: bool, confirm: bool) -> None:
        params = {"amount": amount, "currency": who[1], "customer": who[0], "payment_method": "pm_card_visa"}
        params["automatic_payment_methods[enabled]"] = "true"
        params["automatic_payment_methods[allow_redirects]"] = "never"
        params["capture_method"] = "manual" if manual else "automatic"
        self.call("POST", "/v1/payment_intents", {**params, "confirm": str(confirm).lower()})

    @rule(number=st.integers(0, 50), action=st.sampled_from(["confirm", "capture", "cancel"]))
    def move_intent(self, number: int, action: str) -> None:
        self.call("POST", f"/v1/payment_intents/{self.pick('payment_intent', number)}/{action}")

    @precondition(lambda self: self.ids["charge"])
    @rule(number=st.integers(0, 50), inquiry=st.booleans())
    def dispute(self, number: int, inquiry: bool) -> None:
        charge = self.call("GET", f"/v1/charges/{self.pick('charge', number)}", ok={200})
        if charge["captured"] and not charge["disputed"] and not charge["refunded"]:
            control.perform(self.app, "POST", "disputes", {"charge": charge["id"], "inquiry": inquiry})

    @rule(number=st.integers(0, 50), won=st.booleans())
    def decide(self, number: int, won: bool) -> None:
        waiting = [each for each in self.all("dispute") if each["status"].endswith("needs_response")]
        if waiting:
            chosen = waiting[number % len(waiting)]["id"]
            control.perform(self.app, "POST", "disputes", {"dispute": chosen, "won": won})

    @rule(currency=st.sampled_from(CURRENCIES), amount=AMOUNTS, cancel=st.booleans())
    def payout(self, currency: str, amount: int, cancel: bool) -> None:
        made = self.call("POST", "/v1/payouts", {"amount": amount, "currency": currency})
        if cancel and "error" not in made:
            self.call("POST", f"/v1/payouts/{made['id']}/cancel", ok={200})

    @rule(interval=st.sampled_from(["daily", "manual"]))
    def schedule(self, interval: str) -> None:
        control.perform(self.app, "POST", "payouts", {"interval": interval})

    @rule(who=customers, amount=AMOUNTS, end=st.sampled_from(["pay", "void", "mark_uncollectible", "finalize"]))
    def invoice(self, who: tuple[str, str], amount: int, end: str) -> None:
        item = {"customer": who[0], "amount": amount, "currency": who[1]}
        self.call("POST", "/v1/invoiceitems", item)
        draft = {"customer": who[0], "currency": who[1], "pending_invoice_items_behavior": "include"}
        made = self.call("POST", "/v1/invoices", draft)
        if "error" not in made:
            self.call("POST", f"/v1/invoices/{made['id']}/finalize")
            self.call("POST", f"/v1/invoices/{made['id']}/{end}")

    @rule(who=customers, trial=st.booleans())
    def subscription(self, who: tuple[str, str], trial: bool) -> None:
        price = self.ids["price"][CURRENCIES.index(who[1])]
        params = {"customer": who[0], "items[0][price]": price, **({"trial_period_days": "3"} if trial else {})}
        self.call("POST", "/v1/subscriptions", params)

    @rule(number=st.integers(0, 50))
    def leave(self, number: int) -> None:
        self.call("DELETE", f"/v1/subscriptions/{self.pick('subscription', number)}")

    @rule(seconds=st.sampled_from([60, 3_600, DAY, 3 * DAY, 35 * DAY]))
    def advance(self, seconds: int) -> None:
        self.app.advance(seconds)

    # What must be so

    @invariant()
    def the_balance_is_the_sum(self) -> None:
        sums: dict[str, Counter] = {"available": Counter(), "pending": Counter()}
        for each in self.all("balance_transaction"):
            assert each["net"] == each["amount"] - each["fee"]
            sums[each["status"]][each["currency"]] += each["net"]
        balance = self.call("GET", "/v1/balance", ok={200})
        for status, expected in sums.items():
            assert Counter({each["currency"]: each["amount"] for each in balance[status]}) == expected

    @invariant()
    def refunds_are_within_charges(self) -> None:
        refunds: Counter = Counter()
        for each in self.all("refund"):
            refunds[each["charge"]] += each["amount"] if each["status"] not in {"failed", "canceled"} else 0
        for charge in self.all("charge"):
            released = charge["amount"] - charge["amount_captured"] if charge["captured"] else 0
            assert 0 <= charge["amount_refunded"] <= charge["amount"]
            assert charge["amount_refunded"] == refunds[charge["id"]] + released
            assert charge["refunded"] == (charge["amount_refunded"] == charge["amount"])
            assert (charge["balance_transaction"] is not None) == (charge["captured"] and charge["paid"])

    def payouts_tie_out(self) -> None:
        seen: set[str] = set()
        for payout in self.all("payout"):
            found = self.all("balance_transaction", payout=payout["id"])
            if payout["automatic"]:
                assert sum(each["net"] for each in found) == payout["amount"] > 0
            assert not seen & {each["id"] for each in found}
            seen |= {each["id"] for each in found}
            own = self.call("GET", f"/v1/balance_transactions/{payout['balance_transaction']}", ok={200})
            assert (own["net"], own["source"], own["currency"]) == (
                -payout["amount"],
                payout["id"],
                payout["currency"],
            )

    def events_tell_it_all(self) -> None:
        told: dict[str, dict] = {}
        for event in self.all("event"):
            told.setdefault(event["data"]["object"]["id"], event["data"]["object"])
        recent = self.app.clock.now() - 30 * DAY
        for kind, names in TOLD.items():
            for body in self.all(kind) if kind in LISTS else self.app.store.records(0, kind):
                shown = body if isinstance(body, dict) else body.body
                if shown["created"] < recent and shown["id"] not in told:
                    continue
                assert shown["id"] in told, kind
                latest = told[shown["id"]]
                assert {name: latest[name] for name in names} == {name: shown[name] for name in names}, kind

    def lists_agree_with_retrieves(self) -> None:
        for kind, path in LISTS.items():
            found = self.all(kind)
            assert len({each["id"] for each in found}) == len(found)
            times = [each["created"] for each in found]
            assert times == sorted(times, reverse=True)
            for each in found[:20]:
                assert self.call("GET", f"{path}/{each['id']}", ok={200}) == each

    def teardown(self) -> None:
        self.payouts_tie_out()
        self.events_tell_it_all()
        self.lists_agree_with_retrieves()
        self.loop.close()
        self.app.store.close()


TestBooks = Books.TestCase
TestBooks.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
