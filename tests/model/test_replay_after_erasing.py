"""Erasing records (FORMAT.md section 6): whatever is read, and what a rebuild gives, stays what it was."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import apsw
from hypothesis import strategies as st
from hypothesis.stateful import rule
from langgraph_eventlog.eventlog import Kind, appender
from langgraph_eventlog.eventlog.event import Carry, Compaction, NewEvent
from langgraph_eventlog.eventlog.integrity import inner_of
from langgraph_eventlog.eventlog.record import decode
from langgraph_eventlog.saver import EventLogSaver

from .machine import SaverMachine
from .test_model import effort
from .values import RUNS

_EVENTS = """
SELECT e.position, e.kind, e.record, e.digest, e.recorded_at, t.thread_id, s.checkpoint_ns
FROM event AS e LEFT JOIN stream AS s ON s.stream = e.stream LEFT JOIN thread AS t ON t.thread = s.thread
ORDER BY e.position DESC"""
_POINTED_AT = "SELECT position FROM history UNION SELECT position FROM pending_writes UNION SELECT head FROM meta"
_FACTS = "SELECT t.thread_id, a.created_at, a.last_activity FROM threads AS a JOIN thread AS t ON t.thread = a.thread"


def erase(saver: EventLogSaver, choose: Callable[[int], bool], now: int) -> list[int]:
    """Erase those of the erasable puts and put_writes that `choose` picks, in one transaction; give their positions."""
    erased: list[int] = []

    def decide(connection: apsw.Connection) -> NewEvent | None:
        needed = {position for (position,) in connection.execute(_POINTED_AT)}
        size = 0
        # The newest first: a base is smaller than what names it, and free once that is erased.
        for position, kind, record, digest, recorded_at, thread_id, ns in connection.execute(_EVENTS).fetchall():
            if kind not in (Kind.PUT, Kind.PUT_WRITES) or position in needed or not choose(position):
                needed |= set(decode(record)[0])
                continue
            inner = inner_of(recorded_at=recorded_at, address=(thread_id, ns), digest=digest)
            connection.execute("INSERT INTO erased (position, kind, inner) VALUES (?, ?, ?)", (position, kind, inner))
            connection.execute("DELETE FROM event WHERE position = ?", (position,))
            erased.append(position)
            size += len(record)
        if not erased:
            return None
        facts = [list(row) for row in connection.execute(_FACTS)]
        carry = appender.prepare(NewEvent(Carry("threads", facts)))
        recorded = appender.append(
            connection, carry, head=saver.log.reader.head(connection), keys=saver.log.keys, clock=lambda: now
        )
        saver._core.projector.apply(connection, recorded)
        return NewEvent(Compaction({"test": True}, ranges(sorted(erased)), size))

    saver.log.transact(decide)
    return erased


def ranges(positions: list[int]) -> tuple[tuple[int, int], ...]:
    ends = [a for a, b in pairwise(positions) if b != a + 1] + [positions[-1]]
    starts = [positions[0]] + [b for a, b in pairwise(positions) if b != a + 1]
    return tuple(zip(starts, ends, strict=True))


class ErasingMachine(SaverMachine):
    """Erases in between. The model is not told, because nothing that it knows of changes."""

    @rule(
        first=st.sampled_from([None, "prune", "delete a run"]),
        share=st.sampled_from([1.0, 1.0, 0.5, 0.2]),
        seed=st.integers(0, 1000),
    )
    def erase(self, first: str | None, share: float, seed: int) -> None:
        if first == "prune":
            self.prune(["t"], "keep_latest")
        elif first == "delete a run":
            self.delete_for_runs([str(RUNS[seed % len(RUNS)])])
        chance = random.Random(seed)
        erase(self.saver, lambda _: chance.random() < share, self.now)
        assert [*self.saver.log.verify()] == []

    def teardown(self) -> None:
        # At the end everything that may go, goes; and then the projections are made anew from what is left.
        if not self.saver.log.closed:
            erase(self.saver, lambda _: True, self.now)
            self.saver.rebuild()
            self.everything_that_is_listed()
            self.the_threads()
            self.the_history_of_delta_channels()
        super().teardown()


TestErasing = ErasingMachine.TestCase
TestErasing.settings = effort(15)


def config_of(checkpoint_id: str | None) -> Any:
    return {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": checkpoint_id}}


def put(saver: EventLogSaver, checkpoint_id: str, parent_id: str | None, values: dict[str, Any]) -> None:
    checkpoint = {
        "v": 4,
        "ts": "",
        "id": checkpoint_id,
        "channel_values": values,
        "channel_versions": {},
        "versions_seen": {},
    }
    saver.put(config_of(parent_id), checkpoint, {}, {})  # type: ignore[typeddict-item]


def test_what_was_pruned_can_be_erased_and_what_is_referred_to_cannot(make_saver, clock):
    saver = make_saver(clock=clock)
    put(saver, "1", None, {"kept": "k" * 100, "changes": 1})
    put(saver, "2", "1", {"kept": "k" * 100, "changes": 2})
    put(saver, "3", "2", {"kept": "k" * 100, "changes": 3})
    saver.prune(["t"])
    before = [*saver.threads()]
    assert erase(saver, lambda _: True, clock()) == [2]  # 1 is the base of 3
    assert [*saver.log.verify()] == []
    saver.rebuild()
    assert [*saver.threads()] == before
    assert saver.get_tuple(config_of(None)).checkpoint["channel_values"] == {"kept": "k" * 100, "changes": 3}


def test_a_put_whose_base_was_erased_meanwhile_stores_its_values_whole(make_saver, clock):
    saver, other = make_saver(clock=clock), make_saver(clock=clock)
    put(saver, "1", None, {"kept": "k" * 100})
    other.delete_thread("t")
    assert erase(other, lambda _: True, clock()) == [1]
    put(saver, "2", "1", {"kept": "k" * 100})  # this saver remembers 1, and would refer to it
    assert saver.get_tuple(config_of("2")).checkpoint["channel_values"] == {"kept": "k" * 100}


def test_when_a_thread_began_outlives_its_first_event(make_saver, clock):
    saver = make_saver(clock=clock)
    put(saver, "1", None, {"v": 1})
    put(saver, "1", None, {"v": 2})
    began = next(saver.threads()).created_at
    saver.register_thread("t", name="later")
    assert 1 in erase(saver, lambda _: True, clock())
    saver.rebuild()
    assert next(saver.threads()).created_at == began
