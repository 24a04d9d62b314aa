"""No path and no id leads anywhere but to the endpoint that is meant."""

from __future__ import annotations

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spojit_stripe.errors import InputError
from spojit_stripe.wire.paths import check_path, fill

BAD_PATHS = [
    ("", "must begin with /v1/"),
    ("v1/customers", "must begin with /v1/"),
    ("/v3/customers", "must begin with /v1/"),
    ("/v1", "must begin with /v1/"),
    ("/", "must begin with /v1/"),
    ("//evil.example/v1", "single /"),
    ("@evil.example/v1", "host"),
    ("https://evil.example/v1", "host"),
    ("/v1/customers?limit=1", "params"),
    ("/v1/customers#x", "fragment"),
    ("/v1/a\\b", "backslash"),
    ("/v1/cust omers", "spaces"),
    ("/v1/cust\tomers", "spaces"),
    ("/v1/cust\r\nHost: evil", "spaces"),
    ("/v1/cust\x00", "spaces"),
    ("/v1/../v2/x", "lead out"),
    ("/v1/./x", "lead out"),
    ("/v1/%2e%2e/x", "lead out"),
    ("/v1/%2E./x", "lead out"),
    ("/v1/%252e%252e/x", "lead out"),
    ("/v1/%25252e%25252e/x", "lead out"),
    ("/v1/customers/..", "lead out"),
    ("/v1/a%2fb", "slash"),
    ("/v1/a%252Fb", "slash"),
    ("/v1/a%5cb", "slash"),
    ("/v1/a%0d%0ab", "control"),
    ("/v1/customers/", "empty part"),
    ("/v1//customers", "empty part"),
    ("/v1/customers/{customer}", "put an id"),
    ("/v1/customers/ü", "escaping"),
    ("/v1/customers/%zz", "escaping"),
    ("/v1/" + "a" * 3000, "longer"),
]


@pytest.mark.parametrize(("path", "told"), BAD_PATHS)
def test_a_path_that_could_lead_elsewhere_is_refused(path: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        check_path(path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["/v1/customers", "/v2/core/events", "/v1/coupons/50%20off", "/v1/x/a.b~c", "/v1/x/a%3Fb"]
)
def test_a_plain_path_passes_unchanged(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", "empty"),
        (None, "empty"),
        (".", "no id"),
        ("..", "no id"),
        ("%2e%2e", "no id"),
        ("a/b", "slash"),
        ("../charges", "slash"),
        ("a%2fb", "slash"),
        ("a\\b", "slash"),
        ("a" * 256, "longer than 255"),
        (" cus_1", "space before"),
        ("cus_1\n", "space before"),
        ("cus\x001", "control"),
        (5, "an id is text"),
        ("\ud800", "no valid text"),
    ],
)
def test_what_is_no_id_is_refused_by_name(value: object, told: str) -> None:
    with pytest.raises(InputError) as caught:
        fill("/v1/customers/{customer}", {"customer": value})
    assert str(caught.value).startswith("customer: ")
    assert told in str(caught.value)


def test_ids_are_escaped() -> None:
    ids = {"a": "50% off?", "b": "x+y#z"}
    assert fill("/v1/coupons/{a}/x/{b}", ids) == "/v1/coupons/50%25%20off%3F/x/x%2By%23z"


@given(st.text(max_size=40))
def test_a_path_that_passes_reaches_this_host_and_this_path(text: str) -> None:
    path = "/v1/" + text
    try:
        check_path(path)
    except InputError:
        return
    url = httpx2.URL("http://127.0.0.1:1" + path)
    assert (url.host, url.raw_path.decode()) == ("127.0.0.1", path)


@given(st.text(min_size=1, max_size=40))
def test_an_id_that_passes_stays_one_segment_and_comes_back(text: str) -> None:
    try:
        path = fill("/v1/coupons/{coupon}/x", {"coupon": text})
    except InputError:
        return
    url = httpx2.URL("http://127.0.0.1:1" + path)
    assert url.raw_path.decode() == path
    assert url.path == f"/v1/coupons/{text}/x"
    assert path.count("/") == 4
