"""What the elements of a list are at one moment, as bytes: they tell whether any has changed in place since.

Elements are mutable, and with durability="async" a graph changes them while they are being put. So an element's state
is packed first, in one call into C during which no other Python code runs, and what is serialised afterwards is a copy
made of these very bytes. Equal bytes, and equal types, then mean an equal serialisation, whatever happens in between.

Only what is known to be nothing but its state is covered: LangChain's own messages and documents, and plain data. An
element that holds anything else is serialised again each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import ormsgpack

from .models import MODELS, make_model, serialised_with
from .pieces import array_of, cut

__all__ = ["Snapshot", "common_prefix", "is_worth_it", "serialised_like", "take", "thaw"]

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


# So many times as many elements may there be as objects among them.
_MOST_BESIDES = 8
_LOOKED_AT = 64  # or up to twice as many of a longer list
# So many states are packed at once: few enough for the processor's cache, and for memory that is used again each time.
_CHUNK = 64


def _header(count: int) -> bytes:
    """Give the header of a chunk's array: it has fewer than 65,536 elements."""
    return bytes([0x90 | count]) if count < 16 else b"\xdc" + count.to_bytes(2, "big")


# By how many elements there are: what [[extra ...], [state ...]] begins with if every extra is an empty dict.
_BEGINNINGS = tuple(_PAIR + _header(count) + _EMPTY_MAP * count + _header(count) for count in range(_CHUNK + 1))


class Snapshot(NamedTuple):
    """A list's elements, each at one moment. A tuple: one is made for each list of each put.

    Attributes:
        types: of the elements, exactly.
        chunks: their packed states, one after the other, of `_CHUNK` elements each and the last of what is left, if all
            are objects that are covered and have no extras; None otherwise.
        packed: their packed states, None for those that are not covered, if there are no `chunks`; () otherwise.
    """

    types: tuple[type, ...]
    chunks: tuple[bytes, ...] | None
    packed: tuple[bytes | None, ...] = ()

    @property
    def memory(self) -> int:
        """About how many bytes it takes in memory."""
        beside = 100 + 16 * len(self.types)
        if self.chunks is None:
            return beside + sum(40 + len(state) for state in self.packed if state is not None)
        return beside + 40 * len(self.chunks) + sum(map(len, self.chunks))

    def states(self) -> Sequence[bytes | None]:
        """Give each element's packed state; None: it is not covered.

        Raises:
            ValueError: the bytes cannot be cut.
        """
        if self.chunks is None:
            return self.packed
        return [_state(self.chunks[0])] if len(self.types) == 1 else _states(len(self.types), self.chunks)

    def states_after(self, shorter: Snapshot) -> list[bytes]:
        """Give the packed states that a snapshot has beyond another, which it begins with.

        Raises:
            ValueError: the bytes cannot be cut.
        """
        assert self.chunks is not None
        assert shorter.chunks is not None
        count = len(shorter.types)
        # What is new, of a list that has grown by a few: of its last chunk, or of two.
        first, *more = self.chunks[count // _CHUNK :]
        rest = first[len(shorter.chunks[-1]) :] if count % _CHUNK else first
        added = len(self.types) - count
        return [_state(rest)] if added == 1 else _states(added, (rest, *more))


def is_worth_it(elements: Sequence[Any]) -> bool:
    """Tell whether there are objects among them, which take long to serialise, and not too much else.

    Plain data is serialised much faster than its elements are looked at one by one.
    """
    some = elements[:: len(elements) // _LOOKED_AT or 1]
    objects = sum(map(MODELS.__contains__, map(type, some)))
    return objects > 0 and objects * _MOST_BESIDES >= len(some)


def take(elements: list[Any], before: Snapshot | None = None) -> Snapshot:
    """Take a snapshot of a list that nobody else has. What is as it was `before` takes no more memory."""
    types = tuple(map(type, elements))
    if MODELS.issuperset(types):
        earlier = before.chunks or () if before is not None else ()
        chunks = []
        for i, start in enumerate(range(0, len(elements), _CHUNK)):
            chunk = _pack_chunk(elements[start : start + _CHUNK], earlier[i] if i < len(earlier) else None)
            if chunk is None:
                break
            chunks.append(chunk)
        else:
            return Snapshot(types, tuple(chunks))
    return Snapshot(types, None, tuple(_pack(element) for element in elements))


def _pack_chunk(elements: list[Any], before: bytes | None) -> bytes | None:
    """Give the states of objects, one after the other; None if one is not covered, or has extras.

    Gives those `before` themselves if these are the same: then nothing is copied.
    """
    try:
        states = [element.__dict__ for element in elements]
        extras = [element.__pydantic_extra__ for element in elements]
        packed = ormsgpack.packb([extras, states], option=_OPTIONS)
    except _CANNOT:
        return None
    # [[extra ...], [state ...]]: without extras, the first array is a byte for each. It comes first because bytes say
    # what they are only when they are read from the beginning.
    beginning = _BEGINNINGS[len(elements)]
    if packed.startswith(beginning):
        if before is not None and len(packed) == len(beginning) + len(before) and packed.endswith(before):
            return before
        return packed[len(beginning) :]
    header = len(_header(len(elements)))
    end = 1 + header + len(elements)
    return None if packed[1 + header : end].strip(_EMPTY_MAP + _NIL) else packed[end + header :]


def _pack(element: Any) -> bytes | None:
    try:
        if type(element) not in MODELS:
            return ormsgpack.packb(element, option=_OPTIONS)
        extra = element.__pydantic_extra__
        return ormsgpack.packb([element.__dict__, {} if extra is None else extra], option=_OPTIONS)
    except _CANNOT:
        return None


def common_prefix(old: Snapshot, new: Snapshot) -> int | None:
    """Give how many elements a list keeps if it has only grown at its end, or lost some there; None if it has not."""
    if old.chunks is None or new.chunks is None:
        return None
    shorter, longer = (old, new) if len(old.types) <= len(new.types) else (new, old)
    assert shorter.chunks is not None
    assert longer.chunks is not None
    count = len(shorter.types)
    full = count // _CHUNK
    if longer.types[:count] != shorter.types or longer.chunks[:full] != shorter.chunks[:full]:
        return None
    # No packed state is the beginning of another, so that equal bytes are so many equal states.
    if count % _CHUNK and not longer.chunks[full].startswith(shorter.chunks[full]):
        return None
    return count


def thaw(cls: Any, state: bytes) -> Any:
    """Give a new object of the state that was packed.

    Raises:
        ValueError: it cannot be read: a msgpack extension for instance, which is packed as it is.
    """
    unpacked = ormsgpack.unpackb(state)
    if cls not in MODELS:
        return unpacked
    fields, extra = unpacked
    return make_model(cls, fields, extra, set(), None)


def serialised_like(cls: Any, state: bytes) -> bytes | None:
    """Give the bytes that the serializer makes of an object of this state if it has made them of one of this type.

    None: there are no such bytes.

    Raises:
        ValueError: the state cannot be read.
    """
    if cls not in MODELS:
        return None
    fields, extra = ormsgpack.unpackb(state)
    # Its extras would stand among its fields. An empty dict is packed to one byte.
    return None if extra else serialised_with(cls, fields, state[len(_PAIR) : -len(_EMPTY_MAP)])


def _states(count: int, chunks: Iterable[bytes]) -> list[bytes]:
    states = cut(array_of(count, chunks))
    if states is None:
        raise ValueError("packed states that are not so many")
    return list(map(_state, states))


def _state(fields: bytes) -> bytes:
    """Give the state of an object without extras, as `_pack` packs it."""
    return _PAIR + fields + _EMPTY_MAP
