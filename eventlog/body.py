"""The record's inside: each kind's data to msgpack and back (FORMAT.md section 4). Pure functions.

Encoding asserts, since its input is our own; decoding checks every type, since stored bytes may be hostile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from .event import (
    Carry,
    Compaction,
    CopiedStream,
    Copy,
    DeleteForRuns,
    DeleteThread,
    EventData,
    Field,
    Import,
    Kind,
    Prune,
    Put,
    PutWrites,
    Removal,
    Restate,
    RestateWrites,
    Thread,
    Write,
    put_of,
    writes_of,
)
from .plain import PlainDataError, pack, unpack
from .value import Carried, Stored, ValueFormatError, Whole, bases_of_value, decode_value, encode_value

__all__ = [
    "FIRST_OF_PUT",
    "BodyFormatError",
    "bases_of",
    "beyond",
    "decode_array",
    "decode_body",
    "decode_field",
    "decode_frame",
    "encode_body",
    "kind_of",
    "stored_values",
    "unpack_body",
]

_KINDS: dict[type, Kind] = {
    Put: Kind.PUT,
    PutWrites: Kind.PUT_WRITES,
    DeleteThread: Kind.DELETE_THREAD,
    DeleteForRuns: Kind.DELETE_FOR_RUNS,
    Prune: Kind.PRUNE,
    Copy: Kind.COPY,
    Thread: Kind.THREAD,
    Import: Kind.IMPORT,
    Carry: Kind.CARRY,
    Compaction: Kind.COMPACTION,
    Restate: Kind.RESTATE,
    RestateWrites: Kind.RESTATE_WRITES,
}


# Of the kinds that hold a checkpoint, which alone have bases, how many elements stand before those of the put. Numbers:
# an enum's members take longer to look up than to compare, and reading one value may open forty records.
FIRST_OF_PUT: Final[Mapping[int, int]] = {int(Kind.PUT): 0, int(Kind.RESTATE): 1}
_PUT_WRITES = int(Kind.PUT_WRITES)
_NO_BASES: frozenset[int] = frozenset()
_NO_INDEX: Mapping[int, int] = {}


class BodyFormatError(ValueError):
    """The body is not what its event's kind says."""


def kind_of(data: EventData) -> Kind:
    """Give the kind whose data this is."""
    return _KINDS[type(data)]


def stored_values(data: EventData) -> list[Stored]:
    """Give every value in an event's data."""
    put = put_of(data)
    if put is not None:
        values = [*put.channels.values(), put.channel_versions, put.versions_seen]
        return values if put.rest is None else [*values, put.rest]
    writes = writes_of(data)
    return [] if writes is None else [write.value for write in writes.writes]


def bases_of(data: EventData) -> frozenset[int]:
    """Give the positions of all events that this one refers to."""
    if type(data) is PutWrites:
        return _NO_BASES  # by far the most frequent kind; what it writes is whole
    bases: set[int] = set()
    # What a put has beside these is whole.
    values = (*data.channels.values(), data.channel_versions, data.versions_seen) if type(data) is Put else None
    for value in stored_values(data) if values is None else values:
        kind = type(value)
        if kind is Carried:
            bases.add(value.base)  # type: ignore[union-attr]
        elif kind is not Whole:
            bases |= bases_of_value(value)
    return frozenset(bases)


def encode_body(data: EventData, bases: frozenset[int], more: Sequence[Any] = ()) -> bytes:
    """Give the body; `bases` is what `bases_of` gave, and `more` a later version's elements.

    Raises:
        PlainDataError: metadata or the like is not plain.
    """
    index = {base: i for i, base in enumerate(sorted(bases))} if bases else _NO_INDEX
    return pack([*_to_array(data, index), *more] if more else _to_array(data, index))


def _to_array(data: EventData, index: Mapping[int, int]) -> list[Any]:
    match data:
        case PutWrites():
            writes = [[w.channel, w.idx, encode_value(w.value, index)] for w in data.writes]
            return [data.checkpoint_id, data.task_id, data.task_path, writes]
        case Put():
            return [
                data.checkpoint_id,
                data.parent_id,
                data.metadata,
                {name: encode_value(value, index) for name, value in data.channels.items()},
                encode_value(data.channel_versions, index),
                encode_value(data.versions_seen, index),
                data.frame,
                None if data.rest is None else encode_value(data.rest, index),
            ]
        case Restate():
            return [data.hidden, *_to_array(data.put, index)]
        case RestateWrites():
            return [data.applied, data.ordinal, *_to_array(data.writes, index)]
        case DeleteThread():
            return [data.checkpoints, data.writes]
        case DeleteForRuns():
            return [data.run_ids, [_removal_to_array(r) for r in data.removals]]
        case Prune():
            return [data.strategy, data.deleted_threads, [_removal_to_array(r) for r in data.removals]]
        case Copy():
            streams = [[s.checkpoint_ns, s.checkpoints, s.writes] for s in data.streams]
            return [data.how, data.source_thread_id, data.from_checkpoint_id, streams, data.metadata]
        case Thread():
            return [data.name, data.metadata]
        case Import():
            return [data.source, data.imported, data.checkpoints, data.writes]
        case Carry():
            return [data.projection, data.facts]
        case Compaction():
            return [data.policy, data.erased, data.bytes]


def _removal_to_array(removal: Removal) -> list[Any]:
    return [removal.thread_id, removal.checkpoint_ns, removal.removed, removal.hidden]


def decode_body(kind: int, body: bytes, bases: tuple[int, ...]) -> EventData:
    """Give the data of an event of this kind: all of it, and all of it checked.

    Raises:
        BodyFormatError: the kind is not known, or the body is not laid out as it should be.
    """
    return decode_array(kind, unpack_body(kind, body, bases), bases)


def unpack_body(kind: int, body: bytes, bases: tuple[int, ...]) -> list[Any]:
    """Give the array that a body is, with as many elements as its kind needs; what they are is not looked at.

    Raises:
        BodyFormatError: the kind is not known, or the body is no such array.
    """
    try:
        _, length = _DECODERS[kind]
    except KeyError:
        raise BodyFormatError(f"kind {kind} is not known") from None
    if bases and kind not in FIRST_OF_PUT:
        raise BodyFormatError("an event of its kind refers to nothing")
    try:
        array = _list(unpack(body))
    except PlainDataError as e:
        raise BodyFormatError(str(e)) from e
    if len(array) < length:
        raise BodyFormatError("its body is too short")
    return array


def beyond(kind: int, array: list[Any]) -> list[Any]:
    """Give the elements of an array of `unpack_body` that this version does not know."""
    return array[_DECODERS[kind][1] :]


def decode_array(kind: int, array: list[Any], bases: tuple[int, ...]) -> EventData:
    """Give the data that an array of `unpack_body` holds, all of it checked.

    Raises:
        BodyFormatError: it is not laid out as it should be.
    """
    try:
        data = _DECODERS[kind][0](array, bases)
        if bases and bases_of(data) != frozenset(bases):
            raise BodyFormatError("its header names bases that none of its values refers to")
        return data
    except (PlainDataError, ValueFormatError) as e:
        raise BodyFormatError(str(e)) from e


def decode_field(kind: int, array: list[Any], bases: tuple[int, ...], field: Field) -> Stored | None:
    """Give one value that an array of `unpack_body` holds, that one alone checked; None if it has no such value.

    Raises:
        BodyFormatError: what stands in its place is not a value.
    """
    try:
        what, key = field
        if what == "write":
            return _write_at(array, bases, key) if kind == _PUT_WRITES else None
        first = FIRST_OF_PUT.get(kind)
        if first is None:
            return None
        if what == "channel":
            value = _dict(array[first + 3]).get(key)
            return None if value is None else decode_value(value, bases)
        return decode_value(array[first + (4 if what == "channel_versions" else 5)], bases)
    except ValueFormatError as e:
        raise BodyFormatError(str(e)) from e


def decode_frame(kind: int, array: list[Any]) -> dict[str, Any]:
    """Give the frame that an array of `unpack_body` holds; {} if it is no checkpoint's.

    Raises:
        BodyFormatError: what stands in its place is none.
    """
    if kind not in FIRST_OF_PUT:
        return {}
    return _dict(array[FIRST_OF_PUT[kind] + 6])


def _write_at(array: list[Any], bases: tuple[int, ...], slot: Any) -> Stored | None:
    rows = _list(array[3])
    if slot >= len(rows):
        return None
    row = _list(rows[slot])
    if len(row) < 3:
        raise BodyFormatError("its body holds a row that is too short")
    return decode_value(row[2], bases)


def _put(a: list[Any], bases: tuple[int, ...]) -> Put:
    return Put(
        checkpoint_id=_str(a[0]),
        parent_id=None if a[1] is None else _str(a[1]),
        metadata=_bytes(a[2]),
        channels={_str(name): decode_value(value, bases) for name, value in _dict(a[3]).items()},
        channel_versions=decode_value(a[4], bases),
        versions_seen=decode_value(a[5], bases),
        frame=_dict(a[6]),
        rest=None if a[7] is None else _whole(decode_value(a[7], bases)),
    )


def _put_writes(a: list[Any], bases: tuple[int, ...]) -> PutWrites:
    writes = tuple(
        Write(_str(channel), _int(idx), decode_value(value, bases)) for channel, idx, value in _rows(a[3], 3)
    )
    return PutWrites(_str(a[0]), _str(a[1]), _str(a[2]), writes)


def _whole(value: Stored) -> Whole:
    if not isinstance(value, Whole):
        raise BodyFormatError("its body holds a value that is not whole where one must be")
    return value


def _removals(value: Any) -> tuple[Removal, ...]:
    return tuple(
        Removal(_str(t), _str(ns), _strs(removed), _strs(hidden)) for t, ns, removed, hidden in _rows(value, 4)
    )


def _copy(a: list[Any], _: tuple[int, ...]) -> Copy:
    streams = tuple(
        CopiedStream(
            _str(ns),
            tuple((_str(c), _int(p), _bool(h)) for c, p, h in _rows(checkpoints, 3)),
            tuple((_str(c), _int(p)) for c, p in _rows(writes, 2)),
        )
        for ns, checkpoints, writes in _rows(a[3], 3)
    )
    from_id = None if a[2] is None else _str(a[2])
    return Copy(_str(a[0]), _str(a[1]), from_id, streams, None if a[4] is None else _dict(a[4]))


def _ranges(value: Any) -> tuple[tuple[int, int], ...]:
    return tuple((_int(first), _int(last)) for first, last in _rows(value, 2))


# Kind -> (decoder, least number of elements). Elements beyond those are a later version's.
_DECODERS: dict[int, tuple[Callable[[list[Any], tuple[int, ...]], EventData], int]] = {
    Kind.PUT: (_put, 8),
    Kind.PUT_WRITES: (_put_writes, 4),
    Kind.DELETE_THREAD: (lambda a, _: DeleteThread(_int(a[0]), _int(a[1])), 2),
    Kind.DELETE_FOR_RUNS: (lambda a, _: DeleteForRuns(_strs(a[0]), _removals(a[1])), 2),
    Kind.PRUNE: (lambda a, _: Prune(_str(a[0]), _strs(a[1]), _removals(a[2])), 3),
    Kind.COPY: (_copy, 5),
    Kind.THREAD: (lambda a, _: Thread(None if a[0] is None else _str(a[0]), _dict(a[1])), 2),
    Kind.IMPORT: (lambda a, _: Import(_dict(a[0]), _ranges(a[1]), _int(a[2]), _int(a[3])), 4),
    Kind.CARRY: (lambda a, _: Carry(_str(a[0]), a[1]), 2),
    Kind.COMPACTION: (lambda a, _: Compaction(_dict(a[0]), _ranges(a[1]), _int(a[2])), 3),
    Kind.RESTATE: (lambda a, bases: Restate(_bool(a[0]), _put(a[1:], bases)), 9),
    Kind.RESTATE_WRITES: (lambda a, bases: RestateWrites(_int(a[0]), _int(a[1]), _put_writes(a[2:], bases)), 6),
}


def _checked(value: Any, kind: type) -> Any:
    # Exact types: msgpack gives no others, and True is an int by inheritance.
    if type(value) is not kind:
        raise BodyFormatError(f"its body holds {type(value).__name__} in place of {kind.__name__}")
    return value


def _str(value: Any) -> str:
    checked: str = _checked(value, str)
    return checked


def _int(value: Any) -> int:
    checked: int = _checked(value, int)
    if not -(1 << 63) <= checked < 1 << 63:
        raise BodyFormatError("its body holds an integer of more than 64 bits")
    return checked


def _bool(value: Any) -> bool:
    checked: bool = _checked(value, bool)
    return checked


def _bytes(value: Any) -> bytes:
    checked: bytes = _checked(value, bytes)
    return checked


def _dict(value: Any) -> dict[Any, Any]:
    checked: dict[Any, Any] = _checked(value, dict)
    return checked


def _list(value: Any) -> list[Any]:
    checked: list[Any] = _checked(value, list)
    return checked


def _strs(value: Any) -> tuple[str, ...]:
    return tuple(_str(v) for v in _list(value))


def _rows(value: Any, width: int) -> Iterator[list[Any]]:
    for row in _list(value):
        if len(_list(row)) < width:
            raise BodyFormatError("its body holds a row that is too short")
        yield row[:width]
