"""The part of the saver that compacts, sync and async."""

from __future__ import annotations

import threading

from ...eventlog.aio import run
from ..core import Core
from .compacting import Compactor
from .report import CompactionReport, ProgressTold
from .retention import Retention

__all__ = ["CompactionMethods"]


class CompactionMethods:
    """The part of the saver that gives space back."""

    _core: Core

    def compact(
        self,
        policy: Retention | None = None,
        *,
        thorough: bool = True,
        vacuum: bool = False,
        dry_run: bool = False,
        progress: ProgressTold | None = None,
    ) -> CompactionReport:
        """Erase the records of what was deleted, pruned or replaced, and give the space back, while graphs go on.

        What is listed, and what it needs, reads as before: checkpoints, writes, delta channels, threads. verify() finds
        nothing, also with an anchor from before. What was erased cannot be had back. Names and metadata of deleted
        threads go, too; their ids stay. Works in transactions of a few milliseconds, shorter ones while others append;
        may be called at the same time from several processes, be killed at any point, and called again.

        Args:
            policy: what to remove first; None: nothing that has not been removed already.
            thorough: store anew whatever is kept, but refers to what is not, so that this can go, too. False: only
                where that saves more than it costs.
            vacuum: write the whole file anew at the end, so that nothing at all is left of what was erased: not in
                unused parts of pages either, see `CompactionReport.pages_with_remains`. Takes as much memory as the
                file has bytes; others wait for it before they append.
            dry_run: only say what would be done, and change nothing; also for a saver that is open for reading only.
            progress: called with (done, of how many).

        Raises:
            CorruptRecordError: a record is damaged. Nothing has been erased.
            LogDamagedError: the projections are damaged; rebuild() them first. Nothing has been erased.
            ProjectionError: a projection's carry() failed. Nothing has been erased.
            LogReadOnlyError, LogBusyError, LogFullError, LogIOError: what was done up to there stays done.
        """
        compactor = Compactor(self._core, policy, thorough=thorough, vacuum=vacuum, progress=progress)
        return compactor.dry_run() if dry_run else compactor.run()

    async def acompact(
        self,
        policy: Retention | None = None,
        *,
        thorough: bool = True,
        vacuum: bool = False,
        dry_run: bool = False,
        progress: ProgressTold | None = None,
    ) -> CompactionReport:
        """Async `compact`; `progress` is called in a worker thread.

        Cancelling it ends it after the transaction at hand (under trio, when it is done).
        """
        stop = threading.Event()
        compactor = Compactor(
            self._core, policy, thorough=thorough, vacuum=vacuum, progress=progress, stopped=stop.is_set
        )
        return await run(compactor.dry_run if dry_run else compactor.run, on_cancel=stop.set)
