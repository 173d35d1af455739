"""The connections to one log file: a writer under a lock, a pool of readers, and what happens at fork().

Reads never wait for writes: each reading block is one snapshot on a connection of its own. A private database
(":memory:" or "") has one connection and one lock for everything. Nothing here knows what is in the tables.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

import apsw

from .connection import connect, is_private
from .encryption import Key
from .errors import LogBusyError, LogClosedError, LogOpenError, LogReadOnlyError, translated
from .forking import FORKING
from .sql import all_rows
from .write_lock import Transaction, WriteLock

__all__ = ["Database"]

_MAX_IDLE_READERS = 8
_FORK_WAIT_S = 5.0
# So long a fork waits for one log's write lock while it holds others'.
_FORK_LOCK_S = 0.2


class Database:
    """Connections to `path`, opened as they are needed; usable from any thread.

    Args:
        path: absolute, or ":memory:" or "".
        synchronous: "FULL" or "NORMAL".
        busy_timeout_ms: how long to wait for the write lock.
        read_only: never open a connection that could change the file.
        key: the file is encrypted with it.
    """

    def __init__(
        self, path: str, *, synchronous: str, busy_timeout_ms: int, read_only: bool, key: Key | None = None
    ) -> None:
        self.path = path
        self.key = key
        self.read_only = read_only
        self.private = is_private(path)
        self.busy_timeout_ms = busy_timeout_ms
        self._synchronous = synchronous
        self._writer: apsw.Connection | None = None
        self._idle_readers: list[apsw.Connection] = []
        self._readers_in_use = 0
        self._file: tuple[int, int] | None = None  # which file it is, once there is a connection to it
        self._closed_because: str | None = FORKING.inherited.get(path)
        # What else needs new locks in a child: another thread may hold the old ones at the moment of fork().
        self.in_child: list[Callable[[], None]] = []
        self._new_locks()
        FORKING.add(self)

    def _new_locks(self) -> None:
        self.write_lock = WriteLock()
        # A condition's own `with` is Python code: KeyboardInterrupt in it would leave the lock locked for ever.
        self._pool = threading.RLock()
        self._pool_changed = threading.Condition(self._pool)

    @contextlib.contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """One write transaction: committed, and durable as `synchronous` says, when the block ends.

        Rolled back if it raises.

        Raises:
            LogBusyError: the lock was not had within the timeout.
            LogReadOnlyError, LogClosedError: it cannot be changed; and what `errors.translated` gives.
        """
        self.check_writable()
        with self._locked() as connection, self.transaction(connection):
            yield connection

    def check_writable(self) -> None:
        """Raise a LogReadOnlyError if it is not."""
        if self.read_only:
            raise LogReadOnlyError(f"{self.path} was opened with read_only=True")

    def transaction(self, connection: apsw.Connection) -> contextlib.AbstractContextManager[None]:
        """Do what `writing` does, for who has the write lock, and got this connection from `writer`."""
        return Transaction(connection, self.translating())

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[apsw.Connection]:
        """The writing connection, outside of a transaction: for pragmas."""
        with self._locked() as connection, self.translating():
            yield connection

    def translating(self) -> translated:
        """Give a block in which apsw's errors become those of this file."""
        return translated(self.path, busy_timeout_ms=self.busy_timeout_ms)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[apsw.Connection]:
        nested, taken = self.write_lock.owned(), False
        try:
            taken = self.write_lock.acquire(timeout=self.busy_timeout_ms / 1000)
            if not taken:
                raise self.busy_error()
            yield self.writer()
        finally:
            self.let_go(nested=nested, taken=taken)

    def let_go(self, *, nested: bool, taken: bool) -> None:
        """Let go of the write lock, with nothing left of a transaction; does nothing if that is done.

        KeyboardInterrupt may come when any call has just begun or ended: when the lock was taken and nobody knows it
        yet, or when a transaction was begun, or was to be ended. So this asks the lock and the connection; and when an
        interrupt comes before it, or in the midst of it, it has to be called again.

        Args:
            nested: whether this thread had the lock before it asked for it.
            taken: whether it is known that it was given.
        """
        lock = self.write_lock
        if nested:
            if taken:
                lock.release()
        elif lock.owned():
            try:
                self.roll_back()
            finally:
                lock.release_all()

    def roll_back(self) -> None:
        """Roll back what was left of a transaction; for who has the write lock."""
        if self._writer is not None and self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    def busy_error(self) -> LogBusyError:
        """Give the error of not having had the write lock within the timeout."""
        return LogBusyError(
            f"another thread was changing {self.path} for {self.busy_timeout_ms} ms: nothing was changed",
            path=self.path,
            waited_ms=self.busy_timeout_ms,
        )

    def writer(self) -> apsw.Connection:
        """Give the writing connection, to who has the write lock."""
        if self._closed_because is not None:
            self._check_open()
        if self._writer is None:
            with translated(self.path):
                self._writer = self._connect(writer=True)
        return self._writer

    def reconnect(self) -> None:
        """Close the writing connection: the next to write opens another."""
        with self._locked() as connection:
            self._writer = self._file = None
            connection.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """One read transaction: every statement in the block sees the same state.

        Neither waits for a writer nor stops one.

        Raises:
            LogClosedError, and what `errors.translated` gives.
        """
        if self.private:
            with self._locked() as connection, translated(self.path):
                yield connection
            return
        connection = self._take_reader()
        try:
            with self.translating():
                connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    if connection.in_transaction:
                        connection.execute("COMMIT")
        finally:
            self._give_back(connection)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[apsw.Connection]:
        """A connection that reads the file and may make tables in the schema `temp`, which are gone afterwards.

        Not within a transaction. In a private database nobody else gets in while the block lasts. What is large of them
        goes into a temporary file that has no name and that nobody else may read; that of an encrypted or private log
        stays in memory.
        """
        with contextlib.ExitStack() as stack:
            if self.private:
                connection = stack.enter_context(self._locked())
            else:
                with self._pool:
                    self._check_open()
                    self._readers_in_use += 1
                stack.callback(self._leave_pool)
                with translated(self.path):
                    connection = self._connect(writer=False)
                stack.callback(connection.close)
                if self.key is None:
                    connection.pragma("temp_store", "FILE")
            with self.translating():
                connection.pragma("query_only", "OFF")
                try:
                    yield connection
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    if self.private:
                        for (name,) in all_rows(connection, "SELECT name FROM temp.sqlite_schema WHERE type = 'table'"):
                            connection.execute(f'DROP TABLE temp."{name}"')

    @contextlib.contextmanager
    def maintaining(self, *, busy_timeout_ms: int) -> Iterator[apsw.Connection]:
        """A connection of its own that may write, outside of a transaction, and not under the write lock.

        For what waits for other connections, which the threads of this process need not wait for. Not for a private
        log, nor one that is open for reading only.
        """
        with self._pool:
            self._check_open()
            self._readers_in_use += 1
        try:
            with self.translating():
                connection = self._connect(writer=True, busy_timeout_ms=busy_timeout_ms)
                try:
                    yield connection
                finally:
                    connection.close()
        finally:
            self._leave_pool()

    def _take_reader(self) -> apsw.Connection:
        with self._pool:
            self._check_open()
            self._readers_in_use += 1
            if self._idle_readers:
                return self._idle_readers.pop()
        try:
            with translated(self.path):
                return self._connect(writer=False)
        except BaseException:
            self._leave_pool()
            raise

    def _give_back(self, connection: apsw.Connection) -> None:
        with self._pool:
            keep = self._closed_because is None and len(self._idle_readers) < _MAX_IDLE_READERS
            if keep:
                self._idle_readers.append(connection)
        if not keep:
            connection.close()
        self._leave_pool()

    def _leave_pool(self) -> None:
        with self._pool:
            self._readers_in_use -= 1
            self._pool_changed.notify_all()

    def _connect(self, *, writer: bool, busy_timeout_ms: int | None = None) -> apsw.Connection:
        immutable = False
        if self.private:
            flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
            writer = True
        elif self.read_only:
            flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
            immutable = self._is_immutable()
        else:
            flags = apsw.SQLITE_OPEN_READWRITE
        connection = connect(
            self.path,
            flags=flags,
            busy_timeout_ms=self.busy_timeout_ms if busy_timeout_ms is None else busy_timeout_ms,
            synchronous=self._synchronous,
            writer=writer and not self.read_only,
            immutable=immutable,
            key=self.key,
        )
        try:
            self._check_same_file()
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_same_file(self) -> None:
        """Check that a connection just opened is to the file that the others are to.

        What is remembered of one file (keys, positions, the head) would damage another that was put in its place.
        """
        if self.private:
            return
        try:
            status = os.stat(self.path)
        except OSError as e:
            raise self._replaced() from e
        found = (status.st_dev, status.st_ino)
        if self._file is None:
            self._file = found
        elif self._file != found:
            raise self._replaced()

    def _replaced(self) -> LogOpenError:
        return LogOpenError(
            f"{self.path} is not the file that was opened: it was replaced or deleted meanwhile. Nothing was changed; "
            "close this log, and open it anew",
            path=self.path,
        )

    def _is_immutable(self) -> bool:
        """Tell whether nothing can be written beside the file and no WAL holds changes: SQLite needs to be told so."""
        return not os.access(os.path.dirname(self.path), os.W_OK) and not os.path.exists(self.path + "-wal")

    def _check_open(self) -> None:
        if self._closed_because is not None:
            raise LogClosedError(f"{self.path or 'the temporary log'} {self._closed_because}")

    @property
    def closed(self) -> bool:
        """Whether it cannot be used any more."""
        return self._closed_because is not None

    def close(self) -> None:
        """Close every connection; blocks that are still reading close theirs when they end.

        Closing again does nothing.
        """
        nested, taken = self.write_lock.owned(), False
        try:
            taken = self.write_lock.acquire()
            with self._pool:
                if self._closed_because is not None:
                    return
                self._closed_because = "is closed"
            self._close_idle()
        finally:
            try:
                self.let_go(nested=nested, taken=taken)
            except BaseException:
                self.let_go(nested=nested, taken=False)
                raise

    def _close_idle(self) -> None:
        with self._pool:
            idle, self._idle_readers = self._idle_readers, []
        writer, self._writer = self._writer, None
        for connection in [*idle, writer]:
            if connection is not None:
                connection.close()

    # fork(): SQLite keeps its view of file locks in memory shared by all connections of a process. A child that
    # inherits open connections inherits that view, but not the locks: even connections that it opens itself then
    # believe in locks that nobody holds. So the parent has none open while it forks; both open new ones afterwards.

    def before_fork(self) -> bool:
        """Lock what a child would inherit locked, and close all connections; tell whether that could be had."""
        if not self.write_lock.acquire(timeout=_FORK_LOCK_S):
            return False
        self._pool.acquire()
        if not self.private:
            deadline = time.monotonic() + _FORK_WAIT_S
            while self._readers_in_use and (left := deadline - time.monotonic()) > 0:
                self._pool_changed.wait(left)
            self._close_idle()
        return True

    def after_fork_in_parent(self) -> None:
        """Let go."""
        self._pool.release()
        self.write_lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew."""
        if self._readers_in_use and not self.private:
            FORKING.inherited[self.path] = (
                "cannot be used in this process: it was being read in another thread, for all of "
                f"{_FORK_WAIT_S:g} s, when the process was forked. Fork when nobody is reading it"
            )
            self._closed_because = FORKING.inherited[self.path]
        self._readers_in_use = 0
        self._new_locks()
        for renew in self.in_child:
            renew()
        if self.path == "":
            # The temporary file behind it is the parent's: never used here, and not closed either.
            _inherited.append(self._writer)
            self._writer = None
            self._closed_because = "is private to the process that opened it, and was inherited by fork()"


_inherited: list[object] = []
