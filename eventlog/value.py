"""Values as the log stores them (FORMAT.md section 5). Pure; knows nothing of what a value means.

`Whole` is what a serializer made; lists and dicts may be stored by their elements. The other kinds say how a value
differs from what an earlier put holds for the same channel: `resolve.py` puts them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

__all__ = [
    "PLAIN_TAG",
    "Carried",
    "DictOf",
    "Edit",
    "Element",
    "ListOf",
    "Patch",
    "Slice",
    "Splice",
    "Stored",
    "Value",
    "ValueFormatError",
    "Whole",
    "bases_of_value",
    "decode_value",
    "encode_value",
    "moved",
    "stored_bytes",
]

# Persisted: do not change.
PLAIN_TAG = "="
_WHOLE = 0
_CARRIED = 1
_LIST = 2
_SPLICE = 3
_DICT = 4
_EDIT = 5
_PATCH = 6


class ValueFormatError(ValueError):
    """A stored value is not laid out as FORMAT.md says."""


# Not frozen: a list has one for each of its elements, each put makes several, and a frozen one takes two to three times
# as long to make. Nobody changes one.
@dataclass(slots=True, unsafe_hash=True)
class Whole:
    """A value, or an element of one, as its serializer gave it: type tag and bytes."""

    tag: str
    data: bytes


@dataclass(slots=True, unsafe_hash=True)
class Slice:
    """An element whose bytes stand in a put_writes already: in the data of its write number `slot`."""

    tag: str
    base: int
    slot: int
    offset: int
    length: int


Element = Whole | Slice


@dataclass(slots=True, unsafe_hash=True)
class Carried:
    """What the same channel holds in the put at position `base`, which stores it itself."""

    base: int


@dataclass(slots=True, unsafe_hash=True)
class ListOf:
    """A list, by its elements."""

    elements: tuple[Element, ...]


@dataclass(slots=True, unsafe_hash=True)
class Splice:
    """The base's first `prefix` elements, the inserted ones, the base's last `suffix` elements."""

    base: int
    prefix: int
    inserted: tuple[Element, ...]
    suffix: int


@dataclass(slots=True, unsafe_hash=True)
class DictOf:
    """A dict with str keys, by its items, in their order."""

    items: tuple[tuple[str, Element], ...]


@dataclass(slots=True, unsafe_hash=True)
class Edit:
    """The base's dict without the removed keys, the changed ones in place or at the end; then permuted, if need be."""

    base: int
    changed: tuple[tuple[str, Element], ...]
    removed: tuple[str, ...]
    order: tuple[int, ...] | None = None


@dataclass(slots=True, unsafe_hash=True)
class Patch:
    """Bytes: a zstd frame, with the base's data as raw-content dictionary; `size` is what it decompresses to."""

    base: int
    tag: str
    size: int
    frame: bytes


Stored = Whole | Carried | ListOf | Splice | DictOf | Edit | Patch
_REFERRING = (Carried, Splice, Edit, Patch)  # isinstance() with a union is slow
# A value, references resolved.
Value = Whole | tuple[Whole, ...] | dict[str, Whole]


def bases_of_value(value: Stored) -> set[int]:
    """Give the positions that a stored value refers to."""
    bases = {value.base} if isinstance(value, _REFERRING) else set()
    for element in _elements(value):
        if type(element) is Slice:
            bases.add(element.base)
    return bases


def moved(value: Stored, at: Mapping[int, int]) -> Stored:
    """Give a value that refers to another event where `at` says that what it refers to now stands there.

    Elements stay where they are.
    """
    if isinstance(value, _REFERRING) and value.base in at:
        return replace(value, base=at[value.base])
    return value


def _elements(value: Stored) -> tuple[Element, ...]:
    match value:
        case Splice():
            return value.inserted
        case ListOf():
            return value.elements
        case Edit():
            return tuple([element for _, element in value.changed])
        case DictOf():
            return tuple([element for _, element in value.items])
    return ()


def stored_bytes(value: Stored) -> int:
    """Give how many bytes a stored value holds of its own: tags, data, keys and patches; what it refers to is not."""
    match value:
        case Whole():
            return len(value.tag) + len(value.data)
        case Carried():
            return 0
        case Patch():
            return len(value.tag) + len(value.frame)
    size = sum(len(e.tag) + (len(e.data) if type(e) is Whole else 0) for e in _elements(value))
    if isinstance(value, Edit):
        return size + sum(len(key) for key, _ in value.changed) + sum(map(len, value.removed))
    return size + sum(len(key) for key, _ in value.items) if isinstance(value, DictOf) else size


def encode_value(value: Stored, base_index: Mapping[int, int]) -> list[Any]:
    """Give the array that stands in a body. `base_index` tells where each base stands in the record's header."""
    match value:
        case Whole():
            return [_WHOLE, value.tag, value.data]
        case Carried():
            return [_CARRIED, base_index[value.base]]
        case ListOf():
            return [_LIST, _arrays(value.elements, base_index)]
        case Splice():
            inserted = _arrays(value.inserted, base_index)
            return [_SPLICE, base_index[value.base], value.prefix, inserted, value.suffix]
        case DictOf():
            return [_DICT, _item_arrays(value.items, base_index)]
        case Edit():
            changed = _item_arrays(value.changed, base_index)
            order = None if value.order is None else list(value.order)
            return [_EDIT, base_index[value.base], changed, list(value.removed), order]
        case Patch():
            return [_PATCH, base_index[value.base], value.tag, value.size, value.frame]


def _arrays(elements: Iterable[Element], base_index: Mapping[int, int]) -> list[list[Any]]:
    return [
        [e.tag, e.data] if isinstance(e, Whole) else [e.tag, base_index[e.base], e.slot, e.offset, e.length]
        for e in elements
    ]


def _item_arrays(items: tuple[tuple[str, Element], ...], base_index: Mapping[int, int]) -> list[list[Any]]:
    arrays = _arrays([element for _, element in items], base_index)
    return [[key, array] for (key, _), array in zip(items, arrays, strict=True)]


def decode_value(array: Any, bases: tuple[int, ...]) -> Stored:
    """Read the array that stands in a body.

    Raises:
        ValueFormatError: it is not one that this version knows, or names a base that is not in the header.
    """
    # Reading a value means reading every difference on the way to it: plain comparisons are several times as fast as
    # matching patterns.
    if type(array) is not list or not array or type(array[0]) is not int:
        raise ValueFormatError("a value is not an array that begins with its kind")
    kind, count = array[0], len(array)
    if kind == _WHOLE and count == 3 and type(array[1]) is str and type(array[2]) is bytes:
        return Whole(array[1], array[2])
    if kind == _CARRIED and count == 2:
        return Carried(_base(array[1], bases))
    if kind == _SPLICE and count == 5 and type(array[3]) is list:
        inserted = _elements_of(array[3], bases)
        return Splice(_base(array[1], bases), _count(array[2]), inserted, _count(array[4]))
    if kind == _LIST and count == 2 and type(array[1]) is list:
        return ListOf(_elements_of(array[1], bases))
    if kind == _DICT and count == 2 and type(array[1]) is list:
        return DictOf(_items(array[1], bases))
    if kind == _EDIT and count == 5 and type(array[2]) is list and type(array[3]) is list:
        changed = _items(array[2], bases)
        return Edit(_base(array[1], bases), changed, _keys(array[3]), _order(array[4]))
    if kind == _PATCH and count == 5 and type(array[2]) is str and type(array[4]) is bytes:
        return Patch(_base(array[1], bases), array[2], _count(array[3]), array[4])
    raise ValueFormatError("a value has a kind or form that this version does not know")


# The parts of values, each of which may be hostile.


def _base(index: Any, bases: tuple[int, ...]) -> int:
    if type(index) is not int or not 0 <= index < len(bases):
        raise ValueFormatError("a value names a base that is not in the header")
    return bases[index]


def _count(number: Any) -> int:
    if type(number) is not int or not 0 <= number < 1 << 63:
        raise ValueFormatError("a value has a number that is not a count")
    return number


def _element(array: Any, bases: tuple[int, ...]) -> Element:
    if type(array) is list and array and type(array[0]) is str:
        if len(array) == 2 and type(array[1]) is bytes:
            return Whole(array[0], array[1])
        if len(array) == 5:
            tag, index, slot, offset, length = array
            return Slice(tag, _base(index, bases), _count(slot), _count(offset), _count(length))
    raise ValueFormatError("a value has an element of a form that this version does not know")


def _elements_of(arrays: list[Any], bases: tuple[int, ...]) -> tuple[Element, ...]:
    # By far the most are whole; checked here, without a call for each.
    return tuple(
        [
            Whole(e[0], e[1])
            if type(e) is list and len(e) == 2 and type(e[0]) is str and type(e[1]) is bytes
            else _element(e, bases)
            for e in arrays
        ]
    )


def _items(array: list[Any], bases: tuple[int, ...]) -> tuple[tuple[str, Element], ...]:
    items = []
    for item in array:
        if type(item) is not list or len(item) != 2 or type(item[0]) is not str:
            raise ValueFormatError("a value has an item that is not a key and an element")
        items.append((item[0], _element(item[1], bases)))
    if len({key for key, _ in items}) != len(items):
        raise ValueFormatError("a value names a key twice")
    return tuple(items)


def _keys(array: list[Any]) -> tuple[str, ...]:
    if not all(type(key) is str for key in array) or len(set(array)) != len(array):
        raise ValueFormatError("a value removes something else than keys, once each")
    return tuple(array)


def _order(array: Any) -> tuple[int, ...] | None:
    if array is None:
        return None
    if type(array) is not list or not all(type(i) is int for i in array):
        raise ValueFormatError("a value has an order that is not one")
    if sorted(array) != list(range(len(array))):
        raise ValueFormatError("a value has an order that does not name each place once")
    return tuple(array)
