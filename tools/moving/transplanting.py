"""Taking threads from one log into another, event by event, so that an auditor keeps their whole history.

Every event about the chosen threads comes along, in the order of the log, with its own time and with everything else as
it was: what a later version has added to a body, too. Positions are local to a file, and so are rewritten: bases, and
the positions that copies name. Values stay the opaque bytes that they are, under whatever serializer.

- What names a base that comes along names it where it stands now. Only the record's header changes then.
- A value whose base does not come along (it was another thread's, which was copied or forked from) is put together and
  stored in full, once; what carried it over, or differed from it, refers to that from then on.
- A restate_writes takes, of the writes there are, the place that it took: see `write_places`.
- A copy or fork of a thread that comes along stays one. Of another, what it copied becomes events of the copy's own
  thread, just before it: put_writes, puts and (for hidden checkpoints) restates, with the time of the copy, and with
  nothing that the copy did not show. The copy itself stays, with the source's id, as part of the thread's history.
- delete_for_runs, prune, carry (for `threads`) and import events are narrowed to what comes along, and left out if
  that is nothing. Of delete_for_runs, the run ids are what was asked for, and stay.
- compaction events, and what users' projections carried, do not come along. What has been erased is not there, and
  leaves no hole: the import event says how many events the log had lost. When a thread began and was last active may
  then not be what its events say: see `carried_times`.
- A thread may get another id. Metadata of a checkpoint that names its own thread then names the new one.

`Transplant` gives the events; whoever appends them does so in order, with nothing else between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple

import apsw

from ...eventlog import record as record_codec
from ...eventlog.appender import PreparedEvent
from ...eventlog.body import decode_array
from ...eventlog.errors import CorruptRecordError, EventLogError
from ...eventlog.event import EventData, Kind, NewEvent, RecordedEvent, writes_of
from ...eventlog.integrity import digest_of
from ...eventlog.log import EventLog
from ...eventlog.opened import OpenedRecord
from ...eventlog.plain import pack
from ...eventlog.record import base_of_patch
from ...eventlog.rewriting import as_put, as_put_writes, narrowed_facts, narrowed_removals, with_copied, with_metadata
from .belonging import Belonging
from .moved_values import MovedValues
from .narrowing import narrowed_import
from .places import Made, Place, Places, held_in
from .positions import places_restated, positions_of
from .telling import Telling
from .write_places import WritePlaces

__all__ = ["Moved", "Transplant"]


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
        self._log, self._connection, self._names = source, connection, names
        self._head = head
        self._telling = Telling(source, connection, kind)
        self._positions = positions_of(source, connection, names)
        self.total = len(self._positions)
        self.read = self.events = self.checkpoints = self.writes = 0
        self._places = Places()
        self._write_places = WritePlaces(())
        self._values = MovedValues(source, connection, self._places)
        self._belonging = Belonging(source, connection, self._places, names)

    def __iter__(self) -> Iterator[Moved]:
        self._write_places = WritePlaces(places_restated(self._log, self._connection, self._names))
        for position in self._positions:
            self.read += 1
            self._write_places.pass_to(position, self._head)
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
            if self._telling.is_much:
                yield self._import({})
        yield self._import(self._names)

    def _event(self, event: RecordedEvent, opened: OpenedRecord, record: bytes) -> Iterator[Moved]:
        match event.kind:
            case Kind.PUT | Kind.RESTATE:
                yield self._put(event, opened, record)
            case Kind.PUT_WRITES:
                self._write_places.stands((event.position, 0), (self._head + 1, 0))
                yield self._same(event, _Content(event.kind, event.data, *self._writes_record(opened, record)))
            case Kind.RESTATE_WRITES:
                yield self._restated_writes(event, opened)
            case Kind.DELETE_THREAD | Kind.THREAD:
                yield self._same(event, _Content(event.kind, event.data, record))
            case Kind.DELETE_FOR_RUNS | Kind.PRUNE:
                yield from self._narrowed(event, narrowed_removals(event.kind, opened.array, self._names))
            case Kind.CARRY:
                yield from self._narrowed(event, narrowed_facts(opened.array, self._names))
            case Kind.IMPORT:
                yield from self._narrowed(
                    event, narrowed_import(opened.array, self._names, self._places, self._telling.log_id)
                )
            case Kind.COPY:
                yield from self._copy(event, opened)

    # Giving events, and noting where they will stand.

    def _same(self, event: RecordedEvent, content: _Content) -> Moved:
        """Give an event as the same event."""
        self._places.add(Place(event.position, self._head + 1, held_in(content.data)))
        self._telling.moved.add(self._head + 1, event.position)
        return self._give(event, event.checkpoint_ns, content)

    def _give(self, event: RecordedEvent, ns: str | None, content: _Content) -> Moved:
        """Give an event in the thread, and with the time, of another."""
        kind, data, record, bases = content
        self._head += 1
        self.events += 1
        held = held_in(data)
        self.checkpoints += held < 0
        self.writes += max(held, 0)
        new = NewEvent(data, None if event.thread_id is None else self._names[event.thread_id], ns or "")
        return Moved(PreparedEvent(new, kind, record, digest_of(record), bases), event.recorded_at)

    def _narrowed(self, event: RecordedEvent, array: list[Any] | None) -> Iterator[Moved]:
        if array is not None:
            data = decode_array(event.kind, array, ())
            yield self._same(event, _Content(event.kind, data, _encoded(array)))

    def _import(self, names: Mapping[str, str]) -> Moved:
        """Tell of what has been given since the last one."""
        self._head += 1
        return Moved(self._telling.event(names, self.checkpoints, self.writes), None)

    # Checkpoints and writes.

    def _put(self, event: RecordedEvent, opened: OpenedRecord, record: bytes) -> Moved:
        assert event.thread_id is not None
        array, changed = opened.array, False
        if self._belonging.renamed:
            array = with_metadata(event.kind, array, self._belonging.change(event.thread_id, event.thread_id))
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

    def _writes_record(self, opened: OpenedRecord, record: bytes) -> tuple[bytes, frozenset[int]]:
        base = base_of_patch(record)
        if base is None:
            return record, frozenset()
        here = self._places.at(base)
        if here is None:
            return _encoded(opened.array), frozenset()
        return record_codec.with_bases(record, (here,)), frozenset({here})

    def _restated_writes(self, event: RecordedEvent, opened: OpenedRecord) -> Moved:
        applied, ordinal, *writes = opened.array
        array = [*self._write_places.at((applied, ordinal), self._head), *writes]
        return self._same(event, _Content(event.kind, decode_array(event.kind, array, ()), _encoded(array)))

    # Copies.

    def _copy(self, event: RecordedEvent, opened: OpenedRecord) -> Iterator[Moved]:
        assert event.thread_id is not None
        # By namespace, whether it is writes, the checkpoint's id and the old position.
        kept: dict[tuple[str, bool, str, int], int] = {}
        checkpoints: list[tuple[int, str, bool]] = []
        ordinals = count()
        copied: list[int] = []  # ordinals of the writes that stay copied
        for stream in opened.array[3]:
            ns, puts, writes = stream[:3]
            mixed = {row[0] for row in writes if self._places.at(row[1]) is None}
            for checkpoint_id, position in (row[:2] for row in writes):
                # Writes of one checkpoint apply in their order: all of them stay copied, or none.
                here = None if checkpoint_id in mixed else self._places.at(position)
                place = (event.position, next(ordinals))
                if here is not None:
                    kept[ns, True, checkpoint_id, position] = here
                    copied.append(place[1])
                    continue
                before = self._head
                yield from self._make(event, position, ns, hidden=False)
                if self._head > before:
                    self._write_places.stands(place, (self._head, 0))
                else:
                    self._write_places.erased(place, self._head)
            for checkpoint_id, position, hidden in (row[:3] for row in puts):
                here = self._belonging.copied(event.thread_id, position)
                if here is not None:
                    kept[ns, False, checkpoint_id, position] = here
                else:
                    checkpoints.append((position, ns, hidden))
        for position, ns, hidden in sorted(checkpoints):
            yield from self._make(event, position, ns, hidden=hidden)

        def changed(ns: str, row: list[Any], is_writes: bool) -> list[Any] | None:
            here = kept.get((ns, is_writes, row[0], row[1]))
            return None if here is None else [row[0], here, *row[2:]]

        self._write_places.copied(event.position, copied, self._head + 1)
        source: str = opened.array[1]
        yield from self._narrowed(event, with_copied(opened.array, self._names.get(source, source), changed))

    def _make(self, copy: RecordedEvent, position: int, ns: str, *, hidden: bool) -> Iterator[Moved]:
        """Give what a copy named of another thread as an event of the copy's own; nothing if it has been erased."""
        row = self._log.reader.row(self._connection, position)
        if row is None:
            return
        opened = self._log.reader.opened(row)
        owner = self._belonging.owner(opened)
        assert copy.thread_id is not None
        assert owner is not None
        data = opened.data()
        kind, array = opened.kind, opened.array
        bases: frozenset[int] = frozenset()
        writes = writes_of(data)
        if writes is not None:
            kind, data = Kind.PUT_WRITES, writes
            if opened.kind == kind:
                record, bases = self._writes_record(opened, row[4])
            else:
                record = _encoded(as_put_writes(array))
        else:
            array = with_metadata(kind, array, self._belonging.change(owner, copy.thread_id))
            array, bases = self._values.of_put(kind, array, opened.bases, there=position, here=self._head + 1)
            kind, array = as_put(kind, array, hidden=hidden)
            record = record_codec.encode(pack(array), bases)
            data = decode_array(kind, array, tuple(sorted(bases)))
        self._places.add_made(position, Made(self._head + 1, copy.thread_id))
        self._telling.copied.add(self._head + 1, position)
        yield self._give(copy, ns, _Content(kind, data, record, bases))


def _encoded(array: list[Any]) -> bytes:
    """Give the record, without bases, of a body."""
    return record_codec.encode(pack(array))
