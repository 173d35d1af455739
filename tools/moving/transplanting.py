"""Taking threads from one log into another, event by event, so that an auditor keeps their whole history.

Every event about the chosen threads comes along, in the order of the log, with its own time and with everything else as
it was: what a later version has added to a body, too. Positions are local to a file, and so are rewritten: bases, and
the positions that copies name. Values stay the opaque bytes that they are, under whatever serializer.

- What names a base that comes along names it where it stands now. Only the record's header changes then.
- A value whose base does not come along (it was another thread's, which was copied or forked from) is put together and
  stored in full, once; what carried it over, or differed from it, refers to that from then on.
- A copy or fork of a thread that comes along stays one. Of another, what it copied becomes events of the copy's own
  thread, just before it: put_writes, puts and (for hidden checkpoints) restates, with the time of the copy, and with
  nothing that the copy did not show. The copy itself stays, with the source's id, as part of the thread's history.
- delete_for_runs, prune, carry (for `threads`) and import events are narrowed to what comes along, and left out if
  that is nothing. Of delete_for_runs, the run ids are what was asked for, and stay.
- compaction events, and what users' projections carried, do not come along. What has been erased is not there, and
  leaves no hole: the import event says how many events the log had lost. When a thread began and was last active may
  then not be what its events say: see `carried_times`.
- A thread may get another id. Metadata of a checkpoint that names its own thread then names the new one.

`Transplant` gives the events; whoever appends them does so in order, and nothing else between.
"""

from __future__ import annotations

import json
from array import array as numbers
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import apsw

from ...eventlog import record as record_codec
from ...eventlog.appender import PreparedEvent, prepare
from ...eventlog.body import decode_array
from ...eventlog.errors import CorruptRecordError, EventLogError
from ...eventlog.event import EventData, Import, Kind, NewEvent, PutWrites, RecordedEvent
from ...eventlog.integrity import digest_of
from ...eventlog.log import EventLog
from ...eventlog.opened import OpenedRecord
from ...eventlog.plain import pack
from ...eventlog.record import base_of_patch
from ...eventlog.rewriting import as_put, metadata_of, narrowed_facts, narrowed_removals, with_copied, with_metadata
from ...eventlog.sql import the_row
from ...projections.builtin import metadata_in_copy
from .moved_values import MovedValues
from .narrowing import narrowed_import
from .places import Made, Place, Places
from .provenance import Ranges, log_id_of

__all__ = ["Moved", "Transplant"]

# Of the chosen threads (their keys as JSON), and of the whole log those kinds that may be about them.
_POSITIONS = f"""
SELECT position FROM event WHERE stream IN (
  SELECT s.stream FROM json_each(?) AS j JOIN stream AS s ON s.thread = j.value)
UNION ALL SELECT position FROM event WHERE stream IS NULL
  AND kind IN ({Kind.DELETE_FOR_RUNS:d}, {Kind.PRUNE:d}, {Kind.IMPORT:d}, {Kind.CARRY:d})
ORDER BY 1"""
_ERASED = "SELECT count(*) FROM erased"
# An import event tells of at most so many runs of positions: then comes another.
_MAX_RANGES = 10_000
_PUTS = (Kind.PUT, Kind.RESTATE)


class Moved(NamedTuple):
    """An event to be appended.

    Attributes:
        prepared: what.
        recorded_at: when it was recorded; None: now.
    """

    prepared: PreparedEvent
    recorded_at: int | None


class _Content(NamedTuple):
    """What an event says."""

    kind: Kind
    data: EventData
    record: bytes
    bases: frozenset[int] = frozenset()


class Transplant:
    """The events of some threads, as they are to stand in another log. Iterate over it once.

    Memory grows with their number (32 bytes for each), not with their size.

    Args:
        source: the log that has them.
        connection: to it, in a transaction that lasts until they have been given: all is of one moment.
        names: the threads' ids, and what they are to be called there.
        kind: "extract" or "merge".
        head: the greatest position of the log that they will be appended to.

    Attributes:
        events: how many have been given, without import events.
        checkpoints, writes: how many were among them.
        total: how many events will be read, at most.
        read: how many have been.

    Raises, while it is iterated over:
        CorruptRecordError: an event is damaged, or one that it refers to.
    """

    def __init__(
        self, source: EventLog, connection: apsw.Connection, names: Mapping[str, str], *, kind: str, head: int
    ) -> None:
        self._log, self._connection, self._names, self._kind = source, connection, names, kind
        self._renamed = any(old != new for old, new in names.items())
        self._head = head
        self._log_id = log_id_of(connection)
        self._positions = _positions_of(source, connection, names)
        self.total = len(self._positions)
        self.read = self.events = self.checkpoints = self.writes = 0
        self._open = source.reader.opener(connection)
        self._places = Places()
        self._values = MovedValues(source, connection, self._places)
        self._moved, self._copied = Ranges(), Ranges()
        self._counted = (0, 0)  # checkpoints and writes that an import event has told of

    def __iter__(self) -> Iterator[Moved]:
        for position in self._positions:
            self.read += 1
            row = self._log.reader.row(self._connection, position)
            if row is None:
                continue
            opened = self._log.reader.opened(row)
            event = self._log.reader.to_event(row, opened)
            try:
                yield from self._event(event, opened, row[4])
            except (EventLogError, apsw.Error):
                raise
            except Exception as e:
                # Well formed, but not what a saver appends.
                raise CorruptRecordError(
                    f"what it says cannot be: {type(e).__name__}", path=self._log.path, position=position
                ) from e
            if len(self._moved.rows) + len(self._copied.rows) >= _MAX_RANGES:
                yield self._import({})
        yield self._import(self._names)

    def _event(self, event: RecordedEvent, opened: OpenedRecord, record: bytes) -> Iterator[Moved]:
        match event.kind:
            case Kind.PUT | Kind.RESTATE:
                yield self._put(event, opened, record)
            case Kind.PUT_WRITES:
                yield self._put_writes(event, opened, record)
            case Kind.DELETE_THREAD | Kind.THREAD:
                yield self._same(event, _Content(event.kind, event.data, record))
            case Kind.DELETE_FOR_RUNS | Kind.PRUNE:
                yield from self._narrowed(event, narrowed_removals(event.kind, opened.array, self._names))
            case Kind.CARRY:
                yield from self._narrowed(event, narrowed_facts(opened.array, self._names))
            case Kind.IMPORT:
                yield from self._narrowed(event, narrowed_import(opened.array, self._names, self._places, self._log_id))
            case Kind.COPY:
                yield from self._copy(event, opened)

    # Giving events, and noting where they will stand.

    def _same(self, event: RecordedEvent, content: _Content) -> Moved:
        """Give an event as the same event."""
        data = content.data
        held = -1 if event.kind in _PUTS else len(data.writes) if isinstance(data, PutWrites) else 0
        self._places.add(Place(event.position, self._head + 1, held))
        self._moved.add(self._head + 1, event.position)
        return self._give(event, event.checkpoint_ns, content)

    def _give(self, event: RecordedEvent, ns: str | None, content: _Content) -> Moved:
        """Give an event in the thread, and with the time, of another."""
        kind, data, record, bases = content
        self._head += 1
        self.events += 1
        self.checkpoints += kind in _PUTS
        self.writes += len(data.writes) if isinstance(data, PutWrites) else 0
        new = NewEvent(data, None if event.thread_id is None else self._names[event.thread_id], ns or "")
        return Moved(PreparedEvent(new, kind, record, digest_of(record), bases), event.recorded_at)

    def _narrowed(self, event: RecordedEvent, array: list[Any] | None) -> Iterator[Moved]:
        if array is not None:
            data = decode_array(event.kind, array, ())
            yield self._same(event, _Content(event.kind, data, record_codec.encode(pack(array))))

    def _import(self, names: Mapping[str, str]) -> Moved:
        """Tell of what has been given since the last one."""
        moved, copied = self._moved, self._copied
        self._moved, self._copied = Ranges(), Ranges()
        checkpoints, writes = self.checkpoints - self._counted[0], self.writes - self._counted[1]
        self._counted = self.checkpoints, self.writes
        source = {
            "kind": self._kind,
            "log_id": self._log_id,
            "anchor": str(self._log.reader.head(self._connection)),
            "threads": len(names),
            "ids": [[old, new] for old, new in names.items()],
            "erased": the_row(self._connection, _ERASED)[0],
            "moved": moved.rows,
            "copied": copied.rows,
        }
        self._head += 1
        ranges = tuple(sorted([*moved.here(), *copied.here()]))
        return Moved(prepare(NewEvent(Import(source, ranges, checkpoints, writes))), None)

    # Checkpoints and writes.

    def _put(self, event: RecordedEvent, opened: OpenedRecord, record: bytes) -> Moved:
        assert event.thread_id is not None
        array, changed = opened.array, False
        if self._renamed:
            array = with_metadata(event.kind, array, self._metadata_change(event.thread_id, event.thread_id))
            changed = array != opened.array
        bases = tuple([self._places.at(base) or 0 for base in opened.bases])
        if not all(a < b for a, b in zip((0, *bases), bases, strict=False)):
            # One does not come along, or they stand in another order now: each value has to be looked at.
            array, needed = self._values.of_put(
                event.kind, array, opened.bases, there=event.position, here=self._head + 1
            )
            bases, changed = tuple(sorted(needed)), True
        if changed:
            record = record_codec.encode(pack(array), bases)
        elif bases:
            record = record_codec.with_bases(record, bases)
        data = decode_array(event.kind, array, bases) if changed or bases else event.data
        return self._same(event, _Content(event.kind, data, record, frozenset(bases)))

    def _put_writes(self, event: RecordedEvent, opened: OpenedRecord, record: bytes) -> Moved:
        return self._same(event, _Content(event.kind, event.data, *self._writes_record(opened, record)))

    def _writes_record(self, opened: OpenedRecord, record: bytes) -> tuple[bytes, frozenset[int]]:
        base = base_of_patch(record)
        if base is None:
            return record, frozenset()
        here = self._places.at(base)
        if here is None:
            return record_codec.encode(pack(opened.array)), frozenset()
        return record_codec.with_bases(record, (here,)), frozenset({here})

    def _metadata_change(self, owner: str, thread_id: str) -> Callable[[bytes], bytes]:
        """Give what makes of metadata in a record of one thread that which it is in another, under its new name."""

        def change(metadata: bytes) -> bytes:
            shown = metadata_in_copy(metadata, owner, thread_id)
            new = self._names[thread_id]
            return shown if new == thread_id else metadata_in_copy(shown, thread_id, new)

        return change

    # Copies.

    def _copy(self, event: RecordedEvent, opened: OpenedRecord) -> Iterator[Moved]:
        assert event.thread_id is not None
        # By namespace, whether it is writes, the checkpoint's id and the old position.
        kept: dict[tuple[str, bool, str, int], int] = {}
        checkpoints: list[tuple[int, str, bool]] = []
        for stream in opened.array[3]:
            ns, puts, writes = stream[:3]
            mixed = {row[0] for row in writes if self._places.at(row[1]) is None}
            for checkpoint_id, position in (row[:2] for row in writes):
                # Writes of one checkpoint apply in their order: all of them stay copied, or none.
                here = None if checkpoint_id in mixed else self._places.at(position)
                if here is not None:
                    kept[ns, True, checkpoint_id, position] = here
                else:
                    yield from self._make(event, position, ns, hidden=False)
            for checkpoint_id, position, hidden in (row[:3] for row in puts):
                here = self._copied_put(event.thread_id, position)
                if here is not None:
                    kept[ns, False, checkpoint_id, position] = here
                else:
                    checkpoints.append((position, ns, hidden))
        for position, ns, hidden in sorted(checkpoints):
            yield from self._make(event, position, ns, hidden=hidden)

        def changed(ns: str, row: list[Any], is_writes: bool) -> list[Any] | None:
            here = kept.get((ns, is_writes, row[0], row[1]))
            return None if here is None else [row[0], here, *row[2:]]

        source: str = opened.array[1]
        yield from self._narrowed(event, with_copied(opened.array, self._names.get(source, source), changed))

    def _copied_put(self, thread_id: str, position: int) -> int | None:
        """Give the event that a copy can name, so that its metadata is what it was; None if there is none."""
        same = self._places.same(position)
        if same is not None and not self._renamed:
            return same
        opened = self._open(position)
        owner = self._owner(opened)
        if opened is None or owner is None:
            return None
        metadata = metadata_of(opened.kind, opened.array)
        wanted = self._metadata_change(owner, thread_id)(metadata)
        found = [] if same is None else [Made(same, owner)]
        for made in (*found, *self._places.made(position)):
            there = self._metadata_change(owner, made.thread_id)(metadata)
            if metadata_in_copy(there, self._names[made.thread_id], self._names[thread_id]) == wanted:
                return made.position
        return None

    def _owner(self, opened: OpenedRecord | None) -> str | None:
        if opened is None or opened.stream is None:
            return None
        address = self._log.keys.address(self._connection, opened.stream)
        return None if address is None else address[0]

    def _make(self, copy: RecordedEvent, position: int, ns: str, *, hidden: bool) -> Iterator[Moved]:
        """Give what a copy named of another thread as an event of the copy's own; nothing if it has been erased."""
        row = self._log.reader.row(self._connection, position)
        if row is None:
            return
        opened = self._log.reader.opened(row)
        owner = self._owner(opened)
        assert copy.thread_id is not None
        assert owner is not None
        data = opened.data()
        kind, array = opened.kind, opened.array
        bases: frozenset[int] = frozenset()
        if isinstance(data, PutWrites):
            record, bases = self._writes_record(opened, row[4])
        else:
            array = with_metadata(kind, array, self._metadata_change(owner, copy.thread_id))
            array, bases = self._values.of_put(kind, array, opened.bases, there=position, here=self._head + 1)
            kind, array = as_put(kind, array, hidden=hidden)
            record = record_codec.encode(pack(array), bases)
            data = decode_array(kind, array, tuple(sorted(bases)))
        self._places.add_made(position, Made(self._head + 1, copy.thread_id))
        self._copied.add(self._head + 1, position)
        yield self._give(copy, ns, _Content(kind, data, record, bases))


def _positions_of(source: EventLog, connection: apsw.Connection, names: Mapping[str, str]) -> numbers[int]:
    keys = [source.keys.find_thread(connection, thread_id) for thread_id in names]
    cursor = connection.execute(_POSITIONS, (json.dumps([key for key in keys if key is not None]),))
    return numbers("q", (row[0] for row in cursor))
