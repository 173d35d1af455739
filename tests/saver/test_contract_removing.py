"""Deleting threads and runs, and pruning: what goes, and what has to stay."""

from __future__ import annotations

import random
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, _DeltaSnapshot
from langgraph_eventlog.eventlog.errors import ConfigError

CHANNELS = ["a", "b", "c"]


def chain(twin: Any, ids: str, *, thread: str = "t", ns: str = "", run: str | None = None, seed_at: str = "") -> None:
    """A chain whose channel "d" is a delta channel: written at each checkpoint, stored at `seed_at` only."""
    parent = None
    for id in ids:
        values = {"plain": "the same in all"} | ({"d": _DeltaSnapshot([f"up to {id}"])} if id == seed_at else {})
        versions = {"plain": "1"} | ({"d": id} if parent else {})
        metadata = {} if run is None else {"run_id": run}
        twin.put(id, values, parent=parent, thread=thread, ns=ns, versions=versions, metadata=metadata)
        twin.write(id, [("d", f"at {id}")], thread=thread, ns=ns)
        parent = id


def interrupt(twin: Any, id: str, *, thread: str = "t", ns: str = "") -> list[tuple[str, str, Any]]:
    """Leave a step half done: one tool finished, one failed, one waits for its human. Give the pending writes."""
    twin.write(id, [("messages", "the finished tool's result")], task="finished", path="p0", thread=thread, ns=ns)
    twin.write(id, [(ERROR, "the failed tool's error")], task="failed", path="p1", thread=thread, ns=ns)
    twin.write(id, [(INTERRUPT, ["a question"])], task="waiting", path="p2", thread=thread, ns=ns)
    return twin.writes(id, thread=thread, ns=ns)


# delete_thread.


def test_deleting_a_thread_removes_all_of_it_and_nothing_else(twin: Any) -> None:
    chain(twin, "12", thread="t")
    chain(twin, "34", thread="t", ns="child:1")
    chain(twin, "56", thread="u")
    others = twin.list(twin.config("u"))
    twin.call("delete_thread", "t")
    assert twin.list(None) == others
    assert twin.get(thread="t") is None
    assert twin.get("3", thread="t", ns="child:1") is None
    assert twin.history("2", ["d"], thread="t") == {"d": {"writes": []}}


def test_a_deleted_thread_may_begin_anew_and_has_nothing_of_its_past(twin: Any) -> None:
    chain(twin, "12")
    twin.write("3", [("x", "before its checkpoint")])
    twin.call("delete_thread", "t")
    twin.put("3", {"plain": "the same in all"}, parent="2")
    twin.put("1", {"plain": "the same in all"})
    assert (twin.values("3"), twin.writes("3")) == ({"plain": "the same in all"}, [])
    assert (twin.values("1"), twin.writes("1")) == ({"plain": "the same in all"}, [])
    twin.write("1", [("d", "first again")])
    assert twin.writes("1") == [("task", "d", "first again")]
    assert twin.history("3", ["d"]) == {"d": {"writes": []}}


def test_deleting_twice_or_what_does_not_exist_is_no_error(twin: Any) -> None:
    chain(twin, "12", run="r")
    head = twin.saver.log.head()
    twin.call("delete_thread", "nobody")
    twin.call("delete_for_runs", ["none"])
    twin.call("delete_for_runs", [])
    twin.call("prune", ["nobody"])
    twin.call("prune", ["nobody"], strategy="delete")
    twin.call("prune", [])
    assert twin.saver.log.head() == head, "what changes nothing is no event"
    assert twin.ids() == ["2", "1"]
    for _ in range(2):
        twin.call("delete_for_runs", ["r"])
        twin.call("delete_thread", "t")
        twin.call("prune", ["t"])
        twin.call("prune", ["t"], strategy="delete")
        assert twin.ids() == []


# delete_for_runs.


def test_deleting_runs_goes_across_threads_and_namespaces_by_run_id(twin: Any) -> None:
    for n, (thread, ns, run) in enumerate(
        [("t", "", "r1"), ("t", "", "r2"), ("t", "child:1", "r1"), ("u", "", "r1"), ("u", "", None), ("v", "", "r3")]
    ):
        metadata = {"run_id": run, "n": n} if run else {"n": n}
        twin.put(str(n), thread=thread, ns=ns, metadata=metadata)
        twin.write(str(n), [("x", n)], thread=thread, ns=ns)
    twin.call("delete_for_runs", ["r1", "r3", "none"])
    assert sorted(found.metadata["n"] for found in twin.list(None)) == [1, 4]
    assert twin.writes("1") == [("task", "x", 1)]
    twin.put("0")
    assert twin.writes("0") == [], "the writes went with their checkpoint"


def test_a_run_id_that_came_with_the_config_counts(twin: Any) -> None:
    config = {"configurable": {"thread_id": "t"}, "metadata": {"run_id": "r"}}
    twin.call("put", config, twin.checkpoint("1", {}, {}), {}, {})
    config = {"configurable": {"thread_id": "t", "run_id": "r"}}
    twin.call("put", config, twin.checkpoint("2", {}, {}), {}, {})
    twin.call("delete_for_runs", ["r"])
    assert twin.ids() == []


def test_survivors_of_a_deleted_run_stay_readable(twin: Any) -> None:
    """Also where their values are stored with a checkpoint that went."""
    value = {"k": ["long " * 50]}
    twin.put("1", {"v": value}, metadata={"run_id": "gone"})
    twin.put("2", {"v": value}, parent="1", metadata={"run_id": "stays"})
    twin.put("3", {"v": value}, parent="2", metadata={"run_id": "gone"})
    twin.call("delete_for_runs", ["gone"])
    twin.call("rebuild")
    assert twin.ids() == ["2"]
    assert twin.values() == {"v": value}
    assert twin.the("2").parent_config == twin.config("t", "1")
    assert twin.get("1") is None
    assert twin.get("3") is None
    twin.put("4", {"v": value}, parent="2")
    assert twin.values("4") == {"v": value}


def test_delta_channels_survive_the_deletion_of_an_earlier_run(twin: Any) -> None:
    chain(twin, "123", run="gone", seed_at="2")
    twin.put("4", parent="3", versions={"d": "4"}, metadata={"run_id": "stays"})
    twin.write("4", [("d", "at 4")])
    twin.put("5", parent="4", versions={"d": "5"}, metadata={"run_id": "stays"})
    before = twin.history("5", ["d"]), twin.history("4", ["d"])
    twin.call("delete_for_runs", ["gone"])
    assert twin.ids() == ["5", "4"]
    assert (twin.history("5", ["d"]), twin.history("4", ["d"])) == before
    assert before[0]["d"]["seed"] == _DeltaSnapshot(["up to 2"])
    assert [write[2] for write in before[0]["d"]["writes"]] == ["at 2", "at 3", "at 4"]


def test_what_is_kept_for_delta_channels_only_is_listed_nowhere(twin: Any) -> None:
    """It is reached by its id only, as a parent is."""
    chain(twin, "123", run="gone")
    twin.put("4", parent="3", versions={"d": "4"})
    twin.put("3", ns="child:1")
    before = twin.history("4", ["d"])
    twin.call("delete_for_runs", ["gone"])
    assert twin.ids(twin.config("t")) == ["4"]
    assert twin.ids(None) == twin.ids(twin.config("t", ns=None)) == ["4", "3"]
    assert twin.list(twin.config("t", "3")) == []
    assert twin.ids(filter={"run_id": "gone"}) == []
    assert twin.the(twin.the("4").parent_config["configurable"]["checkpoint_id"]).checkpoint["id"] == "3"
    by_the_base = BaseCheckpointSaver.get_delta_channel_history(
        twin.saver, config=twin.config("t", "4"), channels=["d"]
    )
    assert by_the_base == before == twin.history("4", ["d"])


def test_what_is_kept_is_never_the_latest(twin: Any) -> None:
    twin.put("9", versions={"d": "1"}, metadata={"run_id": "gone"})
    twin.write("9", [("d", "at 9")])
    twin.put("5", parent="9", versions={"d": "2"})
    twin.call("delete_for_runs", ["gone"])
    assert twin.the().config == twin.config("t", "5")
    assert twin.history(None, ["d"])["d"]["writes"] == [("task", "d", "at 9")]
    twin.call("delete_thread", "t")
    assert twin.get("9") is None


# prune.


def test_pruning_keeps_the_latest_of_each_namespace(twin: Any) -> None:
    chain(twin, "123")
    chain(twin, "456", ns="child:1")
    chain(twin, "789", thread="u")
    twin.put("0", parent="3")
    twin.call("prune", ["t"])
    assert twin.ids(twin.config("t", ns="")) == ["3"]
    assert twin.ids(twin.config("t", ns="child:1")) == ["6"]
    assert twin.ids(twin.config("u")) == ["9", "8", "7"]
    assert twin.the().parent_config == twin.config("t", "2")


def test_what_no_delta_channel_needs_is_gone_after_pruning(twin: Any) -> None:
    parent = None
    for id in "123":
        twin.put(id, {"v": id}, parent=parent)
        twin.write(id, [("v", id)])
        parent = id
    twin.call("prune", ["t"])
    for id in "12":
        assert twin.get(id) is None
        twin.put(id)
        assert twin.writes(id) == []


def test_pruning_several_threads_at_once(twin: Any) -> None:
    for thread in ("t", "u", "v"):
        chain(twin, "12", thread=thread)
    twin.call("prune", ["t", "nobody", "v", "t"])
    assert [len(twin.ids(twin.config(thread))) for thread in ("t", "u", "v")] == [1, 2, 1]
    twin.call("prune", ["u", "v"], strategy="delete")
    assert [len(twin.ids(twin.config(thread))) for thread in ("t", "u", "v")] == [1, 0, 0]


@pytest.mark.parametrize("strategy", ["keep_last", "", None, "KEEP_LATEST"])
def test_an_unknown_strategy_is_a_clear_error_and_changes_nothing(twin: Any, strategy: Any) -> None:
    chain(twin, "12")
    with pytest.raises(ConfigError, match="keep_latest"):
        twin.call("prune", ["t"], strategy=strategy)
    assert twin.ids() == ["2", "1"]


def test_pruning_does_not_make_an_interrupted_step_run_its_finished_tools_again(twin: Any) -> None:
    chain(twin, "123")
    pending = interrupt(twin, "3")
    chain(twin, "45", ns="child:1")
    pending_of_child = interrupt(twin, "5", ns="child:1")
    twin.call("prune", ["t"])
    twin.call("rebuild")
    assert twin.writes() == pending
    assert twin.writes(ns="child:1") == pending_of_child
    assert ("finished", "messages", "the finished tool's result") in pending
    twin.write("3", [("messages", "a second result")], task="finished", path="p0")
    assert twin.writes() == pending


def test_delta_channels_survive_pruning(twin: Any) -> None:
    chain(twin, "123456", seed_at="3")
    before = twin.history("6", ["d"])
    assert [write[2] for write in before["d"]["writes"]] == ["at 3", "at 4", "at 5"]
    for _ in range(2):
        twin.call("prune", ["t"])
        assert twin.ids() == ["6"]
        assert twin.history("6", ["d"]) == before
    twin.call("rebuild")
    assert twin.history("6", ["d"]) == before


def test_delta_channels_without_a_snapshot_survive_pruning_back_to_the_root(twin: Any) -> None:
    chain(twin, "123456")
    before = twin.history("6", ["d"])
    assert len(before["d"]["writes"]) == 5
    twin.call("prune", ["t"])
    assert twin.history("6", ["d"]) == before


def test_a_pruned_thread_goes_on_and_may_be_pruned_again(twin: Any) -> None:
    chain(twin, "123")
    twin.call("prune", ["t"])
    twin.put("4", {"plain": "the same in all"}, parent="3", versions={"plain": "1", "d": "4"})
    twin.write("4", [("d", "at 4")])
    before = twin.history("4", ["d"])
    assert [write[2] for write in before["d"]["writes"]] == ["at 1", "at 2", "at 3"]
    twin.call("prune", ["t"])
    assert twin.ids() == ["4"]
    assert twin.history("4", ["d"]) == before
    twin.put("5", {"d": _DeltaSnapshot(["all"])}, parent="4", versions={"d": "5"})
    twin.call("prune", ["t"])
    assert twin.ids() == ["5"]
    assert twin.values() == {"d": _DeltaSnapshot(["all"])}


def test_pruning_to_delete_removes_everything_of_a_thread(twin: Any) -> None:
    chain(twin, "123")
    twin.write("9", [("x", "before its checkpoint")])
    chain(twin, "45", ns="child:1")
    twin.call("prune", ["t"], strategy="delete")
    assert twin.ids() == []
    twin.put("9")
    assert twin.writes("9") == []


# Random forests: whatever is removed, what survives reads as before.


def forest(twin: Any, rng: random.Random, size: int) -> None:
    """As LangGraph makes them: a channel has a version from the first checkpoint after somebody wrote it."""
    versions: dict[str, dict[str, str]] = {}
    written: dict[str, set[str]] = {}
    ids = [f"{n:02}" for n in rng.sample(range(100), k=size)]
    for n, id in enumerate(ids):
        parent = None if n == 0 or rng.random() < 0.05 else ids[n - 1] if rng.random() < 0.6 else rng.choice(ids[:n])
        fresh = {c: f"{n:04}.{c}" for c in written.get(parent or "", ())}
        versions[id] = versions.get(parent or "", {}) | fresh
        values = {c: rng.choice([[n], _DeltaSnapshot([n])]) for c in versions[id] if rng.random() < 0.2}
        values["plain"] = "the same in all"
        versions[id]["plain"] = "1"
        ns = {"parent": parent, "versions": versions[id], "metadata": {"run_id": f"r{rng.randrange(4)}", "step": n}}
        twin.put(id, values, **ns)
        written[id] = set(rng.sample(CHANNELS, k=rng.randint(0, 2)))
        for channel in written[id]:
            twin.write(id, [(channel, f"{id}.{k}") for k in range(rng.randint(1, 2))], task=channel)


def everything(twin: Any) -> dict[str, Any]:
    """What can be read of each checkpoint: the history, too, of the channels that it does not hold itself."""
    read = {}
    for found in twin.list(twin.config("t")):
        id = found.config["configurable"]["checkpoint_id"]
        deltas = [channel for channel in CHANNELS if channel not in found.checkpoint["channel_values"]]
        read[id] = (found, twin.the(id), twin.history(id, deltas))
    return read


@pytest.mark.parametrize("seed", range(4))
def test_whatever_runs_are_deleted_the_survivors_read_as_before(twin: Any, seed: int) -> None:
    rng = random.Random(seed)
    forest(twin, rng, 25)
    before = everything(twin)
    for run in rng.sample(["r0", "r1", "r2", "r3"], k=3):
        twin.call("delete_for_runs", [run])
        before = {id: read for id, read in before.items() if read[0].metadata["run_id"] != run}
        assert everything(twin) == before
    twin.call("rebuild")
    assert everything(twin) == before
    latest = max(before)
    twin.call("prune", ["t"])
    assert everything(twin) == {latest: before[latest]}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_pruned_the_latest_reads_as_before(twin: Any, seed: int) -> None:
    rng = random.Random(1000 + seed)
    forest(twin, rng, 25)
    before = everything(twin)
    latest = max(before)
    for _ in range(2):
        twin.call("prune", ["t"])
        assert everything(twin) == {latest: before[latest]}
    twin.call("rebuild")
    assert everything(twin) == {latest: before[latest]}
