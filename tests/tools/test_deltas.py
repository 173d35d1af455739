"""Delta channels are put together as the reducers that most graphs use would, and otherwise not at all."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Overwrite
from langgraph_eventlog.tools.looking.deltas import rebuild_value
from langgraph_eventlog.tools.looking.states import load_state


@pytest.mark.parametrize(
    ("snapshot", "writes", "how", "value"),
    [
        ([1], [], "snapshot", [1]),
        ([1], [[2], [3, 4]], "appended", [1, 2, 3, 4]),
        ([1], [2], "appended", [1, 2]),
        (None, [["a"], ["b"]], "appended", ["a", "b"]),
        ({"a": 1}, [{"b": 2}, {"a": 3}], "keys merged", {"a": 3, "b": 2}),
        ({1}, [{2}, [3]], "united", {1, 2, 3}),
        ([1], [[2], Overwrite([9]), [3]], "appended", [9, 3]),
        ([1], [[2], Overwrite([9])], "snapshot", [9]),
        ([1], [{"__overwrite__": [9]}, [3]], "appended", [9, 3]),
        ([1], [{"value": [9], "type": "__overwrite__"}], "snapshot", [9]),
        (3, [4], None, None),
        ({"a": 1}, [["b"]], None, None),
        (None, ["text", "more"], None, None),
    ],
)
def test_a_value_is_put_together(snapshot: Any, writes: list[Any], how: str | None, value: Any) -> None:
    rebuilt = rebuild_value(snapshot, writes)
    assert (rebuilt.how, rebuilt.value) == (how, value)
    assert rebuilt.snapshot == snapshot
    assert rebuilt.writes == tuple(writes)


def test_messages_of_one_id_replace_each_other_and_removals_remove() -> None:
    first, second, changed = HumanMessage("1", id="a"), AIMessage("2", id="b"), AIMessage("3", id="b")
    rebuilt = rebuild_value([first], [[second], [changed, RemoveMessage(id="a")]])
    assert (rebuilt.how, rebuilt.value) == ("messages merged", [changed])


def test_messages_without_ids_are_given_none() -> None:
    rebuilt = rebuild_value([HumanMessage("1")], [[AIMessage("2", id="b")]])
    assert rebuilt.how == "appended"
    assert [message.id for message in rebuilt.value] == [None, "b"]


def _extended(value: Any, writes: Any) -> Any:
    for written in writes:
        value = operator.add(value or [], written)
    return value


def _merged(value: Any, writes: Any) -> Any:
    for written in writes:
        value = {**(value or {}), **written}
    return value


def _messages(value: Any, writes: Any) -> Any:
    for written in writes:
        value = add_messages(value or [], written)
    return value


class State(TypedDict):
    items: Annotated[list[int], DeltaChannel(_extended, snapshot_frequency=3)]
    facts: Annotated[dict[str, int], DeltaChannel(_merged, snapshot_frequency=4)]
    messages: Annotated[list[Any], DeltaChannel(_messages, snapshot_frequency=1000)]


def test_every_checkpoint_of_a_graph_is_shown_with_the_values_that_the_graph_sees(make_saver: Any) -> None:
    saver = make_saver(":memory:")

    def work(state: State) -> dict[str, Any]:
        n = len(state["items"])
        return {"items": [n], "facts": {str(n % 3): n}, "messages": [AIMessage(str(n), id=str(n % 4))]}

    builder = StateGraph(State).add_node("work", work).add_node("more", work)
    graph = builder.add_edge(START, "work").add_edge("work", "more").compile(checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "t"}}
    for turn in range(6):
        graph.invoke(
            {"items": [turn], "facts": {"turn": turn}, "messages": [HumanMessage("go", id=f"q{turn}")]}, config
        )
    checked = 0
    for snapshot in graph.get_state_history(config):
        state = load_state(saver, "t", snapshot.config["configurable"]["checkpoint_id"])
        for channel in ("items", "facts", "messages"):
            expected = snapshot.values.get(channel)
            delta = state.deltas.get(channel)
            if delta is None:
                assert not expected
            else:
                assert delta.value == expected
                checked += 1
    assert checked > 50
