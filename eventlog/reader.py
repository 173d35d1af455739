"""Reading the table `event`: rows to RecordedEvents, each checked before it is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import apsw

from .bounded import Bounded, Recent
from .errors import CorruptRecordError, LogDamagedError
from .event import DeleteForRuns, EventData, Field, Head, Kind, Prune, RecordedEvent
from .opened import OpenedRecord, RecordRow
from .record import base_of_patch
from .resolve import Resolver
from .sql import all_rows, one_row, page_of_rows, the_row
from .value import Stored

__all__ = ["EventReader", "Row", "head_of", "touches"]

_COLUMNS = """
SELECT e.position, e.recorded_at, e.kind, e.stream, e.record, e.digest, e.link, s.thread, t.thread_id, s.checkpoint_ns
FROM event AS e LEFT JOIN stream AS s ON s.stream = e.stream LEFT JOIN thread AS t ON t.thread = s.thread"""
_AFTER = f"{_COLUMNS} WHERE e.position > ? ORDER BY e.position LIMIT ?"
_AT = f"{_COLUMNS} WHERE e.position = ?"
# The inner select reads the index alone; events of the whole log (stream NULL) may be about the thread, too.
_AFTER_IN_THREAD = f"""{_COLUMNS} WHERE e.position IN (
  SELECT position FROM event WHERE stream IN (SELECT stream FROM stream WHERE thread = ?1) AND position > ?2
  UNION ALL SELECT position FROM event WHERE stream IS NULL AND position > ?2
  ORDER BY 1 LIMIT ?3) ORDER BY e.position"""
# Where the record stands in such a row.
_RECORD_COLUMN = 4
_HEAD = "SELECT head, link FROM meta"
_RECORDED_AT = "SELECT recorded_at FROM event WHERE position = ?"
# Events of the whole log (stream NULL) may be about the thread, too.
_TOUCHED = """
SELECT EXISTS (SELECT 1 FROM event AS e LEFT JOIN stream AS s ON s.stream = e.stream
  WHERE e.position > ? AND (e.stream IS NULL OR s.thread = ?))"""
_RECORD = "SELECT kind, stream, record, digest FROM event WHERE position = ?"
# What one reading transaction keeps of the records that it has read: most are read for several of their values.
_MAX_BYTES_OF_RECORDS = 64 * 1024 * 1024
# So many are asked for in one query.
_FEW = 16
_RECORDS = f"SELECT position, kind, stream, record, digest FROM event WHERE position IN ({', '.join('?' * _FEW)})"
# Of recorded_at, link, thread, thread_id and checkpoint_ns: with a stream, and without.
_TYPES_OF_OTHERS = ((int, bytes, int, str, str), (int, bytes, *(type(None),) * 3), (int, bytes, int, type(None), str))

Row = tuple[Any, ...]


class EventReader:
    """Reads events on a connection that the caller holds. `path` is for error messages."""

    def __init__(self, path: str) -> None:
        self._path = path

    def head(self, connection: apsw.Connection) -> Head:
        """Give the newest event's position and link."""
        return head_of(self._path, *the_row(connection, _HEAD))

    def data(self, connection: apsw.Connection, position: int) -> tuple[int | None, EventData, int] | None:
        """Give (stream, data, size of the record) of an event, without what else a RecordedEvent knows.

        It is None if the event is not there.

        Raises:
            CorruptRecordError: its record is damaged.
        """
        opened = self.open(connection, position)
        return None if opened is None else (opened.stream, opened.data(), opened.size)

    def open(
        self, connection: apsw.Connection, position: int, known: Bounded[int, OpenedRecord] | None = None
    ) -> OpenedRecord | None:
        """Give an event's record, so that parts of it can be read; None if the event is not there.

        `known` are records that need not be read again: an event never changes. What is read is added to them.

        Raises:
            CorruptRecordError: its record is not what was appended.
        """
        opened = None if known is None else known.get(position)
        if opened is None:
            row = one_row(connection, _RECORD, (position,))
            if row is None:
                return None
            opened = OpenedRecord(self._path, position, row, self.base_of(connection, row[2]))
            if known is not None:
                known.add(position, opened, opened.memory)
        return opened

    def recorded_at(self, connection: apsw.Connection, position: int) -> int | None:
        """Give when an event was recorded; None if it is not there.

        Raises:
            CorruptRecordError: the row is damaged.
        """
        row = one_row(connection, _RECORDED_AT, (position,))
        if row is None:
            return None
        if type(row[0]) is not int:
            raise CorruptRecordError("a column holds what it cannot hold", path=self._path, position=position)
        return row[0]

    def touched(self, connection: apsw.Connection, thread: int, after: int) -> bool:
        """Tell whether an event after a position may be about a thread; looks at every event after it."""
        return bool(the_row(connection, _TOUCHED, (after, thread))[0])

    def opener(
        self, connection: apsw.Connection, known: Bounded[int, OpenedRecord] | None = None
    ) -> Callable[[int], OpenedRecord | None]:
        """Give what does as `open`, for as long as the caller's transaction lasts, and reads hardly a record twice."""
        return partial(self.open, connection, known=Recent(_MAX_BYTES_OF_RECORDS, known))

    def open_ahead(
        self, connection: apsw.Connection, positions: Iterable[int], known: Bounded[int, OpenedRecord]
    ) -> None:
        """Open several records that are about to be asked for, in fewer queries, and add them to `known`.

        Raises:
            CorruptRecordError: a record is not what was appended.
        """
        unknown = [position for position in positions if known.get(position) is None]
        for first in range(0, len(unknown), _FEW):
            some = unknown[first : first + _FEW]
            # NULL is equal to nothing.
            for position, *row in all_rows(connection, _RECORDS, (*some, *[None] * (_FEW - len(some)))):
                opened = OpenedRecord(self._path, position, (*row,), self.base_of(connection, row[2]))
                known.add(position, opened, opened.memory)

    def resolver(self, connection: apsw.Connection) -> Resolver:
        """Give what puts values together, for as long as the caller's transaction lasts."""

        def load(position: int, field: Field) -> Stored | None:
            found = open_record(position)
            return None if found is None else found.stored(field)

        open_record = self.opener(connection)
        return Resolver(load, path=self._path)

    def page(
        self, connection: apsw.Connection, after: int, limit: int, thread: int | None = None
    ) -> tuple[list[Row], bool]:
        """Give the rows of up to `limit` events after a position, in order; and whether there may be more behind them.

        They are of all events, or of those that may be about a thread. Fewer, if their records are large.

        Raises:
            LogDamagedError: SQLite gives them in another order.
        """
        sql = _AFTER if thread is None else _AFTER_IN_THREAD
        bindings = (after, limit) if thread is None else (thread, after, limit)
        rows, more = page_of_rows(connection, sql, bindings, limit, sized=_RECORD_COLUMN)
        for row in rows:
            # What SQLite finds in a damaged tree may come in any order, and whoever goes on behind it never ends.
            if row[0] <= after:
                raise LogDamagedError(f"{self._path} is damaged: event {row[0]} comes after event {after}")
            after = row[0]
        return [(*row, self.base_of(connection, row[_RECORD_COLUMN])) for row in rows], more

    def row(self, connection: apsw.Connection, position: int) -> Row | None:
        """Give the row of one event, as `page` does; None if it is not there."""
        row = one_row(connection, _AT, (position,))
        return None if row is None else (*row, self.base_of(connection, row[_RECORD_COLUMN]))

    def opened(self, row: Row) -> OpenedRecord:
        """Give the record in a row of `page`.

        Raises:
            CorruptRecordError: it is not what was appended.
        """
        position, _, kind, stream, record, digest, *_, base = row
        return OpenedRecord(self._path, position, (kind, stream, record, digest), base)

    def base_of(self, connection: apsw.Connection, record: bytes) -> RecordRow | None:
        """Give the row of the event that a record is a patch to; None if it is none, or the event is not there."""
        base = base_of_patch(record)
        row: RecordRow | None = None if base is None else one_row(connection, _RECORD, (base,))
        return row

    def to_event(self, row: Row, opened: OpenedRecord | None = None) -> RecordedEvent:
        """Turn a row of `page` into an event; `opened` is its record, if that has been opened already.

        Raises:
            CorruptRecordError: its record is damaged, or it names a stream that is not there.
        """
        position, recorded_at, kind, stream, record, digest, link, thread, thread_id, checkpoint_ns, _ = row
        data = (opened or self.opened(row)).data()
        others = (type(recorded_at), type(link), type(thread), type(thread_id), type(checkpoint_ns))
        if others not in _TYPES_OF_OTHERS:
            raise CorruptRecordError("a column holds what it cannot hold", path=self._path, position=position)
        if stream is not None and thread_id is None:
            raise CorruptRecordError("its stream is not in the file", path=self._path, position=position, code="stream")
        return RecordedEvent(
            position=position,
            recorded_at=recorded_at,
            kind=Kind(kind),
            thread_id=thread_id,
            checkpoint_ns=checkpoint_ns,
            data=data,
            size=len(record),
            digest=digest,
            link=link,
            stream=stream,
            thread=thread,
        )


def head_of(path: str, position: int, link: bytes) -> Head:
    """Give the head that the table `meta` says.

    Raises:
        LogDamagedError: it holds what it cannot hold.
    """
    if type(position) is not int or type(link) is not bytes:
        raise LogDamagedError(f"{path} is damaged: the table meta holds what it cannot hold")
    return Head(position, link)


def touches(event: RecordedEvent, thread_id: str) -> bool:
    """Tell whether an event is about a thread, be it among others."""
    if event.thread_id is not None:
        return event.thread_id == thread_id
    match event.data:
        case DeleteForRuns(removals=removals):
            return any(removal.thread_id == thread_id for removal in removals)
        case Prune(deleted_threads=deleted, removals=removals):
            return thread_id in deleted or any(removal.thread_id == thread_id for removal in removals)
    return False
