from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import pytest

from spojit_stripe import values
from spojit_stripe.values import Amount, Effect, Meta, Position, Preview, Secret, ToolCall


@pytest.mark.parametrize("shown", [str, repr, "{}".format, "{!r}".format, ascii])
def test_a_secret_never_shows_its_text(shown) -> None:
    assert shown(Secret("sk_test_1")) == "Secret(***)"


def test_a_secret_gives_its_text_only_when_asked() -> None:
    assert Secret("sk_test_1").reveal() == "sk_test_1"


@pytest.mark.parametrize("write", [pickle.dumps, copy.deepcopy])
def test_a_secret_is_never_serialised(write) -> None:
    with pytest.raises(TypeError, match="never serialised"):
        write(Secret("sk_test_1"))


def test_a_secret_is_no_json() -> None:
    with pytest.raises(TypeError):
        json.dumps(Secret("sk_test_1"))


@pytest.mark.parametrize("name", [n for n in values.__all__ if dataclasses.is_dataclass(getattr(values, n))])
def test_every_value_is_frozen(name: str) -> None:
    assert getattr(values, name).__dataclass_params__.frozen


def test_a_call_and_a_place_have_plain_defaults() -> None:
    call = ToolCall(tool="t")
    assert (call.params, call.author_params, call.once, call.paging.paginate) == ({}, {}, None, "page")
    assert Position(run_id="r") == Position(run_id="r", node="call", indexes=(), ordinal=0)


def preview(**given: object) -> Preview:
    fields = {
        "tool": "t",
        "connection": "c",
        "mode": "test",
        "account": None,
        "api_version": "1",
        "method": "POST",
        "path": "/v1/x",
        "params": {"a": 1},
        "effect": Effect.MONEY,
        "amount": Amount(amount=5, currency="usd"),
        "target": None,
        "idempotency_key": "k",
        "decision": "ask",
        "reason": "r",
    }
    return Preview(**(fields | given))  # type: ignore[arg-type]


def test_a_preview_is_plain_data() -> None:
    found = preview().to_json()
    assert json.loads(json.dumps(found)) == found
    assert found["amount"] == {"amount": 5, "currency": "usd"}
    assert found["effect"] == "money"
    empty = preview(effect=None, amount=None).to_json()
    assert (empty["effect"], empty["amount"]) == (None, None)


def test_meta_gives_every_field() -> None:
    found = Meta(request_ids=("r",), warnings=("w",)).to_json()
    assert set(found) == {field.name for field in dataclasses.fields(Meta)}
    assert json.loads(json.dumps(found)) == found
