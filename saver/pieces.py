"""What JsonPlusSerializer makes, msgpack, cut into the bytes of its elements, and put together again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgpack

__all__ = ["MSGPACK", "array_of", "cut", "list_of", "map_of"]

# The serializer's type tag.
MSGPACK = "msgpack"


def cut(array: bytes, *, pairs: bool = False) -> list[bytes] | None:
    """Cut a msgpack array, or with `pairs` a map, into the bytes of its elements: of a map, keys and values in turn.

    None, if it is not one, and nothing else.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=len(array))
    unpacker.feed(array)
    try:
        count = 2 * unpacker.read_map_header() if pairs else unpacker.read_array_header()
        elements, start = [], unpacker.tell()
        for _ in range(count):
            unpacker.skip()
            end = unpacker.tell()
            elements.append(array[start:end])
            start = end
    except (ValueError, msgpack.UnpackException):
        return None
    return elements if start == len(array) else None


def list_of(elements: Sequence[bytes]) -> bytes:
    """Give the list of these elements, fewer than 65,536, as the serializer gives it: with the shortest header."""
    count = len(elements)
    header = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return header + b"".join(elements)


def array_of(count: int, elements: Iterable[bytes]) -> bytes:
    """Give the msgpack array of so many elements: its length, and their bytes."""
    return b"\xdd" + count.to_bytes(4, "big") + b"".join(elements)


def map_of(items: Mapping[str, bytes]) -> bytes:
    """Give the msgpack map of these keys, and the bytes of their values."""
    count = len(items)
    header = bytes((0x80 | count,)) if count < 16 else b"\xdf" + count.to_bytes(4, "big")
    return header + b"".join([msgpack.packb(key, unicode_errors="surrogatepass") + items[key] for key in items])
