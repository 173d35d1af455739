"""Projection `threads`: what there is to say of each thread without reading its checkpoints.

Counts and bytes are sums over the rows of `history` and `pending_writes`, kept as these change. When a thread began
and was last active, its name and its metadata last until the thread is deleted, whatever becomes of its events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from ..eventlog.sql import all_rows, one_row, the_row
from .ids import from_key
from .table import OR_NULL, Table, check_progress, check_row, row_types

__all__ = ["ThreadRow", "Threads"]

_BYTES = (bytes, OR_NULL)
_TYPES = row_types(int, str, *(int,) * 5, (str, OR_NULL), *(_BYTES,) * 3)
_FACTS = row_types(int, int, _BYTES)
# A thread is listed while it has something, or was registered: then it has metadata, if only {}.
_LISTED = "(checkpoints > 0 OR writes > 0 OR metadata IS NOT NULL)"


@dataclass(frozen=True, slots=True)
class ThreadRow:
    """A thread. Times are UTC microseconds; metadata is packed plain data; `latest` is of the root namespace."""

    thread: int
    thread_id: str
    created_at: int
    last_activity: int
    checkpoints: int
    writes: int
    size: int
    name: str | None
    metadata: bytes | None
    latest_id: str | None
    latest_metadata: bytes | None


class Threads(Table):
    """Rows keyed by thread.

    Attributes:
        TOUCH: takes in activity: of (thread, time, checkpoints, writes, bytes), the last three by how much they grow.
    """

    name = "threads"
    schema_version = 1
    key = "thread"
    ddl = """
CREATE TABLE threads@ (
  thread INTEGER PRIMARY KEY,
  created_at INTEGER NOT NULL,
  last_activity INTEGER NOT NULL,
  checkpoints INTEGER NOT NULL,
  writes INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  name TEXT,
  metadata BLOB
) STRICT"""

    TOUCH = """
INSERT INTO threads@ (thread, created_at, last_activity, checkpoints, writes, bytes) VALUES (?1, ?2, ?2, ?3, ?4, ?5)
ON CONFLICT (thread) DO UPDATE SET
  last_activity = excluded.last_activity, checkpoints = checkpoints + excluded.checkpoints,
  writes = writes + excluded.writes, bytes = bytes + excluded.bytes"""
    _CHANGE = """
UPDATE threads@ SET checkpoints = checkpoints + ?2, writes = writes + ?3, bytes = bytes + ?4 WHERE thread = ?1"""
    _ENSURE = """
INSERT INTO threads@ (thread, created_at, last_activity, checkpoints, writes, bytes) VALUES (?1, ?2, ?2, 0, 0, 0)
ON CONFLICT (thread) DO NOTHING"""
    _DESCRIBE = "UPDATE threads@ SET name = ?2, metadata = ?3 WHERE thread = ?1"
    _SET_METADATA = "UPDATE threads@ SET metadata = ?2 WHERE thread = ?1"
    _CARRY = """
INSERT INTO threads@ (thread, created_at, last_activity, checkpoints, writes, bytes) VALUES (?1, ?2, ?3, 0, 0, 0)
ON CONFLICT (thread) DO UPDATE SET created_at = excluded.created_at, last_activity = excluded.last_activity"""
    _REMOVE = "DELETE FROM threads@ WHERE thread = ?"

    _FROM = """
SELECT a.thread, t.thread_id, a.created_at, a.last_activity, a.checkpoints, a.writes, a.bytes, a.name, a.metadata,
  iif(r.checkpoint_id > h.checkpoint_id OR h.checkpoint_id IS NULL, r.checkpoint_id, h.checkpoint_id),
  iif(r.checkpoint_id > h.checkpoint_id OR h.checkpoint_id IS NULL, r.metadata, h.metadata)
FROM threads AS a JOIN thread AS t ON t.thread = a.thread
LEFT JOIN stream AS s ON s.thread = a.thread AND s.checkpoint_ns = ''
LEFT JOIN history AS h NOT INDEXED ON h.stream = s.stream AND h.checkpoint_id = (
  SELECT checkpoint_id FROM history NOT INDEXED WHERE stream = s.stream AND hidden = 0
  ORDER BY checkpoint_id DESC LIMIT 1)
LEFT JOIN history_recent AS r ON r.stream = s.stream AND r.checkpoint_id = (
  SELECT checkpoint_id FROM history_recent WHERE stream = s.stream AND hidden = 0
  ORDER BY checkpoint_id DESC LIMIT 1)"""
    _ONE = f"{_FROM} WHERE a.thread = ?"
    _IN_ORDER = f"{_FROM} WHERE a.thread > ? ORDER BY a.thread LIMIT ?"
    _COUNT = "SELECT count(*) FROM threads"
    # A thread is listed while it has something, or was registered: then it has metadata, if only {}.
    _PAGE = f"""
{_FROM} WHERE a.thread IN (
  SELECT thread FROM threads
  WHERE {_LISTED}
    AND (?1 IS NULL OR (last_activity, thread) < (?1, ?2))
  ORDER BY last_activity DESC, thread DESC LIMIT ?3)
ORDER BY a.last_activity DESC, a.thread DESC"""

    _PAGE_IN_ORDER = f"""
SELECT thread, last_activity, metadata FROM threads WHERE thread > ? AND {_LISTED} ORDER BY thread LIMIT ?"""

    def touch(
        self, connection: apsw.Connection, thread: int, at: int, *, checkpoints: int = 0, writes: int = 0, size: int = 0
    ) -> None:
        """Take in activity at a time, and what it changed."""
        connection.execute(self.sql(self.TOUCH), (thread, at, checkpoints, writes, size))

    def change(self, connection: apsw.Connection, thread: int, *, checkpoints: int, writes: int, size: int) -> None:
        """Take in a change of counts that is not activity of the thread."""
        connection.execute(self.sql(self._CHANGE), (thread, checkpoints, writes, size))

    def ensure(self, connection: apsw.Connection, thread: int, at: int) -> None:
        """Begin a thread, if it is not there."""
        connection.execute(self.sql(self._ENSURE), (thread, at))

    def describe(self, connection: apsw.Connection, thread: int, name: str | None, metadata: bytes | None) -> None:
        """Replace a thread's name and metadata."""
        connection.execute(self.sql(self._DESCRIBE), (thread, name, metadata))

    def set_metadata(self, connection: apsw.Connection, thread: int, metadata: bytes | None) -> None:
        """Replace a thread's metadata."""
        connection.execute(self.sql(self._SET_METADATA), (thread, metadata))

    def carry(self, connection: apsw.Connection, thread: int, created_at: int, last_activity: int) -> None:
        """Replace when a thread began and was last active."""
        connection.execute(self.sql(self._CARRY), (thread, created_at, last_activity))

    def remove(self, connection: apsw.Connection, thread: int) -> None:
        """Forget a thread."""
        connection.execute(self.sql(self._REMOVE), (thread,))

    def one(self, connection: apsw.Connection, thread: int) -> ThreadRow | None:
        """Give a thread, listed or not."""
        row = one_row(connection, self._ONE, (thread,))
        return None if row is None else _row(row)

    def in_order(self, connection: apsw.Connection, *, after: int, limit: int) -> list[ThreadRow]:
        """Give a page of threads, listed or not, by their keys, above one; keys are 1 and up."""
        found = [_row(r) for r in all_rows(connection, self._IN_ORDER, (after, limit))]
        check_progress(is_further=not found or found[-1].thread > after)
        return found

    def count(self, connection: apsw.Connection) -> int:
        """Give how many threads there are, listed or not."""
        count: int = the_row(connection, self._COUNT)[0]
        return count

    def page(self, connection: apsw.Connection, *, below: tuple[int, int] | None, limit: int) -> list[ThreadRow]:
        """Give a page of threads, newest activity first, strictly below a (last_activity, thread)."""
        last_activity, thread = below or (None, None)
        return [_row(r) for r in all_rows(connection, self._PAGE, (last_activity, thread, limit))]

    def page_in_order(
        self, connection: apsw.Connection, after: int, limit: int, *, holding: Sequence[Sequence[bytes]] = ()
    ) -> list[tuple[int, int, bytes | None]]:
        """Give (thread, last_activity, metadata) of listed threads, by their keys, above one.

        With `holding`, only those whose packed metadata holds one, at least, of each of these.
        """
        conditions = "".join(f" AND ({' OR '.join(['instr(metadata, ?)'] * len(some))})" for some in holding)
        sought = [one for some in holding for one in some]
        sql = self._PAGE_IN_ORDER.replace(" ORDER BY", f"{conditions} ORDER BY")
        rows = all_rows(connection, sql, (after, *sought, limit))
        for row in rows:
            check_row(row, _FACTS)
        check_progress(is_further=not rows or rows[-1][0] > after)
        return rows


def _row(row: tuple[Any, ...]) -> ThreadRow:
    check_row(row, _TYPES)
    facts = [*row]
    facts[9] = None if row[9] is None else from_key(row[9])
    return ThreadRow(*facts)
