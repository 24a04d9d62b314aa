"""Workflows carried out: an interpreter over the durability port, and the durable engine behind it.

`Embedded` runs workflows in this process, each with a database of its own. Read `walk.py` for what
a run does, `durable` for what is known of the engine.
"""

from __future__ import annotations

from spojit_stripe.engine.bundle import Bundle
from spojit_stripe.engine.context import RunContext
from spojit_stripe.engine.embedded import Embedded, Interrupted
from spojit_stripe.engine.runner import tasks_of
from spojit_stripe.engine.watch import Listener, Watch

__all__ = ["Bundle", "Embedded", "Interrupted", "Listener", "RunContext", "Watch", "tasks_of"]
