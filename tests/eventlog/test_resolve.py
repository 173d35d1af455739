"""Values put together from differences: every kind of FORMAT.md section 5, and what does not fit."""

from __future__ import annotations

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph_eventlog.eventlog import CorruptRecordError, Put, PutWrites, Restate, Write
from langgraph_eventlog.eventlog.body import bases_of, decode_body, encode_body, kind_of
from langgraph_eventlog.eventlog.bounded import Bounded
from langgraph_eventlog.eventlog.event import EventData, stored_in
from langgraph_eventlog.eventlog.resolve import MAX_PATCH_DEPTH, ResolvedValues, Resolver, complete
from langgraph_eventlog.eventlog.value import (
    Carried,
    DictOf,
    Edit,
    ListOf,
    Patch,
    Slice,
    Splice,
    Stored,
    Value,
    Whole,
)

EMPTY = Whole("=", b"\x80")


def w(text: str) -> Whole:
    return Whole("t", text.encode())


def put(**channels: Stored) -> Put:
    return Put("c", None, b"\x80", channels, EMPTY, EMPTY, {})


def frame(old: bytes, new: bytes) -> bytes:
    dictionary = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(dict_data=dictionary, write_checksum=True, write_dict_id=False).compress(new)


def resolver(events: dict[int, EventData], keep_bytes: int = 1_000_000) -> Resolver:
    values: ResolvedValues = Bounded(keep_bytes)
    return Resolver(lambda position, field: stored_in(events.get(position), field), path="test.db", values=values)


def resolve(events: dict[int, EventData], position: int, channel: str = "x") -> Value:
    found = events[position]
    assert isinstance(found, Put)
    # Through the bytes and back, as a reader gets them.
    stored = {at: through_bytes(data) for at, data in events.items()}
    again = stored[position]
    assert isinstance(again, Put)
    return resolver(stored).channel(position, channel, again.channels[channel])


def through_bytes(data: EventData) -> EventData:
    bases = bases_of(data)
    return decode_body(kind_of(data), encode_body(data, bases), tuple(sorted(bases)))


def test_a_splice_keeps_a_prefix_and_a_suffix_and_puts_new_elements_between():
    events = {
        1: put(x=ListOf((w("a"), w("b"), w("c")))),
        2: put(x=Splice(1, 1, (w("B"), w("B2")), 1)),
        3: put(x=Splice(2, 4, (w("d"),), 0)),
    }
    assert resolve(events, 2) == (w("a"), w("B"), w("B2"), w("c"))
    assert resolve(events, 3) == (w("a"), w("B"), w("B2"), w("c"), w("d"))


def test_an_edit_removes_sets_in_place_adds_at_the_end_and_orders():
    events = {
        1: put(x=DictOf((("a", w("1")), ("b", w("2")), ("c", w("3"))))),
        2: put(x=Edit(1, (("c", w("33")), ("d", w("4"))), ("a",))),
        3: put(x=Edit(2, (), (), (2, 0, 1))),
    }
    assert list(resolve(events, 2).items()) == [("b", w("2")), ("c", w("33")), ("d", w("4"))]
    assert list(resolve(events, 3)) == ["d", "b", "c"]


def test_a_patch_is_decompressed_with_the_bytes_before_it():
    old, new = b"lorem ipsum " * 50, b"lorem ipsum " * 50 + b"dolor"
    events = {1: put(x=Whole("t", old)), 2: put(x=Patch(1, "t", len(new), frame(old, new)))}
    assert resolve(events, 2) == Whole("t", new)


def test_a_dictionary_that_looks_trained_is_raw_content_all_the_same():
    old, new = bytes.fromhex("37a430ec") + b"x" * 500, b"x" * 400
    events = {1: put(x=Whole("t", old)), 2: put(x=Patch(1, "t", len(new), frame(old, new)))}
    assert resolve(events, 2) == Whole("t", new)


def test_an_element_may_stand_in_a_put_writes():
    events = {
        1: PutWrites("c", "task", "", (Write("other", 0, w("no")), Write("x", 1, w("[hello][world]")))),
        2: put(x=ListOf((Slice("t", 1, 1, 7, 7),))),
        3: put(x=DictOf((("k", Slice("t", 1, 1, 1, 5)),))),
    }
    assert resolve(events, 2) == (w("[world]"),)
    assert resolve(events, 3) == {"k": w("hello")}


def test_what_is_carried_is_what_the_base_holds_whatever_its_kind():
    events = {
        1: put(x=ListOf((w("a"),))),
        2: put(x=Splice(1, 1, (w("b"),), 0)),
        3: put(x=Carried(2)),
        4: Restate(False, put(x=w("anew"))),
        5: put(x=Carried(4)),
    }
    assert resolve(events, 3) == (w("a"), w("b"))
    assert resolve(events, 5) == w("anew")


def test_versions_are_resolved_by_their_field_not_by_a_channel_of_that_name():
    one = put(channel_versions=w("a channel"))._replace(channel_versions=DictOf((("a", Whole("=", b"\x01")),)))
    two = put()._replace(channel_versions=Edit(1, (("b", Whole("=", b"\x02")),), ()), versions_seen=Carried(1))
    resolving = resolver({1: one, 2: two})
    assert resolving.channel_versions(2, two) == {"a": Whole("=", b"\x01"), "b": Whole("=", b"\x02")}
    assert resolving.versions_seen(2, two) == EMPTY


def chain_of_patches(length: int) -> dict[int, EventData]:
    events: dict[int, EventData] = {1: put(x=Whole("t", b"0" * 100))}
    before = b"0" * 100
    for position in range(2, length + 2):
        after = before + b"%d" % position
        events[position] = put(x=Patch(position - 1, "t", len(after), frame(before, after)))
        before = after
    return events


def test_patches_in_a_row_are_bounded():
    assert resolve(chain_of_patches(MAX_PATCH_DEPTH), MAX_PATCH_DEPTH + 1).data.startswith(b"0" * 100 + b"23")
    with pytest.raises(CorruptRecordError, match="patches in a row"):
        resolve(chain_of_patches(MAX_PATCH_DEPTH + 1), MAX_PATCH_DEPTH + 2)


def test_a_long_chain_does_not_exhaust_the_stack():
    events: dict[int, EventData] = {1: put(x=ListOf(()))}
    for position in range(2, 5_002):
        events[position] = put(x=Splice(position - 1, position - 2, (w(str(position)),), 0))
    resolving = resolver(events)
    assert len(resolving.channel(5_001, "x", events[5_001].channels["x"])) == 5_000


LIST, DICT, WHOLE = ListOf((w("a"), w("b"))), DictOf((("a", w("1")), ("b", w("2")))), Whole("t", b"bytes")
WRITES = PutWrites("c", "task", "", (Write("x", 0, w("hello")), Write("x", 1, ListOf((w("a"),)))))
BAD: dict[str, tuple[EventData | None, Stored]] = {
    "the base is not there": (None, Carried(1)),
    "the base is no put": (WRITES, Carried(1)),
    "the base lacks the channel": (put(y=WHOLE), Carried(1)),
    "the base carries it, too": (put(x=Carried(0)), Carried(1)),
    "a difference to what is carried": (put(x=Carried(0)), Splice(1, 0, (), 0)),
    "a splice of a whole": (put(x=WHOLE), Splice(1, 0, (), 0)),
    "a splice of a dict": (put(x=DICT), Splice(1, 0, (), 0)),
    "a splice that keeps more than there is": (put(x=LIST), Splice(1, 2, (), 1)),
    "an edit of a list": (put(x=LIST), Edit(1, (), ())),
    "an edit that removes what is not there": (put(x=DICT), Edit(1, (), ("z",))),
    "an edit with an order of another length": (put(x=DICT), Edit(1, (), (), (0,))),
    "a patch of a list": (put(x=LIST), Patch(1, "t", 1, frame(b"", b"x"))),
    "a patch of another tag": (put(x=WHOLE), Patch(1, "u", 1, frame(b"bytes", b"x"))),
    "a patch of another size": (put(x=WHOLE), Patch(1, "t", 2, frame(b"bytes", b"x"))),
    "a patch of a huge size": (put(x=WHOLE), Patch(1, "t", 1 << 40, frame(b"bytes", b"x"))),
    "a patch that is no frame": (put(x=WHOLE), Patch(1, "t", 1, b"no frame")),
    "a slice of no put_writes": (put(x=WHOLE), ListOf((Slice("t", 1, 0, 0, 1),))),
    "a slice of a slot that is not there": (WRITES, ListOf((Slice("t", 1, 2, 0, 1),))),
    "a slice of what is not whole": (WRITES, ListOf((Slice("t", 1, 1, 0, 1),))),
    "a slice beyond the end": (WRITES, ListOf((Slice("t", 1, 0, 3, 3),))),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_damage_at_the_event_that_refers(name: str):
    base, stored = BAD[name]
    events = {2: put(x=stored)} if base is None else {1: base, 2: put(x=stored)}
    with pytest.raises(CorruptRecordError) as caught:
        resolver(events).channel(2, "x", stored)
    assert caught.value.path == "test.db"


def test_many_slices_of_the_same_bytes_are_refused_before_they_are_made():
    events = {
        1: PutWrites("c", "task", "", (Write("x", 0, Whole("t", bytes(20_000_000))),)),
        2: put(x=ListOf(tuple(Slice("t", 1, 0, 0, 20_000_000) for _ in range(200)))),
    }
    with pytest.raises(CorruptRecordError, match="together too large"):
        resolver(events).channel(2, "x", events[2].channels["x"])


def test_the_values_of_a_checkpoint_have_a_limit_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("langgraph_eventlog.eventlog.resolve.MAX_BODY_BYTES", 1_000)
    found = put(a=Whole("t", bytes(600)), b=Whole("t", bytes(600)))
    with pytest.raises(CorruptRecordError, match="together too large"):
        resolver({1: found}).all_channels(1, found)


def test_a_value_never_refers_to_itself_or_to_what_comes_after_it():
    for base in (2, 3):
        events = {2: put(x=Carried(base)), 3: put(x=w("later"))}
        with pytest.raises(CorruptRecordError):
            resolver(events).channel(2, "x", Carried(base))


def test_what_a_put_writes_holds_is_complete():
    assert complete(LIST) == (w("a"), w("b"))
    assert complete(DICT) == {"a": w("1"), "b": w("2")}
    with pytest.raises(ValueError, match="refers to nothing"):
        complete(Carried(1))
    with pytest.raises(ValueError, match="refers to nothing"):
        complete(ListOf((Slice("t", 1, 0, 0, 1),)))


elements = st.sampled_from([w(c) for c in "abcdef"])
lists = st.lists(elements, max_size=8)


def common(left: list[Whole], right: list[Whole]) -> int:
    """How many elements two lists begin with alike."""
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


@given(states=st.lists(lists, min_size=1, max_size=12), keep_bytes=st.sampled_from([0, 60, 1_000_000]))
@settings(max_examples=150, deadline=None)
def test_any_sequence_of_lists_comes_back_from_splices(states: list[list[Whole]], keep_bytes: int):
    events: dict[int, EventData] = {}
    before: list[Whole] = []
    for position, now in enumerate(states, start=1):
        prefix = common(before, now)
        suffix = common(before[prefix:][::-1], now[prefix:][::-1])
        inserted = tuple(now[prefix : len(now) - suffix])
        stored = ListOf(tuple(now)) if position == 1 else Splice(position - 1, prefix, inserted, suffix)
        events[position] = through_bytes(put(x=stored))
        before = now
    resolving = resolver(events, keep_bytes)
    for position in sorted(events, key=lambda p: (p * 7) % 5):
        assert resolving.channel(position, "x", events[position].channels["x"]) == tuple(states[position - 1])
