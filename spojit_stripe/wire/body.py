"""The body of a request, and the moment at which a request is on its way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx2

__all__ = ["Body"]


class Body(httpx2.AsyncByteStream):
    """`content` to be sent. The HTTP library asks for it once the head is written: then `on_way` is called.

    Before that it may have waited for a connection to be made.
    """

    def __init__(self, content: bytes, on_way: Callable[[], None]) -> None:
        self._content = content
        self._on_way = on_way

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._on_way()
        if self._content:
            yield self._content
