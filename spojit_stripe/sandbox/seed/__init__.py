"""A believable business of any size, the same one for the same number.

    spojit-stripe sandbox --seed 50
    with sandbox(seed=50) as s: ...

The number is the number of customers; each has about ten charges in ninety days.
`business` decides who does what and when, `stories` tells each kind of story once to
the handlers that answer requests, `recording` keeps what came out, and `stamping`
repeats it with other ids, names, times and amounts. So seeded objects are what calls
would have made, and a million charges take minutes.
"""

from dataclasses import dataclass

from spojit_stripe.sandbox import payouts
from spojit_stripe.sandbox.app import App
from spojit_stripe.sandbox.errors import SandboxError
from spojit_stripe.sandbox.seed.business import Business
from spojit_stripe.sandbox.values import JsonValue

_MOST = 100_000


@dataclass(frozen=True)
class Seed:
    """How many customers there are to be."""

    customers: int

    @classmethod
    def checked(cls, value: JsonValue) -> "Seed":
        """A seed from outside; raises `SandboxError` for anything but a number from 1 on."""
        number = value
        if isinstance(value, str):
            digits = value.strip().removeprefix("-")
            number = int(value) if digits.isascii() and digits.isdigit() and len(digits) < 20 else value
        if isinstance(number, bool) or not isinstance(number, int):
            raise SandboxError(f"the seed is a number of customers, not {value!r}")
        if not 1 <= number <= _MOST:
            raise SandboxError(f"the seed is a number of customers from 1 to {_MOST}, not {number}")
        return cls(number)

    def plant(self, app: App) -> None:
        """Make the business; what happens in it happens in the past of the clock."""
        app.store.set_meta("seeding", self.customers)
        Business(app, self.customers).make()
        with app.store.transaction():
            app.store.set_meta("seeded", self.customers)
            app.store.forget_meta("seeding")
            payouts.schedule(app.system_context(), "daily")
        app.pass_time()
