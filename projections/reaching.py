"""What the projections point at: what compaction must not erase. On their word records are erased, so they are checked.

Read in pages, with no transaction held between them, while others append. A row that is there both before the reading
begins and after it ends has been read; what comes to be pointed at meanwhile, by a copy, the log's newest events say.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..eventlog.errors import LogDamagedError
from ..eventlog.log import EventLog
from ..eventlog.positions import Positions
from ..eventlog.sql import Bindings, all_rows
from .ids import from_key
from .recent import of_both
from .table import check_progress

__all__ = ["Leaving", "check_whole", "damaged", "reached"]

_PAGE = 2_000
_PAGE_OF_THREADS = 64
# Each row with whether it is as the event that it points at has it; NOT INDEXED: an index could hide a row.
_OF_HISTORY = of_both("""
SELECT h.stream, h.checkpoint_id, h.position,
  e.kind IN (1, 11) AND length(e.record) = h.bytes AND (h.applied <> h.position OR e.stream = h.stream)
FROM history AS h NOT INDEXED LEFT JOIN event AS e ON e.position = h.position
WHERE (h.stream, h.checkpoint_id) > (?1, ?2)""")
_HISTORY = f"{_OF_HISTORY} ORDER BY 1, 2 LIMIT ?3"
_WRITES = """
SELECT w.stream, w.checkpoint_id, w.applied, w.ordinal, w.position,
  e.kind IN (2, 12) AND length(e.record) = w.bytes AND (w.applied <> w.position OR e.stream = w.stream)
FROM pending_writes AS w LEFT JOIN event AS e ON e.position = w.position
WHERE (w.stream, w.checkpoint_id, w.applied, w.ordinal) > (?1, ?2, ?3, ?4)
ORDER BY w.stream, w.checkpoint_id, w.applied, w.ordinal LIMIT ?5"""
_OF_THREAD = of_both("""
SELECT h.hidden, h.bytes FROM stream AS s CROSS JOIN history AS h NOT INDEXED ON h.stream = s.stream
WHERE s.thread = a.thread""")
_THREADS = f"""
SELECT a.thread,
  a.checkpoints = (SELECT count(*) FROM ({_OF_THREAD}) WHERE hidden = 0)
  AND a.writes = (
    SELECT coalesce(sum(w.writes), 0) FROM stream AS s CROSS JOIN pending_writes AS w ON w.stream = s.stream
    WHERE s.thread = a.thread)
  AND a.bytes = (SELECT coalesce(sum(bytes), 0) FROM ({_OF_THREAD}))
  + (
    SELECT coalesce(sum(w.bytes), 0) FROM stream AS s CROSS JOIN pending_writes AS w ON w.stream = s.stream
    WHERE s.thread = a.thread)
FROM threads AS a WHERE a.thread > ?1 ORDER BY a.thread LIMIT ?2"""


@dataclass
class Leaving:
    """Rows to take for removed already, or for pointing elsewhere: to say beforehand what a removal comes to.

    Attributes:
        threads: the file's keys of threads that go whole.
        streams: of those threads.
        checkpoints: (stream, id) of checkpoints that go with their writes.
        restated: streams, and the positions at which none of their rows points any more.
    """

    threads: set[int] = field(default_factory=set)
    streams: set[int] = field(default_factory=set)
    checkpoints: set[tuple[int, str]] = field(default_factory=set)
    restated: list[tuple[Collection[int], Positions]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.threads or self.checkpoints or self.restated)

    def has(self, stream: int, checkpoint_id: str, position: int) -> bool:
        """Tell whether a row of a checkpoint, or of writes at it, does not point at a position any more."""
        return (
            stream in self.streams
            or (stream, checkpoint_id) in self.checkpoints
            or any(stream in streams and position in positions for streams, positions in self.restated)
        )


def reached(log: EventLog, head: int, leaving: Leaving | None = None) -> Positions:
    """Find what the rows of `history` (hidden ones, too) and of `pending_writes` point at, up to a position.

    Raises:
        CorruptRecordError: an event that is pointed at is damaged.
        LogDamagedError: a row is not what the event that it points at says: nothing can be erased on its word.
    """
    found = Positions(head)
    for sql, after in ((_HISTORY, (0, b"")), (_WRITES, (0, b"", 0, 0))):
        for row in _pages(log, sql, after, len(after)):
            if not (leaving and leaving.has(row[0], from_key(row[1]), row[-2])):
                found.add(row[-2])
    return found


def _pages(log: EventLog, sql: str, after: tuple[Any, ...], width: int) -> Iterator[tuple[Any, ...]]:
    """Yield rows by key, which stands in their first columns; in the last, whether each is as it should be."""
    for rows in _read(log, sql, lambda row: row[:width], after, _PAGE):
        for row in rows:
            if not row[-1]:
                with log.database.reading() as connection:
                    log.reader.open(connection, row[-2])  # if it is the record that is damaged
                raise damaged(log, f"event {row[-2]}, which a row points at, is missing or another")
        yield from rows


def _read(
    log: EventLog,
    sql: str,
    key: Callable[[tuple[Any, ...]], tuple[Any, ...]],
    after: tuple[Any, ...],
    size: int,
) -> Iterator[list[tuple[Any, ...]]]:
    more = True
    while more:
        bindings: Bindings = (*after, size)
        with log.database.reading() as connection:
            rows = all_rows(connection, sql, bindings)
        yield rows
        more = len(rows) == size
        if more:
            check_progress(is_further=key(rows[-1]) > after)
            after = key(rows[-1])


def check_whole(log: EventLog) -> None:
    """Check that no thread has lost rows: its counts and bytes are kept apart from them.

    Raises:
        LogDamagedError: one has.
    """
    for rows in _read(log, _THREADS, lambda row: row[:1], (-1,), _PAGE_OF_THREADS):
        for thread, is_whole in rows:
            if not is_whole:
                raise damaged(log, f"the rows of thread {thread} are not as many as it should have")


def damaged(log: EventLog, what: str) -> LogDamagedError:
    """Give the error that says why nothing is erased."""
    return LogDamagedError(
        f"the projections of {log.path} are damaged: {what}. Nothing is erased on their word: rebuild() them first"
    )
