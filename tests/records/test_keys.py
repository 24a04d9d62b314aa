from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spojit_stripe.connection import Connection
from spojit_stripe.records import call_digest, key_of, params_digest
from spojit_stripe.values import Position, Request

PLACES = st.tuples(
    st.builds(
        Position,
        run_id=st.text(max_size=8),
        node=st.text(max_size=8),
        indexes=st.lists(st.integers(0, 30), max_size=3).map(tuple),
        ordinal=st.integers(0, 30),
    ),
    st.integers(0, 5),
)


@given(PLACES, PLACES)
def test_two_keys_are_equal_only_for_the_same_place_and_generation(one, other) -> None:
    assert (key_of(*one) == key_of(*other)) == (one == other)


def test_a_key_is_the_same_for_ever() -> None:
    here = Position(run_id="run_1", node="charges", indexes=(3, 0), ordinal=2)
    assert key_of(here, 1) == "spojit-289c0e093c062b3926385a8e7666f175dd4d04d2"
    assert key_of(Position(run_id="run_1"), 0) == "spojit-0b735115ecedcbdc1d745b4392a1bcb446c9fc24"


@given(PLACES)
def test_a_key_fits_the_services_limits(place) -> None:
    key = key_of(*place)
    assert len(key) == 47
    assert key.isascii()
    assert key.isprintable()


def test_a_separator_in_a_name_does_not_make_two_places_one() -> None:
    assert key_of(Position(run_id="a/b", node="c"), 0) != key_of(Position(run_id="a", node="b/c"), 0)
    assert key_of(Position(run_id='a","b', node="c"), 0) != key_of(Position(run_id="a", node='b","c'), 0)


def test_a_digest_knows_operation_parameters_and_options_and_no_order() -> None:
    base = params_digest("POST /v1/x", {"a": 1, "b": {"c": 2, "d": 3}}, {})
    assert base == params_digest("POST /v1/x", {"b": {"d": 3, "c": 2}, "a": 1}, {})
    others = [
        params_digest("POST /v1/y", {"a": 1, "b": {"c": 2, "d": 3}}, {}),
        params_digest("POST /v1/x", {"a": "1", "b": {"c": 2, "d": 3}}, {}),
        params_digest("POST /v1/x", {"a": 1, "b": {"c": 2}}, {}),
        params_digest("POST /v1/x", {"a": 1, "b": {"c": 2, "d": 3}}, {"unchecked": True}),
        params_digest("POST /v1/x", {"a": True, "b": {"c": 2, "d": 3}}, {}),
        params_digest("POST /v1/x", {"a": 1.0, "b": {"c": 2, "d": 3}}, {}),
    ]
    assert len({base, *others}) == 7


def test_the_digest_of_an_approval_covers_all_that_the_contract_names() -> None:
    def digest(key: str = "k", api_version: str = "v", request: Request | None = None, **connection: object) -> str:
        base = {"name": "c", "secret_key": "k", "mode": "test"}
        request = request or Request(method="POST", path="/v1/x", template="/v1/x", params={"a": 1})
        return call_digest(key, Connection.model_validate(base | connection), api_version, request)

    def request(**change: object) -> Request:
        fields = {"method": "POST", "path": "/v1/x", "template": "/v1/x", "params": {"a": 1}}
        return Request(**(fields | change))  # type: ignore[arg-type]

    digests = [
        digest(),
        digest(key="other"),
        digest(api_version="other"),
        digest(name="d"),
        digest(mode="live"),
        digest(account="acct_1"),
        digest(base_url="http://127.0.0.1:1"),
        digest(request=request(method="DELETE")),
        digest(request=request(path="/v1/y")),
        digest(request=request(params={"a": 2})),
        digest(request=request(account="acct_2")),
        digest(request=request(api_version="w")),
    ]
    assert len(set(digests)) == len(digests)
    assert digest(account="acct_2") == digest(request=request(account="acct_2"))
