"""Reading the log: order, filters, values, and what happens when a record is damaged."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from langgraph_eventlog.eventlog import (
    Carried,
    ConfigError,
    CorruptRecordError,
    Kind,
    LogClosedError,
    Put,
    Whole,
)


def positions(events: Any) -> list[int]:
    return [e.position for e in events]


def test_events_come_in_order_once_with_all_they_say(filled: Any) -> None:
    events = list(filled.log.read())
    assert positions(events) == list(range(1, len(events) + 1))
    assert filled.log.head().position == len(events)
    assert {e.kind for e in events} == set(Kind) - {
        Kind.IMPORT,
        Kind.CARRY,
        Kind.COMPACTION,
        Kind.RESTATE,
        Kind.RESTATE_WRITES,
    }
    first = events[0]
    assert (first.thread_id, first.checkpoint_ns, first.kind) == ("a", "", Kind.PUT)
    assert isinstance(first.data, Put)
    assert first.data.checkpoint_id == "c1"
    assert first.recorded_at == 1_767_225_602_000_000
    assert len(first.digest) == len(first.link) == 32
    prune = next(e for e in events if e.kind is Kind.PRUNE)
    assert (prune.thread_id, prune.checkpoint_ns, prune.stream, prune.thread) == (None, None, None, None)
    assert "hello" not in repr(first)


def test_after_and_limit_cut_the_sequence(filled: Any) -> None:
    every = positions(filled.log.read())
    for after in (0, 1, 7, len(every) - 1, len(every), 10_000, -5):
        for limit in (None, 0, 1, 3, 1000):
            expected = [p for p in every if p > after][:limit]
            assert positions(filled.log.read(after=after, limit=limit)) == expected
    with pytest.raises(ConfigError):
        filled.log.read(limit=-1)


@pytest.mark.parametrize("kinds", [[], [Kind.PUT], [Kind.PUT_WRITES, Kind.PRUNE], list(Kind), {Kind.COPY}, (3, 4)])
def test_kinds_and_limit_go_together(filled: Any, kinds: Any) -> None:
    expected = [e.position for e in filled.log.read() if e.kind in kinds]
    assert positions(filled.log.read(kinds=kinds)) == expected
    assert positions(filled.log.read(kinds=kinds, limit=2, after=2)) == [p for p in expected if p > 2][:2]


def test_a_thread_has_the_events_that_touch_it_be_it_among_others(filled: Any) -> None:
    """Removals over several threads stand in no thread's stream, and are reported for each that they take from."""
    read = {
        t: [(e.position, e.kind.name) for e in filled.log.read(thread_id=t)]
        for t in ("runs", "pruned", "gone too", "gone", "copied")
    }
    assert [kind for _, kind in read["runs"]] == ["PUT", "PUT", "DELETE_FOR_RUNS"]
    assert [kind for _, kind in read["pruned"]] == ["PUT", "PUT", "PUT_WRITES", "PRUNE"]
    assert [kind for _, kind in read["gone too"]] == ["PUT", "PRUNE"]
    assert [kind for _, kind in read["gone"]] == ["PUT", "PUT_WRITES", "DELETE_THREAD"]
    assert [kind for _, kind in read["copied"]] == ["COPY"]
    assert read["pruned"][-1][0] != read["gone too"][-1][0]
    assert positions(filled.log.read(thread_id="pruned", kinds=[Kind.PRUNE])) == [read["pruned"][-1][0]]
    assert positions(filled.log.read(thread_id="pruned", after=read["pruned"][0][0], limit=1)) == [read["pruned"][1][0]]
    for unknown in ("nobody", "", "a\0b", "A"):
        assert list(filled.log.read(thread_id=unknown)) == []


def test_a_thread_is_read_over_all_its_namespaces(filled: Any) -> None:
    assert {e.checkpoint_ns for e in filled.log.read(thread_id="a")} == {"", "child:1"}


def test_long_logs_are_read_page_by_page_and_see_what_is_appended_meanwhile(make_saver: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    for i in range(150):
        saver.register_thread(f"t{i % 2}", f"name {i}")
    reading = saver.log.read()
    assert next(reading).position == 1
    saver.register_thread("t0", "one more")
    assert positions(reading) == list(range(2, 152))
    assert positions(saver.log.read(thread_id="t1")) == list(range(2, 152, 2))
    assert len(list(saver.log.read(thread_id="t1", kinds=[Kind.PUT]))) == 0


def test_values_are_whole_even_where_they_are_stored_by_reference(filled: Any) -> None:
    events = list(filled.log.read(thread_id="a"))
    puts = [e for e in events if e.kind is Kind.PUT]
    assert isinstance(puts[1].data.channels["big"], Carried)
    for put in puts[:3]:
        values = filled.log.values(put)
        assert set(values) == set(put.data.channels)
        assert all(type(v) is Whole for v in values.values())
        assert filled.serde.loads_typed((values["big"].tag, values["big"].data)) == "x" * 300
    assert all(filled.log.values(e) == {} for e in events if e.kind is not Kind.PUT)


def test_a_closed_log_says_so_at_once(filled: Any) -> None:
    event = next(filled.log.read())
    half_read = filled.log.read()
    filled.close()
    for use in (
        filled.log.read,
        filled.log.head,
        lambda: list(filled.log.verify()),
        lambda: filled.log.values(event),
        lambda: list(half_read),
        lambda: filled.log.database,
    ):
        with pytest.raises(LogClosedError):
            use()


def damage(saver: Any, helpers: Any, position: int, at: int) -> None:
    with helpers.without_triggers(saver.path) as connection:
        ((record,),) = connection.execute("SELECT record FROM event WHERE position = ?", (position,)).fetchall()
        flipped = record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :]
        connection.execute("UPDATE event SET record = ? WHERE position = ?", (flipped, position))


def test_a_damaged_record_is_named_and_everything_else_stays_readable(
    filled: Any, make_saver: Any, helpers: Any
) -> None:
    make_saver.damaged(filled.path)
    with make_saver(path=filled.path) as other:  # what a saver has read itself, it remembers
        before = {(t.config["configurable"]["thread_id"], t.checkpoint["id"]): t.checkpoint for t in other.list(None)}
    (victim,) = [
        e.position for e in filled.log.read(thread_id="pruned") if e.kind is Kind.PUT and e.data.checkpoint_id == "c4"
    ]
    size = next(e.size for e in filled.log.read(after=victim - 1))
    for at in (0, 3, 8, size // 2, size - 1):
        damage(filled, helpers, victim, at)
        with pytest.raises(CorruptRecordError) as caught:
            filled.get_tuple({"configurable": {"thread_id": "pruned"}})
        assert (caught.value.position, caught.value.path) == (victim, filled.path)
        assert str(victim) in str(caught.value)
        assert filled.path in str(caught.value)
        with pytest.raises(CorruptRecordError):
            list(filled.log.read())
        assert positions(filled.log.read(after=victim)) == list(range(victim + 1, filled.log.head().position + 1))
        for (thread_id, checkpoint_id), checkpoint in before.items():
            if thread_id != "pruned":
                config = {"configurable": {"thread_id": thread_id, "checkpoint_id": checkpoint_id}}
                found = filled.get_tuple({"configurable": {**config["configurable"], "checkpoint_ns": ""}})
                assert found is None or found.checkpoint["id"] == checkpoint_id
                if found is not None and checkpoint_id != "c1":
                    assert found.checkpoint == checkpoint
        damage(filled, helpers, victim, at)
    assert list(filled.log.verify()) == []


def test_a_damaged_base_damages_what_refers_to_it_and_nothing_else(filled: Any, make_saver: Any, helpers: Any) -> None:
    make_saver.damaged(filled.path)
    damage(filled, helpers, 1, 60)
    with pytest.raises(CorruptRecordError) as caught:
        filled.get_tuple({"configurable": {"thread_id": "a"}})
    assert caught.value.position == 1
    event = next(filled.log.read(after=2))
    with pytest.raises(CorruptRecordError):
        filled.log.values(event)
    assert filled.get_tuple({"configurable": {"thread_id": "runs"}}).checkpoint["id"] == "c2"
    assert filled.get_tuple({"configurable": {"thread_id": "a", "checkpoint_ns": "child:1"}}).checkpoint["id"] == "c1"


def test_a_damaged_put_writes_never_gives_a_wrong_write(filled: Any, make_saver: Any, helpers: Any) -> None:
    make_saver.damaged(filled.path)
    (victim,) = [e.position for e in filled.log.read(thread_id="pruned", kinds=[Kind.PUT_WRITES])]
    damage(filled, helpers, victim, 30)
    with pytest.raises(CorruptRecordError) as caught:
        filled.get_tuple({"configurable": {"thread_id": "pruned"}})
    assert caught.value.position == victim


@pytest.mark.parametrize("table", ["history", "pending_writes"])
def test_a_projection_that_points_at_another_checkpoints_record_is_noticed(
    filled: Any, make_saver: Any, helpers: Any, table: str
) -> None:
    """Another id of the thread, the id in another thread, an event of another kind, and one that is not there."""
    make_saver.damaged(filled.path)
    events = list(filled.log.read())
    by = {
        (e.kind, e.thread_id, e.data.checkpoint_id): e.position for e in events if e.kind in (Kind.PUT, Kind.PUT_WRITES)
    }
    others = [
        by[Kind.PUT, "pruned", "c3"],
        by[Kind.PUT, "runs", "c1"],
        by[Kind.PUT_WRITES, "a", "c1"],
        by[Kind.PUT_WRITES, "gone", "c1"],
        5000,
    ]
    for other in others:
        with helpers.raw(filled.path) as connection:
            stream = "stream = (SELECT stream FROM stream JOIN thread USING (thread) WHERE thread_id = 'pruned')"
            ((old,),) = connection.execute(f"SELECT position FROM {table} WHERE {stream}").fetchall()
            connection.execute(f"UPDATE {table} SET position = ?1, applied = ?1 WHERE {stream}", (other,))
        with pytest.raises(CorruptRecordError) as caught:
            filled.get_tuple({"configurable": {"thread_id": "pruned"}})
        assert caught.value.position == other
        with helpers.raw(filled.path) as connection:
            connection.execute(f"UPDATE {table} SET position = ?1, applied = ?1 WHERE {stream}", (old,))
    filled.rebuild()
    assert list(filled.log.verify()) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async_twins_give_the_same(filled: Any, backend: str) -> None:
    async def use() -> None:
        log = filled.log
        assert [e async for e in log.aread()] == list(log.read())
        assert [e.position async for e in log.aread(after=2, limit=3, kinds=[Kind.PUT])] == positions(
            log.read(after=2, limit=3, kinds=[Kind.PUT])
        )
        assert [e.position async for e in log.aread(thread_id="gone")] == positions(log.read(thread_id="gone"))
        assert await log.ahead() == log.head()
        assert [f async for f in log.averify(anchor=log.head())] == []
        await log.aclose()
        assert log.closed

    anyio.run(use, backend=backend)
