"""The record's outside: header, bases, compression (FORMAT.md section 3). Pure functions, no I/O.

What a body means is `body.py`'s business. Decoding checks every size before it allocates anything.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import zstandard

from .errors import RecordTooLargeError

__all__ = ["MAX_BASES", "MAX_BODY_BYTES", "RecordFormatError", "decode", "decompress", "encode", "read_bases"]

# Persisted: do not change.
_LAYOUT = 1
_STORED = 0
_ZSTD = 1
MAX_BODY_BYTES = 536_870_912
MAX_BASES = 65_535

_LEVEL = 3
# Below this, a frame's own header and checksum eat what compression gains.
_MIN_COMPRESSED_BYTES = 96

# Neither (de)compressor may be used by two threads at once.
_local = threading.local()


class RecordFormatError(ValueError):
    """The bytes are not a record of this version."""


def encode(body: bytes, bases: Iterable[int] = ()) -> bytes:
    """Give the record that holds `body` and names the positions `bases`.

    Raises:
        RecordTooLargeError: the body is larger than MAX_BODY_BYTES, or the bases are more than MAX_BASES.
    """
    ordered = sorted(bases)
    if len(body) > MAX_BODY_BYTES:
        raise RecordTooLargeError(size=len(body), limit=MAX_BODY_BYTES)
    assert len(ordered) <= MAX_BASES
    codec, payload = _STORED, body
    if len(body) >= _MIN_COMPRESSED_BYTES:
        frame = _compressor().compress(body)
        if len(frame) < len(body):
            codec, payload = _ZSTD, frame
    header = bytearray((_LAYOUT, codec, 0))
    _put_varint(header, len(body))
    _put_varint(header, len(ordered))
    previous = 0
    for base in ordered:
        assert base > previous
        _put_varint(header, base - previous)
        previous = base
    return bytes(header) + payload


def decode(record: bytes) -> tuple[tuple[int, ...], bytes]:
    """Give the bases and the body.

    Raises:
        RecordFormatError: anything about it is not as FORMAT.md says.
    """
    codec, size, bases, offset = _read_header(record)
    if codec == _STORED:
        if len(record) - offset != size:
            raise RecordFormatError("the body's size is not the one declared")
        return bases, record[offset:]
    return bases, decompress(record[offset:], size)


def read_bases(record: bytes) -> tuple[int, ...]:
    """Give the bases alone, without decompressing."""
    return _read_header(record)[2]


def _read_header(record: bytes) -> tuple[int, int, tuple[int, ...], int]:
    if len(record) < 5:
        raise RecordFormatError("it is too short")
    if record[0] != _LAYOUT:
        raise RecordFormatError(f"layout {record[0]} is not known")
    codec, dictionary = record[1], record[2]
    if codec not in (_STORED, _ZSTD):
        raise RecordFormatError(f"codec {codec} is not known")
    if dictionary != 0:
        raise RecordFormatError(f"dictionary {dictionary} is not known")
    size, offset = _get_varint(record, 3)
    if size > MAX_BODY_BYTES:
        raise RecordFormatError(f"it declares a body of {size} bytes, more than {MAX_BODY_BYTES}")
    count, offset = _get_varint(record, offset)
    if count > MAX_BASES:
        raise RecordFormatError(f"it declares {count} bases, more than {MAX_BASES}")
    bases = []
    base = 0
    for _ in range(count):
        step, offset = _get_varint(record, offset)
        base += step
        if step == 0 or base >= 1 << 63:
            raise RecordFormatError("its bases are not ascending positions")
        bases.append(base)
    return codec, size, tuple(bases), offset


def _compressor() -> zstandard.ZstdCompressor:
    found: zstandard.ZstdCompressor | None = getattr(_local, "compressor", None)
    if found is None:
        found = _local.compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True, write_content_size=True)
    return found


def _decompressor(dictionary: bytes | None) -> zstandard.ZstdDecompressor:
    if dictionary is not None:
        raw = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        return zstandard.ZstdDecompressor(dict_data=raw)
    found: zstandard.ZstdDecompressor | None = getattr(_local, "decompressor", None)
    if found is None:
        found = _local.decompressor = zstandard.ZstdDecompressor()
    return found


def decompress(frame: bytes, size: int, *, dictionary: bytes | None = None) -> bytes:
    """Give the `size` bytes that a zstd frame holds, which may need a raw-content dictionary.

    Raises:
        RecordFormatError: it is not one frame, whole, with a checksum, of that size; nothing was allocated for another.
    """
    try:
        # zstd allocates what the frame declares, whatever max_output_size says: look first. (A skippable one
        # declares nothing, and has another magic number.)
        if frame[:4] != zstandard.FRAME_HEADER:
            raise RecordFormatError("its zstd frame does not begin like one")
        parameters = zstandard.get_frame_parameters(frame)
        if parameters.content_size != size or not parameters.has_checksum or parameters.dict_id != 0:
            raise RecordFormatError("its zstd frame is not the one declared")
        body = _decompressor(dictionary).decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as e:
        raise RecordFormatError(f"its zstd frame is damaged: {e}") from e
    if len(body) != size:
        raise RecordFormatError("the body's size is not the one declared")
    return body


def _put_varint(out: bytearray, number: int) -> None:
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _get_varint(data: bytes, offset: int) -> tuple[int, int]:
    if offset < len(data) and data[offset] < 0x80:  # nearly all
        return data[offset], offset + 1
    number = shift = 0
    for length in range(10):
        if offset >= len(data):
            raise RecordFormatError("it ends inside its header")
        byte = data[offset]
        offset += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and length > 0:
                raise RecordFormatError("a number is not in its shortest form")
            return number, offset
        shift += 7
    raise RecordFormatError("a number is longer than ten bytes")
