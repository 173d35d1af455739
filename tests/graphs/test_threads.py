"""Forking, copying and deleting the threads of conversations that go on."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from langgraph_eventlog.eventlog.errors import ThreadExistsError
from langgraph_eventlog.saver import EventLogSaver
from typing_extensions import TypedDict

Reopen = Callable[[], EventLogSaver]


class State(TypedDict):
    said: Annotated[list[str], operator.add]


def thread(thread_id: str) -> Any:
    return {"configurable": {"thread_id": thread_id}}


def build(saver: Any, ran: list[str] | None = None, asking: bool = False, deep: bool = False) -> Any:
    def node(name: str) -> Callable[[State], dict[str, Any]]:
        def work(state: State) -> dict[str, Any]:
            if ran is not None:
                ran.append(name)
            return {"said": [f"{name} {len(state['said'])}"]}

        return work

    def ask(state: State) -> dict[str, Any]:
        if ran is not None:
            ran.append("ask")
        return {"said": [f"ask {interrupt('?')}"]}

    graph = StateGraph(State).add_node("one", node("one")).add_node("two", node("two"))
    graph.add_edge(START, "one").add_edge("one", "two")
    if asking:
        asker: Any = ask
        if deep:
            inner = StateGraph(State).add_node("within", node("within")).add_node("ask", ask)
            asker = inner.add_edge(START, "within").add_edge("within", "ask").compile()
        graph.add_node("asker", asker).add_edge("one", "asker")
    return graph.compile(checkpointer=saver)


def talk(reopen: Callable[[], Any], thread_id: str, *said: str) -> list[str]:
    for text in said:
        values = build(reopen()).invoke({"said": [text]}, thread(thread_id))
    final: list[str] = values["said"]
    return final


def in_memory(*said: str) -> list[str]:
    memory = InMemorySaver()
    return talk(lambda: memory, "t", *said)


def test_a_fork_from_the_middle_and_its_source_go_on_apart(reopen: Reopen) -> None:
    talk(reopen, "t", "a", "b", "c")
    middle = [s for s in build(reopen()).get_state_history(thread("t")) if not s.next][1]
    reopen().fork_thread(middle.config, "fork")
    assert build(reopen()).get_state(thread("fork")).values == middle.values
    assert talk(reopen, "fork", "x", "y") == in_memory("a", "b", "x", "y")
    assert talk(reopen, "t", "d") == in_memory("a", "b", "c", "d")
    assert talk(reopen, "fork", "z") == in_memory("a", "b", "x", "y", "z")


def test_a_fork_has_the_history_of_its_source_up_to_there(reopen: Reopen, describe: Any) -> None:
    talk(reopen, "t", "a", "b", "c")
    whole = list(build(reopen()).get_state_history(thread("t")))
    at = next(i for i, s in enumerate(whole) if s.metadata["step"] == 3)
    reopen().fork_thread(whole[at].config, "fork")
    found, expected = describe(build(reopen()).get_state_history(thread("fork"))), describe(whole[at:])
    found[0].pop("tasks"), expected[0].pop("tasks")  # the step after the fork's end is to be done anew
    assert found == expected


def test_a_fork_from_before_a_node_runs_that_node(reopen: Reopen) -> None:
    ran: list[str] = []
    talk(reopen, "t", "a")
    [before] = [s for s in build(reopen()).get_state_history(thread("t")) if s.next == ("two",)]
    reopen().fork_thread(before.config, "fork")
    assert build(reopen(), ran).invoke(None, thread("fork"))["said"] == in_memory("a")
    assert ran == ["two"]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("pruned", [False, True])
def test_a_fork_of_an_interrupted_thread_resumes_and_so_does_its_source(
    reopen: Reopen, deep: bool, pruned: bool
) -> None:
    """With the branch that finished not run again, in either."""
    ran: list[str] = []
    build(reopen(), ran, True, deep).invoke({"said": ["a"]}, thread("t"))
    reopen().fork_thread(thread("t"), "fork")
    if pruned:
        reopen().prune(["t", "fork"])
    for name in ("fork", "t"):
        ran.clear()
        final = build(reopen(), ran, True, deep).invoke(Command(resume=name), thread(name))
        assert ran == ["ask"]
        assert f"ask {name}" in final["said"]
        assert "two 2" in final["said"]


@pytest.mark.parametrize("deep", [False, True])
def test_a_copy_of_an_interrupted_thread_resumes_when_its_source_is_gone(reopen: Reopen, deep: bool) -> None:
    ran: list[str] = []
    build(reopen(), ran, True, deep).invoke({"said": ["a"]}, thread("t"))
    reopen().copy_thread("t", "copy")
    reopen().delete_thread("t")
    ran.clear()
    build(reopen(), ran, True, deep).invoke(Command(resume="x"), thread("copy"))
    assert ran == ["ask"]


def test_a_copy_has_the_whole_history_and_goes_on_apart(reopen: Reopen, describe: Any) -> None:
    talk(reopen, "t", "a", "b")
    reopen().copy_thread("t", "copy")
    app = build(reopen())
    histories = [describe(app.get_state_history(thread(name))) for name in ("t", "copy")]
    assert histories[0] == histories[1]
    assert talk(reopen, "copy", "c") == in_memory("a", "b", "c")
    assert talk(reopen, "t", "x", "y") == in_memory("a", "b", "x", "y")


def test_a_fork_of_a_fork_outlives_both_that_it_came_from(reopen: Reopen) -> None:
    talk(reopen, "t", "a", "b")
    reopen().fork_thread(thread("t"), "fork")
    talk(reopen, "fork", "c")
    reopen().fork_thread(thread("fork"), "fork of fork")
    saver = reopen()
    saver.delete_thread("t")
    saver.delete_thread("fork")
    saver.rebuild()
    assert talk(reopen, "fork of fork", "d") == in_memory("a", "b", "c", "d")
    assert [info.thread_id for info in reopen().threads()] == ["fork of fork"]


def test_a_deleted_threads_id_begins_anew(reopen: Reopen, describe: Any) -> None:
    talk(reopen, "t", "a", "b")
    talk(reopen, "other", "a")
    reopen().delete_thread("t")
    assert build(reopen()).get_state(thread("t")).values == {}
    assert talk(reopen, "t", "anew") == in_memory("anew")
    memory = InMemorySaver()
    talk(lambda: memory, "t", "anew")
    app = build(reopen())
    assert describe(app.get_state_history(thread("t"))) == describe(build(memory).get_state_history(thread("t")))
    assert app.get_state(thread("other")).values["said"] == in_memory("a")


def test_an_interrupt_of_a_deleted_thread_does_not_wait_in_the_next_one(reopen: Reopen) -> None:
    build(reopen(), asking=True).invoke({"said": ["a"]}, thread("t"))
    reopen().delete_thread("t")
    app = build(reopen(), asking=True)
    assert (app.get_state(thread("t")).next, app.get_state(thread("t")).interrupts) == ((), ())
    app.invoke({"said": ["anew"]}, thread("t"))
    final = build(reopen(), asking=True).invoke(Command(resume="yes"), thread("t"))
    assert final["said"] == ["anew", "one 1", "ask yes", "two 2"]


def test_a_graph_that_holds_the_saver_open_sees_its_thread_deleted_and_begun_anew(make_saver: Any) -> None:
    """What a process remembers of a thread's values must not outlive the thread."""
    saver = make_saver()
    app = build(saver)
    for turn in range(3):
        app.invoke({"said": ["same"]}, thread("t"))
        assert app.invoke({"said": ["same"]}, thread("t"))["said"] == in_memory("same", "same")
        with EventLogSaver(saver.path) as other:
            (saver if turn == 1 else other).delete_thread("t")
    assert list(saver.threads()) == []


def test_a_thread_may_not_be_forked_onto_one_that_has_checkpoints(reopen: Reopen) -> None:
    talk(reopen, "t", "a")
    talk(reopen, "other", "x")
    saver = reopen()
    for copying in (lambda: saver.fork_thread(thread("t"), "other"), lambda: saver.copy_thread("t", "other")):
        with pytest.raises(ThreadExistsError):
            copying()
    assert talk(reopen, "other", "y") == in_memory("x", "y")
