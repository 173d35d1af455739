"""What a compaction has to do: which records nobody needs, and which kept ones refer to what nobody needs for itself.

Found without a transaction that lasts, while graphs go on; what is done later, in the transactions that erase, is to
look what has been appended since (`eraser.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import apsw

from ...eventlog.errors import CorruptRecordError, LogDamagedError
from ...eventlog.event import Carry, Kind, Prune
from ...eventlog.integrity import digest_of
from ...eventlog.log import EventLog
from ...eventlog.opened import OpenedRecord, RecordRow, is_record_row
from ...eventlog.positions import Positions
from ...eventlog.record import RecordFormatError, read_bases
from ...eventlog.sql import all_rows, page_of_rows
from ...projections.carrying import BUILT_IN
from ...projections.reaching import Leaving, check_whole, damaged, reached

__all__ = ["Looked", "Plan", "bases_in", "make_plan"]

_PAGE = 512
_EVERY = 256
# The kinds that nothing needs once no row points at them, and no record that stays names them.
HOLDING_VALUES = frozenset(map(int, (Kind.PUT, Kind.PUT_WRITES, Kind.RESTATE, Kind.RESTATE_WRITES)))
# Whose thread is there from then on, until it is deleted whole.
_BEGINNING = HOLDING_VALUES | {Kind.COPY, Kind.THREAD}
_EVENTS = """
SELECT e.position, e.kind, e.stream, e.record, e.digest, s.thread, e.recorded_at IN (a.created_at, a.last_activity)
FROM event AS e NOT INDEXED LEFT JOIN stream AS s ON s.stream = e.stream LEFT JOIN threads AS a ON a.thread = s.thread
WHERE e.position < ? ORDER BY e.position DESC LIMIT ?"""
_REFERRING = """
SELECT position, kind, stream, record, digest FROM event NOT INDEXED
WHERE position > ? AND position <= ? AND kind IN (1, 2, 11, 12) ORDER BY position LIMIT ?"""
# Users' projections only: a rebuild that is under way, or was killed, needs no more than what is there when it ends.
_PROGRESS = "SELECT name, progress FROM projection WHERE progress IS NOT NULL AND name <> 'rebuild under way'"

# Is told how many events have been looked at, besides those of before.
Looked = Callable[[int], None]


# What stands in a row of _EVENTS.
_Row = tuple[int, int, int | None, bytes, bytes, int | None, int | None]


@dataclass
class Plan:
    """What there is to do, as of `head`.

    Attributes:
        head: the newest event when the plan was begun; what is newer is left alone.
        dead: positions of events that can be erased. Those named by events newer than `head` are taken out of it.
        kinds: how many of each kind.
        size: bytes of their records.
        facts_of: the file's keys of threads that began, or were last active, with an event that is dead.
        carries: where users' projections have carried their facts last, by name.
        floor: what every user's projection has taken in; nothing beyond it may be erased.
        shared: positions that no row points at, but that records of others refer to.
        affected: positions that rows point at, whose records refer to a shared one, through others perhaps.
        blocked_by: names of users' projections that have not seen yet what could be erased.
    """

    head: int
    dead: Positions
    shared: Positions
    affected: Positions
    kinds: Counter[int] = field(default_factory=Counter)
    size: int = 0
    facts_of: set[int] = field(default_factory=set)
    carries: dict[str, int] = field(default_factory=dict)
    floor: int = 0
    blocked_by: tuple[str, ...] = ()

    @property
    def carries_only(self) -> bool:
        """Whether all that is dead are carries of users' projections, which newer ones have made superfluous."""
        return set(self.kinds) <= {Kind.CARRY}

    def goes(self, position: int) -> bool:
        """Tell whether an event can be erased, at once or later."""
        return position in self.shared or position in self.dead


def make_plan(log: EventLog, *, leaving: Leaving | None = None, looked: Looked | None = None) -> Plan:
    """Look what there is to do. Changes nothing.

    Args:
        log: the log.
        leaving: what to take for removed already, or restated, by events that are newer than all there are.
        looked: is told of progress, which ends at the head.

    Raises:
        CorruptRecordError: a record is damaged. What it refers to cannot be told, so that nothing may be erased.
        LogDamagedError: the projections are not what they should be.
    """
    with log.database.reading() as connection:
        head = log.reader.head(connection).position
        progress: dict[str, int] = dict(all_rows(connection, _PROGRESS))
    held = reached(log, head, leaving)
    check_whole(log)
    plan = Plan(head, Positions(head), Positions(head), Positions(head))
    _Descent(log, plan, held, progress, leaving).go(looked or (lambda _: None))
    if plan.shared:
        _find_affected(log, plan, held)
    return plan


class _Descent:
    """The walk from the newest event to the oldest: a record is smaller than what names it."""

    def __init__(
        self, log: EventLog, plan: Plan, held: Positions, progress: dict[str, int], leaving: Leaving | None
    ) -> None:
        self._log = log
        self._plan = plan
        self._held = held
        self._progress = progress
        plan.floor = min(progress.values(), default=plan.head)
        self._blocked_at = 0
        self._named = Positions(plan.head)
        # The newest is never erased: once there are newer ones, the next to compact does.
        self._newest = None if leaving else plan.head
        # Threads that a later event has deleted whole, or given another name and metadata.
        self._ended: set[int] = set(leaving.threads) if leaving else set()
        self._described: set[int] = set()
        # Threads without a row in `threads`, though nothing up to the head has ended them.
        self._lost: set[int] = set()

    def go(self, looked: Looked) -> None:
        plan = self._plan
        below, more = plan.head + 1, True
        while more:
            with self._log.database.reading() as connection:
                rows, more = page_of_rows(connection, _EVENTS, (below, _PAGE), _PAGE, sized=3)
                for row in rows:
                    if row[0] >= below:
                        raise LogDamagedError(f"{self._log.path} is damaged: event {row[0]} comes before {below}")
                    below = row[0]
                    self._look(connection, row)
            if rows:
                looked(plan.head - below + 1)
        self._check_lost()
        looked(plan.head)
        plan.blocked_by = tuple(sorted(name for name, at in self._progress.items() if at < self._blocked_at))

    def _look(self, connection: apsw.Connection, row: _Row) -> None:
        position, kind, stream, record, digest, thread, is_fact = row
        if is_fact is None and kind in _BEGINNING and thread not in self._ended:
            self._lost.add(thread or 0)
        plan = self._plan
        bases = bases_in(self._log, position, (kind, stream, record, digest))
        is_held = position in self._held
        is_dead = not is_held and self._is_dead(connection, row)
        if not is_dead or position == self._newest:
            for base in bases:
                self._named.add(base)
            if kind in HOLDING_VALUES and not is_held:
                plan.shared.add(position)
        elif position > plan.floor:
            self._blocked_at = max(self._blocked_at, position)
            for base in bases:
                self._named.add(base)
        else:
            plan.dead.add(position)
            plan.kinds[kind] += 1
            plan.size += len(record)
            if is_fact and thread is not None:
                plan.facts_of.add(thread)

    def _check_lost(self) -> None:
        """Check that the threads that have no row have been deleted since the head.

        Raises:
            LogDamagedError: one has not. Nothing of it would be pointed at, and all of it be erased.
        """
        if not self._lost:
            return
        for event in self._log.read(after=self._plan.head, kinds=(Kind.DELETE_THREAD, Kind.PRUNE)):
            self._lost.discard(event.thread or 0)
            if isinstance(event.data, Prune):
                with self._log.database.reading() as connection:
                    for thread_id in event.data.deleted_threads:
                        self._lost.discard(self._log.keys.find_thread(connection, thread_id) or 0)
        if self._lost:
            raise damaged(self._log, f"thread {min(self._lost)} has events, and is not among the threads")

    def _is_dead(self, connection: apsw.Connection, row: _Row) -> bool:
        """Tell whether nothing needs an event that no row points at; and note what it makes of no account itself."""
        position, kind, thread = row[0], row[1], row[5]
        if kind in HOLDING_VALUES:
            return position not in self._named
        if kind == Kind.DELETE_THREAD:
            self._ended.add(thread or 0)
        elif kind == Kind.PRUNE:
            data = self._opened(row).data()
            assert isinstance(data, Prune)
            for thread_id in data.deleted_threads:
                self._ended.add(self._log.keys.find_thread(connection, thread_id) or 0)
        elif kind == Kind.COPY:
            return thread in self._ended
        elif kind == Kind.THREAD:
            is_dead = thread in self._ended or thread in self._described
            self._described.add(thread or 0)
            return is_dead
        elif kind == Kind.CARRY:
            data = self._opened(row).data()
            assert isinstance(data, Carry)
            if data.projection != BUILT_IN:
                return self._plan.carries.setdefault(data.projection, position) != position
        return False

    def _opened(self, row: _Row) -> OpenedRecord:
        _, kind, stream, record, digest = row[:5]
        return OpenedRecord(self._log.path, row[0], (kind, stream, record, digest))


def bases_in(log: EventLog, position: int, row: RecordRow) -> tuple[int, ...]:
    """Give the bases that a record names: of (kind, stream, record, digest).

    Raises:
        CorruptRecordError: the record is not what was appended.
    """
    kind, _, record, digest = row
    if not is_record_row(row):
        raise CorruptRecordError("a column holds what it cannot hold", path=log.path, position=position)
    if digest_of(record) != digest:
        raise CorruptRecordError(
            "its record does not match its digest", path=log.path, position=position, code="digest"
        )
    if kind not in HOLDING_VALUES:
        return ()
    try:
        return read_bases(record)
    except RecordFormatError as e:
        raise CorruptRecordError(str(e), path=log.path, position=position) from e


def _find_affected(log: EventLog, plan: Plan, held: Positions) -> None:
    """Find what is held and refers to what is shared, through others perhaps: from the oldest to the newest."""
    for position, bases in _referring(log, plan.shared.least() or 0, plan.head):
        if position in held and any(base in plan.shared or base in plan.affected for base in bases):
            plan.affected.add(position)


def _referring(log: EventLog, after: int, last: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    more = True
    while more:
        with log.database.reading() as connection:
            rows, more = page_of_rows(connection, _REFERRING, (after, last, _PAGE), _PAGE, sized=3)
        for row in rows:
            if row[0] <= after:
                raise LogDamagedError(f"{log.path} is damaged: event {row[0]} comes after event {after}")
            after = row[0]
            yield row[0], bases_in(log, row[0], row[1:])
