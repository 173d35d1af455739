"""What a run's config says of it is stored with its checkpoints, and finds them again."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph_eventlog.saver import EventLogSaver
from typing_extensions import TypedDict

Reopen = Callable[[], EventLogSaver]


class State(TypedDict):
    said: Annotated[list[str], operator.add]


def build(saver: Any) -> Any:
    inner = StateGraph(State).add_node("deep", lambda s: {"said": ["deep"]}).add_edge(START, "deep").compile()
    graph = StateGraph(State).add_node("a", lambda s: {"said": ["a"]}).add_node("inner", inner)
    return graph.add_edge(START, "a").add_edge("a", "inner").compile(checkpointer=saver)


def run(saver: Any, thread_id: str, run_id: str, user: Any, **configurable: Any) -> None:
    config: Any = {
        "configurable": {"thread_id": thread_id, **configurable},
        "metadata": {"run_id": run_id, "user": user},
        "tags": ["tagged"],
    }
    build(saver).invoke({"said": []}, config, durability="sync")


def runs(saver: Callable[[], Any]) -> None:
    run(saver(), "t", "r1", "ada")
    run(saver(), "t", "r2", "bob", tier=3)
    run(saver(), "u", "r3", "ada", **{"user-group": "x"})
    run(saver(), "u", "r4", None)


FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({"run_id": "r1"}, {"r1"}),
    ({"user": "ada"}, {"r1", "r3"}),
    ({"user": "ada", "step": 1}, {"r1", "r3"}),
    ({"user": "ada", "run_id": "r2"}, set()),
    ({"user": None}, {"r4"}),
    ({"source": "input"}, {"r1", "r2", "r3", "r4"}),
    ({"source": "loop", "step": 4}, {"r2", "r4"}),
    ({"step": -1}, {"r1", "r2", "r3", "r4"}),
    ({"user": "nobody"}, set()),
    ({"tier": 3}, {"r2"}),
    ({"tier": "3"}, set()),
    ({"user-group": "x"}, {"r3"}),
    ({"parents": {}, "user": "bob"}, {"r2"}),
    ({}, {"r1", "r2", "r3", "r4"}),
]


def test_runs_are_found_by_what_their_config_said(reopen: Reopen) -> None:
    memory = InMemorySaver()
    runs(lambda: memory)
    runs(reopen)
    saver = reopen()

    def found(saver: Any, config: Any, filter: dict[str, Any]) -> list[tuple[Any, ...]]:
        return sorted(
            (t.config["configurable"]["thread_id"], t.metadata["run_id"], t.metadata["step"], t.metadata["source"])
            for t in saver.list(config, filter=filter)
        )

    configs: list[Any] = [
        None,
        {"configurable": {"thread_id": "t"}},
        {"configurable": {"thread_id": "u", "checkpoint_ns": ""}},
    ]
    for filter, run_ids in FILTERS:
        assert {run_id for _, run_id, *_ in found(saver, None, filter)} == run_ids, filter
        for config in configs:
            assert found(saver, config, filter) == found(memory, config, filter), (filter, config)


@pytest.mark.anyio
async def test_runs_are_found_by_what_their_config_said_async(reopen: Reopen) -> None:
    runs(reopen)
    found = [t async for t in reopen().alist(None, filter={"user": "ada"})]
    assert {t.metadata["run_id"] for t in found} == {"r1", "r3"}


def test_the_metadata_of_a_snapshot_is_what_it_is_in_memory(reopen: Reopen) -> None:
    memory = InMemorySaver()
    runs(lambda: memory)
    runs(reopen)
    for name in ("t", "u"):
        config: Any = {"configurable": {"thread_id": name}}
        found, expected = [
            [{k: v for k, v in s.metadata.items() if k != "parents"} for s in build(saver).get_state_history(config)]
            for saver in (reopen(), memory)
        ]
        assert found == expected


def test_a_run_is_deleted_by_the_id_its_config_gave_it_subgraphs_included(reopen: Reopen) -> None:
    runs(reopen)
    everything = {t.metadata["run_id"] for t in reopen().list(None)}
    namespaces = {t.config["configurable"]["checkpoint_ns"] for t in reopen().list(None, filter={"run_id": "r2"})}
    assert (everything, len(namespaces)) == ({"r1", "r2", "r3", "r4"}, 2)
    reopen().delete_for_runs(["r2", "r4"])
    assert {t.metadata["run_id"] for t in reopen().list(None)} == {"r1", "r3"}
    assert build(reopen()).get_state({"configurable": {"thread_id": "t"}}).values["said"] == ["a", "a", "deep"]
    run(reopen(), "t", "r5", "eve")
    assert {t.metadata["run_id"] for t in reopen().list(None)} == {"r1", "r3", "r5"}


def test_a_run_id_given_as_langchain_gives_it_is_found(reopen: Reopen) -> None:
    """`config["run_id"]`, a UUID, is what tracers use; LangGraph stores what is in the metadata."""
    run_id = UUID(int=7)
    config: Any = {"configurable": {"thread_id": "t"}, "run_id": run_id, "metadata": {"run_id": str(run_id)}}
    build(reopen()).invoke({"said": []}, config)
    saver = reopen()
    assert len(list(saver.list(None, filter={"run_id": str(run_id)}))) > 3
    saver.delete_for_runs([str(run_id)])
    assert list(saver.list(None)) == []
