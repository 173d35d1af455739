"""What is not in a log any more: events that compaction has erased, and which of them may have been about a thread."""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from ...eventlog.event import Compaction, Copy, DeleteThread, Kind, Prune, Put, PutWrites, RecordedEvent, Thread
from ...eventlog.log import EventLog
from ...eventlog.positions import Positions, merged
from ...eventlog.reader import touches
from ...eventlog.sql import all_rows, the_row
from .entry import AuditEntry

__all__ = ["Range", "erased_between", "events_of", "maybe_of_thread"]

_PAGE = 500
# First and last position.
Range = tuple[int, int]

# What of all that was erased up to a position may have been about a thread: by its kind, up to a position of its own.
_MAYBE = f"""
SELECT position FROM erased WHERE position <= ?1 AND kind <> {Kind.CARRY:d}
AND position <= CASE kind WHEN {Kind.THREAD:d} THEN ?2 ELSE ?3 END"""
# The index has what is about the whole log.
_COMPACTIONS = f"SELECT position FROM event WHERE stream IS NULL AND kind = {Kind.COMPACTION:d} AND position <= ?"
_COUNT = "SELECT count(*) FROM erased WHERE position > ? AND position < ?"


def erased_between(connection: apsw.Connection, after: int, before: int) -> AuditEntry:
    """Give an entry for events that are not there any more, those strictly between two positions."""
    missing = before - after - 1
    erased: int = the_row(connection, _COUNT, (after, before))[0]
    # What is gone and was never erased, nobody was allowed to take away.
    problem = None if erased == missing else f"{missing - erased} of them are missing, but were not erased"
    details = {"positions": [after + 1, before - 1]}
    return AuditEntry(after + 1, None, "erased", details=details, size=missing, problem=problem)


def events_of(log: EventLog, connection: apsw.Connection, thread_id: str) -> Iterator[RecordedEvent]:
    """Yield the events about a thread, be it among others, in a transaction of the caller's.

    Raises:
        CorruptRecordError: a record is damaged.
    """
    # An unknown thread may still be named by events of the whole log; none has the key 0.
    thread = log.keys.find_thread(connection, thread_id) or 0
    after, more = 0, True
    while more:
        rows, more = log.reader.page(connection, after, _PAGE, thread)
        for row in rows:
            after = row[0]
            event = log.reader.to_event(row)
            if touches(event, thread_id):
                yield event


def maybe_of_thread(log: EventLog, connection: apsw.Connection, thread_id: str, up_to: int) -> tuple[Range, ...]:
    """Give the ranges of positions, up to one, of erased events that may be missing to tell how a thread was there.

    All as it is in the caller's transaction, in which what is there must be read, too.

    What a compaction up to there erased, nothing needed any more: it is not missing. What a later one erased was let go
    before, by an event that is there still: a deletion or prune that names the thread, a restate of what it holds, a
    checkpoint put again under its id, another name; and a copy names the positions that it copies. What was erased
    behind the last of these was others', and so was what is of another kind. (Of one put again, only that is noticed
    whose first put is there.)
    """
    names, others = _let_go(log, connection, thread_id)
    missing = Positions()
    for (position,) in connection.execute(_MAYBE, (up_to, names, others)):
        missing.add(position)
    for (position,) in all_rows(connection, _COMPACTIONS, (up_to,)):
        found = log.reader.data(connection, position)
        for first, last in found[1].erased if found is not None and isinstance(found[1], Compaction) else ():
            missing.remove(max(first, 1), last)
    return tuple(merged((position, position) for position in missing))


def _let_go(log: EventLog, connection: apsw.Connection, thread_id: str) -> tuple[int, int]:
    """Give the positions up to which names of a thread, and all else about it, may have been erased."""
    names = others = 0
    seen: set[tuple[str | None, str]] = set()
    for event in events_of(log, connection, thread_id):
        match event.data:
            case Put(checkpoint_id=checkpoint_id):
                # Put again: what the id stood for before is not needed any more.
                if (event.checkpoint_ns, checkpoint_id) in seen:
                    others = event.position
                seen.add((event.checkpoint_ns, checkpoint_id))
            case Copy(streams=streams):
                copied = [p for s in streams for _, p, _ in s.checkpoints] + [p for s in streams for _, p in s.writes]
                others = max(others, *copied, 0)
            case Thread():
                names = event.position
            case DeleteThread() | Prune():
                names = others = event.position
            case PutWrites():
                pass
            case _:
                others = event.position
    return names, others
