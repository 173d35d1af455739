"""What is to go from a log, what that affects, and everything that can be read of it: for tests of restating."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import apsw
from langgraph_eventlog.eventlog import Put, PutWrites, Restate, RestateWrites
from langgraph_eventlog.eventlog.record import read_bases
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.saver.compaction.restating import Restated, restate_affected

from .changing import exact

__all__ = ["Plan", "everything", "looked_back", "named", "pointed_at", "restate", "rows_at"]

_RECORDS = "SELECT position, record FROM event WHERE kind IN (1, 2, 11, 12) ORDER BY position"
_TABLES = ("history", "history_recent", "pending_writes")
_POINTED_AT = " UNION ".join(f"SELECT position FROM {table}" for table in _TABLES)
_STREAMS = "SELECT t.thread_id, s.checkpoint_ns, s.stream FROM stream AS s JOIN thread AS t USING (thread) ORDER BY 3"
_WRITES = "SELECT stream, checkpoint_id, applied, ordinal, writes FROM pending_writes ORDER BY 1, 2, 3, 4"


@dataclass
class Plan:
    """What a compaction would find.

    Attributes:
        upto: the head when it looked.
        gone: positions that only other records name, and those that the test says are to go.
        affected: positions that rows point at, and that name what is gone, directly or not.
    """

    upto: int
    gone: set[int]
    affected: set[int]

    @classmethod
    def of(cls, saver: EventLogSaver, also: Collection[int] = ()) -> Plan:
        with saver.log.database.reading() as connection:
            bases = _bases(connection)
            live = {position for (position,) in connection.execute(_POINTED_AT)} - set(also)
            upto = saver.log.reader.head(connection).position
        gone, affected = set(bases) - live, set()
        for position in sorted(live):
            if any(base in gone or base in affected for base in bases[position]):
                affected.add(position)
        return cls(upto, gone, affected | set(also))

    def is_affected(self, position: int) -> bool:
        assert position <= self.upto
        return position in self.affected

    def goes(self, position: int) -> bool:
        assert position <= self.upto
        return position in self.gone


def _bases(connection: apsw.Connection) -> dict[int, tuple[int, ...]]:
    return {position: read_bases(record) for position, record in connection.execute(_RECORDS)}


def restate(saver: EventLogSaver, plan: Plan | None = None, **options: Any) -> Restated:
    """Restate what a plan says is affected; without one, what is."""
    plan = plan or Plan.of(saver)
    return restate_affected(saver._core, is_affected=plan.is_affected, goes=plan.goes, upto=plan.upto, **options)


def named(saver: EventLogSaver) -> set[int]:
    """The positions that what is there is read from, directly or not, without those that rows point at."""
    with saver.log.database.reading() as connection:
        bases = _bases(connection)
        live = {position for (position,) in connection.execute(_POINTED_AT)}
    found: set[int] = set()
    left = [base for position in live for base in bases[position]]
    while left:
        base = left.pop()
        if base not in found:
            found.add(base)
            left += bases[base]
    return found - live


def rows_at(saver: EventLogSaver, positions: Collection[int]) -> int:
    """How many rows point at one of the positions."""
    with saver.log.database.reading() as connection:
        tables = [connection.execute(f"SELECT position FROM {table}").fetchall() for table in _TABLES]
    return sum(position in positions for rows in tables for (position,) in rows)


def pointed_at(saver: EventLogSaver) -> set[int]:
    with saver.log.database.reading() as connection:
        return {position for (position,) in connection.execute(_POINTED_AT)}


def looked_back(saver: EventLogSaver) -> list[int]:
    """The puts that refer to something else than their parent's record, and writes, as they were at that moment.

    Or what these are read from. Of a log without copies, from which nothing has been erased.
    """
    with saver.log.database.reading() as connection:
        bases = _bases(connection)
    found: list[int] = []
    read_from: dict[int, set[int]] = {}
    checkpoints: dict[tuple[int | None, str], int] = {}
    writes: dict[tuple[int | None, str], dict[int, int]] = {}
    for event in saver.log.read():
        data, stream = event.data, event.stream
        if event.position in bases:
            own = bases[event.position]
            read_from[event.position] = {event.position}.union(*(read_from[base] for base in own))
        match data:
            case Put(checkpoint_id=id, parent_id=parent):
                there = [checkpoints.get((stream, parent or "")), *writes.get((stream, parent or ""), {}).values()]
                allowed: set[int] = set().union(*(read_from[position] for position in there if position is not None))
                if not allowed.issuperset(own):
                    found.append(event.position)
                checkpoints[stream, id] = event.position
            case Restate(put=put):
                checkpoints[stream, put.checkpoint_id] = event.position
            case PutWrites(checkpoint_id=id):
                writes.setdefault((stream, id), {})[event.position] = event.position
            case RestateWrites(applied=applied, writes=its):
                writes[stream, its.checkpoint_id][applied] = event.position
    return found


def everything(saver: EventLogSaver, channels: Collection[str] = ("d", "e")) -> dict[Any, Any]:
    """All that can be read, hidden checkpoints and threads included, as text."""
    history = saver._core.views.history
    with saver.log.database.reading() as connection:
        streams = connection.execute(_STREAMS).fetchall()
        rows = [(thread, ns, row) for thread, ns, stream in streams for row in history.of_stream(connection, stream)]
        writes = connection.execute(_WRITES).fetchall()
    found: dict[Any, Any] = {
        "threads": [repr(replace(info, bytes=0)) for info in saver.threads()],
        "listed": [exact([one.config, one.metadata]) for one in saver.list(None)],
        "writes": writes,
    }
    for thread, ns, row in rows:
        named = {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": row.checkpoint_id}
        one = saver.get_tuple({"configurable": named})
        assert one is not None
        its = [row.parent_id, row.hidden, row.metadata, one.config, dict(one.checkpoint), one.metadata]
        deltas = saver.get_delta_channel_history(config={"configurable": named}, channels=[*channels])
        found[thread, ns, row.checkpoint_id] = exact([*its, one.parent_config, one.pending_writes, dict(deltas)])
    return found
