"""What there is to say of checkpoints without showing their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import apsw
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from ...eventlog.bounded import Bounded
from ...eventlog.delta import weight_of_value
from ...eventlog.errors import EventLogError
from ...eventlog.event import Field, Put, put_of, writes_of
from ...eventlog.opened import OpenedRecord
from ...eventlog.resolve import ResolvedValues, Resolver
from ...eventlog.sql import one_row
from ...eventlog.value import Value, Whole
from ...projections.history import CheckpointRow
from ...projections.pending_writes import WritesRow
from ...saver import EventLogSaver
from ...saver.decoder import Decoder
from ...saver.serialising import load_metadata
from ..times import recorded_time
from .naming import views_of
from .tasks import TASKS, node_of_path, nodes_that_ran, sends_in

__all__ = ["CheckpointFacts", "FactReader"]

_MEMORY_BYTES = 64 * 1024 * 1024
_RECORDED_AT = "SELECT recorded_at FROM event WHERE position = ?"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What there is to say of a checkpoint without its values.

    Attributes:
        thread_id, checkpoint_ns, checkpoint_id: name it.
        parent_id: its parent's id; None: it has none.
        parent: "there", "hidden" or "missing"; None: it has none.
        children: ids of the checkpoints whose parent it is; several: a fork.
        hidden: it was removed, and is kept only because delta channels of others are rebuilt from it.
        position: the event that holds it; of a copy, the one that was copied.
        step, source, run_id: as its metadata says.
        time: its own `ts`, ISO 8601; None if it has none.
        recorded_at: when the event was recorded, UTC.
        nodes: that ran to make it.
        wrote: the nodes of which writes are stored at it: they ran after it.
        writes: how many writes are stored at it.
        bytes: of its record, compressed.
        write_bytes: of the records of its writes.
        state_bytes: of all its values in full, serialised, uncompressed, about; None if they cannot be read.
        changes: by channel, how many bytes its value has grown by, or shrunk, since the parent: of those that are not
            the same.
        damage: why some of this is not known; None: nothing is damaged.
    """

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str
    parent_id: str | None
    parent: str | None
    children: tuple[str, ...]
    hidden: bool
    position: int
    step: int | None
    source: str | None
    run_id: str | None
    time: str | None
    recorded_at: datetime | None
    nodes: tuple[str, ...]
    wrote: tuple[str, ...]
    writes: int
    bytes: int
    write_bytes: int
    state_bytes: int | None
    changes: Mapping[str, int]
    damage: str | None


class FactReader:
    """Reads facts, a page of checkpoints at a time, and remembers values that the next page's differ from.

    Args:
        saver: an open log.
        thread_id: the thread.
        checkpoint_ns: the namespace.
        rows: all its checkpoints, by id, among which children are.
    """

    def __init__(
        self, saver: EventLogSaver, thread_id: str, checkpoint_ns: str, rows: Mapping[str, CheckpointRow]
    ) -> None:
        self._saver = saver
        self._place = (thread_id, checkpoint_ns)
        self._values: ResolvedValues = Bounded(_MEMORY_BYTES)
        self._records: Bounded[int, OpenedRecord] = Bounded(_MEMORY_BYTES)
        self._children: dict[str, list[str]] = {}
        for row in rows.values():
            if row.parent_id is not None:
                self._children.setdefault(row.parent_id, []).append(row.checkpoint_id)

    def read(self, connection: apsw.Connection, rows: Iterable[CheckpointRow]) -> dict[str, CheckpointFacts]:
        """Give the facts of checkpoints, newest first, by id. What is damaged is not known, and named.

        The rows were read in the transaction that the connection is in: what one of before points at may be erased.
        """
        views = views_of(self._saver)
        one = _Reading(self._saver, self._saver.log.reader.opener(connection, self._records), self._values)
        found = {}
        # Parents first: most values are differences to theirs.
        for row in reversed(list(rows)):
            writes = views.pending_writes.of(connection, row.stream, row.checkpoint_id)
            parent = None if row.parent_id is None else views.history.one(connection, row.stream, row.parent_id)
            at_parent = [] if parent is None else views.pending_writes.of(connection, row.stream, parent.checkpoint_id)
            recorded: Any = one_row(connection, _RECORDED_AT, (row.position,))
            found[row.checkpoint_id] = self._facts(
                one, row, parent, writes=writes, at_parent=at_parent, recorded=recorded
            )
        return found

    def _facts(
        self,
        reading: _Reading,
        row: CheckpointRow,
        parent: CheckpointRow | None,
        *,
        writes: list[WritesRow],
        at_parent: list[WritesRow],
        recorded: Any,
    ) -> CheckpointFacts:
        reading.damage.clear()
        before = None if parent is None else reading.checkpoint(parent)
        reading.damage.clear()  # the parent's is told in its own line
        after = reading.checkpoint(row)
        nodes = reading.nodes_that_ran(before, after, at_parent) if parent is None or before is not None else []
        wrote = reading.nodes_that_wrote(after, writes)
        metadata: dict[str, Any] = reading.attempt(lambda: dict(load_metadata(self._saver.serde, row.metadata)), {})
        run_id, step, source = metadata.get("run_id"), metadata.get("step"), metadata.get("source")
        time = None if after is None else after.put.frame.get("ts")
        missing = None if row.parent_id is None else "missing"
        return CheckpointFacts(
            *self._place,
            checkpoint_id=row.checkpoint_id,
            parent_id=row.parent_id,
            parent=missing if parent is None else "hidden" if parent.hidden else "there",
            children=tuple(sorted(self._children.get(row.checkpoint_id, ()))),
            hidden=bool(row.hidden),
            position=row.position,
            step=step if isinstance(step, int) else None,
            source=source if isinstance(source, str) else None,
            run_id=None if run_id is None else str(run_id),
            time=time if isinstance(time, str) else None,
            recorded_at=recorded_time(recorded[0]) if recorded and isinstance(recorded[0], int) else None,
            nodes=tuple(nodes),
            wrote=tuple(wrote),
            writes=sum(one.writes for one in writes),
            bytes=row.size,
            write_bytes=sum(one.size for one in writes),
            state_bytes=None if after is None else sum(map(weight_of_value, after.values.values())),
            changes={} if after is None else reading.changes({} if before is None else before.values, after.values),
            damage="; ".join(dict.fromkeys(reading.damage)) or None,
        )


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    put: Put
    values: dict[str, Value]
    seen: Any


class _Reading:
    """Reads checkpoints within one transaction. What goes wrong is kept in `damage`."""

    def __init__(
        self, saver: EventLogSaver, opener: Callable[[int], OpenedRecord | None], values: ResolvedValues
    ) -> None:
        self.damage: list[str] = []
        self._open = opener
        self._decoder = Decoder(saver.serde, None)
        self._resolver = Resolver(self._load, path=saver.log.path, values=values)

    def _load(self, position: int, field: Field) -> Any:
        opened = self._open(position)
        return None if opened is None else opened.stored(field)

    def attempt(self, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except (EventLogError, TypeError, ValueError) as e:  # metadata may be anything but a dict
            self.damage.append(str(e))
            return otherwise

    def checkpoint(self, row: CheckpointRow) -> _Checkpoint | None:
        return self.attempt(lambda: self._checkpoint(row), None)

    def _checkpoint(self, row: CheckpointRow) -> _Checkpoint:
        opened = self._open(row.position)
        put = None if opened is None else put_of(opened.data())
        if put is None or put.checkpoint_id != row.checkpoint_id:
            raise ValueError(f"event {row.position} does not hold it: rebuild may mend that")
        values = self._resolver.all_channels(row.position, put)
        return _Checkpoint(put, values, self._decoder.value(self._resolver.versions_seen(row.position, put)))

    def nodes_that_ran(
        self, before: _Checkpoint | None, after: _Checkpoint | None, writes: Iterable[WritesRow]
    ) -> list[str]:
        if after is None:
            return []
        seen = None if before is None else before.seen
        return nodes_that_ran(seen, after.seen, self._paths(writes), self._sends(before))

    def nodes_that_wrote(self, at: _Checkpoint | None, writes: Iterable[WritesRow]) -> list[str]:
        sends = self._sends(at)
        return sorted({node for path in self._paths(writes) if (node := node_of_path(path, sends)) is not None})

    def _paths(self, writes: Iterable[WritesRow]) -> list[str]:
        return [path for row in writes if (path := self.attempt(lambda row=row: self._path(row), None)) is not None]  # type: ignore[misc]

    def _path(self, row: WritesRow) -> str | None:
        opened = self._open(row.position)
        writes = None if opened is None else writes_of(opened.data())
        return None if writes is None else writes.task_path

    def _sends(self, at: _Checkpoint | None) -> list[Any]:
        if at is None or TASKS not in at.values:
            return []
        return self.attempt(lambda: sends_in({TASKS: self._decoder.value(at.values[TASKS])}), [])

    def changes(self, before: Mapping[str, Value], after: Mapping[str, Value]) -> dict[str, int]:
        """Give by how many bytes each value has grown that is not the same."""
        grown = {}
        for channel in sorted({*before, *after}):
            old, new = before.get(channel), after.get(channel)
            if old is new or old == new:
                continue
            if (old is None or new is None) and self._is_snapshot(new if old is None else old):
                continue  # of a delta channel, whose value is there at each step, and stored at some
            grown[channel] = (0 if new is None else weight_of_value(new)) - (0 if old is None else weight_of_value(old))
        return grown

    def _is_snapshot(self, value: Value | None) -> bool:
        if not isinstance(value, Whole):
            return False
        return isinstance(self.attempt(lambda: self._decoder.value(value), None), _DeltaSnapshot)
