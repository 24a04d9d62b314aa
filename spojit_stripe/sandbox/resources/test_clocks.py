"""Test clocks: made, advanced, and deleted with all customers on them."""

from spojit_stripe.sandbox import clocks
from spojit_stripe.sandbox.context import CLOCK, Answer, Context
from spojit_stripe.sandbox.errors import bad_parameter, invalid
from spojit_stripe.sandbox.listing import list_objects
from spojit_stripe.sandbox.resources.customers import erase
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.values import JsonObject, integer, text

_NOUN = "testclock"


@answers("POST", "/v1/test_helpers/test_clocks", without=("customer",))
def create(context: Context) -> Answer:
    """A clock that stands still at a time."""
    if context.livemode:
        raise invalid("Test clocks can only be used in test mode.")
    frozen = context.need_integer("frozen_time")
    if frozen < 1:
        raise bad_parameter("Invalid timestamp: must be a positive integer.", "frozen_time")
    record = context.insert(
        clocks.clock_body(context, frozen, text(context.params, "name")), "test_helpers.test_clock.created"
    )
    context.store.set_meta(f"clocks/{context.scope}", 1)
    context.later(integer(record.body, "deletes_after"), "delete_clock", record.id)
    return record.body


@answers("GET", "/v1/test_helpers/test_clocks/{test_clock}")
def retrieve(context: Context) -> Answer:
    """A clock."""
    return _get(context).body


@answers("POST", "/v1/test_helpers/test_clocks/{test_clock}/advance")
def advance(context: Context) -> Answer:
    """Let a clock go forward. The answer comes while it does, as Stripe's; the next call finds it ready."""
    record = _get(context)
    target = context.need_integer("frozen_time")
    if record.body["status"] != "ready":
        raise invalid(f"The test clock {record.id} is already advancing.", code="test_clock_advancing")
    if target <= integer(record.body, "frozen_time"):
        raise bad_parameter("Test clocks can only be advanced to a time in their future.", "frozen_time")
    record.body["status"] = "advancing"
    record.body["status_details"] = {"advancing": {"target_frozen_time": target}}
    context.save(record, "test_helpers.test_clock.advancing")
    context.later(context.now, "advance_clock", record.id)
    return record.body


@answers("DELETE", "/v1/test_helpers/test_clocks/{test_clock}")
def delete(context: Context) -> Answer:
    """Delete a clock, its customers, and their subscriptions."""
    return remove(context, _get(context))


def remove(context: Context, record: Record) -> JsonObject:
    """A clock goes, with all that is on it."""
    for customer in clocks.of(context, "customer", record.id):
        erase(context, customer)
    return context.remove(record, "test_helpers.test_clock.deleted")


def remove_when_old(context: Context, record: Record) -> None:
    """Clocks are deleted after thirty days."""
    remove(context, record)


@answers("GET", "/v1/test_helpers/test_clocks")
def list_clocks(context: Context) -> Answer:
    """Clocks, newest first."""
    return list_objects(context, CLOCK, noun=_NOUN)


def _get(context: Context) -> Record:
    return context.live(CLOCK, context.ids["test_clock"], "test_clock")
