"""A log as a shop's support agents leave it: made by real graphs, for the tests of the command line and its pages.

    python shop.py FILE          makes the log
    python shop.py FILE --busy   goes on appending to it until its input ends

Threads: `order-1` to `order-3` (conversations with a tool; the second is interrupted and waits for an approval, the
third was forked from its middle into `order-3-again`), `planner` (with a subgraph), `gone` (deleted), `long` (40 turns,
pruned once after 30), `notes` (a delta channel).
"""

import operator
import select
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import interrupt
from langgraph_eventlog.saver import EventLogSaver

__all__ = ["go_on", "make_shop", "support"]

_BEGIN_US = 1_767_225_600_000_000  # 2026-01-01
PRICES = {"lamp": 40, "desk": 250, "chair": 90}


class Order(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    item: str
    ledger: dict[str, int]
    text: str


def _agent(state: Order) -> dict[str, Any]:
    last = state["messages"][-1]
    n = len(state["messages"])
    if isinstance(last, HumanMessage):
        call = {"name": "price", "args": {"item": state["item"]}, "id": f"call-{n}"}
        usage = {"input_tokens": 20 + n, "output_tokens": 7, "total_tokens": 27 + n}
        return {"messages": [AIMessage("", id=f"ai-{n}", tool_calls=[call], usage_metadata=usage)]}
    return {"messages": [AIMessage(f"The {state['item']} costs {last.content} euros.", id=f"ai-{n}")]}


def _price(state: Order) -> dict[str, Any]:
    call = state["messages"][-1].tool_calls[0]  # type: ignore[union-attr]
    price = PRICES[call["args"]["item"]]
    return {
        "messages": [ToolMessage(str(price), tool_call_id=call["id"], id=f"{call['id']}.result")],
        "ledger": {**(state.get("ledger") or {}), f"quote {len(state['messages'])}": price},
    }


def _next(state: Order) -> str:
    last = state["messages"][-1]
    return "price" if isinstance(last, AIMessage) and last.tool_calls else "refund"


def _refund(state: Order, approve_above: int) -> dict[str, Any]:
    price = PRICES[state["item"]]
    if "refund" in str([m.content for m in state["messages"] if isinstance(m, HumanMessage)][-1]):
        approved = interrupt({"approve": price}) if price > approve_above else price
        return {"ledger": {**state["ledger"], "refund": approved}, "text": f"Refunded {approved} euros." * 20}
    return {"text": f"Quoted {price} euros for the {state['item']}. " * 20}


def support(saver: EventLogSaver, approve_above: int = 100) -> Any:
    """Give the support agent's graph. Somebody is asked before more than so many euros are refunded."""
    builder = StateGraph(Order)
    builder.add_node("agent", _agent)
    builder.add_node("price", _price)
    builder.add_node("refund", partial(_refund, approve_above=approve_above))
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", _next, ["price", "refund"])
    builder.add_edge("price", "agent")
    builder.add_edge("refund", END)
    return builder.compile(checkpointer=saver)


class Plan(TypedDict):
    steps: Annotated[list[str], operator.add]


def _planner(saver: EventLogSaver) -> Any:
    inner = StateGraph(Plan)
    inner.add_node("think", lambda state: {"steps": [f"think of {len(state['steps'])}"]})
    inner.add_node("check", lambda state: {"steps": ["check"]})
    inner.add_edge(START, "think")
    inner.add_edge("think", "check")
    outer = StateGraph(Plan)
    outer.add_node("plan", inner.compile(checkpointer=True))
    outer.add_edge(START, "plan")
    return outer.compile(checkpointer=saver)


def _joined(notes: list[str] | None, writes: Sequence[list[str]]) -> list[str]:
    return [*(notes or []), *(note for write in writes for note in write)]


class Notes(TypedDict):
    notes: Annotated[list[str], DeltaChannel(_joined, snapshot_frequency=5)]


def _note_taker(saver: EventLogSaver) -> Any:
    graph = StateGraph(Notes)
    graph.add_node("take", lambda state: {"notes": [f"note {len(state['notes'])}"]})
    return graph.add_edge(START, "take").compile(checkpointer=saver)


def make_shop(path: str | Path, **options: Any) -> None:
    """Make the log, which is not there yet."""
    now = _BEGIN_US

    def clock() -> int:
        nonlocal now
        now += 60_000_000
        return now

    with EventLogSaver(path, clock=clock, erase_deleted=False, **options) as saver:
        graph = support(saver)
        for n, item in enumerate(("lamp", "desk", "chair"), start=1):
            thread = f"order-{n}"
            saver.register_thread(thread, name=f"Order {n}", metadata={"customer": f"c{n}", "hold": n == 1})
            for ask in ("how much is it?", "please refund it"):
                graph.invoke({"messages": [HumanMessage(ask, id=f"{thread}.{ask}")], "item": item}, _of(thread))
        middle = list(graph.get_state_history(_of("order-3")))[4]
        saver.fork_thread(middle.config, "order-3-again", metadata={"why": "try again"})
        graph.invoke(None, _of("order-3-again"))
        planner = _planner(saver)
        for _ in range(3):
            planner.invoke({"steps": ["go"]}, _of("planner"))
        notes = _note_taker(saver)
        for n in range(8):
            notes.invoke({"notes": [f"remember {n}"]}, _of("notes"))
        graph.invoke({"messages": [HumanMessage("my password is hunter2", id="secret")], "item": "lamp"}, _of("gone"))
        saver.delete_thread("gone")
        for turn in range(40):
            if turn == 30:
                saver.prune(["long"])
            ask = HumanMessage(f"question {turn}: how much is it?", id=f"long.{turn}")
            graph.invoke({"messages": [ask], "item": "desk"}, _of("long"))


def go_on(path: str | Path) -> None:
    """Append to the log until standard input ends."""
    with EventLogSaver(path) as saver:
        graph = support(saver)
        turn = 0
        while not select.select([sys.stdin], [], [], 0)[0]:
            ask = HumanMessage(f"busy {turn}", id=f"busy.{turn}")
            graph.invoke({"messages": [ask], "item": "lamp"}, _of(f"busy-{turn % 3}"))
            turn += 1
            if turn == 1:
                print("appending", flush=True)


_runs: Counter[str] = Counter()


def _of(thread_id: str) -> Any:
    """Give a config of the thread's next run: LangGraph takes one of the same run_id for a run that goes on."""
    _runs[thread_id] += 1
    run_id = f"run of {thread_id}" if _runs[thread_id] == 1 else f"run {_runs[thread_id]} of {thread_id}"
    return {"configurable": {"thread_id": thread_id, "run_id": run_id}}


if __name__ == "__main__":
    go_on(sys.argv[1]) if "--busy" in sys.argv else make_shop(sys.argv[1])
