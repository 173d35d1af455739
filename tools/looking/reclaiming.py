"""What compaction would give back: events that nothing needs any more (FORMAT.md section 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...eventlog.log import EventLog
from ...eventlog.sql import the_row
from ...saver import EventLogSaver
from ...saver.compaction.planning import make_plan

__all__ = ["Reclaimable", "anything_erased", "reclaimable"]

_ANY = "SELECT EXISTS (SELECT 1 FROM erased)"
_HOW_MANY = "SELECT count(*) FROM erased"
_TRIES = 2


@dataclass(frozen=True, slots=True)
class Reclaimable:
    """What compaction would give back as long as nothing else is to go than what was removed already.

    Attributes:
        events: how many it would erase.
        bytes: of their records.
        later_events: how many others it would erase once what is kept, but refers to them, is stored anew; the records
            that are stored anew are among them.
        later_bytes: of their records.
        restated_bytes: of those that are stored anew, as they are.
    """

    events: int
    bytes: int
    later_events: int
    later_bytes: int
    restated_bytes: int


def reclaimable(saver: EventLogSaver, *, progress: Callable[[float], None] = lambda _: None) -> Reclaimable:
    """Say what a compaction would find to do, without a policy; changes nothing.

    Args:
        saver: an open log; read-only will do.
        progress: is called with how many positions have been looked at, of as many as the head's.

    What is appended meanwhile is not counted. If somebody compacts the log meanwhile, it is looked at once more, and if
    that goes on, some of the numbers are of before and some of after, but none is below 0. Takes some bits of memory
    for each position.

    Raises:
        CorruptRecordError: a record is damaged: what it refers to cannot be told.
        LogDamagedError: the projections are not what they should be.
    """
    for _ in range(_TRIES):
        erased = _asked(saver.log, _HOW_MANY)
        found = _reclaimable(saver, progress)
        if _asked(saver.log, _HOW_MANY) == erased:
            break
    return found


def _reclaimable(saver: EventLogSaver, progress: Callable[[float], None]) -> Reclaimable:
    plan = make_plan(saver.log, looked=progress)
    now = len(plan.dead)
    if not plan.shared:
        return Reclaimable(now, plan.size, 0, 0, 0)
    # Another look, without a transaction around both: what the first has found may be gone.
    report = saver.compact(dry_run=True)
    later = max(0, sum(report.events_erased.values()) - now)
    return Reclaimable(now, plan.size, later, max(0, report.bytes_erased - plan.size), report.bytes_restated)


def anything_erased(log: EventLog) -> bool:
    """Tell whether a compaction has ever erased anything of a log."""
    return bool(_asked(log, _ANY))


def _asked(log: EventLog, question: str) -> int:
    with log.database.reading() as connection:
        number: int = the_row(connection, question)[0]
    return number
