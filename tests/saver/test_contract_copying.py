"""copy_thread: everything goes along, and neither thread ever needs the other."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.serde.types import INTERRUPT, _DeltaSnapshot
from langgraph_eventlog.eventlog.errors import ThreadExistsError


@pytest.fixture
def filled(twin: Any) -> Any:
    """Thread "t" with a fork, a subgraph's namespace, a delta channel, values by reference, and an interrupted step."""
    value = {"k": ["long " * 50]}
    twin.put("1", {"v": value}, metadata={"step": 1, "run_id": "r1"})
    twin.write("1", [("d", "at 1")])
    twin.put(
        "2", {"v": value, "d": _DeltaSnapshot([2])}, parent="1", versions={"v": "1", "d": "2"}, metadata={"step": 2}
    )
    twin.write("2", [("d", "at 2")])
    twin.put("3", {"v": value}, parent="2", versions={"v": "1", "d": "3"}, metadata={"step": 3})
    twin.write("3", [("d", "at 3")], task="finished", path="p0")
    twin.write("3", [(INTERRUPT, "?")], task="waiting", path="p1")
    twin.put("25", {"v": "a fork"}, parent="2", versions={"v": "2", "d": "2"}, metadata={"step": 3})
    twin.put("1", {"v": value}, ns="child:1", metadata={"parents": {"": "2"}})
    twin.put("2", {"v": value}, parent="1", ns="child:1", metadata={"parents": {"": "3"}})
    twin.write("2", [("x", 1)], ns="child:1")
    twin.put("1", {"v": "another's"}, thread="other")
    return twin


def everything(twin: Any, thread: str) -> list[Any]:
    """What can be read of a thread, without the thread's own id."""

    def unnamed(config: Any) -> Any:
        if config is None:
            return None
        assert config["configurable"]["thread_id"] == thread
        return {**config["configurable"], "thread_id": "*"}

    read = []
    for found in twin.list(twin.config(thread, ns=None)):
        named = unnamed(found.config)
        at = {"thread": thread, "ns": named["checkpoint_ns"]}
        direct = twin.the(named["checkpoint_id"], **at)
        assert direct == found
        history = twin.history(named["checkpoint_id"], ["d", "v"], **at)
        read.append(
            (named, found.checkpoint, found.metadata, unnamed(found.parent_config), found.pending_writes, history)
        )
    # Equal ids of different namespaces may come in any order.
    return sorted(read, key=lambda each: (each[0]["checkpoint_id"], each[0]["checkpoint_ns"]))


def test_every_checkpoint_namespace_write_and_parent_link_is_copied(filled: Any) -> None:
    before = everything(filled, "t")
    assert len(before) == 6
    filled.call("copy_thread", "t", "copy")
    assert everything(filled, "copy") == before
    assert everything(filled, "t") == before
    assert filled.writes(thread="copy") == filled.writes()
    assert [found.config["configurable"]["thread_id"] for found in filled.list(filled.config("other"))] == ["other"]


@pytest.mark.parametrize("deleted", ["t", "copy"])
@pytest.mark.parametrize("how", ["delete_thread", "prune", "prune to delete", "delete_for_runs"])
def test_whatever_becomes_of_one_the_other_stays_whole(filled: Any, deleted: str, how: str) -> None:
    filled.call("copy_thread", "t", "copy")
    kept = "copy" if deleted == "t" else "t"
    before = everything(filled, kept)
    if how == "delete_thread":
        filled.call("delete_thread", deleted)
    elif how == "prune":
        filled.call("prune", [deleted])
    elif how == "prune to delete":
        filled.call("prune", [deleted], strategy="delete")
    else:  # by run: give the one a run of its own, for it would go in both otherwise
        filled.put("26", {"v": 1}, parent="25", thread=deleted, metadata={"run_id": "its own"})
        filled.call("delete_for_runs", ["its own"])
        assert "26" not in filled.ids(filled.config(deleted))
    assert everything(filled, kept) == before
    filled.call("rebuild")
    assert everything(filled, kept) == before


def test_a_run_is_deleted_in_its_copies_too(filled: Any) -> None:
    filled.call("copy_thread", "t", "copy")
    filled.call("delete_for_runs", ["r1"])
    for thread in ("t", "copy"):
        assert filled.ids(filled.config(thread)) == ["3", "25", "2"]
        assert [write[2] for write in filled.history("3", ["d"], thread=thread)["d"]["writes"]] == ["at 2"]
        assert filled.get("1", thread=thread) is None


def test_both_threads_go_on_by_themselves(filled: Any) -> None:
    filled.call("copy_thread", "t", "copy")
    before = everything(filled, "t")
    value = filled.values()["v"]
    filled.put("4", {"v": value}, parent="3", thread="copy", versions={"v": "1", "d": "4"})
    filled.write("3", [("d", "a late task")], task="late", path="p2", thread="copy")
    filled.put("25", {"v": "replaced"}, thread="copy")
    assert everything(filled, "t") == before
    assert filled.values(thread="copy") == {"v": value}
    written = [write[2] for write in filled.history("4", ["d"], thread="copy")["d"]["writes"]]
    assert written == ["at 2", "at 3", "a late task"]
    copied = everything(filled, "copy")
    filled.call("delete_thread", "t")
    assert everything(filled, "copy") == copied


def test_what_was_written_first_stays_first_in_the_copy(filled: Any) -> None:
    filled.call("copy_thread", "t", "copy")
    filled.write("3", [("d", "ignored")], task="finished", path="p0", thread="copy")
    filled.write("3", [(INTERRUPT, "replaced")], task="waiting", path="p1", thread="copy")
    assert filled.writes(thread="copy") == [("finished", "d", "at 3"), ("waiting", INTERRUPT, "replaced")]
    assert filled.writes() == [("finished", "d", "at 3"), ("waiting", INTERRUPT, "?")]


def test_writes_whose_checkpoint_has_not_come_yet_are_copied(twin: Any) -> None:
    twin.put("1")
    twin.write("2", [("x", "early")])
    twin.call("copy_thread", "t", "copy")
    twin.call("delete_thread", "t")
    twin.put("2", parent="1", thread="copy")
    assert twin.writes("2", thread="copy") == [("task", "x", "early")]


def test_a_missing_source_copies_nothing(twin: Any) -> None:
    twin.put("1", thread="other")
    head = twin.saver.log.head()
    twin.call("copy_thread", "nobody", "copy")
    assert twin.saver.log.head() == head
    assert twin.ids(twin.config("copy")) == []
    assert twin.ids() == ["1"]


def test_a_deleted_source_copies_nothing(filled: Any) -> None:
    filled.call("delete_thread", "t")
    filled.call("copy_thread", "t", "copy")
    assert filled.ids(filled.config("copy", ns=None)) == []


def test_a_copy_onto_itself_changes_nothing(filled: Any) -> None:
    before = everything(filled, "t")
    filled.call("copy_thread", "t", "t")
    assert everything(filled, "t") == before


def test_a_target_that_has_checkpoints_is_a_clear_error_and_stays_as_it_is(filled: Any) -> None:
    before = everything(filled, "other")
    with pytest.raises(ThreadExistsError, match="other"):
        filled.call("copy_thread", "t", "other")
    assert everything(filled, "other") == before


def test_a_deleted_thread_may_be_a_target(filled: Any) -> None:
    before = everything(filled, "t")
    filled.call("delete_thread", "other")
    filled.call("copy_thread", "t", "other")
    assert everything(filled, "other") == before


def test_a_copy_of_a_copy_outlives_both(filled: Any) -> None:
    before = everything(filled, "t")
    filled.call("copy_thread", "t", "copy")
    filled.call("delete_thread", "t")
    filled.call("copy_thread", "copy", "copy of copy")
    filled.call("delete_thread", "copy")
    assert everything(filled, "copy of copy") == before
    filled.call("copy_thread", "copy of copy", "t")
    assert everything(filled, "t") == before


def test_a_copy_of_a_pruned_thread_has_what_its_delta_channels_need(filled: Any) -> None:
    filled.call("prune", ["t"])
    before = everything(filled, "t")
    assert [write[2] for write in filled.history("3", ["d"])["d"]["writes"]] == ["at 2"]
    filled.call("copy_thread", "t", "copy")
    filled.call("delete_thread", "t")
    assert everything(filled, "copy") == before
    assert filled.ids(filled.config("copy")) == ["3"]
    filled.call("rebuild")
    assert everything(filled, "copy") == before


def test_metadata_that_names_its_thread_names_the_copy(twin: Any) -> None:
    twin.put("1", metadata={"thread_id": "t", "about": "t"})
    twin.call("copy_thread", "t", "copy")
    assert twin.the(thread="copy").metadata == {"thread_id": "copy", "about": "t"}
    assert twin.ids(filter={"thread_id": "t"}) == twin.ids(filter={"thread_id": "copy"}) == ["1"]
