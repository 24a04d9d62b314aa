"""The durability port over DBOS: the only importer of the durable engine.

Every step draws its number before its work begins, so that the numbers never depend on which of
two things ends first. Children are workflows of their own, their ids made of their parent's id
and their name. One process, one event loop, one database of the system.

What was seen of DBOS 3.4 and is designed around here: its default serializer is pickle; the
result of a child draws a number when it arrives; workflows that are recovered go through a
queue which any process of the same database reads (so an embedded run has a database alone);
only a workflow that has ended can be wound back, from a step on.
"""

from spojit_stripe.engine.durable.outside import (
    End,
    cancel,
    check,
    ended,
    knows,
    rewind,
    send,
    sqlite_url,
    steps_of,
)
from spojit_stripe.engine.durable.running import Durable, DurableSteps

__all__ = [
    "Durable",
    "DurableSteps",
    "End",
    "cancel",
    "check",
    "ended",
    "knows",
    "rewind",
    "send",
    "sqlite_url",
    "steps_of",
]
