"""Files as LangGraph's own SqliteSaver leaves them: what the shop's agents do, on that saver.

python official_shop.py FILE          makes one
python official_shop.py FILE --kill   makes one, and dies without closing it: most of it is in the WAL
"""

from __future__ import annotations

import importlib
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command

__all__ = ["chat", "everything", "make_official_shop", "of", "official"]


def of(thread_id: str, **more: Any) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", **more}}


def official(path: str | Path, **options: Any) -> SqliteSaver:
    """Open a file with the official saver; close it with `saver.conn.close()`."""
    return SqliteSaver(sqlite3.connect(path, check_same_thread=False), **options)


def everything(saver: Any, thread_ids: Any) -> dict[tuple[str, str, str], CheckpointTuple]:
    """Give every checkpoint of the threads that a saver lists, by thread, namespace and id."""
    found = {}
    for thread_id in thread_ids:
        for one in saver.list({"configurable": {"thread_id": thread_id}}):
            where = one.config["configurable"]
            found[where["thread_id"], where["checkpoint_ns"], where["checkpoint_id"]] = one
    return found


def chat(saver: Any, thread_id: str, turns: int, words: int = 40) -> None:
    """Put what a chat leaves: each step holds the whole conversation; and what its tasks have written."""
    messages: list[Any] = []
    parent: dict[str, Any] = {}
    for step in range(turns):
        asked = step % 2 == 0
        text = " ".join(f"word{(step * 31 + n * n) % 997}" for n in range(words))
        message = (HumanMessage if asked else AIMessage)(text, id=f"m-{step}")
        if parent:
            saver.put_writes(of(thread_id, **parent), [("messages", [message])], f"task-{step}", "~path")
        messages.append(message)
        checkpoint = {
            "v": 4,
            "ts": f"2025-03-01T10:{step // 60:02}:{step % 60:02}.000000+00:00",
            "id": f"{step:08}",
            "channel_values": {"messages": messages},
            "channel_versions": {"messages": f"{step:032}.0"},
            "versions_seen": {"__input__": {}},
        }
        metadata = {"source": "loop", "step": step, "parents": {}}
        saver.put(of(thread_id, **parent), checkpoint, metadata, {"messages": f"{step:032}.0"})
        parent = {"checkpoint_id": checkpoint["id"]}


def make_official_shop(saver: Any) -> None:
    """Do with a saver what the shop's agents do: conversations, an interrupt, a fork, a subgraph, a delta channel."""
    from_here = importlib.import_module(".shop", __package__) if __package__ else importlib.import_module("shop")
    graph = from_here.support(saver)
    for n, item in enumerate(("lamp", "desk", "chair"), start=1):
        for ask in ("how much is it?", "please refund it"):
            graph.invoke({"messages": [HumanMessage(ask, id=f"{n}.{ask}")], "item": item}, of(f"order-{n}"))
    middle = list(graph.get_state_history(of("order-3")))[4]
    graph.invoke(Command(resume=7) if middle.interrupts else None, middle.config)
    planner, notes = from_here._planner(saver), from_here._note_taker(saver)
    for _ in range(3):
        planner.invoke({"steps": ["go"]}, of("planner"))
    for n in range(8):
        notes.invoke({"notes": [f"remember {n}"]}, of("notes"))
    # What an agent was stopped in the midst of: writes whose checkpoint never came.
    saver.put_writes(of("order-1", checkpoint_id="never"), [("item", "lost")], "task", "")


def threads_of(path: str | Path) -> Iterator[str]:
    connection = sqlite3.connect(path)
    try:
        yield from (row[0] for row in connection.execute("SELECT DISTINCT thread_id FROM checkpoints"))
    finally:
        connection.close()


if __name__ == "__main__":
    opened = official(sys.argv[1])
    make_official_shop(opened)
    if "--kill" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    opened.conn.close()
