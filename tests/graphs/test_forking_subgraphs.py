"""Forking threads whose graphs have subgraphs: each namespace goes along up to the point of the fork, and no further.

Real graphs, so that the namespaces, parents and pending writes are what LangGraph makes of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from langgraph_eventlog.saver import EventLogSaver
from typing_extensions import TypedDict

CONFIG: Any = {"configurable": {"thread_id": "t"}}
FORK: Any = {"configurable": {"thread_id": "fork"}}
Reopen = Callable[[], EventLogSaver]


class State(TypedDict):
    said: Annotated[list[str], operator.add]


def app(saver: Any, ran: list[str], *, asking: bool = False) -> Any:
    """before -> inner (first -> second) -> between -> again (first -> second); "second" may ask."""

    def node(name: str) -> Callable[[State], dict[str, Any]]:
        def work(state: State) -> dict[str, Any]:
            ran.append(name)
            return {"said": [name]}

        return work

    def inner(name: str) -> Any:
        def second(state: State) -> dict[str, Any]:
            ran.append(f"{name}.second")
            return {"said": [interrupt("what?") if asking else f"{name}.second"]}

        graph = StateGraph(State).add_node("first", node(f"{name}.first")).add_node("second", second)
        return graph.add_edge(START, "first").add_edge("first", "second").compile()

    outer = StateGraph(State).add_node("before", node("before")).add_node("inner", inner("inner"))
    outer.add_node("between", node("between")).add_node("again", inner("again"))
    outer.add_edge(START, "before").add_edge("before", "inner").add_edge("inner", "between")
    return outer.add_edge("between", "again").compile(checkpointer=saver)


def talk(saver: Any, turns: int = 1) -> None:
    for n in range(turns):
        app(saver, []).invoke({"said": [f"turn {n}"]}, CONFIG, durability="sync")


def found(saver: EventLogSaver, thread: str = "t") -> dict[tuple[str, str], tuple[list[str] | None, list[Any]]]:
    """Each checkpoint of a thread, by namespace (without the task's id) and id: what was said, and pending writes."""
    return {
        (one.config["configurable"]["checkpoint_ns"].split(":")[0], one.checkpoint["id"]): (
            one.checkpoint["channel_values"].get("said"),
            list(one.pending_writes or []),
        )
        for one in saver.list({"configurable": {"thread_id": thread}})
    }


def root(saver: EventLogSaver, before: str, nth: int = 0) -> Any:
    """The config of the newest (or an older) root checkpoint from which this node is to run next."""
    return [s.config for s in app(saver, []).get_state_history(CONFIG) if s.next == (before,)][nth]


def id_of(config: Any) -> str:
    id: str = config["configurable"]["checkpoint_id"]
    return id


def in_namespace(saver: EventLogSaver, name: str) -> list[Any]:
    """The tuples of a subgraph's namespace, the newest first; it has only run once."""
    tuples = [t for t in saver.list(CONFIG) if t.config["configurable"]["checkpoint_ns"].startswith(f"{name}:")]
    assert len({t.config["configurable"]["checkpoint_ns"] for t in tuples}) == 1
    return tuples


def test_a_fork_of_the_end_has_every_checkpoint_and_write_of_every_namespace(reopen: Reopen) -> None:
    talk(reopen(), turns=2)
    saver = reopen()
    saver.fork_thread(CONFIG, "fork")
    everything = found(saver)
    assert len({ns for ns, _ in everything}) == 3
    assert found(saver, "fork") == everything
    ran: list[str] = []
    app(reopen(), ran).invoke({"said": ["more"]}, FORK)
    assert ran == ["before", "inner.first", "inner.second", "between", "again.first", "again.second"]


def test_a_fork_from_before_a_subgraph_has_nothing_of_it_and_runs_it_anew(reopen: Reopen) -> None:
    """The subgraph's checkpoints name the root checkpoint that is forked, but came after it."""
    talk(reopen())
    saver = reopen()
    point = root(saver, "inner")
    saver.fork_thread(point, "fork")
    expected = {key: said for key, said in found(saver).items() if key[0] == "" and key[1] <= id_of(point)}
    expected["", id_of(point)] = (expected["", id_of(point)][0], [])  # what inner wrote there is to be made anew
    assert found(saver, "fork") == expected
    assert found(saver)["", id_of(point)][1] != []
    ran: list[str] = []
    final = app(reopen(), ran).invoke(None, FORK)
    assert ran == ["inner.first", "inner.second", "between", "again.first", "again.second"]
    assert final["said"] == app(reopen(), []).get_state(CONFIG).values["said"]


def test_a_fork_from_after_a_subgraph_has_all_of_it_and_nothing_of_the_one_to_come(reopen: Reopen) -> None:
    talk(reopen())
    for before, left_out in (("between", {"again"}), ("again", {"again"})):
        saver = reopen()
        point = root(saver, before)
        saver.fork_thread(point, f"before {before}")
        forked = found(saver, f"before {before}")
        everything = found(saver)
        assert {ns for ns, _ in everything} - {ns for ns, _ in forked} == left_out
        inner = {key: said for key, said in everything.items() if key[0] == "inner"}
        assert {key: said for key, said in forked.items() if key[0] == "inner"} == inner != {}
        assert forked["", id_of(point)][1] == []
        assert forked.keys() - inner.keys() == {k for k in everything if k[0] == "" and k[1] <= id_of(point)}


def test_a_fork_from_the_turn_before_has_the_subgraphs_of_that_turn_only(reopen: Reopen) -> None:
    talk(reopen(), turns=2)
    saver = reopen()
    point = root(saver, "between", nth=1)
    saver.fork_thread(point, "fork")
    forked, everything = found(saver, "fork"), found(saver)
    assert {ns for ns, _ in forked} == {"", "inner"}
    inner = [key for key in everything if key[0] == "inner"]
    assert [key for key in forked if key[0] == "inner"] == [key for key in inner if key[1] <= id_of(point)]
    assert len([key for key in forked if key[0] == "inner"]) * 2 == len(inner)


def test_a_fork_from_inside_a_subgraph_ends_at_that_checkpoint_and_drops_what_was_written_from_it(
    reopen: Reopen,
) -> None:
    talk(reopen())
    saver = reopen()
    tuples = in_namespace(saver, "inner")
    for point in tuples:
        target = f"at {point.checkpoint['id']}"
        config = saver.fork_thread(point.config, target)
        assert config["configurable"] == {**point.config["configurable"], "thread_id": target}
        forked = found(saver, target)
        older = [t for t in tuples if t.checkpoint["id"] <= point.checkpoint["id"]]
        expected = {t.checkpoint["id"]: list(t.pending_writes) for t in older}
        if point is not tuples[0]:  # the last has no child; the others' own writes made the next one
            assert expected[point.checkpoint["id"]] != []
            expected[point.checkpoint["id"]] = []
        assert {id: writes for (ns, id), (_, writes) in forked.items() if ns == "inner"} == expected
        during = point.metadata["parents"][""]
        assert {id for ns, id in forked if ns == ""} == {k[1] for k in found(saver) if k[0] == "" and k[1] <= during}
        assert forked["", during][1] == []
        assert {ns for ns, _ in forked} == {"", "inner"}


def test_a_fork_from_inside_the_second_subgraph_keeps_the_first_whole(reopen: Reopen) -> None:
    talk(reopen())
    saver = reopen()
    point = in_namespace(saver, "again")[1]
    saver.fork_thread(point.config, "fork")
    forked, everything = found(saver, "fork"), found(saver)
    assert {k: v for k, v in forked.items() if k[0] == "inner"} == {
        k: v for k, v in everything.items() if k[0] == "inner"
    }
    assert {id for ns, id in forked if ns == "again"} == {
        id for ns, id in everything if ns == "again" and id <= point.checkpoint["id"]
    }


@pytest.mark.parametrize("where", ["the head", "the subgraph's head"])
def test_a_fork_of_an_interrupted_subgraph_asks_again_and_goes_on_inside_it(reopen: Reopen, where: str) -> None:
    app(reopen(), [], asking=True).invoke({"said": ["turn"]}, CONFIG)
    saver = reopen()
    everything = found(saver)
    head = CONFIG if where == "the head" else in_namespace(saver, "inner")[0].config
    saver.fork_thread(head, "fork")
    assert found(saver, "fork") == everything
    state = app(reopen(), [], asking=True).get_state(FORK, subgraphs=True)
    assert [i.value for i in state.interrupts] == ["what?"]
    assert state.tasks[0].state.next == ("second",)
    ran: list[str] = []
    app(reopen(), ran, asking=True).invoke(Command(resume="this"), FORK)
    assert ran == ["inner.second", "between", "again.first", "again.second"]
    saver = reopen()
    assert found(saver) == everything
    app(saver, [], asking=True).invoke(Command(resume="this"), CONFIG)
    states = [app(reopen(), []).get_state(config).values for config in (CONFIG, FORK)]
    assert states[0] == states[1]


def test_a_fork_from_before_an_interrupted_subgraph_starts_it_anew(reopen: Reopen) -> None:
    app(reopen(), [], asking=True).invoke({"said": ["turn"]}, CONFIG)
    saver = reopen()
    saver.fork_thread(root(saver, "before"), "fork")
    assert {ns for ns, _ in found(saver, "fork")} == {""}
    ran: list[str] = []
    app(reopen(), ran, asking=True).invoke(None, FORK)
    assert ran == ["before", "inner.first", "inner.second"]
