"""Everything that ever happened in a log, or to a thread of it, in the log's order; and what happens from now on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

from ...eventlog.errors import CorruptRecordError, check_limit
from ...eventlog.event import RecordedEvent
from ...saver import EventLogSaver
from .entry import AuditEntry
from .erasures import erased_between
from .explaining import Explainer, kind_name, time_of
from .filters import AuditFilter

__all__ = ["Follow", "replay", "replay_from"]

_EVERYTHING = AuditFilter()


def replay(
    saver: EventLogSaver,
    thread_id: str | None = None,
    *,
    after: int = 0,
    where: AuditFilter = _EVERYTHING,
    limit: int | None = None,
    done: Callable[[float], None] = lambda _: None,
) -> Iterator[AuditEntry]:
    """Yield an entry for each event, in order: deletions, prunes, copies, imports, carries, restates, compactions too.

    Args:
        saver: the log. Its serializer decodes; what that cannot read comes as `Undecoded`.
        thread_id: only what is about this thread, be it among others. None: everything; then, where events have been
            erased, there is an entry of the kind "erased" for each range of them.
        after: only events at greater positions. What they change is told all the same.
        where: which entries are wanted.
        limit: at most so many.
        done: is told the position of each event that has been gone through, wanted or not.

    Needs memory for a few pages of events, whatever the log's size, and holds no transaction between pages. A damaged
    event has an entry of the kind "damaged"; what can be read of others is told.
    """
    for _, entry in replay_from(saver, thread_id, after=after, where=where, limit=limit, done=done):
        yield entry


def replay_from(
    saver: EventLogSaver,
    thread_id: str | None,
    *,
    after: int = 0,
    where: AuditFilter = _EVERYTHING,
    limit: int | None = None,
    done: Callable[[float], None] = lambda _: None,
) -> Iterator[tuple[RecordedEvent | None, AuditEntry]]:
    """Do as `replay`, and give each entry's event with it; None of one that is not there, or cannot be read."""
    check_limit(limit)
    return itertools.islice(_entries(saver, thread_id, after, where, done), limit)


def _entries(
    saver: EventLogSaver, thread_id: str | None, after: int, where: AuditFilter, done: Callable[[float], None]
) -> Iterator[tuple[RecordedEvent | None, AuditEntry]]:
    explainer = Explainer(saver)

    def gap(before: int) -> Iterator[tuple[None, AuditEntry]]:
        # Of what an erased event was about, nothing is known.
        if thread_id is None and before > after + 1:
            yield from ((None, entry) for entry in erased_between(saver.log, after, before) if where.admits(entry))

    while True:
        try:
            for event in saver.log.read(after=after, thread_id=thread_id):
                yield from gap(event.position)
                after = event.position
                yield from ((event, entry) for entry in _wanted(explainer, event, thread_id, where))
                done(after)
            return
        except CorruptRecordError as e:
            if e.position <= after:
                raise
            yield from gap(e.position)
            after = e.position
            damaged = _damaged(e, after)
            if where.admits(damaged):
                yield None, damaged


def _damaged(e: CorruptRecordError, position: int) -> AuditEntry:
    return AuditEntry(position=position, recorded_at=None, kind="damaged", problem=e.reason)


def _wanted(
    explainer: Explainer, event: RecordedEvent, thread_id: str | None, where: AuditFilter
) -> Iterator[AuditEntry]:
    may = where.may_admit(kind_name(event.kind), time_of(event))
    entry = explainer.explain(event, in_full=may)
    if may and where.admits(entry):
        yield entry if thread_id is None else _about(entry, thread_id)


def _about(entry: AuditEntry, thread_id: str) -> AuditEntry:
    """Leave out what an entry of the whole log says of other threads."""
    if "removals" not in entry.details:
        return entry
    details = dict(entry.details)
    details["removals"] = [removal for removal in details["removals"] if removal["thread_id"] == thread_id]
    if "deleted_threads" in details:
        details["deleted_threads"] = [thread_id] if thread_id in details["deleted_threads"] else []
    return replace(entry, details=details)


class Follow:
    """Entries of what is appended after a position, by any process, as it happens: iterate over it, and close it.

    Args:
        saver: the log.
        thread_id: as for `replay`.
        after: the position; None: what has been appended when it begins is passed over.
        where: as for `replay`.
        poll_interval_ms: how soon, at the latest, what other processes append is seen.

    It ends when it, or the log, is closed.
    """

    def __init__(
        self,
        saver: EventLogSaver,
        thread_id: str | None = None,
        *,
        after: int | None = None,
        where: AuditFilter = _EVERYTHING,
        poll_interval_ms: int = 50,
    ) -> None:
        self._thread_id = thread_id
        self._where = where
        self._explainer = Explainer(saver)
        start = saver.log.head().position if after is None else after
        self._events = saver.log.subscribe(start, thread_id=thread_id, poll_interval_ms=poll_interval_ms)

    def __iter__(self) -> Iterator[AuditEntry]:
        while True:
            try:
                for event in self._events:
                    yield from _wanted(self._explainer, event, self._thread_id, self._where)
                return
            except CorruptRecordError as e:
                damaged = _damaged(e, self._events.position)
                if self._where.admits(damaged):
                    yield damaged

    def close(self) -> None:
        """End it, from any thread."""
        self._events.close()

    def __enter__(self) -> Follow:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
