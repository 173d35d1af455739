"""Plain data: what is packed is unpacked, tuples as lists; hostile bytes are a PlainDataError and nothing worse."""

from __future__ import annotations

import contextlib
import math
import struct
import threading
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph_eventlog.eventlog import Whole
from langgraph_eventlog.eventlog.plain import PlainDataError, pack, unpack

TRIES = settings(derandomize=True, database=None, deadline=None, max_examples=150)

texts = st.text(st.characters(), max_size=8) | st.sampled_from(["\ud800", "\udfff\ud800", "a\0b", "\U0001f600", "\0"])
numbers = (
    st.integers() | st.integers(-(2**80), 2**80) | st.sampled_from([2**63, -(2**63) - 1, 2**64, 2**64 - 1, 10**4299])
)
leaves = st.none() | st.booleans() | numbers | st.floats(allow_nan=False) | texts | st.binary(max_size=8)
wholes = st.builds(Whole, texts, st.binary(max_size=20))
data = st.recursive(
    leaves | wholes,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(texts | st.integers() | st.binary(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    """Equal, with types: True is not 1, and 1.0 is not either."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(map(repr, a)) == list(map(repr, b)) and all(map(same, a.values(), b.values()))
    return bool(a == b)


@TRIES
@given(data)
def test_what_is_packed_is_unpacked(value: Any) -> None:
    assert same(unpack(pack(value)), value)


@TRIES
@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_unpacked_or_refused(raw: bytes) -> None:
    with contextlib.suppress(PlainDataError):
        unpack(raw)


@TRIES
@given(data, st.data())
def test_damaged_plain_data_is_unpacked_or_refused(value: Any, draw: st.DataObject) -> None:
    packed = bytearray(pack(value))
    packed[draw.draw(st.integers(0, len(packed) - 1))] = draw.draw(st.integers(0, 255))
    for damaged in (bytes(packed), bytes(packed[:-1]), bytes(packed) + b"\xc0"):
        with contextlib.suppress(PlainDataError):
            unpack(damaged)


def test_tuples_become_lists_and_floats_stay_what_they_are() -> None:
    assert unpack(pack((1, (2, ())))) == [1, [2, []]]
    assert math.isnan(unpack(pack(math.nan)))
    assert math.copysign(1, unpack(pack(-0.0))) == -1
    assert same(unpack(pack([1.0, 1, True])), [1.0, 1, True])


def test_a_lone_surrogate_is_three_bytes_and_a_pair_stays_a_pair() -> None:
    assert pack("\ud800") == b"\xa3\xed\xa0\x80"
    assert unpack(pack("\ud83d\ude00")) == "\ud83d\ude00"
    assert len(pack("\ud83d\ude00")) == 7
    assert unpack(pack({"\udc00": "\0"})) == {"\udc00": "\0"}


@pytest.mark.parametrize(
    "number", [2**64, -(2**63) - 1, 10**4300 - 1, -(10**4300 - 1)], ids=["2^64", "-2^63-1", "max", "-max"]
)
def test_integers_beyond_64_bits_are_decimal_text(number: int) -> None:
    if abs(number) > 2**64:
        with_limit = pack(number)
        assert with_limit.endswith(str(number).encode())
    assert unpack(pack(number)) == number


def test_an_integer_of_more_than_4300_digits_is_refused() -> None:
    with pytest.raises(PlainDataError):
        pack(10**4300)
    with pytest.raises(PlainDataError):
        unpack(msgpack.packb(msgpack.ExtType(2, b"9" * 4301)))


@pytest.mark.parametrize(
    "digits", [b"", b"-", b"0", b"00", b"-0", b"01", b"+1", b" 1", b"1 ", b"1_0", b"\xb2", b"1\n", b"0x1", b"1e3"]
)
def test_a_large_integer_is_written_in_one_way_only(digits: bytes) -> None:
    with pytest.raises(PlainDataError):
        unpack(msgpack.packb(msgpack.ExtType(2, digits)))


STAMPS = [b"\xd6\xff" + bytes(4), b"\xd7\xff" + bytes(8)] + [
    header + b"\xff" + bytes(size)
    for size in (4, 8, 12)
    for header in (b"\xc7" + bytes([size]), b"\xc8" + struct.pack(">H", size), b"\xc9" + struct.pack(">I", size))
]


@pytest.mark.parametrize("stamp", STAMPS, ids=lambda stamp: stamp.hex()[:14])
def test_timestamps_are_refused_in_every_form_and_place(stamp: bytes) -> None:
    """msgpack makes objects of them without asking, also of headers that it never writes itself."""
    assert isinstance(msgpack.unpackb(stamp), msgpack.Timestamp)
    for raw in (
        stamp,
        b"\x91" + stamp,
        b"\x81\xa1k" + stamp,
        b"\x81" + stamp + b"\xc0",
        b"\x91\x81\xa1k\x92\xc0" + stamp,
    ):
        with pytest.raises(PlainDataError):
            unpack(raw)


def test_bytes_that_only_look_like_a_timestamp_are_data() -> None:
    for stamp in STAMPS:
        assert unpack(pack([stamp, {"k": stamp}])) == [stamp, {"k": stamp}]


@pytest.mark.parametrize("code", [0, 3, 5, 127, -2, -128])
def test_extension_types_that_are_not_known_are_refused(code: int) -> None:
    with pytest.raises(PlainDataError):
        unpack(b"\xc7\x01" + struct.pack("b", code) + b"x")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc0",
        b"\x90",
        b"\x91\xa1t",
        b"\x92\xc0\xc4\x00",
        b"\x92\xa1t\xa1d",
        b"\x93\xa1t\xc4\x00\xc0",
        b"\x92\xa1t\xc4\x00\x00",
    ],
)
def test_a_serialised_object_is_tag_and_data_and_nothing_else(payload: bytes) -> None:
    with pytest.raises(PlainDataError):
        unpack(msgpack.packb(msgpack.ExtType(1, payload)))


@pytest.mark.parametrize("depth", [1_025, 5_000, 1_000_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    for level, end in ((b"\x91", b"\xc0"), (b"\x81\xa1k", b"\xc0"), (b"\xdd\0\0\0\1", b"\xc0")):
        with pytest.raises(PlainDataError):
            unpack(level * depth + end)


@pytest.mark.parametrize("code", [1, 2])
@pytest.mark.parametrize("in_list", [False, True])
def test_nested_extensions_do_not_overflow_the_stack(helpers: Any, code: int, in_list: bool) -> None:
    """In a process of its own, because a stack that overflows takes the process along."""
    script = """
import struct, sys
from langgraph_eventlog.eventlog.plain import PlainDataError, unpack
raw = b"\\xc0"
for _ in range(3000):
    raw = b"\\xc9" + struct.pack(">Ib", len(raw), int(sys.argv[1])) + raw
    if sys.argv[2] == "True":
        raw = b"\\x92\\xa1t" + raw
try:
    unpack(raw)
except PlainDataError:
    print("refused")
"""
    assert helpers.run_python(script, code, in_list) == "refused\n"


@pytest.mark.parametrize(
    "start", [b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"], ids=["array", "map", "str", "bin", "ext"]
)
def test_a_declared_length_beyond_the_data_is_refused_without_allocating_it(start: bytes) -> None:
    for length in (b"\xff\xff\xff\xff", b"\x00\x10\x00\x00"):
        with pytest.raises(PlainDataError):
            unpack(start + length + b"\x01\x01\x01")
        with pytest.raises(PlainDataError):
            unpack((b"\x91" + start + length) * 50)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\xa1\xff",
        b"\xa2\xc0\x80",
        b"\x81\x90\xc0",
        b"\x81\x80\xc0",
        b"\xa4\xf5\x80\x80\x80",
    ],
)
def test_what_is_not_one_plain_value_is_refused(raw: bytes) -> None:
    with pytest.raises(PlainDataError):
        unpack(raw)


def test_packing_refuses_what_is_not_plain_unless_it_can_be_turned_into_a_whole() -> None:
    with pytest.raises(PlainDataError, match="set"):
        pack({"a": {1}})
    assert unpack(pack([{1}], fallback=lambda o: Whole("set", repr(o).encode()))) == [Whole("set", b"{1}")]
    deep: Any = []
    for _ in range(1_100):
        deep = [deep]
    with pytest.raises(PlainDataError):
        pack(deep)
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    with pytest.raises(PlainDataError):
        pack(cyclic)
    fits: Any = None
    for _ in range(500):
        fits = [fits]
    assert unpack(pack(fits)) == fits


def test_packing_inside_of_packing_and_after_a_failure_gives_the_same_as_alone() -> None:
    """Packers are used again: one that is at work, or has failed in the midst of something, must not be."""

    class Packing(int):
        """Packs something else while it is packed itself."""

        def __str__(self) -> str:
            assert unpack(pack(["inside", 1])) == ["inside", 1]
            return super().__str__()

    assert unpack(pack(["before", Packing(2**70), "after"])) == ["before", 2**70, "after"]
    for _ in range(2):
        with pytest.raises(PlainDataError):
            pack(["some bytes before it fails", {1}])
        assert pack(["next"]) == b"\x91\xa4next"


def test_threads_that_pack_at_once_get_each_its_own() -> None:
    found: dict[int, bool] = {}

    def work(n: int) -> None:
        value = [f"of {n}", b"x" * 1000 * n, {"n": n}]
        found[n] = all(unpack(pack(value)) == value for _ in range(200))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(8), True)
