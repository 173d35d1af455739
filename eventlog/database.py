"""The connections to one log file: a writer under a lock, a pool of readers, and what happens at fork().

Reads never wait for writes: each reading block is one snapshot on a connection of its own. A private database
(":memory:" or "") has one connection and one lock for everything. Nothing here knows what is in the tables.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType

import apsw

from .connection import connect, is_private
from .encryption import Key
from .errors import LogBusyError, LogClosedError, LogOpenError, LogReadOnlyError, translated
from .opening import opening_apart

__all__ = ["Database", "WriteLock"]

_MAX_IDLE_READERS = 8
_FORK_WAIT_S = 5.0
# So long a fork waits for one log's write lock while it holds others', and so long it then holds none.
_FORK_LOCK_S = 0.2
_FORK_PAUSE_S = 0.02


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
        self._closed_because: str | None = _forking.inherited.get(path)
        # What else needs new locks in a child: another thread may hold the old ones at the moment of fork().
        self.in_child: list[Callable[[], None]] = []
        self._new_locks()
        _forking.add(self)

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
        return _Transaction(connection, self)

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
        """A connection that reads the file and may write to a private database attached as `scratch`, gone afterwards.

        Not within a transaction. In a private database nobody else gets in while the block lasts.
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
            with self.translating():
                # What is attached inherits that its connection only reads, unless it says otherwise.
                connection.execute(f"ATTACH '{'file:?mode=memory' if self.read_only else ''}' AS scratch")
                connection.pragma("query_only", "OFF")
                try:
                    yield connection
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    connection.execute("DETACH scratch")

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

    def _connect(self, *, writer: bool) -> apsw.Connection:
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
            busy_timeout_ms=self.busy_timeout_ms,
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

    def _before_fork(self) -> bool:
        if not self.write_lock.acquire(timeout=_FORK_LOCK_S):
            return False
        self._pool.acquire()
        if not self.private:
            deadline = time.monotonic() + _FORK_WAIT_S
            while self._readers_in_use and (left := deadline - time.monotonic()) > 0:
                self._pool_changed.wait(left)
            self._close_idle()
        return True

    def _after_fork_in_parent(self) -> None:
        self._pool.release()
        self.write_lock.release()

    def _after_fork_in_child(self) -> None:
        if self._readers_in_use and not self.private:
            _forking.inherited[self.path] = (
                "cannot be used in this process: it was being read in another thread, for all of "
                f"{_FORK_WAIT_S:g} s, when the process was forked. Fork when nobody is reading it"
            )
            self._closed_because = _forking.inherited[self.path]
        self._readers_in_use = 0
        self._new_locks()
        for renew in self.in_child:
            renew()
        if self.path == "":
            # The temporary file behind it is the parent's: never used here, and not closed either.
            _inherited.append(self._writer)
            self._writer = None
            self._closed_because = "is private to the process that opened it, and was inherited by fork()"


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


class _Transaction:
    """A block that is one write transaction. A class: a generator's block costs each append some microseconds."""

    __slots__ = ("_connection", "_database")

    def __init__(self, connection: apsw.Connection, database: Database) -> None:
        self._connection = connection
        self._database = database

    def __enter__(self) -> None:
        self._execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if e is None:
                self._execute("COMMIT")
            else:
                self._database.translating().__exit__(kind, e, tb)
        finally:
            self._roll_back()

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except BaseException:
            with self._database.translating():
                raise

    def _execute(self, sql: str) -> None:
        try:
            self._connection.execute(sql)
        except BaseException:
            with self._database.translating():
                raise


_inherited: list[object] = []


class _Forking:
    """One fork() at a time: what the hook before it locked, the hooks after it release."""

    def __init__(self) -> None:
        self._databases: weakref.WeakSet[Database] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._adding = threading.Lock()
        self._locked: list[Database] = []
        # In a child, why logs at these paths cannot be used: it has inherited a connection that was in use.
        self.inherited: dict[str, str] = {}

    def add(self, database: Database) -> None:
        """Take part from now on; from before anything is opened."""
        with self._adding:
            self._databases.add(database)

    def before(self) -> None:
        self._lock.acquire()
        while True:
            self._adding.acquire()  # until there is a child: what is opened meanwhile, it would inherit
            new = [database for database in self._databases if database not in self._locked]
            if not new:
                opening_apart.acquire()
                return
            self._adding.release()  # who holds a lock that is waited for here may be adding another
            for database in new:
                if not database._before_fork():
                    self._let_go()  # who has its lock may wait for one of these: a projection that appends elsewhere
                    time.sleep(_FORK_PAUSE_S)
                    break
                self._locked.append(database)

    def _let_go(self) -> None:
        locked, self._locked = self._locked, []
        for database in locked:
            database._after_fork_in_parent()

    def after_in_parent(self) -> None:
        self._let_go()
        opening_apart.release()
        self._adding.release()
        self._lock.release()

    def after_in_child(self) -> None:
        locked, self._locked = self._locked, []
        self._lock, self._adding = threading.Lock(), threading.Lock()
        opening_apart.release()
        for database in locked:
            database._after_fork_in_child()


_forking = _Forking()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_forking.before, after_in_parent=_forking.after_in_parent, after_in_child=_forking.after_in_child
    )
