"""Messages as a conversation: who said what, called which tool, and what that answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from ..jsonable import jsonable
from ..undecoded import Undecoded

__all__ = ["Said", "conversation", "is_messages"]

_ROLES = {"user": "human", "assistant": "ai"}
# Of a dict that is a message; many others have a type and content, too.
_KNOWN = frozenset({*_ROLES, "human", "ai", "system", "developer", "tool", "function"})


@dataclass(frozen=True, slots=True)
class Said:
    """A message, to be read.

    Attributes:
        role: human, ai, tool, system, or whatever it says it is.
        text: what it says; of content that is not text, "[image]" and the like.
        id, name: as they are; None if it has none.
        calls: of tools, as {"name", "args", "id"}.
        answers: the id of the call that it answers; None: none.
        tokens: (input, output), None if it does not say.
    """

    role: str
    text: str
    id: str | None = None
    name: str | None = None
    calls: tuple[Mapping[str, Any], ...] = ()
    answers: str | None = None
    tokens: tuple[int, int] | None = None


def is_messages(value: Any) -> bool:
    """Tell whether a value is a list of messages, at least one, or of what would be if it had been decoded."""
    if not isinstance(value, list | tuple) or not value:
        return False
    return any(_is_message(one) for one in value) and all(_is_message(one) or type(one) is Undecoded for one in value)


def conversation(value: Sequence[Any]) -> list[Said]:
    """Give messages to be read; what is none says what it is."""
    return [_said(one) for one in value]


def _is_message(value: Any) -> bool:
    if isinstance(value, BaseMessage):
        return True
    return isinstance(value, Mapping) and "content" in value and _role(value) in _KNOWN


def _role(message: Mapping[Any, Any]) -> str:
    return str(message.get("role", message.get("type")))


def _said(one: Any) -> Said:
    if isinstance(one, BaseMessage):
        calls = tuple(one.tool_calls) if isinstance(one, AIMessage) else ()
        usage = one.usage_metadata if isinstance(one, AIMessage) else None
        return Said(
            role=str(one.type),
            text=_text(one.content),
            id=one.id,
            name=one.name,
            calls=tuple({"name": call["name"], "args": call["args"], "id": call["id"]} for call in calls),
            answers=one.tool_call_id if isinstance(one, ToolMessage) else None,
            tokens=None if usage is None else (usage.get("input_tokens", 0), usage.get("output_tokens", 0)),
        )
    if isinstance(one, Mapping) and _is_message(one):
        role = _role(one)
        name, own_id, answers = one.get("name"), one.get("id"), one.get("tool_call_id")
        return Said(
            role=_ROLES.get(role, role),
            text=_text(one["content"]),
            id=own_id if isinstance(own_id, str) else None,
            name=name if isinstance(name, str) else None,
            calls=_calls(one.get("tool_calls")),
            answers=answers if isinstance(answers, str) else None,
        )
    return Said(role="?", text=str(one))


def _calls(held: Any) -> tuple[Mapping[str, Any], ...]:
    """Give the calls of a message that is a dict, in LangChain's form or in OpenAI's."""
    calls = []
    for call in held if isinstance(held, list | tuple) else ():
        if isinstance(call, Mapping):
            function = call.get("function")
            inner = function if isinstance(function, Mapping) else call
            calls.append(
                {"name": inner.get("name"), "args": inner.get("args", inner.get("arguments")), "id": call.get("id")}
            )
    return tuple(calls)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if not isinstance(content, list | tuple):
        return str(jsonable(content))
    return "\n".join(part for block in content if (part := _block(block)))


def _block(block: Any) -> str:
    if isinstance(block, str):
        return block
    if not isinstance(block, Mapping):
        return str(jsonable(block))
    if isinstance(block.get("text"), str):
        return str(block["text"])
    kind = str(block.get("type", "?"))
    # Calls are told apart from what is said.
    return "" if kind in ("tool_use", "tool_call", "function_call") else f"[{kind}]"
