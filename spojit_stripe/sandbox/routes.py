"""Which function answers which operation; filled by the modules in `resources`."""

from collections.abc import Callable

from spojit_stripe.sandbox.context import Answer, Context

Handler = Callable[[Context], Answer]

HANDLERS: dict[tuple[str, str], Handler] = {}
# Parameters that Stripe takes and the sandbox can't carry out: refused rather than ignored.
REFUSED: dict[tuple[str, str], tuple[str, ...]] = {}


def answers(method: str, path: str, *, without: tuple[str, ...] = ()) -> Callable[[Handler], Handler]:
    """Say that a function answers an operation, by its path in the index, `without` some parameters."""

    def register(handler: Handler) -> Handler:
        HANDLERS[method, path] = handler
        REFUSED[method, path] = without
        return handler

    return register
