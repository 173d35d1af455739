"""Where serialised values stand that tasks have written: so that the next checkpoint refers to them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from itertools import accumulate
from sys import getsizeof
from typing import Any

from ..eventlog.event import PutWrites
from ..eventlog.value import Slice, Whole
from .pieces import MSGPACK, cut

__all__ = ["Written"]

# Smaller ones are no larger when they are stored again.
_MIN_BYTES = 64
# So many bytes are searched for each element; of more, there is a table of what they consist of.
_SEARCHED_BYTES = 16_384
_BYTES_BESIDE_A_VALUE = 300
_MIN_BYTES_OF_DICT = 512
# What msgpack begins with.
_LIST_OF_ONE = 0x91
_MAP_OF_ONE = 0x81
_SHORT_STR = 0xA0


class Written:
    """The values of the put_writes at one checkpoint that elements can be slices of. Usable from any thread.

    Attributes:
        objects: where messages and documents stand, (position, slot, offset), by what the serializer made of them.
    """

    __slots__ = ("_bytes", "_bytes_at", "_immutables", "_in_table", "_lock", "_places", "_table", "_values", "objects")

    def __init__(self) -> None:
        self.objects: dict[bytes, tuple[int, int, int]] = {}
        # Both by id, with the object itself, so that no other has that id: what the serializer made of what nothing can
        # change, and where that stands.
        self._immutables: dict[int, tuple[Any, Whole]] = {}
        self._places: dict[int, tuple[Whole, Slice]] = {}
        self._values: list[tuple[int, int, bytes]] = []
        self._bytes = 0
        self._bytes_at: dict[int, int] = {}
        self._table: dict[bytes, Slice] = {}
        self._in_table = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Give how many values there are."""
        return len(self._values)

    def add(self, data: PutWrites, position: int, again: Iterable[tuple[int, tuple[Any, ...]]] = ()) -> int:
        """Take in a put_writes that has been appended; give about how many bytes that takes in memory.

        Args:
            data: what was appended.
            position: where.
            again: what the next put may hold again, by slot: () for a write that is a message or document, or a list of
                nothing else; the values of a dict, in their order, if nothing can change them.
        """
        more = size = 0
        for slot, write in enumerate(data.writes):
            value = write.value
            if not isinstance(value, Whole):
                continue
            size += len(value.data)
            # Of an encrypted one, no element is ever a part.
            if len(value.data) >= _MIN_BYTES and value.tag == MSGPACK:
                self._values.append((position, slot, value.data))
                self._bytes += len(value.data)
                more += 2 * len(value.data) + _BYTES_BESIDE_A_VALUE
        self._bytes_at[position] = size
        for slot, immutables in again:
            value = data.writes[slot].value
            if not isinstance(value, Whole) or value.tag != MSGPACK:
                continue
            if not immutables:
                more += self._add_objects(position, slot, value.data)
            elif len(value.data) >= _MIN_BYTES_OF_DICT:
                more += self._add_immutables(position, slot, value.data, immutables)
        return more

    def _add_objects(self, position: int, slot: int, data: bytes) -> int:
        # An object is an extension to msgpack, and most lists are of one element: these need not be cut.
        first = data[0]
        elements = [data[1:]] if first == _LIST_OF_ONE else (cut(data) or []) if _is_array(first) else [data]
        offset, more = len(data) - sum(map(len, elements)), 0
        for element in elements:
            size = len(element)
            self.objects[element] = position, slot, offset
            offset += size
            more += size + _BYTES_BESIDE_A_VALUE
        return more

    def _add_immutables(self, position: int, slot: int, data: bytes, values: tuple[Any, ...]) -> int:
        more = 0
        for value, (offset, element) in zip(values, _values_of(data), strict=True):
            if len(element) >= _MIN_BYTES:
                whole = Whole(MSGPACK, element)
                self._immutables[id(value)] = value, whole
                self._places[id(whole)] = whole, Slice(MSGPACK, position, slot, offset, len(element))
                more += len(element) + getsizeof(value) + 3 * _BYTES_BESIDE_A_VALUE
        return more

    def immutable(self, value: Any) -> Whole | None:
        """Give what the serializer made of this very object, which nothing can change, as a value of a dict."""
        found = self._immutables.get(id(value))
        return None if found is None else found[1]

    def bytes_at(self, position: int) -> int:
        """Give how many bytes an event among them holds; 0 for others."""
        return self._bytes_at.get(position, 0)

    def find(self, element: Whole) -> Slice | None:
        """Give where an element's bytes stand, if they do."""
        wanted = element.data
        if element.tag != MSGPACK or len(wanted) < _MIN_BYTES:
            return None
        if (known := self._places.get(id(element))) is not None:
            return known[1]
        if (place := self.objects.get(wanted)) is not None:
            return Slice(MSGPACK, *place, len(wanted))
        if self._bytes > _SEARCHED_BYTES:
            return self._find_in_table(wanted)
        for position, slot, data in self._values:
            offset = data.find(wanted)
            if offset >= 0:
                return Slice(MSGPACK, position, slot, offset, len(wanted))
        return None

    def _find_in_table(self, wanted: bytes) -> Slice | None:
        with self._lock:
            while self._in_table < len(self._values):
                position, slot, data = self._values[self._in_table]
                self._in_table += 1
                for offset, piece in _pieces(data):
                    if len(piece) >= _MIN_BYTES:
                        self._table[piece] = Slice(MSGPACK, position, slot, offset, len(piece))
            return self._table.get(wanted)


def _values_of(data: bytes) -> list[tuple[int, bytes]]:
    """Give the values of a map: (offset, bytes)."""
    # Of a map of one, with a key of less than 32 bytes, the value is what is left: it may be large.
    if data[0] == _MAP_OF_ONE and data[1] & 0xE0 == _SHORT_STR:
        offset = 2 + (data[1] & 0x1F)
        return [(offset, data[offset:])]
    elements = cut(data, pairs=True) or []
    ends = list(accumulate(map(len, elements), initial=len(data) - sum(map(len, elements))))
    return list(zip(ends[1::2], elements[1::2], strict=True))


def _is_array(first: int) -> bool:
    return first & 0xF0 == 0x90 or first in (0xDC, 0xDD)


def _pieces(data: bytes) -> list[tuple[int, bytes]]:
    """Give what may be an element of another value: (offset, bytes), the value itself first."""
    found = [(0, data)]
    is_map = data[0] & 0xF0 == 0x80 or data[0] in (0xDE, 0xDF)
    elements = cut(data, pairs=is_map) or []
    offset = len(data) - sum(map(len, elements))
    for i, element in enumerate(elements):
        if not is_map or i % 2:
            found.append((offset, element))
        offset += len(element)
    return found
