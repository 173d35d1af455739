"""The contract's trap 5: everything that is given comes back, and what comes back is nobody else's."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

OFFICIAL_README_CHECKPOINT = {
    "v": 4,
    "ts": "2024-07-31T20:14:19.804150+00:00",
    "id": "1ef4f797-8335-6428-8001-8a1503f9b875",
    "channel_values": {"my_key": "meow", "node": "node"},
    "channel_versions": {"__start__": 2, "my_key": 3, "start:node": 3, "node": 3},
    "versions_seen": {"__input__": {}, "__start__": {"__start__": 1}, "node": {"start:node": 2}},
}


def test_the_official_readmes_example_comes_back(twin: Any) -> None:
    """It puts with new_versions {}."""
    config = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}
    twin.call("put", config, OFFICIAL_README_CHECKPOINT, {}, {})
    read = {"configurable": {"thread_id": "1"}}
    assert twin.call("get", read) == OFFICIAL_README_CHECKPOINT
    assert [found.checkpoint for found in twin.list(read)] == [OFFICIAL_README_CHECKPOINT]


@pytest.mark.parametrize("new_versions", [{}, {"other": "9"}, {"v": "0"}], ids=repr)
def test_values_come_back_whatever_new_versions_says(twin: Any, new_versions: dict[str, Any]) -> None:
    twin.put("1", {"v": "old", "w": "same"}, versions={"v": "1", "w": "1"}, new_versions=new_versions)
    twin.put("2", {"v": "new", "w": "same"}, parent="1", versions={"v": "1", "w": "1"}, new_versions=new_versions)
    assert twin.values("1") == {"v": "old", "w": "same"}
    assert twin.values("2") == {"v": "new", "w": "same"}


def test_a_changed_value_with_an_unchanged_version_comes_back_changed(twin: Any) -> None:
    """An in-place change moves no version; the value that was given is the truth."""
    twin.put("1", {"v": [1]}, versions={"v": "1"})
    twin.put("2", {"v": [1, 2]}, parent="1", versions={"v": "1"}, new_versions={})
    assert twin.values("2") == {"v": [1, 2]}


def test_a_channel_without_a_version_comes_back(twin: Any) -> None:
    twin.put("1", {"versioned": 1, "not": 2}, versions={"versioned": "1"})
    twin.put("2", {"not": 3}, parent="1", versions={})
    assert twin.values("1") == {"versioned": 1, "not": 2}
    assert twin.values("2") == {"not": 3}


def test_a_channel_with_a_version_but_without_a_value_has_none(twin: Any) -> None:
    """As a delta channel has: nothing is taken over from the parent by itself."""
    twin.put("1", {"v": 1, "delta": [1]})
    twin.put("2", {"v": 1}, parent="1", versions={"v": "1", "delta": "2"}, new_versions={"delta": "2"})
    assert twin.values("2") == {"v": 1}
    assert twin.the("2").checkpoint["channel_versions"] == {"v": "1", "delta": "2"}


def test_values_that_are_false_empty_or_none_come_back(twin: Any) -> None:
    values = {"none": None, "zero": 0, "false": False, "empty": "", "list": [], "dict": {}, "bytes": b"", "minus": -0.0}
    twin.put("1", values)
    twin.put("2", values, parent="1")
    for id in ("1", "2"):
        assert twin.values(id) == values
        assert [type(value) for value in twin.values(id).values()] == [type(value) for value in values.values()]
        assert str(twin.values(id)["minus"]) == "-0.0"


@pytest.mark.parametrize(
    ("first", "second"),
    [(1, True), (1, 1.0), (0.0, -0.0), ("", b""), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (None, False)],
    ids=repr,
)
def test_a_value_that_only_equals_its_parents_is_not_taken_for_it(twin: Any, first: Any, second: Any) -> None:
    twin.put("1", {"v": first}, versions={"v": "1"})
    twin.put("2", {"v": second}, parent="1", versions={"v": "1"}, new_versions={})
    assert repr(twin.values("1")["v"]) == repr(first)
    assert repr(twin.values("2")["v"]) == repr(second)


def test_the_order_of_channels_and_keys_comes_back(twin: Any) -> None:
    twin.put("1", {"b": {"z": 1, "a": 2}, "a": 1})
    assert list(twin.values("1")) == ["b", "a"]
    assert list(twin.values("1")["b"]) == ["z", "a"]


def test_every_field_of_a_checkpoint_comes_back(twin: Any) -> None:
    checkpoint = {
        **twin.checkpoint("1", {"v": 1}, {"v": 3, "w": "00002.5", "x": 1.5}),
        "versions_seen": {"node": {"v": 2}, "__input__": {}},
        "updated_channels": ["v", "w"],
        "pending_sends": [["node", {"arg": 1}]],
        "a_field_of_tomorrow": {"nested": [1, None, "é"]},
    }
    twin.call("put", twin.config("t"), checkpoint, {"step": 1}, {})
    assert twin.the("1").checkpoint == checkpoint


def test_changing_what_was_put_changes_nothing_that_is_stored(twin: Any) -> None:
    message = AIMessage("hello", id="m1", additional_kwargs={"k": [1]})
    values = {"messages": [message], "d": {"n": {"deep": [1]}}}
    metadata = {"nested": {"a": [1]}}
    versions = {"messages": "1", "d": "1"}
    write = {"w": [1]}
    checkpoint = twin.checkpoint("1", values, versions)
    twin.call("put", twin.config("t"), checkpoint, metadata, versions)
    twin.write("1", [("x", write)])
    before = copy.deepcopy(twin.the("1"))
    message.content = "changed"
    message.additional_kwargs["k"].append(2)
    values["d"]["n"]["deep"].append(2)
    checkpoint["channel_values"]["new"] = 1
    checkpoint["channel_versions"]["d"] = "2"
    checkpoint["versions_seen"]["node"] = {}
    metadata["nested"]["a"].append(2)
    write["w"].append(2)
    assert twin.the("1") == before
    assert twin.list(twin.config("t")) == [before]


def test_a_value_changed_in_place_between_puts_is_stored_as_it_then_is(twin: Any) -> None:
    """Without a new version, the same objects each time: what a reducer that mutates does."""
    messages = [HumanMessage("0", id="0")]
    nested = {"deep": [{"n": 0}]}
    parent = None
    for n in range(1, 6):
        twin.put(
            str(n), {"messages": messages, "nested": nested}, parent=parent, versions={"messages": "1"}, new_versions={}
        )
        messages.append(HumanMessage(str(n), id=str(n)))
        messages[0].content = f"edited {n}"
        nested["deep"][0]["n"] = n
        parent = str(n)
    for n in range(1, 6):
        values = twin.values(str(n))
        assert len(values["messages"]) == n
        assert values["messages"][0].content == (f"edited {n - 1}" if n > 1 else "0")
        assert values["nested"] == {"deep": [{"n": n - 1}]}


def test_changing_a_returned_tuple_changes_nothing(twin: Any) -> None:
    twin.put("1", {"v": [1], "m": [AIMessage("a", id="1")]}, metadata={"n": {"a": [1]}})
    twin.write("1", [("x", [1])])
    expected = copy.deepcopy(twin.the("1"))
    (listed,) = twin.list(twin.config("t"))
    for found in (twin.the("1"), twin.the(), listed):
        found.checkpoint["channel_values"]["v"].append("changed")
        found.checkpoint["channel_values"]["m"][0].content = "changed"
        found.checkpoint["channel_values"]["new"] = 1
        found.checkpoint["channel_versions"]["v"] = "changed"
        found.checkpoint["versions_seen"]["v"] = {}
        found.checkpoint["id"] = "changed"
        found.metadata["n"]["a"].append("changed")
        found.config["configurable"]["thread_id"] = "changed"
        found.pending_writes[0][2].append("changed")
        found.pending_writes.clear()
        assert twin.the("1") == expected
        assert twin.list(twin.config("t")) == [expected]


def test_changing_a_returned_history_changes_nothing(twin: Any) -> None:
    twin.put("1", {"d": [1]})
    twin.write("1", [("d", [2])])
    twin.put("2", parent="1")
    found = twin.history("2", ["d"])["d"]
    found["seed"].append("changed")
    found["writes"][0][2].append("changed")
    assert twin.history("2", ["d"])["d"] == {"seed": [1], "writes": [("task", "d", [2])]}


def test_two_reads_share_no_object(twin: Any) -> None:
    twin.put("1", {"v": [1], "m": [AIMessage("a", id="1")]})
    twin.put("2", {"v": [1], "m": [AIMessage("a", id="1")]}, parent="1")
    reads = [
        twin.values("1"),
        twin.values("1"),
        twin.values("2"),
        *(f.checkpoint["channel_values"] for f in twin.list()),
    ]
    for name in ("v", "m"):
        assert len({id(read[name]) for read in reads}) == len(reads)
    assert len({id(read["m"][0]) for read in reads}) == len(reads)


@pytest.mark.parametrize("seed", range(3))
def test_random_states_come_back_through_forks_and_second_puts(sync_twin: Any, make_saver: Any, seed: int) -> None:
    """A dict is the oracle, and new_versions is noise; another saver on the same file reads the same."""
    rng = random.Random(seed)
    model: dict[str, dict[str, Any]] = {}
    pool: list[Any] = [1, True, 1.0, None, "x", [1, 2], {"a": 1}, [], b"b", "long " * 50]
    for n in range(60):
        parent = rng.choice([*model, None])
        id = rng.choice([*model]) if model and rng.random() < 0.2 else f"{rng.randrange(10**6):06}-{n}"
        values = dict(model.get(parent, {})) if parent else {}
        for channel in rng.sample("abcdef", k=rng.randint(0, 3)):
            values[channel] = rng.choice(pool)
        for channel in rng.sample("abcdef", k=rng.randint(0, 1)):
            values.pop(channel, None)
        versions = {channel: rng.randint(1, 3) for channel in rng.sample("abcdef", k=3)}
        sync_twin.put(id, values, parent=parent, versions=versions, new_versions=rng.choice([versions, {}]))
        model[id] = values
    other = sync_twin.on(make_saver(synchronous="NORMAL"))
    for reader in (sync_twin, other):
        listed = {f.config["configurable"]["checkpoint_id"]: f.checkpoint["channel_values"] for f in reader.list()}
        assert repr(listed) == repr({id: model[id] for id in sorted(model, reverse=True)})
