"""Threads by their registered metadata: what is looked for in packed metadata never loses one that matches."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.base import empty_checkpoint
from langgraph_eventlog.eventlog.plain import PlainDataError, pack
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.saver.filters import compile_filter, needles

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.sampled_from([0.0, -0.0, 1.0, 0.5, 2.0**70, float("inf"), float("nan"), 2**70, -(2**63), 2**64]),
    st.floats(),
    st.text(max_size=40),
    st.sampled_from(["", "a", "a" * 31, "a" * 32, "a" * 300, "\ud800"]),
    st.binary(max_size=3),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
KEYS = st.sampled_from(["a", "b", "a.b", "b.a", "c"])


@settings(max_examples=300, deadline=None)
@given(metadata=st.dictionaries(KEYS, VALUES, max_size=4), key=KEYS, wanted=VALUES)
@example(metadata={"a": True}, key="a", wanted=1.0)
@example(metadata={"a": -0.0}, key="a", wanted=False)
@example(metadata={"a": 2**70}, key="a", wanted=2.0**70)
@example(metadata={"a": {"b": 1}}, key="a.b", wanted=1)
def test_packed_metadata_that_matches_holds_the_needles(metadata: dict[str, Any], key: str, wanted: Any) -> None:
    for looked_for in (wanted, metadata.get(key)):
        matches = compile_filter({key: looked_for})
        assert matches is not None
        try:
            packed = pack(metadata)
        except PlainDataError:
            return
        if matches(metadata):
            assert all(any(needle in packed for needle in some) for some in needles({key: looked_for}))


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize("kept", [UUID(int=7), Colour.RED, "red", 7, 7.0])
def test_objects_are_found_by_what_they_are_equal_to(saver: EventLogSaver, kept: Any) -> None:
    saver.register_thread("t", metadata={"other": 1, "key": kept})
    saver.register_thread("u", metadata={"other": "key", "key": None})
    for wanted in (kept, str(kept), getattr(kept, "value", kept)):
        matches = compile_filter({"key": wanted})
        assert matches is not None
        [there] = [info for info in saver.threads() if info.thread_id == "t"]
        expected = ["t"] if matches(there.metadata) else []
        assert [info.thread_id for info in saver.threads(metadata={"key": wanted})] == expected
    assert [info.thread_id for info in saver.threads(metadata={"key": kept})] == ["t"]


def test_pages_of_matching_threads_are_newest_first_and_leave_none_out(
    make_saver: Callable[..., EventLogSaver], clock: Callable[[], int]
) -> None:
    saver = make_saver(":memory:", clock=clock)
    for n in range(300):
        saver.register_thread(f"t{n:03}", metadata={"odd": n % 2 == 1})
    expected = [f"t{n:03}" for n in reversed(range(300)) if n % 2]
    assert [info.thread_id for info in saver.threads(metadata={"odd": True})] == expected
    paged: list[Any] = []
    while page := list(saver.threads(metadata={"odd": True}, limit=40, before=paged[-1] if paged else None)):
        paged += page
    assert [info.thread_id for info in paged] == expected


def test_a_thread_that_is_deleted_while_others_are_read_is_left_out(saver: EventLogSaver) -> None:
    for n in range(200):
        saver.register_thread(f"t{n:03}", metadata={"of": "us"})
    threads = saver.threads(metadata={"of": "us"})
    first = next(threads)
    saver.delete_thread("t000")
    saver.register_thread("t001", metadata={"of": "them"})
    assert {first.thread_id, *(info.thread_id for info in threads)} == {f"t{n:03}" for n in range(2, 200)}


def test_metadata_that_is_no_map_is_none_and_hides_no_thread(make_saver: Any) -> None:
    saver = make_saver()
    saver.put({"configurable": {"thread_id": "t", "checkpoint_ns": ""}}, empty_checkpoint(), {"step": 1}, {})
    saver.register_thread("t", name="kept", metadata={"a": 1})
    make_saver.damaged(saver.path)
    with saver.log.database.writing() as connection:
        connection.execute("UPDATE history_recent SET metadata = ?", (pack([1]),))
        connection.execute("UPDATE threads SET metadata = ?", (pack(b"a\x01"),))
    [info] = saver.threads()
    assert (info.name, info.metadata, info.latest_step) == ("kept", {}, None)
    assert list(saver.threads(metadata={"a": 1})) == []
    assert [info.thread_id for info in saver.threads(metadata={"a": None})] == ["t"]
