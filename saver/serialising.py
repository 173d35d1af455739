"""Values through the serializer: to opaque bytes and back, with errors that say where."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from ..eventlog.errors import DecodingError, EncodingError, LogDamagedError
from ..eventlog.plain import PlainDataError, pack, unpack
from ..eventlog.value import PLAIN_TAG, Whole

__all__ = ["dump", "dump_metadata", "load", "load_fields", "load_metadata", "load_plain"]

_MAX_DEPTH = 100
_CONTAINERS = (dict, list, tuple)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_MAX_NAME = 64
_STR = frozenset({str})


def dump(serde: SerializerProtocol, value: Any, channel: str) -> Whole:
    """Serialise a channel's value.

    Raises:
        EncodingError: it cannot be; the error names the channel and the path inside the value.
    """
    try:
        tag, data = serde.dumps_typed(value)
    except Exception as e:
        raise _error(value, channel, partial(_can, serde), e) from None  # it may quote the value
    if tag == PLAIN_TAG:
        raise EncodingError(f"the serializer gives the type tag {tag!r}, which is the log's own", channel=channel)
    # A bytearray is handed through as it is; it may change after the call, the log's bytes may not.
    return Whole(tag, data if type(data) is bytes else bytes(data))


def load(serde: SerializerProtocol, value: Whole) -> Any:
    """Give the object that a whole value stands for, anew at each call.

    Raises:
        DecodingError: the serializer cannot: another one made it, with another key for instance.
    """
    try:
        return serde.loads_typed((value.tag, value.data))
    except Exception as e:
        raise DecodingError(
            f"a value of type tag {value.tag!r} cannot be read by {type(serde).__name__} ({type(e).__name__}): "
            "open the log with the serde that it was written with",
            tag=value.tag,
        ) from None  # it may quote the value


def load_fields(serde: SerializerProtocol, value: Whole) -> dict[str, Any]:
    """Give the dict that a whole value stands for, as `load` does.

    Raises:
        DecodingError: the serializer cannot, or finds something else in it.
    """
    fields = load(serde, value)
    if not isinstance(fields, dict):
        raise DecodingError(
            f"a checkpoint's fields, of type tag {value.tag!r}, are no dict to the serializer at hand: open the log "
            "with the serde that it was written with",
            tag=value.tag,
        )
    return fields


def load_plain(packed: bytes) -> Any:
    """Give what plain data stands for, anew at each call.

    Raises:
        LogDamagedError: it is damaged.
    """
    try:
        return unpack(packed)
    except PlainDataError as e:
        raise LogDamagedError(
            f"the metadata, or a map, of a checkpoint cannot be read: {e}. verify() lists all damage; if it is in a "
            "projection, rebuild() mends it"
        ) from e


def dump_metadata(serde: SerializerProtocol, metadata: Mapping[str, Any], what: str = "metadata") -> bytes:
    """Encode metadata: plain data, with the serializer's bytes for what is not.

    Raises:
        EncodingError: something in it cannot be serialised.
    """
    try:
        packed = _pack(serde, metadata)
        path = _bad_key(metadata)
    except Exception as e:
        raise _error(metadata, what, partial(_can_be_metadata, serde), e) from None  # it may quote the metadata
    if path is not None:
        raise EncodingError(
            f"{what}{path} is neither a str, a number nor bytes: metadata cannot be stored under such a key. "
            "Nothing was appended",
            channel=what,
            path_in_value=path,
        )
    return packed


def load_metadata(serde: SerializerProtocol, packed: bytes) -> Any:
    """Give what `dump_metadata` was given; tuples have become lists, as in JSON.

    Raises:
        DecodingError: the serializer cannot read something in it.
        LogDamagedError: it is damaged.
    """
    return _revive(serde, load_plain(packed))


def _revive(serde: SerializerProtocol, value: Any) -> Any:
    if isinstance(value, Whole):
        return load(serde, value)
    # Not by recursion: what was stored by a shallow caller must be there for a deep one.
    pending = [value] if isinstance(value, dict | list) else []
    while pending:
        container = pending.pop()
        for key, item in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(item, dict | list):
                pending.append(item)
            elif isinstance(item, Whole):
                container[key] = load(serde, item)
    return value


def _type_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _error(value: Any, channel: str, can: Callable[[Any], bool], e: Exception) -> EncodingError:
    path, culprit = _find(can, value)
    return EncodingError(
        f"channel {channel!r}: the value at {channel}{path} cannot be serialised: it is a "
        f"{_type_name(culprit)} ({type(e).__name__}). Nothing was appended. Keep it out of the state, or give the "
        "saver a serde that can: JsonPlusSerializer(pickle_fallback=True) for instance",
        channel=channel,
        path_in_value=path,
    )


def _pack(serde: SerializerProtocol, metadata: Any) -> bytes:
    try:
        return pack(metadata)
    except PlainDataError:
        return pack(metadata, fallback=lambda value: Whole(*serde.dumps_typed(value)))


def _bad_key(value: Any) -> str | None:
    """Give the path of a key that would not come back as it is; of what could be packed, so that it ends."""
    parts: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        if not _STR.issuperset(map(type, value)):
            for key in value:
                if not isinstance(key, str | int | float | bytes | None):
                    return f"{_step(key)} (the key)"
        parts = iter(value.items())
    elif isinstance(value, list | tuple):
        parts = iter(enumerate(value))
    for key, part in parts:
        if part and isinstance(part, _CONTAINERS) and (path := _bad_key(part)) is not None:
            return _step(key) + path
    return None


def _find(can: Callable[[Any], bool], value: Any) -> tuple[str, Any]:
    """Follow the parts that cannot be serialised down to one whose own parts all can."""
    path, seen = "", {id(value)}
    for _ in range(_MAX_DEPTH):
        try:
            step, part = next((s, p) for s, p in _parts(value) if id(p) not in seen and not can(p))
        except Exception:
            break  # no part is to blame, or it is an object that fails when it is looked at
        path, value = path + step, part
        seen.add(id(part))
    return path, value


def _can(serde: SerializerProtocol, value: Any) -> bool:
    try:
        serde.dumps_typed(value)
    except Exception:
        return False
    return True


def _can_be_metadata(serde: SerializerProtocol, value: Any) -> bool:
    try:
        _pack(serde, value)
    except Exception:
        return False
    return True


def _step(key: Any) -> str:
    # What is called like a field says where it is; any other key may be state, as a value is, and its repr may fail.
    is_name = (type(key) is str and len(key) <= _MAX_NAME and _NAME.fullmatch(key)) or type(key) in (int, float, bool)
    return f"[{key!r}]" if is_name else f"[<{_type_name(key)}>]"


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield _step(key), part
            yield f"{_step(key)} (the key)", key
    elif isinstance(value, list | tuple | set | frozenset):
        for i, part in enumerate(value):
            yield f"[{i}]", part
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            if hasattr(value, field.name):
                yield f".{field.name}", getattr(value, field.name)
    else:
        for name, part in getattr(value, "__dict__", {}).items():
            yield f".{name}", part
        for slots in (vars(cls).get("__slots__", ()) for cls in type(value).__mro__):
            for name in (slots,) if isinstance(slots, str) else slots:
                if name != "__dict__" and hasattr(value, name):
                    yield f".{name}", getattr(value, name)
