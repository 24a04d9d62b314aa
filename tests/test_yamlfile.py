from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spojit_stripe.errors import ConfigurationError
from spojit_stripe.yamlfile import Document, parse

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="ascii", min_codepoint=33), max_size=6), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(JSON)
def test_every_json_document_reads_back_as_itself(value) -> None:
    assert parse(json.dumps(value), "f").data == value


@given(st.text(max_size=60))
def test_any_text_is_a_document_or_a_fault_with_its_place(text: str) -> None:
    try:
        told = parse(text, "f.yaml").name
    except ConfigurationError as error:
        told = str(error)
    assert told.startswith("f.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        ("0o14", "0o14"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("010", 10),
        ("+5", 5),
        ("-5", -5),
        ("1e3", 1000.0),
        ("5.", 5.0),
        (".5", 0.5),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("Null", None),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("a b", "a b"),
        ("", None),
        ("# only a comment", None),
        ("--- 5", 5),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value) -> None:
    found = parse(text, "f").data
    assert found == value
    assert type(found) is type(value)


def test_an_amount_as_float_stays_a_float_for_the_check_to_refuse() -> None:
    assert parse("amount: 10.50", "f").data == {"amount": 10.5}
    assert math.isclose(parse("x: 1e3", "f").data["x"], 1000.0)  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: 2\na: 3", "f:3:1: 'a' is given twice"),
        ("a: {b: 1, b: 2}", "f:1:11: 'b' is given twice"),
        ("a: [1", "f:1:6: not valid YAML"),
        ("a: 'x", "f:1:6: not valid YAML"),
        ("\ta: 1", "f:1:1: not valid YAML"),
        ("a: *b", "f:1:4: not valid YAML: found undefined alias 'b'"),
        ("a: 1\n---\nb: 1", "f:2:1: not valid YAML"),
        ("a: \x00", "f:1:4: not valid YAML: U+0000 is not allowed"),
        ("a: 1\nb: \x1b[31m", "f:2:4: not valid YAML: U+001B is not allowed"),
        ("[a]: 1", "f:1:1: a key must be text"),
        ("~: 1", "f:1:1: a key must be text"),
        ("a: &x [*x]", "f:1:4: an alias that contains itself"),
        ("a: !!binary YQ==", "f:1:4: the tag 'tag:yaml.org,2002:binary' is not supported"),
        ("a: !!set {b}", "f:1:4: the tag 'tag:yaml.org,2002:set' is not supported"),
        ("!!python/object/apply:os.system ['true']", "f:1:1: the tag"),
        ("!mine 5", "f:1:1: not valid YAML: could not determine a constructor"),
        ("a: !!int five", "f:1:4: 'five' is no value of the tag"),
        ("a: !!bool maybe", "f:1:4: 'maybe' is no value of the tag"),
        ("a: !!float x", "f:1:4: 'x' is no value of the tag"),
        ("a: !!timestamp x", "f:1:4: 'x' is no value of the tag"),
        ("a: 1e400", "f:1:4: '1e400' is no finite number"),
        ("a: !!float .inf", "f:1:4: '.inf' is no finite number"),
        ("a: " + "9" * 5000, "f:1:4: '9999"),
        ("[" * 1000, "f: not valid YAML: nested too deeply"),
        ('a: "\\ud800"', "f:1:4: an escape that is half a character"),
        ('"\\udc00\\ud800": 1', "f:1:1: an escape that is half a character"),
        ("a: !!int sk_test_123456", "f:1:4: 'sk_test_***' is no value"),
    ],
)
def test_a_fault_names_its_line_and_column(text: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(text, "f")
    assert str(raised.value).startswith(fault)
    assert "\n" not in str(raised.value)


def test_a_merge_key_is_refused() -> None:
    """It would become a key of that name, and what it was to bring would be missing."""
    with pytest.raises(ConfigurationError, match=r"^f:3:4: << merges nothing here; write the keys out"):
        parse("base: &base {a: 1}\nmore:\n   <<: *base\n   b: 2", "f")
    assert parse("'<<': {a: 1}", "f").data == {"<<": {"a": 1}}


def test_an_alias_is_the_value_that_it_names() -> None:
    assert parse("a: &x {n: 1}\nb: *x", "f").data == {"a": {"n": 1}, "b": {"n": 1}}


def test_aliases_of_aliases_cannot_fill_the_memory() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ConfigurationError, match="counting those behind aliases"):
        parse("\n".join(rows), "f")


def test_every_value_has_a_position_and_an_unknown_path_that_of_its_parent() -> None:
    document = parse("a:\n  b: [1, 2]\n", "f.yaml")
    assert document.where(("a",)) == "f.yaml:1:1"
    assert document.where(("a", "b")) == "f.yaml:2:3"
    assert document.where(("a", "b", 1)) == "f.yaml:2:10"
    assert document.where(("a", "missing", "deeper")) == "f.yaml:1:1"
    assert document.where(("x",)) == "f.yaml:1:1"
    assert Document("f.yaml", None).where(("a",)) == "f.yaml"
