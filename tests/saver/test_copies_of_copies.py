"""Copies of copies, and forks of copies, are threads like any other: what they say of themselves names them."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph_eventlog.eventlog.coverage import Coverage
from langgraph_eventlog.saver import EventLogSaver


@pytest.fixture
def original(twin: Any) -> Any:
    """Thread "a", with a subgraph's namespace, whose metadata says so: the Agent Server puts the thread's id there."""
    parent = None
    for id in "123":
        twin.put(id, {"v": id}, parent=parent, thread="a", metadata={"thread_id": "a", "step": int(id)})
        parent = id
    named = {"thread_id": "a", "parents": {"": "2"}}
    twin.put("25", {"v": 1}, thread="a", ns="child", metadata=named)
    return twin


def named(twin: Any, thread: str) -> list[tuple[str, str, Any]]:
    """Where each checkpoint of a thread stands, and which thread its metadata names."""
    return [
        (one.config["configurable"]["checkpoint_ns"], one.checkpoint["id"], one.metadata.get("thread_id"))
        for one in twin.list(twin.config(thread, ns=None))
    ]


def expected(thread: str) -> list[tuple[str, str, str]]:
    return [("", "3", thread), ("child", "25", thread), ("", "2", thread), ("", "1", thread)]


@pytest.mark.parametrize("hops", ["copy, copy", "copy, fork", "fork, copy", "fork, fork"])
@pytest.mark.parametrize("rebuilt", [False, True])
def test_the_metadata_of_a_copy_of_a_copy_names_the_thread_it_is_in(original: Any, hops: str, rebuilt: bool) -> None:
    twin = original
    for hop, source, target in zip(hops.split(", "), "ab", "bc", strict=True):
        if hop == "copy":
            twin.call("copy_thread", source, target)
        else:
            twin.call("fork_thread", twin.config(source), target)
    if rebuilt:
        twin.call("rebuild")
    for thread in "abc":
        assert named(twin, thread) == expected(thread)
        assert twin.the(thread=thread).metadata == {"thread_id": thread, "step": 3}
        by_filter = twin.list(None, filter={"thread_id": thread})
        assert {one.config["configurable"]["thread_id"] for one in by_filter} == {thread}
        assert [one.checkpoint["id"] for one in by_filter] == ["3", "25", "2", "1"]
    twin.call("delete_thread", "b")
    assert named(twin, "c") == expected("c")
    assert twin.list(None, filter={"thread_id": "b"}) == []


def test_a_copy_of_a_copy_goes_on_under_its_own_name(original: Any) -> None:
    original.call("copy_thread", "a", "b")
    original.call("copy_thread", "b", "c")
    original.put("4", {"v": "4"}, parent="3", thread="c", metadata={"thread_id": "c"})
    original.call("copy_thread", "c", "d")
    assert named(original, "c") == [("", "4", "c"), *expected("c")]
    assert named(original, "d") == [("", "4", "d"), *expected("d")]
    assert original.ids(filter={"thread_id": "c"}) == ["4", "3", "25", "2", "1"]
    assert named(original, "a") == expected("a")


def test_a_copy_that_is_made_while_the_log_is_verified_is_no_finding(file_saver: EventLogSaver) -> None:
    config: Any = {"configurable": {"thread_id": "a", "checkpoint_ns": ""}}
    inner: Any = {"configurable": {"thread_id": "a", "checkpoint_ns": "child"}}
    for where in (config, inner):
        file_saver.put(where, empty_checkpoint(), {}, {})
    copied: list[str] = []

    def meanwhile(part: str, done: int, total: int) -> None:
        if not copied:
            copied.append(part)
            file_saver.copy_thread("a", "b")

    assert list(file_saver.verify(coverage=Coverage(meanwhile))) == []
    assert copied == ["chain"]
    assert list(file_saver.verify()) == []
