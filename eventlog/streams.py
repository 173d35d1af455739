"""The tables `thread` and `stream`: integer keys for thread ids and namespaces.

Ids and namespaces are long, and recur in every row.
"""

from __future__ import annotations

import apsw

from .sql import all_rows, one_row, the_row

__all__ = ["StreamKeys"]

_FIND_STREAM = """
SELECT s.thread, s.stream FROM thread AS t JOIN stream AS s ON s.thread = t.thread
WHERE t.thread_id = ? AND s.checkpoint_ns = ?"""
_FIND_THREAD = "SELECT thread FROM thread WHERE thread_id = ?"
_ADD_THREAD = (
    "INSERT INTO thread (thread, thread_id) SELECT coalesce(max(thread), 0) + 1, ? FROM thread RETURNING thread"
)
_ADD_STREAM = """
INSERT INTO stream (stream, thread, checkpoint_ns)
SELECT coalesce(max(stream), 0) + 1, ?, ? FROM stream RETURNING stream"""
_STREAMS_OF = "SELECT stream, checkpoint_ns FROM stream WHERE thread = ? ORDER BY checkpoint_ns"
_ADDRESS = (
    "SELECT t.thread_id, s.checkpoint_ns FROM stream AS s JOIN thread AS t ON t.thread = s.thread WHERE s.stream = ?"
)

_MAX_CACHED = 50_000


class StreamKeys:
    """Finds and hands out keys. Rows never change, so what has been committed may be remembered for ever.

    Attributes:
        known: (thread, stream) by (thread_id, checkpoint_ns), of those that are remembered.
        added: what the write transaction at hand has added, and may yet roll back; the holder of the lock changes it.
    """

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], tuple[int, int]] = {}
        self.added: dict[tuple[str, str], tuple[int, int]] = {}

    def begin(self) -> None:
        """Say that a write transaction begins."""
        self.added.clear()

    def committed(self) -> None:
        """Say that it has been committed: what it added stays."""
        for address, found in self.added.items():
            self._remember(address, found)
        self.added.clear()

    def find(self, connection: apsw.Connection, thread_id: str, checkpoint_ns: str) -> tuple[int, int] | None:
        """Give (thread, stream), or None if there is no such stream."""
        address = (thread_id, checkpoint_ns)
        if found := self.known.get(address):
            return found
        row: tuple[int, int] | None = one_row(connection, _FIND_STREAM, address)
        if row is not None and address not in self.added:
            self._remember(address, row)
        return row

    def _remember(self, address: tuple[str, str], found: tuple[int, int]) -> None:
        if len(self.known) >= _MAX_CACHED:
            self.known.clear()
        self.known[address] = found

    def find_thread(self, connection: apsw.Connection, thread_id: str) -> int | None:
        """Give the thread's key, or None."""
        row = one_row(connection, _FIND_THREAD, (thread_id,))
        return row[0] if row else None

    def streams_of(self, connection: apsw.Connection, thread: int) -> list[tuple[int, str]]:
        """Give (stream, checkpoint_ns) of every stream of a thread."""
        return all_rows(connection, _STREAMS_OF, (thread,))

    def address(self, connection: apsw.Connection, stream: int) -> tuple[str, str] | None:
        """Give (thread_id, checkpoint_ns) of a stream."""
        row: tuple[str, str] | None = one_row(connection, _ADDRESS, (stream,))
        return row

    def ensure(self, connection: apsw.Connection, thread_id: str, checkpoint_ns: str) -> tuple[int, int]:
        """Give (thread, stream), adding what is not there, in a write transaction."""
        found = self.find(connection, thread_id, checkpoint_ns)
        if found is not None:
            return found
        thread = self.find_thread(connection, thread_id)
        if thread is None:
            thread = the_row(connection, _ADD_THREAD, (thread_id,))[0]
        added = self.added[thread_id, checkpoint_ns] = (
            thread,
            the_row(connection, _ADD_STREAM, (thread, checkpoint_ns))[0],
        )
        return added
