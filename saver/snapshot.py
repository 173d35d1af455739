"""What the elements of a list are at one moment, as bytes: they tell whether any has changed in place since.

Elements are mutable, and with durability="async" a graph changes them while they are being put. So an element's state
is packed first, in one call into C during which no other Python code runs, and what is serialised afterwards is a copy
made of these very bytes. Equal bytes, and equal types, then mean an equal serialisation, whatever happens in between.

Only what is known to be nothing but its state is covered: LangChain's own messages and documents, and plain data. An
element that holds anything else is serialised again each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import ormsgpack
from langchain_core import messages
from langchain_core.documents import Document

__all__ = ["Snapshot", "common_prefix", "cut", "is_worth_it", "take", "thaw"]

# Exactly these: a subclass may have a serialiser, or fields, of its own. Each is a pydantic model that is serialised as
# what its __dict__ and its extras hold.
_CLASSES = frozenset(
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
# With these, what is not exactly None, a bool, int, float, str, a buffer of bytes, list, or dict with str keys is an
# error: of a buffer, the serializer, too, sees the bytes alone. And 1, True and 1.0, 0.0 and -0.0, "" and b"", and the
# orders of dicts give different bytes.
_OPTIONS = (
    ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)
# An object may lack what pydantic gives it, if something else has made it.
_CANNOT = (AttributeError, TypeError, ValueError, RecursionError)
_PAIR, _EMPTY_MAP, _NIL = b"\x92", b"\x80", b"\xc0"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A list's elements at one moment.

    Attributes:
        types: of the elements, exactly.
        body: their packed states, one after the other, if all are covered and none has extras; None otherwise.
        packed: their packed states, None for those that are not covered, if there is no `body`; () otherwise.
    """

    types: tuple[type, ...]
    body: bytes | None
    packed: tuple[bytes | None, ...] = ()

    @property
    def size(self) -> int:
        """How many bytes the states take."""
        return sum(len(p) for p in self.packed if p is not None) if self.body is None else len(self.body)

    def states(self) -> Sequence[bytes | None]:
        """Give each element's packed state; None: it is not covered.

        Raises:
            ValueError: the bytes cannot be cut.
        """
        return self.packed if self.body is None else _states(len(self.types), self.body)

    def states_after(self, shorter: Snapshot) -> list[bytes]:
        """Give the packed states that a snapshot has beyond another, which it begins with.

        Raises:
            ValueError: the bytes cannot be cut.
        """
        assert self.body is not None
        assert shorter.body is not None
        return _states(len(self.types) - len(shorter.types), self.body[len(shorter.body) :])


def is_worth_it(elements: Sequence[Any]) -> bool:
    """Tell whether there are objects among them, which take long to serialise."""
    return not _CLASSES.isdisjoint(map(type, elements))


def take(elements: list[Any]) -> Snapshot:
    """Take a snapshot of a list that nobody else has."""
    types = tuple(map(type, elements))
    if _CLASSES.issuperset(types):
        try:
            states = [element.__dict__ for element in elements]
            extras = [element.__pydantic_extra__ for element in elements]
            packed = ormsgpack.packb([extras, states], option=_OPTIONS)
        except _CANNOT:
            packed = b""
        # [[extra ...], [state ...]]: without extras, the first array is a byte for each. It comes first because bytes
        # say what they are only when they are read from the beginning.
        header = _header_size(len(elements))
        begin, end = 1 + header, 1 + header + len(elements)
        if packed and not packed[begin:end].strip(_EMPTY_MAP + _NIL):
            return Snapshot(types, packed[end + header :])
    return Snapshot(types, None, tuple(_pack(element) for element in elements))


def _pack(element: Any) -> bytes | None:
    try:
        if type(element) not in _CLASSES:
            return ormsgpack.packb(element, option=_OPTIONS)
        extra = element.__pydantic_extra__
        return ormsgpack.packb([element.__dict__, {} if extra is None else extra], option=_OPTIONS)
    except _CANNOT:
        return None


def common_prefix(old: Snapshot, new: Snapshot) -> int | None:
    """Give how many elements a list keeps if it has only grown at its end, or lost some there; None if it has not."""
    if old.body is None or new.body is None:
        return None
    shorter, longer = (old, new) if len(old.types) <= len(new.types) else (new, old)
    assert shorter.body is not None
    assert longer.body is not None
    count = len(shorter.types)
    # No packed state is the beginning of another, so that equal bytes are so many equal states.
    if longer.types[:count] == shorter.types and longer.body.startswith(shorter.body):
        return count
    return None


def thaw(cls: Any, state: bytes) -> Any:
    """Give a new object of the state that was packed.

    Raises:
        ValueError: it cannot be read: a msgpack extension for instance, which is packed as it is.
    """
    unpacked = ormsgpack.unpackb(state)
    if cls not in _CLASSES:
        return unpacked
    made: Any = object.__new__(cls)
    for name, value in (
        ("__dict__", unpacked[0]),
        ("__pydantic_extra__", unpacked[1]),
        ("__pydantic_fields_set__", set()),
        ("__pydantic_private__", None),
    ):
        object.__setattr__(made, name, value)
    return made


def cut(array: bytes, *, pairs: bool = False) -> list[bytes] | None:
    """Cut a msgpack array, or with `pairs` a map, into the bytes of its elements: of a map, keys and values in turn.

    None, if it is not one, and nothing else.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=len(array))
    unpacker.feed(array)
    try:
        count = 2 * unpacker.read_map_header() if pairs else unpacker.read_array_header()
        elements, start = [], unpacker.tell()
        for _ in range(count):
            unpacker.skip()
            end = unpacker.tell()
            elements.append(array[start:end])
            start = end
    except (ValueError, msgpack.UnpackException):
        return None
    return elements if start == len(array) else None


def _states(count: int, body: bytes) -> list[bytes]:
    states = cut(b"\xdd" + count.to_bytes(4, "big") + body)
    if states is None:
        raise ValueError("packed states that are not so many")
    return [_PAIR + state + _EMPTY_MAP for state in states]


def _header_size(count: int) -> int:
    return 1 if count < 16 else 3 if count < 65_536 else 5
