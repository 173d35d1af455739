"""What is not in a log any more: events that compaction has erased, and which of them may have been about a thread."""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from ...eventlog.event import Copy, Put, PutWrites, Thread
from ...eventlog.log import EventLog
from ...eventlog.sql import all_rows, the_row
from .entry import AuditEntry

__all__ = ["Range", "erased_between", "erased_up_to", "maybe_of_thread"]

# First and last position.
Range = tuple[int, int]

# A gap begins behind an erased position's own predecessor; positions of one gap less their rank are all the same.
_RANGES = """
SELECT min(position), max(position) FROM (
  SELECT position, position - row_number() OVER (ORDER BY position) AS gap FROM erased WHERE position <= ?)
GROUP BY gap ORDER BY 1"""
_COUNT = "SELECT count(*) FROM erased WHERE position > ? AND position < ?"


def erased_up_to(connection: apsw.Connection, position: int) -> list[Range]:
    """Give the ranges of positions, up to one, whose events have been erased."""
    return all_rows(connection, _RANGES, (position,))


def erased_between(log: EventLog, after: int, before: int) -> Iterator[AuditEntry]:
    """Yield an entry for events that are not there any more, those strictly between two positions."""
    missing = before - after - 1
    with log.database.reading() as connection:
        erased: int = the_row(connection, _COUNT, (after, before))[0]
    # What is gone and was never erased, nobody was allowed to take away.
    problem = None if erased == missing else f"{missing - erased} of them are missing, but were not erased"
    details = {"positions": [after + 1, before - 1]}
    yield AuditEntry(after + 1, None, "erased", details=details, size=missing, problem=problem)


def maybe_of_thread(log: EventLog, thread_id: str, up_to: int) -> tuple[Range, ...]:
    """Give the ranges of positions, up to one, of erased events that may have been about a thread.

    Nothing says any more what an erased event was about. But what is erased was let go before, by a later event: a
    deletion or prune that names the thread, a restate of what it holds, a checkpoint put again under its id; and a copy
    names the positions that it copies. What was erased behind the last of these was others'. (Of one put again, only
    that is noticed whose first put is there.)
    """
    with log.database.reading() as connection:
        ranges = erased_up_to(connection, up_to)
    if not ranges:
        return ()
    last = max(_let_go(log, thread_id), default=0)
    return tuple((first, min(final, last)) for first, final in ranges if first <= last)


def _let_go(log: EventLog, thread_id: str) -> Iterator[int]:
    """Yield positions up to which events may have been erased for a thread."""
    seen: set[tuple[str | None, str]] = set()
    for event in log.read(thread_id=thread_id):
        match event.data:
            case Put(checkpoint_id=checkpoint_id):
                # Put again: what the id stood for before is not needed any more.
                if (event.checkpoint_ns, checkpoint_id) in seen:
                    yield event.position
                seen.add((event.checkpoint_ns, checkpoint_id))
            case Copy():
                positions = [p for s in event.data.streams for _, p, _ in s.checkpoints]
                positions += [p for s in event.data.streams for _, p in s.writes]
                yield max(positions, default=0)
            case PutWrites() | Thread():
                pass
            case _:
                yield event.position
