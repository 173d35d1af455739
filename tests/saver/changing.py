"""States that a graph may hold, everything in them that can be changed in place, and exactly what they are."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np
from hypothesis import strategies as st
from langchain_core import messages as lc
from langchain_core.documents import Document
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

__all__ = ["SERDE", "Mine", "as_stored", "change", "change_list", "elements", "exact", "made", "odd", "plain"]

SERDE = JsonPlusSerializer()
TEXT = "The quick brown fox jumps over the lazy dog. " * 4


class Mine(lc.HumanMessage):
    """A user's own kind of message."""

    mood: str = "good"


class Colour(StrEnum):
    RED = "red"


class Text(str):
    pass


class Model(BaseModel):
    numbers: list[int] = [1]


# What a careless comparison takes for each other.
_ALIKE: list[Any] = [0, False, 0.0, -0.0, 1, True, 1.0, None, "", b"", "1", b"1", float("nan"), 2**63, -(2**63), TEXT]
_ALIKE += [
    [],
    {},
    [[]],
    [{}],
    [None],
    {"a": 1, "b": 2},
    {"b": 2, "a": 1},
    bytearray(b"1"),
    {"nul\0": [1, {"m": [True]}]},
]
# What plain data does not cover.
_ODD: list[Any] = [
    (1, 2),
    {1, 2},
    {1: "one"},
    uuid.UUID(int=7),
    datetime(2026, 1, 1, tzinfo=UTC),
    Colour.RED,
    Text("1"),
]
_ODD += [Model(), np.float64(1), np.array([1, 2]), "\ud800", lc.HumanMessage("inside"), Document("inside")]

plain = st.sampled_from(_ALIKE).map(copy.deepcopy)
odd = st.sampled_from(_ALIKE + _ALIKE + _ODD).map(copy.deepcopy)
_contents = st.sampled_from(
    ["", "hi", TEXT, TEXT, [], [{"type": "text", "text": TEXT}], ["a", {"type": "x", "n": [1]}]]
)
_ids = st.sampled_from([None, "1", "2"])
_kwargs = st.dictionaries(st.sampled_from("abc"), plain, max_size=2)
_calls = st.sampled_from([[], [{"name": "f", "args": {"x": [1]}, "id": "1"}]])
_chunks = st.sampled_from([[], [{"name": "f", "args": '{"x', "id": "1", "index": 0}]])
_usage = st.sampled_from([None, {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}])


def _of(cls: Any, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(lambda **given: cls(**copy.deepcopy(given)), **fields)


def _message(cls: Any, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return _of(cls, content=_contents, id=_ids, additional_kwargs=_kwargs, **fields)


made = st.one_of(
    _message(lc.HumanMessage),
    _message(lc.HumanMessage, foo=plain),
    _message(lc.HumanMessageChunk),
    _message(lc.SystemMessage, name=_ids),
    _message(lc.SystemMessageChunk),
    _message(lc.AIMessage, tool_calls=_calls, usage_metadata=_usage, response_metadata=_kwargs),
    _message(lc.AIMessage, bar=plain, foo=plain),
    _message(lc.AIMessageChunk, tool_call_chunks=_chunks, usage_metadata=_usage),
    _message(lc.ToolMessage, tool_call_id=st.just("1"), artifact=plain),
    _message(lc.ToolMessageChunk, tool_call_id=st.just("1")),
    _message(lc.ChatMessage, role=st.just("r")),
    _message(lc.ChatMessageChunk, role=st.just("r")),
    _message(lc.FunctionMessage, name=st.just("f")),
    _message(lc.FunctionMessageChunk, name=st.just("f")),
    _of(lc.RemoveMessage, id=st.just("1")),
    _of(Document, page_content=st.sampled_from(["", TEXT]), metadata=_kwargs, id=_ids),
    _message(Mine, mood=st.sampled_from(["good", "bad"])),
    st.builds(lambda fields: lc.AIMessage.model_construct(**fields), _kwargs),
)
elements = st.one_of(made, made, made, odd)


def containers(value: Any) -> Iterator[list[Any] | dict[Any, Any]]:
    """Everything inside of a value that can be changed in place: also what only an object's dicts hold."""
    if isinstance(value, list):
        yield value
        parts: Any = value
    elif isinstance(value, dict):
        yield value
        parts = value.values()
    elif isinstance(value, BaseModel):
        yield value.__dict__
        if value.__pydantic_extra__ is not None:
            yield value.__pydantic_extra__
        parts = [*value.__dict__.values(), *(value.__pydantic_extra__ or {}).values()]
    else:
        return
    for part in list(parts):
        yield from containers(part)


def change(draw: Any, value: Any, values: st.SearchStrategy[Any]) -> None:
    """Change something in place, anywhere inside of a value."""
    spots = list(containers(value))
    if not spots:
        return
    spot = spots[draw(st.integers(0, len(spots) - 1))]
    new = draw(values)
    if isinstance(spot, dict):
        key = draw(st.sampled_from([*spot, "new"]))
        how = draw(st.sampled_from(["set", "set", "set", "drop", "last"]))
        old = spot.pop(key, None) if how != "set" else None
        if how != "drop":
            spot[key] = old if how == "last" else new
    else:
        at = draw(st.integers(0, len(spot)))
        if draw(st.booleans()):
            spot[at:] = [*spot[at + 1 :], new]
        else:
            spot[at : at + 1] = [new]


def change_list(draw: Any, state: list[Any]) -> None:
    """Do with a list what graphs do."""
    at = draw(st.integers(0, len(state)))
    match draw(
        st.sampled_from(["append", "append", "insert", "drop", "reverse", "again", "copy", "end", "forget", "swap"])
    ):
        case "append":
            state.extend(draw(st.lists(elements, min_size=1, max_size=3)))
        case "insert":
            state.insert(at, draw(elements))
        case "drop":
            del state[at : at + 1]
        case "reverse":
            state.reverse()
        case "again":  # the same object, twice
            state.extend(state[at : at + 1])
        case "copy":  # equal, and another
            state[at : at + 1] = copy.deepcopy(state[at : at + 1])
        case "end":
            del state[-2:]
        case "forget":
            state.clear()
        case "swap" if len(state) > 1:
            state[0], state[-1] = state[-1], state[0]


def exact(value: Any) -> str:
    """Exactly what a value is: 1 is not True, 0.0 not -0.0; the order of dicts counts, and an object's extras."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{exact(k)}: {exact(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}[" + ", ".join(exact(v) for v in value) + "]"
    if isinstance(value, BaseModel):
        return f"{type(value).__qualname__}({exact(value.__dict__)}, {exact(value.__pydantic_extra__ or {})})"
    return f"{type(value).__name__}:{value!r}"


def as_stored(value: Any) -> str:
    """What comes back of a value from a saver that stores it whole."""
    return exact(SERDE.loads_typed(SERDE.dumps_typed(value)))
