"""Checkpoints and writes that another saver has serialised, as events: taken over byte by byte. Nothing is decoded.

What comes out is what our own saver makes of the same values: lists and dicts by their elements, differences to the
parent's. Only JsonPlusSerializer's msgpack is cut; whatever else there is stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack
from langgraph.checkpoint.serde.base import CipherProtocol, SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from ..eventlog.delta import COST_OF_ELEMENT, weight
from ..eventlog.errors import RecordTooLargeError
from ..eventlog.event import NewEvent, PutWrites, Write
from ..eventlog.plain import PlainDataError, pack
from ..eventlog.record import MAX_BODY_BYTES
from ..eventlog.value import PLAIN_TAG, Whole
from .config import Address
from .encoding import FIELDS, EncodedPut, assemble
from .known import Known, KnownValue
from .parts import LIST, WHOLE, Parts, cut_apart, parts_of_plain
from .pieces import MSGPACK, array_of, cut
from .similar import MAX_KEYS, Likeness, is_worth_it

__all__ = [
    "SerialisedCheckpoint",
    "SerialisedValue",
    "cipher_of",
    "encode_serialised",
    "likeness_of_serialised",
    "plain_of",
    "value_of_piece",
]

# A value in one piece, or a list by its elements.
SerialisedValue = Whole | tuple[Whole, ...]
_NIL = b"\xc0"


class SerialisedCheckpoint(NamedTuple):
    """A checkpoint as another saver stored it.

    Attributes:
        checkpoint_id: its id.
        parent_id: its parent's.
        metadata: packed plain data.
        channels: the channels' values, not encrypted if the cipher for them is known.
        channel_versions: a dict of plain data, or its msgpack if it is not that.
        versions_seen: likewise.
        frame: those of its other fields that are plain.
        rest: all that is left, as a dict.
    """

    checkpoint_id: str
    parent_id: str | None
    metadata: bytes
    channels: Mapping[str, SerialisedValue]
    channel_versions: Any
    versions_seen: Any
    frame: Mapping[str, Any]
    rest: Whole | None


def cipher_of(serde: SerializerProtocol) -> CipherProtocol | None:
    """Give what encrypts and decrypts the values of a serializer; None: nothing does."""
    return serde.cipher if isinstance(serde, EncryptedSerializer) else None


def value_of_piece(piece: bytes) -> Whole:
    """Give a part of the serializer's msgpack as the serializer gives that value by itself."""
    if piece == _NIL:
        return Whole("null", b"")
    if 0xC4 <= piece[0] <= 0xC6:  # bin of 1, 2 or 4 bytes of length
        return Whole("bytes", piece[1 + (1 << (piece[0] - 0xC4)) :])
    return Whole(MSGPACK, piece)


def plain_of(piece: bytes) -> Any:
    """Give what a part of the serializer's msgpack stands for if that is plain data.

    Raises:
        PlainDataError: it is not: there is an object in it.
    """
    try:
        value = msgpack.unpackb(piece, ext_hook=_refuse, strict_map_key=False)
        pack(value)  # a timestamp would be an object, too
    except PlainDataError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as e:
        raise PlainDataError(f"not plain data: {type(e).__name__}") from e
    return value


def _refuse(code: int, data: bytes) -> Any:
    raise PlainDataError(f"an extension of type {code} is not plain data")


def encode_serialised(
    serde: SerializerProtocol, address: Address, checkpoint: SerialisedCheckpoint, *, known: Known | None
) -> EncodedPut:
    """Encode a checkpoint that is serialised already, as `encode_put` does one that is not.

    Args:
        serde: that values are to be stored with: JsonPlusSerializer, or one that encrypts what that makes.
        address: its thread and namespace.
        checkpoint: it.
        known: what is known of its parent's values.

    Raises:
        RecordTooLargeError: its values together are larger than a record may be.
    """
    cipher = cipher_of(serde)
    values: list[tuple[str, Parts, KnownValue | None]] = []
    size = 0
    for channel, value in checkpoint.channels.items():
        before = None if known is None else known.channels.get(channel)
        parts = _take_apart(value, None if before is None else before.parts, cipher)
        size += parts.size
        if size > MAX_BODY_BYTES:
            raise RecordTooLargeError(size=size, limit=MAX_BODY_BYTES)
        values.append((channel, parts, before))
    rest = checkpoint.rest
    if rest is not None and cipher is not None:
        rest = _whole(rest, cipher).stored(0)
    encoded = assemble(
        serde,
        address._replace(checkpoint_id=checkpoint.parent_id),
        checkpoint_id=checkpoint.checkpoint_id,
        metadata=checkpoint.metadata,
        values=values,
        fields=[(field, _field(serde, getattr(checkpoint, field), field)) for field in FIELDS],
        frame=checkpoint.frame,
        rest=rest,
        known=known,
    )
    return encoded or encode_serialised(serde, address, checkpoint, known=None)


def _field(serde: SerializerProtocol, value: Any, field: str) -> Parts:
    return _whole(value, None) if isinstance(value, Whole) else parts_of_plain(serde, value, field)


def _take_apart(value: SerialisedValue, before: Parts | None, cipher: CipherProtocol | None) -> Parts:
    if isinstance(value, tuple):
        return Parts(LIST, (), value, weight(value), cipher)
    # Of what is encrypted, and stays so, nothing is known.
    if value.tag != MSGPACK:
        return _whole(value, None if "+" in value.tag else cipher)
    first = value.data[0]
    if first & 0xF0 == 0x90 or first in (0xDC, 0xDD):
        return _grown(value.data, before, cipher) or cut_apart(value, list, cipher)
    if first & 0xF0 == 0x80 or first in (0xDE, 0xDF):
        return cut_apart(value, dict, cipher)
    return _whole(value, cipher)


def _grown(data: bytes, before: Parts | None, cipher: CipherProtocol | None) -> Parts | None:
    """Give the parts of a list that begins with all that there was of it before, as most lists do; None: it does not.

    Comparing bytes takes a small part of the time that cutting them into elements does.
    """
    if before is None or before.form is not LIST or before.cipher is not cipher:
        return None
    count, offset = _array_header(data)
    earlier = b"".join([element.data for element in before.elements])
    added = count - len(before.elements)
    if added < 0 or not data.startswith(earlier, offset):
        return None
    new = cut(array_of(added, [data[offset + len(earlier) :]]))
    if new is None or any(element.tag != MSGPACK for element in before.elements):
        return None
    if not new:
        return before
    elements = tuple([Whole(MSGPACK, element) for element in new])
    return Parts(
        LIST,
        (),
        before.elements + elements,
        before.size + weight(elements),
        cipher,
        (len(before.elements), 0),
    )


def _array_header(data: bytes) -> tuple[int, int]:
    """Give how many elements an array has, and where they begin."""
    if data[0] & 0xF0 == 0x90:
        return data[0] & 0x0F, 1
    size = 2 if data[0] == 0xDC else 4
    return int.from_bytes(data[1 : 1 + size], "big"), 1 + size


def _whole(whole: Whole, cipher: CipherProtocol | None) -> Parts:
    assert whole.tag != PLAIN_TAG
    return Parts(WHOLE, (), (whole,), len(whole.data) + COST_OF_ELEMENT, cipher)


def likeness_of_serialised(event: NewEvent) -> Likeness | None:
    """Give what `similar.likeness` gives of the same writes before they were serialised."""
    if not is_worth_it(event):
        return None
    assert isinstance(event.data, PutWrites)
    what: list[tuple[str, tuple[str, ...]]] = []
    for write in event.data.writes:
        keys = _keys(write)
        if keys is not None:
            if len(keys) > MAX_KEYS:
                return None
            what.append((write.channel, keys))
    return (event.thread_id, event.checkpoint_ns, tuple(what)) if what else None


def _keys(write: Write) -> tuple[str, ...] | None:
    """Give a dict's keys, () for text and bytes; None for anything else."""
    value = write.value
    assert isinstance(value, Whole)
    if value.tag in ("bytes", "bytearray"):
        return ()
    if value.tag != MSGPACK or not value.data:
        return None
    first = value.data[0]
    if first & 0xE0 == 0xA0 or 0xD9 <= first <= 0xDB:
        return ()
    if first & 0xF0 == 0x80 or first in (0xDE, 0xDF):
        items = cut(value.data, pairs=True) or []
        try:
            keys = tuple(plain_of(key) for key in items[::2])
        except PlainDataError:
            return None
        return keys if all(type(key) is str for key in keys) else None
    return None
