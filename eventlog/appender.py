"""Appending: the only way an event gets in. Encoding happens outside of the lock; the rest is short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import apsw

from . import body as body_codec
from . import record as record_codec
from .body import bases_of, kind_of
from .errors import BaseErasedError
from .event import Head, Kind, NewEvent, RecordedEvent
from .integrity import digest_of, inner_of, leaf_of, link_of
from .sql import all_rows
from .streams import StreamKeys

__all__ = ["PreparedEvent", "append", "check_bases", "prepare"]

# One statement for up to so many; most puts have fewer.
_MAX_BASES_AT_ONCE = 16
_BASES = [
    f"SELECT position FROM event WHERE position IN ({', '.join('?' * count)}) AND kind IN (1, 2, 11)"
    for count in range(_MAX_BASES_AT_ONCE + 1)
]
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
    kind, bases = kind_of(event.data), bases_of(event.data)
    body = body_codec.encode_body(event.data, bases)
    record = None
    similar = event.similar
    if similar is not None:
        assert kind == Kind.PUT_WRITES
        # Reading a patch is reading two records: it is to be worth that.
        at_most = len(body) * similar.record_bytes // len(similar.body) // 4
        record = record_codec.encode_patch(body, similar.position, similar.body, at_most=at_most)
        if record is not None:
            bases = frozenset({similar.position})
    if record is None:
        record = record_codec.encode(body, bases)
    return PreparedEvent(event, kind, record, digest_of(record), bases)


def append(
    connection: apsw.Connection, prepared: PreparedEvent, *, head: Head, keys: StreamKeys, clock: Callable[[], int]
) -> RecordedEvent:
    """Append after `head`, in the write transaction that the caller has begun, and will commit."""
    event, kind = prepared.event, prepared.kind
    position, recorded_at = head.position + 1, clock()
    thread = stream = checkpoint_ns = address = None
    if event.thread_id is not None:
        checkpoint_ns = event.checkpoint_ns
        thread, stream = keys.ensure(connection, event.thread_id, checkpoint_ns)
        address = (event.thread_id, checkpoint_ns)
    inner = inner_of(recorded_at=recorded_at, address=address, digest=prepared.digest)
    link = link_of(head.link, leaf_of(position=position, kind=kind, inner=inner))
    connection.execute(_APPEND, (position, recorded_at, int(kind), stream, prepared.record, prepared.digest, link))
    connection.execute(_ADVANCE, (position, link))
    return RecordedEvent(
        position=position,
        recorded_at=recorded_at,
        kind=kind,
        thread_id=event.thread_id,
        checkpoint_ns=checkpoint_ns,
        data=event.data,
        size=len(prepared.record),
        digest=prepared.digest,
        link=link,
        stream=stream,
        thread=thread,
    )


def check_bases(connection: apsw.Connection, bases: frozenset[int], *, head: int, erased: bool) -> None:
    """Check that the events which one refers to are there, in the transaction that appends it.

    Raises:
        BaseErasedError: they are not all.
    """
    if not erased and max(bases) <= head:
        return  # they have been read from this log, or appended to it, and nothing has ever left it
    wanted = list(bases)
    found: set[int] = set()
    for first in range(0, len(wanted), _MAX_BASES_AT_ONCE):
        some = wanted[first : first + _MAX_BASES_AT_ONCE]
        found.update(position for (position,) in all_rows(connection, _BASES[len(some)], some))
    if len(found) < len(bases):
        raise BaseErasedError(tuple(sorted(bases - found)))
