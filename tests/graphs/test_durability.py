"""The three durability modes end where they end in memory, and say the same of what came before."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt
from langgraph_eventlog.saver import EventLogSaver
from typing_extensions import TypedDict

CONFIG: Any = {"configurable": {"thread_id": "t"}}
Reopen = Callable[[], EventLogSaver]
MODES = ["sync", "async", "exit"]


class State(TypedDict):
    said: Annotated[list[str], operator.add]
    turn: int


def build(saver: Any, failing: bool = False) -> Any:
    """Branches, a Send fan-out, a subgraph that asks, and a node that may fail."""

    def ask(state: State) -> dict[str, Any]:
        return {"said": [interrupt(f"question {state['turn']}")]}

    def last(state: State) -> dict[str, Any]:
        if failing:
            raise ConnectionError("no network")
        return {"said": [f"{len(state['said'])} said"], "turn": state["turn"] + 1}

    inner = StateGraph(State).add_node("think", lambda s: {"said": ["thought"]}).add_node("ask", ask)
    inner.add_edge(START, "think").add_edge("think", "ask")
    compiled = inner.compile()
    graph = StateGraph(State)
    graph.add_node("one", lambda s: {"said": ["one"]}).add_node("two", lambda s: {"said": ["two"]})
    graph.add_node("sub", lambda s: {"said": compiled.invoke({"said": [], "turn": s["turn"]})["said"]})
    graph.add_node("piece", lambda s: {"said": [f"piece {s['piece']}"]}).add_node("last", last)
    graph.add_edge(START, "one").add_edge(START, "two").add_edge("one", "sub")
    graph.add_conditional_edges("sub", lambda s: [Send("piece", {"piece": n}) for n in range(12)], ["piece"])
    graph.add_edge("piece", "last")
    return graph.compile(checkpointer=saver)


INPUTS = [{"said": ["start"], "turn": 0}, Command(resume="a"), {"said": ["again"]}, Command(resume="b")]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_every_step_gives_the_state_it_gives_in_memory(reopen: Reopen, mode: Any, describe: Any) -> None:
    memory = InMemorySaver()
    for given in INPUTS:
        results = [build(saver).invoke(given, CONFIG, durability=mode) for saver in (memory, reopen())]
        values = [{k: v for k, v in result.items() if k != "__interrupt__"} for result in results]
        assert values[0] == values[1]
        histories = [describe(build(saver).get_state_history(CONFIG)) for saver in (memory, reopen())]
        assert histories[0] == histories[1]
    assert histories[1][0]["values"]["turn"] == 2


@pytest.mark.anyio
async def test_every_step_gives_the_state_it_gives_in_memory_async(reopen: Reopen, mode: Any, describe: Any) -> None:
    memory = InMemorySaver()
    for given in INPUTS:
        results = [await build(saver).ainvoke(given, CONFIG, durability=mode) for saver in (memory, reopen())]
        values = [{k: v for k, v in result.items() if k != "__interrupt__"} for result in results]
        assert values[0] == values[1]
        histories = [
            describe([s async for s in build(saver).aget_state_history(CONFIG)]) for saver in (memory, reopen())
        ]
        assert histories[0] == histories[1]
    assert histories[1][0]["values"]["turn"] == 2


def test_a_run_that_failed_goes_on_from_its_last_checkpoint(reopen: Reopen, mode: Any) -> None:
    memory = InMemorySaver()
    results = []
    for saver in (lambda: memory, reopen):
        build(saver()).invoke(INPUTS[0], CONFIG, durability=mode)
        with pytest.raises(ConnectionError):
            build(saver(), failing=True).invoke(INPUTS[1], CONFIG, durability=mode)
        state = build(saver()).get_state(CONFIG)
        results.append((state.values, state.next, [t.error for t in state.tasks]))
        results.append(build(saver()).invoke(None, CONFIG, durability=mode))
    assert results[:2] == results[2:]
    assert results[3]["turn"] == 1


def test_modes_may_take_turns_on_one_thread(reopen: Reopen) -> None:
    memory = InMemorySaver()
    for turn in range(6):
        for given in ({"said": [f"turn {turn}"], "turn": turn}, Command(resume=f"answer {turn}")):
            mode: Any = MODES[turn % 3]
            expected, found = [build(saver).invoke(given, CONFIG, durability=mode) for saver in (memory, reopen())]
            assert found["said"] == expected["said"]
    assert build(reopen()).get_state(CONFIG).values == build(memory).get_state(CONFIG).values


def test_exit_keeps_one_checkpoint_of_each_namespace_for_a_run(reopen: Reopen) -> None:
    build(reopen()).invoke(INPUTS[0], CONFIG, durability="exit")
    of_root = [s.config for s in build(reopen()).get_state_history(CONFIG)]
    assert len(of_root) == 1
    build(reopen()).invoke(INPUTS[1], CONFIG, durability="exit")
    assert [s.config for s in build(reopen()).get_state_history(CONFIG)][1:] == of_root
