"""One saver under many tasks, threads and event loops at once; streaming."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import anyio
import pytest
from anyio import to_thread
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from langgraph_eventlog.saver import EventLogSaver
from typing_extensions import TypedDict

Reopen = Callable[[], EventLogSaver]


class State(TypedDict):
    said: Annotated[list[str], operator.add]


def thread(thread_id: Any) -> Any:
    return {"configurable": {"thread_id": thread_id}}


def build(saver: Any, asking: bool = False) -> Any:
    def node(name: str) -> Callable[[State], dict[str, Any]]:
        return lambda state: {"said": [f"{name} {state['said'][0]} {len(state['said'])}"]}

    graph = StateGraph(State).add_node("a", node("a")).add_node("b", node("b")).add_node("c", node("c"))
    graph.add_edge(START, "a").add_edge(START, "b").add_edge("a", "c")
    if asking:
        graph.add_node("ask", lambda state: {"said": [interrupt("?")]}).add_edge("c", "ask")
    return graph.compile(checkpointer=saver)


def expected(thread_id: Any, turns: int) -> list[str]:
    app = build(InMemorySaver())
    for _ in range(turns):
        values = app.invoke({"said": [str(thread_id)]}, thread(thread_id))
    return values["said"]


@pytest.mark.anyio
async def test_fifty_threads_gathered_on_one_saver_do_not_mix(reopen: Reopen) -> None:
    app = build(reopen())
    for _ in range(2):
        results = await asyncio.gather(*(app.ainvoke({"said": [str(n)]}, thread(n)) for n in range(50)))
    assert [r["said"] for r in results] == [expected(n, 2) for n in range(50)]
    saver = reopen()
    states = await asyncio.gather(*(build(saver).aget_state(thread(n)) for n in range(50)))
    assert [s.values["said"] for s in states] == [expected(n, 2) for n in range(50)]
    assert len(list(saver.threads())) == 50


@pytest.mark.anyio
async def test_fifty_interrupted_threads_resume_together(reopen: Reopen) -> None:
    app = build(reopen(), asking=True)
    await asyncio.gather(*(app.ainvoke({"said": [str(n)]}, thread(n)) for n in range(50)))
    app = build(reopen(), asking=True)
    finals = await asyncio.gather(*(app.ainvoke(Command(resume=f"answer {n}"), thread(n)) for n in range(50)))
    assert [final["said"][-1] for final in finals] == [f"answer {n}" for n in range(50)]


def test_eight_os_threads_of_five_invocations_each_on_one_saver(reopen: Reopen) -> None:
    app = build(reopen())

    def converse(n: int) -> list[str]:
        for _ in range(5):
            values = app.invoke({"said": [str(n)]}, thread(n))
        said: list[str] = values["said"]
        return said

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(converse, range(8)))
    assert results == [expected(n, 5) for n in range(8)]
    app = build(reopen())
    assert [app.get_state(thread(n)).values["said"] for n in range(8)] == results
    assert [len(list(app.get_state_history(thread(n)))) for n in range(8)] == [20] * 8


def test_eight_os_threads_each_with_an_event_loop_of_its_own_on_one_saver(reopen: Reopen) -> None:
    app = build(reopen())

    async def converse(n: int) -> list[str]:
        for _ in range(2):
            values = await app.ainvoke({"said": [str(n)]}, thread(n))
        said: list[str] = values["said"]
        return said

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: asyncio.run(converse(n)), range(8)))
    assert results == [expected(n, 2) for n in range(8)]


def test_two_savers_on_one_file_take_turns_on_one_thread(make_saver: Any) -> None:
    """As two processes would: neither may go on from what it remembers."""
    apps = [build(make_saver()), build(make_saver())]
    for turn in range(6):
        final = apps[turn % 2].invoke({"said": ["t"]}, thread("t"))
    assert final["said"] == expected("t", 6)
    assert apps[0].get_state(thread("t")).values == apps[1].get_state(thread("t")).values


def test_under_trio_the_saver_serves_a_graph_that_runs_in_a_worker_thread(reopen: Reopen) -> None:
    """LangGraph's own async methods are asyncio's alone; the saver's are not."""

    async def main() -> None:
        app = build(reopen(), asking=True)
        await to_thread.run_sync(app.invoke, {"said": ["t"]}, thread("t"))
        saver = reopen()
        found = await saver.aget_tuple(thread("t"))
        assert found is not None
        assert "__interrupt__" in {channel for _, channel, _ in found.pending_writes or ()}
        config = await saver.afork_thread(found.config, "fork")
        await saver.aprune(["t"])
        app = build(reopen(), asking=True)
        finals: dict[str, Any] = {}

        async def resume(name: str) -> None:
            finals[name] = await to_thread.run_sync(app.invoke, Command(resume=name), thread(name))

        async with anyio.create_task_group() as group:
            group.start_soon(resume, "t")
            group.start_soon(resume, "fork")
        assert {name: final["said"][-1] for name, final in finals.items()} == {"t": "t", "fork": "fork"}
        saver = reopen()
        steps = [t.metadata["step"] async for t in saver.alist(thread("fork"))]
        assert steps == [3, 2, 1, 0, -1]
        assert [info.thread_id async for info in saver.athreads()].count("fork") == 1
        assert config["configurable"]["thread_id"] == "fork"

    anyio.run(main, backend="trio")


STREAMS: list[Any] = ["values", "updates", "debug", "tasks", "checkpoints"]


def told(parts: list[Any]) -> list[Any]:
    """What a stream said, without ids and times, and without which of two parallel tasks was first."""
    told: list[Any] = []
    for mode, part in parts:
        if mode in ("values", "updates"):
            told.append((mode, part))
        elif mode == "checkpoints":
            told.append((mode, part["values"], part["next"], part["metadata"]["step"]))
        elif mode == "tasks":
            told.append((mode, part["name"], part.get("input"), part.get("result")))
        else:
            told.append((mode, part["type"], part["step"]))
    parallel = ("updates", "tasks")
    return [part for part in told if part[0] not in parallel] + sorted((p for p in told if p[0] in parallel), key=repr)


def test_stream_says_what_it_says_in_memory(reopen: Reopen) -> None:
    memory = InMemorySaver()
    for _ in range(2):
        results = [
            told(list(build(saver).stream({"said": ["t"]}, thread("t"), stream_mode=STREAMS, durability="sync")))
            for saver in (reopen(), memory)
        ]
        assert results[0] == results[1]
        assert {part[0] for part in results[0]} == set(STREAMS)


@pytest.mark.anyio
async def test_astream_says_what_it_says_in_memory(reopen: Reopen) -> None:
    memory = InMemorySaver()
    for _ in range(2):
        results = []
        for saver in (reopen(), memory):
            stream = build(saver).astream({"said": ["t"]}, thread("t"), stream_mode=STREAMS, durability="sync")
            results.append(told([part async for part in stream]))
        assert results[0] == results[1]


@pytest.mark.parametrize("taken", [1, 2, 3])
def test_a_run_whose_stream_was_dropped_half_way_goes_on_from_where_it_was(reopen: Reopen, taken: int) -> None:
    results = []
    memory = InMemorySaver()
    for saver in (reopen, lambda: memory):
        stream = build(saver()).stream({"said": ["t"]}, thread("t"), stream_mode="values", durability="sync")
        for _ in range(taken):
            next(stream)
        stream.close()
        build(saver()).invoke(None, thread("t"))
        results.append(build(saver()).get_state(thread("t")).values)
    assert results[0] == results[1]


def test_a_node_may_read_its_own_history_through_the_saver_while_the_graph_runs(reopen: Reopen) -> None:
    saver = reopen()

    def look(state: State) -> dict[str, Any]:
        return {"said": [str([t.metadata["step"] for t in saver.list(thread("t"))])]}

    graph = StateGraph(State).add_node("look", look).add_node("again", look)
    app = graph.add_edge(START, "look").add_edge("look", "again").compile(checkpointer=saver)
    final = app.invoke({"said": []}, thread("t"), durability="sync")
    assert final["said"] == ["[0, -1]", "[1, 0, -1]"]
