"""Everything that ever happened in a log, or to a thread of it, in the log's order; and what happens from now on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import apsw

from ...eventlog.errors import CorruptRecordError, check_limit
from ...eventlog.event import Copy, RecordedEvent
from ...eventlog.reader import Row, touches
from ...eventlog.sql import MAX_BYTES_A_PAGE
from ...saver import EventLogSaver
from .entry import AuditEntry
from .erasures import erased_between
from .explaining import Explainer, kind_name, time_of
from .filters import AuditFilter

__all__ = ["Follow", "replay", "replay_from"]

_EVERYTHING = AuditFilter()
_PAGE = 64
_MAX_PAGE = 1024

Told = tuple[AuditEntry, Copy | None]


def replay(
    saver: EventLogSaver,
    thread_id: str | None = None,
    *,
    after: int = 0,
    where: AuditFilter = _EVERYTHING,
    limit: int | None = None,
    done: Callable[[float], None] = lambda _: None,
) -> Iterator[AuditEntry]:
    """Yield an entry for each event, in order: deletions, prunes, copies, imports, carries, restates, compactions too.

    Args:
        saver: the log. Its serializer decodes; what that cannot read comes as `Undecoded`.
        thread_id: only what is about this thread, be it among others. None: everything; then, where events have been
            erased, there is an entry of the kind "erased" for each range of them.
        after: only events at greater positions. What they change is told all the same.
        where: which entries are wanted.
        limit: at most so many.
        done: is told the position of each event that has been gone through, wanted or not.

    Needs memory for a few pages of events, whatever the log's size, and holds no transaction between pages: an event is
    told as it is, with what it refers to, when its page is read, though others erase meanwhile. A damaged event has an
    entry of the kind "damaged"; what can be read of others is told.
    """
    for entry, _ in replay_from(saver, thread_id, after=after, where=where, limit=limit, done=done):
        yield entry


def replay_from(
    saver: EventLogSaver,
    thread_id: str | None,
    *,
    after: int = 0,
    where: AuditFilter = _EVERYTHING,
    limit: int | None = None,
    done: Callable[[float], None] = lambda _: None,
) -> Iterator[Told]:
    """Do as `replay`, and give with the entry of a copy what it copied; with others, None."""
    check_limit(limit)
    size = _PAGE if limit is None else min(limit, _PAGE)
    return itertools.islice(_entries(_Pages(saver, thread_id, where), after, size, done), limit)


def _entries(pages: _Pages, after: int, size: int, done: Callable[[float], None]) -> Iterator[Told]:
    more = True
    while more:
        told, more = pages.after(after, size)
        for position, those in told:
            yield from those
            done(position)
            after = position
        size = min(2 * size, _MAX_PAGE)


class _Pages:
    """Entries by pages, each as it is in one transaction."""

    def __init__(self, saver: EventLogSaver, thread_id: str | None, where: AuditFilter) -> None:
        self._log = saver.log
        self._thread_id = thread_id
        self._where = where
        self._explainer = Explainer(saver)

    def after(self, position: int, size: int) -> tuple[list[tuple[int, list[Told]]], bool]:
        """Give (position, what is wanted of it and of what is missing before it) of events; whether there may be more.

        It is of up to `size` events after a position; of fewer, if their values are large.
        """
        told: list[tuple[int, list[Told]]] = []
        most = self._explainer.decoded_bytes + MAX_BYTES_A_PAGE
        with self._log.database.reading() as connection:
            rows, more = self._rows(connection, position, size)
            for number, row in enumerate(rows, start=1):
                told.append((row[0], [*self._gap(connection, position, row[0]), *self._told(connection, row)]))
                position = row[0]
                if self._explainer.decoded_bytes >= most:
                    return told, more or number < len(rows)
        return told, more

    def _rows(self, connection: apsw.Connection, after: int, size: int) -> tuple[list[Row], bool]:
        if self._thread_id is None:
            return self._log.reader.page(connection, after, size)
        thread = self._log.keys.find_thread(connection, self._thread_id)
        # An unknown thread may still be named by events of the whole log; none has the key 0.
        return self._log.reader.page(connection, after, size, thread or 0)

    def _gap(self, connection: apsw.Connection, after: int, before: int) -> Iterator[Told]:
        # Of what an erased event was about, nothing is known.
        if self._thread_id is None and before > after + 1:
            entry = erased_between(connection, after, before)
            if self._where.admits(entry):
                yield entry, None

    def _told(self, connection: apsw.Connection, row: Row) -> Iterator[Told]:
        try:
            event = self._log.reader.to_event(row)
        except CorruptRecordError as e:
            damaged = _damaged(e, row[0])
            if self._where.admits(damaged):
                yield damaged, None
            return
        if self._thread_id is None or touches(event, self._thread_id):
            copy = event.data if isinstance(event.data, Copy) else None
            for entry in _wanted(self._explainer, connection, event, self._thread_id, self._where):
                yield entry, copy


def _damaged(e: CorruptRecordError, position: int) -> AuditEntry:
    return AuditEntry(position=position, recorded_at=None, kind="damaged", problem=e.reason)


def _wanted(
    explainer: Explainer,
    connection: apsw.Connection,
    event: RecordedEvent,
    thread_id: str | None,
    where: AuditFilter,
    *,
    is_there: bool = True,
) -> Iterator[AuditEntry]:
    may = where.may_admit(kind_name(event.kind), time_of(event))
    entry = explainer.explain(connection, event, in_full=may and is_there)
    if may and where.admits(entry):
        yield entry if thread_id is None else _about(entry, thread_id)


def _about(entry: AuditEntry, thread_id: str) -> AuditEntry:
    """Leave out what an entry of the whole log says of other threads."""
    if "removals" not in entry.details:
        return entry
    details = dict(entry.details)
    details["removals"] = [removal for removal in details["removals"] if removal["thread_id"] == thread_id]
    if "deleted_threads" in details:
        details["deleted_threads"] = [thread_id] if thread_id in details["deleted_threads"] else []
    return replace(entry, details=details)


class Follow:
    """Entries of what is appended after a position, by any process, as it happens: iterate over it, and close it.

    Args:
        saver: the log.
        thread_id: as for `replay`.
        after: the position; None: what has been appended when it begins is passed over.
        where: as for `replay`.
        poll_interval_ms: how soon, at the latest, what other processes append is seen.

    It ends when it, or the log, is closed.
    """

    def __init__(
        self,
        saver: EventLogSaver,
        thread_id: str | None = None,
        *,
        after: int | None = None,
        where: AuditFilter = _EVERYTHING,
        poll_interval_ms: int = 50,
    ) -> None:
        self._thread_id = thread_id
        self._where = where
        self._log = saver.log
        self._explainer = Explainer(saver)
        start = saver.log.head().position if after is None else after
        self._events = saver.log.subscribe(start, thread_id=thread_id, poll_interval_ms=poll_interval_ms)

    def __iter__(self) -> Iterator[AuditEntry]:
        while True:
            try:
                for event in self._events:
                    yield from self._told(event)
                return
            except CorruptRecordError as e:
                damaged = _damaged(e, self._events.position)
                if self._where.admits(damaged):
                    yield damaged

    def _told(self, event: RecordedEvent) -> list[AuditEntry]:
        with self._log.database.reading() as connection:
            # It was read before: of what has been erased since, only what it says itself can be told.
            is_there = self._log.reader.recorded_at(connection, event.position) is not None
            return [*_wanted(self._explainer, connection, event, self._thread_id, self._where, is_there=is_there)]

    def close(self) -> None:
        """End it, from any thread."""
        self._events.close()

    def __enter__(self) -> Follow:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
