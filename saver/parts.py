"""Values taken apart, serialised: a list or dict by its elements, anything else whole.

Only what is exactly a list, or exactly a dict with str keys, is taken apart, and only under JsonPlusSerializer (bare,
or inside of an EncryptedSerializer), of which it is known that a list is the list of its elements. Small values stay
whole: apart, they are larger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.serde.base import CipherProtocol, SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ..eventlog.delta import weight, weight_of_keys
from ..eventlog.plain import PlainDataError, pack, unpack
from ..eventlog.value import PLAIN_TAG, Value, Whole
from .known import NOTHING, Form, KnownValue
from .serialising import dump, dump_plain
from .snapshot import Snapshot, common_prefix, cut, is_worth_it, take, thaw

__all__ = ["Parts", "parts_of_plain", "parts_of_value", "pieces", "take_apart"]

_MSGPACK = "msgpack"
_MIN_BYTES_APART = 512
# Of smaller ones, numbers and the like, ten thousand are faster, and smaller, in one piece.
_MIN_BYTES_AN_ELEMENT = 16
# Nothing can change what is exactly one of these.
_IMMUTABLE = frozenset({type(None), bool, int, float, str, bytes})


@dataclass(frozen=True, slots=True)
class Parts:
    """A value, taken apart and serialised, before encryption.

    Attributes:
        form: how.
        keys: of a dict; () otherwise.
        elements: its elements; of a whole value, the one that it is.
        size: about how many bytes it takes.
        cipher: encrypts what is stored; None: nothing does.
        kept: how many elements of the known value it begins, and ends, with; None: that has not been looked at.
        given: the object that it was made of, if that can never change in place.
        snapshot: of the list that it was made of, if one was taken.
    """

    form: Form
    keys: tuple[str, ...]
    elements: tuple[Whole, ...]
    size: int
    cipher: CipherProtocol | None = None
    kept: tuple[int, int] | None = None
    given: Any = NOTHING
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
        return Whole(f"{element.tag}+{name}", data)


def take_apart(serde: SerializerProtocol, value: Any, channel: str, known: KnownValue | None) -> Parts:
    """Serialise a channel's value, and cut what the serializer made into its elements where that is of use.

    The outcome is what the serializer makes of the whole value. What has provably not changed since the `known` value
    was made, by the same serializer, is not serialised again. Another thread may be changing the value meanwhile: of
    messages, each is what it was at one moment, of plain data, all of it.

    Raises:
        EncodingError: it cannot be serialised; it says where.
    """
    inner, cipher = serde, None
    # Exactly these: a subclass may do more.
    if isinstance(serde, EncryptedSerializer) and type(serde) is EncryptedSerializer:
        inner, cipher = serde.serde, serde.cipher
    # Another may make something else of the very same value the next time.
    if type(inner) is not JsonPlusSerializer:
        return _whole(dump(inner, value, channel), cipher)
    if type(value) in _IMMUTABLE:
        if known is not None and known.given is value:
            return Parts(known.form, known.keys, known.elements, known.size, cipher, (1, 0), value)
        whole = dump(inner, value, channel)
        return Parts(Form.WHOLE, (), (whole,), weight((whole,)), cipher, None, value)
    if type(value) is list and is_worth_it(value):
        parts = _list_of_objects(inner, list(value), known, cipher)
        if parts is not None:
            return parts
    whole = dump(inner, value, channel)
    if whole.tag == _MSGPACK and len(whole.data) >= _MIN_BYTES_APART:
        if type(value) is list:
            elements = cut(whole.data)
            if elements and len(whole.data) >= _MIN_BYTES_AN_ELEMENT * len(elements):
                return _parts(Form.LIST, (), tuple(Whole(_MSGPACK, e) for e in elements), cipher)
        # A dict's keys stand in the record as they are: under encryption they may not.
        elif type(value) is dict and cipher is None:
            items = cut(whole.data, pairs=True)
            if items and len(whole.data) >= _MIN_BYTES_AN_ELEMENT * len(items):
                keys = tuple(unpack(key) for key in items[::2])
                if all(type(key) is str for key in keys):
                    return _parts(Form.DICT, keys, tuple(Whole(_MSGPACK, e) for e in items[1::2]), cipher)
    return _whole(whole, cipher)


def _list_of_objects(
    serde: JsonPlusSerializer, value: list[Any], known: KnownValue | None, cipher: CipherProtocol | None
) -> Parts | None:
    """Take a list apart by serialising those of its elements that have changed; None: do it in one piece."""
    try:
        return _changed_objects(serde, value, known, cipher)
    except ValueError:  # something in it could be packed, and cannot be unpacked
        return None


def _changed_objects(
    serde: JsonPlusSerializer, value: list[Any], known: KnownValue | None, cipher: CipherProtocol | None
) -> Parts | None:
    snapshot = take(value)
    before = None if known is None or known.form is not Form.LIST else known.snapshot
    kept = None if before is None else common_prefix(before, snapshot)
    if known is None or before is None or kept is None:
        elements = _elements(
            serde, value, snapshot, {} if known is None or before is None else _by_state(known, before)
        )
        if elements is None:
            return None
        size, ends = weight(elements), None
    else:
        types = snapshot.types[kept:]
        states = snapshot.states_after(before) if types else ()
        added = _serialised(serde, [thaw(cls, state) for cls, state in zip(types, states, strict=True)])
        if added is None:
            return None
        elements, ends = known.elements[:kept] + added, (kept, 0)
        size = known.size - weight(known.elements[kept:]) + weight(added)
    if size < _MIN_BYTES_APART:
        return None
    return Parts(Form.LIST, (), elements, size, cipher, ends, NOTHING, snapshot)


def _elements(
    serde: JsonPlusSerializer, value: list[Any], snapshot: Snapshot, same: Mapping[tuple[type, bytes], Whole]
) -> tuple[Whole, ...] | None:
    """Give a list's elements: by type and state those that are the `same` as earlier ones, and the others anew."""
    found: list[Whole | None] = []
    objects = []
    for element, cls, state in zip(value, snapshot.types, snapshot.states(), strict=True):
        found.append(None if state is None else same.get((cls, state)))
        if found[-1] is None:
            objects.append(element if state is None else thaw(cls, state))
    made = _serialised(serde, objects)
    if made is None:
        return None
    new = iter(made)
    return tuple(next(new) if element is None else element for element in found)


def _by_state(known: KnownValue, snapshot: Snapshot) -> dict[tuple[type, bytes], Whole]:
    states = zip(snapshot.types, snapshot.states(), known.elements, strict=True)
    return {(cls, state): element for cls, state, element in states if state is not None}


def _serialised(serde: JsonPlusSerializer, objects: list[Any]) -> tuple[Whole, ...] | None:
    """Serialise objects as the elements of a list; None if they are not all msgpack."""
    if not objects:
        return ()
    try:
        tag, data = serde.dumps_typed(objects)
    except Exception:
        return None  # serialising the whole value says what is wrong, and where
    elements = cut(data) if tag == _MSGPACK else None
    return None if elements is None else tuple(Whole(_MSGPACK, element) for element in elements)


def parts_of_plain(serde: SerializerProtocol, value: Any, field: str) -> Parts:
    """Take one of a checkpoint's own maps apart, as plain data if it is that, and with the serializer otherwise."""
    whole = dump_plain(serde, value, field)
    if whole.tag != PLAIN_TAG or len(whole.data) < _MIN_BYTES_APART or type(value) is not dict:
        return _whole(whole)
    items = dict(value)
    if not all(type(key) is str for key in items):
        return _whole(whole)
    try:
        elements = tuple(Whole(PLAIN_TAG, pack(item)) for item in items.values())
    except PlainDataError:
        return _whole(whole)
    return _parts(Form.DICT, tuple(items), elements)


def parts_of_value(value: Value) -> Parts:
    """Give the parts of a value that was read from the log: as stored, encrypted or not."""
    if isinstance(value, tuple):
        return _parts(Form.LIST, (), value)
    if isinstance(value, dict):
        return _parts(Form.DICT, tuple(value), tuple(value.values()))
    return _whole(value)


def pieces(whole: Whole) -> list[tuple[int, bytes]]:
    """Give what may be an element of another value: (offset, bytes), the value itself first. Nothing if encrypted."""
    if whole.tag != _MSGPACK or not whole.data:
        return []
    found = [(0, whole.data)]
    first = whole.data[0]
    is_map = first & 0xF0 == 0x80 or first in (0xDE, 0xDF)
    elements = cut(whole.data, pairs=is_map) or []
    offset = len(whole.data) - sum(map(len, elements))
    for i, element in enumerate(elements):
        if not is_map or i % 2:
            found.append((offset, element))
        offset += len(element)
    return found


def _parts(
    form: Form, keys: tuple[str, ...], elements: tuple[Whole, ...], cipher: CipherProtocol | None = None
) -> Parts:
    return Parts(form, keys, elements, weight(elements) + weight_of_keys(keys), cipher)


def _whole(whole: Whole, cipher: CipherProtocol | None = None) -> Parts:
    return _parts(Form.WHOLE, (), (whole,), cipher)
