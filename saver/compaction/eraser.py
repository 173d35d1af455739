"""Erasing what a plan found dead, the newest first, in short transactions: a base is smaller than what names it.

So the log is valid after each of them, wherever it ends. Meanwhile others append: writers that remember values of what
was deleted may refer to it, and a copy may name what the reading of the projections has missed. What such events name
is kept, with all that it is made of: every transaction looks at what has been appended up to itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import apsw

from ...eventlog.erasing import Erasure
from ...eventlog.event import Compaction, Copy, Kind, NewEvent
from ...eventlog.log import EventLog
from ...eventlog.sql import all_rows, one_row, page_of_rows
from .pacing import Pace
from .planning import Plan, bases_in

__all__ = ["Eraser"]

_PAGE = 512
_SINCE = """
SELECT position, kind, stream, CASE WHEN kind IN (1, 2, 11, 12) THEN record END, digest FROM event
WHERE position > ? ORDER BY position LIMIT ?"""
_RECORD = "SELECT position, kind, stream, record, digest FROM event WHERE position = ?"
_OURS = (Kind.COMPACTION, Kind.CARRY)


class Eraser:
    """Erases what is dead.

    Args:
        log: the log.
        plan: what is dead. What turns out to be needed is taken out of it.
        pace: how much is done at a time.
        policy: what the compaction events say of why, plain.

    Attributes:
        kinds: how many events have been erased, of each kind.
        size: bytes of their records.
        spared: how many were kept because something appended meanwhile needs them.
    """

    def __init__(self, log: EventLog, plan: Plan, pace: Pace, policy: Mapping[str, Any]) -> None:
        self._log = log
        self._plan = plan
        self._pace = pace
        self._policy = policy
        self._looked = plan.head  # what has been appended up to here names nothing that is dead
        self._cursor = plan.head
        self.kinds: Counter[int] = Counter()
        self.size = 0
        self.spared = 0

    def erase(self) -> Iterator[int]:
        """Erase, and yield after each transaction how many events that has erased."""
        while True:
            self._catch_up()
            count = self._transact()
            if count is None:
                return
            yield count

    def _transact(self) -> int | None:
        erasure, last = Erasure(), None

        def decide(connection: apsw.Connection) -> NewEvent | None:
            nonlocal erasure, last
            self._pace.begun()
            erasure = Erasure()
            self._look(connection, all_rows(connection, _SINCE, (self._looked, -1)))
            last = erasure.erase(connection, self._plan.dead.below(self._cursor), enough=self._pace.enough)
            if not erasure.positions:
                return None
            return NewEvent(Compaction(self._policy, erasure.ranges, erasure.size))

        with self._pace.transaction():
            recorded = self._log.transact(decide)
        # Not before it is committed: it may have been done twice.
        if last is None:
            return None
        self._cursor = last
        if recorded is not None:
            self._looked = recorded.position
        self.kinds += erasure.kinds
        self.size += erasure.size
        return len(erasure.positions)

    def _catch_up(self) -> None:
        """Look at what has been appended, while nobody has to wait for that."""
        more = True
        while more:
            with self._log.database.reading() as connection:
                rows, more = page_of_rows(connection, _SINCE, (self._looked, _PAGE), _PAGE, sized=3)
                self._look(connection, rows)
            self._looked = rows[-1][0] if rows else self._looked

    def _look(self, connection: apsw.Connection, rows: list[Any]) -> None:
        """Keep what events name that have been appended."""
        for row in rows:
            position, kind, _, record, _ = row
            if kind not in _OURS:
                self._pace.saw_others()
            if kind == Kind.COPY:
                self._keep_all(connection, _copied(self._log, connection, position))
            elif record is not None:
                self._keep_all(connection, bases_in(self._log, position, row[1:]))

    def _keep_all(self, connection: apsw.Connection, positions: tuple[int, ...]) -> None:
        """Take what is needed out of what is dead, with what it refers to itself.

        That it was there is known: who named it made sure of that when it was appended. What it refers to is older, and
        is erased after it.
        """
        left = list(positions)
        while left:
            position = left.pop()
            if position in self._plan.dead and position < self._cursor:
                self._plan.dead.discard(position)
                self.spared += 1
                row = one_row(connection, _RECORD, (position,))
                if row is not None:
                    left += bases_in(self._log, position, row[1:])


def _copied(log: EventLog, connection: apsw.Connection, position: int) -> tuple[int, ...]:
    found = log.reader.data(connection, position)
    if found is None or not isinstance(found[1], Copy):
        return ()
    streams = found[1].streams
    return tuple(at for stream in streams for _, at, _ in stream.checkpoints) + tuple(
        at for stream in streams for _, at in stream.writes
    )
