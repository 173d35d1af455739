"""What a retention policy lets go, thread by thread: found by reading only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain

import apsw

from ...eventlog.errors import LogDamagedError
from ...eventlog.event import Removal
from ...eventlog.log import EventLog
from ...eventlog.plain import PlainDataError, unpack
from ...projections.builtin import BuiltIn
from ...projections.history import CheckpointRow
from ...projections.pending_writes import WritesRow
from ...projections.threads import ThreadRow
from ..removing import Remover
from .keeping import Keeping
from .retention import Retention

__all__ = ["Doomed", "Finder", "Progress", "portions"]

_PAGE = 256
_MAX_TIMES = 100_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Doomed:
    """What a policy lets go of one thread.

    Attributes:
        thread_id: its id.
        whole: whether the thread goes, with all that it has.
        removals: otherwise, what goes of each namespace, as an event says it, by the file's key of the stream.
        removed: the checkpoints that go, hidden ones that nobody needs any more among them.
        hidden: those that are only hidden, because surviving ones need them.
        writes: the rows of the writes that go.
    """

    thread_id: str
    whole: bool
    removals: Mapping[int, Removal]
    removed: tuple[CheckpointRow, ...]
    hidden: tuple[CheckpointRow, ...]
    writes: tuple[WritesRow, ...]


class Finder:
    """Finds what one policy lets go at one time; `now` is in microseconds since 1970-01-01, by the log's clock."""

    def __init__(self, log: EventLog, views: BuiltIn, policy: Retention, now: int) -> None:
        self._log = log
        self._views = views
        self._policy = policy
        self._remover = Remover(log, views)
        idle, newer = policy.idle_longer_than_us, policy.keep_newer_than_us
        self._idle_before = None if idle is None else now - idle
        self._newer_than = None if newer is None else now - newer
        # When checkpoints were made, by position: an event does not change, and need not be read again.
        self._times: dict[int, int] = {}

    def threads(self, progress: Progress | None) -> Iterator[int]:
        """Yield the file's keys of threads of which something may go, in pages; nothing is held between them."""
        if self._policy.keeps_everything:
            return
        after, looked_at, total = 0, 0, 0
        if progress is not None:
            with self._log.database.reading() as connection:
                total = self._views.threads.count(connection)
        while True:
            with self._log.database.reading() as connection:
                rows = self._views.threads.in_order(connection, after=after, limit=_PAGE)
            for row in rows:
                if self._is_idle(row) or self._may_lose_some(row):
                    yield row.thread
            looked_at += len(rows)
            if progress is not None:
                progress(looked_at, max(total, looked_at))
            if len(rows) < _PAGE:
                return
            after = rows[-1].thread

    def look(self, thread: int) -> tuple[Doomed | None, int]:
        """Say what goes of a thread, and which event was the newest then."""
        with self._log.database.reading() as connection:
            return self.find(connection, thread), self._log.reader.head(connection).position

    def find(self, connection: apsw.Connection, thread: int) -> Doomed | None:
        """Say what goes of a thread, in a transaction of the caller's; None if nothing does.

        Raises:
            CorruptRecordError: when a checkpoint was made cannot be read.
            LogDamagedError: what the projections hold of it cannot be read.
        """
        row = self._views.threads.one(connection, thread)
        if row is None or self._is_exempt(row):
            return None
        if self._is_idle(row):
            return self._whole(connection, row)
        return self._parts(connection, row) if self._may_lose_some(row) else None

    def _is_exempt(self, row: ThreadRow) -> bool:
        if not self._policy.exempt:
            return False
        try:
            return self._policy.exempts({} if row.metadata is None else unpack(row.metadata))
        except PlainDataError as e:
            raise LogDamagedError(
                f"metadata of thread {row.thread_id!r} in the projection threads is damaged: rebuild() mends that"
            ) from e

    def _is_idle(self, row: ThreadRow) -> bool:
        return self._idle_before is not None and row.last_activity < self._idle_before

    def _may_lose_some(self, row: ThreadRow) -> bool:
        # Where every thread has been cut down to its latest before, none has to be looked into.
        return self._policy.removes_checkpoints and row.checkpoints > 1

    def _whole(self, connection: apsw.Connection, row: ThreadRow) -> Doomed:
        checkpoints = self._views.history.of_thread(connection, row.thread)
        streams = [stream for stream, _ in self._log.keys.streams_of(connection, row.thread)]
        writes = chain.from_iterable(self._views.pending_writes.of_stream(connection, stream) for stream in streams)
        return Doomed(row.thread_id, True, {}, tuple(checkpoints), (), tuple(writes))

    def _parts(self, connection: apsw.Connection, row: ThreadRow) -> Doomed | None:
        names = dict(self._log.keys.streams_of(connection, row.thread))
        there = self._views.history.of_thread(connection, row.thread)
        seen: dict[str, list[CheckpointRow]] = {}
        for checkpoint in there:
            if not checkpoint.hidden:
                seen.setdefault(names[checkpoint.stream], []).append(checkpoint)
        keeping = Keeping(self._policy, seen, None if self._newer_than is None else partial(self._is_newer, connection))
        doomed = keeping.doomed()
        removals = {
            stream: self._remover.removal(connection, stream, doomed[ns])
            for stream, ns in names.items()
            if ns in doomed
        }
        # Writes that came after their checkpoint had been removed.
        for stray in self._views.pending_writes.without_checkpoint(connection, row.thread):
            if keeping.is_past(stray.checkpoint_id) and not self._is_recorded_since(connection, stray.position):
                removal = removals.get(stray.stream) or Removal(row.thread_id, names[stray.stream], ())
                removed = tuple(dict.fromkeys((*removal.removed, stray.checkpoint_id)))
                removals[stray.stream] = replace(removal, removed=removed)
        removals = {stream: removal for stream, removal in removals.items() if removal.removed or removal.hidden}
        if not removals:
            return None
        gone = {(stream, id_) for stream, removal in removals.items() for id_ in removal.removed}
        out_of_sight = {(stream, id_) for stream, removal in removals.items() for id_ in removal.hidden}
        return Doomed(
            row.thread_id,
            False,
            removals,
            tuple(r for r in there if (r.stream, r.checkpoint_id) in gone),
            tuple(r for r in there if (r.stream, r.checkpoint_id) in out_of_sight),
            self._writes(connection, removals),
        )

    def _writes(self, connection: apsw.Connection, removals: Mapping[int, Removal]) -> tuple[WritesRow, ...]:
        return tuple(
            writes
            for stream, removal in removals.items()
            for rows in self._views.pending_writes.of_several(connection, stream, removal.removed).values()
            for writes in rows
        )

    # Ages.

    def _is_newer(self, connection: apsw.Connection, row: CheckpointRow) -> bool:
        assert self._newer_than is not None
        made_at = self._times.get(row.position)
        if made_at is None:
            if len(self._times) >= _MAX_TIMES:
                self._times.clear()
            made_at = self._times[row.position] = self._made_at(connection, row)
        return made_at > self._newer_than

    def _made_at(self, connection: apsw.Connection, row: CheckpointRow) -> int:
        opened = self._log.reader.open(connection, row.position)
        given = None if opened is None else _microseconds(opened.frame().get("ts"))
        return self._recorded_at(connection, row.position) if given is None else given

    def _is_recorded_since(self, connection: apsw.Connection, position: int) -> bool:
        return self._newer_than is not None and self._recorded_at(connection, position) > self._newer_than

    def _recorded_at(self, connection: apsw.Connection, position: int) -> int:
        recorded_at = self._log.reader.recorded_at(connection, position)
        if recorded_at is None:
            raise LogDamagedError(
                f"event {position} of {self._log.path}, which a projection points at, is not there. "
                "verify() lists all damage"
            )
        return recorded_at


def portions(found: Doomed, size: int) -> Iterator[Doomed]:
    """Yield what goes of a thread in portions of so many checkpoints, a whole thread in one.

    After each, whatever is to be seen can be read: first is hidden what others need, then goes what nobody does.
    """
    if sum(len(r.removed) + len(r.hidden) for r in found.removals.values()) <= size:
        yield found
        return
    to_hide = [(stream, id_) for stream, removal in found.removals.items() for id_ in removal.hidden]
    to_remove = [(stream, id_) for stream, removal in found.removals.items() for id_ in removal.removed]
    rows = {(row.stream, row.checkpoint_id): row for row in chain(found.removed, found.hidden)}
    writes: dict[tuple[int, str], list[WritesRow]] = {}
    for row in found.writes:
        writes.setdefault((row.stream, row.checkpoint_id), []).append(row)
    for keys, hide in ((to_hide, True), (to_remove, False)):
        for first in range(0, len(keys), size):
            some = keys[first : first + size]
            of_stream: dict[int, tuple[str, ...]] = {}
            for stream, id_ in some:
                of_stream[stream] = (*of_stream.get(stream, ()), id_)
            there = tuple(rows[key] for key in some if key in rows)
            yield replace(
                found,
                removals={
                    stream: replace(found.removals[stream], removed=() if hide else ids, hidden=ids if hide else ())
                    for stream, ids in of_stream.items()
                },
                removed=() if hide else there,
                hidden=there if hide else (),
                writes=() if hide else tuple(row for key in some for row in writes.get(key, ())),
            )


def _microseconds(ts: object) -> int | None:
    """Give the time that a checkpoint says it was made, in microseconds since 1970-01-01; None if it says none."""
    if not isinstance(ts, str):
        return None
    try:
        made = datetime.fromisoformat(ts)
        return ((made if made.tzinfo else made.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None
