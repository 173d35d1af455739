"""Erasing: a record's bytes go, and a stub of it stays (FORMAT.md section 6), so that the chain can be recomputed.

Nothing here decides what may go: whoever calls it makes sure that nobody needs it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import apsw

from .event import ERASABLE
from .integrity import inner_of
from .sql import all_rows

__all__ = ["Erasure", "ranges_of"]

# So many are asked for in one query.
_FEW = 16
_EVENT = """
SELECT e.position, e.recorded_at, e.kind, e.digest, length(e.record), t.thread_id, s.checkpoint_ns
FROM event AS e LEFT JOIN stream AS s ON s.stream = e.stream LEFT JOIN thread AS t ON t.thread = s.thread
WHERE e.position IN (%s)"""
_EVENTS = _EVENT % ", ".join("?" * _FEW)
# Two statements that are run as one: a call into SQLite less.
_ERASE = "INSERT INTO erased (position, kind, inner) VALUES (?, ?, ?); DELETE FROM event WHERE position = ?"


class Erasure:
    """What one transaction erases. The compaction event that says so has to be appended in it.

    Attributes:
        positions: of the events that have been erased, in the order of that.
        kinds: how many of each kind.
        size: bytes of their records.
    """

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.kinds: Counter[int] = Counter()
        self.size = 0

    def erase(
        self, connection: apsw.Connection, positions: Iterable[int], *, enough: Callable[[Erasure], bool]
    ) -> int | None:
        """Erase events, until it is enough; those that are not there any more are passed over, which takes time, too.

        Args:
            connection: in a write transaction.
            positions: of events that nobody needs, and that are of erasable kinds; none is the newest.
            enough: asked after each.

        Returns:
            The position that was looked at last; None if there was none.
        """
        position, walk = None, iter(positions)
        while some := list(islice(walk, _FEW)):
            # NULL is equal to nothing.
            rows = {row[0]: row for row in all_rows(connection, _EVENTS, some + [None] * (_FEW - len(some)))}
            for position in some:
                if position in rows:
                    self._erase(connection, rows[position])
                if enough(self):
                    return position
        return position

    def _erase(self, connection: apsw.Connection, row: tuple[Any, ...]) -> None:
        position, recorded_at, kind, digest, size, thread_id, checkpoint_ns = row
        assert kind in ERASABLE
        address = None if thread_id is None else (thread_id, checkpoint_ns or "")
        inner = inner_of(recorded_at=recorded_at, address=address, digest=digest)
        connection.execute(_ERASE, (position, kind, inner, position))
        self.positions.append(position)
        self.kinds[kind] += 1
        self.size += size

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The positions as a compaction event says them."""
        return ranges_of(self.positions)


def ranges_of(positions: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Give positions as (first, last) ranges, ascending, in which there are no others."""
    ranges: list[tuple[int, int]] = []
    for position in sorted(positions):
        if ranges and ranges[-1][1] == position - 1:
            ranges[-1] = ranges[-1][0], position
        else:
            ranges.append((position, position))
    return tuple(ranges)
