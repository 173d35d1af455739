"""Synthetic messages and state, with the field names of the usual providers; every id is another."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langgraph.types import Command, Interrupt, Send

from . import prose

__all__ = ["ALPHABET", "Conversation", "command", "interrupt", "moment", "sends", "thing"]

_TOOLS = (
    "search",
    "get_weather",
    "calculator",
    "retrieve",
    "lookup_order",
    "send_email",
    "read_file",
    "transfer_to_agent",
    "execute_sql",
    "tavily_search",
    "python",
)
_ARGS = (
    "query",
    "city",
    "expression",
    "question",
    "order_id",
    "to",
    "path",
    "top_k",
    "limit",
    "url",
    "text",
    "location",
)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def moment(chance: random.Random) -> str:
    """Give a time of some year, as ISO 8601 in UTC."""
    seconds = chance.randrange(1_700_000_000, 2_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=chance.randrange(1, 1_000_000)).isoformat()


class Conversation:
    """Makes the messages of one thread, as one provider's models and tools would."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._provider = chance.choice(
            (self._openai, self._openai, self._anthropic, self._google, self._ollama, None, None)
        )
        self._run = chance.choice(("run-", "run-", "run--", "lc_run--", "", "msg_"))
        self._call = chance.choice(("call_", "call_", "toolu_", ""))
        self._long_usage = chance.random() < 0.4
        self._calls: list[tuple[str, str]] = []

    def id(self) -> str:
        """Give a random uuid."""
        return str(uuid.UUID(int=self._chance.getrandbits(128), version=4))

    def _key(self, length: int) -> str:
        return "".join(self._chance.choices(ALPHABET, k=length))

    def question(self) -> HumanMessage:
        """Give what the user says."""
        text: Any = prose.question(self._chance)
        if self._chance.random() < 0.1:
            text = [{"type": "text", "text": text}]
        return HumanMessage(content=text, id=self.id(), name=self._chance.choice((None, None, None, "user")))

    def system(self) -> SystemMessage:
        """Give what the model is told."""
        text = f"You are a helpful assistant. {prose.sentence(self._chance)} {prose.sentence(self._chance)}"
        return SystemMessage(content=text, id=self.id())

    def calling(self) -> AIMessage:
        """Give an answer that calls tools."""
        calls = []
        self._calls = []
        for _ in range(self._chance.choice((1, 1, 1, 2))):
            name = self._chance.choice(_TOOLS)
            made = (
                f"{self._call}{self._key(24)}"
                if self._call and self._chance.random() < 0.5
                else f"{self._call}{self.id()}"
            )
            given: dict[str, Any] = {
                k: prose.words(self._chance) for k in self._chance.sample(_ARGS, self._chance.choice((1, 1, 2)))
            }
            if self._chance.random() < 0.4:
                given[self._chance.choice(("top_k", "limit", "max_results", "top", "n"))] = self._chance.randrange(
                    1, 20
                )
            calls.append({"name": name, "args": given, "id": made})
            self._calls.append((name, made))
        text = "" if self._chance.random() < 0.7 else prose.sentence(self._chance)
        return self._said(text, calls, "tool_calls")

    def found(self) -> list[ToolMessage]:
        """Give what the tools that were called last found."""
        return [
            ToolMessage(
                content=prose.as_json(self._chance) if self._chance.random() < 0.3 else prose.page(self._chance),
                name=name,
                tool_call_id=made,
                id=self.id(),
                status="error" if self._chance.random() < 0.05 else "success",
            )
            for name, made in self._calls or [("search", f"call_{self.id()}")]
        ]

    def answer(self) -> AIMessage:
        """Give an answer in words."""
        return self._said(prose.answer(self._chance), [], "stop")

    def removal(self) -> RemoveMessage:
        """Give what removes a message."""
        return RemoveMessage(id=self.id())

    def _said(self, text: str, calls: list[Any], reason: str) -> AIMessage:
        given, made = self._chance.randrange(50, 9000), self._chance.randrange(5, 900)
        usage: dict[str, Any] = {"input_tokens": given, "output_tokens": made, "total_tokens": given + made}
        if self._long_usage:
            usage["input_token_details"] = {"audio": 0, "cache_read": self._chance.choice((0, 1024))}
            usage["output_token_details"] = {"audio": 0, "reasoning": self._chance.choice((0, 64))}
        content: Any = text
        if self._call == "toolu_" and calls:
            content = [{"type": "text", "text": text}] if text else []
            content += [{"id": c["id"], "input": c["args"], "name": c["name"], "type": "tool_use"} for c in calls]
        metadata = {} if self._provider is None else self._provider(reason=reason, given=given, made=made)
        more: dict[str, Any] = {"refusal": None} if self._provider == self._openai else {}
        return AIMessage(
            content=content,
            tool_calls=calls,
            id=f"{self._run}{self.id()}",
            usage_metadata=None if self._chance.random() < 0.1 else usage,
            response_metadata=metadata,
            additional_kwargs=more,
        )

    def _openai(self, *, reason: str, given: int, made: int) -> dict[str, Any]:
        model = self._chance.choice(("gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18", "gpt-4.1", "gpt-5", "gpt-5-mini"))
        details = {
            "accepted_prediction_tokens": 0,
            "audio_tokens": 0,
            "reasoning_tokens": 0,
            "rejected_prediction_tokens": 0,
        }
        tokens = {
            "completion_tokens": made,
            "prompt_tokens": given,
            "total_tokens": given + made,
            "completion_tokens_details": details,
            "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
        }
        return {
            "token_usage": tokens,
            "model_provider": "openai",
            "model_name": model,
            "system_fingerprint": f"fp_{self._chance.getrandbits(40):010x}",
            "id": f"chatcmpl-{self._key(29)}",
            "service_tier": "default",
            "finish_reason": reason,
            "logprobs": None,
        }

    def _anthropic(self, *, reason: str, given: int, made: int) -> dict[str, Any]:
        model = self._chance.choice(("claude-sonnet-4-20250514", "claude-3-5-sonnet-20241022", "claude-haiku-4-5"))
        usage = {
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "input_tokens": given,
            "output_tokens": made,
            "server_tool_use": None,
            "service_tier": "standard",
        }
        stop = "tool_use" if reason == "tool_calls" else "end_turn"
        return {
            "id": f"msg_{self._key(24)}",
            "model": model,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": usage,
            "model_name": model,
            "model_provider": "anthropic",
        }

    def _google(self, *, reason: str, given: int, made: int) -> dict[str, Any]:
        model = self._chance.choice(("gemini-2.0-flash", "gemini-2.5-pro", "gemini-2.5-flash"))
        return {
            "prompt_feedback": {"block_reason": 0, "safety_ratings": []},
            "finish_reason": "STOP",
            "model_name": model,
            "safety_ratings": [],
            "model_provider": "google_genai",
        }

    def _ollama(self, *, reason: str, given: int, made: int) -> dict[str, Any]:
        pick = self._chance.randrange
        return {
            "model": self._chance.choice(("llama3.1", "mistral", "qwen3")),
            "created_at": moment(self._chance).removesuffix("+00:00") + "Z",
            "done": True,
            "done_reason": "stop",
            "total_duration": pick(10**10),
            "load_duration": pick(10**8),
            "prompt_eval_count": given,
            "prompt_eval_duration": pick(10**9),
            "eval_count": made,
            "eval_duration": pick(10**10),
            "model_name": "llama3.1",
            "model_provider": "ollama",
        }


def document(chance: random.Random) -> Document:
    """Give a document that a retriever found."""
    source = f"https://www.{prose.words(chance).replace(' ', '-')}.com/docs"
    return Document(
        page_content=prose.page(chance),
        metadata={"source": source, "title": prose.words(chance), "page": chance.randrange(99)},
    )


def thing(chance: random.Random) -> Any:
    """Give a value of plain state, or one of LangGraph's own objects."""
    return chance.choice(
        (
            lambda: prose.records(chance),
            lambda: prose.records(chance),
            lambda: [prose.records(chance) for _ in range(2)],
            lambda: prose.sentence(chance),
            lambda: [prose.words(chance) for _ in range(4)],
            lambda: [document(chance) for _ in range(chance.choice((1, 2)))],
            lambda: chance.randrange(100),
            lambda: None,
            lambda: True,
            lambda: [
                {"content": prose.sentence(chance), "status": chance.choice(("pending", "in_progress", "completed"))}
                for _ in range(2)
            ],
        )
    )()


def command(chance: random.Random) -> Command[Any]:
    """Give a command that a node returned."""
    return Command(
        update={"messages": [], "next": prose.words(chance)}, goto=chance.choice(("agent", "tools", "supervisor"))
    )


def interrupt(chance: random.Random) -> Interrupt:
    """Give an interrupt, which waits for a user."""
    value = {"question": prose.question(chance), "action": "approve", "args": prose.records(chance)}
    return Interrupt(value=value, id=f"{chance.getrandbits(128):032x}")


def sends(chance: random.Random) -> list[Send]:
    """Give what starts tasks with input of their own."""
    return [
        Send(
            chance.choice(("tools", "worker", "retrieve", "grade")),
            {"name": chance.choice(_TOOLS), "args": prose.records(chance), "type": "tool_call"},
        )
        for _ in range(2)
    ]
