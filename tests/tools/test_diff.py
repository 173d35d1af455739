"""`diff`: what changed between two checkpoints, and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph_eventlog.eventlog.errors import ConfigError
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.looking.differences import difference, differences
from langgraph_eventlog.tools.undecoded import Undecoded

from .conftest import delete_and_compact, prune_and_compact

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.floats(0, 2) | st.text("ab\n", max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


def only(before: Any, after: Any) -> Any:
    [found] = differences({"c": before}, {"c": after})
    return found


def told(before: Any, after: Any) -> list[tuple[Any, ...]]:
    return [(change.change, change.at, change.before, change.after) for change in only(before, after).changes]


def test_the_command_compares_the_latest_with_its_parent_unless_told(run: Any, json_of: Any, shop: Path) -> None:
    with EventLogSaver(shop, read_only=True) as saver:
        latest, parent = (
            find.checkpoint["id"] for find in saver.list({"configurable": {"thread_id": "order-1"}}, limit=2)
        )
    document = json_of("diff", shop, "order-1")
    assert (document["a"], document["b"]) == (parent, latest)
    assert document == json_of("diff", shop, "order-1", parent, latest)
    channels = {one["channel"]: one for one in document["channels"]}
    assert channels["ledger"]["changes"][0] | {"diff": 0} == {
        "change": "added", "at": ["refund"], "id": None, "before": None, "after": 40, "diff": 0,
    }  # fmt: skip
    shown = run("diff", shop, "order-1").stdout
    assert "+ refund 40" in shown
    assert "\n-Quoted 40 euros" in shown
    assert "\n+Refunded 40 euros" in shown


def test_messages_that_were_added_are_shown_as_a_conversation(run: Any, shop: Path) -> None:
    shown = run("diff", shop, "order-1", "4", "10").stdout
    assert "+ human    please refund it" in shown
    assert "+ ai       calls price" in shown


@pytest.mark.parametrize("change", [prune_and_compact, delete_and_compact])
def test_a_thread_that_is_removed_meanwhile_is_compared_as_it_was_or_not_at_all(interleaved: Any, change: Any) -> None:
    quiet, *found = interleaved(
        lambda saver: difference(saver, "notes", "18", "19"), lambda saver: change(saver, "notes")
    )
    assert any(one.channel == "notes" and one.kind == "list" for one in quiet.channels)
    assert found
    for one in found:
        assert isinstance(one, ConfigError) or one == quiet


def test_what_cannot_be_compared_is_an_error_that_says_why(run: Any, shop: Path) -> None:
    with EventLogSaver(shop, read_only=True) as saver:
        oldest = list(saver.list({"configurable": {"thread_id": "long"}}))[-1].checkpoint["id"]
        with pytest.raises(ConfigError, match="not there any more"):
            difference(saver, "long", None, oldest)
        first = difference(saver, "order-1", None, "-1")
        assert first.a is None
        assert {(channel.channel, channel.kind) for channel in first.channels} == {("__start__", "added")}
    assert "no checkpoint" in run("diff", shop, "order-1", "3", "nothing", code=2).stderr


@settings(max_examples=300, deadline=None)
@given(PLAIN, PLAIN)
def test_what_is_equal_differs_nowhere_and_what_is_not_differs_somewhere(one: Any, other: Any) -> None:
    assert list(differences({"c": one}, {"c": copy.deepcopy(one)})) == []
    assert bool(list(differences({"c": one}, {"c": other}))) == (repr(one) != repr(other))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), max_size=8))
def test_the_changes_of_a_list_lead_from_one_to_the_other(old: list[int], new: list[int]) -> None:
    changes = [change for found in differences({"c": old}, {"c": new}) for change in found.changes]
    kept_of_old = list(old)
    removed = {change.at[0] for change in changes if change.change == "removed"}
    added = {change.at[0]: change.after for change in changes if change.change == "added"}
    changed = {change.at[0]: (change.before, change.after) for change in changes if change.change == "changed"}
    rest = iter([value for place, value in enumerate(kept_of_old) if place not in removed])
    made = []
    for place in range(len(new)):
        if place in added:
            made.append(added[place])
            continue
        value = next(rest)
        if place in changed:
            assert changed[place][0] == value
            value = changed[place][1]
        made.append(value)
    assert list(rest) == []
    assert made == new


def test_keys_that_were_set_removed_and_changed_are_told_however_deep() -> None:
    assert told({"a": 1, "b": {"x": [1, 2], "y": 0}, "c": 0}, {"b": {"x": [1, 3], "y": 0}, "c": 0, "d": None}) == [
        ("removed", ("a",), 1, None),
        ("changed", ("b", "x", 1), 2, 3),
        ("added", ("d",), None, None),
    ]


def test_numbers_truth_and_the_order_of_keys_are_told_apart() -> None:
    assert told(1, True) == [("changed", (), 1, True)]
    assert told(1, 1.0) == [("changed", (), 1, 1.0)]
    assert told({"a": 1, "b": 2}, {"b": 2, "a": 1}) == [("changed", (), {"a": 1, "b": 2}, {"b": 2, "a": 1})]
    assert list(differences({"c": {"x", "y", "z"}}, {"c": {"z", "y", "x"}})) == []


def test_a_channel_that_holds_none_is_not_one_that_is_absent() -> None:
    assert [(found.channel, found.kind) for found in differences({"a": None}, {"b": None})] == [
        ("a", "removed"),
        ("b", "added"),
    ]


def test_text_is_a_unified_diff_that_also_tells_a_last_newline() -> None:
    lines = [f"line {n}" for n in range(20)]
    [change] = only("\n".join(lines), "\n".join([*lines[:10], "other", *lines[11:]])).changes
    assert change.diff == (
        "@@ -8,7 +8,7 @@", " line 7", " line 8", " line 9", "-line 10", "+other", " line 11", " line 12", " line 13",
    )  # fmt: skip
    [newline] = only("a", "a\n").changes
    assert newline.diff is not None
    assert [line for line in newline.diff if line.startswith("+")] == ["+"]


def test_messages_of_one_id_are_the_same_message() -> None:
    old = [HumanMessage("hello", id="1"), AIMessage("hi", id="2"), AIMessage("bye", id="3")]
    new = [HumanMessage("hello", id="1"), AIMessage("hi\nthere", id="2"), HumanMessage("so?", id="4")]
    found = only(old, new)
    assert found.kind == "messages"
    assert [(change.change, change.id, change.at) for change in found.changes] == [
        ("removed", "3", (2,)),
        ("changed", "2", (1,)),
        ("added", "4", (2,)),
    ]
    assert found.changes[1].diff == ("@@ -1 +1,2 @@", " hi", "+there")


def test_messages_that_changed_places_or_have_no_ids_are_told() -> None:
    one, two = HumanMessage("1", id="1"), HumanMessage("2", id="2")
    assert [(change.change, change.id) for change in only([one, two], [two, one]).changes] == [
        ("moved", "1"),
        ("moved", "2"),
    ]
    bare = [HumanMessage("1"), HumanMessage("2")]
    assert told(bare, bare[:1]) == [("removed", (1,), bare[1], None)]
    assert only([], bare).kind == "messages"


def test_values_that_are_not_decoded_differ_by_their_bytes() -> None:
    assert list(differences({"c": Undecoded("x", 1, "w", "aa")}, {"c": Undecoded("x", 1, "w", "aa")})) == []
    assert only(Undecoded("x", 1, "w", "aa"), Undecoded("x", 1, "w", "bb")).kind == "value"


def test_long_lists_and_texts_that_share_nothing_are_compared_in_time() -> None:
    old, new = [f"a{n}" for n in range(5_000)], [f"b{n}" for n in range(5_000)]
    assert len(only(old, new).changes) == 5_000
    [change] = only("\n".join(old), "\n".join(new)).changes
    assert change.diff is not None
    assert len(change.diff) == 10_001


def test_ids_of_checkpoints_do_nothing_to_a_terminal(run: Any, make_saver: Any, tmp_path: Path) -> None:
    saver = make_saver(tmp_path / "hostile.db")
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    for n in range(2):
        checkpoint = {**empty_checkpoint(), "id": f"{n}\x1b[31m\u202e\n", "channel_values": {"x": n}}
        config = saver.put(config, {**checkpoint, "channel_versions": {"x": n + 1}}, {"step": n}, {"x": n + 1})
    lines = run("diff", saver.path, "t").stdout.split("\n")
    assert lines[:2] == [r"--- 0\x1b[31m\u202e\n", r"+++ 1\x1b[31m\u202e\n"]
    assert not {"\x1b", "\u202e"} & set("".join(lines))
