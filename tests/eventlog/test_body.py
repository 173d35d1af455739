"""The record's inside: each kind's data round-trips; any other body is a BodyFormatError, never a wrong event."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph_eventlog.eventlog import (
    Carried,
    Carry,
    Compaction,
    CopiedStream,
    Copy,
    DeleteForRuns,
    DeleteThread,
    Import,
    Kind,
    Prune,
    Put,
    PutWrites,
    Removal,
    Restate,
    RestateWrites,
    Thread,
    Whole,
    Write,
)
from langgraph_eventlog.eventlog.body import BodyFormatError, bases_of, decode_body, encode_body, kind_of, stored_values
from langgraph_eventlog.eventlog.plain import PlainDataError, pack
from langgraph_eventlog.eventlog.value import (
    DictOf,
    Edit,
    ListOf,
    Patch,
    Slice,
    Splice,
    ValueFormatError,
    bases_of_value,
    decode_value,
    encode_value,
)

TRIES = settings(derandomize=True, database=None, deadline=None, max_examples=200)

texts = st.text(st.characters(), max_size=6) | st.sampled_from(["\ud800", "a\0", ""])
ints = st.integers(-(2**63), 2**63 - 1)
positions = st.integers(1, 2**63 - 1)
wholes = st.builds(Whole, texts, st.binary(max_size=20))
counts = st.integers(0, 2**63 - 1)
elements = wholes | st.builds(Slice, texts, positions, counts, counts, counts)


def items(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[tuple[str, Any], ...]]:
    return st.dictionaries(texts, of, max_size=3).map(lambda found: tuple(found.items()))


def lists(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=3).map(tuple)


orders = st.none() | st.integers(0, 4).flatmap(lambda n: st.permutations(range(n)).map(tuple))
complete_values = wholes | st.builds(ListOf, lists(wholes)) | st.builds(DictOf, items(wholes))
values = st.one_of(
    wholes,
    st.builds(Carried, positions),
    st.builds(ListOf, lists(elements)),
    st.builds(Splice, positions, counts, lists(elements), counts),
    st.builds(DictOf, items(elements)),
    st.builds(Edit, positions, items(elements), st.sets(texts, max_size=3).map(tuple), orders),
    st.builds(Patch, positions, texts, counts, st.binary(max_size=9)),
)
plain_maps = st.dictionaries(texts, st.none() | ints | texts | st.lists(texts, max_size=2) | wholes, max_size=3)


def tuples(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(inner, max_size=3).map(tuple)


puts = st.builds(
    Put,
    texts,
    st.none() | texts,
    st.binary(max_size=9),
    st.dictionaries(texts, values, max_size=3),
    values,
    values,
    plain_maps,
    st.none() | wholes,
)
put_writes = st.builds(PutWrites, texts, texts, texts, tuples(st.builds(Write, texts, ints, complete_values)))
removals = tuples(st.builds(Removal, texts, texts, tuples(texts), tuples(texts)))
ranges = tuples(st.tuples(ints, ints))
copied = st.builds(CopiedStream, texts, tuples(st.tuples(texts, ints, st.booleans())), tuples(st.tuples(texts, ints)))
events = st.one_of(
    puts,
    put_writes,
    st.builds(DeleteThread, ints, ints),
    st.builds(DeleteForRuns, tuples(texts), removals),
    st.builds(Prune, texts, tuples(texts), removals),
    st.builds(Copy, texts, texts, st.none() | texts, tuples(copied), st.none() | plain_maps),
    st.builds(Thread, st.none() | texts, plain_maps),
    st.builds(Import, plain_maps, ranges, ints, ints),
    st.builds(Carry, texts, st.lists(st.tuples(texts, ints, ints).map(list), max_size=2)),
    st.builds(Compaction, plain_maps, ranges, ints),
    st.builds(Restate, st.booleans(), puts),
    st.builds(RestateWrites, ints, ints, put_writes),
)

W = [0, "t", b"d"]
VALID: dict[Kind, list[Any]] = {
    Kind.PUT: ["c", "p", b"\x80", {"x": W}, W, W, {"v": 4}, W],
    Kind.PUT_WRITES: ["c", "task", "path", [["x", 0, W]]],
    Kind.DELETE_THREAD: [1, 2],
    Kind.DELETE_FOR_RUNS: [["run"], [["t", "", ["c"], ["h"]]]],
    Kind.PRUNE: ["keep_latest", ["gone"], [["t", "", ["c"], ["h"]]]],
    Kind.COPY: ["fork", "source", "c", [["", [["c", 1, False]], [["c", 2]]]], {"k": 1}],
    Kind.THREAD: ["name", {"k": 1}],
    Kind.IMPORT: [{"from": "x"}, [[1, 2]], 3, 4],
    Kind.CARRY: ["threads", [["t", 1, 2]]],
    Kind.COMPACTION: [{"older": 1}, [[1, 2]], 3],
    Kind.RESTATE: [True, "c", "p", b"\x80", {"x": W}, W, W, {"v": 4}, W],
    Kind.RESTATE_WRITES: [3, 0, "c", "task", "path", [["x", 0, W]]],
}
NULLABLE = {
    (Kind.PUT, 1),
    (Kind.PUT, 7),
    (Kind.RESTATE, 2),
    (Kind.RESTATE, 8),
    (Kind.COPY, 2),
    (Kind.COPY, 4),
    (Kind.THREAD, 0),
}
ANYTHING = {(Kind.CARRY, 1)}
WRONG: list[Any] = [
    None,
    True,
    5,
    2**64,
    -(2**63) - 1,
    1.0,
    "text",
    b"bytes",
    [],
    [[]],
    [None],
    [5],
    ["x"],
    {},
    {1: W},
    {"x": 1},
    Whole("t", b""),
]


@TRIES
@given(events)
def test_every_kind_of_event_round_trips(data: Any) -> None:
    bases = bases_of(data)
    body = encode_body(data, bases)
    assert decode_body(kind_of(data), body, tuple(sorted(bases))) == data


@TRIES
@given(events, st.data())
def test_a_damaged_body_is_decoded_or_refused(data: Any, draw: st.DataObject) -> None:
    bases = tuple(sorted(bases_of(data)))
    body = bytearray(encode_body(data, frozenset(bases)))
    body[draw.draw(st.integers(0, len(body) - 1))] = draw.draw(st.integers(0, 255))
    for damaged in (bytes(body), bytes(body[:-1]), bytes(body) + b"\0"):
        for kind in (kind_of(data), draw.draw(st.sampled_from(Kind))):
            try:
                decoded = decode_body(kind, damaged, bases)
            except BodyFormatError:
                continue
            assert kind_of(decoded) == kind


def test_the_example_of_every_kind_is_valid_and_every_kind_has_one() -> None:
    assert set(VALID) == set(Kind)
    for kind, array in VALID.items():
        assert kind_of(decode_body(kind, pack(array), ())) == kind


@pytest.mark.parametrize("kind", list(Kind), ids=lambda kind: kind.name)
def test_an_element_of_another_type_is_refused(kind: Kind) -> None:
    for i, right in enumerate(VALID[kind]):
        for wrong in WRONG:
            fits = type(wrong) is type(right) and not (
                (isinstance(wrong, list) and wrong != [])
                or (isinstance(wrong, dict) and right == {"x": W} and wrong != {})
                or (isinstance(wrong, int) and not -(2**63) <= wrong < 2**63)
                or right is W
            )
            if fits or (wrong is None and (kind, i) in NULLABLE) or (kind, i) in ANYTHING:
                continue
            if right in (["run"], ["gone"]) and wrong == ["x"]:
                continue
            with pytest.raises(BodyFormatError):  # noqa: PT012  the failure names the case
                decode_body(kind, pack([*VALID[kind][:i], wrong, *VALID[kind][i + 1 :]]), ())
                pytest.fail(f"{kind.name} element {i} was {wrong!r}")


@pytest.mark.parametrize("kind", list(Kind), ids=lambda kind: kind.name)
def test_a_body_that_is_too_short_or_no_array_is_refused(kind: Kind) -> None:
    array = VALID[kind]
    bodies = (
        [pack(array[:n]) for n in range(len(array))]
        + [pack(x) for x in (None, 1, "text", {}, {"a": 1})]
        + [b"", b"\xc1"]
    )
    for body in bodies:
        with pytest.raises(BodyFormatError):
            decode_body(kind, body, ())


@pytest.mark.parametrize("kind", list(Kind), ids=lambda kind: kind.name)
def test_elements_of_a_later_version_are_passed_over(kind: Kind) -> None:
    more = [*VALID[kind], "later", [1], None]
    assert decode_body(kind, pack(more), ()) == decode_body(kind, pack(VALID[kind]), ())


def test_kinds_that_are_not_known_are_refused() -> None:
    """Passing over one that removes something would bring back what was removed."""
    for kind in {-1, *range(256)} - set(Kind):
        with pytest.raises(BodyFormatError):
            decode_body(kind, pack(VALID[Kind.PUT]), ())


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.PUT, Kind.RESTATE}), ids=lambda kind: kind.name)
def test_only_puts_and_restates_have_bases(kind: Kind) -> None:
    with pytest.raises(BodyFormatError):
        decode_body(kind, pack(VALID[kind]), (1,))


@pytest.mark.parametrize(
    "array",
    [
        [],
        [0],
        [0, "t"],
        [0, "t", b"", 1],
        [0, b"t", b""],
        [0, "t", "d"],
        [0, None, b""],
        [False, "t", b""],
        [0.0, "t", b""],
        [1],
        [1, 2],
        [1, -1],
        [1, True],
        [1, False],
        [1, 0.0],
        [1, "0"],
        [1, 0, 0],
        [True, 0],
        [1.0, 0],
        [1, 2**64],
        [2],
        [2, ["t"]],
        [2, [["t"]]],
        [2, [[1, b""]]],
        [2, [["t", 0, 0, 0]]],
        [2, [["t", 2, 0, 0, 0]]],
        [2, [["t", 0, 0, -1, 0]]],
        [3, 0, 0, []],
        [3, 0, -1, [], 0],
        [3, 0, 0, [], True],
        [3, 2, 0, [], 0],
        [4, {}],
        [4, [["k"]]],
        [4, [[b"k", ["t", b""]]]],
        [4, [["k", ["t", b""]], ["k", ["t", b""]]]],
        [5, 0, [], []],
        [5, 0, [], [1], None],
        [5, 0, [], ["k", "k"], None],
        [5, 0, [], [], [1]],
        [5, 0, [], [], [0, 0]],
        [5, 0, [], [], [True, 0]],
        [5, 0, [], [], ["a"]],
        [6, 0, "t", 0],
        [6, 0, "t", -1, b""],
        [6, 0, "t", 0, "f"],
        [7],
        [127],
        [255],
        [-1, "t", b""],
        None,
        0,
        "0",
        b"",
        {},
        {0: "t"},
        Whole("t", b""),
    ],
    ids=repr,
)
def test_values_of_a_kind_or_form_that_is_not_known_are_refused(array: Any) -> None:
    with pytest.raises(ValueFormatError):
        decode_value(array, (7, 9))
    for where in (3, 4, 5, 7):
        body = list(VALID[Kind.PUT])
        body[where] = {"x": array} if where == 3 else array
        if not (where == 7 and array is None):
            with pytest.raises(BodyFormatError):
                decode_body(Kind.PUT, pack(body), (7, 9))


@TRIES
@given(values, st.sets(positions, max_size=3))
def test_values_round_trip(value: Any, others: set[int]) -> None:
    bases = tuple(sorted(others | bases_of_value(value)))
    assert decode_value(encode_value(value, {b: i for i, b in enumerate(bases)}), bases) == value


def test_integers_are_of_64_bits() -> None:
    for number in (2**63, -(2**63) - 1, 2**64 - 1, 2**200):
        for kind, body in {
            Kind.DELETE_THREAD: [number, 0],
            Kind.COPY: ["copy", "s", None, [["", [["c", number, False]], []]], None],
            Kind.COMPACTION: [{}, [[1, number]], 0],
            Kind.PUT_WRITES: ["c", "t", "", [["x", number, W]]],
        }.items():
            with pytest.raises(BodyFormatError):
                decode_body(kind, pack(body), ())


def test_strings_hold_nuls_and_lone_surrogates() -> None:
    text = "a\0\ud800\udc00\U0001f600"
    data = PutWrites(text, text, text, (Write(text, -1, Whole(text, b"")),))
    assert decode_body(Kind.PUT_WRITES, encode_body(data, frozenset()), ()) == data


def test_what_is_not_plain_is_not_encoded() -> None:
    with pytest.raises(PlainDataError):
        encode_body(Thread(None, {"a": {1}}), frozenset())


def test_bases_are_those_of_all_values_of_a_restate_too() -> None:
    put = Put("c", None, b"\x80", {"x": Carried(3), "y": Whole("t", b"")}, Carried(5), Carried(7), {}, Whole("t", b""))
    assert bases_of(put) == bases_of(Restate(False, put)) == {3, 5, 7}
    assert len(list(stored_values(Restate(True, put)))) == 5
    assert bases_of(put._replace(channels={}, channel_versions=Whole("t", b""), rest=None)) == {7}


def test_the_header_names_the_bases_that_values_refer_to_and_no_others() -> None:
    put = Put("c", None, b"\x80", {"x": Carried(3)}, Whole("=", b""), Whole("=", b""), {})
    body = encode_body(put, frozenset({3}))
    assert decode_body(Kind.PUT, body, (3,)) == put
    with pytest.raises(BodyFormatError):
        decode_body(Kind.PUT, body, (3, 4))
