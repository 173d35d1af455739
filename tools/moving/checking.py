"""Comparing threads that were moved with the log that they came from, as long as that is there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import apsw

from ...eventlog.chain import ChainCheck
from ...eventlog.coverage import Coverage
from ...eventlog.errors import CorruptRecordError, LogDamagedError
from ...eventlog.event import (
    Carry,
    Copy,
    DeleteForRuns,
    DeleteThread,
    Head,
    Import,
    Prune,
    RecordedEvent,
    RestateWrites,
    Thread,
    put_of,
    writes_of,
)
from ...eventlog.finding import Finding
from ...eventlog.integrity import genesis_link
from ...eventlog.log import EventLog
from ...eventlog.resolve import Resolver
from ...eventlog.sql import all_rows, the_row
from ...projections.builtin import metadata_in_copy
from ...saver import EventLogSaver
from .provenance import Origin, log_id_of, origins
from .write_places import WritePlace

__all__ = ["check_provenance"]

_META = "SELECT log_id, created_at FROM meta"
_OWN = """
SELECT position FROM event WHERE position <= ? AND stream IN (SELECT stream FROM stream WHERE thread = ?)"""


def check_provenance(target: EventLogSaver, source: EventLogSaver) -> Iterator[Finding]:
    """Yield what is not so of what the import events of a log say about another, from which threads were taken.

    - that the source still is the log that it was: its chain up to each anchor;
    - that each event is what it was there, all of its values put together, and of the same time;
    - that no event of these threads that is there was left out;
    - that writes which were stored anew stand in the order in which they stood.

    What the source has erased since cannot be compared, and is passed over. Positions are the target's, but for what
    is missing. The target's own chain is `target.verify()`'s to check.

    Raises:
        ConfigError: never; a target that knows nothing of the source gives nothing to check, and yields nothing.
    """
    with source.log.database.reading() as there:
        log_id = log_id_of(there)
    with target.log.database.reading() as here:
        found = [origin for origin in origins(target.log, here) if origin.log_id == log_id and not origin.through]
    yield from _check_anchors(source.log, {origin.anchor for origin in found})
    with source.log.database.reading() as there, target.log.database.reading() as here:
        comparison = _Comparison(target.log, here, source.log, there, found)
        for origin in found:
            yield from comparison.check(origin)
        yield from comparison.missing()
        yield from comparison.misplaced()


def _check_anchors(log: EventLog, anchors: set[Head]) -> Iterator[Finding]:
    if not anchors:
        return
    with log.database.reading() as connection:
        log_id, created_at = the_row(connection, _META)
        head = log.reader.head(connection).position
    link = genesis_link(log_id=log_id, created_at=created_at)
    chain = ChainCheck(
        log.database, log.reader, head=head, link=link, anchors=anchors, quick=False, coverage=Coverage()
    )
    for finding in (*chain.check(), *chain.check_anchors()):
        yield Finding(finding.code, None, f"in the source: {finding}")


class _Comparison:
    """Compares events of two logs, in transactions that last as long as this is used."""

    def __init__(
        self,
        target: EventLog,
        here: apsw.Connection,
        source: EventLog,
        there: apsw.Connection,
        found: list[Origin],
    ) -> None:
        self._target, self._here, self._source, self._there = target, here, source, there
        self._found = found
        self._here_values, self._there_values = target.reader.resolver(here), source.reader.resolver(there)
        self._names = {old: new for origin in found for old, new in origin.ids.items()}
        # Of each checkpoint: the places of restated writes there and here, and the event that says so here.
        self._places: dict[tuple[int | None, str], list[tuple[WritePlace, WritePlace, int]]] = {}

    def check(self, origin: Origin) -> Iterator[Finding]:
        """Compare what one import event tells of."""
        for is_copied, ranges in ((False, origin.moved), (True, origin.copied)):
            for position, before in ranges.pairs():
                if (problem := self._compare(position, before, is_copied=is_copied)) is not None:
                    yield Finding("provenance", position, f"{problem}: event {before} of the source")

    def missing(self) -> Iterator[Finding]:
        """Look for events of the threads that were left out."""
        for origin in self._found:
            for old in origin.ids:
                thread = self._source.keys.find_thread(self._there, old)
                for (position,) in all_rows(self._there, _OWN, (origin.anchor.position, thread)):
                    if not self._is_told_of(position):
                        yield Finding("provenance", None, f"event {position} of the source did not come along")

    def misplaced(self) -> Iterator[Finding]:
        """Look, after the comparison, for restated writes that stand in another order."""
        for places in self._places.values():
            for (there, here, _), (next_there, next_here, position) in pairwise(sorted(places)):
                if (there == next_there) != (here == next_here) or here > next_here:
                    yield Finding("provenance", position, "its writes stand in another order than in the source")

    def _is_told_of(self, before: int) -> bool:
        return any(
            begin <= before <= begin + last - first
            for origin in self._found
            for first, last, begin in origin.moved.rows
        )

    def _compare(self, position: int, before: int, *, is_copied: bool) -> str | None:
        row, old_row = self._target.reader.row(self._here, position), self._source.reader.row(self._there, before)
        if old_row is None or row is None:
            return None  # erased since
        try:
            event, old = self._target.reader.to_event(row), self._source.reader.to_event(old_row)
            if not is_copied:
                if event.kind != old.kind or event.recorded_at != old.recorded_at:
                    return "it is of another kind, or time"
                name = None if old.thread_id is None else self._names.get(old.thread_id)
                if (event.thread_id, event.checkpoint_ns) != (name, old.checkpoint_ns):
                    return "it is in another thread or namespace"
            return None if self._is_same(event, old) else "it does not say the same"
        except (CorruptRecordError, LogDamagedError) as e:
            return f"it cannot be compared ({e})"

    def _is_same(self, event: RecordedEvent, old: RecordedEvent) -> bool:
        new_writes, old_writes = writes_of(event.data), writes_of(old.data)
        if new_writes is not None or old_writes is not None:
            match event.data, old.data:
                case (RestateWrites(applied, ordinal, writes), RestateWrites() as before):
                    place = ((before.applied, before.ordinal), (applied, ordinal), event.position)
                    self._places.setdefault((event.stream, writes.checkpoint_id), []).append(place)
            return new_writes == old_writes
        match event.data, old.data:
            case (DeleteThread() as new, DeleteThread() as was) | (Thread() as new, Thread() as was):
                return new == was
            case (Copy() as new, Copy() as was):
                return self._is_same_copy(new, was)
            case (DeleteForRuns() as new, DeleteForRuns() as was):
                return new.run_ids == was.run_ids and self._removals(new) <= self._removals(was, self._names)
            case (Prune() as new, Prune() as was):
                deleted = {self._names.get(thread_id) for thread_id in was.deleted_threads}
                removed = self._removals(new) <= self._removals(was, self._names)
                return new.strategy == was.strategy and set(new.deleted_threads) <= deleted and removed
            case (Carry() as new, Carry() as was):
                facts = [(self._names.get(thread_id), *times) for thread_id, *times in was.facts]
                return all(tuple(fact) in facts for fact in new.facts)
            case (Import(), Import()):
                return True
        return self._is_same_put(event, old)

    def _is_same_put(self, event: RecordedEvent, old: RecordedEvent) -> bool:
        new, was = put_of(event.data), put_of(old.data)
        if new is None or was is None:
            return False
        if (new.checkpoint_id, new.parent_id, new.frame, new.rest) != (
            was.checkpoint_id,
            was.parent_id,
            was.frame,
            was.rest,
        ):
            return False
        if new.metadata not in self._metadata(event, old, was.metadata):
            return False
        return _values(self._here_values, event) == _values(self._there_values, old)

    def _metadata(self, event: RecordedEvent, old: RecordedEvent, metadata: bytes) -> list[bytes]:
        """Give what the metadata may have become: it names its own thread, which may have another id now."""
        assert old.thread_id is not None
        first = metadata_in_copy(metadata, old.thread_id, event.thread_id)
        before = [name for name, now in self._names.items() if now == event.thread_id]
        return [metadata, first, *(metadata_in_copy(metadata, name, event.thread_id) for name in before)]

    def _is_same_copy(self, new: Copy, was: Copy) -> bool:
        if (new.how, new.from_checkpoint_id, new.metadata) != (was.how, was.from_checkpoint_id, was.metadata):
            return False
        rows, old_rows = _copied(new), _copied(was)
        return all(
            any((ns, is_writes, checkpoint_id, before, hidden) in old_rows for before in self._before(position))
            for ns, is_writes, checkpoint_id, position, hidden in rows
        )

    def _before(self, position: int) -> set[int | None]:
        return {ranges.there(position) for origin in self._found for ranges in (origin.moved, origin.copied)}

    @staticmethod
    def _removals(data: DeleteForRuns | Prune, names: dict[str, str] | None = None) -> set[Any]:
        return {
            (r.thread_id if names is None else names.get(r.thread_id), r.checkpoint_ns, r.removed, r.hidden)
            for r in data.removals
        }


def _values(resolver: Resolver, event: RecordedEvent) -> tuple[Any, ...]:
    put = put_of(event.data)
    assert put is not None
    values = resolver.all_channels(event.position, put)
    versions = resolver.channel_versions(event.position, put), resolver.versions_seen(event.position, put)
    return _ordered(values), *map(_ordered, values.values()), *map(_ordered, versions)


def _ordered(value: Any) -> Any:
    return list(value.items()) if isinstance(value, dict) else value


def _copied(copy: Copy) -> set[tuple[str, bool, str, int, bool]]:
    return {(s.checkpoint_ns, False, c, p, h) for s in copy.streams for c, p, h in s.checkpoints} | {
        (s.checkpoint_ns, True, c, p, False) for s in copy.streams for c, p in s.writes
    }
