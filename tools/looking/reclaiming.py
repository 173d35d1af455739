"""What compaction would give back: events that nothing needs any more (FORMAT.md section 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...eventlog.errors import CorruptRecordError
from ...eventlog.event import Kind
from ...eventlog.log import EventLog
from ...eventlog.record import RecordFormatError, read_bases
from ...eventlog.sql import all_rows, one_row

__all__ = ["Reclaimable", "reclaimable"]

_POINTED_AT = ("SELECT DISTINCT position FROM history", "SELECT DISTINCT position FROM pending_writes")
# Most records name few bases: their headers are at their beginning, and the rest is not read.
_HEADER_BYTES = 64
_BEFORE = f"""
SELECT position, kind, length(record), substr(record, 1, {_HEADER_BYTES}) FROM event
WHERE position < ? ORDER BY position DESC LIMIT ?"""
_WHOLE = "SELECT record FROM event WHERE position = ?"
_PAGE = 2_000
_ERASABLE = (Kind.PUT, Kind.PUT_WRITES)


@dataclass(frozen=True, slots=True)
class Reclaimable:
    """What compaction would give back as long as nothing else is to go than what was removed already.

    Attributes:
        events: how many it would erase.
        bytes: of their records.
    """

    events: int
    bytes: int


def reclaimable(log: EventLog, *, progress: Callable[[float], None] = lambda _: None) -> Reclaimable:
    """Count the puts and put_writes that nothing points at, and no event that stays names as a base.

    Args:
        log: an open log, with the built-in projections.
        progress: is called with how many positions have been looked at, of as many as the head's.

    From the newest event to the oldest, since bases are older than what names them: so one pass finds what is needed
    indirectly, too. Takes a bit of memory for each position. What is appended meanwhile is not counted.

    Raises:
        CorruptRecordError: the header of a record is damaged.
    """
    with log.database.reading() as connection:
        head = log.reader.head(connection).position
        needed = bytearray(head // 8 + 1)
        for sql in _POINTED_AT:
            for (position,) in connection.execute(sql):
                if isinstance(position, int) and 0 < position <= head:
                    needed[position >> 3] |= 1 << (position & 7)
    events = size = 0
    before = head + 1
    while True:
        with log.database.reading() as connection:
            rows = all_rows(connection, _BEFORE, (before, _PAGE))
            for position, kind, record_bytes, beginning in rows:
                # The newest cannot be erased.
                stays = kind not in _ERASABLE or position == head or needed[position >> 3] & 1 << (position & 7)
                if not stays:
                    events += 1
                    size += record_bytes
                    continue
                for base in _bases(log, connection, position, beginning):
                    if base < position:
                        needed[base >> 3] |= 1 << (base & 7)
        if not rows:
            return Reclaimable(events, size)
        before = rows[-1][0]
        progress(head - before)


def _bases(log: EventLog, connection: Any, position: int, beginning: bytes) -> tuple[int, ...]:
    try:
        return read_bases(beginning)
    except RecordFormatError:
        pass  # more bases than there is room for, or damage
    row = one_row(connection, _WHOLE, (position,))
    try:
        return () if row is None else read_bases(row[0])
    except RecordFormatError as e:
        raise CorruptRecordError(str(e), path=log.path, position=position) from e
