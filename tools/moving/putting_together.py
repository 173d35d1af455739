"""A checkpoint as LangGraph's own savers store it, one blob, put together from the values in the log.

By bytes where they are msgpack, so that nothing is decoded; otherwise by decoding, with a serializer that may refuse.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgpack
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ...eventlog.plain import PlainDataError, unpack
from ...eventlog.resolve import complete
from ...eventlog.value import PLAIN_TAG, Value, Whole
from ...projections.pending_writes import EffectiveWrite
from ...saver.decoder import Decoder
from ...saver.decoding import Gathered
from ...saver.pieces import MSGPACK, cut, map_of
from ...saver.serialised import cipher_of
from ...saver.serialising import dump, load_metadata
from ..jsonable import jsonable
from .taking_apart import unencrypted

__all__ = ["checkpoint_blob", "metadata_json", "write_value"]

_FIRST = ("v", "ts")
_plain_serializer = JsonPlusSerializer()


class _NotBytesError(Exception):
    """A value is not msgpack."""


def checkpoint_blob(serde: SerializerProtocol, gathered: Gathered) -> Whole:
    """Give a checkpoint as the serializer would give it.

    Raises:
        DecodingError, EncodingError: a value has to be decoded for that, and the serializer cannot.
        SourceError: a value is encrypted, and the key is another.
    """
    try:
        whole = Whole(MSGPACK, _packed(serde, gathered))
    except _NotBytesError:
        return dump(serde, _decoded(serde, gathered), "checkpoint")
    return _encrypted(serde, whole)


def _packed(serde: SerializerProtocol, gathered: Gathered) -> bytes:
    frame = gathered.put.frame
    fields = {name: _plain(frame[name]) for name in _FIRST if name in frame}
    fields["id"] = _plain(gathered.row.checkpoint_id)
    fields["channel_values"] = map_of({name: _piece(serde, value) for name, value in gathered.channels.items()})
    fields["channel_versions"] = _piece(serde, gathered.channel_versions)
    fields["versions_seen"] = _piece(serde, gathered.versions_seen)
    fields |= {name: _plain(value) for name, value in frame.items() if name not in fields}
    if gathered.put.rest is not None:
        rest = unencrypted(serde, gathered.put.rest)
        items = cut(rest.data, pairs=True) if rest.tag == MSGPACK else None
        if items is None:
            raise _NotBytesError
        fields |= {unpack(key): piece for key, piece in zip(items[::2], items[1::2], strict=True)}
    return map_of(fields)


def _piece(serde: SerializerProtocol, value: Value) -> bytes:
    """Give a value as a part of the serializer's msgpack."""
    if isinstance(value, tuple):
        pieces = [_piece(serde, element) for element in value]
        return bytes(msgpack.Packer().pack_array_header(len(pieces))) + b"".join(pieces)
    if isinstance(value, dict):
        return map_of({key: _piece(serde, element) for key, element in value.items()})
    value = unencrypted(serde, value)
    if value.tag == MSGPACK:
        return value.data
    if value.tag == "null":
        return b"\xc0"
    if value.tag in ("bytes", "bytearray"):
        return bytes(msgpack.packb(value.data))
    if value.tag == PLAIN_TAG:
        try:
            return _plain(unpack(value.data))
        except PlainDataError as e:
            raise _NotBytesError from e
    raise _NotBytesError


def _plain(value: Any) -> bytes:
    try:
        tag, data = _plain_serializer.dumps_typed(value)
    except Exception as e:  # a serialised object among plain data, or a lone surrogate
        raise _NotBytesError from e
    if tag != MSGPACK:
        return b"\xc0" if tag == "null" else bytes(msgpack.packb(data))
    return data


def _decoded(serde: SerializerProtocol, gathered: Gathered) -> dict[str, Any]:
    decoder = Decoder(serde, None)
    rest: Mapping[str, Any] = {} if gathered.put.rest is None else decoder.value(gathered.put.rest)
    return {
        **gathered.put.frame,
        **rest,
        "id": gathered.row.checkpoint_id,
        "channel_values": {name: decoder.value(value) for name, value in gathered.channels.items()},
        "channel_versions": decoder.value(gathered.channel_versions),
        "versions_seen": decoder.value(gathered.versions_seen),
    }


def _encrypted(serde: SerializerProtocol, whole: Whole) -> Whole:
    cipher = cipher_of(serde)
    if cipher is None:
        return whole
    name, data = cipher.encrypt(whole.data)
    return Whole(f"{whole.tag}+{name}", data)


def write_value(serde: SerializerProtocol, write: EffectiveWrite) -> Whole:
    """Give what a task has written as it is stored elsewhere: the very bytes, if they are in one piece.

    Raises:
        DecodingError, EncodingError: it has to be decoded for that, and the serializer cannot.
    """
    value = complete(write.value)
    if isinstance(value, Whole):
        return value
    try:
        return _encrypted(serde, Whole(MSGPACK, _piece(serde, value)))
    except _NotBytesError:
        return dump(serde, Decoder(serde, None).value(value), write.channel)


def metadata_json(serde: SerializerProtocol, packed: bytes) -> bytes:
    """Give metadata as the official savers store it: JSON. What JSON has no word for is as `jsonable` shows it."""
    metadata = load_metadata(serde, packed)
    try:
        text = json.dumps(metadata, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(jsonable(metadata), ensure_ascii=False)
    return text.encode("utf-8", "ignore")
