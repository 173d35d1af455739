"""Carrying facts over an erasure: what a rebuild could not find any more is said in the log before the events go.

The carry is appended after all that will be erased, and says what was true then. So a rebuild, which misses those
events, comes to the same at that point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import apsw

from ..eventlog.body import BodyFormatError
from ..eventlog.errors import CorruptRecordError
from ..eventlog.event import Carry, Kind, NewEvent
from ..eventlog.log import EventLog
from ..eventlog.reader import EventReader
from ..eventlog.sql import all_rows, one_row

__all__ = ["BUILT_IN", "THREADS_A_CARRY", "carry_threads", "last_carry"]

# The built-in projection that carries facts: of the threads that it names, not all that it holds.
BUILT_IN = "threads"
THREADS_A_CARRY = 500
_FACTS = """
SELECT t.thread_id, a.created_at, a.last_activity FROM threads AS a JOIN thread AS t ON t.thread = a.thread
WHERE a.thread = ?"""
# The index has what is about the whole log in the order of positions.
_CARRIES = "SELECT position FROM event WHERE stream IS NULL AND kind = ? ORDER BY position DESC"


def carry_threads(log: EventLog, threads: Sequence[int], *, begun: Callable[[], None]) -> None:
    """Append when threads began and were last active, for those that are there.

    Args:
        log: which knows them.
        threads: the file's keys; about `THREADS_A_CARRY` at a time, so that nobody waits for long.
        begun: is called when the write lock is there.
    """

    def decide(connection: apsw.Connection) -> NewEvent | None:
        begun()
        rows = [one_row(connection, _FACTS, (thread,)) for thread in threads]
        facts = [list(row) for row in rows if row is not None]
        return NewEvent(Carry(BUILT_IN, facts)) if facts else None

    log.transact(decide)


def last_carry(reader: EventReader, connection: apsw.Connection, projection: str) -> int:
    """Give the position of the last carry of a user's projection; 0 if there is none."""
    for (position,) in all_rows(connection, _CARRIES, (int(Kind.CARRY),)):
        try:
            found = reader.data(connection, position)
        except (CorruptRecordError, BodyFormatError):
            continue
        if found is not None and isinstance(found[1], Carry) and found[1].projection == projection:
            at: int = position
            return at
    return 0
