"""Parts of records: each is what the whole record says it is, or damage at its position; never a wrong value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph_eventlog.eventlog import CorruptRecordError, Kind, Put, PutWrites, Restate, Whole, Write
from langgraph_eventlog.eventlog.body import bases_of, encode_body, kind_of
from langgraph_eventlog.eventlog.bounded import Bounded
from langgraph_eventlog.eventlog.event import EventData, Field, put_of, stored_in
from langgraph_eventlog.eventlog.integrity import digest_of
from langgraph_eventlog.eventlog.opened import OpenedRecord
from langgraph_eventlog.eventlog.plain import pack
from langgraph_eventlog.eventlog.record import encode
from langgraph_eventlog.eventlog.value import Carried, DictOf, Edit, ListOf, Patch, Slice, Splice, Stored

TRIES = settings(derandomize=True, database=None, deadline=None, max_examples=200)
POSITION = 100

wholes = st.builds(Whole, st.sampled_from(["msgpack", "="]), st.binary(max_size=9))
bases = st.integers(1, POSITION - 1)
counts = st.integers(0, 9)
elements = st.lists(wholes | st.builds(Slice, st.just("t"), bases, counts, counts, counts), max_size=3).map(tuple)
items = st.dictionaries(st.sampled_from("abc"), wholes, max_size=3).map(lambda found: tuple(found.items()))
values = st.one_of(
    wholes,
    st.builds(Carried, bases),
    st.builds(ListOf, elements),
    st.builds(Splice, bases, counts, elements, counts),
    st.builds(DictOf, items),
    st.builds(Edit, bases, items, st.just(())),
    st.builds(Patch, bases, st.just("t"), counts, st.binary(max_size=9)),
)
names = ["messages", "channel_versions", ""]
puts = st.builds(
    Put,
    checkpoint_id=st.just("c"),
    parent_id=st.none(),
    metadata=st.just(b"\x80"),
    channels=st.dictionaries(st.sampled_from(names), values, max_size=3),
    channel_versions=values,
    versions_seen=values,
    frame=st.just({}),
)
complete_values = st.builds(Whole, st.just("t"), st.binary(max_size=5)) | st.builds(DictOf, items)
writes = st.lists(st.builds(Write, st.sampled_from(names), counts, complete_values), max_size=3).map(tuple)
events = (
    puts
    | st.builds(Restate, st.booleans(), puts)
    | st.builds(PutWrites, st.just("c"), st.just("t"), st.just(""), writes)
)
fields = st.one_of(
    st.builds(Field, st.just("channel"), st.sampled_from(names)),
    st.builds(Field, st.sampled_from(["channel_versions", "versions_seen"])),
    st.builds(Field, st.just("write"), st.integers(0, 3)),
)


def opened(kind: int, body: bytes, named: Any = ()) -> OpenedRecord:
    record = encode(body, named)
    return OpenedRecord("a log", POSITION, (kind, None, record, digest_of(record)))


@TRIES
@given(events, fields)
def test_a_part_is_what_the_whole_says_it_is(data: EventData, field: Field) -> None:
    named = bases_of(data)
    found = opened(kind_of(data), encode_body(data, named), named)
    assert found.data() == data
    assert found.stored(field) == stored_in(data, field)


@TRIES
@given(events, fields, st.data())
def test_a_part_of_a_forged_record_is_decoded_or_refused(data: EventData, field: Field, draw: st.DataObject) -> None:
    named = bases_of(data)
    body = bytearray(encode_body(data, named))
    for at in draw.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[at] = draw.draw(st.integers(0, 255))
    try:
        found = opened(kind_of(data), bytes(body), named)
        value = found.stored(field)
    except CorruptRecordError:
        return
    assert value is None or isinstance(value, Stored)
    try:
        whole = found.data()
    except CorruptRecordError:
        return
    assert stored_in(whole, field) == value


def test_what_is_damaged_is_found_where_it_is_used() -> None:
    good = [0, "t", b"d"]
    found = opened(Kind.PUT, pack(["c", None, b"\x80", {"good": good, "bad": [0, "t"]}, good, "bad", {}, None]))
    assert found.stored(Field("channel", "good")) == Whole("t", b"d")
    assert found.stored(Field("channel", "another")) is None
    assert found.stored(Field("channel_versions")) == Whole("t", b"d")
    for use in (
        lambda: found.stored(Field("channel", "bad")),
        lambda: found.stored(Field("versions_seen")),
        found.data,
    ):
        with pytest.raises(CorruptRecordError) as caught:
            use()
        assert (caught.value.position, caught.value.path) == (POSITION, "a log")


@pytest.mark.parametrize("channels", [None, [], 5, "x"])
def test_channels_that_are_no_map_are_damage(channels: Any) -> None:
    found = opened(Kind.PUT, pack(["c", None, b"\x80", channels, [0, "t", b""], [0, "t", b""], {}, None]))
    with pytest.raises(CorruptRecordError):
        found.stored(Field("channel", "x"))


@pytest.mark.parametrize("rows", [None, {}, [None], [["x", 0]], [["x", 0, None]]])
def test_writes_that_are_no_rows_are_damage(rows: Any) -> None:
    found = opened(Kind.PUT_WRITES, pack(["c", "t", "", rows]))
    with pytest.raises(CorruptRecordError):
        found.stored(Field("write", 0))


def test_other_kinds_of_events_store_no_values() -> None:
    found = opened(Kind.DELETE_THREAD, pack([1, 2]))
    for what in ("channel", "channel_versions", "versions_seen", "write"):
        assert found.stored(Field(what, 0 if what == "write" else "")) is None
    assert put_of(found.data()) is None


def test_a_bounded_memory_keeps_what_was_added_last_as_far_as_there_is_room() -> None:
    kept: Bounded[str, int] = Bounded(10)
    for n, key in enumerate("abc"):
        kept.add(key, n, 4)
    assert kept.get_all("abc") == [None, 1, 2]
    kept.add("b", 7, 1)
    kept.add("d", 8, 5)
    assert kept.get_all("abcd") == [None, 7, 2, 8]
    kept.add("e", 9, 5)
    assert kept.get_all("bcde") == [None, None, 8, 9]
    kept.add("huge", 1, 1_000)
    assert kept.get_all(["b", "c", "d", "e", "huge"]) == [None] * 5
