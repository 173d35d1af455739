"""Appending: the only way an event gets in. Encoding happens outside of the lock; the rest is short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import apsw

from . import body as body_codec
from . import record as record_codec
from .body import bases_of, kind_of
from .errors import BaseErasedError
from .event import Kind, NewEvent, RecordedEvent
from .integrity import digest_of, inner_of, leaf_of, link_of
from .sql import one_row, the_row
from .streams import StreamKeys

__all__ = ["PreparedEvent", "append", "prepare"]

_META = "SELECT head, link FROM meta"
_BASE = "SELECT 1 FROM event WHERE position = ? AND kind IN (1, 2, 11)"
_APPEND = """
INSERT INTO event (position, recorded_at, kind, stream, record, digest, link) VALUES (?, ?, ?, ?, ?, ?, ?)"""
_ADVANCE = "UPDATE meta SET head = ?, link = ?"


@dataclass(frozen=True, slots=True)
class PreparedEvent:
    """A new event, encoded."""

    event: NewEvent
    kind: Kind
    record: bytes
    digest: bytes
    bases: frozenset[int]


def prepare(event: NewEvent) -> PreparedEvent:
    """Encode an event. Pure.

    Raises:
        RecordTooLargeError: its body is too large.
        PlainDataError: metadata or the like is not plain.
    """
    bases = bases_of(event.data)
    record = record_codec.encode(body_codec.encode_body(event.data, bases), bases)
    return PreparedEvent(event, kind_of(event.data), record, digest_of(record), bases)


def append(
    connection: apsw.Connection, prepared: PreparedEvent, *, keys: StreamKeys, clock: Callable[[], int]
) -> RecordedEvent:
    """Append in the write transaction that the caller has begun, and will commit.

    Raises:
        BaseErasedError: an event that it refers to is not there; nothing was done.
    """
    missing = tuple(base for base in prepared.bases if one_row(connection, _BASE, (base,)) is None)
    if missing:
        raise BaseErasedError(missing)
    head, previous_link = the_row(connection, _META)
    position, recorded_at = head + 1, clock()
    event = prepared.event
    thread = stream = address = None
    if event.thread_id is not None:
        thread, stream = keys.ensure(connection, event.thread_id, event.checkpoint_ns)
        address = (event.thread_id, event.checkpoint_ns)
    inner = inner_of(recorded_at=recorded_at, address=address, digest=prepared.digest)
    link = link_of(previous_link, leaf_of(position=position, kind=prepared.kind, inner=inner))
    connection.execute(
        _APPEND, (position, recorded_at, int(prepared.kind), stream, prepared.record, prepared.digest, link)
    )
    connection.execute(_ADVANCE, (position, link))
    return RecordedEvent(
        position=position,
        recorded_at=recorded_at,
        kind=prepared.kind,
        thread_id=event.thread_id,
        checkpoint_ns=event.checkpoint_ns if event.thread_id is not None else None,
        data=event.data,
        size=len(prepared.record),
        digest=prepared.digest,
        link=link,
        stream=stream,
        thread=thread,
    )
