"""The scripted chat model: no network and no key, but real tool calls, and it goes by what the tools found.

Its reply is a function of the messages alone, ids included. So a conversation ends the same wherever it was
interrupted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult

__all__ = ["Calls", "ScriptedModel", "decide"]

Calls = list[tuple[str, dict[str, str]]]


class ScriptedModel(BaseChatModel):
    """Answers questions about Python's documentation by a script."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        asked = max(i for i, message in enumerate(messages) if isinstance(message, HumanMessage))
        turn = messages[asked + 1 :]
        found = [str(message.text) for message in turn if isinstance(message, ToolMessage)]
        said, calls = decide(str(messages[asked].text), found)
        message_id = f"{messages[asked].id}.{sum(isinstance(message, AIMessage) for message in turn) + 1}"
        reply = AIMessage(
            said,
            id=message_id,
            tool_calls=[ToolCall(name=n, args=a, id=f"{message_id}.{i}") for i, (n, a) in enumerate(calls, 1)],
            usage_metadata=_usage(messages, said, calls),
        )
        return ChatResult(generations=[ChatGeneration(message=reply)])


def decide(question: str, found: Sequence[str]) -> tuple[str, Calls]:
    """Give what is said, and the tools that are called, after the tools have found this for the question."""
    if match := re.fullmatch(r"Which topics mention (\w+)\?", question):
        return _mentions(match[1], found)
    if match := re.fullmatch(r"How do ([\w-]+) and ([\w-]+) differ\?", question):
        return _difference(match[1], match[2], found)
    if match := re.fullmatch(r"What should I read about (\w+)\?", question):
        return _reading_list(match[1], found)
    return "I can only answer questions about Python's documentation.", []


def _mentions(word: str, found: Sequence[str]) -> tuple[str, Calls]:
    if not found:
        return "Let me search.", [("find_topics", {"word": word})]
    return f"These topics mention {word}: {found[0]}.", []


def _difference(first: str, second: str, found: Sequence[str]) -> tuple[str, Calls]:
    if not found:
        return "Let me read both.", [("read_topic", {"name": first}), ("read_topic", {"name": second})]
    if len(found) == 2:
        return "And compare them.", [("compare_topics", {"first": first, "second": second})]
    return f"{found[2]} {first} begins: {_sentence(found[0])} {second} begins: {_sentence(found[1])}", []


def _reading_list(word: str, found: Sequence[str]) -> tuple[str, Calls]:
    if not found:
        return "Let me search.", [("find_topics", {"word": word})]
    names = re.findall(r"([\w-]+) \(\d+\)", found[0])[:3]
    read = found[1:]
    if len(read) < len(names):
        return f"Let me look into {names[len(read)]}.", [("read_topic", {"name": names[len(read)]})]
    openings = [f"{name}: {_sentence(text)}" for name, text in zip(names, read, strict=True)]
    return "Read these. " + " ".join(openings), []


def _sentence(text: str) -> str:
    """Give the first sentence after the heading."""
    body = " ".join(line.strip() for line in text.splitlines()[2:] if line.strip("*=-~ "))
    return body.split(". ")[0][:200].rstrip(".") + "."


def _usage(messages: Sequence[BaseMessage], said: str, calls: Calls) -> UsageMetadata:
    """Count words, for want of a tokenizer."""
    read = sum(len(str(message.text).split()) for message in messages)
    written = len(said.split()) + sum(1 + len(args) for _, args in calls)
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
