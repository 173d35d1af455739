"""The record's outside: what encode gives, decode gives back; anything else is a RecordFormatError."""

from __future__ import annotations

import contextlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph_eventlog.eventlog import CorruptRecordError, Kind, PutWrites, Whole, Write
from langgraph_eventlog.eventlog import record as codec
from langgraph_eventlog.eventlog.body import encode_body
from langgraph_eventlog.eventlog.errors import RecordTooLargeError
from langgraph_eventlog.eventlog.integrity import digest_of
from langgraph_eventlog.eventlog.opened import OpenedRecord
from langgraph_eventlog.eventlog.record import RecordFormatError, decode, encode, read_bases

TRIES = settings(derandomize=True, database=None, deadline=None, max_examples=100)
BODY = b"the quick brown fox " * 20
MAX = (1 << 63) - 1


def varint(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def record_of(payload: bytes, *, size: int, codec: int = 0, bases: bytes = b"\0") -> bytes:
    return bytes([1, codec, 0]) + varint(size) + bases + payload


def frame_of(body: bytes, **options: bool) -> bytes:
    return zstandard.ZstdCompressor(**{"write_checksum": True, "write_content_size": True, **options}).compress(body)


bodies = st.binary(max_size=400) | st.builds(
    lambda part, n: part * n, st.binary(min_size=1, max_size=9), st.integers(1, 900)
)
base_sets = st.sets(st.integers(1, MAX), max_size=20)


@TRIES
@given(bodies, base_sets)
def test_what_is_encoded_is_decoded(body: bytes, bases: set[int]) -> None:
    record = encode(body, bases)
    assert decode(record) == (tuple(sorted(bases)), body)
    assert read_bases(record) == tuple(sorted(bases))


@TRIES
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_decoded_or_refused(data: bytes) -> None:
    for record in (data, b"\x01\x00\x00" + data, b"\x01\x01\x00" + data):
        try:
            bases, body = decode(record)
        except RecordFormatError:
            continue
        assert decode(encode(body, bases)) == (bases, body)


@pytest.mark.parametrize("body", [b"short", BODY], ids=["stored", "compressed"])
def test_no_flipped_truncated_or_extended_record_is_taken_for_another(body: bytes) -> None:
    """Decoding gives nothing wrong: what zstd's checksum and the sizes cannot find, the digest does."""
    record = encode(body, [3, 5])
    digest = digest_of(record)
    damaged = [record[:n] for n in range(len(record))] + [record + bytes([b]) for b in (0, 1, 0x28, 255)]
    for i in range(len(record)):
        damaged += [record[:i] + bytes([record[i] ^ bit]) + record[i + 1 :] for bit in (1, 8, 128, 255)]
    for bad in damaged:
        with contextlib.suppress(RecordFormatError):
            decode(bad)
        with pytest.raises(CorruptRecordError) as caught:
            OpenedRecord("a log", 9, (1, None, bad, digest))
        assert caught.value.position == 9
    for bad in damaged[: len(record) + 4]:
        with pytest.raises(RecordFormatError):
            decode(bad)


@pytest.mark.parametrize("at", range(40, 60))
def test_a_flipped_byte_inside_a_frame_is_found_without_a_digest(at: int) -> None:
    record = encode(bytes(range(256)) * 2 + BODY)
    with pytest.raises(RecordFormatError):
        decode(record[:at] + bytes([record[at] ^ 0x10]) + record[at + 1 :])


FRAME = frame_of(BODY)
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip"


@pytest.mark.parametrize(
    ("payload", "size"),
    [
        (FRAME + b"\0", len(BODY)),
        (FRAME + FRAME, len(BODY)),
        (FRAME + FRAME, 2 * len(BODY)),
        (FRAME + SKIPPABLE, len(BODY)),
        (SKIPPABLE + FRAME, len(BODY)),
        (SKIPPABLE, 0),
        (SKIPPABLE, 4),
        (frame_of(BODY, write_content_size=False), len(BODY)),
        (frame_of(BODY, write_checksum=False), len(BODY)),
        (FRAME, len(BODY) - 1),
        (FRAME, len(BODY) + 1),
        (FRAME, 0),
        (FRAME[:-1], len(BODY)),
        (FRAME[:5], len(BODY)),
        (FRAME[:4], len(BODY)),
        (b"", 0),
        (b"", len(BODY)),
        (BODY, len(BODY)),
    ],
)
def test_only_exactly_one_frame_with_size_and_checksum_is_read(payload: bytes, size: int) -> None:
    with pytest.raises(RecordFormatError):
        decode(record_of(payload, size=size, codec=1))


def test_a_frame_that_names_a_dictionary_is_refused() -> None:
    samples = [f"sample {i} of some text that repeats, {i * 7} times".encode() for i in range(400)]
    dictionary = zstandard.train_dictionary(1024, samples)
    frame = zstandard.ZstdCompressor(dict_data=dictionary, write_checksum=True).compress(BODY)
    assert zstandard.get_frame_parameters(frame).dict_id != 0
    with pytest.raises(RecordFormatError):
        decode(record_of(frame, size=len(BODY), codec=1))


def bomb(declared: int) -> bytes:
    """A frame whose header declares so much (8 bytes, with checksum), and holds one empty raw block."""
    return zstandard.FRAME_HEADER + bytes([0b1110_0100]) + declared.to_bytes(8, "little") + b"\x01\0\0" + b"\0" * 4


@pytest.mark.parametrize("size", [0, 5, 1 << 40, 1 << 62])
def test_a_declared_terabyte_is_refused_before_anything_is_allocated(size: int) -> None:
    frame = bomb(1 << 40)
    assert zstandard.get_frame_parameters(frame).content_size == 1 << 40
    with pytest.raises(RecordFormatError):  # allocating it would be a MemoryError
        decode(record_of(frame, size=size, codec=1))
    with pytest.raises(RecordFormatError):
        decode(record_of(b"x", size=1 << 40))
    with pytest.raises(RecordFormatError):
        decode(record_of(b"", size=0, bases=varint(1 << 40)))


def test_the_limits_are_inclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_BODY_BYTES", len(BODY))
    assert decode(encode(BODY)) == ((), BODY)
    with pytest.raises(RecordTooLargeError) as caught:
        encode(BODY + b"x")
    assert (caught.value.size, caught.value.limit) == (len(BODY) + 1, len(BODY))
    with pytest.raises(RecordFormatError):
        decode(record_of(BODY + b"x", size=len(BODY) + 1))
    many = range(1, codec.MAX_BASES + 1)
    assert read_bases(encode(b"", many)) == tuple(many)
    with pytest.raises(RecordFormatError):
        decode(record_of(b"", size=0, bases=varint(codec.MAX_BASES + 1) + b"\1" * (codec.MAX_BASES + 1)))


@pytest.mark.parametrize(
    "number",
    [b"\x80\x00", b"\x81\x80\x00", b"\x80" * 9 + b"\x00", b"\x80" * 10 + b"\x01", b"\xff" * 20, b"\x80", b"\xff" * 9],
)
def test_numbers_are_in_their_shortest_form_and_at_most_ten_bytes(number: bytes) -> None:
    for record in (
        b"\x01\x00\x00" + number,
        b"\x01\x00\x00" + number + b"\x00",
        b"\x01\x00\x00\x00" + number,
        b"\x01\x00\x00\x00\x01" + number,
    ):
        with pytest.raises(RecordFormatError):
            decode(record)


@pytest.mark.parametrize(
    "bases", [b"\1\0", b"\2\1\0", b"\3\1\1\0", b"\1" + varint(1 << 63), b"\2" + varint(MAX) + b"\1", b"\2\1", b"\1"]
)
def test_bases_are_ascending_positions_below_two_to_the_63(bases: bytes) -> None:
    with pytest.raises(RecordFormatError):
        decode(record_of(b"", size=0, bases=bases))
    with pytest.raises(RecordFormatError):
        read_bases(record_of(b"", size=0, bases=bases))


@pytest.mark.parametrize("at", [0, 1, 2], ids=["layout", "codec", "dictionary"])
def test_layouts_codecs_and_dictionaries_that_are_not_known_are_refused(at: int) -> None:
    for body in (b"short", BODY):
        good = encode(body)
        for number in range(256):
            bad = good[:at] + bytes([number]) + good[at + 1 :]
            if bad != good:
                with pytest.raises(RecordFormatError):
                    decode(bad)


def test_a_record_may_not_refer_to_itself_or_later_events() -> None:
    data = PutWrites("c", "t", "", (Write("x", 0, Whole("t", b"")),))
    record = encode(encode_body(data, frozenset()), [4])
    for position in (3, 4):
        with pytest.raises(CorruptRecordError, match="after it"):
            OpenedRecord("a log", position, (Kind.PUT_WRITES, None, record, digest_of(record)))
