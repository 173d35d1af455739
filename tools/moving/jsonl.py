"""A log as JSON Lines, for auditors: what every event did, or what every checkpoint holds, with the hash chain.

The schema is documented in tools/docs/import-export.md. Values are decoded by the saver's serializer.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import apsw

from ...eventlog.errors import CorruptRecordError, LogDamagedError
from ...eventlog.event import Kind, RecordedEvent
from ...eventlog.integrity import genesis_link, inner_of
from ...eventlog.reader import touches
from ...eventlog.resolve import complete
from ...eventlog.sql import all_rows, the_row
from ...saver import EventLogSaver
from ...saver.decoder import Decoder
from ...saver.decoding import build
from ...saver.encoding import FRAME, OWN_PLACE
from ..times import recorded_time
from .event_data import data_of
from .redaction import Redaction
from .walking import Found, Selection, walk

__all__ = ["VERSION", "checkpoint_lines", "event_lines"]

VERSION = 1
_PAGE = 512
_META = "SELECT log_id, created_at, head, link FROM meta"
_ERASED = "SELECT position, kind, inner FROM erased WHERE position > ? ORDER BY position LIMIT ?"
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
    held; the export ends with what was the newest event when it began.

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
    first = selection.first or 1
    events = ((event.position, event) for event in _events(saver, first - 1, last))
    erased = ((row[0], row) for row in _erased(saver, first - 1, last))
    of_others = stubs or selection.thread_id is None
    for position, found in heapq.merge(events, erased, key=lambda item: item[0]):
        if isinstance(found, CorruptRecordError):
            yield {"type": "event", "position": position, "damaged": str(found)}
        elif not isinstance(found, RecordedEvent):
            if of_others:
                yield {"type": "erased", "position": position, "kind": found[1], "inner": found[2].hex()}
        elif selection.thread_id is None or touches(found, selection.thread_id):
            yield _event_line(saver, found, redaction)
        elif stubs:
            inner = inner_of(recorded_at=found.recorded_at, address=_address(found), digest=found.digest)
            yield {"type": "other", "position": position, "kind": int(found.kind), "inner": inner.hex()}


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


def _events(saver: EventLogSaver, after: int, last: int) -> Iterator[Any]:
    """Yield events, and of those that are damaged the error."""
    while after < last:
        try:
            for event in saver.log.read(after=after):
                if event.position > last:
                    return
                after = event.position
                yield event
            return
        except CorruptRecordError as e:
            if e.position is None or e.position <= after:
                raise
            after = e.position
            yield e


def _erased(saver: EventLogSaver, after: int, last: int) -> Iterator[tuple[int, int, bytes]]:
    while True:
        with saver.log.database.reading() as connection:
            page = all_rows(connection, _ERASED, (after, _PAGE))
        for position, kind, inner in page:
            if position > last:
                return
            yield position, kind, inner
        if len(page) < _PAGE:
            return
        after = page[-1][0]


def _address(event: RecordedEvent) -> tuple[str, str] | None:
    return None if event.thread_id is None else (event.thread_id, event.checkpoint_ns or "")


def _event_line(saver: EventLogSaver, event: RecordedEvent, redaction: Redaction) -> Line:
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
        line["data"] = data_of(saver, event, redaction)
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
