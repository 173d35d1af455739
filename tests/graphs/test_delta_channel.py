"""DeltaChannel: state that is in no checkpoint, but in the writes since a snapshot. Losing one loses state silently.

Annotations are not postponed here: LangGraph evaluates them, and cannot see a local `frequency`.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Overwrite, interrupt
from langgraph_eventlog.saver import EventLogSaver
from typing_extensions import TypedDict

Reopen = Callable[[], EventLogSaver]
FREQUENCIES = [1, 3, 100]


def thread(thread_id: str = "t", **more: Any) -> Any:
    return {"configurable": {"thread_id": thread_id}, **more}


def joined(state: list[str], writes: Sequence[list[str]]) -> list[str]:
    return [*state, *(item for write in writes for item in write)]


def app(saver: Any, frequency: int, asking: bool = False) -> Any:
    """Two steps, the first of two branches, over a delta channel, one that only the input writes, and a plain one."""

    class State(TypedDict):
        log: Annotated[list[str], DeltaChannel(joined, snapshot_frequency=frequency)]
        rare: Annotated[list[str], DeltaChannel(joined, snapshot_frequency=frequency)]
        turn: int

    def left(state: State) -> dict[str, Any]:
        return {"log": [f"left {state['turn']}"]}

    def right(state: State) -> dict[str, Any]:
        return {"log": [f"right {interrupt('which?') if asking else state['turn']}"]}

    def end(state: State) -> dict[str, Any]:
        return {"log": [f"end of {len(state['log'])}, {len(state['rare'])} rare"]}

    graph = StateGraph(State).add_node("left", left).add_node("right", right).add_node("end", end)
    graph.add_edge(START, "left").add_edge(START, "right").add_edge(["left", "right"], "end")
    return graph.compile(checkpointer=saver)


def talk(saver: Callable[[], Any], frequency: int, turns: int, config: Any = None, first: int = 0) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for turn in range(first, first + turns):
        given = {"log": [f"turn {turn}"], "turn": turn, **({"rare": [f"rare {turn}"]} if turn % 4 == 0 else {})}
        values = app(saver(), frequency).invoke(given, config or thread(), durability="sync")
    return values


@pytest.fixture(params=FREQUENCIES)
def frequency(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


def test_delta_state_and_its_history_are_what_they_are_in_memory(reopen: Reopen, frequency: int, describe: Any) -> None:
    memory = InMemorySaver()
    assert talk(reopen, frequency, 5) == talk(lambda: memory, frequency, 5)
    found, expected = [describe(app(saver, frequency).get_state_history(thread())) for saver in (reopen(), memory)]
    assert found == expected
    assert found[0]["values"]["log"][-1] == "end of 19, 2 rare"


@pytest.mark.anyio
async def test_delta_state_is_the_same_async(reopen: Reopen, frequency: int, describe: Any) -> None:
    talk(reopen, frequency, 2)
    memory = InMemorySaver()
    talk(lambda: memory, frequency, 2)
    results = []
    for saver in (reopen(), memory):
        given = {"log": ["async"], "turn": 7}
        final = await app(saver, frequency).ainvoke(given, thread(), durability="sync")
        results.append((final, describe([s async for s in app(saver, frequency).aget_state_history(thread())])))
    assert results[0] == results[1]


def test_update_state_appends_to_and_overwrites_delta_state(reopen: Reopen, frequency: int) -> None:
    memory = InMemorySaver()
    finals = []
    for saver in (reopen, lambda: memory):
        talk(saver, frequency, 3)
        app(saver(), frequency).update_state(thread(), {"log": ["by hand"]}, as_node="end")
        finals.append([talk(saver, frequency, 2, first=3)])
        app(saver(), frequency).update_state(thread(), {"log": Overwrite(["anew"])}, as_node="end")
        finals[-1].append(talk(saver, frequency, 2, first=5))
    assert finals[0] == finals[1]
    assert "by hand" in finals[0][0]["log"]
    assert finals[0][1]["log"][:2] == ["anew", "turn 5"]


def test_a_fork_of_delta_state_has_what_was_written_up_to_there_and_no_more(reopen: Reopen, frequency: int) -> None:
    talk(reopen, frequency, 4)
    middle = [s for s in app(reopen(), frequency).get_state_history(thread()) if s.next == ("end",)][2]
    fork = app(reopen(), frequency).update_state(middle.config, {"log": ["forked"]}, as_node="end")
    assert app(reopen(), frequency).get_state(fork).values["log"] == [*middle.values["log"], "forked"]
    assert "turn 2" not in talk(reopen, frequency, 1, fork, first=9)["log"]


@pytest.mark.parametrize("prunes", [1, 2])
def test_prune_keeps_what_delta_state_is_rebuilt_from(reopen: Reopen, frequency: int, prunes: int) -> None:
    talk(reopen, frequency, 4)
    expected = app(reopen(), frequency).get_state(thread())
    for _ in range(prunes):
        reopen().prune(["t"], strategy="keep_latest")
    [only] = app(reopen(), frequency).get_state_history(thread())
    assert (only.config, only.values) == (expected.config, expected.values)
    unpruned = talk(InMemoryOnce(), frequency, 6)
    assert talk(reopen, frequency, 2, first=4) == unpruned


class InMemoryOnce:
    """Gives one in-memory saver, again and again."""

    def __init__(self) -> None:
        self._saver = InMemorySaver()

    def __call__(self) -> InMemorySaver:
        return self._saver


def test_prune_and_rebuild_after_each_turn_lose_nothing_over_a_long_conversation(
    reopen: Reopen, frequency: int
) -> None:
    memory = InMemoryOnce()
    for turn in range(9):
        expected = talk(memory, frequency, 1, first=turn)
        assert talk(reopen, frequency, 1, first=turn) == expected
        saver = reopen()
        saver.prune(["t"])
        saver.rebuild()
    assert app(reopen(), frequency).get_state(thread()).values == expected


@pytest.mark.parametrize("run", ["one", "two", "three"])
def test_deleting_a_run_leaves_the_delta_state_of_the_runs_after_it(reopen: Reopen, frequency: int, run: str) -> None:
    for turn, name in enumerate(("one", "two", "three", "four", "five")):
        talk(reopen, frequency, 1, thread(metadata={"run_id": name}), first=turn)
    before = list(app(reopen(), frequency).get_state_history(thread()))
    reopen().delete_for_runs([run])
    after = list(app(reopen(), frequency).get_state_history(thread()))
    surviving = [s for s in before if s.metadata["run_id"] != run]
    assert [(s.config, s.values) for s in after] == [(s.config, s.values) for s in surviving]
    assert len(after) < len(before)
    assert talk(reopen, frequency, 1, first=5) == talk(InMemoryOnce(), frequency, 6)


def test_deleting_runs_one_after_another_leaves_the_last_whole(reopen: Reopen, frequency: int) -> None:
    for turn in range(5):
        talk(reopen, frequency, 1, thread(metadata={"run_id": f"run {turn}"}), first=turn)
    expected = app(reopen(), frequency).get_state(thread())
    for turn in (2, 0, 3, 1):
        reopen().delete_for_runs([f"run {turn}"])
        assert app(reopen(), frequency).get_state(thread()).values == expected.values
    assert {s.metadata["run_id"] for s in app(reopen(), frequency).get_state_history(thread())} == {"run 4"}


@pytest.mark.parametrize("removed", ["source", "target", "source pruned"])
def test_a_copied_thread_has_its_delta_state_whatever_becomes_of_the_other(
    reopen: Reopen, frequency: int, removed: str
) -> None:
    talk(reopen, frequency, 3)
    before = list(app(reopen(), frequency).get_state_history(thread()))
    reopen().copy_thread("t", "copy")
    if removed == "source pruned":
        reopen().prune(["t"])
    else:
        reopen().delete_thread("t" if removed == "source" else "copy")
    left = "t" if removed == "target" else "copy"
    after = list(app(reopen(), frequency).get_state_history(thread(left)))
    assert [s.values for s in after] == [s.values for s in before]
    assert talk(reopen, frequency, 2, thread(left), first=3) == talk(InMemoryOnce(), frequency, 5)


def test_a_forked_thread_goes_on_from_its_delta_state(reopen: Reopen, frequency: int) -> None:
    talk(reopen, frequency, 4)
    ends = [s for s in app(reopen(), frequency).get_state_history(thread()) if not s.next]
    assert len(ends) == 4
    reopen().fork_thread(ends[2].config, "fork")
    reopen().delete_thread("t")
    assert app(reopen(), frequency).get_state(thread("fork")).values == ends[2].values
    assert talk(reopen, frequency, 3, thread("fork"), first=2) == talk(InMemoryOnce(), frequency, 5)


def test_an_interrupted_step_over_delta_state_resumes_after_a_prune(reopen: Reopen, frequency: int) -> None:
    talk(reopen, frequency, 2)
    app(reopen(), frequency, asking=True).invoke({"log": ["turn 2"], "turn": 2}, thread())
    reopen().prune(["t"])
    final = app(reopen(), frequency, asking=True).invoke(Command(resume="this"), thread())
    assert final["log"][-4:] == ["turn 2", "left 2", "right this", "end of 11, 1 rare"]
    assert len(final["log"]) == 12


def test_a_thread_that_began_with_a_plain_reducer_goes_on_as_a_delta_channel(reopen: Reopen) -> None:
    class Old(TypedDict):
        log: Annotated[list[str], lambda old, new: old + new]

    class New(TypedDict):
        log: Annotated[list[str], DeltaChannel(joined)]

    def build(schema: Any, saver: Any) -> Any:
        graph = StateGraph(schema).add_node("node", lambda state: {"log": [f"after {len(state['log'])}"]})
        return graph.add_edge(START, "node").compile(checkpointer=saver)

    for schema in (Old, Old, New, New):
        final = build(schema, reopen()).invoke({"log": ["turn"]}, thread())
    reopen().prune(["t"])
    assert build(New, reopen()).get_state(thread()).values == final
    assert final["log"] == ["turn", "after 1", "turn", "after 3", "turn", "after 5", "turn", "after 7"]


def test_a_pruned_thread_goes_on_when_a_copy_that_shares_its_records_is_pruned_away(
    reopen: Reopen, frequency: int
) -> None:
    talk(reopen, frequency, 3)
    reopen().copy_thread("t", "copy")
    reopen().prune(["t", "copy"])
    reopen().prune(["copy"], strategy="delete")
    assert talk(reopen, frequency, 1, first=3) == talk(InMemoryOnce(), frequency, 4)
