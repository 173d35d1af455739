"""Rows and records turned into CheckpointTuples.

Gathering reads, within one read transaction; building decodes, outside of it. Every object that is handed out is new.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import apsw
from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata, CheckpointTuple, PendingWrite
from langgraph.checkpoint.serde.base import SerializerProtocol

from ..eventlog.errors import CorruptRecordError
from ..eventlog.event import EventData, Field, Put, PutWrites, put_of
from ..eventlog.log import EventLog
from ..eventlog.opened import OpenedRecord
from ..eventlog.resolve import Chain, Resolver, complete
from ..eventlog.value import Carried, Stored, Value
from ..projections.builtin import BuiltIn
from ..projections.history import CheckpointRow
from ..projections.pending_writes import EffectiveWrite, WritesRow, effective
from .cloning import clone_of_plain
from .config import config_of
from .decoder import Decoder
from .differences import Known, KnownValue, known_from_log
from .memory import Memory
from .parts import parts_of_value
from .serialising import load, load_metadata

__all__ = ["Gathered", "Gatherer", "build", "build_write"]


@dataclass(frozen=True, slots=True)
class Gathered:
    """A checkpoint's stored parts."""

    row: CheckpointRow
    put: Put
    channels: dict[str, Value]
    channel_versions: Value
    versions_seen: Value
    writes: list[EffectiveWrite]


class Gatherer:
    """Reads what checkpoints are made of, if it is not in memory. Lives for one read transaction."""

    def __init__(self, log: EventLog, views: BuiltIn, connection: apsw.Connection, memory: Memory) -> None:
        self._log = log
        self._views = views
        self._connection = connection
        self._open = partial(log.reader.open, connection, known=memory.records)
        # Without a reference to this object: memory may be large, and is freed at once if nothing is circular.
        self._resolver = Resolver(partial(_load, self._open), path=log.path, values=memory.values)

    def gather(self, row: CheckpointRow) -> Gathered:
        """Read a checkpoint with its pending writes.

        Raises:
            CorruptRecordError: a record is damaged, or not the one that the row says it is.
        """
        put = self.put_of(row)
        return Gathered(
            row,
            put,
            self._resolver.all_channels(row.position, put),
            self._resolver.channel_versions(row.position, put),
            self._resolver.versions_seen(row.position, put),
            self.writes_of(row),
        )

    def put_of(self, row: CheckpointRow) -> Put:
        """Read a checkpoint's put, checked against the row that points at it."""
        stream, data = self._event(row.position, row.applied)
        put = put_of(data)
        copied = row.applied != row.position
        if put is None or put.checkpoint_id != row.checkpoint_id or (stream != row.stream and not copied):
            raise self._mismatch(row.position, row.checkpoint_id)
        return put

    def writes_of(self, row: CheckpointRow) -> list[EffectiveWrite]:
        """Read a checkpoint's pending writes, in their order."""
        rows = self._views.pending_writes.of(self._connection, row.stream, row.checkpoint_id)
        return effective([self._writes(r) for r in rows])

    def _writes(self, row: WritesRow) -> PutWrites:
        stream, data = self._event(row.position, row.applied)
        copied = row.applied != row.position
        if (
            not isinstance(data, PutWrites)
            or data.checkpoint_id != row.checkpoint_id
            or (stream != row.stream and not copied)
        ):
            raise self._mismatch(row.position, row.checkpoint_id)
        return data

    def channel(self, row: CheckpointRow, put: Put, name: str) -> Value:
        """Give one channel's value."""
        return self._resolver.channel(row.position, name, put.channels[name])

    def known(self, row: CheckpointRow, serde: SerializerProtocol) -> Known:
        """Give what is known of a checkpoint's values, for its child's to be differences to."""
        put, at = self.put_of(row), row.position

        def known(stored: Stored, value: Value, chain: Chain) -> KnownValue:
            return known_from_log(parts_of_value(value), chain, stored.base if isinstance(stored, Carried) else at)

        channels = {
            name: known(stored, self._resolver.channel(at, name, stored), self._resolver.chain(at, name, stored))
            for name, stored in put.channels.items()
        }
        versions, seen = self._resolver.chain_of_versions(at, put)
        fields = {
            "channel_versions": known(put.channel_versions, self._resolver.channel_versions(at, put), versions),
            "versions_seen": known(put.versions_seen, self._resolver.versions_seen(at, put), seen),
        }
        return Known(serde, channels, fields)

    def _event(self, position: int, needed_by: int) -> tuple[int | None, EventData]:
        opened = self._open(position)
        if opened is None:
            raise CorruptRecordError(
                f"it refers to event {position}, which is not there", path=self._log.path, position=needed_by
            )
        return opened.stream, opened.data()

    def _mismatch(self, position: int, checkpoint_id: str) -> CorruptRecordError:
        return CorruptRecordError(
            f"a projection says that it holds checkpoint {checkpoint_id!r}, but it does not: rebuild() mends that",
            path=self._log.path,
            position=position,
        )


def _load(open_record: Callable[[int], OpenedRecord | None], position: int, field: Field) -> Stored | None:
    opened = open_record(position)
    return None if opened is None else opened.stored(field)


def build(decoder: Decoder, gathered: Gathered, thread_id: Any, checkpoint_ns: str) -> CheckpointTuple:
    """Decode a checkpoint: every object in it is new."""
    row, put = gathered.row, gathered.put
    checkpoint: dict[str, Any] = {
        **clone_of_plain(put.frame),
        **({} if put.rest is None else load(decoder.serde, put.rest)),
        "id": row.checkpoint_id,
        "channel_values": {name: decoder.value(value) for name, value in gathered.channels.items()},
        "channel_versions": decoder.value(gathered.channel_versions),
        "versions_seen": decoder.value(gathered.versions_seen),
    }
    parent = None if row.parent_id is None else config_of(thread_id, checkpoint_ns, row.parent_id)
    return CheckpointTuple(
        config=config_of(thread_id, checkpoint_ns, row.checkpoint_id),
        checkpoint=cast(Checkpoint, checkpoint),
        metadata=cast(CheckpointMetadata, load_metadata(decoder.serde, row.metadata)),
        parent_config=parent,
        pending_writes=[build_write(decoder, write) for write in gathered.writes],
    )


def build_write(decoder: Decoder, write: EffectiveWrite) -> PendingWrite:
    """Decode a write."""
    return write.task_id, write.channel, decoder.value(complete(write.value))
