"""Values taken apart, serialised: a list or dict by its elements, anything else whole.

Only what is exactly a list, or exactly a dict with str keys, is taken apart, and only under JsonPlusSerializer (bare,
or inside of an EncryptedSerializer), of which it is known that a list is the list of its elements. Small values stay
whole: apart, they are larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from langgraph.checkpoint.serde.base import CipherProtocol, SerializerProtocol

from ..eventlog.delta import COST_OF_ELEMENT, weight, weight_of_keys
from ..eventlog.plain import PlainDataError, pack, unpack
from ..eventlog.value import PLAIN_TAG, Value, Whole
from .pieces import MSGPACK, cut
from .serialising import dump
from .snapshot import Snapshot

__all__ = [
    "CIPHER_MARK",
    "DICT",
    "LIST",
    "NOTHING",
    "WHOLE",
    "Form",
    "Parts",
    "cut_apart",
    "is_small",
    "is_small_for",
    "parts_of_plain",
    "parts_of_value",
    "whole_parts",
]

_MIN_BYTES_APART = 512
# Of smaller ones, numbers and the like, ten thousand are faster, and smaller, in one piece.
_MIN_BYTES_AN_ELEMENT = 16
# In the type tags of what EncryptedSerializer has made.
CIPHER_MARK = "+"
# In the place of an object, since None is one.
NOTHING: Any = object()


class Form(Enum):
    """How a value is taken apart."""

    WHOLE = "whole"
    LIST = "list"
    DICT = "dict"


# To look up an enum's member takes longer than to compare with it.
WHOLE, LIST, DICT = Form


@dataclass(slots=True)
class Parts:
    """A value, taken apart and serialised, before encryption.

    Never changed. Not frozen, because several are made for each put: that would take three times as long.

    Attributes:
        form: how.
        keys: of a dict; () otherwise.
        elements: its elements; of a whole value, the one that it is.
        size: about how many bytes it takes in a record, in full.
        cipher: encrypts what is stored; None: nothing does.
        kept: how many elements of the parts it was compared with it begins, and ends, with; None: it was not.
        given: what it was made of, if that can never change in place: the object, or a dict's values.
        given_sizes: the bytes that each of these takes in memory, or took: a str grows when it is serialised.
        snapshot: of the list that it was made of, if one was taken.
    """

    form: Form
    keys: tuple[str, ...]
    elements: tuple[Whole, ...]
    size: int
    cipher: CipherProtocol | None = None
    kept: tuple[int, int] | None = None
    given: Any = NOTHING
    given_sizes: tuple[int, ...] = ()
    snapshot: Snapshot | None = None

    @property
    def encrypted(self) -> bool:
        """Whether what is stored is encrypted, and the elements are not."""
        return self.cipher is not None

    def stored(self, index: int) -> Whole:
        """Give an element as it is to be stored. Under encryption, anew each time."""
        element = self.elements[index]
        if self.cipher is None:
            return element
        name, data = self.cipher.encrypt(element.data)
        return Whole(f"{element.tag}{CIPHER_MARK}{name}", data)


def is_small(size: int) -> bool:
    """Tell whether a value of so many bytes stays whole."""
    return size < _MIN_BYTES_APART


def is_small_for(size: int, count: int) -> bool:
    """Tell whether so many bytes are too few for so many elements to stand apart."""
    return size < _MIN_BYTES_AN_ELEMENT * count


def cut_apart(whole: Whole, kind: type, cipher: CipherProtocol | None) -> Parts:
    """Cut what the serializer made of a list or dict into its elements, if they are not too small.

    Args:
        whole: what it made.
        kind: of what: exactly list, exactly dict, or anything else, which stays whole.
        cipher: encrypts what is stored.
    """
    size = len(whole.data)
    if whole.tag == MSGPACK and not is_small(size):
        if kind is list:
            elements = cut(whole.data)
            if elements and not is_small_for(size, len(elements)):
                return _parts(LIST, (), tuple(Whole(MSGPACK, e) for e in elements), cipher)
        # A dict's keys stand in the record as they are: under encryption they may not.
        elif kind is dict and cipher is None:
            items = cut(whole.data, pairs=True)
            if items and not is_small_for(size, len(items)):
                keys = tuple(unpack(key) for key in items[::2])
                if all(type(key) is str for key in keys):
                    return _parts(DICT, keys, tuple(Whole(MSGPACK, e) for e in items[1::2]), cipher)
    return whole_parts(whole, cipher)


def parts_of_plain(serde: SerializerProtocol, value: Any, field: str) -> Parts:
    """Take one of a checkpoint's own maps apart, as plain data if it is that, and with the serializer otherwise."""
    try:
        whole = Whole(PLAIN_TAG, pack(value))
    except PlainDataError:
        return whole_parts(dump(serde, value, field))
    if is_small(len(whole.data)) or type(value) is not dict:
        return whole_parts(whole)
    items = dict(value)
    if not all(type(key) is str for key in items):
        return whole_parts(whole)
    try:
        elements = tuple([Whole(PLAIN_TAG, pack(item)) for item in items.values()])
    except PlainDataError:
        return whole_parts(whole)
    return _parts(DICT, tuple(items), elements)


def parts_of_value(value: Value) -> Parts:
    """Give the parts of a value that was read from the log: as stored, encrypted or not."""
    if isinstance(value, tuple):
        return _parts(LIST, (), value)
    if isinstance(value, dict):
        return _parts(DICT, tuple(value), tuple(value.values()))
    return whole_parts(value)


def _parts(
    form: Form, keys: tuple[str, ...], elements: tuple[Whole, ...], cipher: CipherProtocol | None = None
) -> Parts:
    return Parts(form, keys, elements, weight(elements) + weight_of_keys(keys), cipher)


def whole_parts(whole: Whole, cipher: CipherProtocol | None = None) -> Parts:
    """Give the parts of a value that stays in one piece."""
    return Parts(WHOLE, (), (whole,), len(whole.data) + COST_OF_ELEMENT, cipher)
