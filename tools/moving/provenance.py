"""What an import event says of events that came from another event log.

Its source is a map:

| key | value |
|---|---|
| kind | "extract" or "merge" |
| log_id | of the log that they are from, hexadecimal |
| anchor | of that log when it was read: POSITION:LINK |
| threads | how many threads |
| ids | [[thread id there, thread id here] ...] |
| erased | how many events of that log, of whatever threads, had been erased |
| moved | [[first here, last here, first there] ...]: positions of events that are the same event |
| copied | the same, of events that hold what one of another thread held that had been copied or forked |
| through | there only if it is itself an event that has been moved: the ids of the logs that it has come through |

The events of one move may be told of by several import events: the last has the threads.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apsw

from ...eventlog.event import Head, Import, Kind
from ...eventlog.log import EventLog
from ...eventlog.sql import all_rows, the_row

__all__ = ["KINDS", "Origin", "Ranges", "log_id_of", "origins"]

KINDS = ("extract", "merge")
_LOG_ID = "SELECT log_id FROM meta"
# Events of the whole log are few, and found by the index on streams.
_IMPORTS = "SELECT position FROM event WHERE stream IS NULL AND kind = ? ORDER BY position"


class Ranges:
    """Runs of positions here that stand for runs of positions there: [first here, last here, first there]."""

    def __init__(self, rows: list[list[int]] | None = None) -> None:
        self.rows: list[list[int]] = [] if rows is None else rows

    def add(self, here: int, there: int) -> None:
        """Add a pair, the greatest here."""
        if self.rows:
            first, last, begin = self.rows[-1]
            if here == last + 1 and there == begin + here - first:
                self.rows[-1][1] = here
                return
        self.rows.append([here, here, there])

    def there(self, here: int) -> int | None:
        """Give what a position here stands for; None if that is not known."""
        i = bisect_right(self.rows, here, key=lambda row: row[0]) - 1
        if i < 0 or here > self.rows[i][1]:
            return None
        first, _, begin = self.rows[i]
        return begin + here - first

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Yield every pair (here, there)."""
        for first, last, begin in self.rows:
            for here in range(first, last + 1):
                yield here, begin + here - first

    def here(self) -> list[tuple[int, int]]:
        """Give the positions here, as ranges."""
        return [(first, last) for first, last, _ in self.rows]


@dataclass(frozen=True, slots=True)
class Origin:
    """What one import event says.

    Attributes:
        position: of the import event.
        kind: "extract" or "merge".
        log_id: of the log that the events are from.
        anchor: of that log when it was read.
        ids: the threads: their ids here, by those there.
        moved: events that are the same.
        copied: events that hold what another thread's held.
        through: ids of the logs that the import event itself has come through.
    """

    position: int
    kind: str
    log_id: str
    anchor: Head
    ids: dict[str, str]
    moved: Ranges
    copied: Ranges
    through: tuple[str, ...]


def log_id_of(connection: apsw.Connection) -> str:
    """Give what tells a log from others, hexadecimal."""
    log_id: bytes = the_row(connection, _LOG_ID)[0]
    return log_id.hex()


def origins(log: EventLog, connection: apsw.Connection) -> list[Origin]:
    """Give what the import events of extracts and merges say, in their order; others are passed over.

    Raises:
        CorruptRecordError: an import event is damaged.
    """
    found = []
    for (position,) in all_rows(connection, _IMPORTS, (Kind.IMPORT,)):
        read = log.reader.data(connection, position)
        if read is not None and isinstance(read[1], Import):
            origin = _origin(position, read[1].source)
            if origin is not None:
                found.append(origin)
    return found


def _origin(position: int, source: Any) -> Origin | None:
    if source.get("kind") not in KINDS:
        return None
    try:
        return Origin(
            position=position,
            kind=source["kind"],
            log_id=str(source["log_id"]),
            anchor=Head.parse(source["anchor"]),
            ids={str(there): str(here) for there, here in source["ids"]},
            moved=_ranges(source["moved"]),
            copied=_ranges(source["copied"]),
            through=tuple(map(str, source.get("through", ()))),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # another program's, that calls itself the same


def _ranges(rows: Any) -> Ranges:
    checked = [[int(first), int(last), int(begin)] for first, last, begin in rows]
    if any(first > last for first, last, _ in checked):
        raise ValueError("a range that ends before it begins")
    return Ranges(checked)
