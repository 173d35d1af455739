"""Which checkpoints a prune or a deletion of runs says are gone, and which it hides: exactly, for real graphs.

Hiding too many would be right to read, but nothing would ever become smaller. Annotations are not postponed here:
LangGraph evaluates them, and cannot see a local `frequency`.
"""

from collections.abc import Iterable
from typing import Annotated, Any

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from langgraph_eventlog.eventlog import DeleteForRuns, Kind, Prune, Removal
from langgraph_eventlog.saver import EventLogSaver
from typing_extensions import TypedDict

CONFIG: Any = {"configurable": {"thread_id": "t"}}
Removed = dict[str, tuple[set[str], set[str]]]


def joined(state: list[str], writes: Iterable[list[str]]) -> list[str]:
    return [*state, *(item for write in writes for item in write)]


def plain_app(saver: EventLogSaver, asking: bool = False) -> Any:
    """No delta channel; but branches, a conditional edge and a subgraph, whose channels come and go at each step."""

    class State(TypedDict):
        said: Annotated[list[str], lambda old, new: old + new]

    def node(name: str) -> Any:
        return lambda _: {"said": [name]}

    def ask(_: State) -> dict[str, Any]:
        return {"said": [interrupt("what?") if asking else "answered"]}

    inner = StateGraph(State).add_node("first", node("first")).add_node("ask", ask)
    inner.add_edge(START, "first").add_edge("first", "ask")
    graph = StateGraph(State).add_node("inner", inner.compile())
    for name in ("left", "right", "end"):
        graph.add_node(name, node(name))
    graph.add_edge(START, "left").add_edge(START, "right").add_edge(["left", "right"], "inner")
    graph.add_conditional_edges("inner", lambda _: "end", ["end"])
    return graph.compile(checkpointer=saver)


def delta_app(saver: EventLogSaver, frequency: int) -> Any:
    """One delta channel, written at every step."""

    class State(TypedDict):
        log: Annotated[list[str], DeltaChannel(joined, snapshot_frequency=frequency)]

    graph = StateGraph(State).add_node("one", lambda _: {"log": ["one"]}).add_node("two", lambda _: {"log": ["two"]})
    return graph.add_edge(START, "one").add_edge("one", "two").compile(checkpointer=saver)


def turn(app: Any, given: dict[str, Any], run: str) -> None:
    # A run of its own for each turn: LangGraph takes a second one under the same id for a resumption.
    app.invoke(given, {**CONFIG, "metadata": {"run_id": run}}, durability="sync")


def listed(saver: EventLogSaver) -> dict[str, dict[str, CheckpointTuple]]:
    """What is to be seen of the thread, by namespace and id."""
    found: dict[str, dict[str, CheckpointTuple]] = {}
    for one in saver.list(CONFIG):
        found.setdefault(one.config["configurable"]["checkpoint_ns"], {})[one.checkpoint["id"]] = one
    return found


def said(saver: EventLogSaver) -> Removed:
    """What the newest event says is (removed, hidden), by namespace."""
    newest = [event.data for event in saver.log.read(kinds=[Kind.PRUNE, Kind.DELETE_FOR_RUNS])][-1]
    assert isinstance(newest, Prune | DeleteForRuns)
    assert all(isinstance(removal, Removal) and removal.thread_id == "t" for removal in newest.removals)
    return {removal.checkpoint_ns: (set(removal.removed), set(removal.hidden)) for removal in newest.removals}


def needed(tuples: dict[str, CheckpointTuple], survivors: Iterable[str]) -> set[str]:
    """The ancestors that the channel `log` of the survivors is rebuilt from: back to the first that holds a value."""
    found = set()
    for survivor in survivors:
        one: CheckpointTuple | None = tuples[survivor]
        if "log" not in tuples[survivor].checkpoint["channel_versions"]:
            continue
        while one is not None and "log" not in one.checkpoint["channel_values"]:
            parent = (one.parent_config or {}).get("configurable", {}).get("checkpoint_id")
            one = None if parent is None else tuples[parent]
            found |= set() if parent is None else {parent}
    return found - set(survivors)


@pytest.mark.parametrize("asking", [False, True])
def test_without_delta_channels_a_prune_removes_all_but_the_latest_and_hides_nothing(
    saver: EventLogSaver, asking: bool
) -> None:
    for n in range(2):
        turn(plain_app(saver, asking and n == 1), {"said": [f"turn {n}"]}, f"r{n}")
    before = listed(saver)
    assert len(before) == 3  # the root, and a subgraph that ran twice
    saver.prune(["t"])
    expected = {ns: (set(ids) - {max(ids)}, set[str]()) for ns, ids in before.items() if len(ids) > 1}
    assert said(saver) == expected
    assert {ns: set(ids) for ns, ids in listed(saver).items()} == {ns: {max(ids)} for ns, ids in before.items()}
    head = saver.log.head()
    saver.prune(["t"])
    assert saver.log.head() == head  # nothing is left to be removed, so nothing is appended


@pytest.mark.parametrize("run", ["r0", "r1", "r2"])
def test_without_delta_channels_deleting_a_run_removes_all_of_it_and_hides_nothing(
    saver: EventLogSaver, run: str
) -> None:
    for n in range(3):
        turn(plain_app(saver), {"said": [f"turn {n}"]}, f"r{n}")
    doomed = {
        ns: {id for id, one in ids.items() if one.metadata.get("run_id") == run} for ns, ids in listed(saver).items()
    }
    saver.delete_for_runs([run])
    assert said(saver) == {ns: (ids, set[str]()) for ns, ids in doomed.items() if ids}
    assert len(said(saver)) == 2


@pytest.mark.parametrize("frequency", [2, 4, 100])
def test_a_prune_hides_what_a_delta_channel_is_rebuilt_from_and_a_later_one_removes_it(
    saver: EventLogSaver, frequency: int
) -> None:
    hidden: set[str] = set()
    tuples: dict[str, CheckpointTuple] = {}
    freed = 0
    for n in range(8):
        turn(delta_app(saver, frequency), {"log": [f"turn {n}"]}, f"r{n}")
        seen = listed(saver)[""]
        tuples |= seen
        latest = max(seen)
        going = (set(seen) | hidden) - {latest}
        kept = needed(tuples, [latest])
        saver.prune(["t"])
        assert said(saver) == {"": (going - kept, kept - hidden)}
        freed += len(hidden - kept)
        hidden = kept
        assert set(listed(saver)[""]) == {latest}
    assert (freed > 0) == (frequency < 100)
    assert (len(hidden) == len(tuples) - 1) == (frequency == 100)


@pytest.mark.parametrize("frequency", [3, 4, 100])
@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 3, 2, 1), (2, 1, 4, 3)])
def test_deleting_runs_hides_what_is_needed_and_removes_what_was_hidden_and_no_longer_is(
    saver: EventLogSaver, frequency: int, order: tuple[int, ...]
) -> None:
    for n in range(6):
        turn(delta_app(saver, frequency), {"log": [f"turn {n}"]}, f"r{n}")
    tuples = listed(saver)[""]
    survivors, hidden = set(tuples), set[str]()
    for n in order:
        doomed = {id for id in survivors if tuples[id].metadata.get("run_id") == f"r{n}"}
        survivors -= doomed
        kept = needed(tuples, survivors)
        saver.delete_for_runs([f"r{n}"])
        assert said(saver) == {"": ((doomed | hidden) - kept, (doomed & kept) - hidden)}
        hidden = (doomed | hidden) & kept
        assert set(listed(saver)[""]) == survivors
