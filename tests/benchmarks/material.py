"""What is put: chats of real text (Python's own documentation) with unique ids, tool calls and usage metadata.

Everything follows from a seed, so that every saver is given the very same objects.
"""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6

__all__ = ["Messages", "Step", "Thread", "chat", "documents", "edited", "researching_chat", "thread_config"]

_PARAGRAPHS = [
    " ".join(paragraph.split())
    for _, text in sorted(topics.items())
    for paragraph in text.split("\n\n")
    if len(paragraph) > 80
]
_ALL_TEXT = "\n\n".join(_PARAGRAPHS)


def thread_config(thread_id: str, **more: Any) -> Any:
    """Give the config of a thread."""
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", **more}}


class Messages:
    """An endless conversation: a question, a call of a tool, what the tool found, an answer; and so on."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._count = itertools.count()
        self._call: str = ""

    def new_id(self) -> str:
        """Give an id, unique in this conversation and among seeds."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def paragraph(self) -> str:
        """Give real text of some hundred characters."""
        return "\n\n".join(self._random.choices(_PARAGRAPHS, k=2))[:1000]

    def _usage(self) -> dict[str, Any]:
        given, made = self._random.randrange(200, 4000), self._random.randrange(20, 400)
        return {"input_tokens": given, "output_tokens": made, "total_tokens": given + made}

    def calling(self) -> AIMessage:
        """Give an answer that calls a tool."""
        self._call = f"call_{self.new_id()}"
        call = {"name": "search", "args": {"query": self.paragraph()[:60], "top": 5}, "id": self._call}
        return AIMessage(content="", tool_calls=[call], id=f"run-{self.new_id()}", usage_metadata=self._usage())

    def found(self) -> ToolMessage:
        """Give what the tool that was called last found."""
        return self._found(self.paragraph())

    def document(self, size: int) -> ToolMessage:
        """Give a document of so many characters that the tool found: real text from somewhere on."""
        at = self._random.randrange(len(_ALL_TEXT) - size)
        return self._found(_ALL_TEXT[at : at + size])

    def _found(self, text: str) -> ToolMessage:
        return ToolMessage(content=text, name="search", tool_call_id=self._call, id=self.new_id())

    def question(self) -> HumanMessage:
        """Give a question."""
        return HumanMessage(content=self.paragraph()[:300], id=self.new_id())

    def answer(self) -> AIMessage:
        """Give an answer in words."""
        return AIMessage(content=self.paragraph(), id=f"run-{self.new_id()}", usage_metadata=self._usage())

    def next(self) -> AnyMessage:
        """Give the next message."""
        kinds = (self.question, self.calling, self.found, self.answer)
        return kinds[next(self._count) % len(kinds)]()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a graph as a saver sees it: a task's writes at the parent, and then the checkpoint."""

    writes: list[tuple[str, Any]]
    task_id: str
    checkpoint: Any
    metadata: Any
    new_versions: dict[str, str]


class Thread:
    """Makes the steps of one thread."""

    def __init__(self, seed: int, number: int = 0) -> None:
        self.messages = Messages(seed * 1_000_003 + number)
        self.thread_id = self.messages.new_id()
        self.run_id = self.messages.new_id()
        self._random = random.Random(seed)
        self._step = 0

    def step(self, channel: str, written: Any, value: Any) -> Step:
        """Give the step in which a task writes `written` to the channel, which holds `value` then."""
        self._step += 1
        first = f"{1:032}.{0.5:016}"
        version = f"{self._step + 1:032}.{self._random.random():016}"
        before = f"{self._step:032}.{self._random.random():016}"
        empty: dict[str, Any] = {**empty_checkpoint()}
        empty.pop("pending_sends", None)  # the checkpoints of graphs have none
        checkpoint = {
            **empty,
            "id": str(uuid6(clock_seq=self._step)),
            "channel_values": {channel: value, "branch:to:model": None},
            "channel_versions": {"__start__": first, channel: version, "branch:to:model": version},
            "versions_seen": {
                "__input__": {},
                "__start__": {"__start__": first},
                "model": {"branch:to:model": before},
            },
            "updated_channels": [channel, "branch:to:model"],
        }
        metadata = {"source": "loop", "step": self._step, "parents": {}, "run_id": self.run_id, "user": "u-17"}
        writes = [(channel, written), ("branch:to:model", None)]
        new_versions = {channel: version, "branch:to:model": version}
        return Step(writes, self.messages.new_id(), checkpoint, metadata, new_versions)


def chat(thread: Thread, steps: int) -> Iterator[Step]:
    """Give the steps of a chat: one message a step, in a new list that holds the earlier messages themselves."""
    messages: list[AnyMessage] = []
    for _ in range(steps):
        message = thread.messages.next()
        messages = [*messages, message]
        yield thread.step("messages", [message], messages)


def researching_chat(thread: Thread, steps: int, size: int) -> Iterator[Step]:
    """Give the steps of a chat whose tool finds documents of so many characters: every fourth message is one."""
    messages: list[AnyMessage] = []
    for n in range(steps):
        message = thread.messages.document(size) if n % 4 == 2 else thread.messages.next()
        messages = [*messages, message]
        yield thread.step("messages", [message], messages)


def documents(count: int, size: int) -> dict[str, str]:
    """Give documents of real text, each another part of it."""
    return {f"chapter-{n}.txt": (_ALL_TEXT * 2)[n * size % len(_ALL_TEXT) :][:size] for n in range(count)}


def edited(text: str, thread: Thread) -> str:
    """Give the text with some words in its middle replaced by others."""
    middle = len(text) // 2
    return text[:middle] + thread.messages.paragraph()[:80] + text[middle + 80 :]
