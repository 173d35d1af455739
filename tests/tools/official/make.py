"""Makes a file as one of the official releases made it: `python make.py FILE`, where that release is installed.

The files beside this one were made so, each in an environment with nothing but the release that it is named after, and
the langgraph of its time:

    langgraph-checkpoint-sqlite   langgraph   langgraph-checkpoint
    1.0.0                         0.2.0       1.0.2
    1.0.4                         0.2.28      1.0.12
    2.0.0                         0.2.39      2.0.2
    2.0.11                        0.6.0       2.1.1
    3.0.3                         1.0.5       3.0.1
    3.1.0                         1.2.0       4.1.0

Threads: `chat` (messages, a nested dict), `sends` (tasks sent by one step to the next, stopped before they were done),
`asked` (interrupted, waiting), `outer` (with a subgraph), `async` (by AsyncSqliteSaver).
"""

import asyncio
import operator
import sys
from typing import Annotated, Any

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

try:
    from langgraph.types import Send
except ImportError:
    from langgraph.constants import Send


class Chat(TypedDict):
    messages: Annotated[list, add_messages]
    facts: dict


def chat(saver: Any) -> Any:
    graph = StateGraph(Chat)

    def answer(state: Chat) -> dict:
        n = len(state["messages"])
        said = AIMessage(f"answer {n}: " + "all is well, and what was asked is done. ", id=f"ai-{n}")
        return {"messages": [said], "facts": {"count": n, "ratio": n / 3, "names": ["é", "\U0001f600"], "none": None}}

    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)
    return graph.compile(checkpointer=saver)


class Jobs(TypedDict):
    jobs: list
    done: Annotated[list, operator.add]


def sends(saver: Any) -> Any:
    graph = StateGraph(Jobs)
    graph.add_node("plan", lambda state: {"jobs": ["a", "b"]})
    graph.add_node("work", lambda state: {"done": [state["job"]]})
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", lambda state: [Send("work", {"job": job}) for job in state["jobs"]], ["work"])
    graph.add_edge("work", END)
    return graph.compile(checkpointer=saver, interrupt_before=["work"])


def outer(saver: Any) -> Any:
    inner = StateGraph(Jobs)
    inner.add_node("think", lambda state: {"done": ["thought"]})
    inner.add_edge(START, "think")
    inner.add_edge("think", END)
    graph = StateGraph(Jobs)
    graph.add_node("inner", inner.compile())
    graph.add_edge(START, "inner")
    graph.add_edge("inner", END)
    return graph.compile(checkpointer=saver)


def asked(saver: Any) -> Any:
    graph = StateGraph(Jobs)
    graph.add_node("first", lambda state: {"done": ["first"]})
    graph.add_node("second", lambda state: {"done": ["second"]})
    graph.add_edge(START, "first")
    graph.add_edge("first", "second")
    graph.add_edge("second", END)
    return graph.compile(checkpointer=saver, interrupt_before=["second"])


def of(thread: str) -> dict:
    return {"configurable": {"thread_id": thread}}


def main(path: str) -> None:
    with SqliteSaver.from_conn_string(path) as saver:
        graph = chat(saver)
        for n in range(4):
            graph.invoke({"messages": [HumanMessage(f"question {n}", id=f"human-{n}")]}, of("chat"))
        sends(saver).invoke({"jobs": [], "done": []}, of("sends"))
        outer(saver).invoke({"jobs": ["x"], "done": []}, of("outer"))
        asked(saver).invoke({"jobs": ["y"], "done": []}, of("asked"))

    async def go() -> None:
        async with AsyncSqliteSaver.from_conn_string(path) as saver:
            await chat(saver).ainvoke({"messages": [HumanMessage("hello", id="human")]}, of("async"))

    asyncio.run(go())


if __name__ == "__main__":
    main(sys.argv[1])
