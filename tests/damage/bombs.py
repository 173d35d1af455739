"""Decodes what declares far more than it holds, with little memory. A process of its own, which may run out of it.

    python tests/damage/bombs.py BYTES

Prints how many cases there were. Fails at the first that is not refused, or not before its memory was taken.
"""

from __future__ import annotations

import faulthandler
import resource
import struct
import sys
from pathlib import Path

import zstandard
from langgraph_eventlog.eventlog import CorruptRecordError, Put, PutWrites, Whole, Write
from langgraph_eventlog.eventlog.body import BodyFormatError, decode_body, encode_body
from langgraph_eventlog.eventlog.event import stored_in
from langgraph_eventlog.eventlog.integrity import digest_of
from langgraph_eventlog.eventlog.opened import OpenedRecord
from langgraph_eventlog.eventlog.plain import PlainDataError, unpack
from langgraph_eventlog.eventlog.record import RecordFormatError, encode
from langgraph_eventlog.eventlog.resolve import Resolver
from langgraph_eventlog.eventlog.value import ListOf, Patch, Slice, Splice

GB = 1 << 30
MB = 1 << 20


def varint(number):
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def record(payload, size, codec=1, dictionary=0, bases=b"\0"):
    return bytes([1, codec, dictionary]) + varint(size) + bases + payload


def frame_header(declared, *, window=None, dict_id=0):
    # With a checksum. With a window, not a single segment: then zstd allocates the window.
    descriptor = 0b11 << 6 | 0b100 | (0 if window is not None else 0b100000) | (0b11 if dict_id else 0)
    window = b"" if window is None else bytes([window])
    dictionary = struct.pack("<I", dict_id) if dict_id else b""
    return zstandard.FRAME_HEADER + bytes([descriptor]) + window + dictionary + struct.pack("<Q", declared)


EMPTY_BLOCK = b"\x01\0\0" + b"\0" * 4


# A block of one byte repeated: 4 bytes for 128 KiB.
def rle_blocks(count):
    size = 128 * 1024
    blocks = b"".join((size << 3 | 0b010 | (i == count - 1)).to_bytes(3, "little") + b"x" for i in range(count))
    return blocks + b"\0" * 4


def as_record(given):
    OpenedRecord("log", 9, (2, 1, given, digest_of(given)), None).data()


def as_patch(frame, size):
    given = record(frame, size, codec=2, bases=b"\1\1")
    base = encode(encode_body(PutWrites("c", "t", "", ()), frozenset()))
    OpenedRecord("log", 9, (2, 1, given, digest_of(given)), (2, 1, base, digest_of(base))).data()


EMPTY = Whole("=", b"\x80")


def resolve(stored, *bases):
    def put(value):
        return value if isinstance(value, PutWrites) else Put("c", None, b"", {"x": value}, EMPTY, EMPTY, {})

    events = {at: put(value) for at, value in enumerate(bases, start=1)}
    resolver = Resolver(lambda position, field: stored_in(events.get(position), field), path="log")
    resolver.channel(len(bases) + 1, "x", stored)


def doubled():
    # Each splice would keep more than there is of the one before.
    whole = ListOf(tuple(Whole("t", b"x") for _ in range(1000)))
    return resolve(Splice(40, 1 << 40, (), 1 << 40), whole, *[Splice(n, 1000, (), 1000) for n in range(1, 40)])


written = PutWrites("c", "t", "", (Write("x", 0, Whole("t", bytes(MB))),))
many_slices = ListOf(tuple(Slice("t", 1, 0, 0, MB) for _ in range(2000)))
deep = 100_000

CASES = {
    "a body's size": lambda: as_record(record(b"x", 536_870_912, codec=0)),
    "a body's size beyond the limit": lambda: as_record(record(b"x", 1 << 62, codec=0)),
    "the number of bases": lambda: as_record(record(b"", 0, codec=0, bases=varint(1 << 62))),
    "the most bases, and none there": lambda: as_record(record(b"", 0, codec=0, bases=varint(65_535))),
    "a frame of a terabyte": lambda: as_record(record(frame_header(1 << 40) + EMPTY_BLOCK, 1 << 40)),
    "a frame of a gigabyte, declared small": lambda: as_record(record(frame_header(GB) + EMPTY_BLOCK, 100)),
    "a frame, declared small, that holds a gigabyte": lambda: as_record(
        record(frame_header(100) + rle_blocks(8 * 1024), 100)
    ),
    "a frame without a size that holds a gigabyte": lambda: as_record(
        record(zstandard.FRAME_HEADER + bytes([0b100, 0x50]) + rle_blocks(8 * 1024), GB)
    ),
    "a frame with the largest window": lambda: as_record(record(frame_header(100, window=0xFF) + EMPTY_BLOCK, 100)),
    "a frame with a window of a gigabyte": lambda: as_record(
        record(frame_header(100, window=20 << 3) + EMPTY_BLOCK, 100)
    ),
    "a frame with another dictionary": lambda: as_record(record(frame_header(100, dict_id=1 << 31) + EMPTY_BLOCK, 100)),
    "a dictionary that is not known": lambda: as_record(record(frame_header(100) + EMPTY_BLOCK, 100, dictionary=255)),
    "a skippable frame of 4 GB": lambda: as_record(record(b"\x50\x2a\x4d\x18\xff\xff\xff\xff", 100)),
    "a patch of a gigabyte": lambda: as_patch(frame_header(GB) + EMPTY_BLOCK, GB),
    "a patch, declared small, that holds a gigabyte": lambda: as_patch(frame_header(100) + rle_blocks(8 * 1024), 100),
    "an array of 4 billion": lambda: unpack(b"\xdd\xff\xff\xff\xff"),
    "a map of 4 billion": lambda: unpack(b"\xdf\xff\xff\xff\xff"),
    "a text of 4 GB": lambda: unpack(b"\xdb\xff\xff\xff\xff"),
    "bytes of 4 GB": lambda: unpack(b"\xc6\xff\xff\xff\xff"),
    "an extension of 4 GB": lambda: unpack(b"\xc9\xff\xff\xff\xff\x01"),
    "arrays of 4 billion in each other": lambda: unpack(b"\xdd\xff\xff\xff\xff" * 1000),
    "arrays as many as bytes, in each other": lambda: unpack(b"\xdd\x00\x00\x03\xe8" * 200),
    "arrays 100,000 deep": lambda: unpack(b"\x91" * deep + b"\xc0"),
    "maps 100,000 deep": lambda: unpack(b"\x81\xa1k" * deep + b"\xc0"),
    "objects 100,000 deep": lambda: unpack(b"\xc9\x00\x10\x00\x00\x01" * deep),
    "a body 100,000 deep": lambda: decode_body(2, b"\x94" + b"\x91" * deep + b"\xc0" * 4, ()),
    "an integer of a million digits": lambda: unpack(b"\xc9\x00\x0f\x42\x40\x02" + b"9" * 1_000_000),
    "a patch in a value, of a gigabyte": lambda: resolve(
        Patch(1, "t", GB, frame_header(GB) + EMPTY_BLOCK), Whole("t", b"x")
    ),
    "a patch in a value that holds a gigabyte": lambda: resolve(
        Patch(1, "t", 100, frame_header(100) + rle_blocks(8 * 1024)), Whole("t", b"x")
    ),
    "slices of the same megabyte, two thousand": lambda: resolve(many_slices, written),
    "a slice beyond the end": lambda: resolve(ListOf((Slice("t", 1, 0, 1 << 62, 1 << 62),)), written),
    "a slot that is not there": lambda: resolve(ListOf((Slice("t", 1, 1 << 62, 0, 1),)), written),
    "splices that double": doubled,
    "an order of other places": lambda: decode_body(
        1, b"\x98\xa1c\xc0\xc4\x00\x81\xa1x\x95\x05\x00\x90\x90\x91\xcf" + b"\x7f" * 8 + b"\xc0" * 4, (1,)
    ),
}

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]), used + int(sys.argv[1])))
faulthandler.dump_traceback_later(60, exit=True)
refused = (CorruptRecordError, RecordFormatError, BodyFormatError, PlainDataError)
for name, case in CASES.items():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        case()
    except refused:
        # unpack() turns running out of memory into its own error: how much was taken tells.
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if grown > 32 * MB:
            raise SystemExit(f"{name} took {grown:,} bytes") from None
        continue
    raise SystemExit(f"{name} was not refused")
print(len(CASES))
