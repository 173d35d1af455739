"""Records that are patches to an earlier one's body (FORMAT.md section 3, codec 2)."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph_eventlog.eventlog import CorruptRecordError, Kind, PutWrites, Whole, Write
from langgraph_eventlog.eventlog.body import encode_body
from langgraph_eventlog.eventlog.integrity import digest_of
from langgraph_eventlog.eventlog.opened import OpenedRecord, RecordRow
from langgraph_eventlog.eventlog.record import (
    RecordFormatError,
    base_of_patch,
    decode,
    encode,
    encode_patch,
    read_bases,
)

TEXT = b"".join(f"Sentence {n} says {n * n}. ".encode() for n in range(400))


def body_of(text: bytes) -> bytes:
    return encode_body(PutWrites("1", "task", "", (Write("x", 0, Whole("msgpack", text)),)), frozenset())


def row_of(record: bytes, kind: int = Kind.PUT_WRITES) -> RecordRow:
    return kind, 1, record, digest_of(record)


BASE, NEW = body_of(TEXT), body_of(TEXT.replace(b"Sentence 200 says", b"Line 200 tells"))
PATCH = encode_patch(NEW, 5, BASE, at_most=1_000)
assert PATCH is not None


def open_patch(base: RecordRow | None, *, position: int = 9, kind: int = Kind.PUT_WRITES) -> OpenedRecord:
    assert PATCH is not None
    return OpenedRecord("a log", position, row_of(PATCH, kind), base)


@settings(derandomize=True, database=None, deadline=None, max_examples=100)
@given(st.binary(max_size=300), st.binary(min_size=1, max_size=300), st.integers(1, 1 << 62))
def test_what_is_encoded_is_decoded(new: bytes, base: bytes, position: int) -> None:
    record = encode_patch(new, position, base, at_most=1_000)
    assert record is not None
    assert read_bases(record) == (position,)
    assert base_of_patch(record) == position
    asked: list[int] = []
    assert decode(record, lambda at: asked.append(at) or base) == ((), new)  # type: ignore[func-returns-value]
    assert asked == [position]


def test_a_patch_takes_what_has_changed() -> None:
    assert PATCH is not None
    assert len(PATCH) < 100 < len(encode(NEW)) / 10
    assert encode_patch(NEW, 5, BASE, at_most=10) is None
    data = open_patch(row_of(encode(BASE))).data()
    assert isinstance(data, PutWrites)
    assert [write.value for write in data.writes] == [
        Whole("msgpack", TEXT.replace(b"Sentence 200 says", b"Line 200 tells"))
    ]


def test_one_patch_is_read_from_two_records_and_never_from_more() -> None:
    """A patch to a patch is no record: chains of them would take ever longer to read."""
    assert PATCH is not None
    with pytest.raises(CorruptRecordError, match="patch"):
        open_patch(row_of(PATCH))


@pytest.mark.parametrize(
    "base",
    [
        None,
        row_of(encode(body_of(b"another text" * 900))),
        row_of(encode(BASE), Kind.PUT),
        (Kind.PUT_WRITES, 1, encode(BASE), digest_of(b"")),
        row_of(encode(BASE)[:-1]),
    ],
    ids=["gone", "another", "another kind", "not what was appended", "damaged"],
)
def test_without_the_very_record_it_is_a_patch_to_it_is_corrupt(base: RecordRow | None) -> None:
    with pytest.raises(CorruptRecordError) as caught:
        open_patch(base)
    assert caught.value.position == 9


@pytest.mark.parametrize(
    ("position", "kind"), [(5, Kind.PUT_WRITES), (4, Kind.PUT_WRITES), (9, Kind.PUT), (9, Kind.THREAD)]
)
def test_only_put_writes_are_patches_and_only_to_earlier_events(position: int, kind: int) -> None:
    with pytest.raises(CorruptRecordError):
        open_patch(row_of(encode(BASE)), position=position, kind=kind)


def test_no_flipped_or_truncated_patch_gives_another_body() -> None:
    assert PATCH is not None
    damaged = [PATCH[:n] for n in range(len(PATCH))] + [PATCH + b"\0"]
    damaged += [
        PATCH[:i] + bytes([PATCH[i] ^ 1 << bit]) + PATCH[i + 1 :] for i in range(len(PATCH)) for bit in range(8)
    ]
    for bad in damaged:
        base_of_patch(bad)
        with contextlib.suppress(RecordFormatError):
            _, body = decode(bad, lambda _: BASE)
            assert body == NEW  # the position of the base was flipped, say: the digest finds that
        with pytest.raises(CorruptRecordError):
            OpenedRecord("a log", 9, (Kind.PUT_WRITES, 1, bad, digest_of(PATCH)), row_of(encode(BASE)))


def test_junk_is_never_worth_a_patch() -> None:
    junk = random.Random(1)
    assert encode_patch(junk.randbytes(9_000), 5, junk.randbytes(9_000), at_most=2_250) is None
