"""Steps that stop in the middle: what finished stays finished, whatever happens to the file in between."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from langgraph_eventlog.saver import EventLogSaver
from typing_extensions import TypedDict

CONFIG: Any = {"configurable": {"thread_id": "t"}}
Reopen = Callable[[], EventLogSaver]


class State(TypedDict):
    said: Annotated[list[str], operator.add]


class Runs(list[str]):
    """A graph of three branches, one of which asks, and one of which may fail; and what has run."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = False

    def start(self, state: State) -> dict[str, Any]:
        self.append("start")
        return {"said": ["start"]}

    def done(self, state: State) -> dict[str, Any]:
        self.append("done")
        return {"said": ["done"]}

    def nothing(self, state: State) -> None:
        """Finishes, and writes nothing."""
        self.append("nothing")

    def ask(self, state: State) -> dict[str, Any]:
        self.append("ask")
        if self.failing:
            raise ConnectionError("no network")
        return {"said": [f"ask: {interrupt('how?')}"]}

    def end(self, state: State) -> dict[str, Any]:
        self.append("end")
        return {"said": [f"end of {len(state['said'])}"]}

    def app(self, saver: Any) -> Any:
        graph = StateGraph(State)
        for node in (self.start, self.done, self.nothing, self.ask, self.end):
            graph.add_node(node.__name__, node)
        graph.add_edge(START, "start")
        for branch in ("done", "nothing", "ask"):
            graph.add_edge("start", branch)
        graph.add_edge(["done", "nothing", "ask"], "end")
        graph.add_edge("end", END)
        return graph.compile(checkpointer=saver)


@pytest.fixture
def runs() -> Runs:
    return Runs()


FINISHED = ["start", "start", "ask: so", "done", "end of 4"]  # the order of the tasks, not of time


@pytest.mark.parametrize("prunes", [0, 1, 2])
def test_a_finished_branch_does_not_run_again_after_resume(runs: Runs, reopen: Reopen, prunes: int) -> None:
    """Nor if its checkpoint was the one that prune(keep_latest) kept."""
    runs.app(reopen()).invoke({"said": ["start"]}, CONFIG)
    assert sorted(runs) == ["ask", "done", "nothing", "start"]
    for _ in range(prunes):
        reopen().prune(["t"], strategy="keep_latest")
    runs.clear()
    final = runs.app(reopen()).invoke(Command(resume="so"), CONFIG)
    assert runs == ["ask", "end"]
    assert final["said"] == FINISHED


@pytest.mark.anyio
async def test_a_finished_branch_does_not_run_again_after_resume_async(runs: Runs, reopen: Reopen) -> None:
    await runs.app(reopen()).ainvoke({"said": ["start"]}, CONFIG)
    await reopen().aprune(["t"], strategy="keep_latest")
    runs.clear()
    final = await runs.app(reopen()).ainvoke(Command(resume="so"), CONFIG)
    assert runs == ["ask", "end"]
    assert final["said"] == FINISHED


@pytest.mark.parametrize("prune", [False, True])
def test_a_finished_branch_does_not_run_again_after_another_failed(runs: Runs, reopen: Reopen, prune: bool) -> None:
    runs.failing = True
    with pytest.raises(ConnectionError):
        runs.app(reopen()).invoke({"said": ["start"]}, CONFIG)
    saver = reopen()
    if prune:
        saver.prune(["t"])
    app = runs.app(saver)
    # A branch that had not begun by then was cancelled, and has an error, too.
    errors = {task.name: task.error for task in app.get_state(CONFIG).tasks if task.error}
    assert "no network" in errors["ask"]
    finished = {task.name for task in app.get_state(CONFIG).tasks if task.result is not None}
    runs.clear()
    runs.failing = False
    runs.app(reopen()).invoke(None, CONFIG)
    assert finished.isdisjoint(runs)
    assert runs.count("ask") == 1
    assert runs.app(reopen()).invoke(Command(resume="so"), CONFIG)["said"] == FINISHED


def test_a_rebuild_between_interrupt_and_resume_changes_nothing(runs: Runs, reopen: Reopen) -> None:
    runs.app(reopen()).invoke({"said": ["start"]}, CONFIG)
    reopen().rebuild()
    runs.clear()
    assert runs.app(reopen()).invoke(Command(resume="so"), CONFIG)["said"] == FINISHED
    assert runs == ["ask", "end"]


def test_a_node_that_asks_three_times_is_given_the_earlier_answers_again(reopen: Reopen) -> None:
    def survey(state: State) -> dict[str, Any]:
        return {"said": [interrupt("name?"), interrupt("quest?"), interrupt("colour?")]}

    def app(saver: Any) -> Any:
        return StateGraph(State).add_node("survey", survey).add_edge(START, "survey").compile(checkpointer=saver)

    result = app(reopen()).invoke({"said": []}, CONFIG)
    for question, answer in [("name?", "Arthur"), ("quest?", "grail"), ("colour?", None)]:
        assert [i.value for i in result["__interrupt__"]] == [question]
        reopen().prune(["t"])
        result = app(reopen()).invoke(Command(resume=answer or "blue"), CONFIG)
    assert result == {"said": ["Arthur", "grail", "blue"]}


def test_parallel_interrupts_are_answered_by_id_one_at_a_time(reopen: Reopen) -> None:
    def app(saver: Any) -> Any:
        graph = StateGraph(State)
        for name in ("left", "right", "middle"):
            graph.add_node(name, lambda state, name=name: {"said": [f"{name} {interrupt(name)}"]})
            graph.add_edge(START, name)
        return graph.compile(checkpointer=saver)

    app(reopen()).invoke({"said": []}, CONFIG)
    for name in ("middle", "left", "right"):
        waiting = {i.value: i.id for i in app(reopen()).get_state(CONFIG).interrupts}
        assert name in waiting
        result = app(reopen()).invoke(Command(resume={waiting[name]: name.upper()}), CONFIG)
    assert sorted(result["said"]) == ["left LEFT", "middle MIDDLE", "right RIGHT"]


@pytest.mark.parametrize("where", ["interrupt_before", "interrupt_after"])
def test_a_static_breakpoint_holds_over_a_reopen(runs: Runs, reopen: Reopen, where: str) -> None:
    stop = {where: ["start"]}
    runs.app(reopen()).invoke({"said": ["start"]}, CONFIG, **stop)
    assert runs == (["start"] if where == "interrupt_after" else [])
    runs.app(reopen()).invoke(None, CONFIG)
    assert runs.count("start") == 1
    assert runs.app(reopen()).invoke(Command(resume="so"), CONFIG)["said"] == FINISHED


def test_resuming_with_an_update_and_a_goto_is_what_it_is_in_memory(runs: Runs, reopen: Reopen, describe: Any) -> None:
    memory = InMemorySaver()
    for saver in (memory, reopen()):
        runs.app(saver).invoke({"said": ["start"]}, CONFIG, durability="sync")
    command = Command(resume="so", update={"said": ["by the way"]}, goto="end")
    for saver in (memory, reopen()):
        runs.app(saver).invoke(command, CONFIG, durability="sync")
    histories = [describe(runs.app(saver).get_state_history(CONFIG)) for saver in (memory, reopen())]
    assert histories[0] == histories[1]
    assert "by the way" in histories[1][0]["values"]["said"]
