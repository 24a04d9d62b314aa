"""Objects as rows: exact, or refused."""

from __future__ import annotations

import json

import pytest

from spojit_stripe.catalog import Catalog
from spojit_stripe.sync.resources import RESERVED, RESOURCES, Column, chosen, columns_of
from spojit_stripe.sync.rows import Known, UnfitError, Verdict, judge, row_of, tombstone

CHARGES = RESOURCES["charges"]
COLUMNS = (Column("amount", "integer"), Column("paid", "boolean"), Column("customer", "text"), Column("rate", "json"))


def row(**fields):
    return row_of({"id": "ch_1", "object": "charge", "created": 5, **fields}, CHARGES, COLUMNS, 100)


def test_columns_come_from_the_descriptor_with_their_types() -> None:
    columns = {column.name: column.kind for column in columns_of(CHARGES, Catalog.load())}
    assert columns["amount"] == columns["amount_refunded"] == "integer"
    assert columns["refunded"] == "boolean"
    assert columns["customer"] == columns["description"] == columns["balance_transaction"] == "text"
    assert not set(columns) & set(RESERVED)


def test_every_resource_has_columns_of_which_none_is_reserved() -> None:
    catalog = Catalog.load()
    for resource in RESOURCES.values():
        names = [column.name for column in columns_of(resource, catalog)]
        assert names, resource.name
        assert len(names) == len(set(names))
        assert not set(names) & set(RESERVED)


def test_the_lists_of_resources_are_in_the_order_of_need() -> None:
    names = [resource.name for resource in chosen(["balance_transactions", "payouts"])]
    assert names == ["payouts", "balance_transactions", "payout_transactions"]
    assert [resource.name for resource in chosen(["payout_transactions"])] == ["payouts", "payout_transactions"]


def test_integers_are_exact_to_the_last_of_64_bits() -> None:
    assert row(amount=2**63 - 1).cells[0] == 2**63 - 1
    assert row(amount=-(2**63)).cells[0] == -(2**63)
    assert json.loads(row(amount=9007199254740993).text)["amount"] == 9007199254740993


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"amount": 2**63}, "charges ch_1: amount is 9223372036854775808, not a whole number of 64 bits"),
        ({"amount": 5.0}, "amount is 5.0, not a whole number of 64 bits"),
        ({"amount": True}, "amount is true, not a whole number"),
        ({"amount": "5"}, 'amount is "5", not a whole number'),
        ({"paid": 1}, "paid is 1, not true or false"),
        ({"customer": 7}, "customer is 7, not text"),
        ({"rate": {"of": float("inf")}}, 'rate is {"of": Infinity}, not JSON that can be kept: a number'),
        ({"customer": {"object": "customer"}}, "customer is .*, not text"),
        ({"object": "refund"}, "is a 'refund', not a charge"),
        ({"created": "yesterday"}, 'created is "yesterday"'),
        ({"id": ""}, "an object came without an id"),
        ({"id": None}, "an object came without an id"),
        ({"id": "ch\x00"}, "an object came without an id"),
        ({"id": "ch\ud800"}, "an object came without an id"),
    ],
)
def test_what_does_not_fit_is_refused_and_never_bent(fields: dict, text: str) -> None:
    with pytest.raises(UnfitError, match=text):
        row(**fields)


def test_an_expanded_object_gives_its_id_and_a_fraction_stays_text() -> None:
    made = row(customer={"id": "cus_1", "name": "J"}, rate=1.10, paid=False)
    assert made.cells == (None, False, "cus_1", "1.1")


def test_text_that_no_database_takes_is_made_harmless() -> None:
    made = row(customer="a\x00b\ud800c", metadata={"k\x00": "\x00", "plain": "\\u0000", "deep": [{"x": "\udfff"}]})
    assert made.cells[2] == "a\ufffdb\ufffdc"
    kept = json.loads(made.text)
    assert kept["metadata"] == {"k\ufffd": "\ufffd", "plain": "\\u0000", "deep": [{"x": "\ufffd"}]}
    assert made.text.encode()


def test_names_in_another_order_are_no_change() -> None:
    assert row(amount=1, paid=True).digest == row(paid=True, amount=1).digest
    assert row(amount=1).digest != row(amount=2).digest


def test_a_deleted_object_is_a_tombstone() -> None:
    made = row_of({"id": "cus_1", "object": "customer", "deleted": True}, RESOURCES["customers"], (), 100)
    assert (made.cells, made.deleted_at, made.seen) == (None, 100, 100)


def test_the_later_read_wins() -> None:
    first = row(amount=1)
    known = Known(seen=100, digest=first.digest, deleted_at=None)
    assert judge(None, first) is Verdict.NEW
    assert judge(known, first) is Verdict.SAME
    assert judge(known, row(amount=2)) is Verdict.CHANGED
    assert judge(known._replace(seen=101), row(amount=2)) is Verdict.STALE
    gone = tombstone("ch_1", 90, 100)
    assert judge(known, gone) is Verdict.DELETED
    assert judge(None, gone) is Verdict.STALE
    assert judge(known._replace(deleted_at=90), gone) is Verdict.SAME
    assert judge(known._replace(deleted_at=90), first) is Verdict.CHANGED
    assert judge(known._replace(seen=101), gone) is Verdict.STALE
