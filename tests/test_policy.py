from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spojit_stripe.connection import Connection, Policy
from spojit_stripe.errors import ConfigurationError, RefusedError
from spojit_stripe.policy import Rules, Spent, Verdict, check_spending, decide
from spojit_stripe.values import Amount, Assessment, Effect, Writes

ORDER = list(Writes)
STRICT = [Verdict.DENY, Verdict.PLAN, Verdict.ASK, Verdict.ALLOW]
USD = Amount(amount=500, currency="usd")


def connection(policy: object = None, **given: object) -> Connection:
    base = {"name": "c", "secret_key": "k", "mode": "test", "policy": policy or {"writes": "allow"}}
    return Connection.model_validate(base | given)


def money(amount: Amount | None = USD, *, effect: Effect | None = Effect.MONEY, **params: object) -> Assessment:
    return Assessment(effect=effect, operation="POST /v1/x", params=dict(params), amount=amount)  # type: ignore[arg-type]


def verdict(assessment: Assessment, c: Connection, *narrower: Policy, by_agent: bool = False) -> Verdict:
    return decide(assessment, c, Rules.of(c, *narrower), by_agent=by_agent).verdict


def reason(assessment: Assessment, c: Connection, *narrower: Policy, by_agent: bool = False) -> str:
    return decide(assessment, c, Rules.of(c, *narrower), by_agent=by_agent).reason


# Writes


@pytest.mark.parametrize(
    ("writes", "found"),
    [("deny", Verdict.DENY), ("plan", Verdict.PLAN), ("ask", Verdict.ASK), ("allow", Verdict.ALLOW)],
)
@pytest.mark.parametrize("effect", [Effect.WRITE, Effect.MONEY, Effect.CONTROL])
def test_writes_are_what_the_connection_says(writes: str, found: Verdict, effect: Effect) -> None:
    assert verdict(money(effect=effect), connection({"writes": writes})) is found


def test_writes_are_denied_unless_the_author_says_otherwise() -> None:
    assert verdict(money(), connection({"allow_live": True})) is Verdict.DENY
    assert "set policy: {writes: ask}" in reason(money(), connection({"allow_live": True}))


def test_a_node_that_denies_writes_does_not_blame_its_connection() -> None:
    told = reason(money(), connection({"writes": "ask"}), Policy(writes=Writes.DENY))
    assert told.startswith("writes are denied by the node's own policy")
    assert told.endswith("connection 'c' would let them through (writes: ask)")


@pytest.mark.parametrize("given", [{"policy": {"writes": "deny"}}, {"enabled": False}, {"mode": "live"}])
def test_a_read_is_always_allowed(given: dict[str, object]) -> None:
    c = connection(given.pop("policy", None), **given)
    assert verdict(money(None, effect=Effect.READ), c, by_agent=True) is Verdict.ALLOW


@pytest.mark.parametrize("writes", ORDER)
def test_a_connection_that_is_switched_off_writes_nothing(writes: Writes) -> None:
    c = connection({"writes": writes.value}, enabled=False)
    assert verdict(money(), c) is Verdict.DENY
    assert "enabled: false" in reason(money(), c)


def test_live_writes_need_allow_live() -> None:
    assert verdict(money(), connection(mode="live")) is Verdict.DENY
    assert "allow_live: true" in reason(money(), connection(mode="live"))
    assert verdict(money(), connection({"writes": "allow", "allow_live": True}, mode="live")) is Verdict.ALLOW
    assert verdict(money(), connection({"writes": "ask", "allow_live": True}, mode="live")) is Verdict.ASK


@pytest.mark.parametrize("writes", ORDER)
def test_an_agent_never_gives_access(writes: Writes) -> None:
    c = connection({"writes": writes.value})
    assert verdict(money(effect=Effect.CONTROL), c, by_agent=True) is Verdict.DENY


@pytest.mark.parametrize(
    ("writes", "found"),
    [("deny", Verdict.DENY), ("plan", Verdict.PLAN), ("ask", Verdict.ASK), ("allow", Verdict.ASK)],
)
def test_what_nobody_reviewed_asks(writes: str, found: Verdict) -> None:
    assert verdict(money(effect=None), connection({"writes": writes})) is found
    if found is Verdict.ASK:
        assert "not in the reviewed table" in reason(money(effect=None), connection({"writes": writes}))


# Narrowing


@pytest.mark.parametrize("outer", ORDER)
@pytest.mark.parametrize("inner", ORDER)
def test_a_node_can_only_be_stricter(outer: Writes, inner: Writes) -> None:
    rules = Rules.of(connection({"writes": outer.value}), Policy(writes=inner))
    assert rules.writes is min(outer, inner, key=ORDER.index)


def test_a_node_that_says_nothing_keeps_what_its_connection_says() -> None:
    c = connection({"writes": "allow", "allow_live": True}, mode="live")
    assert verdict(money(), c, Policy.model_validate({"caps": {"count": 1}})) is Verdict.ALLOW


def test_a_node_cannot_open_live_mode_but_can_close_it() -> None:
    closed = connection(mode="live")
    assert verdict(money(), closed, Policy(allow_live=True)) is Verdict.DENY
    opened = connection({"writes": "allow", "allow_live": True}, mode="live")
    assert verdict(money(), opened, Policy(allow_live=False)) is Verdict.DENY


CAPS = st.fixed_dictionaries(
    {},
    optional={
        "per_call": st.fixed_dictionaries(
            {"amount": st.integers(0, 1000), "currency": st.sampled_from(["usd", "eur"])}
        ),
        "per_run": st.fixed_dictionaries({"amount": st.integers(0, 1000), "currency": st.sampled_from(["usd", "eur"])}),
        "count": st.integers(0, 3),
    },
)
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "writes": st.sampled_from([writes.value for writes in Writes]),
        "allow_live": st.booleans(),
        "caps": CAPS,
        "pins": st.dictionaries(
            st.sampled_from(["currency", "customer"]), st.sampled_from(["usd", "cus_1"]), max_size=2
        ),
    },
).map(Policy.model_validate)
ASSESSMENTS = st.builds(
    lambda effect, amount, currency, params: money(
        None if amount is None else Amount(amount=amount, currency=currency), effect=effect, **params
    ),
    st.sampled_from([*Effect, None]),
    st.none() | st.integers(-1000, 1000),
    st.sampled_from(["usd", "eur"]),
    st.dictionaries(st.sampled_from(["currency", "customer"]), st.sampled_from(["usd", "eur", "cus_1"]), max_size=2),
)


@given(POLICIES, st.lists(POLICIES, max_size=3), ASSESSMENTS, st.sampled_from(["test", "live"]), st.booleans())
def test_narrowing_never_widens(
    outer: Policy, inner: list[Policy], call: Assessment, mode: str, by_agent: bool
) -> None:
    c = connection(outer, mode=mode)
    without = decide(call, c, Rules.of(c), by_agent=by_agent).verdict
    try:
        rules = Rules.of(c, *inner)
    except ConfigurationError:
        return
    assert STRICT.index(decide(call, c, rules, by_agent=by_agent).verdict) <= STRICT.index(without)


@given(
    POLICIES,
    st.lists(POLICIES, max_size=3),
    ASSESSMENTS,
    st.builds(Spent, in_run=st.integers(0, 900), count=st.integers(0, 3)),
)
def test_a_spending_that_the_connection_refuses_no_node_allows(
    outer: Policy, inner: list[Policy], call: Assessment, spent: Spent
) -> None:
    c = connection(outer)
    try:
        rules = Rules.of(c, *inner)
        check_spending(call.amount, spent, Rules.of(c))
    except ConfigurationError:
        return
    except RefusedError:
        with pytest.raises(RefusedError):
            check_spending(call.amount, spent, rules)


# Pins


def test_two_policies_cannot_pin_to_different_values() -> None:
    c = connection({"writes": "allow", "pins": {"currency": "usd"}})
    assert Rules.of(c, Policy(pins={"currency": "usd", "customer": "cus_1"})).pins == {
        "currency": "usd",
        "customer": "cus_1",
    }
    with pytest.raises(ConfigurationError, match="a node can't change a pin"):
        Rules.of(c, Policy(pins={"currency": "eur"}))


@pytest.mark.parametrize(
    ("pins", "call", "broken"),
    [
        ({"customer": "cus_1"}, money(customer="cus_1"), False),
        ({"customer": "cus_1"}, money(customer="cus_2"), True),
        ({"customer": "cus_1"}, money(), False),
        ({"currency": "usd"}, money(Amount(amount=1, currency="usd")), False),
        ({"currency": "USD"}, money(Amount(amount=1, currency="usd")), False),
        ({"currency": "usd"}, money(Amount(amount=1, currency="eur")), True),
        ({"currency": "usd"}, money(None, currency="eur"), True),
    ],
)
def test_a_pin_is_held_against_the_final_parameters_and_the_amount(
    pins: dict[str, object], call: Assessment, broken: bool
) -> None:
    c = connection({"writes": "allow", "pins": pins})
    assert (verdict(call, c) is Verdict.DENY) == broken
    if broken:
        assert "is pinned to" in reason(call, c)


# Caps


def capped(**caps: object) -> Connection:
    return connection({"writes": "allow", "caps": caps})


def cap(amount: int, currency: str = "usd") -> dict[str, object]:
    return {"amount": amount, "currency": currency}


@pytest.mark.parametrize(("amount", "found"), [(500, Verdict.ALLOW), (501, Verdict.DENY), (-501, Verdict.DENY)])
def test_a_call_over_its_cap_is_denied(amount: int, found: Verdict) -> None:
    call = money(Amount(amount=amount, currency="usd"))
    assert verdict(call, capped(per_call=cap(500))) is found


def test_the_reason_shows_both_amounts() -> None:
    text = reason(money(Amount(amount=1000, currency="usd")), capped(per_call=cap(500)))
    assert text == "10.00 USD is over the cap per call of 5.00 USD"


def test_a_currency_without_a_cap_asks() -> None:
    euros = money(Amount(amount=1, currency="eur"))
    assert verdict(euros, capped(per_call=cap(500))) is Verdict.ASK
    assert reason(euros, capped(per_call=cap(500))) == "no cap is set for EUR"
    assert verdict(euros, capped(per_day=cap(500, "eur"))) is Verdict.ALLOW
    assert verdict(euros, capped(count={"count": 5, "currency": "eur"})) is Verdict.ALLOW
    assert verdict(euros, capped(count=5)) is Verdict.ALLOW  # a count over all currencies names none
    assert verdict(euros, connection(), Policy.model_validate({"caps": {"per_call": cap(5)}})) is Verdict.ASK


def test_an_amount_that_nobody_knows_asks_where_caps_are_set() -> None:
    assert verdict(money(None), capped(per_call=cap(500))) is Verdict.ASK
    assert verdict(money(None), connection()) is Verdict.ALLOW
    assert verdict(money(None, effect=Effect.WRITE), capped(per_call=cap(500))) is Verdict.ALLOW


@pytest.mark.parametrize(
    ("caps", "spent", "refusal"),
    [
        ({"per_run": cap(1000)}, Spent(in_run=500), None),
        ({"per_run": cap(999)}, Spent(in_run=500), "over the cap per run of 9.99 USD: 5.00 USD are used"),
        ({"per_day": cap(1000)}, Spent(in_day=500, in_run=9999), None),
        ({"per_day": cap(999)}, Spent(in_day=500), r"over the cap per day \(UTC\) of 9.99 USD"),
        ({"per_run": cap(1, "eur")}, Spent(in_run=9999), None),
        ({"count": 2}, Spent(count=1), None),
        ({"count": 2}, Spent(count=2), "the cap of 2 money calls a run is reached"),
        ({"count": 0}, Spent(), "the cap of 0 money calls"),
        ({"count": [{"count": 1, "currency": "usd"}]}, Spent(count=5), None),
        ({"count": [{"count": 1, "currency": "usd"}]}, Spent(count_in_currency=1), "1 money calls a run in USD"),
        ({"count": [{"count": 1, "currency": "eur"}]}, Spent(count_in_currency=1), None),
    ],
)
def test_a_cap_of_a_run_or_day_counts_what_is_used(caps: dict[str, object], spent: Spent, refusal: str | None) -> None:
    rules = Rules.of(capped(**caps))
    if refusal is None:
        check_spending(USD, spent, rules)
    else:
        with pytest.raises(RefusedError, match=refusal):
            check_spending(USD, spent, rules)


def test_an_unknown_amount_still_counts_as_a_call() -> None:
    check_spending(None, Spent(in_run=99999), Rules.of(capped(per_run=cap(1))))
    with pytest.raises(RefusedError):
        check_spending(None, Spent(count=1), Rules.of(capped(count=1)))
    check_spending(None, Spent(count_in_currency=1), Rules.of(capped(count=[{"count": 1, "currency": "usd"}])))


def test_without_caps_nothing_is_counted() -> None:
    check_spending(USD, Spent(in_run=10**9, in_day=10**9, count=10**6), Rules.of(connection()))
