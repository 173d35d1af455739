"""Going back to an old checkpoint, and going on from there in another direction."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Overwrite, interrupt
from langgraph_eventlog.saver import EventLogSaver
from typing_extensions import TypedDict

CONFIG: Any = {"configurable": {"thread_id": "t"}}
Reopen = Callable[[], EventLogSaver]


class State(TypedDict):
    said: Annotated[list[str], operator.add]
    mood: str


def chain(saver: Any, ran: list[str] | None = None) -> Any:
    graph = StateGraph(State)

    def node(name: str) -> Callable[[State], dict[str, Any]]:
        def work(state: State) -> dict[str, Any]:
            if ran is not None:
                ran.append(name)
            return {"said": [f"{name} {state['mood']}"]}

        return work

    for name in "abc":
        graph.add_node(name, node(name))
    graph.add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")
    return graph.compile(checkpointer=saver)


def before(app: Any, node: str, turn: int = 0) -> Any:
    """The checkpoint, of the turns before which `node` was next, that is `turn` turns back."""
    return [s for s in app.get_state_history(CONFIG) if s.next == (node,)][turn]


def test_invoking_from_an_old_checkpoint_runs_what_came_after_it_again(reopen: Reopen) -> None:
    ran: list[str] = []
    chain(reopen(), ran).invoke({"said": [], "mood": "glad"}, CONFIG)
    ran.clear()
    app = chain(reopen(), ran)
    old = before(app, "b")
    assert app.invoke(None, old.config)["said"] == ["a glad", "b glad", "c glad"]
    assert ran == ["b", "c"]
    assert chain(reopen()).get_state(old.config).values["said"] == ["a glad"]


def test_update_state_of_an_old_checkpoint_forks_and_leaves_the_other_branch_as_it_was(reopen: Reopen) -> None:
    first = chain(reopen()).invoke({"said": [], "mood": "glad"}, CONFIG)
    app = chain(reopen())
    end, old = app.get_state(CONFIG), before(app, "b")
    fork = chain(reopen()).update_state(old.config, {"mood": "sad"})
    final = chain(reopen()).invoke(None, fork)
    assert final["said"] == ["a glad", "b sad", "c sad"]
    app = chain(reopen())
    assert app.get_state(end.config).values == first
    assert app.get_state(CONFIG).values == final
    assert app.get_state(fork).parent_config == old.config
    assert app.get_state(fork).metadata["source"] == "update"


def travelled(reopened: Callable[[], Any]) -> list[Any]:
    """Three turns, with forks of forks, replays, and an overwrite; `reopened` gives the saver for each step."""
    results = []
    for mood in ("glad", "sad", "mad"):
        results.append(chain(reopened()).invoke({"said": [f"now {mood}"], "mood": mood}, CONFIG, durability="sync"))
    for node, turn, change in [
        ("b", 1, {"mood": "odd"}),
        ("c", 0, {"said": ["inserted"]}),
        ("c", 2, None),
        ("a", 1, {"said": Overwrite(["only this"])}),
        ("b", 0, {"mood": "even"}),
    ]:
        app = chain(reopened())
        point = before(app, node, turn).config
        if change is not None:
            point = app.update_state(point, change)
        results.append(chain(reopened()).invoke(None, point, durability="sync"))
    results.append(chain(reopened()).invoke({"said": ["the end"], "mood": "calm"}, CONFIG, durability="sync"))
    return results


def test_a_tree_of_forks_is_the_tree_it_is_in_memory(reopen: Reopen, describe: Any) -> None:
    memory = InMemorySaver()
    expected, found = travelled(lambda: memory), travelled(reopen)
    assert found == expected
    histories = [describe(chain(saver).get_state_history(CONFIG)) for saver in (reopen(), memory)]
    assert histories[0] == histories[1]
    assert len(histories[0]) > 30


def test_a_tree_of_forks_survives_a_rebuild(reopen: Reopen, describe: Any) -> None:
    travelled(reopen)
    expected = describe(chain(reopen()).get_state_history(CONFIG))
    reopen().rebuild()
    assert describe(chain(reopen()).get_state_history(CONFIG)) == expected


@pytest.mark.anyio
async def test_time_travel_is_the_same_async(reopen: Reopen) -> None:
    await chain(reopen()).ainvoke({"said": [], "mood": "glad"}, CONFIG)
    app = chain(reopen())
    [old] = [s async for s in app.aget_state_history(CONFIG) if s.next == ("b",)]
    fork = await app.aupdate_state(old.config, {"mood": "sad"})
    assert (await chain(reopen()).ainvoke(None, fork))["said"] == ["a glad", "b sad", "c sad"]


def test_bulk_updates_are_one_history_as_in_memory(reopen: Reopen, describe: Any) -> None:
    from langgraph.types import StateUpdate

    updates = [
        [StateUpdate({"said": ["x"], "mood": "glad"}, "a"), StateUpdate({"said": ["y"]}, "b")],
        [StateUpdate({"said": ["z"]}, "c")],
    ]
    memory = InMemorySaver()
    for saver in (memory, reopen()):
        chain(saver).invoke({"said": [], "mood": "calm"}, CONFIG, durability="sync")
        chain(saver).bulk_update_state(CONFIG, updates)
    histories = [describe(chain(saver).get_state_history(CONFIG)) for saver in (reopen(), memory)]
    assert histories[0] == histories[1]
    assert histories[0][0]["values"]["said"][-3:] == ["x", "y", "z"]


def test_an_answer_can_be_given_again_from_the_checkpoint_that_asked(reopen: Reopen) -> None:
    """Each answer is a branch, and the earlier one stays readable."""

    def ask(state: State) -> dict[str, Any]:
        return {"said": [interrupt("which?")]}

    def app(saver: Any) -> Any:
        graph = StateGraph(State).add_node("ask", ask).add_node("then", lambda s: {"said": [s["said"][-1].upper()]})
        return graph.add_edge(START, "ask").add_edge("ask", "then").compile(checkpointer=saver)

    app(reopen()).invoke({"said": [], "mood": ""}, CONFIG)
    asked = app(reopen()).get_state(CONFIG).config
    one = app(reopen()).invoke(Command(resume="one"), CONFIG)
    end_of_one = app(reopen()).get_state(CONFIG).config
    fork = app(reopen()).update_state(asked, None, as_node="__copy__")
    app(reopen()).invoke(None, fork)
    other = app(reopen()).invoke(Command(resume="other"), CONFIG)
    assert (one["said"], other["said"]) == (["one", "ONE"], ["other", "OTHER"])
    assert app(reopen()).get_state(end_of_one).values["said"] == ["one", "ONE"]


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_history_pages_with_before_and_limit(reopen: Reopen, limit: int) -> None:
    for turn in range(8):
        chain(reopen()).invoke({"said": [], "mood": str(turn)}, CONFIG)
    app = chain(reopen())
    everything = [s.config for s in app.get_state_history(CONFIG)]
    paged: list[Any] = []
    while page := [s.config for s in app.get_state_history(CONFIG, before=paged[-1] if paged else None, limit=limit)]:
        paged += page
    assert paged == everything
    assert len(everything) == 8 * 5
