"""The sync of which balance transactions each payout settled: one list for each new payout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from spojit_stripe.errors import InputError, InvalidRequestError, ServiceError, SpojitError
from spojit_stripe.redact import printable, redact_text
from spojit_stripe.sync.destination import MOST_FAILURES
from spojit_stripe.sync.pages import Pages
from spojit_stripe.sync.rows import Row, UnfitError, row_of
from spojit_stripe.sync.work import Work, batches, side_by_side
from spojit_stripe.values import JsonObject

__all__ = ["LinkWork"]


class LinkWork(Work):
    """`Work` for the links between payouts and balance transactions, which never change."""

    async def _sync(self) -> None:
        self._begin("history" if self._state.as_of is None else "changes", self._state.as_of)
        await self._reader.probe(self._resource)
        self._reader.not_before(self._state.seen)
        for batch in batches(self._destination.unlinked()):
            stopped: SpojitError | None = None
            for payout, result in zip(batch, await side_by_side(self._link, batch), strict=True):
                if isinstance(result, InvalidRequestError | InputError | UnfitError):
                    self._refused(payout, result)
                elif result is not None:
                    stopped = stopped or result
            if stopped is not None:
                raise stopped
        self._state = replace(
            self._state, as_of=self._reader.now(), seen=self._reader.now(), api_version=self._reader.version
        )
        self._save([])

    def _refused(self, payout: str, error: SpojitError) -> None:
        """One payout's links are missing, which keeps no other from its own; the next run asks for them again."""
        self._failed[payout] = printable(redact_text(error.message))
        if len(self._failed) > MOST_FAILURES:
            raise ServiceError(
                f"{self._resource.name}: the transactions of more than {MOST_FAILURES} payouts could not be read; "
                f"the last one: {self._failed[payout]}"
            )

    async def _link(self, payout: str) -> None:
        seen = self._reader.now()
        rows: list[Row] = []  # a payout's links come together or not at all, so that some mean all
        await self._reader.read_settled(
            self._resource, payout, Pages(lambda page: rows.extend(self._links(page, payout, seen)))
        )
        self._save(rows)

    def _links(self, page: Sequence[JsonObject], payout: str, seen: int) -> list[Row]:
        links: list[JsonObject] = [
            {
                "id": value.get("id"),
                "balance_transaction": value.get("id"),
                "payout": payout,
                "created": value.get("created"),
            }
            for value in page
        ]
        return [row_of(link, self._resource, self._columns, seen) for link in links]
