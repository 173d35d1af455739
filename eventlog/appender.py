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
# Two statements that are run as one: a call into SQLite less.
_APPEND = """
INSERT INTO event (position, recorded_at, kind, stream, record, digest, link) VALUES (?, ?, ?, ?, ?, ?, ?);
UPDATE meta SET head = ?, link = ?"""


@dataclass(slots=True)
class PreparedEvent:
    """A new event, encoded. Nobody changes it: but to be frozen would take each append a microsecond."""

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
    connection: apsw.Connection,
    prepared: PreparedEvent,
    *,
    head: Head | RecordedEvent,
    keys: StreamKeys,
    clock: Callable[[], int],
) -> RecordedEvent:
    """Append after `head`, in the write transaction that the caller has begun, and will commit."""
    event, kind, record, digest = prepared.event, prepared.kind, prepared.record, prepared.digest
    position, recorded_at, thread_id = head.position + 1, clock(), event.thread_id
    thread = stream = checkpoint_ns = address = None
    if thread_id is not None:
        checkpoint_ns = event.checkpoint_ns
        address = (thread_id, checkpoint_ns)
        thread, stream = keys.known.get(address) or keys.ensure(connection, thread_id, checkpoint_ns)
    inner = inner_of(recorded_at=recorded_at, address=address, digest=digest)
    link = link_of(head.link, leaf_of(position=position, kind=kind, inner=inner))
    connection.execute(_APPEND, (position, recorded_at, kind, stream, record, digest, link, position, link))
    # By place: named arguments would take as long again.
    return RecordedEvent(
        position, recorded_at, kind, thread_id, checkpoint_ns, event.data, len(record), digest, link, stream, thread
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
