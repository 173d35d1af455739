"""A log as JSON Lines, for auditors: what every event did, or what every checkpoint holds, with the hash chain.

The schema is documented in tools/docs/import-export.md. Values are decoded by the saver's serializer.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import apsw

from ...eventlog.errors import CorruptRecordError, LogDamagedError
from ...eventlog.event import Kind, RecordedEvent
from ...eventlog.integrity import genesis_link, inner_of
from ...eventlog.reader import Row, touches
from ...eventlog.resolve import complete
from ...eventlog.sql import MAX_BYTES_A_PAGE, all_rows, the_row
from ...saver import EventLogSaver
from ...saver.decoder import Decoder
from ...saver.decoding import build
from ...saver.encoding import FRAME, OWN_PLACE
from ..times import recorded_time
from .event_data import EventValues
from .redaction import Redaction
from .walking import Found, Selection, walk

__all__ = ["VERSION", "checkpoint_lines", "event_lines"]

VERSION = 1
_PAGE = 512
_META = "SELECT log_id, created_at, head, link FROM meta"
_ERASED = "SELECT position, kind, inner FROM erased WHERE position > ? ORDER BY position LIMIT ?"
_COLUMNS_OF_ERASED = 3
_LINK = "SELECT link FROM event WHERE position = ?"
_PLACE = "SELECT recorded_at, digest, link FROM event WHERE position = ?"

Line = dict[str, Any]


def event_lines(
    saver: EventLogSaver,
    *,
    selection: Selection | None = None,
    redaction: Redaction | None = None,
    stubs: bool = False,
) -> Iterator[Line]:
    """Yield a line about the log, and then one for each event, in order; documents of JSON.

    Values are what the event recorded: of a list that has grown, what was added. Memory is bounded; no transaction is
    held; the export ends with what was the newest event when it began. Each position up to there is told once, with its
    values, though others erase meanwhile: as the event, or as erased, whichever it was when its page was read.

    Args:
        saver: on the log. Its serde decodes what is shown.
        selection: one thread, or a range of positions; None: everything.
        redaction: what is taken out.
        stubs: with one thread, give all other events, too, by nothing but their hashes: so that the chain can be
            recomputed without knowing them.

    A damaged record is a line that says so.
    """
    selection, redaction = selection or Selection(), redaction or Redaction()
    with saver.log.database.reading() as connection:
        header, last = _header(connection, selection, redaction)
    yield {"type": "log", "format": "langgraph-eventlog", "version": VERSION, **header}
    after = (selection.first or 1) - 1
    while after < last:
        with saver.log.database.reading() as connection:
            lines, after = _Page(saver, connection, selection.thread_id, redaction, stubs).lines(after, last)
        yield from lines


def _header(connection: apsw.Connection, selection: Selection, redaction: Redaction) -> tuple[Line, int]:
    log_id, created_at, head, link = the_row(connection, _META)
    last = head if selection.last is None else min(head, selection.last)
    first = selection.first or 1
    before: str | None = genesis_link(log_id=log_id, created_at=created_at).hex()
    if first > 1:
        row = connection.execute(_LINK, (first - 1,)).fetchone()
        before = None if row is None else row[0].hex()  # it was erased: its link is not kept
    return {
        "log_id": log_id.hex(),
        "created_at": created_at,
        "head": {"position": head, "link": link.hex()},
        "first": first,
        "last": last,
        "link_before": before,
        "thread": selection.thread_id,
        "redacted": list(redaction.rules),
    }, last


class _Page:
    """The lines about some positions, as they are in one transaction: what is erased later may take nothing away."""

    def __init__(
        self,
        saver: EventLogSaver,
        connection: apsw.Connection,
        thread_id: str | None,
        redaction: Redaction,
        stubs: bool,
    ) -> None:
        self._connection = connection
        self._reader = saver.log.reader
        self._data = EventValues(saver.serde, self._reader.resolver(connection), redaction)
        self._thread_id = thread_id
        self._stubs = stubs

    def lines(self, after: int, last: int) -> tuple[list[Line], int]:
        """Give lines about what is after a position, and up to which position they are: `last` at most."""
        rows, more = self._reader.page(self._connection, after, _PAGE)
        erased = all_rows(self._connection, _ERASED, (after, _PAGE))
        if more:
            last = min(last, rows[-1][0])
        if len(erased) == _PAGE:
            last = min(last, erased[-1][0])
        lines = []
        for found in heapq.merge(rows, erased, key=itemgetter(0)):
            position = found[0]
            if position > last:
                break
            line = self._erased(*found) if len(found) == _COLUMNS_OF_ERASED else self._event(found)
            if line is not None:
                lines.append(line)
            # Of a small record, much may be shown: a patch gives a whole value.
            if self._data.shown_bytes >= MAX_BYTES_A_PAGE:
                return lines, position
        return lines, last

    def _erased(self, position: int, kind: int, inner: bytes) -> Line | None:
        if self._thread_id is not None and not self._stubs:
            return None
        return {"type": "erased", "position": position, "kind": kind, "inner": inner.hex()}

    def _event(self, row: Row) -> Line | None:
        try:
            event = self._reader.to_event(row)
        except CorruptRecordError as e:
            return {"type": "event", "position": row[0], "damaged": str(e)}
        if self._thread_id is None or touches(event, self._thread_id):
            return _event_line(event, self._data)
        if not self._stubs:
            return None
        inner = inner_of(recorded_at=event.recorded_at, address=_address(event), digest=event.digest)
        return {"type": "other", "position": event.position, "kind": int(event.kind), "inner": inner.hex()}


def _address(event: RecordedEvent) -> tuple[str, str] | None:
    return None if event.thread_id is None else (event.thread_id, event.checkpoint_ns or "")


def _event_line(event: RecordedEvent, values: EventValues) -> Line:
    line: Line = {
        "type": "event",
        "position": event.position,
        "time": recorded_time(event.recorded_at).isoformat(),
        "recorded_at": event.recorded_at,
        "kind": int(event.kind),
        "event": Kind(event.kind).name.lower(),
        "thread_id": event.thread_id,
        "checkpoint_ns": event.checkpoint_ns,
        "record_bytes": event.size,
        "digest": event.digest.hex(),
        "link": event.link.hex(),
    }
    try:
        line["data"] = values.shown(event)
    except LogDamagedError as e:
        line["damaged"] = str(e)
    return line


def checkpoint_lines(
    saver: EventLogSaver, *, selection: Selection | None = None, redaction: Redaction | None = None
) -> Iterator[Line]:
    """Yield a line about the log, and one for each checkpoint that there is now, with its whole state and its writes.

    Hidden ones, which others need for their delta channels, say so. The log is read as it is at one moment: others may
    append meanwhile, but the WAL grows until the export has ended.

    Raises:
        CorruptRecordError: a record is damaged.
    """
    selection, redaction = selection or Selection(), redaction or Redaction()
    decoder = Decoder(saver.serde, None)
    with saver.log.database.reading() as connection:
        header, _ = _header(connection, selection, redaction)
        yield {"type": "log", "format": "langgraph-eventlog", "version": VERSION, **header}
        for found in walk(saver, connection, selection):
            yield _checkpoint_line(connection, decoder, found, redaction)


def _checkpoint_line(connection: apsw.Connection, decoder: Decoder, found: Found, redaction: Redaction) -> Line:
    line: Line = {
        "type": "checkpoint" if found.gathered is not None else "writes",
        "thread_id": found.thread_id,
        "checkpoint_ns": found.checkpoint_ns,
        "checkpoint_id": found.checkpoint_id,
    }
    if found.gathered is not None:
        row = found.gathered.row
        recorded_at, digest, link = the_row(connection, _PLACE, (row.position,))
        built = build(decoder, found.gathered, found.thread_id, found.checkpoint_ns)
        checkpoint: dict[str, Any] = dict(built.checkpoint)
        values = checkpoint.pop("channel_values")
        line |= {
            "parent_id": row.parent_id,
            "hidden": bool(row.hidden),
            "position": row.position,
            "applied": row.applied,
            "time": recorded_time(recorded_at).isoformat(),
            "recorded_at": recorded_at,
            "digest": digest.hex(),
            "link": link.hex(),
            "metadata": redaction.of_other(built.metadata),
            "checkpoint": {
                **{name: _field(name, value, redaction) for name, value in checkpoint.items()},
                "channel_values": {name: redaction.of_channel(name, v) for name, v in values.items()},
            },
        }
    line["pending_writes"] = [
        {
            "task_id": write.task_id,
            "task_path": write.task_path,
            "idx": write.idx,
            "channel": write.channel,
            "value": redaction.of_channel(write.channel, decoder.value(complete(write.value))),
        }
        for write in found.writes
    ]
    return line


def _field(name: str, value: Any, redaction: Redaction) -> Any:
    """Give a field of a checkpoint as its event shows it."""
    return (
        redaction.of_versions(value) if name in OWN_PLACE or name in FRAME else redaction.of_other({name: value})[name]
    )
