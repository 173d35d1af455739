"""Copying and forking threads: the target's rows point at the source's records, so that nothing is stored twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import apsw

from ..eventlog.errors import ConfigError, ThreadExistsError
from ..eventlog.event import CopiedStream, Copy, NewEvent
from ..eventlog.log import EventLog
from ..eventlog.plain import unpack
from ..projections.builtin import BuiltIn
from ..projections.history import CheckpointRow
from .config import Address

__all__ = ["Copier"]

Decide = Callable[[apsw.Connection], NewEvent | None]


class Copier:
    """Decides what a copy or fork takes along. Each method gives a function for `EventLog.transact`."""

    def __init__(self, log: EventLog, views: BuiltIn) -> None:
        self._log = log
        self._views = views

    def copy(self, source_id: str, target_id: str) -> Decide:
        """Every namespace, checkpoint, write and parent link."""

        def decide(connection: apsw.Connection) -> NewEvent | None:
            source = self._log.keys.find_thread(connection, source_id)
            if source is None or source_id == target_id:
                return None
            copied = tuple(
                self._copied(connection, stream, checkpoint_ns, self._views.history.of_stream(connection, stream), None)
                for stream, checkpoint_ns in self._log.keys.streams_of(connection, source)
            )
            copied = tuple(stream for stream in copied if stream.checkpoints or stream.writes)
            if not copied:
                return None
            self._check_target(connection, target_id)
            return NewEvent(Copy("copy", source_id, None, copied), target_id)

        return decide

    def fork(self, address: Address, target_id: str, metadata: Mapping[str, Any] | None) -> Decide:
        """One checkpoint and its ancestors, and what their subgraphs left.

        The checkpoint's own pending writes go along only if nothing came after it: otherwise they are what made the
        next one, and the fork is to do that step anew.
        """

        def decide(connection: apsw.Connection) -> NewEvent | None:
            if address.thread_id == target_id:
                raise ConfigError("a thread cannot be forked into itself: give another target_thread_id")
            self._check_target(connection, target_id)
            point = self._fork_point(connection, address)
            thread, _ = self._log.keys.find(connection, address.thread_id, address.namespace) or (0, 0)
            streams = {ns: stream for stream, ns in self._log.keys.streams_of(connection, thread)}
            root = self._root_of(connection, streams.get(""), point, address)
            kept_roots, is_leaf = self._lineage(connection, root) if root is not None else ({}, True)
            copied = []
            for ns, stream in streams.items():
                if ns == "":
                    rows, without = list(kept_roots.values()), None if is_leaf or root is None else root.checkpoint_id
                elif ns == address.namespace:
                    lineage, leaf = self._lineage(connection, point)
                    rows, without = list(lineage.values()), None if leaf else point.checkpoint_id
                else:
                    rows = [
                        row
                        for row in self._views.history.of_stream(connection, stream)
                        if (parent := _root_named(row)) in kept_roots
                        and (is_leaf or root is None or parent != root.checkpoint_id)
                    ]
                    without = None
                if rows:
                    copied.append(self._copied(connection, stream, ns, rows, without))
            data = Copy("fork", address.thread_id, point.checkpoint_id, tuple(copied), metadata)
            return NewEvent(data, target_id)

        return decide

    def _fork_point(self, connection: apsw.Connection, address: Address) -> CheckpointRow:
        found = self._log.keys.find(connection, address.thread_id, address.namespace)
        row = None
        if found is not None:
            history, stream = self._views.history, found[1]
            row = (
                history.latest(connection, stream)
                if address.checkpoint_id is None
                else history.one(connection, stream, address.checkpoint_id)
            )
        if row is None or row.hidden:
            raise ConfigError(
                f"there is no checkpoint {address.checkpoint_id or '(the latest)'} in namespace "
                f"{address.namespace!r} of thread {address.thread_id!r} to fork from"
            )
        return row

    def _root_of(
        self, connection: apsw.Connection, root_stream: int | None, point: CheckpointRow, address: Address
    ) -> CheckpointRow | None:
        if address.namespace == "":
            return point
        named = _root_named(point)
        if root_stream is None or named is None:
            return None
        return self._views.history.one(connection, root_stream, named)

    def _lineage(self, connection: apsw.Connection, row: CheckpointRow) -> tuple[dict[str, CheckpointRow], bool]:
        """Give a checkpoint with its ancestors, and whether it has no children."""
        lineage = {r.checkpoint_id: r for r in [row, *self._views.history.ancestors(connection, row)]}
        children = (
            r for r in self._views.history.of_stream(connection, row.stream) if r.parent_id == row.checkpoint_id
        )
        return lineage, not any(True for _ in children)

    def _copied(
        self,
        connection: apsw.Connection,
        stream: int,
        checkpoint_ns: str,
        rows: list[CheckpointRow],
        without: str | None,
    ) -> CopiedStream:
        """Give what is copied of a stream; of the checkpoint `without`, not the writes. With all rows go all writes."""
        ids = {row.checkpoint_id for row in rows}
        whole = len(ids) == self._views.history.count(connection, stream)[1] and without is None
        writes = tuple(
            (row.checkpoint_id, row.position)
            for row in self._views.pending_writes.of_stream(connection, stream)
            if (whole or row.checkpoint_id in ids) and row.checkpoint_id != without
        )
        # SQLite gives `hidden` as an integer; the record wants a bool, and refuses anything else when it is read.
        copied = tuple((r.checkpoint_id, r.position, bool(r.hidden)) for r in rows)
        return CopiedStream(checkpoint_ns, copied, writes)

    def _check_target(self, connection: apsw.Connection, target_id: str) -> None:
        thread = self._log.keys.find_thread(connection, target_id)
        if thread is None:
            return
        for stream, _ in self._log.keys.streams_of(connection, thread):
            if self._views.history.count(connection, stream)[1] or self._views.pending_writes.count(connection, stream):
                raise ThreadExistsError(target_id)


def _root_named(row: CheckpointRow) -> str | None:
    """Give the root checkpoint during whose step a subgraph's checkpoint was made."""
    parents = unpack(row.metadata).get("parents")
    named = parents.get("") if isinstance(parents, dict) else None
    return named if isinstance(named, str) else None
