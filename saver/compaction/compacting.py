"""One compaction, from the policy to the space that is given back: rounds of looking, carrying, erasing, restating.

What is stored anew in one round is what the next finds that nobody needs any more.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ...eventlog.event import Compaction, Kind, NewEvent
from ...projections.carrying import THREADS_A_CARRY, carry_threads
from ...projections.reaching import Leaving
from ..core import Core
from . import giving_back
from .eraser import Eraser
from .foreseeing import foresee
from .pacing import Pace
from .planning import Plan, make_plan
from .report import CompactionReport, ProgressTold
from .restating import Restated, restate_affected
from .retaining import RetentionReport, apply_retention
from .retention import Retention

__all__ = ["Compactor"]

_MAX_ROUNDS = 4
_COMPLETE = "complete"


def restate(core: Core, plan: Plan, pace: Pace, *, thorough: bool) -> Restated:
    """Store anew what is kept, but refers to what is to go."""
    return restate_affected(
        core,
        is_affected=plan.affected.__contains__,
        goes=plan.goes,
        upto=plan.head,
        thorough=thorough,
        pace=pace,
        clock=pace.clock,
    )


class Compactor:
    """One compaction.

    Args:
        core: the log and its projections.
        policy: what may be removed first; None: nothing.
        thorough: whether what is kept is stored anew wherever it refers to what is not.
        vacuum: whether the file is written anew at the end.
        look_for_remains: whether the report says how many pages have some, for which the whole file is read.
        progress: is told how far it is.
        between: is called after each transaction, with what it did: "carried", "erased", "restated", "freed".
        stopped: asked after each transaction: True ends it there.
        pace: how much is done at a time.
    """

    def __init__(
        self,
        core: Core,
        policy: Retention | None = None,
        *,
        thorough: bool = True,
        vacuum: bool = False,
        look_for_remains: bool = True,
        progress: ProgressTold | None = None,
        between: Callable[[str], None] | None = None,
        stopped: Callable[[], bool] = lambda: False,
        pace: Pace | None = None,
    ) -> None:
        self._core = core
        self._log = core.log
        self._policy = policy
        self._thorough = thorough
        self._vacuum = vacuum
        self._looks_for_remains = look_for_remains
        self._progress = progress
        self._between = between or (lambda _: None)
        self._stopped = stopped
        # Nobody of another process waits for a private log.
        self._pace = pace or (Pace(sleep=lambda _: None) if core.log.database.private else Pace())
        self._done = self._of = 0
        self._rounds = 0
        self._kinds: Counter[int] = Counter()
        self._size = 0
        self._restated = self._restated_size = 0
        self._blocked_by: set[str] = set()
        self._left = False  # whether something is left to do
        self._appended = False

    def dry_run(self) -> CompactionReport:
        """Say what `run` would do. Changes nothing: a log that is open for reading only will do."""
        began, sizes = time.perf_counter(), giving_back.sizes(self._log.database)
        found = foresee(self._core, self._policy, self._plan, thorough=self._thorough)
        self._tell(self._of, self._of)
        return CompactionReport(
            dry_run=True,
            rounds=found.rounds,
            threads_removed=found.removed.threads_removed,
            checkpoints_removed=found.removed.checkpoints_removed,
            checkpoints_hidden=found.removed.checkpoints_hidden,
            events_erased=_by_kind(found.plan.kinds),
            bytes_erased=found.plan.size,
            restated=found.restated,
            bytes_restated=found.bytes_restated,
            file_bytes_before=sizes.file,
            file_bytes_after=sizes.file,
            wal_bytes_before=sizes.wal,
            wal_bytes_after=sizes.wal,
            blocked_by=found.plan.blocked_by,
            complete=not (found.plan.dead or found.restated or found.plan.blocked_by or found.removed.anything),
            seconds=time.perf_counter() - began,
        )

    def run(self) -> CompactionReport:
        """Do it."""
        database = self._log.database
        database.check_writable()
        began, before = time.perf_counter(), giving_back.sizes(database)
        removed = RetentionReport()
        if self._policy is not None:
            now = self._log.now()
            removed = apply_retention(self._log, self._core.views, self._policy, now=now, pace=self._pace)
        self._appended |= bool(removed.positions)
        self._core.projector.catch_up()
        while self._rounds < _MAX_ROUNDS and not self._is_stopped() and self._round():
            pass
        remains, is_empty = self._give_back()
        complete = is_empty and not (self._left or self._blocked_by or self._is_stopped())
        if complete and self._appended:
            self._log.append(NewEvent(Compaction({**self._why, _COMPLETE: True}, (), 0)))
            giving_back.truncate(database, self._pace)
        after = giving_back.sizes(database)
        self._tell(self._done, self._done)
        return CompactionReport(
            rounds=self._rounds,
            threads_removed=removed.threads_removed,
            checkpoints_removed=removed.checkpoints_removed,
            checkpoints_hidden=removed.checkpoints_hidden,
            events_erased=_by_kind(self._kinds),
            bytes_erased=self._size,
            restated=self._restated,
            bytes_restated=self._restated_size,
            file_bytes_before=before.file,
            file_bytes_after=after.file,
            wal_bytes_before=before.wal,
            wal_bytes_after=after.wal,
            pages_with_remains=remains,
            transactions=self._pace.transactions,
            longest_hold_ms=self._pace.longest_hold_s * 1000,
            longest_wait_ms=self._pace.longest_wait_s * 1000,
            blocked_by=tuple(sorted(self._blocked_by)),
            complete=complete,
            seconds=time.perf_counter() - began,
        )

    @property
    def bytes_erased(self) -> int:
        """Bytes of the records that have been erased until now."""
        return self._size

    @property
    def _why(self) -> dict[str, Any]:
        """What compaction events say of why."""
        return {} if self._policy is None else self._policy.as_plain()

    def _round(self) -> bool:
        """Look what is to do, and do it; tell whether there may be more."""
        self._rounds += 1
        plan = self._plan(None)
        self._blocked_by = set(plan.blocked_by)
        self._left = False
        if plan.dead:
            if not plan.carries_only:
                self._carry(plan)
            self._erase(plan)
        if plan.affected and not self._is_stopped():
            restated = restate(self._core, plan, self._pace, thorough=self._thorough)
            count = restated.checkpoints + restated.writes
            self._restated += count
            self._restated_size += restated.bytes
            self._left |= bool(count or restated.left)
            self._appended |= bool(count)
            self._between("restated")
        return self._left

    def _plan(self, leaving: Leaving | None) -> Plan:
        done = self._done
        head = self._log.head().position
        self._of = done + head

        def looked(count: int) -> None:
            self._tell(done + min(count, head), self._of)

        return make_plan(self._log, leaving=leaving, looked=looked)

    def _carry(self, plan: Plan) -> None:
        """Say in the log what a rebuild could not find any more, before it goes."""
        facts_of = sorted(plan.facts_of)
        for first in range(0, len(facts_of), THREADS_A_CARRY):
            with self._pace.transaction():
                carry_threads(self._log, facts_of[first : first + THREADS_A_CARRY], begun=self._pace.begun)
            self._between("carried")
        self._core.projector.catch_up()
        for projection in self._core.projector.carrying:
            with self._pace.transaction():
                projection.carry(self._log, begun=self._pace.begun)
            self._between("carried")
            before = plan.carries.get(projection.name)
            if before is not None and before <= plan.floor:
                plan.dead.add(before)  # superfluous from now on

    def _erase(self, plan: Plan) -> None:
        self._of = self._done + len(plan.dead)
        doing = Eraser(self._log, plan, self._pace, self._why)
        for count in doing.erase():
            self._appended |= bool(count)
            self._tell(min(self._done + count, self._of), self._of)
            self._between("erased")
            giving_back.fold_if_large(self._log.database, self._pace)
            if self._is_stopped():
                break
        self._kinds += doing.kinds
        self._size += doing.size
        self._left |= bool(doing.spared)

    def _give_back(self) -> tuple[int | None, bool]:
        """Give space back to the file system; give how many pages have remains, and whether the WAL is empty."""
        database = self._log.database
        if self._is_stopped():
            return None, False
        for _ in giving_back.free(database, self._pace):
            self._between("freed")
            if self._is_stopped():
                return None, False
        if self._vacuum:
            giving_back.rewrite(database)
        is_empty = giving_back.truncate(database, self._pace)
        if not is_empty:
            return None, False
        if self._vacuum:
            return 0, True
        return (giving_back.pages_with_remains(database) if self._looks_for_remains else None), True

    def _is_stopped(self) -> bool:
        self._left |= self._stopped()
        return self._stopped()

    def _tell(self, done: int, of: int) -> None:
        self._done, self._of = max(self._done, done), max(of, self._done, done)
        if self._progress is not None:
            self._progress(self._done, self._of)


def _by_kind(kinds: Counter[int]) -> dict[Kind, int]:
    return {Kind(kind): count for kind, count in sorted(kinds.items()) if count}
