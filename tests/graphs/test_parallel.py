"""Parallel branches and Send: order and content of what they write, read back from the file."""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt
from langgraph_eventlog.saver import EventLogSaver
from typing_extensions import TypedDict

CONFIG: Any = {"configurable": {"thread_id": "t"}}
Reopen = Callable[[], EventLogSaver]


def merged(old: dict[str, int], new: dict[str, int]) -> dict[str, int]:
    return {**old, **new}


class State(TypedDict):
    log: Annotated[list[str], operator.add]
    total: Annotated[int, operator.add]
    tags: Annotated[set[str], operator.or_]
    seen: Annotated[dict[str, int], merged]
    last: str


def fan(saver: Any) -> Any:
    """Three branches of different lengths that write the same channels, twice around.

    Run with durability="sync" where histories are compared: the channel of an edge from several nodes hands the saver
    its live set, which the next step changes; a put in the background finds it as it is then, with every saver.
    """
    graph = StateGraph(State)

    def node(name: str) -> Callable[[State], dict[str, Any]]:
        def work(state: State) -> dict[str, Any]:
            return {"log": [name], "total": len(state["log"]), "tags": {name}, "seen": {name: len(state["log"])}}

        return work

    for name in ("a", "b", "b2", "c", "c2", "c3"):
        graph.add_node(name, node(name))
    graph.add_node("join", lambda state: {"log": ["join"], "last": "".join(state["log"])})
    for path in (["a"], ["b", "b2"], ["c", "c2", "c3"]):
        graph.add_edge(START, path[0])
        for one, other in pairwise(path):
            graph.add_edge(one, other)
    graph.add_edge(["a", "b2", "c3"], "join")
    graph.add_conditional_edges(
        "join", lambda s: [END] if len(s["log"]) > 10 else ["a", "b", "c"], ["a", "b", "c", END]
    )
    return graph.compile(checkpointer=saver)


def test_parallel_branches_reduce_to_what_they_do_in_memory(reopen: Reopen, describe: Any) -> None:
    given = {"log": [], "total": 0, "tags": set(), "seen": {}, "last": ""}
    memory = fan(InMemorySaver())
    for _ in range(3):
        expected, found = (app.invoke(given, CONFIG, durability="sync") for app in (memory, fan(reopen())))
        assert found == expected
    app = fan(reopen())
    assert app.get_state(CONFIG).values == expected
    assert describe(app.get_state_history(CONFIG)) == describe(memory.get_state_history(CONFIG))


class Jobs(TypedDict):
    jobs: list[int]
    results: Annotated[list[str], operator.add]


class Job(TypedDict):
    number: int


def map_reduce(saver: Any, runs: list[int], asking: tuple[int, ...] = ()) -> Any:
    def work(job: Job) -> dict[str, Any]:
        runs.append(job["number"])
        answer = interrupt(f"job {job['number']}?") if job["number"] in asking else "done"
        return {"results": [f"{job['number']} {answer}"]}

    graph = StateGraph(Jobs)
    graph.add_node("plan", lambda state: None)
    graph.add_node("work", work)
    graph.add_node("sum", lambda state: {"results": [f"{len(state['results'])} results"]})
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", lambda state: [Send("work", {"number": n}) for n in state["jobs"]], ["work"])
    graph.add_edge("work", "sum")
    return graph.compile(checkpointer=saver)


def test_results_of_a_fan_out_come_in_the_order_of_their_tasks(reopen: Reopen, describe: Any) -> None:
    """More than ten, so that an order by text would show."""
    memory = map_reduce(InMemorySaver(), [])
    given = {"jobs": list(range(25)), "results": []}
    expected, found = memory.invoke(given, CONFIG), map_reduce(reopen(), []).invoke(given, CONFIG)
    assert found == expected
    assert found["results"] == [*(f"{n} done" for n in range(25)), "25 results"]
    history = describe(map_reduce(reopen(), []).get_state_history(CONFIG))
    assert history == describe(memory.get_state_history(CONFIG))
    assert len(history[1]["tasks"]) + len(history[2]["tasks"]) == 26


@pytest.mark.parametrize("prune", [False, True])
def test_only_the_jobs_of_a_fan_out_that_asked_run_again(reopen: Reopen, prune: bool) -> None:
    runs: list[int] = []
    map_reduce(reopen(), runs, (3, 11)).invoke({"jobs": list(range(12)), "results": []}, CONFIG)
    assert sorted(runs) == list(range(12))
    saver = reopen()
    if prune:
        saver.prune(["t"])
    app = map_reduce(reopen(), runs, (3, 11))
    answers = {i.id: f"answer to {i.value}" for i in app.get_state(CONFIG).interrupts}
    assert len(answers) == 2
    runs.clear()
    final = map_reduce(reopen(), runs, (3, 11)).invoke(Command(resume=answers), CONFIG)
    assert sorted(runs) == [3, 11]
    assert final["results"][3] == "3 answer to job 3?"
    assert final["results"][10:] == ["10 done", "11 answer to job 11?", "12 results"]


@pytest.mark.anyio
async def test_a_fan_out_is_the_same_async(reopen: Reopen, describe: Any) -> None:
    memory = map_reduce(InMemorySaver(), [])
    given = {"jobs": list(range(15)), "results": []}
    assert await map_reduce(reopen(), []).ainvoke(given, CONFIG) == await memory.ainvoke(given, CONFIG)
    app = map_reduce(reopen(), [])
    found = [s async for s in app.aget_state_history(CONFIG)]
    assert describe(found) == describe([s async for s in memory.aget_state_history(CONFIG)])


def test_a_node_that_sends_with_a_command_is_the_same_as_in_memory(reopen: Reopen, describe: Any) -> None:
    def app(saver: Any) -> Any:
        def plan(state: Jobs) -> Command[Any]:
            sends = [Send("work", {"number": n}) for n in state["jobs"]]
            return Command(update={"results": ["planned"]}, goto=sends)

        graph = StateGraph(Jobs)
        graph.add_node("plan", plan, destinations=("work",))
        graph.add_node("work", lambda job: {"results": [str(job["number"])]})
        graph.add_edge(START, "plan")
        return graph.compile(checkpointer=saver)

    memory = app(InMemorySaver())
    given = {"jobs": [5, 4, 3], "results": []}
    assert app(reopen()).invoke(given, CONFIG) == memory.invoke(given, CONFIG)
    assert describe(app(reopen()).get_state_history(CONFIG)) == describe(memory.get_state_history(CONFIG))
