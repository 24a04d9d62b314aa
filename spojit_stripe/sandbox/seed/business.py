"""A whole business: who signs up when, what they buy, and the payouts of it all.

Customers come one after another, each with all that they ever do, so that memory stays
flat however many there are. Only sums per currency and day are kept, for the payouts.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from spojit_stripe.sandbox.app import App
from spojit_stripe.sandbox.seed import stories
from spojit_stripe.sandbox.seed.people import CARDS, FAILING, MARKETS, PRODUCTS, Person, person
from spojit_stripe.sandbox.seed.recording import DAY, Recorder, Stage, call
from spojit_stripe.sandbox.seed.stamping import AMOUNT, Moved, Template, tails
from spojit_stripe.sandbox.seed.stories import Fate, Order, Plan
from spojit_stripe.sandbox.store import ROW, Cell
from spojit_stripe.sandbox.values import JsonObject, string

DAYS = 90
_EVENT_DAYS = 30
_HOUR, _NOON = 3_600, 43_200
_FIRST = 20_261_043  # of the generators of customers; from here on even a handful have refunds and a dispute
_BATCH = 5_000
_MANY = 600  # customers; from here on indexes are made at the end
_HISTORIES = 48  # distinct subscriptions per market; customers beyond that share one, at other times of day
_ORDERS = ((0, 1, 2, 3, 5, 8, 13, 21, 34, 55), (6, 10, 11, 12, 16, 16, 13, 9, 5, 2))
_TYPE, _ID, _DUE, _NET, _PAYOUT, _CURRENCY = (
    ROW.index(name) for name in ("type", "id", "due", "net", "payout", "currency")
)

_PRICE = {each.currency: each.price for each in MARKETS}
_Key = tuple[str | int | bool, ...]


class Business:
    """The same business for the same number of customers, at whatever time it is made."""

    def __init__(self, app: App, customers: int) -> None:
        self._store = app.store
        self._context = app.system_context()
        self._scope = self._context.scope
        self._now = self._context.now
        self._midnight = self._now // DAY * DAY
        self._since = self._now - _EVENT_DAYS * DAY
        self._customers = customers
        self._pick = random.Random()  # noqa: S311 - the same business each time
        self._templates: dict[_Key, Template] = {}
        self._prices: dict[tuple[str, str], list[str]] = {}
        self._rows: list[list[Cell]] = []
        self._timers: list[tuple[int, int, str, str]] = []
        self._orders = 0
        self._sums: Counter[tuple[str, int]] = Counter()
        self._payout_ids: dict[tuple[str, int], str] = {}

    def make(self) -> None:
        """Make it."""
        with self._store.transaction():
            self._catalog()
        kinds = ("product", "price")
        catalog = [record for kind in kinds for record in self._store.records(self._scope, kind)]
        self._recorder = Recorder(self._context, catalog)
        try:
            if self._customers < _MANY:
                with self._store.transaction():
                    moves = self._fill()
                    self._store.move_to_payout(self._scope, moves)
                return
            with self._store.bulk():
                moves = self._fill()
            with self._store.transaction():
                self._store.move_to_payout(self._scope, moves)
        finally:
            self._recorder.close()

    def _fill(self) -> list[tuple[str | None, str]]:
        for number in range(1, self._customers + 1):
            self._live(number)
        moves = self._pay_out()
        self._flush()
        return moves

    def _flush(self) -> None:
        with self._store.transaction():
            self._store.add_rows(self._rows)
            self._store.add_timers(self._timers)
        self._rows, self._timers = [], []

    # What is sold

    def _catalog(self) -> None:
        begin = self._midnight - DAYS * DAY
        context = replace(self._context, now=begin, exact_now=float(begin))
        for name, factor in PRODUCTS:
            product = call(context, "POST", "/v1/products", {"name": name, "metadata": {"line": name.lower()}})
            for currency, typical in _PRICE.items():
                for interval in ("", "month", "year"):
                    price: JsonObject = {
                        "product": product["id"],
                        "currency": currency,
                        "unit_amount": typical * factor * (10 if interval == "year" else 1),
                    }
                    if interval:
                        price["recurring"] = {"interval": interval}
                    made = call(context, "POST", "/v1/prices", price)
                    self._prices.setdefault((currency, interval), []).append(string(made, "id"))

    # Customers

    def _live(self, number: int) -> None:
        """All that a customer does."""
        pick = self._pick
        pick.seed(_FIRST + number)
        who = person(number, pick)
        who.texts["prefix"] = tails(f"prefix/{number}", [8])[0].upper()
        if pick.random() < 0.45:
            template, age, card = self._history(who.market.country, who.market.currency, pick.randrange(_HISTORIES))
            days = 0
        else:
            card, age = who.card, pick.randint(1, DAYS - 1)
            template, days = self._template(("customer", card), 1, _signed_up(card)), 1 - age
        marks = tails(f"customer/{number}", template.lengths)
        self._stamp(template, marks, Moved(days, self._seconds(template, 1), who.texts))
        for _ in range(pick.choices(*_ORDERS)[0]):
            self._order(who, card, marks, age)

    def _history(self, country: str, currency: str, number: int) -> tuple[Template, int, str]:
        """One of the ways in which customers of a market are billed: its story, its age in days, and its card."""
        pick = random.Random(f"{country}/{number}")  # noqa: S311 - the same each time
        card = FAILING if pick.random() < 0.08 else pick.choice(CARDS)
        age = pick.randint(2, DAYS - 1)
        interval = "month" if pick.random() < 0.85 else "year"
        prices, choice = self._prices[currency, interval], pick.randrange(len(PRODUCTS) - 1)
        leave = pick.randint(5, 75) if pick.random() < 0.35 else 0
        plan = Plan(
            prices[choice] if pick.random() < 0.85 else "",
            prices[choice + 1],
            pick.choice((1, 1, 1, 3)),
            trial=pick.random() < 0.35,
            upgrade=pick.randint(3, 50) if pick.random() < 0.3 else 0,
            leave=leave,
            at_period_end=pick.random() < 0.5,
            consulting=_PRICE[currency] * pick.randint(2, 20) if pick.random() < 0.3 else 0,
            outcome=pick.choices(("pay", "open", "void", "draft", "mark_uncollectible"), (60, 20, 8, 8, 4))[0],
        )

        def tell(stage: Stage, noon: int) -> None:
            customer, _ = stories.sign_up(stage.at(noon), card)
            stories.bill(stage, customer, plan, currency, card, noon + 4 * 60, self._now)

        return self._template(("history", country, number), age, tell), age, card

    # Orders

    def _order(self, who: Person, card: str, marks: list[bytes], since: int) -> None:
        """An order of someone who signed up so many days ago."""
        pick = self._pick
        self._orders += 1
        age, fate = self._when_and_how(card, since)
        intent = pick.random() < 0.5 or fate in (stories.RETRIED, stories.CAPTURED)
        amount = who.market.price * pick.randint(1, 12) + pick.randint(0, 99)
        part = amount // pick.randint(2, 5)
        if who.market.currency == "kwd":
            amount, part = amount // 10 * 10, part // 10 * 10
        if age < 0:
            return
        told = _told(fate, age)
        currency = who.market.currency if fate.dispute else "usd"
        key = ("order", fate.name, card, intent, told, currency)

        def tell(stage: Stage, noon: int) -> None:
            customer, method = stories.sign_up(stage.at(noon - DAY), card)
            stage.cut()
            fate.tell(stage, Order(customer, method, currency, intent), noon)

        template = self._template(key, told, tell, amounts=True, currency=not fate.dispute)
        order = 10_000 + self._orders
        texts = {**who.texts, "order": b"%d" % order, "short": b"%d" % (self._orders + 1_000)}
        own = tails(f"order/{order}", template.lengths)
        moved = Moved(told - age, self._seconds(template, told), texts, amount, part)
        self._stamp(template, [*marks[: template.shared], *own], moved)

    def _when_and_how(self, card: str, since: int) -> tuple[int, Fate]:
        """How many days ago an order is placed, and what becomes of it; -1 if there is no time for one."""
        pick = self._pick
        first = 0 if self._now - self._midnight >= _HOUR else 1
        age, fate = pick.randint(0, since - 1), pick.choices(stories.FATES, stories.WEIGHTS)[0]
        if age < first:
            age = first
        if age >= since:
            return -1, fate
        if card == FAILING or (age <= fate.days and fate.days) or (age == 0 and not fate.brief):
            return age, stories.PAID
        if fate is stories.DISPUTED and age > fate.days + 8:
            return age, stories.CLOSED[pick.random() < 0.6]
        return age, fate

    # Payouts

    def _pay_out(self) -> list[tuple[str | None, str]]:
        """Daily payouts of all that is available; days that end below zero are carried on to the next."""
        moves: list[tuple[str | None, str]] = []
        last = self._midnight // DAY
        for currency in sorted({currency for currency, _ in self._sums}):
            total, waiting = 0, list[str]()
            for day in sorted(day for name, day in self._sums if name == currency and day <= last):
                total += self._sums[currency, day]
                identifier = self._payout_id(currency, day)
                if total <= 0:
                    waiting.append(identifier)
                    continue
                self._add(*self._payout(currency, day, total))
                moves += [(identifier, each) for each in waiting]
                total, waiting = 0, []
            moves += [(None, each) for each in waiting]
        return moves

    def _payout(self, currency: str, day: int, amount: int) -> tuple[list[list[Cell]], list[tuple[int, str, str]]]:
        age = self._midnight // DAY - day
        told = min(age, 2)
        midnight = self._midnight - told * DAY

        def tell(stage: Stage, noon: int) -> None:
            del noon
            stories.pay_out(stage.at(midnight), "usd")

        template = self._template(("payout", told), told, tell, amounts=True, currency=True)
        moved = Moved(told - age, 0, {"currency": currency.encode()}, amount)
        return template.stamp(
            tails(f"payout/{currency}/{day - self._midnight // DAY}", template.lengths), moved, self._since
        )

    def _payout_id(self, currency: str, day: int) -> str:
        found = self._payout_ids.get((currency, day))
        if found is None:
            rows, _ = self._payout(currency, day, AMOUNT)
            found = next(str(row[_ID]) for row in rows if row[_TYPE] == "payout")
            self._payout_ids[currency, day] = found
        return found

    # Stamping

    def _template(
        self, key: _Key, age: int, tell: Callable[[Stage, int], None], *, amounts: bool = False, currency: bool = False
    ) -> Template:
        """The story with this key, told when it is first needed."""
        found = self._templates.get(key)
        if found is None:
            with self._recorder.stage() as stage:
                tell(stage, self._noon(age))
                stage.at(self._now)
                found = Template(stage.recording(), amounts=amounts, currency=currency)
            self._templates[key] = found
        return found

    def _noon(self, age: int) -> int:
        """When stories of this age are told: noon, or the middle of today until now."""
        return self._midnight - age * DAY + (_NOON if age else (self._now - self._midnight) // 2)

    def _seconds(self, template: Template, age: int) -> int:
        """How far from there, on the same day and not after now."""
        earliest = min(1_800 - self._noon(age) % DAY, 0)
        latest = min(8 * _HOUR, self._now - template.latest)
        # Not `randint`: what that takes from the generator depends on its range, here on the time of day.
        return earliest + int(self._pick.random() * (latest - earliest + 1))

    def _stamp(self, template: Template, marks: list[bytes], moved: Moved) -> None:
        rows, timers = template.stamp(marks, moved, self._since)
        for row in rows:
            if row[_TYPE] == "balance_transaction":
                self._book(row)
        self._add(rows, timers)

    def _book(self, row: list[Cell]) -> None:
        """Note what a balance transaction brings, and the payout that it is to be in."""
        due, net, currency = row[_DUE], row[_NET], row[_CURRENCY]
        if not isinstance(due, int) or not isinstance(net, int) or not isinstance(currency, str):
            raise TypeError("a balance transaction without a date or an amount")
        day = -(-due // DAY)
        self._sums[currency, day] += net
        if day * DAY <= self._midnight:
            row[_PAYOUT] = self._payout_id(currency, day)

    def _add(self, rows: list[list[Cell]], timers: list[tuple[int, str, str]]) -> None:
        self._rows += rows
        self._timers += [(due, self._scope, action, identifier) for due, action, identifier in timers]
        if len(self._rows) >= _BATCH:
            self._flush()


def _signed_up(card: str) -> Callable[[Stage, int], None]:
    def tell(stage: Stage, noon: int) -> None:
        stories.sign_up(stage.at(noon), card)

    return tell


def _told(fate: Fate, age: int) -> int:
    """The age at which a story is told: its own while money or time is under way, else the first one after."""
    return age if fate is stories.DISPUTED else min(age, max(fate.days, 2 + fate.captured) + (fate.days > 0))
