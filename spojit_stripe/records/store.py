"""All records of one state folder, opened together."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from spojit_stripe.records.approvals import Approvals
from spojit_stripe.records.database import FILE_NAME, Database, unusable
from spojit_stripe.records.ledger import Ledger
from spojit_stripe.records.readlog import ReadLog
from spojit_stripe.records.runs import Runs

__all__ = ["Records"]


class Records:
    """Ledger, approvals, runs and the log of reads. Close it, or the last reads are lost.

    Raises `ConfigurationError` where the folder can't be used.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._database = Database(folder)
        self.path = folder / FILE_NAME
        self.ledger = Ledger(self._database, clock)
        self.approvals = Approvals(self._database, clock)
        self.reads = ReadLog(self._database)
        self.runs = Runs(self._database, clock)

    @staticmethod
    def exist_in(folder: Path) -> bool:
        """Whether anything was recorded there yet; looking makes nothing. Raises `ConfigurationError`."""
        try:
            return (folder / FILE_NAME).exists()
        except OSError as error:
            raise unusable(folder / FILE_NAME, error.strerror or str(error)) from None

    def close(self) -> None:
        self.reads.close()
        self.runs.close()
        self._database.close()
