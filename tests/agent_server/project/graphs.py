"""The graphs that the tests run on the Agent Server: no model, no network."""

from __future__ import annotations

import asyncio
import os
from operator import add
from typing import Annotated, Any, TypedDict

from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class Told(TypedDict):
    """What was said, in order, and what the tool found."""

    said: Annotated[list[str], add]
    topic: str
    found: str


class Found(TypedDict):
    """What the tool, a subgraph with a checkpoint namespace of its own, shares with the agent."""

    topic: str
    found: str


def plan(state: Told) -> dict[str, Any]:
    """Say what is to be looked up."""
    topic = state["said"][-1]
    return {"said": [f"planned {topic}"], "topic": topic}


def ask(state: Told) -> dict[str, Any]:
    """Wait for a person."""
    answer = interrupt({"question": f"{state['found']}?"})
    return {"said": [f"answered {answer}"]}


tool = (
    StateGraph(Found)
    .add_node("look_up", lambda state: {"found": f"{state['topic']} found"})
    .add_edge(START, "look_up")
    .compile()
)

agent = (
    StateGraph(Told)
    .add_node("plan", plan)
    .add_node("tool", tool)
    .add_node("ask", ask)
    .add_node("act", lambda state: {"said": ["acted"]})
    .add_edge(START, "plan")
    .add_edge("plan", "tool")
    .add_edge("tool", "ask")
    .add_edge("ask", "act")
    .compile()
)


async def wait(state: Told) -> dict[str, Any]:
    """Never end when asked to hang, until the server is started with LET_GO."""
    if state["said"][-1] == "began hang" and "LET_GO" not in os.environ:
        await asyncio.Event().wait()
    return {"said": ["ended"]}


slow = (
    StateGraph(Told)
    .add_node("begin", lambda state: {"said": [f"began {state['said'][-1]}"]})
    .add_node("wait", wait)
    .add_edge(START, "begin")
    .add_edge("begin", "wait")
    .compile()
)


def extend(notes: list[str], more: list[list[str]]) -> list[str]:
    """Reduce a delta channel."""
    return notes + [note for some in more for note in some]


class Notes(TypedDict):
    """Notes that are stored as what each step adds to them."""

    notes: Annotated[list[str], DeltaChannel(extend)]


notes = (
    StateGraph(Notes)
    .add_node("note", lambda state: {"notes": [f"noted {state['notes'][-1]}"]})
    .add_edge(START, "note")
    .compile()
)
