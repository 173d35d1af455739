"""Following a retention policy: what it lets go is removed in short transactions, while graphs go on.

Each is a prune event that says what goes, exactly. What goes is found outside of the transaction, which then only makes
sure that nothing has happened to the thread meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace

import apsw

from ...eventlog.event import NewEvent, Prune
from ...eventlog.log import EventLog
from ...projections.builtin import BuiltIn
from .doomed import Doomed, Finder, Progress, portions
from .pacing import Pace
from .retention import Retention

__all__ = ["RetentionReport", "apply_retention", "doomed_by", "preview_retention", "report_of", "total_of"]

# So many checkpoints go in a transaction, so that nobody waits long for it.
_PORTION = 64
# A thread that something happens to again and again is looked at so often, and then in the transaction itself.
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """What has been removed, or would be.

    Attributes:
        threads_removed: threads that went whole.
        checkpoints_removed: of all threads; those that had been hidden before and were not needed any more, too.
        checkpoints_hidden: those that surviving ones need, and that are not listed any more.
        writes_removed: one that was written again counts again.
        positions: of the prune events that were appended; () of what only would be removed.
    """

    threads_removed: int = 0
    checkpoints_removed: int = 0
    checkpoints_hidden: int = 0
    writes_removed: int = 0
    positions: tuple[int, ...] = ()

    @property
    def anything(self) -> bool:
        """Whether something goes out of sight."""
        return self != RetentionReport()


def apply_retention(
    log: EventLog,
    views: BuiltIn,
    policy: Retention,
    *,
    now: int,
    progress: Progress | None = None,
    pace: Pace | None = None,
) -> RetentionReport:
    """Remove what a policy lets go, while graphs go on. Doing it again at the same time removes nothing more.

    It may be stopped anywhere: what has been removed until then is a part of it, and what is to be seen can be read.

    Args:
        log: the log, which is appended to.
        views: its projections.
        policy: what is to be kept.
        now: the present, by the log's clock, in microseconds since 1970-01-01.
        progress: called with how many threads have been looked at, and how many there are.
        pace: waits between write transactions; None: they follow one another.

    Raises:
        CorruptRecordError: when a checkpoint was made cannot be read. What was removed before stays removed.
        LogBusyError, LogFullError, LogIOError, LogReadOnlyError: as for every append.
    """
    finder = Finder(log, views, policy, now)
    return total_of(report for thread in finder.threads(progress) for report in _remove(log, finder, thread, pace))


def preview_retention(
    log: EventLog, views: BuiltIn, policy: Retention, *, now: int, progress: Progress | None = None
) -> RetentionReport:
    """Say what `apply_retention` would remove; a log that is open for reading only will do."""
    return total_of(map(report_of, doomed_by(log, views, policy, now=now, progress=progress)))


def doomed_by(
    log: EventLog, views: BuiltIn, policy: Retention, *, now: int, progress: Progress | None = None
) -> Iterator[Doomed]:
    """Yield what a policy lets go, thread by thread, without removing it; threads of which nothing goes are left out.

    Holds no transaction between threads, and the rows of one in memory.

    Raises:
        CorruptRecordError: when a checkpoint was made cannot be read.
    """
    finder = Finder(log, views, policy, now)
    for thread in finder.threads(progress):
        found, _ = finder.look(thread)
        if found is not None:
            yield found


def _remove(log: EventLog, finder: Finder, thread: int, pace: Pace | None) -> Iterator[RetentionReport]:
    """Remove what goes of a thread, and yield what each transaction has removed."""
    attempts = 0
    while True:
        found, seen = finder.look(thread)
        if found is None:
            return
        attempts += 1
        is_busy = attempts > _ATTEMPTS
        for portion in portions(found, _PORTION):
            done = _transact(log, finder, thread, portion, seen=None if is_busy else seen, pace=pace)
            if done is None:
                break
            yield done
            if is_busy:
                break
            attempts, seen = 0, done.positions[-1]
        else:
            return


def _transact(
    log: EventLog, finder: Finder, thread: int, portion: Doomed, *, seen: int | None, pace: Pace | None
) -> RetentionReport | None:
    """Remove a portion, unless something has happened to the thread since event `seen`; then do nothing, and give None.

    Without `seen`, remove the first portion of what is found in the transaction itself.
    """
    going = portion

    def decide(connection: apsw.Connection) -> NewEvent | None:
        nonlocal going
        if pace is not None:
            pace.begun()
        if seen is None:
            found = finder.find(connection, thread)
            if found is None:
                return None
            going = next(portions(found, _PORTION))
        elif log.reader.touched(connection, thread, seen):
            return None
        whole = (going.thread_id,) if going.whole else ()
        return NewEvent(Prune("retention", whole, tuple(going.removals.values())))

    with nullcontext() if pace is None else pace.transaction():
        recorded = log.transact(decide)
    return None if recorded is None else replace(report_of(going), positions=(recorded.position,))


def report_of(going: Doomed) -> RetentionReport:
    """Say what a removal comes to."""
    writes = sum(row.writes for row in going.writes)
    return RetentionReport(int(going.whole), len(going.removed), len(going.hidden), writes)


def total_of(reports: Iterable[RetentionReport]) -> RetentionReport:
    """Add reports up."""
    threads = checkpoints = hidden = writes = 0
    positions: list[int] = []
    for report in reports:
        threads += report.threads_removed
        checkpoints += report.checkpoints_removed
        hidden += report.checkpoints_hidden
        writes += report.writes_removed
        positions += report.positions
    return RetentionReport(threads, checkpoints, hidden, writes, tuple(positions))
