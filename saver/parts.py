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

import msgpack
from langgraph.checkpoint.serde.base import CipherProtocol, SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ..eventlog.delta import weight, weight_of_keys
from ..eventlog.plain import PlainDataError, pack, unpack
from ..eventlog.value import PLAIN_TAG, Value, Whole
from .serialising import dump, dump_plain

__all__ = ["Fingerprint", "Form", "Parts", "parts_of_plain", "parts_of_value", "take_apart"]

_MSGPACK = "msgpack"
_MIN_BYTES_APART = 512
# Of smaller ones, numbers and the like, ten thousand are faster, and smaller, in one piece.
_MIN_BYTES_AN_ELEMENT = 16

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
        size: about how many bytes it takes.
        cipher: encrypts what is stored; None: nothing does.
    """

    form: Form
    keys: tuple[str, ...]
    elements: tuple[Whole, ...]
    fingerprints: tuple[Fingerprint, ...]
    size: int
    cipher: CipherProtocol | None = None

    def stored(self, index: int) -> Whole:
        """Give an element as it is to be stored. Under encryption, anew each time."""
        element = self.elements[index]
        if self.cipher is None:
            return element
        name, data = self.cipher.encrypt(element.data)
        return Whole(f"{element.tag}+{name}", data)


def take_apart(serde: SerializerProtocol, value: Any, channel: str) -> Parts:
    """Serialise a channel's value, and cut what the serializer made into its elements where that is of use.

    Serialised once, in one piece: so that it is what the serializer makes of the whole, and of one moment, whatever
    another thread does to it meanwhile.

    Raises:
        EncodingError: it cannot be serialised; it says where.
    """
    inner, cipher = serde, None
    # Exactly these: a subclass may do more.
    if isinstance(serde, EncryptedSerializer) and type(serde) is EncryptedSerializer:
        inner, cipher = serde.serde, serde.cipher
    whole = dump(inner, value, channel)
    if type(inner) is JsonPlusSerializer and whole.tag == _MSGPACK and len(whole.data) >= _MIN_BYTES_APART:
        if type(value) is list:
            elements = _cut(whole.data, Form.LIST)
            if elements is not None:
                return _parts(Form.LIST, (), elements, cipher)
        # A dict's keys stand in the record as they are: under encryption they may not.
        elif type(value) is dict and cipher is None:
            items = _cut(whole.data, Form.DICT)
            keys = None if items is None else _keys(items[::2])
            if items is not None and keys is not None:
                return _parts(Form.DICT, keys, items[1::2], cipher)
    return _parts(Form.WHOLE, (), (whole,), cipher)


def _cut(data: bytes, form: Form) -> tuple[Whole, ...] | None:
    """Cut a msgpack array or map into the bytes of its elements (of a map, keys and values in turn).

    None, if it is not one, or its elements are so small that apart they would take more than together.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    try:
        count = unpacker.read_array_header() if form is Form.LIST else 2 * unpacker.read_map_header()
        if count == 0 or len(data) < _MIN_BYTES_AN_ELEMENT * count:
            return None
        elements, start = [], unpacker.tell()
        for _ in range(count):
            unpacker.skip()
            end = unpacker.tell()
            elements.append(Whole(_MSGPACK, data[start:end]))
            start = end
    except (ValueError, msgpack.UnpackException):
        return None
    return tuple(elements) if start == len(data) else None


def _keys(keys: tuple[Whole, ...]) -> tuple[str, ...] | None:
    decoded = tuple(unpack(key.data) for key in keys)
    return decoded if all(type(key) is str for key in decoded) else None


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
    return Parts(form, keys, elements, prints, weight(elements) + weight_of_keys(keys), cipher)
