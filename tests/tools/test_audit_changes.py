"""What a replay says that a put changes is what it changes: the parent's state with it applied is the put's state."""

from __future__ import annotations

import copy
import os
import random
import runpy
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph_eventlog.eventlog.event import put_of
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.auditing.entry import AuditEntry, ChannelChange
from langgraph_eventlog.tools.auditing.nodes import node_of_path, nodes_that_saw
from langgraph_eventlog.tools.auditing.replay import replay
from langgraph_eventlog.tools.jsonable import jsonable
from langgraph_eventlog.tools.opening import open_log

SHOP = Path(__file__).with_name("shop.py")


def states_of(saver: EventLogSaver) -> dict[int, dict[str, Any]]:
    """Give the values of each put by its position, read through the log and not through the replay."""
    found = {}
    for event in saver.log.read():
        if put_of(event.data) is not None:
            values = saver.log.values(event)
            decoder = saver._core.memory.decoder(saver.serde)
            found[event.position] = {name: decoder.value(value) for name, value in values.items()}
    return found


def applied(before: Any, change: ChannelChange) -> Any:
    if change.how == "added":
        now = list(before)
        now[change.at : change.at + change.removed] = change.added
        return now
    if change.how == "keys":
        kept = {key: value for key, value in before.items() if key not in change.keys_removed}
        return {**kept, **change.keys_set}
    return change.value


def check_applied(entries: list[AuditEntry], states: dict[int, dict[str, Any]]) -> int:
    """Check every put whose parent is in the log; give how many there were."""
    at: dict[Any, int] = {}
    checked = 0
    for entry in entries:
        if entry.kind != "put":
            continue
        parent = at.get((entry.thread_id, entry.checkpoint_ns, entry.parent_id))
        at[entry.thread_id, entry.checkpoint_ns, entry.checkpoint_id] = entry.position
        before = states.get(parent or 0, {})
        gone = {change.channel for change in entry.changes if change.how == "gone"}
        now = {name: value for name, value in before.items() if name not in gone}
        assert set(entry.carried) <= set(before)
        assert set(entry.carried) | {change.channel for change in entry.changes} == set(before) | set(
            states[entry.position]
        )
        for change in entry.changes:
            if change.how != "gone":
                now[change.channel] = applied(before.get(change.channel), change)
        assert jsonable(now) == jsonable(states[entry.position])
        checked += parent is not None
    return checked


def test_the_parents_state_with_the_changes_applied_is_the_state_in_a_log_of_real_graphs(shop: Path) -> None:
    with open_log(shop) as log:
        entries = list(replay(log))
        assert check_applied([e for e in entries if e.thread_id != "order-3-again"], states_of(log)) > 200


@pytest.mark.parametrize("encrypted", [False, True])
def test_lists_dicts_and_texts_changed_in_any_way_are_told_as_they_were_changed(
    make_saver: Any, *, encrypted: bool
) -> None:
    serde = EncryptedSerializer.from_pycryptodome_aes(key=os.urandom(16)) if encrypted else None
    saver = make_saver(":memory:", serde=serde, memory_bytes=0)
    dice = random.Random(7)
    text = "".join(dice.choice("abcdef ") for _ in range(4000))
    values: dict[str, Any] = {"messages": [], "facts": {}, "text": text, "count": 0, "small": [1]}
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    for step in range(150):
        values = copy.deepcopy(values)
        for _ in range(dice.randrange(3)):
            change(values, dice, step)
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = values
        config = saver.put(config, checkpoint, {"source": "loop", "step": step}, {})
    entries = list(replay(saver))
    assert check_applied(entries, states_of(saver)) == 149
    said = {change.how for entry in entries for change in entry.changes}
    assert said == {"new", "added", "keys", "changed", "gone"}
    # What did not change is not told as changed: the whole state is never told again after the first put.
    assert sum(len(change.values()) for entry in entries for change in entry.changes) < 450


def change(values: dict[str, Any], dice: random.Random, step: int) -> None:
    match dice.randrange(7):
        case 0 | 1:
            values["messages"].append(HumanMessage(f"question {step} " * 8, id=str(step)))
        case 2 if values["messages"]:
            at = dice.randrange(len(values["messages"]))
            values["messages"][at] = AIMessage(f"edited at {step} " * 8, id=f"e{step}")
        case 3 if values["messages"]:
            del values["messages"][dice.randrange(len(values["messages"]))]
        case 4:
            values["facts"][f"key {dice.randrange(12)}"] = f"fact {step} " * 9
            if step % 3 == 0:
                values["facts"].pop(next(iter(values["facts"])))
        case 5:
            at = dice.randrange(len(values["text"]))
            values["text"] = values["text"][:at] + f"<{step}>" + values["text"][at:]
        case _:
            values["count"] += 1
            if values.pop("small", None) is None:
                values["small"] = [step]


def test_the_nodes_of_a_put_and_a_write_are_those_that_ran(tmp_path: Path) -> None:
    """Triggered ones, those that were sent to, tasks that were called, and, in a subgraph, its own."""
    made = runpy.run_path(str(Path(__file__).with_name("sending.py")))
    made["make"](tmp_path / "agent.db")
    with open_log(tmp_path / "agent.db") as log:
        entries = list(replay(log))
    ran = {(e.thread_id, e.step): set(e.nodes) for e in entries if e.kind == "put"}
    assert ran["send", 0] == {"__start__"}
    assert ran["send", 1] == {"plan"}
    assert ran["send", 2] == {"work", "other"}
    assert ran["send", 3] == {"jump"}
    assert ran["send", 4] == {"other"}
    assert ran["send", 5] == set()  # an update from outside names no node
    assert ran["called", 0] == {"flow", "double"}
    wrote = [e.nodes for e in entries if e.kind == "put_writes" and e.thread_id == "send"]
    assert sorted(wrote) == sorted(
        [("__start__",), ("plan",), ("work",), ("work",), ("other",), ("jump",), ("other",), ()]
    )
    assert {e.nodes for e in entries if e.kind == "put_writes" and e.thread_id == "called"} == {("flow",)}


def test_a_tasks_path_names_its_node_whatever_the_node_is_called() -> None:
    assert node_of_path("~__pregel_pull, a, b\n0000000001") == "a, b\n0000000001"
    assert node_of_path("~__pregel_push, 0000000002, 0000000000") == 2
    assert node_of_path("~__pregel_push, ~__pregel_pull, flow, 0000000001, 0000000001") == "flow"
    assert node_of_path("~__interrupt__, 0000000000") is None
    assert node_of_path("") is None


def test_a_version_that_only_stored_a_snapshot_is_nobody_running() -> None:
    before = {"a": {"notes": "1"}, "b": {"notes": "1"}}
    bumped = {"a": {"notes": "2"}, "b": {"notes": "3"}, "__snapshot_bumps__": {"a|notes": "2", "a:notes": "1"}}
    assert nodes_that_saw(bumped, before) == ["b"]
