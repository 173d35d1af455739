"""Values through the serializer: to opaque bytes and back, with errors that say where."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from ..eventlog.errors import EncodingError
from ..eventlog.plain import PlainDataError, pack, unpack
from ..eventlog.value import PLAIN_TAG, Whole

__all__ = ["dump", "dump_metadata", "dump_plain", "load", "load_metadata"]

_MAX_DEPTH = 100


def dump(serde: SerializerProtocol, value: Any, channel: str) -> Whole:
    """Serialise a channel's value.

    Raises:
        EncodingError: it cannot be; the error names the channel and the path inside the value.
    """
    try:
        tag, data = serde.dumps_typed(value)
    except Exception as e:
        path, culprit = _find(serde, value)
        raise EncodingError(
            f"channel {channel!r}: the value at {channel}{path} cannot be serialised: it is a "
            f"{_type_name(culprit)} ({type(e).__name__}). Nothing was appended. Keep it out of the state, or give the "
            "saver a serde that can: JsonPlusSerializer(pickle_fallback=True) for instance",
            channel=channel,
            path_in_value=path,
        ) from e
    # A bytearray is handed through as it is; it may change after the call, the log's bytes may not.
    return Whole(tag, data if type(data) is bytes else bytes(data))


def load(serde: SerializerProtocol, value: Whole) -> Any:
    """Give the object that a whole value stands for, anew at each call."""
    return serde.loads_typed((value.tag, value.data))


def dump_plain(serde: SerializerProtocol, value: Any, field: str) -> Whole:
    """Encode a checkpoint's own field as plain data, if it is, and with the serializer otherwise."""
    try:
        packed = pack(value)
    except PlainDataError:
        return dump(serde, value, field)
    return Whole(PLAIN_TAG, packed)


def load_plain(serde: SerializerProtocol, value: Whole) -> Any:
    """Give what `dump_plain` was given."""
    return unpack(value.data) if value.tag == PLAIN_TAG else load(serde, value)


def dump_metadata(serde: SerializerProtocol, metadata: Mapping[str, Any], what: str = "metadata") -> bytes:
    """Encode metadata: plain data, with the serializer's bytes for what is not.

    Raises:
        EncodingError: something in it cannot be serialised.
    """
    try:
        return pack(metadata, fallback=lambda value: dump(serde, value, what))
    except PlainDataError as e:
        raise EncodingError(f"{what} cannot be stored: {e}. Nothing was appended", channel=what) from e


def load_metadata(serde: SerializerProtocol, packed: bytes) -> Any:
    """Give what `dump_metadata` was given; tuples have become lists, as in JSON."""
    return _revive(serde, unpack(packed))


def _revive(serde: SerializerProtocol, value: Any) -> Any:
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, dict | list | Whole):
                value[key] = _revive(serde, item)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            if isinstance(item, dict | list | Whole):
                value[i] = _revive(serde, item)
    elif isinstance(value, Whole):
        return load(serde, value)
    return value


def _type_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _find(serde: SerializerProtocol, value: Any) -> tuple[str, Any]:
    """Follow the parts that cannot be serialised down to one whose own parts all can."""
    path, seen = "", {id(value)}
    for _ in range(_MAX_DEPTH):
        for step, part in _parts(value):
            if id(part) not in seen and not _can(serde, part):
                path, value = path + step, part
                seen.add(id(part))
                break
        else:
            break
    return path, value


def _can(serde: SerializerProtocol, value: Any) -> bool:
    try:
        serde.dumps_typed(value)
    except Exception:
        return False
    return True


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield f"[{key!r}]", part
            yield f"[{key!r}] (the key)", key
    elif isinstance(value, list | tuple | set | frozenset):
        for i, part in enumerate(value):
            yield f"[{i}]", part
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            if hasattr(value, field.name):
                yield f".{field.name}", getattr(value, field.name)
    else:
        slots = {name: getattr(value, name) for name in getattr(type(value), "__slots__", ()) if hasattr(value, name)}
        for name, part in {**slots, **getattr(value, "__dict__", {})}.items():
            yield f".{name}", part
