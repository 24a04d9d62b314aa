"""Expressions keep types, name what is missing, and let nothing out of the sandbox."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.exceptions import SecurityError

from spojit_stripe.errors import InputError, SpojitError
from spojit_stripe.expressions import FILTERS, FUNCTIONS, TESTS, Reference, grammar, parse_value
from spojit_stripe.redact import printable

NOW = 1_774_780_200  # 2026-03-29T10:30:00Z, the day on which Berlin's clocks go forward
CHARGES = [
    {"id": "ch_1", "amount": 500, "currency": "usd", "paid": True, "metadata": {"order": "7"}, "customer": {"id": "a"}},
    {"id": "ch_2", "amount": 700, "currency": "usd", "paid": False, "metadata": {}, "customer": {"id": "b"}},
    {"id": "ch_3", "amount": 900, "currency": "eur", "paid": True, "metadata": {}, "customer": {"id": "a"}},
]
SCOPE = {
    "input": {"amount": 100, "currency": "usd", "note": None, "text": "{{ input.amount }}", "price": "10.50", "n": 1.5},
    "charges": {"data": CHARGES, "complete": True},
    "sub": {"items": [1, 2], "keys": "k", "get": 0, "values": None, "__class__": "field", "a b": 1, "0": "zero"},
    "empty": {},
    "big": 10**40,
    "long": "x" * 600_000,
    "many": [*range(60_000)],
}


def value(template, *, scope=SCOPE, filters=None, allow_null=True):
    compiled = parse_value(template, filters=filters or {})
    return compiled.render(scope, now=NOW, where="node 'n'", allow_null=allow_null)


def fault(template, **how) -> str:
    with pytest.raises(InputError) as caught:
        value(template, **how)
    assert caught.value.message == printable(caught.value.message)
    return caught.value.message.removeprefix("node 'n': ")


# Types


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ input.amount }}", 100),
        ("{{input.amount}}", 100),
        ("{{- input.amount -}}", 100),
        ("{{ input.amount }} ", "100 "),
        ("{{ charges.complete }}", True),
        ("all: {{ charges.complete }}", "all: true"),
        ("{{ input.n }}", 1.5),
        ("{{ input.amount }}{{ input.currency }}", "100usd"),
        ("{{ input.note }}", None),
        ("{{ sub.items }}", [1, 2]),
        ("{{ sub.keys }}", "k"),
        ("{{ sub['a b'] }}", 1),
        ("{{ sub['0'] }}", "zero"),
        ("{{ sub.__class__ }}", "field"),
        ("{{ charges.data[-1].id }}", "ch_3"),
        ("{{ charges.data[1:].__len__ if false else charges.data[1:] | length }}", 2),
        ("{{ [1, input.amount, 'a'] }}", [1, 100, "a"]),
        ("{{ {'a': input.amount} }}", {"a": 100}),
        ("{{ input.amount > 50 and not input.note }}", True),
        ("{{ 'usd' == input.currency }}", True),
        ("{{ 1 == true }}", False),
        ("{{ [true] == [1] }}", False),
        ("{{ {'a': [1, {'b': none}]} == {'a': [1, {'b': none}]} }}", True),
        ("{{ {'a': 1} == {'a': 1, 'b': none} }}", False),
        ("{{ [1] == [1, 2] }}", False),
        ("{{ 'order' in charges.data[0].metadata }}", True),
        ("{{ 1 in sub.items }}", True),
        ("{{ 3 not in sub.items }}", True),
        ("{{ true in sub.items }}", False),
        ("{{ 'a' if input.amount < 5 else 'b' }}", "b"),
        ("{{ 'a' ~ 1 ~ true }}", "a1true"),
        ("{{ 'a' + 'b' }}", "ab"),
        ("{{ [1] + [2] }}", [1, 2]),
        ("{{ 7 // 2 }}", 3),
        ("{{ 7 % 4 }}", 3),
        ("{{ 7 / 2 }}", 3.5),
        ("{{ -input.amount }}", -100),
        ("{{ input.note is none }}", True),
        ("{{ input.amount is integer and input.n is number }}", True),
        ("{{ input.currency is startswith('u') and input.currency is endswith('d') }}", True),
        ("{{ ['b', 'a'] | sort }}", ["a", "b"]),
        ("{{ '{{' }}", "{{"),
        ("{{ '}}' }} x", "}} x"),
        ("a {{ '%' }} }} b", "a % }} b"),
        ("no template }} { {", "no template }} { {"),
        (5, 5),
        ({"a": ["{{ input.amount }}", "x{{ input.amount }}"]}, {"a": [100, "x100"]}),
    ],
)
def test_a_value_keeps_its_type(template, expected) -> None:
    found = value(template)
    assert found == expected
    assert type(found) is type(expected)


def test_data_is_never_a_template() -> None:
    assert value("{{ input.text }}") == "{{ input.amount }}"
    assert value("x {{ input.text }}") == "x {{ input.amount }}"
    assert value("{{ input.text ~ '{{ 1 }}' }}") == "{{ input.amount }}{{ 1 }}"


# What is missing


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{{ input.amuont }}",
            "input.amuont: input has no 'amuont'; did you mean 'amount'? "
            "It has: amount, currency, note, text, price, n",
        ),
        (
            "pay {{ input.amuont }}",
            "input.amuont: input has no 'amuont'; did you mean 'amount'? "
            "It has: amount, currency, note, text, price, n",
        ),
        (
            "{{ inptu.amount }}",
            "inptu.amount: there is no 'inptu' here; did you mean 'input'? "
            "There is: input, charges, sub, empty, big, long, many",
        ),
        ("{{ empty.x }}", "empty.x: empty has no 'x'; it is empty"),
        ("{{ input.note.x }}", "input.note.x: input.note is null, which has no fields"),
        ("{{ input.amount.x }}", "input.amount.x: input.amount is an integer, which has no fields"),
        ("{{ charges.data[7].id }}", "charges.data[7].id: charges.data has 3 items"),
        (
            "{{ charges.data.id }}",
            "charges.data.id: charges.data is a list; take one item with [0] or | first, or the field of each with "
            "| map('id')",
        ),
        ("{{ charges[0] }}", "charges[0]: charges has no '0'; it has: data, complete"),
        (
            "{{ (charges.data | last).amuont }}",
            "(charges.data | last).amuont: (charges.data | last) has no 'amuont'; did you mean 'amount'? "
            "It has: id, amount, currency, paid, metadata, customer",
        ),
        ("{{ charges.data[input.amount].id }}", "charges.data[100]: charges.data has 3 items"),
        (
            "{{ charges.data | map('customer.idd') }}",
            "map('customer.idd'): item 0 of the list.customer.idd: item 0 of "
            "the list.customer has no 'idd'; did you mean 'id'? It has: id",
        ),
        ("{{ [] | first }}", "the list before | first[0]: the list before | first has no items"),
    ],
)
def test_what_is_missing_says_what_there_is(template: str, message: str) -> None:
    assert fault(template) == message


@pytest.mark.parametrize("around", ["{{ %s }}", "a {{ %s }}", "{{ [%s] }}", "{{ %s == none }}", "{{ %s is none }}"])
def test_undefined_is_an_error_wherever_it_stands(around: str) -> None:
    assert fault(around % "input.nope").startswith("input.nope: input has no 'nope'")
    assert fault(around % "input.nope | default(1)").startswith("input.nope: input has no 'nope'")
    assert fault(around % "(input.nope in [])").startswith("input.nope: input has no 'nope'")


def test_a_branch_that_is_not_taken_is_not_read() -> None:
    assert value("{{ input.nope if false else 1 }}") == 1
    assert value("{{ false and input.nope }}") is False


def test_where_stands_before_the_message() -> None:
    with pytest.raises(InputError, match=r"^node 'refund', params\.list\[1\]\.amount: input\.x: input has no 'x'"):
        parse_value({"list": [1, {"amount": "{{ input.x }}"}]}).render(SCOPE, now=NOW, where="node 'refund', params")


# Null and omit


def test_null_is_refused_unless_omitted() -> None:
    refused = "is null; write | omit to leave it out on purpose, or | default(…) to give another"
    assert fault("{{ input.note }}", allow_null=False) == refused
    assert fault({"a": None}, allow_null=False).endswith(refused)
    assert fault({"a": "{{ sub }}"}, allow_null=False) == f"node 'n'.a.values: {refused}"
    assert value({"a": "{{ input.note | omit }}", "b": 1}, allow_null=False) == {"b": 1}
    assert value(["{{ input.note | omit }}", 1], allow_null=False) == [1]
    assert value({"a": "{{ input.amount | omit }}"}, allow_null=False) == {"a": 100}
    assert value("{{ input.note | default(5) }}", allow_null=False) == 5
    assert value("{{ charges.data[1].metadata | get('order') | default('-') }}", allow_null=False) == "-"
    assert value("{{ charges.data[0].metadata | get('order', '-') }}", allow_null=False) == "7"
    assert (
        fault("{{ input.note | omit }}") == "omit leaves out a key of an object or an item of a list; here is neither"
    )


def test_null_and_lists_have_no_place_in_text() -> None:
    assert fault("x {{ input.note }}") == (
        "input.note is null, which has no place in a text; give another value with | default('…')"
    )
    assert fault("x {{ charges.data }}") == "charges.data is a list, which has no place in a text; write it with | json"
    assert value("x {{ sub.items | json }}") == "x [1, 2]"


# Filters


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ input.amount | money(input.currency) }}", "1.00 USD"),
        ("{{ 1050 | money('jpy') }}", "1,050 JPY"),
        ("{{ input.price | to_minor('usd') }}", 1050),
        ("{{ 10 | to_minor('usd') }}", 1000),
        ("{{ '10' | to_minor('jpy') }}", 10),
        ("{{ '1.234' | to_minor('kwd') }}", 1234),
        ("{{ '99999999999999999999.99' | to_minor('usd') }}", 9999999999999999999999),
        ("{{ input.n | string | to_minor('usd') }}", 150),
        ("{{ 0 | to_iso }}", "1970-01-01T00:00:00Z"),
        ("{{ 1774780200 | to_iso('Europe/Berlin') }}", "2026-03-29T12:30:00+02:00"),
        ("{{ '2026-03-29T12:30:00+02:00' | to_unix }}", NOW),
        ("{{ '2026-03-29T10:30:00.999Z' | to_unix }}", NOW),
        ("{{ '1969-12-31T23:59:59.5Z' | to_unix }}", -1),
        ("{{ '2026-03-29' | to_unix('Europe/Berlin') }}", 1774738800),
        ("{{ now() }}", NOW),
        ("{{ start_of_day() | to_iso }}", "2026-03-29T00:00:00Z"),
        ("{{ start_of_day('Europe/Berlin') | to_iso('Europe/Berlin') }}", "2026-03-29T00:00:00+01:00"),
        ("{{ start_of_day('Europe/Berlin', 1) | to_iso('Europe/Berlin') }}", "2026-03-30T00:00:00+02:00"),
        ("{{ start_of_day('Europe/Berlin', 1) - start_of_day('Europe/Berlin') }}", 23 * 3600),
        ("{{ yesterday('Europe/Berlin') | to_iso('Europe/Berlin') }}", "2026-03-28T00:00:00+01:00"),
        ("{{ 0 | start_of_day('America/New_York') }}", -68400),
        ("{{ charges.data | where('currency', 'usd') | sum('amount') }}", 1200),
        ("{{ [1, 2, 3] | sum }}", 6),
        ("{{ [] | sum }}", 0),
        ("{{ charges.data | group('currency', 'amount') }}", {"usd": 1200, "eur": 900}),
        ("{{ charges.data | group('paid') | keys }}", ["true", "false"]),
        ("{{ (charges.data | group('customer.id')).a | map('id') }}", ["ch_1", "ch_3"]),
        ("{{ charges.data | where('paid') | map('id') | join(', ') }}", "ch_1, ch_3"),
        ("{{ charges.data | sort('amount', true) | map('amount') }}", [900, 700, 500]),
        ("{{ charges.data | map('currency') | unique }}", ["usd", "eur"]),
        ("{{ [1, 1.0, '1', none, none] | unique }}", [1, 1.0, "1", None]),
        ("{{ (charges.data | where('currency', 'usd') | max('amount')).id }}", "ch_2"),
        ("{{ (charges.data | max('id')).id }}", "ch_3"),
        (
            "{{ [{'total_count': 1, 'currency': 'usd'}, {'total_count': 2, 'currency': 'eur'}] | sum('total_count') }}",
            3,
        ),
        ("{{ [{'total': 1, 'currency': 'usd'}, {'total': 2, 'currency': 'USD'}] | sum('total') }}", 3),
        ("{{ [3, 1, 2] | min }}", 1),
        ("{{ [3, 1, 2] | sort | reverse }}", [3, 2, 1]),
        ("{{ charges.data | length + (charges.data | count) }}", 6),
        ("{{ ' Ab ' | trim | lower ~ ('x' | upper) }}", "abX"),
        ("{{ 'a-b-c' | replace('-', '+') | split('+') }}", ["a", "b", "c"]),
        ("{{ 'abcdef' | truncate(3) }}", "ab…"),
        ("{{ '42' | int + (-3 | abs) + (2.0 | int) }}", 47),
        ("{{ empty | items + ({'a': 1} | items) }}", [{"key": "a", "value": 1}]),
        ("{{ {'a': 1} | values }}", [1]),
        ("{{ {'a': 'ä\n'} | json }}", '{"a": "ä\\n"}'),
        ("{{ 'abc'[1:] }}", "bc"),
    ],
)
def test_filters(template: str, expected) -> None:
    found = value(template)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "field", ["total", "subtotal", "net", "fee", "tax", "balance", "amount_paid", "total_excluding_tax", "unit_amount"]
)
def test_money_of_two_currencies_has_no_sum_whatever_its_field_is_called(field: str) -> None:
    rows = [{field: 100, "currency": "usd"}, {field: 5000, "currency": "jpy"}]
    told = fault(f"{{{{ rows | sum('{field}') }}}}", scope={"rows": rows})
    assert f"sum('{field}') would add usd and jpy" in told
    assert value(f"{{{{ rows | group('currency', '{field}') }}}}", scope={"rows": rows}) == {"usd": 100, "jpy": 5000}


@pytest.mark.parametrize(
    "row",
    [
        lambda currency: {"charge": {"amount": 1, "currency": currency}},
        lambda currency: {"currency": currency, "charge": {"amount": 1}},
        lambda currency: {"currency": "usd", "charge": {"amount": 1, "currency": currency}},
    ],
)
def test_the_currency_of_a_field_inside_is_what_stands_nearest_to_it(row) -> None:
    told = fault("{{ rows | sum('charge.amount') }}", scope={"rows": [row("usd"), row("jpy")]})
    assert "sum('charge.amount') would add usd and jpy; write | group('" in told
    assert value("{{ rows | sum('charge.amount') }}", scope={"rows": [row("usd"), row("usd")]}) == 2


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{{ charges.data | sum('amount') }}",
            "sum('amount') would add usd and eur; write | group('currency', 'amount')",
        ),
        (
            "{{ charges.data | max('amount') }}",
            "max('amount') would compare usd and eur; max the items of one currency",
        ),
        (
            "{{ charges.data | min('amount') }}",
            "min('amount') would compare usd and eur; min the items of one currency",
        ),
        (
            "{{ charges.data | sort('id', 'desc') }}",
            "sort: descending is true or false, not text; write sort('created', true)",
        ),
        (
            "{{ [1, 1.5] | sum }}",
            "sum adds integers, and item 1 is a number with a fraction; an amount is an integer in minor units",
        ),
        ("{{ [1, true] | sum }}", "sum adds integers, and item 1 is true; an amount is an integer in minor units"),
        ("{{ [1, none] | sum }}", "sum adds integers, and item 1 is null; an amount is an integer in minor units"),
        (
            "{{ 10.5 | to_minor('usd') }}",
            "to_minor: a number with a fraction is not exact; give the amount as text, or with | string",
        ),
        ("{{ '10.505' | to_minor('usd') }}", "amount: 10.505 has more decimals than USD has"),
        ("{{ '1e3' | to_minor('usd') }}", "amount: '1e3' is no decimal number"),
        ("{{ 5 | money('dollars') }}", "currency: 'dollars' is no three-letter currency code such as 'usd'"),
        ("{{ '5' | money('usd') }}", "money takes an integer in minor units, not text"),
        ("{{ 0 | to_iso('Europe/Berln') }}", "'Europe/Berln' is no time zone; did you mean 'Europe/Berlin'?"),
        ("{{ 1774780200000 | to_iso }}", "1774780200000 is no Unix time in seconds; milliseconds must be divided"),
        (
            "{{ '2026-03-29' | to_unix }}",
            "to_unix: '2026-03-29' names no time zone; say which one is meant, such as to_unix('UTC')",
        ),
        ("{{ 'soon' | to_unix }}", "to_unix: 'soon' is no ISO 8601 time such as 2026-03-01T09:30:00Z"),
        ("{{ start_of_day('UTC', 10000000) }}", "start_of_day: days is an integer from -36600 to 36600"),
        ("{{ 'x' | int }}", "int: 'x' is no integer"),
        ("{{ 'x' | length + 'y' }}", "`+` takes numbers, not an integer and text; join texts with ~"),
        ("{{ [1, 'a'] | sort }}", "sort compares numbers or texts, and this list holds an integer and text"),
        ("{{ [] | max }}", "max: the list has no items"),
        ("{{ 5 | to_unix }}", "to_unix takes a time as text, not an integer"),
        ("{{ 1 < 2 < 3 }}", "{{ … }} has no a < b < c; write a < b and b < c"),
        ("{{ 1 < 'a' }}", "`<` compares two numbers or two texts, not an integer and text"),
        ("{{ 1 in 5 }}", "`in` takes a list, an object or text on its right, not an integer"),
        ("{{ 1 in 'a' }}", "`in` looks for text in text, not for an integer"),
        ("{{ 1 // 0 }}", "`//` divides by zero"),
        ("{{ true + 1 }}", "`+` takes numbers, not true and an integer"),
        ("{{ -'a' }}", "`-` takes a number, not text"),
        ("{{ 5 | first }}", "first takes a list, not an integer"),
        ("{{ 'x' | replace('', 'y') }}", "replace: the text to replace is empty"),
        ("{{ 'x' | split('') }}", "split: the text to split by is empty"),
        ("{{ 'x' | truncate(0) }}", "truncate: the length is at least 1"),
        ("{{ 5 | length }}", "length takes a list, an object or text, not an integer"),
        ("{{ [[1]] | unique }}", "unique takes a list of texts and numbers, and this one holds a list"),
        ("{{ charges.data | group('metadata') }}", "group('metadata'): the field of item 0 is an object"),
        ("{{ 0 | to_iso(5) }}", "a time zone is text such as 'Europe/Berlin', not an integer"),
        ("{{ -62135500000 | start_of_day('UTC', -10) }}", "start_of_day: that day is out of range"),
        (
            "{{ charges.data[1.5] }}",
            "charges.data: a field's name is text and a list's place an integer, not a number with a fraction",
        ),
        ("{{ 'abc'['a':] }}", "[from:to] takes integers, not text"),
        ("{{ 5[1:] }}", "[from:to] cuts a list or a text, not an integer"),
        ("{{ 'abc'[::2] }}", "{{ … }} has no steps in [from:to]; use | reverse"),
        ("{{ 1 if true }}", "`… if …` needs an else"),
        ("{{ input.note | omit(1) }}", "omit takes nothing in brackets"),
        ("{{ (input.note | omit) ~ 'x' }}", "omit stands last, and in a value that is one expression"),
        ("{{ 10000000000000000.0 * 1e308 }}", "gives no finite number"),
        ("{{ {1: 2} }}", "gives an object whose key is an integer; keys are text"),
    ],
)
def test_filters_say_what_they_need(template: str, message: str) -> None:
    assert fault(template) == message


def test_sums_are_exact() -> None:
    amounts = [2**53 + 1, 1, 2**53 + 1]
    assert value("{{ a | sum }}", scope={"a": amounts}) == 2**54 + 3


def test_one_compilation_serves_many_items() -> None:
    compiled = parse_value("{{ item * 2 }}")
    assert [compiled.render({"item": n}, now=NOW, where="w") for n in range(3)] == [0, 2, 4]


def test_conditions_are_true_or_false() -> None:
    how = {"now": NOW, "where": "node 'n', when"}
    assert parse_value("{{ input.amount > 1 }}").decide(SCOPE, **how) is True
    assert parse_value(False).decide(SCOPE, **how) is False
    with pytest.raises(
        InputError, match=r"^node 'n', when: a condition is true or false, and this is text; compare it$"
    ):
        parse_value("{{ input.currency }}").decide(SCOPE, **how)


# The sandbox

ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ().__class__.__bases__[0] }}",
    "{{ [].__class__ }}",
    "{{ {}.__class__ }}",
    "{{ 1 .__class__ }}",
    "{{ 'a'['__class__'] }}",
    "{{ 'a' | attr('__class__') }}",
    "{{ input.amount | attr('real') }}",
    "{{ self }}",
    "{{ self._TemplateReference__context }}",
    "{{ self.__init__.__globals__ }}",
    "{{ config }}",
    "{{ request.application.__globals__ }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace(a=1) }}",
    "{{ dict(a=1) }}",
    "{{ range(10) }}",
    "{{ url_for.__globals__ }}",
    "{{ get_flashed_messages() }}",
    "{{ ''.join(['a']) }}",
    "{{ input.items() }}",
    "{{ input.get('amount') }}",
    "{{ 'a'.format(1) }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '%s' | format(1) }}",
    "{{ '%s' % 1 }}",
    "{{ input | map('__class__') }}",
    "{{ charges.data | map('__class__') }}",
    "{{ charges.data | map(attribute='__init__') }}",
    "{{ [1] | sort(attribute='__class__') }}",
    "{{ charges.data | groupby('__class__') }}",
    "{{ charges.data | selectattr('__class__') }}",
    "{{ 'x' | xmlattr }}",
    "{{ input | tojson }}",
    "{{ 'x' | safe }}",
    "{{ now.__globals__ }}",
    "{{ now().__class__ }}",
    "{{ yesterday.__call__ }}",
    "{{ _lookup }}",
    "{{ _lookup(0) }}",
    "{{ __import__('os') }}",
    "{{ caller() }}",
    "{{ loop.__class__ }}",
    "{{ context }}",
    "{{ environment.globals }}",
    "{{ input.__class__ }}",
    "{{ charges.data.append(1) }}",
    "{{ charges.data.__len__() }}",
    "{{ (1, 2).count(1) }}",
    "{{ now(*[1]) }}",
    "{{ now(**input) }}",
    "{{ 'a' is callable }}",
    "{{ 'a' is filter }}",
    "{% set x = 1 %}",
    "{% import 'os' as os %}",
    "{% include '/etc/passwd' %}",
    "{% for i in range(9) %}{{ i }}{% endfor %}",
    "{% raw %}{{ 1 }}{% endraw %}",
    "{%- if true -%}x{%- endif -%}",
    "{# comment #}",
    "{{ 1 }}{# {{ 2 }} #}",
    "{{ 1 }}{% print 2 %}",
]


@pytest.mark.parametrize("template", ESCAPES)
def test_nothing_leaves_the_sandbox(template: str) -> None:
    fault(template)


def test_there_are_enough_escapes() -> None:
    assert len(ESCAPES) >= 30


BOMBS = [
    "{{ 2 ** 99999999 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ 'a' * 999999999 }}",
    "{{ [1] * 999999999 }}",
    "{{ big * big * big * big }}",
    "{{ big * big }}",
    "{{ 1e308 * 10 }}",
    "{{ 1e999 }}",
    "{{ " + "9" * 1900 + " }}",
    "{{ '%999999999d' % 1 }}",
    "{{ long ~ long }}",
    "{{ long + long }}",
    "{{ long }}{{ long }}",
    "{{ long | replace('x', 'xx') }}",
    "{{ long | replace('x', long) }}",
    "{{ long | split('x') }}",
    "{{ [long, long] | join }}",
    "{{ many | join(long) }}",
    "{{ many + many }}",
    "{{ [many, many] }}",
    "{{ [long, long] | json }}",
    "{{ " + "(" * 900 + "1" + ")" * 900 + " }}",
    "{{ " + "[" * 900 + "]" * 900 + " }}",
    "{{ " + "-" * 1900 + "1 }}",
    "{{ " + "not " * 400 + "true }}",
    "{{ " + "1+" * 900 + "1 }}",
    "{{ 1" + " | string" * 200 + " }}",
    "{{ input" + ".a" * 900 + " }}",
    "{{ '" + "a" * 3000 + "' }}",
    "{{ 1 }}" * 40_000,
    "{{ '\\ud800' }}",
]


@pytest.mark.parametrize("template", BOMBS, ids=[bomb[:30] for bomb in BOMBS])
def test_time_and_size_are_bounded(template: str) -> None:
    start = time.perf_counter()
    fault(template)
    assert time.perf_counter() - start < 2


def test_data_may_be_deep_or_large_or_break() -> None:
    deep, other = [], []
    for _ in range(5_000):
        deep, other = [deep], [other]
    too_deep = "the expression or its data is nested too deeply"
    assert fault("{{ x == y }}", scope={"x": deep, "y": other}) == too_deep
    assert fault("{{ [x] }}", scope={"x": deep}) == "gives a value nested more than 100 levels deep"
    texts = ["x" * 600_000] * 20
    assert fault("{{ [x] }}", scope={"x": texts}) == "gives texts of more than 10,000,000 characters together"
    assert fault("{{ x[0:200000] }}", scope={"x": Lazy(300_000)}).startswith("[from:to] gives more than 100,000 values")
    assert fault("{{ x / y }}", scope={"x": 10**400, "y": 1}) == "`/`: an integer is too large to calculate with"
    assert fault("{{ x * 1.5 }}", scope={"x": 10**400}) == "`*`: the result is too large"
    assert fault("{{ x[0] }}", scope={"x": Broken()}) == "can't be calculated (OSError)"
    assert fault("{{ x | sum }}", scope={"x": Broken()}) == "can't be calculated (OSError)"


def test_the_sandbox_beneath_is_shut_too() -> None:
    """Should anything get past the translation, Jinja's own doors are closed."""
    environment = grammar._environment(())
    assert environment.globals == {}
    with pytest.raises(SecurityError):
        environment.from_string("{{ x.real.real }}").render(x=1)
    with pytest.raises(SecurityError):
        environment.from_string("{{ x() }}").render(x=print)


class Broken(Sequence[object]):
    """Data whose file has vanished."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, place):
        raise OSError


class Lazy(Sequence[object]):
    """A list that is not in memory, as an artifact's rows are."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.read = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place):
        if place >= self.length:
            raise IndexError
        self.read += 1
        return {"amount": place, "currency": "usd"}


def test_a_list_out_of_memory_is_given_on_and_summed() -> None:
    lazy = Lazy(300_000)
    scope = {"charges": {"data": lazy}}
    assert value("{{ charges.data }}", scope=scope) is lazy
    assert value("{{ charges.data | length }}", scope=scope) == 300_000
    assert lazy.read == 0
    assert value("{{ (charges.data | last).amount }}", scope=scope) == 299_999
    assert value("{{ charges.data[5:7] | map('amount') }}", scope=scope) == [5, 6]
    assert value("{{ charges.data | sum('amount') }}", scope=scope) == 300_000 * 299_999 // 2
    assert fault("{{ charges.data | sort('amount') }}", scope=scope) == (
        "sort takes at most 100,000 values; use a transform with sql: for so many"
    )


# References


@pytest.mark.parametrize(
    ("template", "references"),
    [
        ("{{ charges.data[0].id }}", {"charges.data[0].id"}),
        ("{{ charges.data[input.n].id }}", {"charges.data", "input.n"}),
        ("{{ a.b | default(c['d e']) if not f[-1] else g }}", {"a.b", "c['d e']", "f[-1]", "g"}),
        ("x {{ a }} y {{ b.c }}", {"a", "b.c"}),
        ({"k": ["{{ a }}", {"l": "{{ b | where('x', c.d) }}"}]}, {"a", "b", "c.d"}),
        ("{{ now() + start_of_day(input.tz) }}", {"input.tz"}),
        ("plain", set()),
    ],
)
def test_references(template, references: set[str]) -> None:
    compiled = parse_value(template)
    assert {str(reference) for reference in compiled.references} == references
    assert compiled.is_literal == (not references)


def test_what_is_known_of_each_part() -> None:
    compiled = parse_value({"a": "{{ x.y }}", "b": "is {{ z }}", "c": 1})
    assert compiled.paths == (("a",), ("b",))
    assert compiled.is_expression(("a",))
    assert not compiled.is_expression(("b",))
    assert compiled.is_reference(("a",)) == Reference("x", ("y",))
    assert compiled.is_reference(("b",)) is None
    assert list(compiled.references_by_path()) == [(("a",), Reference("x", ("y",))), (("b",), Reference("z"))]


def test_all_templates_that_cant_be_read_are_told() -> None:
    with pytest.raises(InputError) as caught:
        parse_value({"a": "{{ x", "b": ["{{ y | nope }}", "{{ z }}"], "c": "{% c %}"})
    assert caught.value.faults == (
        "a: {{ … }} can't be read: the closing }} is missing",
        f"b[0]: there is no filter 'nope'; there are {', '.join(sorted([*FILTERS, 'omit']))}",
        "c: {% … %} is not understood, only {{ … }} is",
    )


# Plug-ins


def test_filters_of_plugins() -> None:
    def shout(text, mark="!"):
        return f"{text.upper()}{mark}"

    def broken(_value):
        raise RuntimeError("secret sk_live_1234567890abcdef")

    def odd(_value):
        return Decimal(1)

    def choosy(_value):
        raise InputError("takes better values")

    filters = {"shout": shout, "broken": broken, "odd": odd, "choosy": choosy}
    assert value("{{ input.currency | shout('?') }}", filters=filters) == "USD?"
    assert fault("{{ 1 | broken }}", filters=filters) == "broken: failed (RuntimeError)"
    assert fault("{{ 1 | odd }}", filters=filters) == "odd: gives a Decimal, which is no JSON value"
    assert fault("{{ 1 | choosy }}", filters=filters) == "choosy: takes better values"
    assert fault("{{ 1 | shout(1, 2) }}", filters=filters) == "| shout takes (mark='!')"
    assert fault("{{ 1 | shuot }}", filters=filters) == "there is no filter 'shuot'; did you mean 'shout'?"
    assert value("{{ [1, 2] | sum }}", filters={"sum": shout}) == 3


def test_a_filter_of_a_plug_in_changes_nothing_but_its_own() -> None:
    """What it changes in place would stay changed until the run is resumed, and be as it was then."""

    def taxed(order, *, by):
        by["rate"] += 1
        order["lines"].append(by["rate"])
        order["amount"] += 100
        return order

    order = {"amount": 500, "lines": [1], "by": {"rate": 7}}
    found = value("{{ input | taxed(by=input.by) }}", filters={"taxed": taxed}, scope={"input": order})
    assert found == {"amount": 600, "lines": [1, 8], "by": {"rate": 7}}
    assert order == {"amount": 500, "lines": [1], "by": {"rate": 7}}


# Whatever is written, and whatever the data

PIECES = st.sampled_from(
    [
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "input",
        ".",
        "amount",
        "[",
        "]",
        "(",
        ")",
        "|",
        ",",
        "'",
        '"',
        "1",
        "-",
        "+",
        "*",
    ]
    + [
        "**",
        "/",
        "%",
        "~",
        "==",
        "<",
        " in ",
        " is ",
        " if ",
        " else ",
        " not ",
        " and ",
        ":",
        "{",
        "}",
        "none",
        "true",
    ]
    + [
        "charges.data",
        "[0]",
        " ",
        "\n",
        "\\",
        "__class__",
        "now()",
        "0",
        "999999999",
        "1.5",
        "é",
        "\x00",
        "\u202e",
        "omit",
    ]
    + [f"| {name}" for name in FILTERS]
    + [f" is {name}" for name in TESTS]
    + [f"{name}(" for name in FUNCTIONS]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def _renders(template: str, scope) -> None:
    try:
        found = parse_value(template).render(scope, now=NOW, where="w")
    except SpojitError as error:
        message = error.message
        assert message == printable(message)
    else:
        assert all(isinstance(one, bool | int | float | str | None) for one in _leaves(found))


def _leaves(found) -> Iterator[object]:
    if isinstance(found, dict):
        for inner in found.values():
            yield from _leaves(inner)
    elif isinstance(found, list):
        for inner in found:
            yield from _leaves(inner)
    else:
        yield found


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join), st.booleans())
def test_any_text_renders_or_is_a_fault(text: str, inside: bool) -> None:
    _renders(f"{{{{ {text} }}}}" if inside else text, SCOPE)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_any_unicode_renders_or_is_a_fault(text: str) -> None:
    _renders(text, SCOPE)
    _renders(f"{{{{ {text} }}}}", SCOPE)


@settings(max_examples=300, deadline=None)
@given(JSON, st.sampled_from(sorted(FILTERS)), st.lists(st.sampled_from(["'a'", "1", "none", "x", "true"]), max_size=2))
def test_any_data_through_any_filter_renders_or_is_a_fault(data, name: str, args: list[str]) -> None:
    _renders(f"{{{{ x | {name}({', '.join(args)}) }}}}", {"x": data})


@settings(max_examples=200, deadline=None)
@given(JSON, JSON, st.sampled_from(["+", "-", "*", "/", "//", "%", "~", "==", "<", "in", "and"]))
def test_any_data_in_any_operator_renders_or_is_a_fault(one, other, sign: str) -> None:
    _renders(f"{{{{ x {sign} y }}}}", {"x": one, "y": other})


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_data_goes_through_unchanged(data) -> None:
    assert value("{{ x.y }}", scope={"x": {"y": data}}) is data


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_text_of_the_data_is_never_evaluated(text: str) -> None:
    hostile = f"{{{{ {text} }}}}{{% {text} %}}"
    assert value("<{{ x }}>", scope={"x": hostile}) == f"<{hostile}>"


@pytest.mark.parametrize("field", ["total_charges", "net_days", "fee_payers", "price_points", "tax_percent"])
def test_what_only_begins_like_money_is_counted_over_currencies(field: str) -> None:
    rows = [{field: 2, "currency": "usd"}, {field: 3, "currency": "eur"}]
    assert value(f"{{{{ rows | sum('{field}') }}}}", scope={"rows": rows}) == 5
