"""Objects that came before their turn, put aside in a file instead of in memory."""

from __future__ import annotations

import contextlib
import tempfile
from array import array
from collections.abc import Generator, Sequence
from io import BytesIO
from itertools import accumulate, pairwise
from typing import Final, TypeAlias

from spojit_stripe.errors import ConfigurationError
from spojit_stripe.wire.listing.page import Raw

__all__ = ["Segment", "Spill"]

_IN_MEMORY: Final = 4 * 1024 * 1024  # bytes; what is smaller never touches the disk

Segment: TypeAlias = tuple[int, int, int]  # offset, length, and how many objects


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
        # Their lengths lie before them: a search for their ends would cost more than the reading.
        lengths = array("Q", [memoryview(raw).nbytes for raw in objects])
        text = b"".join([lengths.tobytes(), *objects])
        with _explained():
            self._file.seek(self._end)
            self._file.write(text)
        start, self._end = self._end, self._end + len(text)
        return start, len(text), len(objects)

    def take(self, segment: Segment) -> list[bytes]:
        start, length, count = segment
        with _explained():  # to look elsewhere in the file, it first writes what it still holds
            self._file.seek(start)
            text = self._file.read(length)
        lengths = array("Q")
        at = count * lengths.itemsize
        lengths.frombytes(text[:at])
        return [text[begin:end] for begin, end in pairwise(accumulate(lengths, initial=at))]

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what it still had to write is of no use
            self._file.close()


@contextlib.contextmanager
def _explained() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"the temporary folder takes no more ({error.strerror or error}); make room, set TMPDIR to another "
            "folder, or read in `order: any`, which keeps nothing aside"
        ) from None
