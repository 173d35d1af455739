"""Following what is appended, by any process: sync and async iteration over one and the same object."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

import anyio

from .aio import run
from .errors import LogClosedError
from .event import RecordedEvent

if TYPE_CHECKING:
    from .log import EventLog

__all__ = ["Appended", "Subscription"]


class Appended:
    """Tells threads of this process that something was appended, so that they need not poll."""

    def __init__(self) -> None:
        self.seen = 0
        self.renew()

    def renew(self) -> None:
        """Begin anew in a child process."""
        self._changed = threading.Condition()

    def notify(self) -> None:
        """Wake whoever waits."""
        with self._changed:
            self.seen += 1
            self._changed.notify_all()

    def wait(self, seen: int, timeout_s: float) -> None:
        """Wait until something has happened since `seen` was read, or for so long."""
        with self._changed:
            self._changed.wait_for(lambda: self.seen != seen, timeout_s)


class Subscription:
    """Yields every event after a position, in order, each once, and then waits for more.

    Use it with `for` or `async for`, on one task or thread. It ends when it, or the log, is closed. Events of this
    process arrive as soon as they are committed, those of others within the poll interval. No read transaction is
    held while it waits.
    """

    def __init__(
        self, log: EventLog, after: int, fetch: Callable[[int], tuple[list[RecordedEvent], int]], poll_interval_ms: int
    ) -> None:
        self._log = log
        self._fetch = fetch
        self._poll_interval_s = poll_interval_ms / 1000
        self._ready: deque[RecordedEvent] = deque()
        self._closed = False
        self._scanned = after
        self.position = after

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> RecordedEvent:
        while True:
            seen = self._log.appended.seen
            if (event := self._next_ready()) is not None:
                return event
            if self._ended():
                raise StopIteration
            self._log.appended.wait(seen, self._poll_interval_s)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> RecordedEvent:
        while True:
            if self._ready:
                event = self._next_ready()
            else:
                event = await run(self._next_ready)
            if event is not None:
                return event
            if self._ended():
                raise StopAsyncIteration
            await anyio.sleep(self._poll_interval_s)

    def _ended(self) -> bool:
        return self._closed or self._log.closed

    def _next_ready(self) -> RecordedEvent | None:
        while not self._ready and not self._ended():
            before = self._scanned
            try:
                events, self._scanned = self._fetch(before)
            except LogClosedError:
                return None
            self._ready.extend(events)
            if self._scanned == before:
                break
        if self._closed or not self._ready:
            return None
        event = self._ready.popleft()
        self.position = event.position
        return event

    def close(self) -> None:
        """End the iteration, from any thread."""
        self._closed = True
        self._log.appended.notify()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Subscription of {self._log.path} after {self.position}>"
