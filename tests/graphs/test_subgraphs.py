"""Subgraphs keep their checkpoints in namespaces of their own."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from langgraph_eventlog.saver import EventLogSaver
from typing_extensions import TypedDict

CONFIG: Any = {"configurable": {"thread_id": "t"}}
Reopen = Callable[[], EventLogSaver]


class State(TypedDict):
    said: Annotated[list[str], operator.add]


class Inner(TypedDict):
    said: Annotated[list[str], operator.add]
    private: str


def app(saver: Any, ran: list[str], inner_checkpointer: Any = None) -> Any:
    """outer -> inner (-> innermost, which asks)."""

    def node(name: str) -> Callable[[Any], dict[str, Any]]:
        def work(state: Any) -> dict[str, Any]:
            ran.append(name)
            return {"said": [name]}

        return work

    def ask(state: Inner) -> dict[str, Any]:
        ran.append("ask")
        return {"said": [interrupt("what?")], "private": "kept inside"}

    innermost = StateGraph(Inner).add_node("ask", ask).add_node("after", node("after"))
    innermost.add_edge(START, "ask").add_edge("ask", "after")
    inner = StateGraph(Inner).add_node("first", node("first")).add_node("deep", innermost.compile())
    inner.add_edge(START, "first").add_edge("first", "deep")
    outer = StateGraph(State).add_node("before", node("before"))
    outer.add_node("inner", inner.compile(checkpointer=inner_checkpointer)).add_node("done", node("done"))
    outer.add_edge(START, "before").add_edge("before", "inner").add_edge("inner", "done")
    return outer.compile(checkpointer=saver)


def namespaces(saver: EventLogSaver) -> set[str]:
    return {t.config["configurable"]["checkpoint_ns"] for t in saver.list(CONFIG)}


def shape(ns: str) -> list[str]:
    return [part.split(":")[0] for part in ns.split("|")]


def test_an_interrupt_two_subgraphs_down_resumes_after_a_reopen(reopen: Reopen) -> None:
    ran: list[str] = []
    app(reopen(), ran).invoke({"said": []}, CONFIG)
    assert ran == ["before", "first", "ask"]
    ran.clear()
    final = app(reopen(), ran).invoke(Command(resume="that"), CONFIG)
    assert ran == ["ask", "after", "done"]
    memory = app(InMemorySaver(), [])
    memory.invoke({"said": []}, CONFIG)
    assert final == memory.invoke(Command(resume="that"), CONFIG)


def test_an_interrupt_two_subgraphs_down_resumes_after_a_prune(reopen: Reopen) -> None:
    ran: list[str] = []
    app(reopen(), ran).invoke({"said": []}, CONFIG)
    reopen().prune(["t"])
    ran.clear()
    app(reopen(), ran).invoke(Command(resume="that"), CONFIG)
    assert ran == ["ask", "after", "done"]


def test_get_state_with_subgraphs_shows_each_level(reopen: Reopen) -> None:
    app(reopen(), []).invoke({"said": ["given"]}, CONFIG)
    outer = app(reopen(), []).get_state(CONFIG, subgraphs=True)
    [outer_task] = outer.tasks
    inner = outer_task.state
    [inner_task] = inner.tasks
    innermost = inner_task.state
    assert [s.next for s in (outer, inner, innermost)] == [("inner",), ("deep",), ("ask",)]
    assert [s.values["said"] for s in (outer, inner)] == [["given", "before"], ["given", "before", "first"]]
    assert innermost.values["said"] == ["given", "before", "first"]
    shapes = [shape(s.config["configurable"]["checkpoint_ns"]) for s in (outer, inner, innermost)]
    assert shapes == [[""], ["inner"], ["inner", "deep"]]
    parents = innermost.metadata["parents"]
    assert parents[""] == outer.config["configurable"]["checkpoint_id"]
    assert [i.value for i in innermost.interrupts] == ["what?"]


def test_each_namespace_has_its_own_history(reopen: Reopen, describe: Any) -> None:
    memory = InMemorySaver()
    for saver in (memory, reopen()):
        for given in ({"said": ["given"]}, Command(resume="that")):
            # "sync": what is compared here are all steps, exactly
            app(saver, []).invoke(given, CONFIG, durability="sync")
    saver = reopen()
    ours, theirs = namespaces(saver), {t.config["configurable"]["checkpoint_ns"] for t in memory.list(CONFIG)}
    assert sorted(map(shape, ours)) == sorted(map(shape, theirs)) == [[""], ["inner"], ["inner", "deep"]]
    for ns in ours:
        [same] = [other for other in theirs if shape(other) == shape(ns)]
        histories = [
            describe(app(a_saver, []).get_state_history({"configurable": {"thread_id": "t", "checkpoint_ns": a_ns}}))
            for a_saver, a_ns in ((saver, ns), (memory, same))
        ]
        assert histories[0] == histories[1]
        assert len(histories[0]) >= 4


def test_update_state_inside_a_subgraph_is_what_it_goes_on_with(reopen: Reopen) -> None:
    ran: list[str] = []
    app(reopen(), ran).invoke({"said": []}, CONFIG)
    waiting = app(reopen(), ran).get_state(CONFIG, subgraphs=True)
    inner = waiting.tasks[0].state.tasks[0].state.config
    app(reopen(), ran).update_state(inner, {"said": ["slipped in"]}, as_node="ask")
    ran.clear()
    final = app(reopen(), ran).invoke(None, CONFIG)
    assert ran == ["after", "done"]
    assert "slipped in" in final["said"]


@pytest.mark.parametrize("reset", [False, True])
def test_a_subgraph_with_a_memory_of_its_own_remembers_over_turns(reopen: Reopen, reset: bool) -> None:
    """compile(checkpointer=True) keeps its namespace from one invocation to the next."""

    class Count(TypedDict):
        turns: Annotated[int, operator.add]

    def build(saver: Any) -> Any:
        inner = StateGraph(Count).add_node("count", lambda state: {"turns": 1}).add_edge(START, "count")
        counter = inner.compile(checkpointer=True)

        def ask(state: State) -> dict[str, Any]:
            return {"said": [str(counter.invoke({"turns": 0})["turns"])]}

        return StateGraph(State).add_node("ask", ask).add_edge(START, "ask").compile(checkpointer=saver)

    for turn in range(4):
        if reset and turn == 2:
            reopen().delete_thread("t")
        final = build(reopen()).invoke({"said": []}, CONFIG)
    assert final["said"] == (["1", "2"] if reset else ["1", "2", "3", "4"])


@pytest.mark.anyio
async def test_subgraph_states_are_the_same_async(reopen: Reopen, describe: Any) -> None:
    memory = InMemorySaver()
    for saver in (memory, reopen()):
        await app(saver, []).ainvoke({"said": ["given"]}, CONFIG, durability="sync")
    found, expected = [
        describe([await app(saver, []).aget_state(CONFIG, subgraphs=True)]) for saver in (reopen(), memory)
    ]
    assert found == expected
    final = await app(reopen(), []).ainvoke(Command(resume="that"), CONFIG)
    assert final["said"][-1] == "done"


def test_streaming_with_subgraphs_from_a_reopened_file_gives_the_parts_of_all_levels(reopen: Reopen) -> None:
    app(reopen(), []).invoke({"said": []}, CONFIG)
    parts = list(app(reopen(), []).stream(Command(resume="that"), CONFIG, stream_mode="updates", subgraphs=True))
    assert {tuple(part.split(":")[0] for part in ns) for ns, _ in parts} == {("inner", "deep"), ("inner",), ()}
