"""Deleting and pruning: what is to go is decided from the projections, in the transaction that records it.

It is recorded as effects, never as rules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import apsw

from ..eventlog.errors import LogDamagedError
from ..eventlog.event import DeleteForRuns, DeleteThread, NewEvent, Prune, Removal
from ..eventlog.log import EventLog
from ..projections.builtin import BuiltIn
from ..projections.history import CheckpointRow
from ..projections.reachability import needed_ancestors, versioned_channels

__all__ = ["Decide", "Remover", "may_be_delta"]

Decide = Callable[[apsw.Connection], NewEvent | None]


def may_be_delta(channel: str) -> bool:
    """Rule out LangGraph's own channels, which come and go at every step, but are never delta channels."""
    return not channel.startswith(("__", "branch:to:"))


class Remover:
    """Decides what a deletion removes. Each of its first three methods gives a function for `EventLog.transact`.

    None means nothing to do.
    """

    def __init__(self, log: EventLog, views: BuiltIn) -> None:
        self._log = log
        self._views = views

    def delete_thread(self, thread_id: str) -> Decide:
        """Everything of a thread goes."""

        def decide(connection: apsw.Connection) -> NewEvent | None:
            thread = self._log.keys.find_thread(connection, thread_id)
            if thread is None or self._views.threads.one(connection, thread) is None:
                return None
            checkpoints = writes = 0
            for stream, _ in self._log.keys.streams_of(connection, thread):
                checkpoints += self._views.history.count(connection, stream)[0]
                writes += self._views.pending_writes.count(connection, stream)
            return NewEvent(DeleteThread(checkpoints, writes), thread_id)

        return decide

    def delete_for_runs(self, run_ids: Sequence[str]) -> Decide:
        """The checkpoints of runs go; what surviving ones need of them is hidden."""

        def decide(connection: apsw.Connection) -> NewEvent | None:
            doomed: dict[int, set[str]] = {}
            for run_id in run_ids:
                for row in self._views.history.of_run(connection, run_id):
                    doomed.setdefault(row.stream, set()).add(row.checkpoint_id)
            removals = [self.removal(connection, stream, ids) for stream, ids in doomed.items()]
            effective = tuple(r for r in removals if r.removed or r.hidden)
            return NewEvent(DeleteForRuns(tuple(run_ids), effective)) if effective else None

        return decide

    def prune(self, thread_ids: Iterable[str], strategy: str) -> Decide:
        """All ("delete") or all but the latest of each namespace ("keep_latest") go."""

        def decide(connection: apsw.Connection) -> NewEvent | None:
            threads = {thread_id: self._log.keys.find_thread(connection, thread_id) for thread_id in thread_ids}
            there = {
                thread_id: thread
                for thread_id, thread in threads.items()
                if thread is not None and self._views.threads.one(connection, thread) is not None
            }
            if strategy == "delete":
                return NewEvent(Prune(strategy, tuple(there), ())) if there else None
            removals = tuple(
                removal
                for thread in there.values()
                for stream, _ in self._log.keys.streams_of(connection, thread)
                for removal in [self._keep_latest(connection, stream)]
                if removal is not None
            )
            return NewEvent(Prune(strategy, (), removals)) if removals else None

        return decide

    def removal(self, connection: apsw.Connection, stream: int, doomed: Collection[str]) -> Removal:
        """Say what removing `doomed` comes to, in a stream, on a connection that may be only for reading.

        What surviving checkpoints need of it is hidden; hidden checkpoints that nobody needs any more go, too.
        """
        rows = self._views.history.of_stream(connection, stream)
        hidden = {row.checkpoint_id for row in rows if row.hidden}
        going = hidden.union(doomed)
        needed = self._needed(connection, [row for row in rows if row.checkpoint_id not in going], going)
        address = self._log.keys.address(connection, stream)
        if address is None:
            raise LogDamagedError(f"stream {stream} is not in {self._log.path}. verify() lists all damage")
        return Removal(
            *address,
            removed=tuple(row.checkpoint_id for row in rows if row.checkpoint_id in going - needed),
            hidden=tuple(
                row.checkpoint_id for row in rows if row.checkpoint_id in needed.intersection(doomed) - hidden
            ),
        )

    def _keep_latest(self, connection: apsw.Connection, stream: int) -> Removal | None:
        latest = self._views.history.latest(connection, stream)
        keep = "" if latest is None else latest.checkpoint_id
        rows = self._views.history.of_stream(connection, stream)
        doomed = {row.checkpoint_id for row in rows if row.checkpoint_id != keep}
        removal = self.removal(connection, stream, doomed)
        return removal if removal.removed or removal.hidden else None

    def _needed(self, connection: apsw.Connection, survivors: list[CheckpointRow], going: set[str]) -> set[str]:
        # Only those right behind what goes need asking: what a later survivor needs of it leads past one of these.
        boundary = [row for row in survivors if row.parent_id in going]
        if not boundary:
            return set()
        also = versioned_channels(self._log.reader, connection, survivors)
        needed: set[str] = set()
        for row in boundary:
            path = needed_ancestors(
                self._views, self._log.reader, connection, row, may_be_delta=may_be_delta, also=also
            )
            needed |= {ancestor.checkpoint_id for ancestor in path}
        return needed
