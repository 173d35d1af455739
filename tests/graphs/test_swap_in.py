"""EventLogSaver in the place of SqliteSaver and AsyncSqliteSaver: the same program, results and history."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Send, interrupt
from langgraph_eventlog.saver import EventLogSaver
from typing_extensions import TypedDict


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    notes: Annotated[list[str], operator.add]
    turn: int


def build(saver: Any) -> Any:
    """A chat with branches, a fan-out, a subgraph that asks, and private notes."""

    def answer(state: State) -> dict[str, Any]:
        last = state["messages"][-1]
        return {
            "messages": [AIMessage(f"you said {last.content}", id=f"ai-{len(state['messages'])}")],
            "turn": state["turn"] + 1,
        }

    def ask(state: State) -> dict[str, Any]:
        return {"notes": [f"person {interrupt({'turn': state['turn']})}"]}

    inner = StateGraph(State).add_node("ask", ask).add_node("after", lambda s: {"notes": ["after"]})
    inner.add_edge(START, "ask").add_edge("ask", "after")
    graph = StateGraph(State).add_node("answer", answer).add_node("inner", inner.compile())
    graph.add_node("note", lambda s: {"notes": ["noted"]}).add_node("piece", lambda s: {"notes": [f"piece {s['n']}"]})
    graph.add_edge(START, "answer").add_edge("answer", "inner").add_edge("answer", "note")
    graph.add_conditional_edges("inner", lambda s: [Send("piece", {"n": n}) for n in range(11)], ["piece"])
    return graph.compile(checkpointer=saver)


def config(name: str) -> Any:
    return {"configurable": {"thread_id": name}, "metadata": {"user": f"user of {name}"}}


def said(text: str) -> dict[str, Any]:
    return {"messages": [HumanMessage(text, id=f"human {text}")], "turn": 0, "notes": []}


def shown(result: dict[str, Any]) -> dict[str, Any]:
    shown = {k: v for k, v in result.items() if k != "__interrupt__"}
    shown["asked"] = [i.value for i in result.get("__interrupt__", ())]
    return shown


def listed(tuples: list[Any]) -> list[Any]:
    """Describe the saver's own list: everything that is not an id or a time."""
    place = {t.config["configurable"]["checkpoint_id"]: i for i, t in enumerate(tuples)}
    described = []
    for t in tuples:
        parent = (t.parent_config or {}).get("configurable", {}).get("checkpoint_id")
        described.append(
            {
                "thread": t.config["configurable"]["thread_id"],
                "ns": [part.split(":")[0] for part in t.config["configurable"]["checkpoint_ns"].split("|")],
                "keys": sorted(t.config["configurable"]),
                "metadata": {k: v for k, v in t.metadata.items() if k != "parents"},
                "parents": {ns: place.get(i) for ns, i in t.metadata["parents"].items()},
                # Interrupts have an id, which is made of a task's
                "values": {k: v for k, v in t.checkpoint["channel_values"].items() if not k.startswith("__")},
                "versions": {k: str(v).split(".")[0] for k, v in t.checkpoint["channel_versions"].items()},
                "seen": sorted(t.checkpoint["versions_seen"]),
                "updated": t.checkpoint["updated_channels"],
                "parent": None if parent is None else place.get(parent),
                "writes": sorted(
                    (channel, None if channel == "__interrupt__" else repr(value))
                    for _, channel, value in t.pending_writes
                ),
            }
        )
    return described


def program(x: Any, path: str, describe: Callable[..., Any]) -> list[Any]:
    """What an application does, opening its saver anew for each part, as the README of the official saver has it."""
    out: list[Any] = []
    for turn in range(2):
        with x.from_conn_string(path) as saver:
            saver.setup()
            app = build(saver)
            out.append(shown(app.invoke(said(f"hello {turn}"), config("t"), durability="sync")))
            out.append(describe([app.get_state(config("t"), subgraphs=True)]))
        with x.from_conn_string(path) as saver:
            out.append(shown(build(saver).invoke(Command(resume=f"yes {turn}"), config("t"), durability="sync")))
    with x.from_conn_string(path) as saver:
        app = build(saver)
        out += [describe(app.get_state_history(config("t")))]
        old = next(s for s in app.get_state_history(config("t")) if s.next == ("answer",))
        fork = app.update_state(old.config, {"notes": ["forked"]})
        out.append(shown(app.invoke(None, fork, durability="sync")))
        resumed = app.stream(Command(resume="fork"), config("t"), stream_mode="updates", durability="sync")
        out.append(sorted(resumed, key=repr))  # parallel tasks: each says it is done when it is
        app.invoke(said("other"), config("u"), durability="sync")
    with x.from_conn_string(path) as saver:
        out += [listed(list(saver.list(c))) for c in (None, config("t"), config("u"))]
        out += [listed([t])[0]["values"] for t in saver.list(None, filter={"user": "user of u"}, limit=2)]
        root = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        steps = list(saver.list(root, filter={"source": "loop"}))
        out.append([t.metadata["step"] for t in saver.list(root, before=steps[2].config, limit=4)])
        saver.delete_thread("t")
        out.append([saver.get_tuple(config("t")), saver.get(config("t")), list(saver.list(config("t")))])
        out.append(shown(build(saver).invoke(said("anew"), config("t"), durability="sync")))
    with x.from_conn_string(path) as saver:
        out.append(functional(saver))
    return out


async def async_program(x: Any, path: str, describe: Callable[..., Any]) -> list[Any]:
    """The same, async."""
    out: list[Any] = []
    for turn in range(2):
        async with x.from_conn_string(path) as saver:
            await saver.setup() if x is AsyncSqliteSaver else saver.setup()
            app = build(saver)
            out.append(shown(await app.ainvoke(said(f"hello {turn}"), config("t"), durability="sync")))
            out.append(describe([await app.aget_state(config("t"), subgraphs=True)]))
        async with x.from_conn_string(path) as saver:
            out.append(shown(await build(saver).ainvoke(Command(resume=f"yes {turn}"), config("t"), durability="sync")))
    async with x.from_conn_string(path) as saver:
        app = build(saver)
        history = [s async for s in app.aget_state_history(config("t"))]
        out.append(describe(history))
        old = next(s for s in history if s.next == ("answer",))
        fork = await app.aupdate_state(old.config, {"notes": ["forked"]})
        out.append(shown(await app.ainvoke(None, fork, durability="sync")))
        resumed = app.astream(Command(resume="fork"), config("t"), stream_mode="updates", durability="sync")
        out.append(sorted([part async for part in resumed], key=repr))
        await app.ainvoke(said("other"), config("u"), durability="sync")
    async with x.from_conn_string(path) as saver:
        out += [listed([t async for t in saver.alist(c)]) for c in (None, config("t"), config("u"))]
        out.append([t.metadata["step"] async for t in saver.alist(None, filter={"user": "user of u"}, limit=2)])
        await saver.adelete_thread("t")
        out.append([await saver.aget_tuple(config("t")), [t async for t in saver.alist(config("t"))]])
        out.append(shown(await build(saver).ainvoke(said("anew"), config("t"), durability="sync")))
    return out


def functional(saver: Any) -> list[Any]:
    @task
    def double(number: int) -> int:
        return 2 * number

    @entrypoint(checkpointer=saver)
    def work(numbers: list[int], *, previous: Any = None) -> Any:
        doubled = [f.result() for f in [double(n) for n in numbers]]
        return {"doubled": doubled, "answer": interrupt("ok?"), "before": previous and previous["answer"]}

    where = config("functional")
    results = [work.invoke(given, where) for given in ([1, 2], Command(resume="yes"), [3], Command(resume="no"))]
    return [shown(result) for result in results]


def test_a_program_written_for_sqlite_saver_gives_the_same_with_ours(
    tmp_path: Path, make_saver: Any, describe: Any
) -> None:
    expected = program(SqliteSaver, str(tmp_path / "official.db"), describe)
    found = program(EventLogSaver, str(tmp_path / "agent.db"), describe)
    make_saver()  # verified at the end
    assert len(found) == len(expected) > 15
    for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert ours == theirs, i


def test_a_program_written_for_async_sqlite_saver_gives_the_same_with_ours(
    tmp_path: Path, make_saver: Any, describe: Any
) -> None:
    expected = asyncio.run(async_program(AsyncSqliteSaver, str(tmp_path / "official.db"), describe))
    found = asyncio.run(async_program(EventLogSaver, str(tmp_path / "agent.db"), describe))
    make_saver()  # verified at the end
    assert len(found) == len(expected) > 10
    for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert ours == theirs, i


@pytest.mark.parametrize("x", [SqliteSaver, EventLogSaver])
def test_a_program_over_a_database_in_memory_runs_on_either(x: Any) -> None:
    with x.from_conn_string(":memory:") as saver:
        app = build(saver)
        assert shown(app.invoke(said("hello"), config("t")))["asked"] == [{"turn": 1}]
        assert app.invoke(Command(resume="yes"), config("t"))["notes"][-1] == "piece 10"
        assert len(list(saver.list(None, limit=3))) == 3
