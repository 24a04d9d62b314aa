"""A sink that hands the pages of a list on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spojit_stripe.errors import SpojitError
from spojit_stripe.values import JsonObject

__all__ = ["Pages"]


class Pages:
    """Implements `connector.Sink`. Keeps its first error, so that it is not taken for one of the list's."""

    def __init__(self, take: Callable[[Sequence[JsonObject]], None]) -> None:
        self._take = take
        self.error: SpojitError | None = None

    def write(self, objects: Sequence[JsonObject]) -> None:
        """Take the next objects. Raises what the taker raises."""
        if self.error is not None:
            raise self.error
        try:
            self._take(objects)
        except SpojitError as error:
            self.error = error
            raise
