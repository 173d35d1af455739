"""Rows whose records refer to what is to go, encoded again: the same checkpoint, or writes, in other bytes.

Values stay what they are, opaque bytes: nothing here asks a serializer. A checkpoint's are stored as what differs from
the nearest ancestor's whose record stays, or was restated already, by the rules that puts go by; and when a copy of it
has been restated, all of them by reference to that.

Compressing happens before the write lock is taken, when nobody knows yet at which position an event will be appended.
So what is encoded together stands at positions beyond all others until then, in the order in which it will be appended:
a record names its bases in its header only, and values name them by their rank there, which stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import apsw

from ...eventlog import record as record_codec
from ...eventlog.appender import PreparedEvent
from ...eventlog.body import bases_of, encode_body, kind_of
from ...eventlog.event import Field, NewEvent, Put, PutWrites, Restate, RestateWrites, writes_of
from ...eventlog.integrity import digest_of
from ...eventlog.record import MAX_BASES
from ...eventlog.value import Carried, Stored, Whole, moved
from ...projections.builtin import BuiltIn
from ...projections.history import CheckpointRow
from ...projections.pending_writes import WritesRow
from ..core import Core
from ..decoding import Gatherer
from ..differences import express_all
from ..encoding import FIELDS, field_before
from ..known import Known, KnownCheckpoints, KnownValue
from ..memory import Memory
from ..parts import WHOLE, Parts, parts_of_value
from ..seeds import serialised_snapshots_alone, with_seeds
from .affected import Fate

__all__ = ["Encoded", "Encoder"]

# Beyond all positions.
_LATER = 1 << 62
# So many are looked at of a checkpoint's, if all of them are to be restated after it: putting ids again can make that.
_MOST_ANCESTORS = 64
_MAX_BYTES_KNOWN = 32 * 1024 * 1024
_MAX_BYTES_READ = 128 * 1024 * 1024  # of a Memory, most of which is for what is not needed here
_MIN_FIELD_BYTES = 64
_NOBODY: Any = object()  # in the place of a serializer


class Encoded(NamedTuple):
    """A row's record, encoded anew.

    Attributes:
        row: as it was read; if it is another by now, this is of no use.
        at: beyond all positions, until it is appended.
        event: what is to be appended.
        record: its record.
        digest: of that; None as long as it refers to what has not been appended yet.
        bases: what that refers to; some may stand beyond all positions.
        known: of a checkpoint that others may be compared with.
    """

    row: CheckpointRow | WritesRow
    at: int
    event: NewEvent
    record: bytes
    digest: bytes | None
    bases: frozenset[int]
    known: Known | None

    def prepared(self, at: Mapping[int, int]) -> PreparedEvent | None:
        """Give what is appended, now that it is known where its bases were; None if one of them was not appended."""
        bases = frozenset(at.get(base, base) for base in self.bases)
        if _waits(bases):
            return None
        event, record, digest = self.event, self.record, self.digest
        if digest is None:
            record = record_codec.with_bases(record, bases)
            digest = digest_of(record)
            assert isinstance(event.data, Restate)
            event = event._replace(data=Restate(event.data.hidden, _moved(event.data.put, at)))
        return PreparedEvent(event, kind_of(event.data), record, digest, bases)


class Encoder:
    """Encodes the rows of one stream again, the earlier positions first.

    Args:
        core: of the log.
        fate: tells what may be referred to.
        address: the stream's thread and namespace.
        restated: where the first restate of an old position stands, if rows of other streams point at that, too.
    """

    def __init__(self, core: Core, fate: Fate, address: tuple[str, str], restated: Mapping[int, int]) -> None:
        self._core = core
        self._fate = fate
        self._address = address
        self._restated = restated
        self._memory = Memory(0)
        self._known = KnownCheckpoints(_MAX_BYTES_KNOWN)
        self._waiting: dict[str, Encoded] = {}
        self._count = 0
        self._views: BuiltIn = core.views

    def begin(self, connection: apsw.Connection, *, is_writing: bool = False) -> None:
        """Say that a transaction begins in which rows are read."""
        if not self._memory.max_bytes and not is_writing:
            self._memory = Memory(_MAX_BYTES_READ)
        self._views = self._core.views
        self._connection = connection
        self._gatherer = Gatherer(self._core.log, self._views, connection, self._memory)
        self._waiting = {}

    def encode(self, row: CheckpointRow | WritesRow) -> Encoded:
        """Encode a row's record anew.

        Raises:
            CorruptRecordError: it cannot be read.
        """
        self._count += 1
        if isinstance(row, WritesRow):
            return self._writes(row)
        put = self._gatherer.put_of(row)
        put = put._replace(metadata=row.metadata, parent_id=row.parent_id)
        copied = self._carried(row, put)
        known = None
        if copied is None:
            put, known = self._expressed(row, put)
        else:
            put = copied
        encoded = self._encoded(row, Restate(bool(row.hidden), put), known)
        if known is not None:
            self._waiting[row.checkpoint_id] = encoded
        return encoded

    def appended(self, encoded: Encoded, at: Mapping[int, int]) -> None:
        """Take in that a checkpoint has been appended, and committed: others may be compared with it."""
        if encoded.known is not None:
            assert isinstance(encoded.row, CheckpointRow)
            self._known.remember(("", "", encoded.row.checkpoint_id), _settled(encoded.known, at))

    def _writes(self, row: WritesRow) -> Encoded:
        data = writes_of(self._gatherer.opened(row).data())
        assert data is not None  # the record of such a row is one, or damaged
        return self._encoded(row, RestateWrites(row.applied, row.ordinal, data), None)

    def _encoded(self, row: CheckpointRow | WritesRow, data: Restate | RestateWrites, known: Known | None) -> Encoded:
        bases = bases_of(data)
        record = record_codec.encode(encode_body(data, bases, self._gatherer.opened(row).more), bases)
        digest = None if _waits(bases) else digest_of(record)
        return Encoded(row, _LATER + self._count, NewEvent(data, *self._address), record, digest, bases, known)

    def _carried(self, row: CheckpointRow, put: Put) -> Put | None:
        """Give a checkpoint by reference to the restate of the same record, made for another row; None if none was."""
        position = self._restated.get(row.position)
        opened = None if position is None else self._core.log.reader.open(self._connection, position)
        if position is None or opened is None:
            return None
        at = position

        def carried(field: Field, *, may_stay: bool = False) -> Stored:
            stored = opened.stored(field)
            assert stored is not None
            # A small map is no larger than a reference to it.
            is_small = may_stay and isinstance(stored, Whole) and len(stored.data) < _MIN_FIELD_BYTES
            return stored if is_small or isinstance(stored, Carried) else Carried(at)

        return put._replace(
            channels={name: carried(Field("channel", name)) for name in put.channels},
            channel_versions=carried(Field("channel_versions"), may_stay=True),
            versions_seen=carried(Field("versions_seen"), may_stay=True),
        )

    def _expressed(self, row: CheckpointRow, put: Put) -> tuple[Put, Known]:
        channels, *maps = self._gatherer.values_of(row, put)
        parts = {name: parts_of_value(value) for name, value in channels.items()}
        fields = {name: parts_of_value(value) for name, value in zip(FIELDS, maps, strict=True)}
        before = self._before(row)
        if before is not None:
            before = self._with_seeds(row, before, parts)
        put, known = self._against(before, put, parts, fields)
        if len(bases_of(put)) > MAX_BASES:
            put, known = self._against(None, put, parts, fields)
        return put, known

    def _against(
        self, before: Known | None, put: Put, parts: Mapping[str, Parts], fields: Mapping[str, Parts]
    ) -> tuple[Put, Known]:
        values: list[tuple[str, Parts, KnownValue | None]] = [
            (name, its, None if before is None else before.channels.get(name)) for name, its in parts.items()
        ]
        values += [(name, its, field_before(before, name, its)) for name, its in fields.items()]
        stored, now, read_bytes = express_all(values, before)
        versions, seen = (value for _, value in stored[-len(FIELDS) :])
        put = put._replace(channels=dict(stored[: -len(FIELDS)]), channel_versions=versions, versions_seen=seen)
        own, its_maps = dict(now[: -len(FIELDS)]), dict(now[-len(FIELDS) :])
        return put, Known(_NOBODY, _LATER + self._count, own, its_maps, read_bytes)

    # What a checkpoint is compared with.

    def _before(self, row: CheckpointRow) -> Known | None:
        for ancestor in islice(self._ancestors(row), _MOST_ANCESTORS):
            known = self._known_of(ancestor)
            if known is None and self._fate.stays(self._connection, ancestor.position):
                known = self._gatherer.known(ancestor, _NOBODY)
                self._known.remember(("", "", ancestor.checkpoint_id), known)
            if known is not None:
                self._take_in_writes(ancestor, known)
                return known
        return None

    def _with_seeds(self, row: CheckpointRow, before: Known, parts: Mapping[str, Parts]) -> Known:
        """Add what the snapshots of delta channels are compared with: what an ancestor further away has of them."""
        whole = {name: its.elements[0] for name, its in parts.items() if its.form is WHOLE}
        alone = serialised_snapshots_alone(whole, before)
        return with_seeds(before, self._ancestors(row), alone, self._look) if alone else before

    def _look(self, row: CheckpointRow, channels: Set[str]) -> tuple[Mapping[str, KnownValue], int]:
        known = self._known_of(row)
        if known is not None:
            found = {name: known.channels[name] for name in channels & known.channels.keys()}
            return {
                name: its if its.at is not None else replace(its, at=known.position) for name, its in found.items()
            }, known.read_bytes if found else 0
        stays = self._fate.stays(self._connection, row.position)
        return self._gatherer.known_channels(row, channels) if stays else ({}, 0)

    def _known_of(self, row: CheckpointRow) -> Known | None:
        waiting = self._waiting.get(row.checkpoint_id)
        return self._known.get(("", "", row.checkpoint_id), _NOBODY) if waiting is None else waiting.known

    def _ancestors(self, row: CheckpointRow) -> Iterator[CheckpointRow]:
        history = self._views.history
        parent = None if row.parent_id is None else history.one(self._connection, row.stream, row.parent_id)
        if parent is None or parent.checkpoint_id == row.checkpoint_id:
            return
        yield parent  # nearly always that is all
        for ancestor in history.ancestors(self._connection, parent):
            if ancestor.checkpoint_id == row.checkpoint_id:
                return
            yield ancestor

    def _take_in_writes(self, row: CheckpointRow, known: Known) -> None:
        """Have elements that stand in writes at an ancestor be slices of those, if these stay."""
        if len(known.written):
            return
        for its in self._views.pending_writes.of(self._connection, row.stream, row.checkpoint_id):
            if self._fate.stays(self._connection, its.position):
                data = self._gatherer.opened(its).data()
                if isinstance(data, PutWrites):
                    known.written.add(data, its.position)


def _waits(bases: frozenset[int]) -> bool:
    return bool(bases) and max(bases) >= _LATER


def _moved(put: Put, at: Mapping[int, int]) -> Put:
    return put._replace(
        channels={name: moved(value, at) for name, value in put.channels.items()},
        channel_versions=moved(put.channel_versions, at),
        versions_seen=moved(put.versions_seen, at),
    )


def _settled(known: Known, at: Mapping[int, int]) -> Known:
    """Give what is known of a checkpoint that has been appended, and what its values refer to."""

    def now(position: int | None) -> int | None:
        return position if position is None else at.get(position, position)

    def settled(value: KnownValue) -> KnownValue:
        chain, run = value.chain, value.chain.run
        if run is not None:
            chain = replace(chain, run=replace(run, at=now(run.at)))
        return replace(value, at=now(value.at), chain=chain)

    channels = {name: settled(value) for name, value in known.channels.items()}
    fields = {name: settled(value) for name, value in known.fields.items()}
    return Known(known.serde, at[known.position], channels, fields, known.read_bytes, None, known.written)
