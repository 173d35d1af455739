"""Works of whole graphs: what LangGraph itself asks of a saver, timed around the saver's methods.

Annotations are not postponed here: LangGraph evaluates them.
"""

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Annotated, Any

from langchain_core.messages import AnyMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import END, START, MessagesState, StateGraph
from material import Messages, thread_config
from measure import Run
from typing_extensions import TypedDict

__all__ = ["delta_chat", "tool_calls"]

METHODS = ("get_tuple", "put", "put_writes", "get_delta_channel_history")


class Watch:
    """Wraps a saver's methods, and keeps the seconds of each call.

    Attributes:
        seconds: of each call, by method.
        busy: the seconds in which at least one call was under way. LangGraph calls from several threads at once:
            calls that wait for each other would be counted twice in the sum.
    """

    def __init__(self, saver: Any) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.busy = 0.0
        self._lock = threading.Lock()
        self._under_way = 0
        self._since = 0
        self._thread = threading.local()
        for name in METHODS:
            setattr(saver, name, self._wrapped(name, getattr(saver, name)))

    def _wrapped(self, name: str, method: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if getattr(self._thread, "inside", False):  # a method that uses another: counted once
                return method(*arguments, **named)
            self._thread.inside = True
            start = self._begin()
            try:
                return method(*arguments, **named)
            finally:
                self._end(name, start)
                self._thread.inside = False

        return call

    def _begin(self) -> int:
        with self._lock:
            start = time.perf_counter_ns()
            if self._under_way == 0:
                self._since = start
            self._under_way += 1
        return start

    def _end(self, name: str, start: int) -> None:
        with self._lock:
            end = time.perf_counter_ns()
            self.seconds[name].append((end - start) / 1e9)
            self._under_way -= 1
            if self._under_way == 0:
                self.busy += (end - self._since) / 1e9


def _tool_calling(saver: Any, messages: Messages) -> Any:
    def model(state: MessagesState) -> dict[str, Any]:
        return {"messages": [messages.calling()]}

    def tools(state: MessagesState) -> dict[str, Any]:
        return {"messages": [messages.found()]}

    graph = StateGraph(MessagesState).add_node("model", model).add_node("tools", tools)
    graph.add_edge(START, "model").add_edge("model", "tools")
    graph.add_conditional_edges("tools", lambda state: "model" if len(state["messages"]) < limit else END)
    limit = 1

    def run(steps: int) -> None:
        nonlocal limit
        limit = steps
        config = {**thread_config("a tool-calling graph"), "recursion_limit": steps + 5}
        compiled.invoke({"messages": [messages.question()]}, config, durability="sync")

    compiled = graph.compile(checkpointer=saver)
    return run


def tool_calls(run: Run) -> None:
    """Measure a graph that calls tools in a loop, in one invoke: the time that it spends in the saver."""
    steps = run.sizes.graph
    label = f"graph of {steps:,} steps"
    spent = run.figure(f"{label}: time in the saver", "ms", 3.0)
    whole = run.figure(f"{label}: graph.invoke", "ms")
    for number in run.rounds():
        with run.peers("FULL") as peers:
            for peer in run.track(peers.turns(number), len(peers.all), label):
                watch = Watch(peer.saver)
                start = time.perf_counter_ns()
                _tool_calling(peer.saver, Messages(number))(steps)
                run.add(whole, peer.name, (time.perf_counter_ns() - start) / 1e6)
                run.add(spent, peer.name, watch.busy * 1e3)


def _joined(state: list[AnyMessage], writes: Any) -> list[AnyMessage]:
    return [*state, *(message for write in writes for message in write)]


class DeltaState(TypedDict):
    """A chat whose messages are in no checkpoint but the snapshots."""

    messages: Annotated[list[AnyMessage], DeltaChannel(_joined)]


def _delta_turns(saver: Any, messages: Messages, turns: int) -> Iterator[None]:
    def model(state: DeltaState) -> dict[str, Any]:
        return {"messages": [messages.answer()]}

    graph = StateGraph(DeltaState).add_node("model", model).add_edge(START, "model").compile(checkpointer=saver)
    for _ in range(turns):
        graph.invoke({"messages": [messages.question()]}, thread_config("a delta chat"), durability="sync")
        yield


def delta_chat(run: Run) -> None:
    """Measure a chat over a DeltaChannel, of three checkpoints a turn: what its invokes read and put, and the file."""
    turns = max(2, run.sizes.delta // 3)
    label = f"DeltaChannel chat, {turns * 3} steps"
    reading = run.figure(f"{label}: get_tuple and history, median", "us", 1.0)
    put = run.figure(f"{label}: put, median", "us", 1.0)
    file = run.figure(f"{label}: file", "kB", 2.0)
    for number in run.rounds():
        with run.peers("FULL") as peers:
            watches = {peer.name: Watch(peer.saver) for peer in peers.all}
            chats = {peer.name: _delta_turns(peer.saver, Messages(number), turns) for peer in peers.all}
            reads = defaultdict(list)
            for turn in run.track(range(turns), turns, label):
                for peer in peers.turns(turn):
                    seconds = watches[peer.name].seconds
                    before = sum(seconds["get_tuple"]) + sum(seconds["get_delta_channel_history"])
                    next(chats[peer.name])
                    after = sum(seconds["get_tuple"]) + sum(seconds["get_delta_channel_history"])
                    reads[peer.name].append(after - before)
            peers.close()
            for peer in peers.all:
                run.add(reading, peer.name, statistics.median(reads[peer.name]) * 1e6)
                run.add(put, peer.name, statistics.median(watches[peer.name].seconds["put"]) * 1e6)
                size = peer.size_closed()
                run.add(file, peer.name, None if size is None else size / 1e3)
