"""The record's outside: what encode gives, decode gives back; anything else is a RecordFormatError."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph_eventlog.eventlog import CorruptRecordError, Kind, PutWrites, Whole, Write, dictionaries
from langgraph_eventlog.eventlog import record as codec
from langgraph_eventlog.eventlog.body import encode_body
from langgraph_eventlog.eventlog.errors import RecordTooLargeError
from langgraph_eventlog.eventlog.integrity import digest_of
from langgraph_eventlog.eventlog.opened import OpenedRecord
from langgraph_eventlog.eventlog.record import RecordFormatError, decode, encode, read_bases

TRIES = settings(derandomize=True, database=None, deadline=None, max_examples=100)
BODY = b"the quick brown fox " * 20
# Larger than what is compressed with a dictionary.
LARGE = BODY * 50
SAMPLES = [f"sample {i} of some text that repeats, {i * 7} times".encode() for i in range(400)]
MAX = (1 << 63) - 1


def varint(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def record_of(payload: bytes, *, size: int, codec: int = 0, dictionary: int = 0, bases: bytes = b"\0") -> bytes:
    return bytes([1, codec, dictionary]) + varint(size) + bases + payload


def frame_of(body: bytes, dictionary: int = 0, **options: Any) -> bytes:
    if dictionary:
        options = {"dict_data": dictionaries.dictionary(dictionary), **options}
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
    for record in (data, b"\x01\x00\x00" + data, b"\x01\x01\x00" + data, b"\x01\x01\x01" + data):
        try:
            bases, body = decode(record)
        except RecordFormatError:
            continue
        assert decode(encode(body, bases)) == (bases, body)


def test_small_bodies_are_compressed_with_the_dictionary_tiny_ones_not_at_all_large_ones_without_it() -> None:
    chance = random.Random(1)
    words = ["langchain_core.messages.human", "content", "additional_kwargs", "response_metadata", "branch:to:agent"]
    text = " ".join(f"{chance.choice(words)} {chance.getrandbits(64):x}" for _ in range(500)).encode()
    for size, header in ((63, (0, 0)), (64, (1, 1)), (16_384, (1, 1)), (16_385, (1, 0)), (len(text), (1, 0))):
        record = encode(text[:size], [3])
        assert ((record[1], record[2]), decode(record)) == (header, ((3,), text[:size]))
        assert (len(record) < size) == (header != (0, 0))
    for size in (0, 1, 63, 64, 100, 5000, 16_384, 16_385):
        body = chance.randbytes(size)
        record = encode(body)
        assert (record[:3], decode(record)) == (b"\1\0\0", ((), body))


def test_what_the_saver_puts_is_smaller_with_the_dictionary_than_without() -> None:
    message = {"type": "human", "name": None, "id": "d9b8a714", "additional_kwargs": {}, "response_metadata": {}}
    batch = (Write("messages", 0, Whole("msgpack", json.dumps(message).encode())),)
    body = encode_body(PutWrites("1f1e4e40-cd1e-6a11-8001-255cee37e394", "8f4ff31e", "", batch), frozenset())
    record = encode(body)
    assert record[1:3] == b"\1\1"
    assert len(record) < 0.8 * len(record_of(frame_of(body), size=len(body), codec=1))


def test_a_body_that_repeats_itself_is_compressed_without_the_dictionary_where_that_is_smaller() -> None:
    rows = [{"id": i, "name": f"item {i * 7919 % 1000}", "price": i * 104_729 % 9973} for i in range(100)]
    body = json.dumps(rows).encode()
    alone = record_of(frame_of(body), size=len(body), codec=1)
    assert len(alone) < len(record_of(frame_of(body, 1), size=len(body), codec=1, dictionary=1))
    assert encode(body) == alone


def test_threads_encode_and_decode_at_the_same_time() -> None:
    def there_and_back(seed: int) -> bool:
        chance = random.Random(seed)
        bodies = [BODY[: chance.randrange(len(BODY))] * chance.choice((1, 2, 60)) for _ in range(50)]
        return all(decode(encode(body)) == ((), body) for body in bodies)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(64)))


@pytest.mark.parametrize("body", [b"short", BODY, LARGE], ids=["stored", "with a dictionary", "without one"])
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
@pytest.mark.parametrize("text", [BODY, LARGE], ids=["with a dictionary", "without one"])
def test_a_flipped_byte_inside_a_frame_is_found_without_a_digest(at: int, text: bytes) -> None:
    record = encode(bytes(range(256)) * 2 + text)
    with pytest.raises(RecordFormatError):
        decode(record[:at] + bytes([record[at] ^ 0x10]) + record[at + 1 :])


NUMBERS = [0, *dictionaries.SHA256]
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip"


@pytest.mark.parametrize("number", NUMBERS)
def test_only_exactly_one_frame_with_size_and_checksum_is_read(number: int) -> None:
    frame = frame_of(BODY, number)
    payloads = [
        (frame + b"\0", len(BODY)),
        (frame + frame, len(BODY)),
        (frame + frame, 2 * len(BODY)),
        (frame + SKIPPABLE, len(BODY)),
        (SKIPPABLE + frame, len(BODY)),
        (SKIPPABLE, 0),
        (SKIPPABLE, 4),
        (frame_of(BODY, number, write_content_size=False), len(BODY)),
        (frame_of(BODY, number, write_checksum=False), len(BODY)),
        (frame, len(BODY) - 1),
        (frame, len(BODY) + 1),
        (frame, 0),
        (frame[:-1], len(BODY)),
        (frame[:5], len(BODY)),
        (frame[:4], len(BODY)),
        (b"", 0),
        (b"", len(BODY)),
        (BODY, len(BODY)),
    ]
    assert decode(record_of(frame, size=len(BODY), codec=1, dictionary=number)) == ((), BODY)
    for payload, size in payloads:
        with pytest.raises(RecordFormatError):
            decode(record_of(payload, size=size, codec=1, dictionary=number))


@pytest.mark.parametrize("number", NUMBERS)
def test_a_frame_that_names_another_dictionary_than_the_header_is_refused(number: int) -> None:
    other = zstandard.train_dictionary(1024, SAMPLES)
    frames = {n: frame_of(BODY, n) for n in NUMBERS} | {-1: frame_of(BODY, dict_data=other)}
    assert len({zstandard.get_frame_parameters(frame).dict_id for frame in frames.values()}) == len(NUMBERS) + 1
    assert decode(record_of(frames.pop(number), size=len(BODY), codec=1, dictionary=number)) == ((), BODY)
    for frame in frames.values():
        with pytest.raises(RecordFormatError, match="not the one declared"):
            decode(record_of(frame, size=len(BODY), codec=1, dictionary=number))


def test_a_frame_that_does_not_name_its_dictionary_is_refused() -> None:
    frame = frame_of(BODY, 1, write_dict_id=False)
    with pytest.raises(RecordFormatError):
        decode(record_of(frame, size=len(BODY), codec=1, dictionary=1))


def test_a_frame_made_with_another_dictionary_of_the_same_id_is_refused() -> None:
    other = zstandard.train_dictionary(1024, SAMPLES, dict_id=dictionaries.zstd_id(1))
    body = b"of some text that repeats, 77 times"
    frame = frame_of(body, dict_data=other)
    assert zstandard.get_frame_parameters(frame).dict_id == dictionaries.zstd_id(1)
    with pytest.raises(RecordFormatError, match="damaged"):
        decode(record_of(frame, size=len(body), codec=1, dictionary=1))


def test_a_dictionary_that_is_not_the_one_that_shipped_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dictionaries.SHA256, 1, "0" * 64)
    with pytest.raises(ImportError, match="dictionary 1 has SHA-256"):
        dictionaries.dictionary(1)


def bomb(declared: int, dictionary: int) -> bytes:
    """A frame whose header declares so much (8 bytes, with checksum), and holds one empty raw block."""
    zstd_id = dictionaries.zstd_id(dictionary).to_bytes(2, "little") if dictionary else b""
    descriptor = bytes([0b1110_0100 | (0b10 if dictionary else 0)])
    header = zstandard.FRAME_HEADER + descriptor + zstd_id + declared.to_bytes(8, "little")
    return header + b"\x01\0\0" + b"\0" * 4


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("size", [0, 5, 1 << 40, 1 << 62])
def test_a_declared_terabyte_is_refused_before_anything_is_allocated(size: int, number: int) -> None:
    frame = bomb(1 << 40, number)
    parameters = zstandard.get_frame_parameters(frame)
    assert (parameters.content_size, parameters.dict_id) == (1 << 40, dictionaries.zstd_id(number))
    with pytest.raises(RecordFormatError):  # allocating it would be a MemoryError
        decode(record_of(frame, size=size, codec=1, dictionary=number))
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
    for body in (b"short", BODY, LARGE):
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


def test_compressors_of_many_threads_at_once_are_not_all_kept() -> None:
    begin = threading.Barrier(40)
    bodies = [f"a body of a thread {n} ".encode() * 40 for n in range(40)]
    found: dict[int, bytes] = {}

    def go(n: int) -> None:
        begin.wait()
        for _ in range(20):
            found[n] = decode(encode(bodies[n]))[1]

    threads = [threading.Thread(target=go, args=(n,)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n] for n in range(40)] == bodies
    kept = [*codec._compressors.values(), *codec._decompressors.values()]
    assert max(map(len, kept)) <= codec._MOST_IDLE
