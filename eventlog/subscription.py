"""Following what is appended, by any process: sync and async iteration over one and the same object."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

import anyio

from .aio import run, waker
from .errors import CorruptRecordError, LogClosedError
from .event import RecordedEvent

if TYPE_CHECKING:
    from .log import EventLog

__all__ = ["Appended", "Subscription"]

# Gives what is after a position, and how far was looked.
Fetch = Callable[[int], tuple[list["RecordedEvent | CorruptRecordError"], int]]


class Appended:
    """Tells threads of this process that something was appended, so that they need not poll."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.seen = 0
        self.renew()

    def renew(self) -> None:
        """Begin anew in a child process."""
        # A condition's own `with` is Python code: KeyboardInterrupt in it would leave the lock locked for ever.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        self._wakers: set[Callable[[], None]] = set()

    def notify(self) -> None:
        """Wake whoever waits."""
        self.seen = next(self._numbers)
        # Each append comes here, and mostly nobody waits. Who begins to wait after this question looks at `seen` first.
        if not self._waiting and not self._wakers:
            return
        with self._lock:
            self._changed.notify_all()
            wakers = list(self._wakers)
        for wake in wakers:
            wake()

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have a function called, in whichever thread, each time that something happens in the block."""
        with self._lock:
            self._wakers.add(wake)
        try:
            yield
        finally:
            with self._lock:
                self._wakers.discard(wake)

    def wait(self, seen: int, timeout_s: float) -> None:
        """Wait until something has happened since `seen` was read, or for so long."""
        with self._lock:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: self.seen != seen, timeout_s)
            finally:
                self._waiting -= 1


class Subscription:
    """Yields every event after a position, in order, each once, and then waits for more.

    Use it with `for` or `async for`, on one task or thread. It ends when it, or the log, is closed. Events of this
    process arrive as soon as they are committed, those of others within the poll interval. No read transaction is
    held while it waits. A damaged event is a CorruptRecordError in its turn; asking for the next one goes on after it.
    """

    def __init__(self, log: EventLog, after: int, fetch: Fetch, poll_interval_ms: int) -> None:
        self._log = log
        self._fetch = fetch
        self._poll_interval_s = poll_interval_ms / 1000
        self._ready: deque[RecordedEvent | CorruptRecordError] = deque()
        self._closed = False
        self._scanned = after
        self.position = after

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> RecordedEvent:
        while True:
            seen = self._log.appended.seen
            self._fill()
            if self._ended():
                raise StopIteration
            if self._ready:
                return self._next_ready()
            self._log.appended.wait(seen, self._poll_interval_s)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> RecordedEvent:
        while True:
            happened, wake = waker()
            with self._log.appended.waking(wake):
                if not self._ready:
                    # Only fills: what is taken is taken here, so that a cancelled wait takes nothing away.
                    await run(self._fill)
                if self._ended():
                    raise StopAsyncIteration
                if self._ready:
                    return self._next_ready()
                with anyio.move_on_after(self._poll_interval_s):
                    await happened.wait()

    def _ended(self) -> bool:
        return self._closed or (self._log.closed and not self._ready)

    def _fill(self) -> None:
        while not self._ready and not self._closed and not self._log.closed:
            before = self._scanned
            try:
                found, self._scanned = self._fetch(before)
            except LogClosedError:
                return
            self._ready.extend(found)
            if self._scanned == before:
                return

    def _next_ready(self) -> RecordedEvent:
        found = self._ready.popleft()
        self.position = found.position
        if isinstance(found, CorruptRecordError):
            raise found
        return found

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
