"""LangChain's own messages and documents: of them it is known that they are nothing but their state.

Each is a pydantic model that is serialised as what its fields and its extras hold. Exactly these classes: a subclass
may have a serialiser, or fields, of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ormsgpack
from langchain_core import messages
from langchain_core.documents import Document
from pydantic import BaseModel

__all__ = ["BY_HEAD", "EXT_MODEL", "MODELS", "make_from_template", "make_model", "serialised_with"]

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

# JsonPlusSerializer's mark of a pydantic model: [module, name, fields, method].
EXT_MODEL = 5
_HEADS = {cls: b"\x94" + ormsgpack.packb(cls.__module__) + ormsgpack.packb(cls.__name__) for cls in MODELS}
BY_HEAD = {head: cls for cls, head in _HEADS.items()}
_METHOD = ormsgpack.packb("model_validate_json")
_FIELDS = {cls: frozenset(cls.model_fields) for cls in MODELS}

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


def serialised_with(cls: type[BaseModel], names: Iterable[str], packed: bytes) -> bytes | None:
    """Give what JsonPlusSerializer makes of a model if its fields, of these names, are serialised as they are packed.

    That holds for these fields if it has once made these very bytes of an object of this class: of what pydantic gives
    for the fields, it gives the same again, since none of the models has a serialiser of its own. Otherwise nothing can
    be said: pydantic leaves out what it does not know. None: it would leave out a field.
    """
    if not _FIELDS[cls].issuperset(names):
        return None
    made: bytes = ormsgpack.packb(ormsgpack.Ext(EXT_MODEL, _HEADS[cls] + packed + _METHOD))
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
