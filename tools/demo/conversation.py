"""What the agents are asked, and going on with a conversation wherever it was left."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from .agent import build_agent
from .documentation import topic_names

__all__ = ["converse", "end_of", "hold_conversations", "questions_of", "thread_names"]

_WORDS = ("class", "exception", "import", "iterator", "method", "module", "object", "operator", "string", "value")


def thread_names(threads: int) -> list[str]:
    """Name the threads."""
    return [f"reader-{n}" for n in range(1, threads + 1)]


def questions_of(thread_id: str, count: int) -> list[str]:
    """Give the questions of a thread: always the same ones."""
    chance = random.Random(thread_id)
    questions = []
    for n in range(count):
        first, second = chance.sample(topic_names(), 2)
        word = chance.choice(_WORDS)
        kinds = (
            f"What should I read about {word}?",
            f"How do {first} and {second} differ?",
            f"Which topics mention {word}?",
        )
        questions.append(kinds[n % len(kinds)])
    return questions


def hold_conversations(saver: BaseCheckpointSaver[Any], *, threads: int, questions: int) -> None:
    """Hold all conversations at the same time, each from where the saver says it is to its end."""
    graph = build_agent(saver)
    with ThreadPoolExecutor(max_workers=threads) as pool:
        ends = [pool.submit(converse, graph, name, questions_of(name, questions)) for name in thread_names(threads)]
        for end in ends:
            end.result()


def converse(graph: CompiledStateGraph[Any, Any, Any, Any], thread_id: str, questions: Sequence[str]) -> None:
    """Finish the step that was interrupted, if one was, then ask what has not been asked yet."""
    state = graph.get_state(_config(thread_id))
    if state.tasks:  # not state.next: that leaves out a task whose writes are in the log, but not yet in a checkpoint
        graph.invoke(None, _config(thread_id, (state.metadata or {}).get("run_id")))
        state = graph.get_state(_config(thread_id))
    asked = sum(isinstance(message, HumanMessage) for message in state.values.get("messages", []))
    for n, question in enumerate(questions[asked:], asked + 1):
        message = HumanMessage(question, id=f"{thread_id}.{n}")
        graph.invoke({"messages": [message]}, _config(thread_id, f"question-{n}"))


def end_of(saver: BaseCheckpointSaver[Any], thread_id: str) -> dict[str, Any]:
    """Give a conversation's final state, as plain data, and its last step."""
    state = build_agent(saver).get_state(_config(thread_id))
    return {
        "step": (state.metadata or {}).get("step"),
        "unfinished": len(state.tasks),
        "messages": [message.model_dump() for message in state.values.get("messages", [])],
        "consulted": state.values.get("consulted", []),
    }


def _config(thread_id: str, run_id: Any = None) -> RunnableConfig:
    config = RunnableConfig(configurable={"thread_id": thread_id})
    if run_id is not None:
        config["metadata"] = {"run_id": run_id}
    return config
