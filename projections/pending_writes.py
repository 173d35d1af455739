"""Projection `pending_writes`: which put_writes events a checkpoint has, in the order in which they apply.

One row for each event, not for each write: rows are what a put_writes costs. Which write wins a conflict is
decided when they are read, by `effective`, from the events in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import apsw

from ..eventlog.event import PutWrites
from ..eventlog.sql import all_rows, one_row, the_row
from ..eventlog.value import Stored
from .ids import from_key, to_key
from .table import Table, check_progress, check_row, row_types

__all__ = ["EffectiveWrite", "PendingWrites", "WritesRow", "effective"]


class WritesRow(NamedTuple):
    """A put_writes event at a checkpoint.

    Attributes:
        stream: the file's key of the checkpoint's thread and namespace.
        checkpoint_id: the checkpoint, which may not be there (yet).
        applied: the event that put it here: `position`, or a copy.
        ordinal: its place among those that one copy put here.
        position: the event whose record holds the writes.
        writes: how many.
        size: bytes of the record.
    """

    stream: int
    checkpoint_id: str
    applied: int
    ordinal: int
    position: int
    writes: int
    size: int


_TYPES = row_types(int, bytes, *(int,) * 5)
_COUNTS = row_types(int, int)
_COLUMNS = "stream, checkpoint_id, applied, ordinal, position, writes, bytes"
_COLUMNS_OF_W = "w." + _COLUMNS.replace(", ", ", w.")
_AT = "stream = ? AND checkpoint_id = ? AND applied = ? AND ordinal = ?"
# How many checkpoints are asked for in one query: few forms of it, so that each is prepared once.
_FEW = 16
_MANY = 64
# What is between the first and the last of several checkpoints is read up to so many rows, and so many for each.
_AT_LEAST = 16
_FOR_EACH = 3


def _of_so_many(count: int) -> str:
    places = ", ".join(["?"] * count)
    return (
        f"SELECT {_COLUMNS} FROM pending_writes WHERE stream = ? AND checkpoint_id IN ({places}) "
        "ORDER BY checkpoint_id, applied, ordinal"
    )


class PendingWrites(Table):
    """Rows keyed by (stream, checkpoint_id, applied, ordinal).

    Attributes:
        ADD: adds a row: what a `WritesRow` holds, the id as its key.
    """

    name = "pending_writes"
    schema_version = 2
    key = "stream, checkpoint_id, applied, ordinal"
    ddl = """
CREATE TABLE pending_writes@ (
  stream INTEGER NOT NULL,
  checkpoint_id BLOB NOT NULL,
  applied INTEGER NOT NULL,
  ordinal INTEGER NOT NULL,
  position INTEGER NOT NULL,
  writes INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (stream, checkpoint_id, applied, ordinal)
) STRICT, WITHOUT ROWID"""

    ADD = f"INSERT INTO pending_writes@ ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
    _PLACE = f"SELECT writes, bytes FROM pending_writes@ WHERE {_AT}"
    _REPLACE = ADD.replace("INSERT", "INSERT OR REPLACE")
    _REMOVE = "DELETE FROM pending_writes@ WHERE stream = ? AND checkpoint_id = ? RETURNING writes, bytes"
    _REMOVE_STREAM = "DELETE FROM pending_writes@ WHERE stream = ?"
    _COUNT = "SELECT coalesce(sum(writes), 0) FROM pending_writes@ WHERE stream = ?"
    _OF = f"SELECT {_COLUMNS} FROM pending_writes WHERE stream = ? AND checkpoint_id = ? ORDER BY applied, ordinal"
    _ONE = f"SELECT {_COLUMNS} FROM pending_writes WHERE {_AT}"
    _PAGE = f"""
SELECT {_COLUMNS} FROM pending_writes WHERE (stream, checkpoint_id, applied, ordinal) > (?1, ?2, ?3, ?4)
ORDER BY stream, checkpoint_id, applied, ordinal LIMIT ?5"""
    _BETWEEN = f"""
SELECT {_COLUMNS} FROM pending_writes WHERE stream = ? AND checkpoint_id BETWEEN ? AND ?
ORDER BY checkpoint_id, applied, ordinal LIMIT ?"""
    _OF_FEW = _of_so_many(_FEW)
    _OF_MANY = _of_so_many(_MANY)
    _OF_STREAM = f"SELECT {_COLUMNS} FROM pending_writes WHERE stream = ? ORDER BY checkpoint_id, applied, ordinal"

    _STRAY = f"""
SELECT {_COLUMNS_OF_W} FROM stream AS s CROSS JOIN pending_writes AS w ON w.stream = s.stream
WHERE s.thread = ? AND NOT EXISTS (
  SELECT 1 FROM history AS h NOT INDEXED WHERE h.stream = w.stream AND h.checkpoint_id = w.checkpoint_id)
AND NOT EXISTS (
  SELECT 1 FROM history_recent AS r WHERE r.stream = w.stream AND r.checkpoint_id = w.checkpoint_id)
ORDER BY s.checkpoint_ns, w.checkpoint_id, w.applied, w.ordinal"""

    def add(self, connection: apsw.Connection, row: WritesRow) -> None:
        """Add an event's writes."""
        connection.execute(self.sql(self.ADD), (row.stream, to_key(row.checkpoint_id), *row[2:]))

    def put(self, connection: apsw.Connection, row: WritesRow) -> tuple[int, int]:
        """Put a row in the place that it names; give by how much the writes and the bytes have grown."""
        key = to_key(row.checkpoint_id)
        found = one_row(connection, self.sql(self._PLACE), (row.stream, key, row.applied, row.ordinal))
        writes = size = 0
        if found is not None:
            check_row(found, _COUNTS)
            writes, size = found
        connection.execute(self.sql(self._REPLACE), (row.stream, key, *row[2:]))
        return row.writes - writes, row.size - size

    def remove(self, connection: apsw.Connection, stream: int, checkpoint_id: str) -> tuple[int, int]:
        """Remove a checkpoint's writes; give how many there were, and the bytes of their records."""
        rows = all_rows(connection, self.sql(self._REMOVE), (stream, to_key(checkpoint_id)))
        for row in rows:
            check_row(row, _COUNTS)
        return sum(writes for writes, _ in rows), sum(size for _, size in rows)

    def remove_stream(self, connection: apsw.Connection, stream: int) -> None:
        """Remove all writes of a stream."""
        connection.execute(self.sql(self._REMOVE_STREAM), (stream,))

    def count(self, connection: apsw.Connection, stream: int) -> int:
        """Give how many writes a stream has."""
        count: int = the_row(connection, self.sql(self._COUNT), (stream,))[0]
        return count

    def of(self, connection: apsw.Connection, stream: int, checkpoint_id: str) -> list[WritesRow]:
        """Give a checkpoint's rows, in the order in which they apply."""
        return [_row(r) for r in all_rows(connection, self._OF, (stream, to_key(checkpoint_id)))]

    def one(
        self, connection: apsw.Connection, stream: int, checkpoint_id: str, applied: int, ordinal: int
    ) -> WritesRow | None:
        """Give the row in a place."""
        found = one_row(connection, self._ONE, (stream, to_key(checkpoint_id), applied, ordinal))
        return None if found is None else _row(found)

    def page_in_order(
        self, connection: apsw.Connection, after: tuple[int, WritesRow | None], limit: int
    ) -> list[WritesRow]:
        """Give rows by (stream, checkpoint_id, applied, ordinal), above one; None: above those of smaller streams."""
        stream, row = after
        key = (stream, b"", 0, 0) if row is None else (stream, to_key(row.checkpoint_id), row.applied, row.ordinal)
        found = [_row(r) for r in all_rows(connection, self._PAGE, (*key, limit))]
        last = found[-1] if found else None
        further = last is None or (last.stream, to_key(last.checkpoint_id), last.applied, last.ordinal) > key
        check_progress(is_further=further)
        return found

    def of_several(
        self, connection: apsw.Connection, stream: int, checkpoint_ids: Sequence[str]
    ) -> dict[str, list[WritesRow]]:
        """Do what `of` does for several checkpoints of a stream; those without writes are not in it."""
        if not checkpoint_ids:
            return {}
        found: dict[str, list[WritesRow]] = {}
        keys = {to_key(checkpoint_id) for checkpoint_id in checkpoint_ids}
        # Mostly they follow one another, and what is between them is asked for, too.
        limit = _AT_LEAST + _FOR_EACH * len(keys)
        rows = all_rows(connection, self._BETWEEN, (stream, min(keys), max(keys), limit))
        if len(rows) == limit:
            check_row(rows[-1], _TYPES)
            last = rows.pop()[1]
            rest = sorted(key for key in keys if key >= last)
            rows = [row for row in rows if row[1] != last]
            size = _FEW if len(rest) <= _FEW else _MANY
            sql = self._OF_FEW if size == _FEW else self._OF_MANY
            for start in range(0, len(rest), size):
                some = rest[start : start + size]
                # NULL is equal to nothing.
                rows += all_rows(connection, sql, (stream, *some, *[None] * (size - len(some))))
        for row in rows:
            if row[1] in keys:
                its = _row(row)
                found.setdefault(its.checkpoint_id, []).append(its)
        return found

    def of_stream(self, connection: apsw.Connection, stream: int) -> list[WritesRow]:
        """Give all rows of a stream, by checkpoint, in the order in which they apply."""
        return [_row(r) for r in all_rows(connection, self._OF_STREAM, (stream,))]

    def without_checkpoint(self, connection: apsw.Connection, thread: int) -> list[WritesRow]:
        """Give the rows of a thread whose checkpoint is not there, neither to be seen nor hidden."""
        return [_row(r) for r in all_rows(connection, self._STRAY, (thread,))]


def _row(row: tuple[Any, ...]) -> WritesRow:
    check_row(row, _TYPES)
    stream, key, *others = row
    return WritesRow(stream, from_key(key), *others)


class EffectiveWrite(NamedTuple):
    """A write that won."""

    task_path: str
    task_id: str
    idx: int
    channel: str
    value: Stored


def effective(events: Iterable[PutWrites]) -> list[EffectiveWrite]:
    """Give what the events' writes come to, given in the order in which they apply, for one checkpoint.

    A negative idx (a special channel) replaces what stands at the same (task_id, idx); any other keeps the first. The
    result is in the order (task_path, task_id, idx), as LangGraph's `writes_sort_key` has it.
    """
    events = list(events)
    if not events:
        return []
    won: dict[tuple[str, int], EffectiveWrite] = {}
    for event in events:
        for write in event.writes:
            key = (event.task_id, write.idx)
            if write.idx < 0 or key not in won:
                won[key] = EffectiveWrite(event.task_path, event.task_id, write.idx, write.channel, write.value)
    return sorted(won.values(), key=lambda w: (w.task_path, w.task_id, w.idx))
