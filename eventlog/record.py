"""The record's outside: header, bases, compression (FORMAT.md section 3). Pure functions, no I/O.

What a body means is `body.py`'s business. Decoding checks every size before it allocates anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import zstandard

from . import dictionaries
from .errors import RecordTooLargeError

__all__ = [
    "MAX_BASES",
    "MAX_BODY_BYTES",
    "RecordFormatError",
    "base_of_patch",
    "body_size",
    "decode",
    "decompress",
    "encode",
    "encode_patch",
    "patch_frame",
    "read_bases",
    "with_bases",
]

# Persisted: do not change.
_LAYOUT = 1
_STORED = 0
_ZSTD = 1
_PATCH = 2
MAX_BODY_BYTES = 536_870_912
MAX_BASES = 65_535

_LEVEL = 3
_MAX_WINDOW_LOG = 27
# Below this, a frame's own header and checksum eat what compression gains.
_MIN_COMPRESSED_BYTES = 64
# Up to this size zstd uses the dictionary's tables where they are, and that is faster than without a dictionary.
# Beyond it, it would copy them for each record, and gain less and less.
_MAX_DICTIONARY_BYTES = 16_384
# zstd prefers the dictionary's entropy tables, even where ones of the body's own would pay: where it repeats itself.
_MIN_REPETITIVE_BYTES = 1024
_REPETITIVE_RATIO = 4
_NO_DICTIONARY = 0
_DICTIONARY = 1


# What zstd looks into at nearly each byte, of the dictionary too, is 32 KiB with these. It would be 384: not in the
# processor's cache when a record comes, for a percent or two of its size.
_PARAMETERS = zstandard.ZstdCompressionParameters(
    compression_level=_LEVEL,
    strategy=zstandard.STRATEGY_FAST,
    window_log=17,
    hash_log=13,
    write_checksum=True,
    write_content_size=True,
    write_dict_id=True,
)


def _loaded(number: int) -> zstandard.ZstdCompressionDict:
    found = dictionaries.dictionary(number)
    found.precompute_compress(compression_params=_PARAMETERS)
    return found


_DICTIONARIES: dict[int, zstandard.ZstdCompressionDict | None] = {
    _NO_DICTIONARY: None,
    **{number: _loaded(number) for number in dictionaries.SHA256},
}


# How many that nobody is using are kept, for each dictionary; see the next two.
_MOST_IDLE = 8
# Those that nobody is using, for each dictionary: none of them may be used by two threads at once. Not one for each
# thread: making one takes a hundred times as long as using it, and a graph may begin new threads at each invoke.
_compressors: dict[int, list[zstandard.ZstdCompressor]] = {number: [] for number in _DICTIONARIES}
# Who opens a log reads it: one is there before.
_decompressors: dict[int, list[zstandard.ZstdDecompressor]] = {
    number: [zstandard.ZstdDecompressor(dict_data=dictionary)] for number, dictionary in _DICTIONARIES.items()
}


class RecordFormatError(ValueError):
    """The bytes are not a record of this version."""


def encode(body: bytes, bases: Collection[int] = ()) -> bytes:
    """Give the record that holds `body` and names the positions `bases`, at most MAX_BASES.

    Raises:
        RecordTooLargeError: the body is larger than MAX_BODY_BYTES.
    """
    if len(body) > MAX_BODY_BYTES:
        raise RecordTooLargeError(size=len(body), limit=MAX_BODY_BYTES)
    return _record(len(body), bases, *_compressed(body))


def encode_patch(body: bytes, base: int, base_body: bytes, *, at_most: int) -> bytes | None:
    """Give the record that holds `body` as what differs from the body of the event at `base`.

    None if the difference takes more than `at_most` bytes.

    Raises:
        RecordTooLargeError: the body is larger than MAX_BODY_BYTES.
    """
    if len(body) > MAX_BODY_BYTES:
        raise RecordTooLargeError(size=len(body), limit=MAX_BODY_BYTES)
    frame = patch_frame(base_body, body)
    return _record(len(body), (base,), _PATCH, _NO_DICTIONARY, frame) if len(frame) <= at_most else None


def _record(size: int, bases: Collection[int], codec: int, dictionary: int, payload: bytes) -> bytes:
    assert len(bases) <= MAX_BASES
    numbers = [size, len(bases)]
    previous = 0
    for base in sorted(bases) if len(bases) > 1 else bases:
        assert base > previous
        numbers.append(base - previous)
        previous = base
    header = [_LAYOUT, codec, dictionary]
    for number in numbers:  # as varints
        left = number
        while left >= 0x80:
            header.append(left & 0x7F | 0x80)
            left >>= 7
        header.append(left)
    return bytes(header) + payload


def _compressed(body: bytes) -> tuple[int, int, bytes]:
    """Give the codec, the dictionary and the bytes that hold a body: what is smallest, as far as it is worth trying."""
    size = len(body)
    if size < _MIN_COMPRESSED_BYTES:
        return _STORED, _NO_DICTIONARY, body
    dictionary = _DICTIONARY if size <= _MAX_DICTIONARY_BYTES else _NO_DICTIONARY
    frame = _frame(body, dictionary)
    if dictionary and size >= _MIN_REPETITIVE_BYTES and len(frame) * _REPETITIVE_RATIO < size:
        alone = _frame(body, _NO_DICTIONARY)
        if len(alone) < len(frame):
            dictionary, frame = _NO_DICTIONARY, alone
    return (_ZSTD, dictionary, frame) if len(frame) < size else (_STORED, _NO_DICTIONARY, body)


def decode(record: bytes, base_body: Callable[[int], bytes] | None = None) -> tuple[tuple[int, ...], bytes]:
    """Give the bases that values refer to, and the body.

    Args:
        record: the bytes.
        base_body: gives the body of the event that a patch is made to; None: a patch is an error.

    Raises:
        RecordFormatError: anything about it is not as FORMAT.md says.
    """
    codec, dictionary, size, bases, offset = _read_header(record)
    if codec == _PATCH:
        if base_body is None or len(bases) != 1:
            raise RecordFormatError("it is a patch where none may be, or not to one event")
        return (), decompress(record[offset:], size, base=base_body(bases[0]))
    if codec == _STORED:
        if len(record) - offset != size:
            raise RecordFormatError("the body's size is not the one declared")
        return bases, record[offset:]
    idle = _decompressors[dictionary]
    try:
        decompressor = idle.pop()
    except IndexError:
        decompressor = zstandard.ZstdDecompressor(dict_data=_DICTIONARIES[dictionary])
    body = _decompress(decompressor, record[offset:], size, dictionaries.zstd_id(dictionary))
    if len(idle) < _MOST_IDLE:
        idle.append(decompressor)
    return bases, body


def read_bases(record: bytes) -> tuple[int, ...]:
    """Give the bases alone, without decompressing."""
    return _read_header(record)[3]


def body_size(record: bytes) -> int:
    """Give how many bytes the body has, without decompressing.

    Raises:
        RecordFormatError: the header is damaged, or is not all there.
    """
    return _read_header(record)[2]


def with_bases(record: bytes, bases: Collection[int]) -> bytes:
    """Give a record with other bases, as many as it has: what refers to one refers to that of the same rank."""
    codec, dictionary, size, old, offset = _read_header(record)
    assert len(bases) == len(old)
    return _record(size, bases, codec, dictionary, record[offset:])


def base_of_patch(record: bytes) -> int | None:
    """Give the position that a record is a patch to; None if it is none, or damaged."""
    # What SQLite reads of a damaged row may be anything.
    if type(record) is not bytes or record[1:2] != bytes((_PATCH,)):
        return None
    try:
        bases = read_bases(record)
    except RecordFormatError:
        return None
    return bases[0] if len(bases) == 1 else None


def _read_header(record: bytes) -> tuple[int, int, int, tuple[int, ...], int]:
    if len(record) < 5:
        raise RecordFormatError("it is too short")
    if record[0] != _LAYOUT:
        raise RecordFormatError(f"layout {record[0]} is not known")
    codec, dictionary = record[1], record[2]
    if codec not in (_STORED, _ZSTD, _PATCH):
        raise RecordFormatError(f"codec {codec} is not known")
    if dictionary not in _DICTIONARIES:
        raise RecordFormatError(f"dictionary {dictionary} is not known")
    if dictionary != _NO_DICTIONARY and codec != _ZSTD:
        raise RecordFormatError("it names a dictionary, but is not compressed")
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
    return codec, dictionary, size, tuple(bases), offset


def _frame(body: bytes, number: int) -> bytes:
    """Give the zstd frame that holds a body, made with a dictionary."""
    idle = _compressors[number]
    try:
        compressor = idle.pop()
    except IndexError:
        compressor = _compressor(number)
    frame = compressor.compress(body)
    if len(idle) < _MOST_IDLE:  # and one that has failed does not come back
        idle.append(compressor)
    return frame


def _compressor(number: int) -> zstandard.ZstdCompressor:
    dictionary = _DICTIONARIES[number]
    if dictionary is None:
        return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True, write_content_size=True)
    return zstandard.ZstdCompressor(dict_data=dictionary, compression_params=_PARAMETERS)


def patch_frame(old: bytes, new: bytes) -> bytes:
    """Give the zstd frame from which, with `old` as raw-content dictionary, `new` comes back."""
    dictionary = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    # Below level 3, and in a window that does not hold both, zstd does not find what they share.
    window = min(max((len(old) + len(new)).bit_length(), zstandard.WINDOWLOG_MIN), _MAX_WINDOW_LOG)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL,
        window_log=window,
        source_size=len(new),
        dict_size=len(old),
        write_content_size=1,
        write_checksum=1,
        write_dict_id=0,
    )
    return zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters).compress(new)


def decompress(frame: bytes, size: int, *, base: bytes) -> bytes:
    """Give the `size` bytes that a zstd frame holds, which was made with `base` as raw-content dictionary.

    Raises:
        RecordFormatError: it is not one frame, whole, with a checksum, of that size; nothing was allocated for another.
    """
    raw = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return _decompress(zstandard.ZstdDecompressor(dict_data=raw), frame, size, zstd_id=0)


def _decompress(decompressor: zstandard.ZstdDecompressor, frame: bytes, size: int, zstd_id: int) -> bytes:
    try:
        # zstd allocates what the frame declares, whatever max_output_size says: look first. (A skippable one
        # declares nothing, and has another magic number.)
        if frame[:4] != zstandard.FRAME_HEADER:
            raise RecordFormatError("its zstd frame does not begin like one")
        parameters = zstandard.get_frame_parameters(frame)
        if parameters.content_size != size or not parameters.has_checksum or parameters.dict_id != zstd_id:
            raise RecordFormatError("its zstd frame is not the one declared")
        body = decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as e:
        raise RecordFormatError(f"its zstd frame is damaged: {e}") from e
    if len(body) != size:
        raise RecordFormatError("the body's size is not the one declared")
    return body


def _get_varint(data: bytes, offset: int) -> tuple[int, int]:
    try:
        byte = data[offset]
        if byte < 0x80:  # nearly all
            return byte, offset + 1
        number, shift = byte & 0x7F, 7
        while True:
            offset += 1
            byte = data[offset]
            if byte < 0x80:
                break
            number |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise RecordFormatError("a number is longer than ten bytes")
    except IndexError:
        raise RecordFormatError("it ends inside its header") from None
    if byte == 0:
        raise RecordFormatError("a number is not in its shortest form")
    return number | byte << shift, offset + 1
