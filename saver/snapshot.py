"""What the elements of a list are at one moment, as bytes: they tell whether any has changed in place since.

Elements are mutable, and with durability="async" a graph changes them while they are being put. So an element's state
is packed first, in one call into C during which no other Python code runs, and what is serialised afterwards is a copy
made of these very bytes. Equal bytes, and equal types, then mean an equal serialisation, whatever happens in between.

Only what is known to be nothing but its state is covered: LangChain's own messages and documents, and plain data. An
element that holds anything else is serialised again each time.

Packing everything that is known is most of what a put of a long chat does. So objects are witnessed when they are
packed, where that is possible: those that a witness vouches for are not packed again, nor looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ormsgpack

from .models import MODELS, make_model, serialised_with
from .pieces import array_of, cut
from .witness import NO_OBJECTS

if TYPE_CHECKING:
    from ._witness import Witness

__all__ = [
    "Snapshot",
    "common_prefix",
    "is_worth_it",
    "serialised_like",
    "state_of",
    "take",
    "take_one_more",
    "thaw",
    "unchanged",
]

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


@dataclass(slots=True)
class Snapshot:
    """A list's elements, each at one moment. Never changed; not frozen, since one is made for each list of each put.

    Attributes:
        types: of the elements, exactly.
        chunks: their packed states, one after the other, of `_CHUNK` elements each and the last of what is left, if all
            are objects that are covered and have no extras; None otherwise.
        packed: their packed states, None for those that are not covered, if there are no `chunks`; () otherwise.
        witness: its first objects are the elements, as they were when these were their states; None: there is none.
    """

    types: tuple[type, ...]
    chunks: tuple[bytes, ...] | None
    packed: tuple[bytes | None, ...] = ()
    witness: Witness | None = None

    @property
    def memory(self) -> int:
        """About how many bytes it takes in memory, and the elements, if it holds them."""
        beside = 100 + 16 * len(self.types)
        if self.chunks is None:
            return beside + sum(40 + len(state) for state in self.packed if state is not None)
        held = 0 if self.witness is None else self.witness.memory(len(self.types))
        return beside + 40 * len(self.chunks) + sum(map(len, self.chunks)) + held

    def states(self) -> Sequence[bytes | None]:
        """Give each element's packed state; None: it is not covered.

        Raises:
            ValueError: the bytes cannot be cut.
        """
        if self.chunks is None:
            return self.packed
        return [state_of(self.chunks[0])] if len(self.types) == 1 else _states(len(self.types), self.chunks)

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
        return [state_of(rest)] if added == 1 else _states(added, (rest, *more))


_EMPTY = Snapshot((), ())


def is_worth_it(elements: Sequence[Any]) -> bool:
    """Tell whether there are objects among them, which take long to serialise, and not too much else.

    Plain data is serialised much faster than its elements are looked at one by one.
    """
    some = elements[:: len(elements) // _LOOKED_AT or 1]
    objects = sum(map(MODELS.__contains__, map(type, some)))
    return objects > 0 and objects * _MOST_BESIDES >= len(some)


def unchanged(elements: list[Any], before: Snapshot | None) -> tuple[int, list[Any]] | None:
    """Look at a list, which others may be changing, and whether it is worth it to take a snapshot; None: it is not.

    Returns:
        How many elements it begins with that provably are those of `before`, as they were then, and a copy of the
        others. Both are of one moment.
    """
    if before is not None and before.witness is not None:
        kept, others = before.witness.unchanged(len(before.types), elements, _CHUNK)
        if kept and kept * _MOST_BESIDES >= len(others):
            return kept, others
    return (0, list(elements)) if is_worth_it(elements) else None


def take(elements: list[Any], before: Snapshot | None = None, kept: int = 0) -> Snapshot:
    """Take a snapshot of a list that nobody else has. What is as it was `before` takes no more memory.

    Args:
        elements: of the list, without those that were kept.
        before: an earlier snapshot.
        kept: how many the list begins with that are those of the earlier one, as `unchanged` gives it.
    """
    types = tuple(map(type, elements))
    if before is None or before.chunks is None:
        before = _EMPTY
    if kept == len(before.types) and kept and not types:
        return before
    if MODELS.issuperset(types):
        taken = _take_chunks(elements, types, before, kept)
        if taken is not None:
            return taken
    known = before.states()[:kept] if kept else ()
    return Snapshot(before.types[:kept] + types, None, (*known, *map(_pack, elements)))


def _take_chunks(elements: list[Any], types: tuple[type, ...], before: Snapshot, kept: int) -> Snapshot | None:
    """Take a snapshot of objects; None if one is not covered, or has extras."""
    assert before.chunks is not None
    full, open_ = divmod(kept, _CHUNK)  # if one is open, it is the last of all that were there before
    chunks = list(before.chunks[:full])
    first = before.chunks[full] if open_ else b""
    witness = before.witness if kept else NO_OBJECTS
    start, end = 0, _CHUNK - open_
    while start < len(elements):
        earlier = before.chunks[len(chunks)] if len(chunks) < len(before.chunks) and not first else None
        try:
            packed, witness = _pack_objects(elements[start:end], types[start:end], witness, kept + start)
        except _CANNOT:
            return None
        states = _states_alone(packed, min(end, len(elements)) - start, earlier)
        if states is None:
            return None
        chunks.append(first + states)
        first, start, end = b"", end, end + _CHUNK
    return Snapshot(before.types[:kept] + types, tuple(chunks), witness=witness)


def take_one_more(element: Any, before: Snapshot) -> tuple[Snapshot, bytes, list[str]] | None:
    """Take a snapshot of a list that is as it was `before`, but for one element that it has grown by.

    What `take` comes to, for less: a chat grows like this at nearly each put. It takes a witness.

    Returns:
        The snapshot, the element's fields, packed, and their names; None: it is not covered, or has extras, so that
        `take` is needed.
    """
    cls, count, chunks = type(element), len(before.types), before.chunks
    if cls not in MODELS or chunks is None or before.witness is None:
        return None
    packed = before.witness.pack_one(count, element, cls, ormsgpack.packb, _OPTIONS)
    if packed is None:
        return None
    fields, names, witness = packed
    chunks = (*chunks[:-1], chunks[-1] + fields) if count % _CHUNK else (*chunks, fields)
    return Snapshot((*before.types, cls), chunks, witness=witness), fields, names


def _pack_objects(
    elements: list[Any], types: tuple[type, ...], witness: Witness | None, seen: int
) -> tuple[bytes, Witness | None]:
    """Give [[extra ...], [state ...]], and a witness of these objects and of the first that another has seen."""
    if witness is not None:
        return witness.pack(seen, elements, types, ormsgpack.packb, _OPTIONS)
    states = [element.__dict__ for element in elements]
    extras = [element.__pydantic_extra__ for element in elements]
    return ormsgpack.packb([extras, states], option=_OPTIONS), None


def _states_alone(packed: bytes, count: int, before: bytes | None) -> bytes | None:
    """Give the states of [[extra ...], [state ...]], one after the other; None if there are extras.

    Gives those `before` themselves if these are the same: then nothing is copied.
    """
    # Without extras, the first array is a byte for each. It comes first because bytes say what they are only when they
    # are read from the beginning.
    beginning = _BEGINNINGS[count]
    if packed.startswith(beginning):
        if before is not None and len(packed) == len(beginning) + len(before) and packed.endswith(before):
            return before
        return packed[len(beginning) :]
    header = len(_header(count))
    end = 1 + header + count
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
    return list(map(state_of, states))


def state_of(fields: bytes) -> bytes:
    """Give the state of an object without extras, as `_pack` packs it."""
    return _PAIR + fields + _EMPTY_MAP
