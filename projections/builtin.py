"""What each event does to the built-in projections (FORMAT.md section 4), live and in a rebuild alike."""

from __future__ import annotations

from typing import Any

import apsw

from ..eventlog.event import (
    Carry,
    CopiedStream,
    Copy,
    DeleteForRuns,
    DeleteThread,
    Prune,
    Put,
    PutWrites,
    RecordedEvent,
    Removal,
    Restate,
    RestateWrites,
    Thread,
    put_of,
    writes_of,
)
from ..eventlog.plain import pack, unpack
from ..eventlog.reader import EventReader
from ..eventlog.streams import StreamKeys
from .history import CheckpointRow, History
from .ids import to_key
from .metadata_index import MetadataIndex
from .pending_writes import PendingWrites, WritesRow
from .recent import Recent
from .table import Table
from .threads import Threads

__all__ = ["BuiltIn", "metadata_in_copy"]


class BuiltIn:
    """The tables, or with a suffix their shadows.

    Args:
        reader: reads the events that a copy names.
        keys: finds streams, and adds those that a copy makes.
        suffix: of the tables' names.
    """

    def __init__(self, reader: EventReader, keys: StreamKeys, *, suffix: str = "") -> None:
        self.history = History(suffix)
        self.recent = Recent(suffix)
        self.pending_writes = PendingWrites(suffix)
        self.threads = Threads(suffix)
        self.metadata_index = MetadataIndex(suffix)
        self.tables: tuple[Table, ...] = (
            self.history,
            self.recent,
            self.pending_writes,
            self.threads,
            self.metadata_index,
        )
        self._reader = reader
        self._keys = keys
        # By far the most events are new checkpoints and writes: what each of those does is run as one statement. The
        # checkpoint comes last: what `changes` tells is of that.
        touch = self.threads.sql(Threads.TOUCH)
        self._add_checkpoint = f"{touch};{self.recent.sql(Recent.ADD)}"
        self._add_writes = f"{touch};{self.pending_writes.sql(PendingWrites.ADD)}"

    def apply(self, connection: apsw.Connection, event: RecordedEvent) -> None:
        """Take in one event, in the caller's transaction."""
        self.recent.prepare(connection, event)
        match event.data:
            case Put():
                self._put(connection, event, event.data, hidden=False)
            case Restate():
                self._put(connection, event, event.data.put, hidden=event.data.hidden)
            case PutWrites():
                self._put_writes(connection, event, event.data)
            case RestateWrites():
                self._restate_writes(connection, event, event.data)
            case DeleteThread():
                assert event.thread is not None
                self._delete_thread(connection, event.thread)
            case DeleteForRuns():
                self._remove_all(connection, event.data.removals)
            case Prune():
                for thread_id in event.data.deleted_threads:
                    thread = self._keys.find_thread(connection, thread_id)
                    if thread is not None:
                        self._delete_thread(connection, thread)
                self._remove_all(connection, event.data.removals)
            case Copy():
                self._copy(connection, event, event.data)
            case Thread():
                assert event.thread is not None
                self.threads.touch(connection, event.thread, event.recorded_at)
                self.threads.describe(connection, event.thread, event.data.name, pack(event.data.metadata))
            case Carry(projection="threads"):
                self._carry(connection, event.data)

    def _put(self, connection: apsw.Connection, event: RecordedEvent, put: Put, *, hidden: bool) -> None:
        assert event.stream is not None
        assert event.thread is not None
        row = CheckpointRow(
            event.stream,
            put.checkpoint_id,
            event.position,
            event.position,
            put.parent_id,
            hidden,
            event.size,
            put.metadata,
        )
        if isinstance(event.data, Restate):
            checkpoints, size = self._put_row(connection, row)
            self.threads.ensure(connection, event.thread, event.recorded_at)
            self.threads.change(connection, event.thread, checkpoints=checkpoints, writes=0, size=size)
            return
        metadata = unpack(put.metadata)
        values = self.history.values(row, metadata)
        connection.execute(self._add_checkpoint, (event.thread, event.recorded_at, 1, 0, event.size, *values))
        if connection.changes():
            self.metadata_index.put(connection, event.stream, put.checkpoint_id, metadata, new=True)
            return
        # One of that id is there: all that has been done is to count one more.
        self.recent.settle(connection)
        checkpoints, size = self._put_row(connection, row)
        self.threads.change(connection, event.thread, checkpoints=checkpoints - 1, writes=0, size=size - event.size)

    def _put_row(self, connection: apsw.Connection, row: CheckpointRow) -> tuple[int, int]:
        """Put a row; give by how much the visible checkpoints and the bytes have grown."""
        metadata = unpack(row.metadata)
        old = self.history.put(connection, row, metadata)
        self.metadata_index.put(connection, row.stream, row.checkpoint_id, metadata, new=old is None)
        old_hidden, old_size = old or (True, 0)
        return int(not row.hidden) - int(not old_hidden), row.size - old_size

    def _put_writes(self, connection: apsw.Connection, event: RecordedEvent, data: PutWrites) -> None:
        assert event.stream is not None
        position, count, size = event.position, len(data.writes), event.size
        row = (event.stream, to_key(data.checkpoint_id), position, 0, position, count, size)
        connection.execute(self._add_writes, (event.thread, event.recorded_at, 0, count, size, *row))

    def _restate_writes(self, connection: apsw.Connection, event: RecordedEvent, data: RestateWrites) -> None:
        assert event.stream is not None
        assert event.thread is not None
        count = len(data.writes.writes)
        place = (event.stream, data.writes.checkpoint_id, data.applied, data.ordinal)
        writes, size = self.pending_writes.put(connection, WritesRow(*place, event.position, count, event.size))
        self.threads.ensure(connection, event.thread, event.recorded_at)
        self.threads.change(connection, event.thread, checkpoints=0, writes=writes, size=size)

    def _delete_thread(self, connection: apsw.Connection, thread: int) -> None:
        for stream, _ in self._keys.streams_of(connection, thread):
            self.history.remove_stream(connection, stream)
            self.pending_writes.remove_stream(connection, stream)
            self.metadata_index.remove_stream(connection, stream)
        self.threads.remove(connection, thread)

    def _remove_all(self, connection: apsw.Connection, removals: tuple[Removal, ...]) -> None:
        for removal in removals:
            found = self._keys.find(connection, removal.thread_id, removal.checkpoint_ns)
            if found is not None:
                self._remove(connection, removal, *found)

    def _remove(self, connection: apsw.Connection, removal: Removal, thread: int, stream: int) -> None:
        checkpoints = writes = size = 0
        for checkpoint_id in removal.removed:
            old_hidden, old_size = self.history.remove(connection, stream, checkpoint_id) or (True, 0)
            self.metadata_index.remove(connection, stream, checkpoint_id)
            old_writes, writes_size = self.pending_writes.remove(connection, stream, checkpoint_id)
            checkpoints += int(not old_hidden)
            writes += old_writes
            size += old_size + writes_size
        for checkpoint_id in removal.hidden:
            checkpoints += int(self.history.hide(connection, stream, checkpoint_id))
        self.threads.change(connection, thread, checkpoints=-checkpoints, writes=-writes, size=-size)

    def _copy(self, connection: apsw.Connection, event: RecordedEvent, data: Copy) -> None:
        assert event.thread is not None
        assert event.thread_id is not None
        checkpoints = writes = size = ordinal = 0
        for copied in data.streams:
            _, stream = self._keys.ensure(connection, event.thread_id, copied.checkpoint_ns)
            more, grown = self._copy_checkpoints(connection, event, data, copied, stream)
            checkpoints += more
            size += grown
            for checkpoint_id, position in copied.writes:
                found = self._reader.data(connection, position)
                put_writes = None if found is None else writes_of(found[1])
                if found is not None and put_writes is not None:
                    row = WritesRow(
                        stream, checkpoint_id, event.position, ordinal, position, len(put_writes.writes), found[2]
                    )
                    self.pending_writes.add(connection, row)
                    writes += row.writes
                    size += row.size
                ordinal += 1
        self.threads.touch(
            connection, event.thread, event.recorded_at, checkpoints=checkpoints, writes=writes, size=size
        )
        if data.metadata is not None:
            self.threads.set_metadata(connection, event.thread, pack(data.metadata))

    def _copy_checkpoints(
        self, connection: apsw.Connection, event: RecordedEvent, data: Copy, copied: CopiedStream, stream: int
    ) -> tuple[int, int]:
        checkpoints = size = 0
        for checkpoint_id, position, hidden in copied.checkpoints:
            found = self._reader.data(connection, position)
            put = None if found is None else put_of(found[1])
            if found is None or put is None:
                continue  # erased since: a later event removes what was copied
            # The record's own thread, which is not the copy's source if that is a copy itself.
            own = None if found[0] is None else self._keys.address(connection, found[0])
            metadata = metadata_in_copy(put.metadata, data.source_thread_id if own is None else own[0], event.thread_id)
            row = CheckpointRow(
                stream, checkpoint_id, position, event.position, put.parent_id, hidden, found[2], metadata
            )
            more, grown = self._put_row(connection, row)
            checkpoints += more
            size += grown
        return checkpoints, size

    def _carry(self, connection: apsw.Connection, data: Carry) -> None:
        for thread_id, created_at, last_activity in data.facts:
            thread = self._keys.find_thread(connection, thread_id)
            if thread is not None:
                self.threads.carry(connection, thread, created_at, last_activity)


def metadata_in_copy(metadata: bytes, source: str, target: str | None) -> bytes:
    """Give metadata as the copy has it: where it names its own thread, it names the new one."""
    unpacked: dict[str, Any] = unpack(metadata)
    if unpacked.get("thread_id") != source:
        return metadata
    return pack({**unpacked, "thread_id": target})
