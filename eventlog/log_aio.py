"""The log's async half: each method runs its sync twin in a worker thread."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from typing import TYPE_CHECKING

from .aio import AsyncClosing, iterate, run
from .coverage import Coverage
from .event import Head, Kind, RecordedEvent
from .finding import Finding

__all__ = ["AsyncLogTwins"]


class AsyncLogTwins(AsyncClosing):
    """Async twins of the log's methods, for asyncio and trio."""

    if TYPE_CHECKING:

        def read(
            self,
            *,
            after: int = 0,
            limit: int | None = None,
            thread_id: str | None = None,
            kinds: Collection[Kind] | None = None,
        ) -> Iterator[RecordedEvent]: ...
        def head(self) -> Head: ...
        def verify(
            self,
            *,
            anchor: Head | None = None,
            anchors: Collection[Head] = (),
            quick: bool = False,
            coverage: Coverage | None = None,
        ) -> Iterator[Finding]: ...

    async def aread(
        self,
        *,
        after: int = 0,
        limit: int | None = None,
        thread_id: str | None = None,
        kinds: Collection[Kind] | None = None,
    ) -> AsyncIterator[RecordedEvent]:
        """Async `read`."""
        async for event in iterate(self.read(after=after, limit=limit, thread_id=thread_id, kinds=kinds)):
            yield event

    async def ahead(self) -> Head:
        """Async `head`."""
        return await run(self.head)

    async def averify(
        self,
        *,
        anchor: Head | None = None,
        anchors: Collection[Head] = (),
        quick: bool = False,
        coverage: Coverage | None = None,
    ) -> AsyncIterator[Finding]:
        """Async `verify`; the coverage is told in a worker thread."""
        async for finding in iterate(self.verify(anchor=anchor, anchors=anchors, quick=quick, coverage=coverage)):
            yield finding
