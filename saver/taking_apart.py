"""Channels' values to parts: serialised anew where something has changed, and only there.

A list of messages is known by their states (`snapshot`), a dict of texts by the very objects that it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from sys import getsizeof
from typing import Any

from langgraph.checkpoint.serde.base import CipherProtocol, SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ..eventlog.delta import COST_OF_ELEMENT, weight, weight_of_keys
from ..eventlog.value import Whole
from .models import serialised_with
from .parts import DICT, LIST, NOTHING, WHOLE, Parts, cut_apart, is_small, is_small_for, whole_parts
from .pieces import MSGPACK, cut, list_of
from .serialising import dump
from .snapshot import Snapshot, common_prefix, serialised_like, state_of, take, take_one_more, thaw, unchanged
from .written import Written

__all__ = ["IMMUTABLE", "take_apart"]

# Nothing can change what is exactly one of these.
IMMUTABLE = frozenset({type(None), bool, int, float, str, bytes})
_STR = frozenset({str})


def take_apart(
    serde: SerializerProtocol, value: Any, channel: str, before: Parts | None, written: Written | None = None
) -> Parts:
    """Serialise a channel's value, and cut what the serializer made into its elements where that is of use.

    The outcome is what the serializer makes of the whole value. What has provably not changed since `before`, the
    parent's, or since it was `written`, both made by the same serializer, is not serialised again. Another thread may
    be changing the value meanwhile: of messages, each is what it was at one moment, of plain data, all of it.

    Gives `before` itself if nothing has changed since; but a value may be the same though other parts are given.

    Raises:
        EncodingError: it cannot be serialised; it says where.
    """
    inner, cipher = serde, None
    # Most channels of most checkpoints.
    if before is not None and before.given is value and before.cipher is None and type(serde) is JsonPlusSerializer:
        return before
    # Exactly these: a subclass may do more.
    if type(serde) is EncryptedSerializer and isinstance(serde, EncryptedSerializer):
        inner, cipher = serde.serde, serde.cipher
    # Another may make something else of the very same value the next time.
    if type(inner) is not JsonPlusSerializer:
        return whole_parts(dump(inner, value, channel), cipher)
    if type(value) in IMMUTABLE:
        if before is not None and before.given is value and before.cipher is cipher:
            return before
        whole = dump(inner, value, channel)
        size = len(whole.data) + COST_OF_ELEMENT
        return Parts(WHOLE, (), (whole,), size, cipher, given=value, given_sizes=(getsizeof(value),))
    parts = None
    if type(value) is list:
        try:
            parts = _list_of_objects(inner, value, before, cipher, written)
        except ValueError:  # something in it could be packed, and cannot be unpacked
            parts = None
    elif type(value) is dict and cipher is None:
        parts = _dict_of_immutables(inner, dict(value), before, written)
    return parts or cut_apart(dump(inner, value, channel), type(value), cipher)


def _list_of_objects(
    serde: JsonPlusSerializer,
    value: list[Any],
    before: Parts | None,
    cipher: CipherProtocol | None,
    written: Written | None,
) -> Parts | None:
    """Take a list apart by serialising those of its elements that have changed; None: do it in one piece.

    Raises:
        ValueError: an element's state cannot be read.
    """
    earlier = None if before is None else before.snapshot
    looked_at = unchanged(value, earlier)
    if looked_at is None:
        return None
    seen, others = looked_at
    if before is not None and earlier is not None and len(others) == 1 and seen == len(earlier.types):
        parts = _one_more(serde, others[0], before, cipher, written)
        if parts is not None:
            return parts
    snapshot = take(others, earlier, seen)
    kept = None
    if earlier is not None:
        all_seen = seen == len(earlier.types) and snapshot.chunks is not None
        kept = seen if seen and all_seen else common_prefix(earlier, snapshot)
    if before is None or earlier is None or kept is None:
        same = {} if before is None or earlier is None else _by_state(earlier, before.elements)
        # Those that were seen before are known by their states: nothing has to be made of them.
        known_by_state = [NOTHING] * seen
        elements = _elements(serde, known_by_state + others, snapshot.types, snapshot.states(), same, written=written)
        if elements is None:
            return None
        size, ends = weight(elements), None
    else:
        if kept == len(snapshot.types) == len(before.elements) and before.cipher is cipher:
            # As it was, but in other objects: those are the ones that will come again.
            return before if snapshot.witness is earlier.witness else replace(before, snapshot=snapshot, kept=(kept, 0))
        types = snapshot.types[kept:]
        states = snapshot.states_after(earlier) if types else ()
        added = _elements(serde, [NOTHING] * len(types), types, states, {}, written=written)
        if added is None:
            return None
        elements, ends = before.elements[:kept] + added, (kept, 0)
        size = before.size - weight(before.elements[kept:]) + weight(added)
    if is_small(size):
        # So many bytes are too few to stand apart, and for a header of more than three.
        return whole_parts(Whole(MSGPACK, list_of([element.data for element in elements])), cipher)
    return Parts(LIST, (), elements, size, cipher, ends, snapshot=snapshot)


def _one_more(
    serde: JsonPlusSerializer,
    element: Any,
    before: Parts,
    cipher: CipherProtocol | None,
    written: Written | None,
) -> Parts | None:
    """Take apart a list that is as it was `before`, but for an object that it has grown by; None: as any other list."""
    taken = None if before.snapshot is None else take_one_more(element, before.snapshot)
    if taken is None:
        return None
    snapshot, fields, names = taken
    cls = snapshot.types[-1]
    made: tuple[Whole, ...] | None
    data = serialised_with(cls, names, fields) if written is not None and written.objects else None
    if written is not None and data is not None and data in written.objects:
        made = (Whole(MSGPACK, data),)
    elif (made := _serialised(serde, [thaw(cls, state_of(fields))])) is None:
        return None
    size = before.size + weight(made)
    return Parts(LIST, (), before.elements + made, size, cipher, (len(before.elements), 0), snapshot=snapshot)


def _elements(
    serde: JsonPlusSerializer,
    value: Sequence[Any],
    types: Sequence[type],
    states: Sequence[bytes | None],
    same: Mapping[tuple[type, bytes], Whole],
    *,
    written: Written | None,
) -> tuple[Whole, ...] | None:
    """Give a list's elements: by type and state those that are the `same` as earlier ones, and the others anew."""
    found: list[Whole | None] = []
    objects = []
    for element, cls, state in zip(value, types, states, strict=True):
        known = None
        if state is not None:
            known = same.get((cls, state))
            if known is None and written is not None and written.objects:
                # What the serializer made of an object of this state when a task wrote it, or one that was the same.
                data = serialised_like(cls, state)
                known = Whole(MSGPACK, data) if data in written.objects else None
        found.append(known)
        if known is None:
            objects.append(element if state is None else thaw(cls, state))
    if not objects:
        return tuple(found)  # type: ignore[arg-type]  # none of them is None
    made = _serialised(serde, objects)
    if made is None:
        return None
    new = iter(made)
    return tuple(next(new) if element is None else element for element in found)


def _dict_of_immutables(
    serde: JsonPlusSerializer, value: dict[Any, Any], before: Parts | None, written: Written | None
) -> Parts | None:
    """Take apart a dict of texts, numbers and the like by serialising those that are others; None: do it in one piece.

    An immutable object that was there before is what it was; and a copy of the dict is all that it was at one moment.
    """
    keys, given = tuple(value), tuple(value.values())
    if not IMMUTABLE.issuperset(map(type, given)) or not _STR.issuperset(map(type, keys)):
        return None
    by_key: Mapping[str, tuple[Any, Whole | None]] = {}
    if before is not None and type(before.given) is tuple:
        if before.keys == keys:
            return _edited(serde, given, before, written)
        by_key = dict(zip(before.keys, zip(before.given, before.elements, strict=True), strict=True))
    # A lone surrogate would stand in the record otherwise than the serializer has it.
    if not all(map(_is_encodable, keys)):
        return None
    earlier = [by_key.get(key, (NOTHING, None)) for key in keys]
    found = [element if new is old else None for new, (old, element) in zip(given, earlier, strict=True)]
    elements = _filled(serde, given, found, written)
    if elements is None:
        return None
    size = weight(elements) + weight_of_keys(keys)
    return _dict_parts(keys, elements, size, given, tuple(map(getsizeof, given)))


def _edited(serde: JsonPlusSerializer, given: tuple[Any, ...], before: Parts, written: Written | None) -> Parts | None:
    """Do as `_dict_of_immutables` for a dict of the same keys; only what is another value than before is looked at."""
    changed = [i for i, (new, old) in enumerate(zip(given, before.given, strict=True)) if new is not old]
    if not changed:
        return before
    made = _filled(serde, [given[i] for i in changed], [None] * len(changed), written)
    if made is None:
        return None
    elements, sizes, size = list(before.elements), list(before.given_sizes), before.size
    for i, element in zip(changed, made, strict=True):
        size += len(element.data) - len(elements[i].data)
        elements[i], sizes[i] = element, getsizeof(given[i])
    return _dict_parts(before.keys, tuple(elements), size, given, tuple(sizes))


def _filled(
    serde: JsonPlusSerializer, given: Sequence[Any], found: list[Whole | None], written: Written | None
) -> tuple[Whole, ...] | None:
    """Give what has been found of values that nothing can change, and serialise the others; None: it cannot be done."""
    if written is not None:
        found = [written.immutable(new) if old is None else old for new, old in zip(given, found, strict=True)]
    made = _serialised(serde, [new for new, element in zip(given, found, strict=True) if element is None])
    if made is None:
        return None
    rest = iter(made)
    return tuple([next(rest) if element is None else element for element in found])


def _dict_parts(
    keys: tuple[str, ...], elements: tuple[Whole, ...], size: int, given: tuple[Any, ...], sizes: tuple[int, ...]
) -> Parts | None:
    """Give the parts of a dict, unless it is better in one piece."""
    if is_small(size) or is_small_for(size, 2 * len(elements)):
        return None
    return Parts(DICT, keys, elements, size, given=given, given_sizes=sizes)


def _is_encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _by_state(snapshot: Snapshot, elements: tuple[Whole, ...]) -> dict[tuple[type, bytes], Whole]:
    states = zip(snapshot.types, snapshot.states(), elements, strict=True)
    return {(cls, state): element for cls, state, element in states if state is not None}


def _serialised(serde: JsonPlusSerializer, objects: list[Any]) -> tuple[Whole, ...] | None:
    """Serialise objects as the elements of a list; None if they are not all msgpack."""
    if not objects:
        return ()
    try:
        tag, data = serde.dumps_typed(objects)
    except Exception:
        return None  # serialising the whole value says what is wrong, and where
    elements = cut(data) if tag == MSGPACK else None
    return None if elements is None else tuple([Whole(MSGPACK, element) for element in elements])
