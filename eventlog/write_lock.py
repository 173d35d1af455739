"""The lock of one log's writers in this process, and the transaction that is done while it is held."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

import apsw

from .errors import translated

__all__ = ["Transaction", "WriteLock"]


class WriteLock:
    """Held by one thread at a time, any number of times over; who waits for it in another way is told of its release.

    Reentrant, because in a private database a read inside a write uses the same connection.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.acquire = self._lock.acquire
        self.unlock = self._lock.release  # `release`, but nobody is told
        self.owned: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined]  # Condition uses it, too
        self.released: Callable[[], None] | None = None

    def release(self) -> None:
        """Let go once."""
        self._lock.release()
        if self.released is not None:
            self.released()

    def release_all(self) -> None:
        """Let go altogether."""
        while self.owned():
            self._lock.release()
        if self.released is not None:
            self.released()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.release()


class Transaction:
    """A block that is one write transaction. A class: a generator's block costs each append some microseconds."""

    __slots__ = ("_connection", "_translated")

    def __init__(self, connection: apsw.Connection, translating: translated) -> None:
        self._connection = connection
        self._translated = translating

    def __enter__(self) -> None:
        self._execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if e is None:
                self._execute("COMMIT")
            else:
                self._translated.__exit__(kind, e, tb)
        finally:
            self._roll_back()

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except BaseException:
            with self._translated:
                raise

    def _execute(self, sql: str) -> None:
        try:
            self._connection.execute(sql)
        except BaseException:
            with self._translated:
                raise
