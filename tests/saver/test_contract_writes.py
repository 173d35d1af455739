"""The contract's traps 1 and 2: pending writes, their order, and which one wins."""

from __future__ import annotations

import random
from itertools import permutations
from typing import Any

import pytest
from langgraph.checkpoint.base import WRITES_IDX_MAP
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME, SCHEDULED


def test_writes_come_by_task_path_then_task_id_then_index(twin: Any) -> None:
    twin.put("1")
    twin.write("1", [("c", "late path 0"), ("c", "late path 1")], task="a", path="~__pregel_pull, b")
    twin.write("1", [("c", "second task")], task="z", path="~__pregel_pull, a")
    twin.write("1", [("c", "first task 0"), ("b", "first task 1")], task="y", path="~__pregel_pull, a")
    twin.write("1", [("c", "no path")], task="zz")
    assert twin.writes("1") == [
        ("zz", "c", "no path"),
        ("y", "c", "first task 0"),
        ("y", "b", "first task 1"),
        ("z", "c", "second task"),
        ("a", "c", "late path 0"),
        ("a", "c", "late path 1"),
    ]


def test_the_order_of_arrival_does_not_change_the_order_of_writes(sync_twin: Any) -> None:
    batches = [("b", "p1"), ("a", "p2"), ("c", ""), ("a2", "p1")]
    for n, arrival in enumerate(permutations(batches)):
        sync_twin.put(f"{n}")
        for task, path in arrival:
            sync_twin.write(f"{n}", [("x", task)], task=task, path=path)
        assert [task for task, _, _ in sync_twin.writes(f"{n}")] == ["c", "a2", "b", "a"]


def test_indexes_sort_as_numbers(twin: Any) -> None:
    twin.put("1")
    twin.write("1", [("x", n) for n in range(12)])
    assert [value for _, _, value in twin.writes("1")] == list(range(12))


def test_special_channels_sort_by_their_own_index(twin: Any) -> None:
    twin.put("1")
    twin.write("1", [("x", 0), (ERROR, "e"), (RESUME, "r"), (INTERRUPT, "i"), (SCHEDULED, "s"), ("y", 5)])
    assert [channel for _, channel, _ in twin.writes("1")] == [RESUME, INTERRUPT, SCHEDULED, ERROR, "x", "y"]


def test_list_gives_writes_in_the_same_order(twin: Any) -> None:
    twin.put("1")
    for task, path in [("a", "p2"), ("b", "p1"), ("c", "")]:
        twin.write("1", [("x", task)], task=task, path=path)
    (found,) = twin.list(twin.config("t"))
    assert [task for task, _, _ in found.pending_writes] == ["c", "b", "a"]
    assert found.pending_writes == twin.writes("1")


def test_writes_of_none_are_kept(twin: Any) -> None:
    twin.put("1")
    twin.write("1", [("x", None), ("y", 1), ("z", None)])
    assert twin.writes("1") == [("task", "x", None), ("task", "y", 1), ("task", "z", None)]
    (found,) = twin.list(twin.config("t"))
    assert found.pending_writes == twin.writes("1")


def test_the_first_regular_write_at_an_index_stays(twin: Any) -> None:
    twin.put("1")
    twin.write("1", [("x", "first"), ("y", "first")])
    twin.write("1", [("x", "second"), ("other channel", "second")])
    assert twin.writes("1") == [("task", "x", "first"), ("task", "y", "first")]


def test_a_first_write_of_none_stays_too(twin: Any) -> None:
    twin.put("1")
    twin.write("1", [("x", None)])
    twin.write("1", [("x", "second")])
    assert twin.writes("1") == [("task", "x", None)]


@pytest.mark.parametrize("channel", [ERROR, SCHEDULED, INTERRUPT, RESUME])
def test_a_special_write_is_replaced(twin: Any, channel: str) -> None:
    twin.put("1")
    twin.write("1", [(channel, "first")])
    twin.write("1", [(channel, "second")])
    twin.write("1", [(channel, "third")])
    assert twin.writes("1") == [("task", channel, "third")]


def test_conflicts_are_decided_per_write_in_a_mixed_batch(twin: Any) -> None:
    twin.put("1")
    twin.write("1", [("x", "first"), (INTERRUPT, "first")])
    twin.write("1", [("x", "second"), (INTERRUPT, "second"), ("y", "new")])
    assert twin.writes("1") == [("task", INTERRUPT, "second"), ("task", "x", "first"), ("task", "y", "new")]


def test_a_longer_second_batch_adds_what_is_at_new_indexes(twin: Any) -> None:
    twin.put("1")
    twin.write("1", [("x", 0)])
    twin.write("1", [("x", "ignored"), ("x", 1), ("x", 2)])
    assert [value for _, _, value in twin.writes("1")] == [0, 1, 2]


def test_the_same_task_may_write_at_another_checkpoint_namespace_and_thread(twin: Any) -> None:
    places = [("1", "t", ""), ("2", "t", ""), ("1", "t", "child:1"), ("1", "u", "")]
    for n, (id, thread, ns) in enumerate(places):
        twin.put(id, thread=thread, ns=ns)
        twin.write(id, [("x", n)], thread=thread, ns=ns)
    for n, (id, thread, ns) in enumerate(places):
        assert twin.writes(id, thread=thread, ns=ns) == [("task", "x", n)]


def test_writes_may_arrive_before_their_checkpoint(twin: Any) -> None:
    twin.write("1", [("x", "early")])
    twin.write("1", [("x", "too late")])
    assert twin.get("1") is None
    assert twin.ids(twin.config("t")) == []
    twin.put("1")
    assert twin.writes("1") == [("task", "x", "early")]


def test_putting_a_checkpoint_again_keeps_its_writes(twin: Any) -> None:
    twin.put("1", {"v": 1})
    twin.write("1", [("x", "kept")])
    twin.put("1", {"v": 2})
    assert twin.values("1") == {"v": 2}
    assert twin.writes("1") == [("task", "x", "kept")]


def test_writing_nothing_is_no_error_and_changes_nothing(twin: Any) -> None:
    twin.put("1")
    twin.write("1", [])
    assert twin.writes("1") == []


def test_a_checkpoint_without_writes_has_an_empty_list_of_them(twin: Any) -> None:
    twin.put("1")
    assert twin.the("1").pending_writes == []


def test_a_write_without_a_checkpoint_id_is_a_clear_error(twin: Any) -> None:
    with pytest.raises(ValueError, match="checkpoint_id"):
        twin.call("put_writes", twin.config("t"), [("x", 1)], "task")


@pytest.mark.parametrize("seed", range(5))
def test_random_batches_come_out_as_the_in_memory_saver_has_them(twin: Any, seed: int) -> None:
    """langgraph's own InMemorySaver is the oracle: it decides conflicts per write, and sorts."""
    rng = random.Random(seed)
    oracle = twin.on(InMemorySaver())
    for each in (twin, oracle):
        each.put("1")
    paths = {task: rng.choice(["", "p1", "p2", "~p"]) for task in "abcde"}
    for n in range(40):
        task = rng.choice("abcde")
        channels = rng.sample(["x", "y", "z", *WRITES_IDX_MAP], k=rng.randint(1, 5))
        writes = [(channel, rng.choice([None, n, f"{n}-{i}"])) for i, channel in enumerate(channels)]
        for each in (twin, oracle):
            each.write("1", writes, task=task, path=paths[task])
    assert twin.writes("1") == oracle.writes("1")
