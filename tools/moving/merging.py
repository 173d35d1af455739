"""Taking the threads of another log into a log, which may be in use.

A thread comes in one transaction, or not at all: nobody sees half of one, or goes on with it. So do, together, threads
that were copied or forked from each other, and as many small ones as fit into a short transaction. While a thread
comes, others wait to append: for a small one some milliseconds, for one of a gigabyte of records as long as that takes
to read and write.

What was killed in the middle has taken in some threads whole, and the others not. Called again, it goes on: the import
event in each transaction says which threads it took in, and from where.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import apsw

from ...eventlog.errors import ConfigError, ThreadExistsError
from ...eventlog.event import Copy, Head, Kind, NewEvent
from ...eventlog.sql import all_rows, the_row
from ...saver import EventLogSaver
from .choosing import check_free, choose, facts_of, has_gone_on, names_of
from .planting import Progress, append_moved, append_times, times_of
from .provenance import log_id_of, origins
from .transplanting import Transplant

__all__ = ["Merged", "merge"]

# Transactions that are larger than this hold one thread, or such as belong together.
_MAX_EVENTS = 200
_MAX_BYTES = 1024 * 1024
_OF_THREAD = """
SELECT count(*), coalesce(sum(length(record)), 0) FROM event
WHERE stream IN (SELECT stream FROM stream WHERE thread = ?)"""
_COPIES = f"""
SELECT position FROM event WHERE stream IN (SELECT stream FROM stream WHERE thread = ?) AND kind = {Kind.COPY:d}"""


@dataclass(frozen=True, slots=True)
class Merged:
    """What was taken in.

    Attributes:
        threads: their ids in the log, by those in the source.
        already: those that an earlier call had taken in, likewise.
        events, checkpoints, writes: how many, of `threads`.
        transactions: in how many they came.
        head: of the log, afterwards.
    """

    threads: dict[str, str]
    already: dict[str, str]
    events: int
    checkpoints: int
    writes: int
    transactions: int
    head: Head


def merge(
    target: EventLogSaver,
    source: EventLogSaver,
    thread_ids: Collection[str] | None = None,
    *,
    where: Mapping[str, Any] | None = None,
    rename: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Merged:
    """Append threads of another log, with their whole history, to a log.

    See `transplanting` for what comes along. Both logs may be in use.

    Args:
        target: the log that they are appended to. Metadata keys that the source indexes are indexed here if it was
            opened with them.
        source: the log that has them; it is only read.
        thread_ids: the threads.
        where: of registered metadata: threads that have all of it, too. Without either, all threads.
        rename: other ids for some of them.
        progress: is told how far it is.

    Raises:
        ThreadExistsError: the log has a thread of one of these ids, which is not the one that would be taken in, or
            has gone on since it was. Nothing was changed, unless it has come to be there only now.
        ConfigError: there is no such thread, or a new id is no use, or both are the same log.
        CorruptRecordError: an event of the source is damaged: none of its thread was appended.
    """
    if source.path == target.path or (os.path.exists(source.path) and os.path.samefile(source.path, target.path)):
        raise ConfigError(f"{source.path} cannot be merged into itself")
    names = names_of(choose(source, thread_ids, where=where), rename)
    already = _already(target, source, names)
    missing = {old: new for old, new in names.items() if old not in already}
    with target.log.database.reading() as connection:
        check_free(target, connection, missing.values())
    groups, total = _groups(source, list(missing))
    done = checkpoints = writes = 0
    for group in groups:
        some = {old: missing[old] for old in group}
        transplant = _take_in(target, source, some)
        done += transplant.events
        checkpoints += transplant.checkpoints
        writes += transplant.writes
        if progress is not None:
            progress(done, total)
    return Merged(missing, already, done, checkpoints, writes, len(groups), target.log.head())


def _take_in(target: EventLogSaver, source: EventLogSaver, names: Mapping[str, str]) -> Transplant:
    """Append some threads in one transaction."""
    given: list[Transplant] = []

    def decide(connection: apsw.Connection) -> NewEvent | None:
        check_free(target, connection, names.values())
        with source.log.database.reading() as reading:
            head = target.log.reader.head(connection).position
            transplant = Transplant(source.log, reading, names, kind="merge", head=head)
            append_moved(target, connection, transplant)
            append_times(target, connection, times_of(source, reading, names))
        given.append(transplant)
        return None

    target.log.transact(decide)
    return given[-1]


def _already(target: EventLogSaver, source: EventLogSaver, names: Mapping[str, str]) -> dict[str, str]:
    """Give the threads that have been taken in before, and are there still.

    Raises:
        ThreadExistsError: one has gone on in the source since.
    """
    found: dict[str, str] = {}
    with target.log.database.reading() as connection, source.log.database.reading() as reading:
        log_id = log_id_of(reading)
        for origin in origins(target.log, connection):
            if origin.kind != "merge" or origin.log_id != log_id or origin.through:
                continue
            for old, new in origin.ids.items():
                here, there = facts_of(target, connection, new), facts_of(source, reading, old)
                # One that has been deleted since, and begun anew, is another.
                if names.get(old) != new or (here and here[0]) != (there and there[0]):
                    continue
                thread = source.log.keys.find_thread(reading, old)
                if has_gone_on(reading, thread, origin.anchor.position):
                    raise ThreadExistsError(new)
                found[old] = new
    return found


def _groups(source: EventLogSaver, thread_ids: list[str]) -> tuple[list[list[str]], int]:
    """Give the threads of each transaction, and how many events they have."""
    families = _Families(thread_ids)
    sizes: dict[str, tuple[int, int]] = {}
    with source.log.database.reading() as connection:
        for thread_id in thread_ids:
            thread = source.log.keys.find_thread(connection, thread_id)
            sizes[thread_id] = the_row(connection, _OF_THREAD, (thread,))
            for (position,) in all_rows(connection, _COPIES, (thread,)):
                read = source.log.reader.data(connection, position)
                if read is not None and isinstance(read[1], Copy):
                    families.join(thread_id, read[1].source_thread_id)
    groups: list[list[str]] = []
    events = size = 0
    for family in families:
        more_events, more_bytes = (sum(sizes[thread_id][i] for thread_id in family) for i in (0, 1))
        if not groups or events + more_events > _MAX_EVENTS or size + more_bytes > _MAX_BYTES:
            groups.append([])
            events = size = 0
        groups[-1] += family
        events, size = events + more_events, size + more_bytes
    return groups, sum(events for events, _ in sizes.values())


class _Families:
    """Threads that were copied from each other."""

    def __init__(self, thread_ids: list[str]) -> None:
        self._parent = {thread_id: thread_id for thread_id in thread_ids}

    def _first(self, thread_id: str) -> str:
        while (parent := self._parent[thread_id]) != thread_id:
            self._parent[thread_id] = self._parent[parent]
            thread_id = parent
        return thread_id

    def join(self, one: str, other: str) -> None:
        """Say that two belong together, if both are among them."""
        if one in self._parent and other in self._parent:
            self._parent[self._first(one)] = self._first(other)

    def __iter__(self) -> Iterator[list[str]]:
        families: dict[str, list[str]] = {}
        for thread_id in self._parent:
            families.setdefault(self._first(thread_id), []).append(thread_id)
        return iter(families.values())
