"""LangChain's own messages and documents: of them it is known that they are nothing but their state.

Each is a pydantic model that is serialised as what its fields and its extras hold. Exactly these classes: a subclass
may have a serialiser, or fields, of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core import messages
from langchain_core.documents import Document
from pydantic import BaseModel

__all__ = ["MODELS", "make_from_template", "make_model"]

MODELS: frozenset[type[BaseModel]] = frozenset(
    {
        messages.AIMessage,
        messages.AIMessageChunk,
        messages.ChatMessage,
        messages.ChatMessageChunk,
        messages.FunctionMessage,
        messages.FunctionMessageChunk,
        messages.HumanMessage,
        messages.HumanMessageChunk,
        messages.RemoveMessage,
        messages.SystemMessage,
        messages.SystemMessageChunk,
        messages.ToolMessage,
        messages.ToolMessageChunk,
        Document,
    }
)

# The whole state of a pydantic model. Set through these, nothing is validated again.
_new = object.__new__
_set_fields = BaseModel.__dict__["__dict__"].__set__
_set_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_set_names = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_set_private = BaseModel.__dict__["__pydantic_private__"].__set__


def make_model(cls: type[BaseModel], fields: dict[str, Any], extra: Any, names: set[str], private: Any) -> BaseModel:
    """Make an object of this state: its fields, extras, the names of the fields that were set, and what is private."""
    made = _new(cls)
    _set_fields(made, fields)
    _set_extra(made, extra)
    _set_names(made, names)
    _set_private(made, private)
    return made


def make_from_template(
    cls: type[BaseModel], template: dict[str, Any], parts: tuple[tuple[str, Callable[[], Any]], ...], names: set[str]
) -> BaseModel:
    """Make an object without extras and private state; `parts` make those of its fields that are not shared."""
    # As `make_model` does. Without a call for that: a listing makes a hundred thousand of them.
    made = _new(cls)
    fields = template.copy()
    for name, make in parts:
        fields[name] = make()
    _set_fields(made, fields)
    _set_extra(made, {})
    _set_names(made, names.copy())
    _set_private(made, None)
    return made
