"""Fifty writers at once: nothing is lost, nothing is doubled, the books agree."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
import stripe

from spojit_stripe.sandbox import Sandbox, sandbox

WRITERS = 50
ROUNDS = 6
T = TypeVar("T")


@pytest.fixture
def crowd() -> Iterator[Sandbox]:
    """A sandbox with a running clock, as a program meets it."""
    with sandbox(search_lag=0.0) as box:
        yield box
        assert box.crashes() == []


def client(box: Sandbox, retries: int = 0) -> stripe.StripeClient:
    return stripe.StripeClient(box.secret_key, base_addresses={"api": box.url}, max_network_retries=retries)


def together(work: Callable[[int], T], writers: int = WRITERS) -> list[T]:
    """Do it in as many threads, all released at the same moment."""
    gate = threading.Barrier(writers)

    def one(number: int) -> T:
        gate.wait(30)
        return work(number)

    with ThreadPoolExecutor(writers) as pool:
        return list(pool.map(one, range(writers)))


def every(service, **params: str) -> list[stripe.StripeObject]:
    return list(service.list({"limit": 100, **params}).auto_paging_iter())


def test_nothing_lost_nothing_doubled(crowd) -> None:
    """Customers, charges and refunds of fifty threads are all there, once, and the money adds up."""
    shared = client(crowd)

    def write(number: int) -> list[tuple[str, str, int]]:
        api = shared.v1
        customer = api.customers.create({"name": f"Writer {number}", "source": "tok_bypassPending"})
        made: list[tuple[str, str, int]] = []
        for turn in range(ROUNDS):
            amount = 1_000 + number * 10 + turn
            params = {"amount": amount, "currency": "usd", "customer": customer.id, "metadata": {"turn": str(turn)}}
            charge = api.charges.create(params)
            if turn % 3 == 0:
                api.refunds.create({"charge": charge.id, "amount": 100 + turn})
            made.append((customer.id, charge.id, amount))
        return made

    made = [each for found in together(write) for each in found]
    api = shared.v1
    charges = {each.id: each for each in every(api.charges)}
    assert len(charges) == len(made) == WRITERS * ROUNDS
    assert {(each.customer, each.id, each.amount) for each in charges.values()} == set(made)
    assert crowd.count("customer") == WRITERS
    refunds = every(api.refunds)
    assert len(refunds) == WRITERS * 2
    refunded = Counter()
    for each in refunds:
        refunded[each.charge] += each.amount
    assert all(each.amount_refunded == refunded[each.id] for each in charges.values())
    moved = every(api.balance_transactions)
    assert len(moved) == len({each.id for each in moved}) == len(charges) + len(refunds)
    assert api.balance.retrieve().available[0].amount == sum(each.net for each in moved)
    told = Counter(each.data.object["id"] for each in every(api.events, type="charge.succeeded"))
    assert set(told) == set(charges)
    assert set(told.values()) == {1}


def test_one_key_one_object(crowd) -> None:
    """The same key from fifty threads: one object, which all that were answered have seen."""
    shared = client(crowd, retries=10)

    def write(number: int) -> tuple[str, str | None]:
        del number
        params = {"amount": 4_200, "currency": "eur", "source": "tok_visa"}
        made = shared.v1.charges.create(params, {"idempotency_key": "one-order"})
        return made.id, made.last_response.headers.get("idempotent-replayed")

    answers = together(write)
    assert len({identifier for identifier, _ in answers}) == 1
    assert sum(replayed is None for _, replayed in answers) == 1
    assert (crowd.count("charge"), crowd.count("balance_transaction")) == (1, 1)


def test_one_key_while_it_is_in_use(crowd) -> None:
    """While the first one is under way, the others get 409; its effect stays the only one."""
    crowd.hold("POST", "/v1/charges", phase="before")
    shared = client(crowd)
    params = {"amount": 4_200, "currency": "eur", "source": "tok_visa"}
    found: list[str] = []
    first = threading.Thread(
        target=lambda: found.append(shared.v1.charges.create(params, {"idempotency_key": "held"}).id)
    )
    first.start()
    crowd.wait_held()

    def write(number: int) -> int | None:
        del number
        with pytest.raises(stripe.StripeError) as caught:
            shared.v1.charges.create(params, {"idempotency_key": "held"})
        return caught.value.http_status

    assert set(together(write, 20)) == {409}
    crowd.release()
    first.join(30)
    assert len(found) == crowd.count("charge") == 1


def test_refunds_race(crowd) -> None:
    """Fifty partial refunds of one charge: as many as it has money for, not one more."""
    shared = client(crowd)
    charge = shared.v1.charges.create({"amount": 1_000, "currency": "usd", "source": "tok_visa"})

    def write(number: int) -> bool:
        del number
        try:
            shared.v1.refunds.create({"charge": charge.id, "amount": 70})
        except stripe.InvalidRequestError:
            return False
        return True

    assert sum(together(write)) == 14
    assert shared.v1.charges.retrieve(charge.id).amount_refunded == 980
    assert crowd.count("refund") == 14


def test_readers_see_whole_pages(crowd) -> None:
    """Who pages while others write misses nothing that was there, and sees nothing twice."""
    shared = client(crowd)
    before = {shared.v1.customers.create({"name": f"Old {number}"}).id for number in range(60)}

    def work(number: int) -> list[str]:
        if number % 5:
            return [shared.v1.customers.create({"name": f"New {number}"}).id]
        return [each.id for each in shared.v1.customers.list({"limit": 7}).auto_paging_iter()]

    results = together(work, 20)
    for number, found in enumerate(results):
        if number % 5 == 0:
            assert len(found) == len(set(found))
            assert before <= set(found)
    assert crowd.count("customer") == 60 + 16
