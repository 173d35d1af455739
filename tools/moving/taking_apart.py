"""A checkpoint that an official saver stored as one blob, taken apart into its channels without decoding their values.

msgpack is cut at the bounds of its elements. JSON, which the first releases stored, is parsed into plain data only; a
value in which an object is named stays JSON. Classes are never looked up, and no code is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ...eventlog.plain import PlainDataError
from ...eventlog.value import Whole
from ...saver.encoding import FIELDS, FRAME, OWN_PLACE, is_plain
from ...saver.pieces import MSGPACK, cut, map_of
from ...saver.serialised import SerialisedCheckpoint, SerialisedValue, plain_of, value_of_piece
from ...saver.serialising import dump_metadata
from .errors import SourceError

__all__ = ["metadata_of", "microseconds", "plain_value", "take_checkpoint_apart", "unencrypted", "value_of_json"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Smaller lists stay in one piece.
_MIN_BYTES_APART = 512
# Only ever given plain data: what it makes of it is what the official savers do.
_plain_serializer = JsonPlusSerializer()


def unencrypted(serde: SerializerProtocol, value: Whole) -> Whole:
    """Give a value without its encryption, if there is some and the serializer knows it; otherwise the value itself.

    Raises:
        SourceError: it is encrypted with another key.
    """
    if "+" not in value.tag or not isinstance(serde, EncryptedSerializer):
        return value
    tag, name = value.tag.split("+", 1)
    try:
        return Whole(tag, serde.cipher.decrypt(name, value.data))
    except Exception as e:  # a cipher raises anything
        raise SourceError(f"a value under {name!r} cannot be decrypted ({type(e).__name__}): is it the key?") from None


def take_checkpoint_apart(
    serde: SerializerProtocol, blob: Whole, *, checkpoint_id: str, parent_id: str | None, metadata: bytes
) -> SerialisedCheckpoint:
    """Take a checkpoint apart.

    Args:
        serde: that it was stored with, if that encrypts.
        blob: as it is stored.
        checkpoint_id: its id.
        parent_id: its parent's.
        metadata: packed plain data.

    Raises:
        SourceError: it cannot be taken apart; it says why.
    """
    whole = unencrypted(serde, blob)
    if whole.tag == MSGPACK:
        return _from_msgpack(whole.data, checkpoint_id, parent_id, metadata)
    if whole.tag == "json":
        return _from_json(whole.data, checkpoint_id, parent_id, metadata)
    if "+" in whole.tag:
        raise SourceError(
            f"checkpoint {checkpoint_id!r} is encrypted ({whole.tag!r}): set LANGGRAPH_AES_KEY to the key that it was "
            "written with, or call import_from with the serde that it was written with"
        )
    raise SourceError(
        f"checkpoint {checkpoint_id!r} was stored as {whole.tag!r}, which cannot be taken apart without running code "
        "that it names"
    )


def _from_msgpack(data: bytes, checkpoint_id: str, parent_id: str | None, metadata: bytes) -> SerialisedCheckpoint:
    fields = _items(data, checkpoint_id)
    channels = _items(fields["channel_values"], checkpoint_id) if "channel_values" in fields else {}
    frame: dict[str, Any] = {}
    for name in FRAME:
        value = _plain_or_whole(fields[name]) if name in fields else None
        if name in fields and is_plain(value):
            frame[name] = value
    rest = {name: piece for name, piece in fields.items() if name not in OWN_PLACE and name not in frame}
    versions = {name: _plain_or_whole(fields[name]) if name in fields else {} for name in FIELDS}
    return SerialisedCheckpoint(
        checkpoint_id=checkpoint_id,
        parent_id=parent_id,
        metadata=metadata,
        channels={name: value_of_piece(piece) for name, piece in channels.items()},
        frame=frame,
        rest=Whole(MSGPACK, map_of(rest)) if rest else None,
        **versions,
    )


def _items(data: bytes, checkpoint_id: str) -> dict[str, bytes]:
    pieces = cut(data, pairs=True)
    try:
        items = None if pieces is None else dict(zip(map(plain_of, pieces[::2]), pieces[1::2], strict=True))
    except (PlainDataError, TypeError):
        items = None
    if items is None or not all(type(name) is str for name in items):
        raise SourceError(f"checkpoint {checkpoint_id!r} is not what JsonPlusSerializer makes of one: it is damaged")
    return items


def _plain_or_whole(piece: bytes) -> Any:
    try:
        return plain_of(piece)
    except PlainDataError:
        return Whole(MSGPACK, piece)


def _from_json(data: bytes, checkpoint_id: str, parent_id: str | None, metadata: bytes) -> SerialisedCheckpoint:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not isinstance(fields.get("channel_values", {}), dict):
        raise SourceError(f"checkpoint {checkpoint_id!r} is not the JSON of one: it is damaged")
    frame = {name: fields[name] for name in FRAME if name in fields and is_plain(fields[name])}
    rest = {name: value for name, value in fields.items() if name not in OWN_PLACE and name not in frame}
    versions: dict[str, Any] = {}
    for name in FIELDS:
        value = fields.get(name, {})
        versions[name] = Whole("json", json.dumps(value).encode()) if _names_objects(value) else value
    return SerialisedCheckpoint(
        checkpoint_id=checkpoint_id,
        parent_id=parent_id,
        metadata=metadata,
        channels={name: value_of_json(value) for name, value in (fields.get("channel_values") or {}).items()},
        frame=frame,
        rest=Whole("json", json.dumps(rest).encode()) if rest else None,
        **versions,
    )


def value_of_json(value: Any) -> SerialisedValue:
    """Give what was parsed from JSON as it is stored: as msgpack if it is plain data, otherwise as JSON again."""
    if not _names_objects(value):
        return plain_value(value)
    if isinstance(value, list):
        elements = tuple(_element_of_json(element) for element in value)
        if sum(len(element.data) for element in elements) >= _MIN_BYTES_APART:
            return elements
    return Whole("json", json.dumps(value).encode())


def plain_value(value: Any) -> Whole:
    """Give what was parsed from JSON, and is nothing but plain data, as it is stored."""
    try:
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate, which the serializer would replace, fails
        return Whole(*_plain_serializer.dumps_typed(value))
    except Exception:  # or a number beyond 64 bits
        return Whole("json", json.dumps(value).encode())


def _element_of_json(value: Any) -> Whole:
    element = value_of_json(value)
    return element if isinstance(element, Whole) else Whole("json", json.dumps(value).encode())


def _names_objects(value: Any) -> bool:
    """Tell whether some dict in it may be taken for an object by who decodes it."""
    pending = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, dict):
            if "lc" in found:
                return True
            pending += found.values()
        elif isinstance(found, list):
            pending += found
    return False


def metadata_of(stored: bytes | str | None, checkpoint_id: str) -> bytes:
    """Give metadata, which is stored as JSON, as packed plain data.

    Raises:
        SourceError: it is no JSON.
    """
    try:
        metadata = {} if stored is None else json.loads(stored)
        if not isinstance(metadata, Mapping):
            raise TypeError
        return dump_metadata(_plain_serializer, metadata)
    except (ValueError, TypeError, RecursionError):
        raise SourceError(f"the metadata of checkpoint {checkpoint_id!r} is no JSON object: it is damaged") from None


def microseconds(ts: Any) -> int | None:
    """Give the time in a checkpoint's `ts`, ISO 8601, UTC microseconds since 1970-01-01; None if it is none."""
    try:
        read = datetime.fromisoformat(ts)
    except (TypeError, ValueError):
        return None
    aware = read.replace(tzinfo=UTC) if read.tzinfo is None else read
    at = (aware - _EPOCH) // _MICROSECOND
    return at if at >= 0 else None
