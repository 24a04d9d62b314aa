"""Objects that came before their turn, put aside in a file instead of in memory."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from io import BytesIO
from typing import Final, TypeAlias

from spojit_stripe.errors import ConfigurationError
from spojit_stripe.wire.listing.page import Raw

__all__ = ["Segment", "Spill"]

_IN_MEMORY: Final = 4 * 1024 * 1024  # bytes; what is smaller never touches the disk
_BETWEEN: Final = b"\0"  # no JSON text has it

Segment: TypeAlias = tuple[int, int]  # offset and length


class Spill:
    """A file without a name, which only this process can open and which ends with it.

    Objects lie in it as they came, so nothing else may see it. With `on_disk` false it is
    memory: where all objects are held there in the end, a file would save nothing.

    Raises `ConfigurationError` where the temporary folder takes no more.
    """

    def __init__(self, *, on_disk: bool) -> None:
        # Closed by `close`, at the latest when nobody refers to it.
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) if on_disk else BytesIO()  # noqa: SIM115
        self._end = 0

    def put(self, objects: Sequence[Raw]) -> Segment:
        text = _BETWEEN.join(objects)
        try:
            self._file.seek(self._end)
            self._file.write(text)
        except OSError as error:
            raise ConfigurationError(
                f"the temporary folder takes no more ({error.strerror or error}); make room, set TMPDIR to another "
                "folder, or read in `order: any`, which keeps nothing aside"
            ) from None
        start, self._end = self._end, self._end + len(text)
        return start, len(text)

    def take(self, segment: Segment) -> list[bytes]:
        start, length = segment
        self._file.seek(start)
        return self._file.read(length).split(_BETWEEN)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what it still had to write is of no use
            self._file.close()
