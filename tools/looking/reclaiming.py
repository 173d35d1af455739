"""What compaction would give back: events that nothing needs any more (FORMAT.md section 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...eventlog.log import EventLog
from ...eventlog.sql import the_row
from ...saver.planning import make_plan

__all__ = ["Reclaimable", "anything_erased", "reclaimable"]

_ANY = "SELECT EXISTS (SELECT 1 FROM erased)"


@dataclass(frozen=True, slots=True)
class Reclaimable:
    """What compaction would give back as long as nothing else is to go than what was removed already.

    Attributes:
        events: how many it would erase.
        bytes: of their records.
        shared_events: how many others only records of what is kept refer to: they go once that is stored anew.
        shared_bytes: of their records.
        restated_bytes: of the records that are to be stored anew for that.
    """

    events: int
    bytes: int
    shared_events: int
    shared_bytes: int
    restated_bytes: int


def reclaimable(log: EventLog, *, progress: Callable[[float], None] = lambda _: None) -> Reclaimable:
    """Say what a compaction would find to do, without a policy; changes nothing.

    Args:
        log: an open log, with the built-in projections.
        progress: is called with how many positions have been looked at, of as many as the head's.

    What is appended meanwhile is not counted. Takes some bits of memory for each position.

    Raises:
        CorruptRecordError: a record is damaged: what it refers to cannot be told.
        LogDamagedError: the projections are not what they should be.
    """
    plan = make_plan(log, looked=progress)
    return Reclaimable(len(plan.dead), plan.size, len(plan.shared), plan.shared_size, plan.affected_size)


def anything_erased(log: EventLog) -> bool:
    """Tell whether a compaction has ever erased anything of a log."""
    with log.database.reading() as connection:
        return bool(the_row(connection, _ANY)[0])
