"""Plain data as msgpack: what the log itself can read, without anyone's serializer.

None, bool, int, float, str, bytes, list and dict, and `Whole` for what needed a serializer (FORMAT.md
section 3). Tuples become lists, as they do in JSON. Nothing here runs code found in the data.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import msgpack

from .value import Whole

__all__ = ["PlainDataError", "pack", "unpack"]

# Persisted: do not change.
_EXT_WHOLE = 1
_EXT_BIG_INTEGER = 2
_BIG_INTEGER = re.compile(rb"-?[1-9][0-9]{0,4299}")  # 4,300 digits are Python's own limit for int(str)
# msgpack turns its timestamp type (-1, a byte ff) into an object without asking the hook. What may stand before it:
_TIMESTAMP_HEADERS = (
    b"\xd6",
    b"\xd7",
    *(form + size for form in (b"\xc7", b"\xc8\0", b"\xc9\0\0\0") for size in (b"\x04", b"\x08", b"\x0c")),
)


class PlainDataError(ValueError):
    """The bytes are not plain data, or the object is none."""


def pack(obj: Any, *, fallback: Callable[[Any], Whole] | None = None) -> bytes:
    """Encode plain data.

    Args:
        obj: what to encode; strings may hold NULs and lone surrogates.
        fallback: turns an object that is not plain into a `Whole`; without it such an object is an error.

    Raises:
        PlainDataError: an object is not plain, or nested deeper than msgpack allows (1,024).
    """
    try:
        if fallback is None:
            try:
                packer = _packers.pop()
            except IndexError:
                packer = msgpack.Packer(default=_default_plain, unicode_errors="surrogatepass")
            packed: bytes = packer.pack(obj)
            if len(packed) <= _MAX_KEPT_BYTES:  # or its buffer would stay as large as this
                _packers.append(packer)
        else:
            packed = msgpack.packb(obj, default=partial(_default, fallback), unicode_errors="surrogatepass")
    except PlainDataError:
        raise
    except (ValueError, OverflowError, RecursionError) as e:
        raise PlainDataError(str(e)) from e
    return packed


def _default(fallback: Callable[[Any], Whole] | None, o: Any) -> Any:
    """Give what msgpack can hold for an object that it cannot."""
    if isinstance(o, Whole):
        return msgpack.ExtType(_EXT_WHOLE, _packb([o.tag, o.data]))
    if isinstance(o, int):
        return msgpack.ExtType(_EXT_BIG_INTEGER, str(o).encode("ascii"))
    if fallback is not None:
        return _default(fallback, fallback(o))
    raise PlainDataError(f"{type(o).__name__} is not plain data")


_default_plain = partial(_default, None)
# A packer begins by allocating a buffer, which takes longer than to pack most of what is packed here: so they are used
# again. One that is in use is not in the list; one that has failed does not come back.
_packers: list[msgpack.Packer] = []
_MAX_KEPT_BYTES = 1_048_576


def _packb(obj: Any) -> bytes:
    packed: bytes = msgpack.packb(obj, unicode_errors="surrogatepass")
    return packed


def _ext(code: int, data: bytes) -> Any:
    if code == _EXT_WHOLE:
        # Without the hook: nothing in it may be an extension, and a nest of them would overflow the C stack.
        tag, payload = msgpack.unpackb(data, unicode_errors="surrogatepass")
        if type(tag) is not str or type(payload) is not bytes:
            raise PlainDataError("a serialised object is [tag, data]")
        return Whole(tag, payload)
    if code == _EXT_BIG_INTEGER:
        if not _BIG_INTEGER.fullmatch(data):
            raise PlainDataError("a large integer is not written as one")
        return int(data.decode("ascii"))
    raise PlainDataError(f"extension type {code} is not known")


def _unpackb(data: bytes) -> Any:
    return msgpack.unpackb(data, ext_hook=_ext, strict_map_key=False, unicode_errors="surrogatepass")


def unpack(data: bytes) -> Any:
    """Decode what `pack` made. Hostile bytes are a PlainDataError.

    Never more than a small multiple of their size in memory.
    """
    try:
        unpacked = _unpackb(data)
        if b"\xff" in data and _may_hold_timestamps(data):
            _refuse_timestamps(unpacked)
        return unpacked
    except PlainDataError:
        raise
    # ValueError covers msgpack's own tree; TypeError is an unhashable map key.
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as e:
        raise PlainDataError(f"not plain data: {type(e).__name__}") from e


def _may_hold_timestamps(data: bytes) -> bool:
    if data.count(b"\xff") > len(data) // 64:
        return True  # looking at each would take longer than looking through what was unpacked
    at = data.find(b"\xff")
    while at >= 0:
        if data.endswith(_TIMESTAMP_HEADERS, max(0, at - 5), at):
            return True
        at = data.find(b"\xff", at + 1)
    return False


def _refuse_timestamps(unpacked: Any) -> None:
    pending = [unpacked]
    while pending:
        found = pending.pop()
        if isinstance(found, msgpack.Timestamp):
            raise PlainDataError("a timestamp is not plain data")
        if isinstance(found, dict):
            pending += [*found.keys(), *found.values()]
        elif isinstance(found, list):
            pending += found
