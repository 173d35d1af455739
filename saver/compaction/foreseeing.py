"""What a compaction would do: found by reading only, by the rules that it goes by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...projections.reaching import Leaving
from ..core import Core
from .affected import AffectedRows, Fate
from .planning import Plan
from .retaining import RetentionReport, doomed_by, report_of, total_of
from .retention import Retention

__all__ = ["Foreseen", "foresee"]


class Foreseen(NamedTuple):
    """What a compaction would do.

    Attributes:
        plan: what would be erased, once everything else is done.
        rounds: how many times it would look through the log.
        removed: what the policy lets go.
        restated: how many rows would be stored anew.
        bytes_restated: of their records, as they are.
    """

    plan: Plan
    rounds: int
    removed: RetentionReport
    restated: int
    bytes_restated: int


def foresee(
    core: Core, policy: Retention | None, look: Callable[[Leaving | None], Plan], *, thorough: bool
) -> Foreseen:
    """Say what a compaction would do.

    Args:
        core: of the log.
        policy: what it would remove first.
        look: makes a plan.
        thorough: whether everything that refers to what goes would be stored anew.
    """
    leaving = Leaving()
    removed = RetentionReport() if policy is None else _removed(core, policy, leaving)
    rounds = restated = size = 0
    while True:
        plan = look(leaving)
        rounds += 1
        count, bytes_ = _restated(core, plan, leaving, thorough=thorough) if plan.affected else (0, 0)
        if not count:
            return Foreseen(plan, rounds, removed, restated, size)
        restated += count
        size += bytes_


def _removed(core: Core, policy: Retention, leaving: Leaving) -> RetentionReport:
    """Add what a policy removes to what leaves."""
    reports: list[RetentionReport] = []
    for doomed in doomed_by(core.log, core.views, policy, now=core.log.now()):
        reports.append(report_of(doomed))
        if doomed.whole:
            with core.log.database.reading() as connection:
                thread = core.log.keys.find_thread(connection, doomed.thread_id)
                assert thread is not None
                leaving.threads.add(thread)
                leaving.streams.update(stream for stream, _ in core.log.keys.streams_of(connection, thread))
        else:
            leaving.checkpoints.update((row.stream, row.checkpoint_id) for row in doomed.removed)
            leaving.checkpoints.update((row.stream, row.checkpoint_id) for row in doomed.writes)
    return total_of(reports)


def _restated(core: Core, plan: Plan, leaving: Leaving, *, thorough: bool) -> tuple[int, int]:
    """Add what would be restated to what leaves; give how many rows that are, and how many bytes."""
    rows = AffectedRows(core, Fate(plan.affected.__contains__, plan.goes, plan.head), leaving)
    streams = {stream for stream in rows.streams() if thorough or rows.is_worth_it(stream)}
    count = size = 0
    for stream in streams:
        for place in rows.of(stream):
            with core.log.database.reading() as connection:
                row = rows.row(connection, stream, place)
            if row is not None:
                count += 1
                size += row.size
    leaving.restated.append((streams, plan.affected))
    return count, size
