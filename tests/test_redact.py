from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spojit_stripe.redact import HIDDEN, csv_safe, may_hold_secrets, printable, redact, redact_object, redact_text

BODY = "A1b2C3d4E5f6G7h8I9j0"
KEYS = [
    f"sk_test_{BODY}",
    f"sk_live_{BODY}",
    f"rk_test_{BODY}",
    f"rk_live_{BODY}",
    f"pk_live_{BODY}",
    f"ek_test_{BODY}",
    f"uk_live_{BODY}",
    f"sk_org_live_{BODY}",
    f"sk_org_test_{BODY}",
    f"whsec_{BODY}",
    f"sk-ant-api03-{BODY}",
    f"pi_3Abc_secret_{BODY}",
    f"seti_1Abc_secret_{BODY}",
    f"cs_test_a1Bc_secret_{BODY}",
    f"src_1Abc_secret_{BODY}",
    f"Bearer {BODY}",
    f"bearer\t{BODY}",
]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(KEYS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("around", ["{}", "key {}.", "({})", "a={}&b", "\n{}\n", "{} {}", '"{}"', "/{}/", "x: {};{}"])
def test_no_key_survives_in_text(key: str, around: str) -> None:
    assert BODY not in redact_text(around.replace("{}", key))


@pytest.mark.parametrize("key", [key for key in KEYS if not key.lower().startswith("bearer")])
def test_a_key_after_an_escape_or_another_name_does_not_survive(key: str) -> None:
    assert BODY not in redact_text(json.dumps({"message": f"line\n{key}\ttab{key}"}))
    assert BODY not in redact_text(f"my{key}")
    assert BODY not in redact_text(f"name_{key}")


@given(st.sampled_from(KEYS), st.text(max_size=20), st.text(max_size=20))
def test_no_key_survives_between_any_two_texts(key: str, before: str, after: str) -> None:
    assert BODY not in redact_text(f"{before} {key} {after}")


@given(
    st.sampled_from(["sk_test_", "rk_live_", "pk_test_", "whsec_", "sk_org_live_"]),
    st.text(string.ascii_letters + string.digits, min_size=1, max_size=40),
)
def test_a_key_of_any_length_is_blanked_at_the_start_of_a_word(prefix: str, body: str) -> None:
    assert redact_text(f"key={prefix}{body}") == f"key={prefix}{HIDDEN}"


@given(st.text())
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once


@given(ANYTHING)
def test_no_key_survives_at_any_depth(value) -> None:
    assert BODY not in json.dumps(redact(value))


@pytest.mark.parametrize(
    "text", ["task_test_1", "cus_123", "a normal sentence", "pm_card_visa", "risk_live_view", "pi_3Abc", "sk_", "skill"]
)
def test_what_is_no_key_is_left_alone(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (f"sk_test_{BODY}", "sk_test_***"),
        (f"sk_org_live_{BODY}", "sk_org_live_***"),
        (f"whsec_{BODY}", "whsec_***"),
        (f"sk-ant-{BODY}", "sk-ant-***"),
        (f"Bearer {BODY}", "Bearer ***"),
        (f"pi_1_secret_{BODY}", "pi_***"),
    ],
)
def test_the_kind_of_a_key_stays_readable(key: str, shown: str) -> None:
    assert redact_text(key) == shown


@pytest.mark.parametrize(
    "name", ["client_secret", "secret", "secret_key", "api_key", "authorization", "password", "account_number"]
)
def test_a_secret_is_known_by_its_name_too(name: str) -> None:
    assert redact_object({name: "anything", "id": "x"}) == {name: HIDDEN, "id": "x"}
    assert redact_object({name: 12345}) == {name: HIDDEN}
    assert redact_object({name: None, "b": {name: True}}) == {name: None, "b": {name: True}}


def test_card_data_is_blanked_and_an_invoice_number_is_not() -> None:
    card = {"card": {"number": "4242424242424242", "cvc": "123", "exp_year": 2030, "exp_month": 1, "last4": "4242"}}
    shown = {"card": {"number": HIDDEN, "cvc": HIDDEN, "exp_year": 2030, "exp_month": 1, "last4": "4242"}}
    assert redact(card) == shown
    assert redact_object({"object": "invoice", "number": "INV-0001"}) == {"object": "invoice", "number": "INV-0001"}
    assert redact([{"cvc": 123, "number": 4242424242424242}]) == [{"cvc": HIDDEN, "number": HIDDEN}]


def test_redaction_leaves_what_it_was_given() -> None:
    given = {"a": [{"client_secret": "x"}]}
    redact(given)
    assert given == {"a": [{"client_secret": "x"}]}


def test_the_names_of_metadata_are_redacted_too() -> None:
    assert redact_object({"metadata": {f"sk_live_{BODY}": "1"}}) == {"metadata": {"sk_live_***": "1"}}


@pytest.mark.parametrize(
    "hostile",
    [
        "\x1b[31mred\x1b[0m",
        "\x9b31m",
        "a\x00b",
        "a\u202eb",
        "a\u2066b",
        "a\u200bb",
        "a\ufeffb",
        "a\x7fb",
        "a\u2028b",
        "a\U000e0041b",
        "a\ud800b",
        "a\x08b",
    ],
)
def test_control_characters_become_harmless(hostile: str) -> None:
    shown = printable(hostile)
    assert "\ufffd" in shown
    shown.encode("utf-8")
    assert all(character.isprintable() for character in shown)


@given(st.text())
def test_anything_printable_is_one_line(text: str) -> None:
    assert len(printable(text).splitlines()) <= 1


def test_ordinary_text_in_any_script_is_printed_as_it_is() -> None:
    assert printable("Grüße, 東京, עברית 🎉") == "Grüße, 東京, עברית 🎉"
    assert printable("a\r\nb\tc\rd\ne") == "a b c d e"


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1+1", "@x", "\t=1", "\r=1", "\n=1", "|x", "%x", "＝1", "－1+", "-"])
def test_a_formula_is_disarmed_in_csv(cell: str) -> None:
    assert csv_safe(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["", "12", "-12", "-1.50", "text", "a=b", "'=1", "2026-01-01"])
def test_what_is_no_formula_stays_as_it_is_in_csv(cell: str) -> None:
    assert csv_safe(cell) == cell


@given(ANYTHING)
def test_what_may_hold_no_secret_is_what_redaction_leaves_alone(value) -> None:
    given = {"a": value}
    line = json.dumps(given, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    if not may_hold_secrets(line):
        assert redact_object(given) == given


@pytest.mark.parametrize(
    "value",
    [
        *({"a": {"b": [key]}} for key in KEYS),
        *({"metadata": {key: "x"}} for key in KEYS),
        {"a": [{"client_secret": "x"}]},
        {"password": 12345},
        {"account_number": "000123"},
        {"api_key": "x", "authorization": "y"},
        {"card": {"number": "4242", "exp_month": 1}},
        {"card": {"number": "4242", "cvc": "1"}},
        {"cvc": "1"},
    ],
)
def test_whatever_holds_a_secret_may_hold_one(value) -> None:
    assert redact_object(value) != value
    assert may_hold_secrets(json.dumps(value, separators=(",", ":")).encode())


def test_ordinary_objects_hold_none() -> None:
    charge = {
        "id": "ch_1",
        "payment_method_details": {"card": {"exp_year": 2030, "last4": "4242", "authorization_code": "1"}},
        "receipt_number": None,
    }
    assert not may_hold_secrets(json.dumps(charge, separators=(",", ":")).encode())
    assert not may_hold_secrets(b'{"object":"invoice","number":"INV-0001"}')
