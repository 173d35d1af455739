"""EventLog: the append-only log in one SQLite file. Knows nothing of LangGraph, nor of what the projections hold."""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from types import FrameType, TracebackType
from typing import TypeVar

import apsw
from anyio.lowlevel import RunVar

from . import appender
from .appender import PreparedEvent
from .connection import is_private
from .coverage import Coverage
from .database import Database
from .encryption import Key
from .errors import (
    BaseErasedError,
    ConfigError,
    CorruptRecordError,
    EventErasedError,
    EventLogError,
    LogDamagedError,
    LogReadOnlyError,
    NotAnEventLogError,
    check_limit,
)
from .event import Head, Kind, NewEvent, RecordedEvent, put_of
from .finding import Finding
from .follower import Follower
from .group_commit import Append, GenerationChangedError, GroupCommit
from .log_aio import AsyncLogTwins
from .opening import absolute
from .reader import EventReader, Row, head_of, touches
from .readying import open_or_make
from .sql import one_row, the_row
from .steps import CallQueue, Steps, perform, perform_async
from .streams import StreamKeys
from .subscription import Appended, Subscription
from .value import Value
from .verify import verify_log

__all__ = ["EventLog"]

_META = "SELECT head, link, generation, EXISTS (SELECT 1 FROM erased) FROM meta"
_LOG_ID = "SELECT log_id FROM meta"
T = TypeVar("T")
_PAGE = 64
_MAX_PAGE = 1024
_ROOT = __name__.partition(".")[0] + "."


def _now_us() -> int:
    return time.time_ns() // 1000


class EventLog(AsyncLogTwins):
    """The log at `path`: read it, verify it, follow it, from any thread and any number of processes.

    Args:
        path: of the file, made with its folders if it is not there; ":memory:" and "" give a private log that ends
            with close().
        synchronous: "FULL": what was appended survives power loss. "NORMAL": it survives the process; power loss may
            take the last commits, never the order of those before.
        busy_timeout_ms: how long to wait for other writers.
        read_only: never change the file, nor need the right to.
        follower: keeps the projections. Without one, nothing can be appended to a log that has projections.
        clock: gives the present, UTC, in microseconds since 1970-01-01.
        key: encrypts the whole file, see `encryption.Key`; None: it is not encrypted. `rekey` gives a file another.

    Raises:
        ConfigError: an argument is not usable; with a key, also that this build of apsw cannot encrypt.
        LogOpenError: and its kinds, when `path` cannot be a log; what is there is left as it is.

    Close it with `with`, `async with`, close() or aclose(); a ResourceWarning names one that was forgotten.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: str = "FULL",
        busy_timeout_ms: int = 30_000,
        read_only: bool = False,
        follower: Follower | None = None,
        clock: Callable[[], int] | None = None,
        key: str | bytes | None = None,
    ) -> None:
        self._database: Database | None = None
        self._opened_at = _caller()
        if synchronous not in ("FULL", "NORMAL"):
            raise ConfigError(f'synchronous is "FULL" or "NORMAL", not {synchronous!r}')
        if not isinstance(busy_timeout_ms, int) or busy_timeout_ms < 0:
            raise ConfigError(f"busy_timeout_ms is a whole number, 0 or more, not {busy_timeout_ms!r}")
        self.path = absolute(path)
        if read_only and is_private(self.path):
            raise ConfigError(f"{self.path!r} is a private log, new and empty: there is nothing in it to read")
        self.appended = Appended()
        self.keys = StreamKeys()
        self.reader = EventReader(self.path or "the temporary log")
        self._clock = clock or _now_us
        # The head, whether anything has been erased, and the generation, as the last commit left them, on which
        # connection, and which version of the file that was; and what the transaction at hand is going to leave.
        self._seen: tuple[apsw.Connection, int, Head, bool, int] | None = None
        self._seen_next: tuple[Head, bool, int] | None = None
        self._generation_next: int | None = None
        self._follower = follower
        database = Database(
            self.path,
            synchronous=synchronous,
            busy_timeout_ms=busy_timeout_ms,
            read_only=read_only,
            key=Key.of(key),
        )
        try:
            open_or_make(database, self._clock)
            self._renew()
            database.in_child += [self.appended.renew, self._renew]
            self._group = GroupCommit(database, apply=self._apply, committed=self._is_committed)
            self._database = database
            self._generation = self._attach()
        except BaseException:
            self._database = None
            database.close()
            raise

    def _renew(self) -> None:
        self._attaching = threading.Lock()
        # A child may go on with an event loop that it inherited: the worker threads of its queue it did not.
        self._calls: RunVar[CallQueue] = RunVar("langgraph_eventlog_calls")

    def _attach(self) -> int | None:
        return None if self._follower is None else self._follower.attach(self)

    def now(self) -> int:
        """Give the present by the log's clock: UTC, microseconds since 1970-01-01."""
        return self._clock()

    # Appending: used by the saver.

    def append(self, event: NewEvent) -> RecordedEvent:
        """Append one event, with what the projections make of it; durable, as `synchronous` says, when this returns.

        Raises:
            BaseErasedError: something that it refers to has been erased meanwhile.
            LogBusyError, LogReadOnlyError, LogFullError, LogIOError, LogClosedError, EncodingError,
            ProjectionError: nothing was appended.
        """
        append = Append(appender.prepare(event))
        self._append_all([append])
        recorded = append.recorded or append.result()  # which raises what went wrong
        assert recorded is not None
        return recorded

    def transact(self, decide: Callable[[apsw.Connection], NewEvent | None]) -> RecordedEvent | None:
        """Append the event that `decide` makes of what it reads, in one transaction; nothing if it gives None.

        It may itself append, with `append_within`, and raise the generation. It is called again when the transaction
        has to be begun again.
        """
        append = Append(decide=decide)
        self._append_all([append])
        return append.result()

    def append_within(
        self, connection: apsw.Connection, event: NewEvent | PreparedEvent, *, recorded_at: int | None = None
    ) -> RecordedEvent:
        """Append an event in the transaction of a `decide` that is under way, before the event which that gives.

        It is in the log if that transaction is committed.

        Args:
            connection: as `decide` was given it.
            event: the event, prepared or not.
            recorded_at: when it was recorded, if that was elsewhere; None: now.

        Raises:
            BaseErasedError: something that it refers to has been erased meanwhile.
        """
        clock = self._clock if recorded_at is None else lambda: recorded_at
        head = self.reader.head(connection)
        prepared = appender.prepare(event) if isinstance(event, NewEvent) else event
        if prepared.bases:
            appender.check_bases(connection, prepared.bases, head=head.position, erased=True)
        recorded = appender.append(connection, prepared, head=head, keys=self.keys, clock=clock)
        if self._follower is not None:
            self._follower.apply(connection, recorded)
        return recorded

    @property
    def generation(self) -> int | None:
        """The file's generation when it was last looked at; None without a follower.

        What was known of positions under an earlier one may not be referred to any more: see `NewEvent.generation`.
        """
        return self._generation

    def perform(self, steps: Steps[T]) -> T:
        """Do a call that appends what its steps give, as `append` does."""
        return perform(self, steps)

    async def aperform(self, steps: Steps[T]) -> T:
        """Async `perform`: calls that come at the same time share a thread, and a transaction."""
        try:
            queue = self._calls.get()
        except LookupError:
            queue = CallQueue()
            self._calls.set(queue)
        return await perform_async(self, queue, steps)

    def _append_all(self, appends: Sequence[Append]) -> None:
        database = self._database
        assert database is not None
        if database.read_only:
            self.database.check_writable()
        while appends:
            generation = self._generation
            try:
                self._group.run(appends)
                return
            except GenerationChangedError:
                self._attach_again(generation)
                appends = [append for append in appends if not append.done]

    def _attach_again(self, generation: int | None) -> None:
        """Look at the projections, once for all threads that found another generation than this."""
        with self._attaching:
            if self._generation == generation:
                self._generation = self._attach()

    def _apply(self, connection: apsw.Connection, appends: Sequence[Append]) -> None:
        """Do appends in the transaction that has begun."""
        keys, follower = self.keys, self._follower
        if keys.added:
            keys.begin()
        head: Head | RecordedEvent
        seen = self._seen
        # SQLite changes the version with each commit on this connection, and when it first reads after another's.
        if seen is not None and seen[0] is connection and seen[1] == connection.data_version():
            _, _, head, erased, generation = seen  # nobody has committed anything since this connection did
        else:
            head, erased, generation = self._head_of_generation(connection)
            self._check_generation(generation)
        plain = True
        for append in appends:
            changes = connection.total_changes()
            try:
                prepared = append.prepared
                if append.decide is not None:
                    plain = False
                    event = append.decide(connection)
                    # It may itself append and erase, and raise the generation: compaction.
                    head, erased, generation = self._head_of_generation(connection)
                    if event is None:
                        append.succeed(None)
                        continue
                    prepared = appender.prepare(event)
                assert prepared is not None
                if prepared.bases:
                    if prepared.event.generation not in (None, generation):
                        raise BaseErasedError(tuple(sorted(prepared.bases)))  # they may have been restated since
                    appender.check_bases(connection, prepared.bases, head=head.position, erased=erased)
                recorded = appender.append(connection, prepared, head=head, keys=keys, clock=self._clock)
                if follower is not None:
                    follower.apply(connection, recorded)
            except EventLogError as e:
                if connection.total_changes() != changes or not connection.in_transaction:
                    raise
                append.fail(e)  # nothing was done: the others go on
                continue
            append.succeed(recorded)
            head = recorded
        # What a `decide` did besides, nobody knows here.
        self._seen_next = (Head(head.position, head.link), erased, generation) if plain else None
        self._generation_next = generation

    def _is_committed(self, connection: apsw.Connection) -> None:
        seen = self._seen_next
        self._seen = None if seen is None else (connection, connection.data_version(), *seen)
        if self._follower is not None:
            self._generation = self._generation_next
        if self.keys.added:
            self.keys.committed()
        self.appended.notify()

    def _head_of_generation(self, connection: apsw.Connection) -> tuple[Head, bool, int]:
        """Give the head, whether anything has ever been erased, and the generation."""
        position, link, generation, erased = the_row(connection, _META)
        if self._follower is None and one_row(connection, "SELECT 1 FROM projection LIMIT 1"):
            raise LogReadOnlyError(
                f"{self.path} has projections, which would fall behind: append through the saver, not the bare log"
            )
        return head_of(self.path, position, link), bool(erased), generation

    def _check_generation(self, generation: int) -> None:
        """Check that nobody has changed the projections' shape, or restated anything, since they were looked at."""
        if self._follower is not None and generation != self._generation:
            raise GenerationChangedError

    # Reading.

    def head(self) -> Head:
        """Give the newest event's position and link.

        Kept elsewhere, an anchor for verify(). Position 0 is an empty log.
        """
        with self.database.reading() as connection:
            return self.reader.head(connection)

    def log_id(self) -> bytes:
        """Give what tells this log from all others: 16 random bytes, which a copy of the file has, too.

        Raises:
            LogDamagedError: the file does not hold it.
        """
        with self.database.reading() as connection:
            log_id = the_row(connection, _LOG_ID)[0]
        if type(log_id) is not bytes:
            raise LogDamagedError(f"{self.path} is damaged: the table meta holds what it cannot hold")
        return log_id

    def read(
        self,
        *,
        after: int = 0,
        limit: int | None = None,
        thread_id: str | None = None,
        kinds: Collection[Kind] | None = None,
    ) -> Iterator[RecordedEvent]:
        """Yield events in order, decoded down to opaque values.

        Args:
            after: only events at greater positions.
            limit: at most so many.
            thread_id: only events that are about this thread, be it among others.
            kinds: only events of these kinds.

        Holds no transaction between pages: writers go on; it ends where the log does when it gets there. Erased
        events are not there.

        Raises:
            CorruptRecordError: a record is damaged; reading on after its position is possible.
        """
        check_limit(limit)
        self.database  # noqa: B018  raises now, not at the first event, if the log is closed
        return self._read(after, limit, thread_id, None if kinds is None else frozenset(kinds))

    def _read(
        self, after: int, limit: int | None, thread_id: str | None, kinds: frozenset[Kind] | None
    ) -> Iterator[RecordedEvent]:
        size = _PAGE if limit is None else min(limit, _PAGE)
        left = limit
        while left is None or left > 0:
            rows, more = self._page(after, size, thread_id)
            for row in rows:
                event = self.reader.to_event(row)
                if _matches(event, thread_id, kinds):
                    yield event
                    if left is not None:
                        left -= 1
                        if left == 0:
                            return
            if not more:
                return
            after = rows[-1][0]
            size = min(2 * size, _MAX_PAGE)

    def _page(self, after: int, size: int, thread_id: str | None) -> tuple[list[Row], bool]:
        with self.database.reading() as connection:
            if thread_id is None:
                return self.reader.page(connection, after, size)
            thread = self.keys.find_thread(connection, str(thread_id))
            # An unknown thread may still be named by events of the whole log; none has the key 0.
            return self.reader.page(connection, after, size, thread or 0)

    def values(self, event: RecordedEvent) -> dict[str, Value]:
        """Give every channel's value at a put (or restate), references resolved; {} for other kinds.

        A value is opaque: a `Whole` (tag, data), or a tuple (a list) or dict of such.

        Raises:
            EventErasedError: it has been erased since it was read, and something that it refers to as well.
            CorruptRecordError: an event that it refers to is damaged.
        """
        with self.database.reading() as connection:
            return self.values_in(connection, event)

    def values_in(self, connection: apsw.Connection, event: RecordedEvent) -> dict[str, Value]:
        """Do what `values` does, in a transaction of the caller's."""
        put = put_of(event.data)
        if put is None:
            return {}
        try:
            return self.reader.resolver(connection).all_channels(event.position, put)
        except CorruptRecordError as e:
            if one_row(connection, "SELECT 1 FROM erased WHERE position = ?", (event.position,)):
                raise EventErasedError(path=self.path, position=event.position) from e
            raise

    def subscribe(
        self,
        after: int = 0,
        *,
        thread_id: str | None = None,
        kinds: Collection[Kind] | None = None,
        poll_interval_ms: int = 50,
    ) -> Subscription:
        """Follow the log from after a position, whichever process appends, with `for` or `async for`.

        Events of this process arrive when they are committed, those of others after at most `poll_interval_ms`.
        """
        if poll_interval_ms < 1:
            raise ConfigError(f"poll_interval_ms is 1 or more, not {poll_interval_ms}")

        wanted = None if kinds is None else frozenset(kinds)

        def fetch(position: int) -> tuple[list[RecordedEvent | CorruptRecordError], int]:
            rows, _ = self._page(position, _PAGE, thread_id)
            found: list[RecordedEvent | CorruptRecordError] = []
            for row in rows:
                try:
                    event = self.reader.to_event(row)
                except CorruptRecordError as e:
                    found.append(e)
                    continue
                if _matches(event, thread_id, wanted):
                    found.append(event)
            return found, rows[-1][0] if rows else position

        return Subscription(self, after, fetch, poll_interval_ms)

    def verify(
        self,
        *,
        anchor: Head | None = None,
        anchors: Collection[Head] = (),
        quick: bool = False,
        coverage: Coverage | None = None,
    ) -> Iterator[Finding]:
        """Yield everything that is not as it should be: nothing, if all is well.

        Finds every flipped byte of a record, every event that is missing, swapped, added or changed, and every row of
        the built-in projections that is not what a rebuild gives; what users' own projections hold is not looked into.
        It cannot find that the newest events were cut off, or that someone recomputed the whole chain, unless it is
        given an `anchor`: what head() gave before, kept where that someone cannot reach it. Runs beside writers; reads
        the whole file.

        Args:
            anchor: what head() gave before.
            anchors: others.
            quick: check the chain and the digests only, which is several times as fast: not what records say, nor the
                projections, nor SQLite's own structures.
            coverage: is told how far the check is, and what the anchors prove.
        """
        given = [*anchors] if anchor is None else [*anchors, anchor]
        coverage = coverage or Coverage()
        try:
            yield from verify_log(self.database, self.reader, anchors=given, quick=quick, coverage=coverage)
            if self._follower is not None and not quick:
                yield from self._follower.verify(self, partial(coverage.tell, "projections"))
        except (LogDamagedError, NotAnEventLogError) as e:
            yield Finding("sqlite", None, f"the check cannot go on: {e}")

    # Closing.

    @property
    def database(self) -> Database:
        """The connections.

        Raises:
            LogClosedError: the log is closed.
        """
        assert self._database is not None
        self._database._check_open()
        return self._database

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._database is None or self._database.closed

    def close(self) -> None:
        """Close the file; subscriptions end. Closing again does nothing."""
        if self._database is not None:
            self._database.close()
            self.appended.notify()

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        database = getattr(self, "_database", None)
        if database is not None and not database.closed:
            warnings.warn(
                f"{self!r}, opened at {self._opened_at}, was not closed: use `with`, or close()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
            database.close()

    def __repr__(self) -> str:
        return f"<EventLog {self.path!r}{' closed' if self.closed else ''}>"


def _caller() -> str:
    """Give the file and line of who opens a log: the nearest that is not of this package."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_ROOT):
        frame = frame.f_back
    return "an unknown place" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _matches(event: RecordedEvent, thread_id: str | None, kinds: frozenset[Kind] | None) -> bool:
    return (kinds is None or event.kind in kinds) and (thread_id is None or touches(event, thread_id))
