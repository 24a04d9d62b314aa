from __future__ import annotations

import inspect
import re

import pytest

from spojit_stripe import errors
from spojit_stripe.errors import (
    AccessError,
    Action,
    ConfigurationError,
    DeclinedError,
    InputError,
    InvalidRequestError,
    OutcomeUnknownError,
    Problem,
    ServiceError,
    SpojitError,
    UnavailableError,
    error_from_record,
)

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SpojitError)]
LEAVES = [kind for kind in KINDS if kind is not SpojitError]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = dict(re.findall(r"(\w+Error) +(\d)", errors.__doc__ or ""))
    assert drawn == {kind.__name__: str(kind.exit_code) for kind in LEAVES}


@pytest.mark.parametrize(
    ("kind", "action", "exit_code"),
    [
        (InputError, Action.FIX_INPUT, 2),
        (InvalidRequestError, Action.FIX_INPUT, 6),
        (ConfigurationError, Action.FIX_CONFIGURATION, 3),
        (AccessError, Action.FIX_CONFIGURATION, 3),
        (DeclinedError, Action.STOP, 6),
        (UnavailableError, Action.RETRY, 6),
        (OutcomeUnknownError, Action.SETTLE, 7),
    ],
)
def test_an_error_says_what_to_do_next(kind: type[SpojitError], action: Action, exit_code: int) -> None:
    assert kind("x").action is action
    assert kind.exit_code == exit_code
    assert kind("x").to_json()["action"] == action.value


def test_an_input_error_keeps_every_fault_and_shows_the_first() -> None:
    assert InputError("one", faults=("one", "two")).faults == ("one", "two")
    assert InputError("one").faults == ("one",)


def test_a_service_error_gives_only_the_fields_that_are_set() -> None:
    error = DeclinedError("no", Problem(code="card_declined", status=402))
    assert error.to_json() == {
        "error": "DeclinedError",
        "message": "no",
        "action": "stop",
        "code": "card_declined",
        "status": 402,
        "attempts": 1,
    }


@pytest.mark.parametrize("kind", LEAVES)
def test_an_error_survives_being_recorded(kind: type[SpojitError]) -> None:
    problem = Problem(type="card_error", code="c", status=402, request_id="req_1", attempts=3)
    error = kind("what", problem) if issubclass(kind, ServiceError) else kind("what")
    back = error_from_record(error.to_json())
    assert type(back) is kind
    assert back.to_json() == error.to_json()


def test_a_record_of_an_unknown_kind_becomes_a_service_error() -> None:
    assert type(error_from_record({"error": "Whatever", "message": "m"})) is ServiceError
    assert str(error_from_record({})) == ""
