"""Rows and records turned into CheckpointTuples.

Gathering reads, within one read transaction; building decodes, outside of it. Every object that is handed out is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import apsw
from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata, CheckpointTuple, PendingWrite
from langgraph.checkpoint.serde.base import SerializerProtocol

from ..eventlog.delta import Chain
from ..eventlog.errors import CorruptRecordError
from ..eventlog.event import Field, Put, PutWrites, put_of, writes_of
from ..eventlog.log import EventLog
from ..eventlog.opened import OpenedRecord
from ..eventlog.resolve import Resolver, complete
from ..eventlog.sql import the_row
from ..eventlog.value import Carried, Stored, Value
from ..projections.builtin import BuiltIn
from ..projections.history import CheckpointRow
from ..projections.pending_writes import EffectiveWrite, WritesRow, effective
from .cloning import clone_of_plain
from .config import config_of
from .decoder import Decoder
from .differences import known_from_log
from .known import Known, KnownValue
from .memory import Memory
from .parts import parts_of_value
from .serialising import load_fields, load_metadata

__all__ = ["Gathered", "Gatherer", "build", "build_write"]

# Of how many checkpoints records are read at once: few enough for all to be remembered until their turn comes.
_READ_AHEAD = 8
_GENERATION = "SELECT generation FROM meta"


@dataclass(frozen=True, slots=True)
class Gathered:
    """A checkpoint's stored parts."""

    row: CheckpointRow
    put: Put
    channels: dict[str, Value]
    channel_versions: Value
    versions_seen: Value
    writes: Sequence[EffectiveWrite]


class Gatherer:
    """Reads what checkpoints are made of, if it is not in memory. Lives for one read transaction."""

    def __init__(self, log: EventLog, views: BuiltIn, connection: apsw.Connection, memory: Memory) -> None:
        self._log = log
        self._views = views
        self._connection = connection
        self._open = log.reader.opener(connection, memory.records)
        self._open_ahead = partial(log.reader.open_ahead, connection, known=memory.records)
        # Without a reference to this object: memory may be large, and is freed at once if nothing is circular.
        self._resolver = Resolver(partial(_load, self._open), path=log.path, values=memory.values)

    def gather(self, row: CheckpointRow) -> Gathered:
        """Read a checkpoint with its pending writes.

        Raises:
            CorruptRecordError: a record is damaged, or not the one that the row says it is.
        """
        return self._gather(row, self._views.pending_writes.of(self._connection, row.stream, row.checkpoint_id))

    def gather_page(self, rows: Sequence[CheckpointRow]) -> list[Gathered]:
        """Do what `gather` does for several, the newest first."""
        writes = self.writes_at(rows)
        gathered: list[Gathered] = []
        # The oldest first: most are differences to the one before.
        oldest_first = rows[::-1]
        for first in range(0, len(oldest_first), _READ_AHEAD):
            some = [(row, writes(row)) for row in oldest_first[first : first + _READ_AHEAD]]
            positions = [row.position for row, _ in some]
            positions += [its.position for _, its_writes in some for its in its_writes]
            self._open_ahead(positions)
            gathered += [self._gather(row, its_writes) for row, its_writes in some]
        return gathered[::-1]

    def _gather(self, row: CheckpointRow, writes: Iterable[WritesRow]) -> Gathered:
        put = self.put_of(row)
        return Gathered(row, put, *self.values_of(row, put), self.effective(writes))

    def values_of(self, row: CheckpointRow, put: Put) -> tuple[dict[str, Value], Value, Value]:
        """Give the values of a checkpoint's channels, its channel_versions and versions_seen; `put` is its put."""
        return (
            self._resolver.all_channels(row.position, put),
            self._resolver.channel_versions(row.position, put),
            self._resolver.versions_seen(row.position, put),
        )

    def put_of(self, row: CheckpointRow) -> Put:
        """Read a checkpoint's put, checked against the row that points at it."""
        put = put_of(self.opened(row).data())
        if put is None:
            raise self._mismatch(row)
        return put

    def writes_at(self, rows: Sequence[CheckpointRow]) -> Callable[[CheckpointRow], list[WritesRow]]:
        """Find the pending writes of several checkpoints at once; give what tells those of each."""
        ids: dict[int, list[str]] = {}
        for row in rows:
            ids.setdefault(row.stream, []).append(row.checkpoint_id)
        of_several = self._views.pending_writes.of_several
        found = {stream: of_several(self._connection, stream, some) for stream, some in ids.items()}
        return lambda row: found[row.stream].get(row.checkpoint_id, [])

    def effective(self, rows: Iterable[WritesRow]) -> Sequence[EffectiveWrite]:
        """Read a checkpoint's pending writes, and give those that count, in their order."""
        rows = list(rows)
        if len(rows) != 1:
            return effective([self._writes(row) for row in rows])
        # As nearly always. Walks over a delta channel's ancestors ask again and again.
        opened = self.opened(rows[0])
        if opened.derived is None:
            opened.derived = tuple(effective([self._writes(rows[0])]))
        found: Sequence[EffectiveWrite] = opened.derived
        return found

    def _writes(self, row: WritesRow) -> PutWrites:
        data = writes_of(self.opened(row).data())
        if data is None:
            raise self._mismatch(row)
        return data

    def channels_of(self, row: CheckpointRow, names: Set[str]) -> dict[str, Value]:
        """Give the values that a checkpoint holds of some channels; what else it holds is not looked at."""
        opened = self.opened(row)
        if not opened.is_put:
            raise self._mismatch(row)
        if opened.channels.isdisjoint(names):
            return {}
        stored = ((name, opened.stored(Field("channel", name))) for name in names)
        return {name: self._resolver.channel(row.position, name, s) for name, s in stored if s is not None}

    def known(self, row: CheckpointRow, serde: SerializerProtocol) -> Known:
        """Give what is known of a checkpoint's values, for its child's to be differences to."""
        put, at = self.put_of(row), row.position
        resolver, read = self._counting(row)

        found = {
            name: (stored, resolver.channel(at, name, stored), resolver.chain(at, name, stored))
            for name, stored in put.channels.items()
        }
        versions, seen = resolver.chain_of_versions(at, put)
        found_fields = {
            "channel_versions": (put.channel_versions, resolver.channel_versions(at, put), versions),
            "versions_seen": (put.versions_seen, resolver.versions_seen(at, put), seen),
        }
        channels = {name: _known(at, *one, read) for name, one in found.items()}
        fields = {name: _known(at, *one, read) for name, one in found_fields.items()}
        generation: int = the_row(self._connection, _GENERATION)[0]
        return Known(serde, at, channels, fields, sum(read.values()), generation)

    def known_channels(self, row: CheckpointRow, names: Set[str]) -> tuple[dict[str, KnownValue], int]:
        """Give what is known of those of some channels that a checkpoint holds, and how many bytes are read for it."""
        opened = self.opened(row)
        if not opened.is_put or opened.channels.isdisjoint(names):
            return {}, 0
        at = row.position
        resolver, read = self._counting(row)
        stored = {name: value for name in names if (value := opened.stored(Field("channel", name))) is not None}
        found = {
            name: (value, resolver.channel(at, name, value), resolver.chain(at, name, value))
            for name, value in stored.items()
        }
        return {name: _known(at, *one, read) for name, one in found.items()}, sum(read.values())

    def _counting(self, row: CheckpointRow) -> tuple[Resolver, dict[int, int]]:
        """Give what resolves a checkpoint's values, and the bytes of each event that it reads for that, as it does."""
        read: dict[int, int] = {row.position: self.opened(row).body_bytes}

        def load(position: int, field: Field) -> Stored | None:
            opened = self._open(position)
            if opened is None:
                return None
            read[position] = opened.body_bytes
            return opened.stored(field)

        # One that remembers nothing: what is read for the checkpoint is to be counted.
        return Resolver(load, path=self._log.path), read

    def opened(self, row: CheckpointRow | WritesRow) -> OpenedRecord:
        """Read the record that a row points at, checked against the row."""
        opened = self._open(row.position)
        if opened is None:
            raise CorruptRecordError(
                f"it refers to event {row.position}, which is not there", path=self._log.path, position=row.applied
            )
        copied = row.applied != row.position
        if opened.checkpoint_id != row.checkpoint_id or (opened.stream != row.stream and not copied):
            raise self._mismatch(row)
        return opened

    def _mismatch(self, row: CheckpointRow | WritesRow) -> CorruptRecordError:
        return CorruptRecordError(
            f"a projection says that it holds checkpoint {row.checkpoint_id!r}, but it does not: rebuild() mends that",
            path=self._log.path,
            position=row.position,
        )


def _known(at: int, stored: Stored, value: Value, chain: Chain, read: Mapping[int, int]) -> KnownValue:
    stored_at = stored.base if isinstance(stored, Carried) else at
    return known_from_log(parts_of_value(value), chain, stored_at, read)


def _load(open_record: Callable[[int], OpenedRecord | None], position: int, field: Field) -> Stored | None:
    opened = open_record(position)
    return None if opened is None else opened.stored(field)


def build(decoder: Decoder, gathered: Gathered, thread_id: Any, checkpoint_ns: str) -> CheckpointTuple:
    """Decode a checkpoint: every object in it is new."""
    row, put = gathered.row, gathered.put
    checkpoint: dict[str, Any] = {
        **clone_of_plain(put.frame),
        **({} if put.rest is None else load_fields(decoder.serde, put.rest)),
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
