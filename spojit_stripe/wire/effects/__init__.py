"""The worst that each of Stripe's operations can do, reviewed one by one, and what it moves.

A GET reads, but for the few that hand out a secret. A POST or DELETE that stands nowhere in
the table has no effect known (`effect_of` gives None), so it asks. What does more or less
with certain parameters stands in `RAISED` and `QUIET`.

- write: makes or changes a record.
- money: takes, gives, moves or promises money, now or without another call.
- control: gives access or moves trust; never for agents.
"""

from __future__ import annotations

from spojit_stripe.wire.effects.amounts import AMOUNTS, AmountKind, AmountRule, Lookup
from spojit_stripe.wire.effects.rules import HANDS_OUT, QUIET, RAISED, Raised, effect_of, reason_of
from spojit_stripe.wire.effects.table import GROUPS, Group

__all__ = [
    "AMOUNTS",
    "GROUPS",
    "HANDS_OUT",
    "QUIET",
    "RAISED",
    "AmountKind",
    "AmountRule",
    "Group",
    "Lookup",
    "Raised",
    "effect_of",
    "reason_of",
]
