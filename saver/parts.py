"""Values taken apart, serialised: a list or dict by its elements, anything else whole.

Only what is exactly a list, or exactly a dict with str keys, is taken apart, and only under JsonPlusSerializer (bare,
or inside of an EncryptedSerializer), of which it is known that a list is the list of its elements. Small values stay
whole: apart, they are larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Any

from langgraph.checkpoint.serde.base import CipherProtocol, SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ..eventlog.delta import weight
from ..eventlog.errors import EncodingError
from ..eventlog.plain import PlainDataError, pack
from ..eventlog.value import PLAIN_TAG, Value, Whole
from .serialising import dump, dump_plain

__all__ = ["Fingerprint", "Form", "Parts", "parts_of_plain", "parts_of_value", "take_apart"]

_MIN_BYTES_APART = 512
# Numbers and the like: ten thousand of them are faster, and smaller, in one piece.
_SMALL_TYPES = (int, float, bool, type(None))
_SMALL_TEXT = 32

# Of an element of one of these tags, the serializer makes the same in a list as by itself. A list of which one has
# to be pickled is pickled whole, so that what its other elements are does not change.
_SAME_APART = frozenset({"msgpack", "null", "bytes"})

# Identifies serialised bytes: the tag, and SHA-256 of the data.
Fingerprint = tuple[str, bytes]


class Form(Enum):
    """How a value is taken apart."""

    WHOLE = "whole"
    LIST = "list"
    DICT = "dict"


@dataclass(frozen=True, slots=True)
class Parts:
    """A value, taken apart and serialised, before encryption.

    Attributes:
        form: how.
        keys: of a dict; () otherwise.
        elements: its elements; of a whole value, the one that it is.
        fingerprints: what identifies each element.
        cipher: encrypts what is stored; None: nothing does.
    """

    form: Form
    keys: tuple[str, ...]
    elements: tuple[Whole, ...]
    fingerprints: tuple[Fingerprint, ...]
    cipher: CipherProtocol | None = None

    def stored(self, index: int) -> Whole:
        """Give an element as it is to be stored. Under encryption, anew each time."""
        element = self.elements[index]
        if self.cipher is None:
            return element
        name, data = self.cipher.encrypt(element.data)
        return Whole(f"{element.tag}+{name}", data)

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return weight(self.elements)


def take_apart(serde: SerializerProtocol, value: Any, channel: str) -> Parts:
    """Serialise a channel's value, by its elements where that is of use.

    Raises:
        EncodingError: it cannot be serialised; it says where.
    """
    # Exactly these: a subclass may do more.
    inner, cipher = serde, None
    if isinstance(serde, EncryptedSerializer) and type(serde) is EncryptedSerializer:
        inner, cipher = serde.serde, serde.cipher
    if type(inner) is JsonPlusSerializer:
        parts = _elements(inner, value, channel, cipher)
        if parts is not None:
            return parts
    return _parts(Form.WHOLE, (), (dump(inner, value, channel),), cipher)


def _elements(serde: SerializerProtocol, value: Any, channel: str, cipher: CipherProtocol | None) -> Parts | None:
    # Copies, each made in one step: another thread may be changing the value.
    if type(value) is list:
        items = list(value)
        form, keys = Form.LIST, ()
    elif type(value) is dict:
        copied = dict(value)
        if not all(type(key) is str for key in copied):
            return None
        form, keys, items = Form.DICT, tuple(copied), list(copied.values())
    else:
        return None
    if not _worth_it(items):
        return None
    try:
        elements = tuple(dump(serde, item, channel) for item in items)
    except EncodingError:
        return None  # serialised in one piece, it says at which place
    if weight(elements) < _MIN_BYTES_APART or not all(element.tag in _SAME_APART for element in elements):
        return None
    return _parts(form, keys, elements, cipher)


def _worth_it(items: list[Any]) -> bool:
    """Tell whether elements may be larger than what taking them apart costs, by a look at three of them."""
    sample = (items[0], items[len(items) // 2], items[-1]) if items else ()
    return not all(type(item) in _SMALL_TYPES or (type(item) is str and len(item) < _SMALL_TEXT) for item in sample)


def parts_of_plain(serde: SerializerProtocol, value: Any, field: str) -> Parts:
    """Take one of a checkpoint's own maps apart, as plain data if it is that, and with the serializer otherwise."""
    whole = dump_plain(serde, value, field)
    if whole.tag != PLAIN_TAG or len(whole.data) < _MIN_BYTES_APART or type(value) is not dict:
        return _parts(Form.WHOLE, (), (whole,), None)
    items = dict(value)
    if not all(type(key) is str for key in items):
        return _parts(Form.WHOLE, (), (whole,), None)
    try:
        elements = tuple(Whole(PLAIN_TAG, pack(item)) for item in items.values())
    except PlainDataError:
        return _parts(Form.WHOLE, (), (whole,), None)
    return _parts(Form.DICT, tuple(items), elements, None)


def parts_of_value(value: Value) -> Parts:
    """Give the parts of a value that was read from the log: as stored, encrypted or not."""
    if isinstance(value, tuple):
        return _parts(Form.LIST, (), value, None)
    if isinstance(value, dict):
        return _parts(Form.DICT, tuple(value), tuple(value.values()), None)
    return _parts(Form.WHOLE, (), (value,), None)


def _parts(form: Form, keys: tuple[str, ...], elements: tuple[Whole, ...], cipher: CipherProtocol | None) -> Parts:
    # The mark keeps a plaintext base from being mistaken for what an encrypting serializer would store.
    mark = "" if cipher is None else "+"
    prints = tuple((element.tag + mark, sha256(element.data).digest()) for element in elements)
    return Parts(form, keys, elements, prints, cipher)
