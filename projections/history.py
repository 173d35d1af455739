"""Projection `history`: every checkpoint there is, its parent, its metadata, and where its record stands.

Its newest rows are in a table of their own, see `recent`. All that is read here is read of both; what changes rows is
for whoever has had them settle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, ClassVar, Literal, NamedTuple

import apsw

from ..eventlog.sql import all_rows, one_row, the_row
from .ids import from_key, to_key
from .metadata import OTHER_SQL, IndexKey, index_key, run_key
from .recent import COLUMNS_DDL, of_both
from .table import ABOVE_ALL, OR_NULL, Table, check_progress, check_row, row_types

__all__ = ["COLUMNS", "INDEXED", "CheckpointRow", "History", "Indexed", "below_key", "page_below"]


class CheckpointRow(NamedTuple):
    """A checkpoint without its values.

    Attributes:
        stream: the file's key of its thread and namespace.
        checkpoint_id: its id.
        position: the event whose record holds it; with a copy, the one that was copied.
        applied: the event that put it here: `position`, or the copy.
        parent_id: its parent's id, whether that is there or not.
        hidden: kept only as an ancestor of others.
        size: bytes of the record.
        metadata: packed plain data.
    """

    stream: int
    checkpoint_id: str
    position: int
    applied: int
    parent_id: str | None
    hidden: bool
    size: int
    metadata: bytes


_TYPES = row_types(int, bytes, int, int, (bytes, OR_NULL), int, int, bytes)
_FACTS = row_types(int, int)
_PLACE = row_types(int, bytes, int, int)
# How many ancestors are read at a time.
_FEW = 16
_MANY = 64
COLUMNS = "h.stream, h.checkpoint_id, h.position, h.applied, h.parent_id, h.hidden, h.bytes, h.metadata"

Indexed = Literal["run_id", "step", "source"]
INDEXED: tuple[Indexed, ...] = ("run_id", "step", "source")
_OF_STREAM = f"SELECT {COLUMNS} FROM history AS h NOT INDEXED WHERE h.stream = ?1"
# CROSS JOIN: the streams first, in the order of their index.
_OF_THREAD = f"""
SELECT s.checkpoint_ns, {COLUMNS} FROM stream AS s CROSS JOIN history AS h NOT INDEXED ON h.stream = s.stream
WHERE s.thread = ?1"""
_BELOW = f"{_OF_STREAM} AND h.hidden = 0 AND h.checkpoint_id < ?2"
_LIKE = f"""
  AND (?4 IS NULL OR h.run_id IN (?4, {OTHER_SQL}))
  AND (?5 IS NULL OR h.source IN (?5, {OTHER_SQL}))
  AND (?6 IS NULL OR h.step IN (?6, {OTHER_SQL}))"""
_ALL_BELOW = f"SELECT {COLUMNS} FROM history AS h WHERE h.hidden = 0 AND (h.checkpoint_id, h.stream) < (?1, ?2)"
_ABOVE = "FROM history AS h NOT INDEXED WHERE (h.stream, h.checkpoint_id) > (?1, ?2)"
# The row of an id, its parent's, and so on.
_CHILD = f"""
  SELECT {COLUMNS}, 1 AS generation FROM history AS h NOT INDEXED WHERE h.stream = ?1 AND h.checkpoint_id = ?2"""
_PARENT = f"""
  SELECT {COLUMNS}, child.generation + 1 FROM lineage AS child CROSS JOIN history AS h NOT INDEXED
  WHERE h.stream = ?1 AND h.checkpoint_id = child.parent_id"""


def _page_by(column: Indexed) -> str:
    page = f"""
SELECT {COLUMNS} FROM history AS h
WHERE h.{column} %s AND h.hidden = 0 AND (h.checkpoint_id, h.stream) < (?2, ?3)"""
    # What only a serializer can read may be equal to anything.
    rows = of_both(f"{page % '= ?1'} UNION ALL {page % f'= {OTHER_SQL}'}", page % f"IN (?1, {OTHER_SQL})")
    return f"{rows} ORDER BY 2 DESC, 1 DESC LIMIT ?4"


class History(Table):
    """Rows keyed by (stream, checkpoint_id), also ordered by checkpoint_id over all streams, run_id, source and step.

    Those three are keys: see `metadata.run_key` and `metadata.index_key`.
    """

    name = "history"
    schema_version = 4  # since then, what was put last is in `history_recent`
    key = "stream, checkpoint_id"
    ddl = f"""
CREATE TABLE history@ ({COLUMNS_DDL},
  UNIQUE (checkpoint_id, stream),
  UNIQUE (run_id, checkpoint_id, stream),
  UNIQUE (source, checkpoint_id, stream),
  UNIQUE (step, checkpoint_id, stream)
) STRICT, WITHOUT ROWID"""

    _ADD = """
INSERT OR IGNORE INTO history@
  (stream, checkpoint_id, position, applied, parent_id, run_id, source, step, hidden, bytes, metadata)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
    _REPLACE = _ADD.replace("IGNORE", "REPLACE")
    # NOT INDEXED: SQLite would take the index on (checkpoint_id, stream), and then still need the primary key.
    _FACTS = "SELECT hidden, bytes FROM history@ NOT INDEXED WHERE stream = ? AND checkpoint_id = ?"
    _HIDE = "UPDATE history@ NOT INDEXED SET hidden = 1 WHERE stream = ? AND checkpoint_id = ?"
    _REMOVE = "DELETE FROM history@ NOT INDEXED WHERE stream = ? AND checkpoint_id = ?"
    _REMOVE_STREAM = "DELETE FROM history@ WHERE stream = ?"
    _COUNT = f"""
SELECT count(*) FILTER (WHERE hidden = 0), count(*)
FROM ({of_both("SELECT h.hidden FROM history AS h NOT INDEXED WHERE h.stream = ?1")})"""
    _COUNT_ALL = "SELECT (SELECT count(*) FROM history) + (SELECT count(*) FROM history_recent)"

    # Ordered by the columns' places: the stream is the first, the id the second.
    _ONE = of_both(f"{_OF_STREAM} AND h.checkpoint_id = ?2")
    # The greatest id, which is not always the last put.
    _LATEST = f"{of_both(f'{_OF_STREAM} AND h.hidden = 0')} ORDER BY 2 DESC LIMIT 1"
    _ALL_OF_STREAM = f"{of_both(_OF_STREAM)} ORDER BY 2"
    _ALL_OF_THREAD = f"{of_both(_OF_THREAD)} ORDER BY 1, 3"
    _OF_RUN = f"{of_both(f'SELECT {COLUMNS} FROM history AS h WHERE h.run_id = ?1')} ORDER BY 2, 1"
    # Pages newest first, strictly below a key.
    _PAGE_OF_STREAM = f"{of_both(_BELOW)} ORDER BY 2 DESC LIMIT ?3"
    _PAGE_OF_STREAM_LIKE = f"{of_both(_BELOW + _LIKE)} ORDER BY 2 DESC LIMIT ?3"
    _PAGE_OF_ALL = f"{of_both(_ALL_BELOW)} ORDER BY 2 DESC, 1 DESC LIMIT ?3"
    _PAGE_BY_RUN_ID = _page_by("run_id")
    _PAGE_BY_SOURCE = _page_by("source")
    _PAGE_BY_STEP = _page_by("step")
    _PAGE_BY: ClassVar[dict[Indexed, str]] = {
        "run_id": _PAGE_BY_RUN_ID,
        "source": _PAGE_BY_SOURCE,
        "step": _PAGE_BY_STEP,
    }

    _PAGE_IN_ORDER = f"{of_both(f'SELECT {COLUMNS} {_ABOVE}')} ORDER BY 1, 2 LIMIT ?3"
    _PLACES = f"""
{of_both(f"SELECT h.stream, h.checkpoint_id, h.position, h.applied {_ABOVE}")} ORDER BY 1, 2 LIMIT ?3"""
    # The row of an id, and those below it: mostly, each is the parent of the one before.
    _DOWN_FROM = f"{of_both(f'{_OF_STREAM} AND h.checkpoint_id <= ?2')} ORDER BY 2 DESC LIMIT ?3"
    # The row of an id, its parent's, and so on, wherever they are. It takes three times as long for a row.
    _LINEAGE = f"""
WITH RECURSIVE lineage AS ({of_both(_CHILD)} UNION ALL {of_both(_PARENT)} LIMIT ?3)
SELECT {COLUMNS} FROM lineage AS h ORDER BY h.generation"""

    # What events do.

    def put(
        self, connection: apsw.Connection, row: CheckpointRow, metadata: Mapping[str, Any]
    ) -> tuple[bool, int] | None:
        """Put a row, and its metadata unpacked, in the place of the one of that key, if there is one.

        Give that one's (hidden, size).
        """
        values = self.values(row, metadata)
        # By far the most are new.
        connection.execute(self.sql(self._ADD), values)
        if connection.changes():
            return None
        hidden, size = old = the_row(connection, self.sql(self._FACTS), values[:2])
        check_row(old, _FACTS)
        connection.execute(self.sql(self._REPLACE), values)
        return bool(hidden), size

    @staticmethod
    def values(row: CheckpointRow, metadata: Mapping[str, Any]) -> tuple[Any, ...]:
        """Give what `Recent.ADD` puts into the columns for a row, and its metadata unpacked."""
        stream, checkpoint_id, position, applied, parent_id, hidden, size, packed = row
        return (
            stream,
            to_key(checkpoint_id),
            position,
            applied,
            None if parent_id is None else to_key(parent_id),
            run_key(metadata),
            index_key(metadata.get("source")),
            index_key(metadata.get("step")),
            int(hidden),
            size,
            packed,
        )

    def hide(self, connection: apsw.Connection, stream: int, checkpoint_id: str) -> bool:
        """Hide a checkpoint; tell whether one was to be seen before."""
        old = one_row(connection, self.sql(self._FACTS), (stream, to_key(checkpoint_id)))
        connection.execute(self.sql(self._HIDE), (stream, to_key(checkpoint_id)))
        return old is not None and not old[0]

    def remove(self, connection: apsw.Connection, stream: int, checkpoint_id: str) -> tuple[bool, int] | None:
        """Remove a checkpoint; give its (hidden, size), None if it was not there."""
        old = one_row(connection, self.sql(self._FACTS), (stream, to_key(checkpoint_id)))
        connection.execute(self.sql(self._REMOVE), (stream, to_key(checkpoint_id)))
        check_row(old or (0, 0), _FACTS)
        return None if old is None else (bool(old[0]), old[1])

    def remove_stream(self, connection: apsw.Connection, stream: int) -> None:
        """Remove all checkpoints of a stream."""
        connection.execute(self.sql(self._REMOVE_STREAM), (stream,))

    # What is read.

    def one(self, connection: apsw.Connection, stream: int, checkpoint_id: str) -> CheckpointRow | None:
        """Give a checkpoint, hidden or not."""
        return _row_or_none(one_row(connection, self._ONE, (stream, to_key(checkpoint_id))))

    def latest(self, connection: apsw.Connection, stream: int) -> CheckpointRow | None:
        """Give the stream's latest checkpoint."""
        return _row_or_none(one_row(connection, self._LATEST, (stream,)))

    def of_stream(self, connection: apsw.Connection, stream: int) -> list[CheckpointRow]:
        """Give all checkpoints of a stream, hidden ones too, by id."""
        return [checkpoint_row(r) for r in all_rows(connection, self._ALL_OF_STREAM, (stream,))]

    def of_thread(self, connection: apsw.Connection, thread: int) -> list[CheckpointRow]:
        """Give all checkpoints of a thread, hidden ones too, by namespace and id."""
        return [checkpoint_row(r[1:]) for r in all_rows(connection, self._ALL_OF_THREAD, (thread,))]

    def of_run(self, connection: apsw.Connection, run_id: str) -> list[CheckpointRow]:
        """Give all checkpoints of a run, hidden ones too."""
        return [checkpoint_row(r) for r in all_rows(connection, self._OF_RUN, (to_key(run_id),))]

    def count(self, connection: apsw.Connection, stream: int) -> tuple[int, int]:
        """Give how many checkpoints of a stream can be seen, and how many there are."""
        row: tuple[int, int] = the_row(connection, self._COUNT, (stream,))
        return row

    def count_all(self, connection: apsw.Connection) -> int:
        """Give how many checkpoints there are, hidden ones too."""
        count: int = the_row(connection, self._COUNT_ALL)[0]
        return count

    def page_of_stream(
        self,
        connection: apsw.Connection,
        stream: int,
        below: str | None,
        limit: int,
        like: Mapping[Indexed, IndexKey] | None = None,
    ) -> list[CheckpointRow]:
        """Give a stream's visible checkpoints, newest first, strictly below an id.

        With `like`, those whose metadata may be so, and some that are not: compare them.
        """
        bindings = (stream, ABOVE_ALL[0] if below is None else to_key(below), limit)
        if not like:
            rows = all_rows(connection, self._PAGE_OF_STREAM, bindings)
        else:
            keys = (like.get("run_id"), like.get("source"), like.get("step"))
            rows = all_rows(connection, self._PAGE_OF_STREAM_LIKE, (*bindings, *keys))
        found = [checkpoint_row(r) for r in rows]
        check_progress(is_further=not found or below is None or found[-1].checkpoint_id < below)
        return found

    def page_of_all(
        self, connection: apsw.Connection, below: tuple[str, int] | None, limit: int
    ) -> list[CheckpointRow]:
        """Give all streams' visible checkpoints, newest first by (checkpoint_id, stream), strictly below such a key."""
        return page_below(all_rows(connection, self._PAGE_OF_ALL, (*below_key(below), limit)), below)

    def page_by(
        self, connection: apsw.Connection, column: Indexed, key: IndexKey, below: tuple[str, int] | None, limit: int
    ) -> list[CheckpointRow]:
        """Do as `page_of_all`, through an index: all whose metadata may be so, and some that are not: compare them."""
        return page_below(all_rows(connection, self._PAGE_BY[column], (key, *below_key(below), limit)), below)

    def page_in_order(
        self, connection: apsw.Connection, after: tuple[int, str | None], limit: int
    ) -> list[CheckpointRow]:
        """Give checkpoints, hidden ones too, by (stream, checkpoint_id), above such a key; None: below all ids."""
        stream, checkpoint_id = after
        key = b"" if checkpoint_id is None else to_key(checkpoint_id)
        found = [checkpoint_row(r) for r in all_rows(connection, self._PAGE_IN_ORDER, (stream, key, limit))]
        last = (found[-1].stream, found[-1].checkpoint_id) if found and checkpoint_id is not None else None
        check_progress(is_further=last is None or checkpoint_id is None or last > (stream, checkpoint_id))
        return found

    def places(
        self, connection: apsw.Connection, after: tuple[int, str | None], limit: int
    ) -> list[tuple[int, str, int, int]]:
        """Do as `page_in_order`, but give (stream, checkpoint_id, position, applied) alone."""
        stream, checkpoint_id = after
        key = b"" if checkpoint_id is None else to_key(checkpoint_id)
        rows = all_rows(connection, self._PLACES, (stream, key, limit))
        for row in rows:
            check_row(row, _PLACE)
        check_progress(is_further=not rows or rows[-1][:2] > (stream, key))
        return [(row[0], from_key(row[1]), row[2], row[3]) for row in rows]

    def ancestors(self, connection: apsw.Connection, row: CheckpointRow) -> Iterator[CheckpointRow]:
        """Yield parents, grandparents and so on, hidden ones too, each once: putting an id again can make a cycle."""
        return chain.from_iterable(self.generations(connection, row))

    def generations(self, connection: apsw.Connection, row: CheckpointRow) -> Iterator[list[CheckpointRow]]:
        """Yield what `ancestors` does, several at a time.

        A few at first, and never very many: whoever stops somewhere has not read much more than needed.
        """
        seen = {row.checkpoint_id}
        parent = None if row.parent_id is None else to_key(row.parent_id)
        sql, size = self._DOWN_FROM, _FEW
        while parent is not None:
            rows = all_rows(connection, sql, (row.stream, parent, size))
            found = []
            for one in rows:
                if one[1] != parent:
                    check_row(one, _TYPES)
                    continue  # of another branch
                ancestor = checkpoint_row(one)
                if ancestor.checkpoint_id in seen:
                    parent = None
                    break
                seen.add(ancestor.checkpoint_id)
                found.append(ancestor)
                parent = one[4]
            if not found:
                return
            yield found
            if 2 * len(found) < len(rows):
                sql = self._LINEAGE
            size = _MANY


def checkpoint_row(row: tuple[Any, ...]) -> CheckpointRow:
    """Give what a row of COLUMNS says."""
    check_row(row, _TYPES)
    stream, checkpoint_id, position, applied, parent_id, hidden, size, metadata = row
    parent = None if parent_id is None else from_key(parent_id)
    return CheckpointRow(stream, from_key(checkpoint_id), position, applied, parent, hidden, size, metadata)


def page_below(rows: Iterable[tuple[Any, ...]], below: tuple[str, int] | None) -> list[CheckpointRow]:
    """Give what rows of COLUMNS say, a page of those below a (checkpoint_id, stream), the last the least.

    Raises:
        LogDamagedError: a row cannot be read, or they are not below it.
    """
    found = [checkpoint_row(row) for row in rows]
    check_progress(is_further=not found or below is None or (found[-1].checkpoint_id, found[-1].stream) < below)
    return found


def below_key(below: tuple[str, int] | None) -> tuple[bytes, int]:
    """Give a (checkpoint_id, stream) as SQL compares it; what every other is below for None."""
    return ABOVE_ALL if below is None else (to_key(below[0]), below[1])


def _row_or_none(row: tuple[Any, ...] | None) -> CheckpointRow | None:
    return None if row is None else checkpoint_row(row)
