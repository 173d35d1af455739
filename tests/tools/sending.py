"""Makes a log of graphs that run nodes in other ways than by an edge: Send, Command, update_state, functions."""

import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send
from langgraph_eventlog.saver import EventLogSaver

__all__ = ["make"]


class State(TypedDict):
    xs: Annotated[list[str], operator.add]


def make(path: str | Path) -> None:
    """Make the log: the threads `send` and `called`."""
    with EventLogSaver(path) as saver:
        builder = StateGraph(State)
        builder.add_node("plan", lambda _: {"xs": ["plan"]})
        builder.add_node("work", lambda given: {"xs": [str(given)]})
        builder.add_node("other", lambda _: {"xs": ["other"]})
        builder.add_node("jump", lambda _: Command(goto=Send("other", {}), update={"xs": ["jump"]}))
        builder.add_edge(START, "plan")
        sends = [Send("work", {"n": 1}), Send("work", {"n": 2}), Send("other", {})]
        builder.add_conditional_edges("plan", lambda _: sends, ["work", "other"])
        builder.add_edge("work", "jump")
        graph = builder.compile(checkpointer=saver)
        config: Any = {"configurable": {"thread_id": "send"}}
        graph.invoke({"xs": ["in"]}, config)
        graph.update_state(config, {"xs": ["updated"]}, as_node="plan")

        @task
        def double(x: int) -> int:
            return 2 * x

        @entrypoint(checkpointer=saver)
        def flow(x: int) -> int:
            return int(double(x).result()) + int(double(4).result())

        flow.invoke(3, {"configurable": {"thread_id": "called"}})
