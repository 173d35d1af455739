"""Snapshots: equal ones mean equal serialisations, and what is made of one is what was there."""

from __future__ import annotations

import copy
from typing import Any

import ormsgpack
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langgraph_eventlog.saver import snapshot
from langgraph_eventlog.saver.pieces import cut
from langgraph_eventlog.saver.snapshot import Snapshot, common_prefix, take, thaw
from langgraph_eventlog.saver.taking_apart import take_apart

from .changing import SERDE, Mine, change, change_list, elements, made, odd, plain

pytestmark = [
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
    pytest.mark.usefixtures("witnesses"),
]
TRIES = settings(
    max_examples=150, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


def dumped(value: Any) -> Any:
    """What the serializer makes of a list's element, or that it cannot."""
    try:
        return SERDE.dumps_typed([value])
    except TypeError:
        return "an error"


def told(taken: Snapshot) -> list[tuple[type, bytes | None]]:
    return list(zip(taken.types, taken.states(), strict=True))


def check(values: list[Any]) -> Snapshot:
    """What a snapshot covers is serialised as it is there."""
    taken = take(values)
    assert len(taken.states()) == len(taken.types) == len(values)
    for value, (cls, state) in zip(values, told(taken), strict=True):
        assert cls is type(value)
        if state is not None:
            thawed = thaw(cls, state)
            assert type(thawed) is cls or cls is bytearray
            assert dumped(thawed) == dumped(value)
    return taken


@TRIES
@given(values=st.lists(elements, min_size=1, max_size=5), data=st.data())
def test_what_is_made_of_a_snapshot_is_serialised_as_what_it_was_taken_of(values: list[Any], data: Any) -> None:
    """Whatever was put into a message past pydantic, too."""
    for _ in range(data.draw(st.integers(0, 4))):
        change(data.draw, values, odd)
    taken = check(values)
    event(f"chunks: {taken.chunks is not None}")


@TRIES
@given(values=st.lists(made, min_size=1, max_size=4), data=st.data())
def test_a_change_that_the_serializer_sees_changes_the_snapshot(values: list[Any], data: Any) -> None:
    """Equal types and states are an equal serialisation, of each element and of all."""
    before, dumps = take(values), [dumped(value) for value in values]
    change(data.draw, values, data.draw(st.sampled_from([plain, odd])))
    after = take(values)
    for old, new, was, value in zip(told(before), told(after), dumps, values, strict=False):
        changed = dumped(value) != was
        event(f"changed: {changed}")
        if old == new and new[1] is not None:
            assert not changed
    if before.chunks is not None and before == after:
        assert [dumped(value) for value in values] == dumps


@TRIES
@given(pool=st.lists(made, min_size=1, max_size=4), data=st.data())
def test_the_common_prefix_is_what_comparing_each_element_gives(pool: list[Any], data: Any) -> None:
    picked = st.lists(st.sampled_from(pool), min_size=1, max_size=6)
    old = data.draw(picked)
    new = data.draw(
        st.one_of(picked, picked.map(lambda more: old + more), st.just(old[: data.draw(st.integers(1, 6))]))
    )
    one, two = take(old), take(copy.deepcopy(new))
    shorter = min(len(old), len(new))
    found = common_prefix(one, two)
    event(f"found: {found is not None}")
    if one.chunks is None or two.chunks is None:
        assert found is None
        return
    assert found == (shorter if told(one)[:shorter] == told(two)[:shorter] else None)
    if found is not None and len(new) > len(old):
        assert [*one.states(), *two.states_after(one)] == [*two.states()]


@TRIES
@given(state=st.lists(made, max_size=6), data=st.data())
def test_a_list_is_covered_whatever_is_done_to_it(state: list[Any], data: Any) -> None:
    for _ in range(3):
        change_list(data.draw, state)
        if state:
            check(state)


@pytest.mark.parametrize(
    "values",
    [
        [AIMessage("a", foo=[{}])],
        [AIMessage("a", foo=[None])],
        [AIMessage("a"), AIMessage("b", foo=[{}, {}])],
        [AIMessage("a"), AIMessage("b", foo=[{}, None, {}]), AIMessage("c", foo={})],
        [*[AIMessage("a")] * 15, AIMessage("b", foo=[{}] * 16)],
        [*[AIMessage("a")] * 16, AIMessage("b", foo=[{}] * 17)],
    ],
)
def test_extras_that_end_like_a_list_of_none_are_not_taken_for_it(values: list[Any]) -> None:
    """Packed, they end in the very bytes in which a list without extras does."""
    taken = check(values)
    assert taken.chunks is None
    assert all(state is not None for state in taken.states())


@pytest.mark.parametrize("count", [1, 15, 16, 17, 65_535, 65_536])
@pytest.mark.parametrize("extras", [False, True])
def test_a_list_of_any_length_is_covered(count: int, extras: bool) -> None:
    """The header of a msgpack array is of one, three or five bytes."""
    one, other = HumanMessage("a"), HumanMessage("b", **({"foo": 1} if extras else {}))
    taken = take([*[one] * (count - 1), other])
    assert (taken.chunks is None) is extras
    states = taken.states()
    assert len(states) == count
    assert set(states[:-1]) <= {snapshot._pack(one)}
    assert states[-1] == snapshot._pack(other)
    if not extras:
        longer = take([*[one] * (count - 1), other, one])
        assert common_prefix(taken, longer) == common_prefix(longer, taken) == count
        assert longer.states_after(taken) == [snapshot._pack(one)]


def test_without_extras_none_and_an_empty_dict_are_the_same() -> None:
    one, two = AIMessage("a"), AIMessage("a")
    assert one.__pydantic_extra__ == {}
    object.__setattr__(two, "__pydantic_extra__", None)
    assert dumped(one) == dumped(two)
    assert told(take([one])) == told(take([two]))
    assert told(take([one, (1,)]))[0] == told(take([two, (1,)]))[0]


def bare() -> AIMessage:
    """A message that only __new__ has seen."""
    message = object.__new__(AIMessage)
    message.__dict__.update(AIMessage("a").__dict__)
    return message


def holding(value: Any) -> AIMessage:
    return AIMessage("a", additional_kwargs={"k": value})


def knotted() -> AIMessage:
    message = holding([])
    message.additional_kwargs["k"].append(message.additional_kwargs)
    return message


@pytest.mark.parametrize(
    "value",
    [
        bare(),
        holding((1, 2)),
        holding({1: 2}),
        holding(2**64),
        holding("\ud800"),
        holding(AIMessage("inside")),
        knotted(),
        Mine("a"),
        type("Sub", (str,), {})("a"),
    ],
    ids=["bare", "tuple", "int key", "int", "surrogate", "message", "knot", "subclass", "str"],
)
def test_what_is_not_known_to_be_its_state_is_not_covered(value: Any) -> None:
    assert take([value]).states() == (None,)
    one = AIMessage("a")
    both = take([one, value])
    assert both.states() == (snapshot._pack(one), None)


def test_a_message_whose_class_was_changed_is_another() -> None:
    message = HumanMessage("a")
    before = take([message])
    message.__class__ = Mine
    assert take([message]).states() == (None,)
    message.__class__ = AIMessage
    assert common_prefix(before, take([message])) is None


def test_what_can_be_packed_and_not_unpacked_is_said_to_be() -> None:
    """A msgpack extension, which the serializer hands through."""
    (state,) = take([holding(ormsgpack.Ext(5, b"abc"))]).states()
    assert state is not None
    with pytest.raises(ValueError, match="ext_hook"):
        thaw(AIMessage, state)


@TRIES
@given(values=st.lists(plain, max_size=20), more=st.binary(max_size=1))
def test_an_array_and_a_map_are_cut_into_their_elements(values: list[Any], more: bytes) -> None:
    packed = [ormsgpack.packb(value) for value in values]
    assert cut(ormsgpack.packb(values)) == packed
    assert cut(ormsgpack.packb({str(i): value for i, value in enumerate(values)}), pairs=True) == [
        part for i, value in enumerate(packed) for part in (ormsgpack.packb(str(i)), value)
    ]
    if more:
        assert cut(ormsgpack.packb(values) + more) is None
    assert cut(ormsgpack.packb([values])[:-1]) is None
    assert cut(b"") is cut(ormsgpack.packb("text")) is cut(ormsgpack.packb({}), pairs=False) is None


def test_only_lists_with_objects_in_them_are_worth_it() -> None:
    assert snapshot.is_worth_it([1, Document("a")])
    assert not snapshot.is_worth_it([1, {"a": HumanMessage("a")}, Mine("a")])
    assert not snapshot.is_worth_it([])


def test_a_list_that_is_mostly_plain_is_serialised_in_one_piece() -> None:
    """A million numbers and one message would take a thousand times as long one by one."""
    message = HumanMessage("x" * 600)
    assert snapshot.is_worth_it([message])
    assert snapshot.is_worth_it([message, 1, True, "x", None])
    assert not snapshot.is_worth_it([message, *range(100)])
    assert not snapshot.is_worth_it([])
    mostly_plain = [*range(1000), message]
    before = take_apart(SERDE, mostly_plain, "c", None)
    assert before.snapshot is None
    message.content = "changed"
    after = take_apart(SERDE, mostly_plain, "c", before)
    assert SERDE.loads_typed((after.elements[0].tag, after.elements[0].data)) == mostly_plain
