"""A delta channel's snapshot is stored as what differs from the one before, which is not its parent's."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import apsw
import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph_eventlog.eventlog import Kind, record
from langgraph_eventlog.eventlog.event import Put
from langgraph_eventlog.eventlog.value import Patch, Whole
from langgraph_eventlog.saver import EventLogSaver, Retention

APART = 12  # checkpoints between two snapshots


def said(count: int, first: int = 0) -> list[HumanMessage]:
    """Messages of which no two have much in common."""
    return [
        HumanMessage(" ".join(f"{n * n * 7919 + i * i * 104729:x}" for i in range(40)), id=str(n))
        for n in range(first, count)
    ]


def config_of(id: str | None = None) -> Any:
    return {"configurable": {"thread_id": "t", "checkpoint_ns": ""} | ({"checkpoint_id": id} if id else {})}


def put(saver: EventLogSaver, number: int, parent: int | None, values: dict[str, Any], **metadata: Any) -> None:
    checkpoint: Any = {
        "v": 4,
        "id": f"{number:06}",
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": values,
        "channel_versions": {},
        "versions_seen": {},
    }
    saver.put(config_of(None if parent is None else f"{parent:06}"), checkpoint, {"step": number, **metadata}, {})


def fill(saver: EventLogSaver, steps: int, first: int = 0) -> None:
    """A path of checkpoints, each with a write, whose snapshots hold all messages up to there."""
    for n in range(first, steps):
        put(saver, n, n - 1 if n else None, {"d": _DeltaSnapshot(said(n))} if n and n % APART == 0 else {})
        saver.put_writes(config_of(f"{n:06}"), said(n + 1, n) and [("d", said(n + 1, n))], "task")


def stored_at(saver: EventLogSaver, number: int, after: int = 0) -> Any:
    """How the last checkpoint of that number has its snapshot."""
    puts = [event.data for event in saver.log.read(after=after) if isinstance(event.data, Put)]
    return [put.channels["d"] for put in puts if put.checkpoint_id == f"{number:06}"][-1]


def seed_of(saver: EventLogSaver, number: int) -> Any:
    """What the child of a checkpoint is given as the seed."""
    found = saver.get_delta_channel_history(config=config_of(f"{number + 1:06}"), channels=["d"])["d"]
    return found["seed"].value


@pytest.mark.parametrize("memory_bytes", [0, 64_000_000])
def test_a_snapshot_is_a_patch_to_the_one_before_and_reads_as_it_was_put(make_saver: Any, memory_bytes: int) -> None:
    saver = make_saver(synchronous="NORMAL", memory_bytes=memory_bytes)
    fill(saver, 3 * APART + 2)
    assert [type(stored_at(saver, n * APART)) for n in (1, 2, 3)] == [Whole, Patch, Patch]
    with EventLogSaver(saver.path) as another:
        for reader in (saver, another):
            for n in (APART, 2 * APART, 3 * APART):
                assert seed_of(reader, n) == said(n)
                assert reader.get_tuple(config_of(f"{n:06}")).checkpoint["channel_values"]["d"].value == said(n)


def test_a_process_that_has_put_none_finds_the_snapshot_before_in_the_log(make_saver: Any) -> None:
    first = make_saver(synchronous="NORMAL")
    fill(first, 2 * APART)
    first.close()
    with EventLogSaver(first.path, synchronous="NORMAL") as saver:
        fill(saver, 2 * APART + 2, first=2 * APART)
        assert isinstance(stored_at(saver, 2 * APART), Patch)
        assert seed_of(saver, 2 * APART) == said(2 * APART)


def test_snapshots_grow_a_file_by_what_was_written_since_the_one_before(make_saver: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    fill(saver, 12 * APART + 1)
    sizes = [event.size for event in saver.log.read() if isinstance(event.data, Put) and event.data.channels]
    # Twelve times what the first one holds has been written. In full, all snapshots together take 78 times as much.
    assert len(sizes) == 12
    assert sum(sizes) < 2 * 12 * sizes[0]


def test_a_snapshot_is_read_from_little_more_than_twice_its_size(
    make_saver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = make_saver(synchronous="NORMAL")
    fill(saver, 20 * APART + 2)
    saver.close()
    sizes: list[int] = []
    decode = record.decode

    def noting(encoded: bytes, *others: Any) -> Any:
        found = decode(encoded, *others)
        sizes.append(len(encoded))
        return found

    monkeypatch.setattr(record, "decode", noting)
    with EventLogSaver(saver.path) as reader:
        for n in range(1, 21):
            reader._core.memory.renew()
            sizes.clear()
            value = reader.get_tuple(config_of(f"{n * APART:06}")).checkpoint["channel_values"]["d"].value
            assert value == said(n * APART)
            written = len(reader.serde.dumps_typed(value)[1])
            assert sum(sizes) < 2.5 * written


def test_the_snapshot_of_another_branch_is_not_taken_for_the_one_before(make_saver: Any) -> None:
    saver = make_saver(":memory:", synchronous="NORMAL")
    put(saver, 0, None, {})
    for n, parent in ((1, 0), (2, 0)):
        put(saver, n, parent, {"d": _DeltaSnapshot(said(10 * n, 10 * n - 10))})
    for n, parent in ((3, 1), (4, 2), (5, 3), (6, 4)):
        put(saver, n, parent, {})
    positions = {event.data.checkpoint_id: event.position for event in saver.log.read() if isinstance(event.data, Put)}
    for n, parent, before in ((7, 5, 1), (8, 6, 2)):
        value = [*said(10 * before, 10 * before - 10), *said(102 + n, 100 + n)]
        put(saver, n, parent, {"d": _DeltaSnapshot(value)})
        stored = stored_at(saver, n)
        assert isinstance(stored, Patch)
        assert stored.base == positions[f"{before:06}"]
        assert saver.get_tuple(config_of(f"{n:06}")).checkpoint["channel_values"]["d"].value == value


def test_what_a_snapshot_differs_from_may_be_deleted_and_erased(make_saver: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    fill(saver, 2 * APART + 2)
    assert isinstance(stored_at(saver, 2 * APART), Patch)
    assert saver.compact(Retention(keep_last=2)).complete
    assert sum(1 for _ in saver.list(config_of())) == 2
    assert seed_of(saver, 2 * APART) == said(2 * APART)
    with EventLogSaver(saver.path) as another:
        assert seed_of(another, 2 * APART) == said(2 * APART)
        assert list(another.verify()) == []


def test_what_is_stored_anew_by_compaction_is_a_patch_to_the_snapshot_before_it_again(make_saver: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    fill(saver, 12 * APART + 2)
    stored = [type(stored_at(saver, n * APART)) for n in range(1, 13)]
    first = next(n for n in range(1, 12) if stored[n - 2 : n + 1] == [Patch, Patch, Patch])  # of those that stay
    before = saver.log.head().position
    saver.compact(vacuum=True)
    size = os.path.getsize(saver.path)
    assert saver.compact(Retention(keep_last=12 * APART + 2 - first * APART), vacuum=True).complete
    assert os.path.getsize(saver.path) < size
    restated = [event.data.put for event in saver.log.read(after=before, kinds=[Kind.RESTATE])]
    snapshots = [type(put.channels["d"]) for put in restated if "d" in put.channels]
    assert snapshots[:2] == [Whole, Patch]
    for n in range(first, 13):
        assert seed_of(saver, n * APART) == said(n * APART)
    assert list(saver.verify()) == []


def test_after_the_snapshot_before_was_deleted_the_next_is_whole_or_reads_all_the_same(make_saver: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    put(saver, 0, None, {"d": _DeltaSnapshot(said(20))}, run_id="gone")
    put(saver, 1, 0, {})
    saver.delete_for_runs(["gone"])
    assert saver.compact().complete
    put(saver, 2, 1, {"d": _DeltaSnapshot(said(24))})
    assert saver.get_tuple(config_of()).checkpoint["channel_values"]["d"].value == said(24)


@pytest.mark.plain_file("it changes rows without the log")
@pytest.mark.parametrize("table", ["history", "history_recent"])
def test_a_damaged_row_of_an_ancestor_does_not_keep_a_snapshot_from_being_put(
    make_saver: Any, settle: Any, table: str
) -> None:
    saver = make_saver(synchronous="NORMAL")
    make_saver.damaged(saver.path)
    fill(saver, APART)
    if table == "history":
        settle(saver)
    saver.close()
    with contextlib.closing(apsw.Connection(saver.path)) as connection:
        connection.execute(f"UPDATE {table} SET parent_id = x'05ffff' WHERE position < 9")
        assert connection.changes() > 0
    saver = make_saver(saver.path)
    value = _DeltaSnapshot(said(APART))
    put(saver, APART, APART - 1, {"d": value})
    assert saver.get_tuple(config_of()).checkpoint["channel_values"]["d"] == value


def test_a_damaged_snapshot_does_not_keep_the_next_from_being_put(make_saver: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    make_saver.damaged(saver.path)
    fill(saver, APART + 3)
    (position,) = (e.position for e in saver.log.read() if isinstance(e.data, Put) and e.data.channels)
    saver.close()
    with EventLogSaver(saver.path) as other, other.log.database.writing() as connection:
        ((trigger,),) = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE name = 'event_never_changes'"
        ).fetchall()
        connection.execute("DROP TRIGGER event_never_changes")
        connection.execute("UPDATE event SET digest = zeroblob(32) WHERE position = ?", (position,))
        connection.execute(trigger)
    saver = make_saver(saver.path)
    value = _DeltaSnapshot(said(APART + 3))
    put(saver, APART + 3, APART + 2, {"d": value})
    assert isinstance(stored_at(saver, APART + 3, after=position), Whole)
    assert saver.get_tuple(config_of()).checkpoint["channel_values"]["d"] == value
