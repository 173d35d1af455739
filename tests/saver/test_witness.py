"""Witnesses: what they vouch for is what was packed; and they hold, and let go of, what they should."""

from __future__ import annotations

import copy
import gc
import sys
import threading
import tracemalloc
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import ormsgpack
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langgraph_eventlog.saver import snapshot, taking_apart
from langgraph_eventlog.saver.snapshot import Snapshot, state_of, take, take_one_more, unchanged
from langgraph_eventlog.saver.taking_apart import take_apart
from langgraph_eventlog.saver.witness import NO_OBJECTS
from pydantic import BaseModel

from .changing import SERDE, Mine, as_stored, change, change_list, exact, made, odd, plain

pytestmark = [
    pytest.mark.skipif(NO_OBJECTS is None, reason="it was not compiled"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]
TRIES = settings(
    max_examples=200, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
CHUNK = snapshot._CHUNK


def message(n: int = 0, **kwargs: Any) -> AIMessage:
    return AIMessage(f"message {n}", id=f"id {n}", additional_kwargs=kwargs)


def seen(values: list[Any]) -> Snapshot:
    """A snapshot with a witness."""
    taken = take(list(values))
    assert taken.witness is not None
    return taken


def kept(values: list[Any], before: Snapshot) -> int:
    """How many elements a list begins with that are vouched for."""
    assert before.witness is not None
    count, others = before.witness.unchanged(len(before.types), values, 1)
    assert all(a is b for a, b in zip(others, values[count:], strict=True))
    return count


def states_of(values: list[Any]) -> list[tuple[type, bytes | None]]:
    """What is packed of other objects of the same state: nothing can be known of them."""
    taken = take(copy.deepcopy(values))
    return list(zip(taken.types, taken.states(), strict=True))


@TRIES
@given(values=st.lists(made, min_size=1, max_size=5), data=st.data())
def test_what_is_vouched_for_has_the_states_that_were_packed(values: list[Any], data: Any) -> None:
    before = take(list(values))
    if before.witness is None:
        event("no witness")
        return
    assert unchanged(values, before) in [(len(values), []), None]
    was = list(zip(before.types, before.states(), strict=True))
    changed = copy.copy(values)
    for _ in range(data.draw(st.integers(0, 2))):
        change(data.draw, changed, data.draw(st.sampled_from([plain, odd])))
    for _ in range(data.draw(st.integers(0, 2))):
        change_list(data.draw, changed)
    count = kept(changed, before)
    event(f"kept: {'all' if count == len(values) else 'none' if count == 0 else 'some'}")
    assert all(a is b for a, b in zip(changed[:count], values[:count], strict=True))
    assert states_of(changed[:count]) == was[:count]


@TRIES
@given(state=st.lists(made, min_size=1, max_size=4), data=st.data(), long=st.booleans())
def test_a_snapshot_taken_with_a_witness_is_the_one_that_is_taken_without(
    state: list[Any], data: Any, long: bool
) -> None:
    """Also of lists of several chunks, in the middle of which something changes."""
    state = [*map(message, range(CHUNK - 2)), *state] if long else state
    before: Snapshot | None = None
    for _ in range(4):
        change_list(data.draw, state)
        for _ in range(data.draw(st.integers(0, 1))):
            change(data.draw, state, data.draw(st.sampled_from([plain, odd])))
        looked_at = unchanged(state, before)
        if looked_at is None:
            continue
        count, others = looked_at
        event(f"kept: {count > 0}")
        assert state[count:] == others
        before = take(others, before, count)
        alone = take(list(state))
        assert (before.types, before.chunks, before.packed) == (alone.types, alone.chunks, alone.packed)
        if before.witness is not None:
            assert kept(state, before) == len(state)


@TRIES
@given(pool=st.lists(made, min_size=1, max_size=4), data=st.data(), count=st.sampled_from([1, 2, CHUNK - 1, CHUNK]))
def test_a_list_that_has_grown_by_one_has_the_snapshot_of_the_whole_list(
    pool: list[Any], data: Any, count: int
) -> None:
    state = [*map(message, range(count))]
    before: Snapshot | None = take(list(state))
    for _ in range(3):
        assert before is not None
        state.append(data.draw(st.sampled_from(pool)))
        alone = take(list(state))
        taken = take_one_more(state[-1], before)
        event(f"covered: {taken is not None}")
        assert (taken is None) is (alone.chunks is None or before.witness is None)
        if taken is None:
            return
        before, fields, names = taken
        assert (before.types, before.chunks, before.packed) == (alone.types, alone.chunks, ())
        assert state_of(fields) == alone.states()[-1]
        assert names == list(state[-1].__dict__)
        if before.witness is None:
            return
        assert kept(state, before) == len(state)


def nested() -> AIMessage:
    return message(1, a={"b": [1, {"c": [0.0, "", None]}], "d": 1}, e=1)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "a field": lambda m: setattr(m, "content", "other"),
    "a field past pydantic": lambda m: m.__dict__.update(content="other"),
    "another field": lambda m: m.__dict__.update(new=1),
    "a field gone": lambda m: m.__dict__.pop("name"),
    "the order of fields": lambda m: m.__dict__.update(content=m.__dict__.pop("content")),
    "a nested value": lambda m: m.additional_kwargs["a"]["b"][1]["c"].__setitem__(2, 1),
    "a nested list grows": lambda m: m.additional_kwargs["a"]["b"].append(1),
    "a nested list shrinks": lambda m: m.additional_kwargs["a"]["b"][1]["c"].pop(),
    "a nested list turned round": lambda m: m.additional_kwargs["a"]["b"].reverse(),
    "an empty list grows": lambda m: m.tool_calls.append({}),
    "a nested dict grows": lambda m: m.additional_kwargs["a"]["b"][1].update(new=None),
    "an empty dict grows": lambda m: m.response_metadata.update(new=None),
    "a key renamed": lambda m: m.additional_kwargs["a"].update(x=m.additional_kwargs["a"].pop("d")),
    "the order of a dict": lambda m: m.additional_kwargs.update(a=m.additional_kwargs.pop("a")),
    "a dict emptied": lambda m: m.additional_kwargs.clear(),
    "an item deleted": lambda m: m.additional_kwargs.__delitem__("e"),
    "the last item taken": lambda m: m.additional_kwargs.popitem(),
    "a default set": lambda m: m.additional_kwargs.setdefault("new"),
    "a dict merged into": lambda m: m.additional_kwargs.__ior__({"e": 2}),
    "an empty dict merged into": lambda m: m.response_metadata.__ior__({"a": 1, "b": 2, "c": 3}),
    "a field set past pydantic": lambda m: object.__setattr__(m, "content", "other"),
    "a field deleted past pydantic": lambda m: object.__delattr__(m, "name"),
    "1 and True": lambda m: m.additional_kwargs.update(e=True),
    "zeros": lambda m: m.additional_kwargs["a"]["b"][1]["c"].__setitem__(0, -0.0),
    "str and bytes": lambda m: m.additional_kwargs["a"]["b"][1]["c"].__setitem__(1, b""),
    "an equal dict": lambda m: m.additional_kwargs.update(a=copy.deepcopy(m.additional_kwargs["a"])),
    "a dict of another type": lambda m: m.additional_kwargs.update(a=OrderedDict(m.additional_kwargs["a"])),
    "an extra": lambda m: setattr(m, "extra", 1),
    "no extras": lambda m: object.__setattr__(m, "__pydantic_extra__", None),
    "extras gone": lambda m: object.__delattr__(m, "__pydantic_extra__"),
    "an equal dict of fields": lambda m: object.__setattr__(m, "__dict__", dict(m.__dict__)),
    "fields gone": lambda m: object.__delattr__(m, "__dict__"),
    "the class": lambda m: setattr(m, "__class__", HumanMessage),
    "a class of one's own": lambda m: setattr(m, "__class__", Mine),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_noticed(name: str) -> None:
    values = [message(0), nested(), message(2)]
    before = seen(values)
    assert kept(values, before) == 3
    CHANGES[name](values[1])
    assert kept(values, before) == 1


def test_another_list_of_the_same_objects_keeps_what_it_begins_with() -> None:
    a, b, c = values = [message(n) for n in range(3)]
    before = seen(values)
    assert kept([a, b, c, a], before) == kept([a, b, c], before) == 3
    assert kept([a, b], before) == kept([a, b, a], before) == kept([a, b, copy.deepcopy(c)], before) == 2
    assert kept([b, a, c], before) == kept([], before) == kept([1, b, c], before) == 0


def test_what_was_destroyed_is_not_taken_for_what_stands_in_its_place() -> None:
    """Objects of the same size are made where others were."""
    values = [message(n, a=[n], b=1000.5 + n) for n in range(50)]
    before = seen(values)
    addresses = {id(value) for value in values}
    del values[:]
    again = [message(n, a=[n], b=2000.5 + n) for n in range(500)]
    assert addresses.isdisjoint(map(id, again))
    assert kept(again, before) == 0


def test_of_a_list_that_has_changed_whole_chunks_are_kept() -> None:
    values = [message(n) for n in range(3 * CHUNK + 5)]
    before = seen(values)
    values[2 * CHUNK + 1].content = "changed"
    assert unchanged(values, before) == (2 * CHUNK, values[2 * CHUNK :])
    assert unchanged(values[: CHUNK + 3], before) == (CHUNK, values[CHUNK : CHUNK + 3])
    after = take(values[2 * CHUNK :], before, 2 * CHUNK)
    assert after.states() == take(copy.deepcopy(values)).states()
    assert kept(values, after) == len(values)
    shorter = take([], after, CHUNK)
    assert kept(values, shorter) == CHUNK
    assert shorter.states() == after.states()[:CHUNK]


def test_lists_that_begin_alike_share_what_was_seen_until_they_differ() -> None:
    values = [message(n) for n in range(5)]
    before = seen(values)
    one, other = message(6), message(7)
    first = take([one], before, 5)
    second = take([other], before, 5)
    assert first.witness is before.witness is not second.witness
    assert kept([*values, one], first) == kept([*values, other], second) == 6
    assert kept([*values, other], first) == kept([*values, one], second) == kept([*values, one], before) == 5
    assert before.memory < first.memory


# What is not covered.


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def knot() -> dict[str, Any]:
    value: dict[str, Any] = {"a": [1]}
    value["a"].append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [bytearray(b"x"), memoryview(b"x"), ormsgpack.Ext(5, b"x"), deep(100), [0] * 100_000],
    ids=["bytearray", "memoryview", "extension", "deep", "large"],
)
def test_what_can_be_packed_but_not_vouched_for_has_no_witness(value: Any) -> None:
    values = [message(0), message(1, k=value), message(2)]
    taken = take(list(values))
    assert taken.chunks is not None
    assert taken.witness is None
    assert unchanged(values, taken) == (0, values)
    # Nor is anything held.
    references = sys.getrefcount(values[0])
    for _ in range(10):
        take(list(values))
    after = sys.getrefcount(values[0])
    assert after == references


@pytest.mark.parametrize("value", [knot(), (1, 2), {1: 2}, object(), Mine("x")], ids=lambda value: type(value).__name__)
def test_what_cannot_be_packed_has_no_witness(value: Any) -> None:
    assert take([message(0), message(1, k=value)]).witness is None
    before = seen([first := message(0)])
    assert take([message(1, k=value)], before, 1).states()[0] == take([first]).states()[0]


def test_what_contains_itself_ends() -> None:
    values = [message(0, k={"a": [1]}), message(1)]
    before = seen(values)
    inside = values[0].additional_kwargs["k"]
    inside["a"] = inside
    assert kept(values, before) == 0
    inside["a"] = [inside]
    assert kept(values, before) == 0


def test_what_it_is_given_is_looked_at() -> None:
    assert NO_OBJECTS is not None
    witness = type(NO_OBJECTS)
    options: Any = snapshot._OPTIONS
    one = message()
    with pytest.raises(TypeError, match="slot"):
        witness(slice.__dict__["start"])
    with pytest.raises(TypeError, match="member_descriptor"):
        witness(BaseModel.__dict__["__dict__"])
    with pytest.raises(TypeError, match="type"):
        NO_OBJECTS.pack(0, [one], (HumanMessage,), ormsgpack.packb, options)
    with pytest.raises(TypeError, match="type"):
        NO_OBJECTS.pack(0, [object()], (object,), ormsgpack.packb, options)
    with pytest.raises(IndexError):
        NO_OBJECTS.pack(0, [], (AIMessage,), ormsgpack.packb, options)
    with pytest.raises(ValueError, match="not so many"):
        NO_OBJECTS.pack(1, [one], (AIMessage,), ormsgpack.packb, options)
    with pytest.raises(ValueError, match="unit"):
        NO_OBJECTS.unchanged(0, [one], 0)
    with pytest.raises(TypeError):
        NO_OBJECTS.unchanged(0, (one,), 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="builtin"):  # Python code could change what is packed
        NO_OBJECTS.pack(0, [one], (AIMessage,), lambda *_: b"", options)
    with pytest.raises(ValueError, match="not so many"):
        NO_OBJECTS.pack_one(1, one, AIMessage, ormsgpack.packb, options)
    with pytest.raises(TypeError, match="builtin"):
        NO_OBJECTS.pack_one(0, one, AIMessage, lambda *_: b"", options)
    assert NO_OBJECTS.pack_one(0, one, HumanMessage, ormsgpack.packb, options) is None
    assert NO_OBJECTS.pack_one(0, object(), object, ormsgpack.packb, options) is None
    assert NO_OBJECTS.unchanged(9, [one], 1) == (0, [one])
    assert NO_OBJECTS.memory(9) == NO_OBJECTS.memory(-1) == 0


# Others, meanwhile.


@pytest.fixture
def switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("switching_often")
@pytest.mark.parametrize(("count", "grown"), [(3, False), (3, True), (1, True)])
def test_what_another_thread_changes_and_changes_back_is_vouched_for_only_as_it_was_packed(
    count: int, grown: bool
) -> None:
    """By the very objects that were there before: nothing tells that there has been a change, but the packed bytes."""
    values = [message(n, k={"n": [0]}) for n in range(count)]
    inner = [value.additional_kwargs["k"]["n"] for value in values]
    fields = [(value.__dict__, {**value.__dict__, "content": "other"}) for value in values]
    between, stopping = threading.Lock(), threading.Event()

    def change_and_change_back() -> None:
        while not stopping.is_set():
            with between:
                for n, value in enumerate(values):
                    inner[n][0] = 1
                    value.content = "other"
                    object.__setattr__(value, "__dict__", fields[n][1])
                    inner[n][0] = 0
                    object.__setattr__(value, "__dict__", fields[n][0])
                    value.content = f"message {n}"

    thread = threading.Thread(target=change_and_change_back)
    thread.start()
    try:
        before = seen([message(9)])
        head = [message(9)] if grown else []
        before = seen(head) if grown else before
        for _ in range(400):
            if count == 1:
                one_more = take_one_more(values[0], before)
                assert one_more is not None
                taken = one_more[0]
            else:
                taken = take(list(values), before, 1) if grown else take(list(values))
            with between:
                count, _ = unchanged([*head, *values], taken) or (0, [])
                now = take([*head, *values]).states()
            assert list(taken.states()[:count]) == list(now[:count])
    finally:
        stopping.set()
        thread.join()
    assert kept([*head, *values], take([*head, *values])) == len([*head, *values])


def test_a_collection_in_the_middle_runs_after_it() -> None:
    """A finaliser may change anything: what is packed, and seen, is of one moment all the same."""
    values = [message(n, k=[0]) for n in range(CHUNK)]
    calls = 0

    class Changing:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            nonlocal calls
            calls += 1
            for value in values:
                value.additional_kwargs["k"][0] = calls
                object.__setattr__(value, "__dict__", dict(value.__dict__))

    none = Snapshot((), (), witness=NO_OBJECTS)
    threshold = gc.get_threshold()
    try:
        for first in range(1, 60):
            Changing()
            gc.set_threshold(first)
            taken = take(values)
            count, _ = unchanged(values, taken) or (0, [])
            gc.set_threshold(0)
            assert list(taken.states()[:count]) == list(take(copy.deepcopy(values)).states()[:count])
            Changing()
            gc.set_threshold(first)
            one_more = take_one_more(values[-1], none)
            count, _ = (0, []) if one_more is None else unchanged(values[-1:], one_more[0]) or (0, [])
            gc.set_threshold(0)
            assert one_more is None or count == 0 or one_more[1] == take(copy.deepcopy(values[-1:])).chunks[0]  # type: ignore[index]
            assert gc.isenabled()
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert calls == 2 * 59


def test_collecting_stays_off_if_it_was_off() -> None:
    values = [message()]
    gc.disable()
    try:
        unchanged(values, seen(values))
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.usefixtures("switching_often")
def test_threads_share_a_witness() -> None:
    values = [message(n) for n in range(CHUNK + 3)]
    before, failures = seen(values), []
    start = threading.Barrier(4)

    def go_on(which: int) -> None:
        try:
            start.wait()
            for n in range(100):
                mine = [*values, message(1000 * which + n)]
                after = before
                count, others = unchanged(mine, after) or (0, [])
                after = take(others, after, count)
                assert kept(mine, after) == len(mine)
                mine.append(message(n))
                after = take(mine[-1:], after, len(mine) - 1)
                assert kept(mine, after) == len(mine)
                assert after.states() == take(mine).states()
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=go_on, args=[n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# What is held.


def test_what_it_holds_is_let_go_of() -> None:
    text, number, item = "not interned " * 2, 10**12, [1.5]
    value = message(0, k=[text, number, item], **{"a key that": text})
    values = [message(1), value]
    parts = [value, values[0], value.__dict__, value.__pydantic_extra__, text, number, item, item[0], AIMessage]
    gc.collect()
    counts = [sys.getrefcount(part) for part in parts]
    before = seen(values)
    after = take([message(n) for n in range(200)], before, 2)
    other = take([message(2)], before, 2)
    again = take([value], other, 0)
    assert unchanged(values, before) == (2, [])
    with pytest.raises(TypeError):
        before.witness.pack(2, [message(3, k=object())], (AIMessage,), ormsgpack.packb, 0)  # type: ignore[union-attr]
    assert sys.getrefcount(value) > counts[0]
    del before, after, other, again
    gc.collect()
    assert [sys.getrefcount(part) for part in parts] == counts


def test_looking_changes_no_reference_counts() -> None:
    values = [message(n, k=[{}]) for n in range(9)]
    before = seen(values)
    counts = [(sys.getrefcount(value), sys.getrefcount(value.__dict__)) for value in values]
    for _ in range(1000):
        unchanged(values, before)
    assert [(sys.getrefcount(value), sys.getrefcount(value.__dict__)) for value in values] == counts


def test_a_cycle_through_a_witness_is_collected() -> None:
    """As when a message holds, as a private attribute, what holds the log."""
    value, other = message(0), message(1)
    gone = [weakref.ref(value), weakref.ref(other)]
    before = seen([value, other])
    object.__setattr__(value, "__pydantic_private__", {"_log": before})
    assert before.witness in gc.get_referrers(other)
    del before, value, other
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


@pytest.mark.parametrize(
    "make",
    [
        lambda n: HumanMessage(f"{n} " + "text " * 60, id=f"the id of message {n}"),
        lambda n: AIMessage(
            f"{n} " + "text " * 60,
            tool_calls=[{"name": "f", "args": {"x": f"{n} x"}, "id": f"the id of call {n}"}],
            usage_metadata={"input_tokens": n + 1000, "output_tokens": n + 300, "total_tokens": 2 * n + 1300},
        ),
        lambda n: Document("x" * 500 + str(n), metadata={"source": f"number {n}", "n": n + 1000}),
    ],
    ids=["human", "ai", "document"],
)
def test_what_it_takes_in_memory_is_about_what_it_says(make: Callable[[int], Any]) -> None:
    take([make(0)])
    gc.collect()
    tracemalloc.start()
    try:
        first = tracemalloc.get_traced_memory()[0]
        values = [make(n) for n in range(400)]
        taken = take(values)
        used = tracemalloc.get_traced_memory()[0] - first
    finally:
        tracemalloc.stop()
    assert 0.75 * used < taken.memory < 1.6 * used


# In a put.


def test_new_objects_of_the_same_states_are_the_ones_that_are_held_then() -> None:
    """A graph reads its state anew for each invoke, and then puts the same objects again and again."""
    values = [HumanMessage(f"{n} " + "text " * 20, id=str(n)) for n in range(20)]
    first = take_apart(SERDE, values, "c", None)
    again = copy.deepcopy(values)
    second = take_apart(SERDE, again, "c", first)
    assert second.elements is first.elements
    assert second.snapshot is not None
    assert kept(again, second.snapshot) == 20
    assert take_apart(SERDE, again, "c", second) is second
    again.append(HumanMessage("one more"))
    third = take_apart(SERDE, again, "c", second)
    assert third.snapshot is not None
    assert third.snapshot.witness is second.snapshot.witness
    assert [exact(SERDE.loads_typed((e.tag, e.data))) for e in third.elements] == [as_stored(value) for value in again]


def test_what_is_known_is_not_packed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[int] = []
    real = snapshot._states_alone

    def states_alone(packed_now: bytes, count: int, before: bytes | None) -> bytes | None:
        packed.append(count)
        return real(packed_now, count, before)

    def one_more(element: Any, before: Snapshot) -> Any:
        packed.append(1)
        return take_one_more(element, before)

    monkeypatch.setattr(snapshot, "_states_alone", states_alone)
    monkeypatch.setattr(taking_apart, "take_one_more", one_more)
    values: list[Any] = [HumanMessage(f"{n} " + "text " * 20, id=str(n)) for n in range(2 * CHUNK + 1)]
    known = take_apart(SERDE, values, "c", None)
    assert packed == [CHUNK, CHUNK, 1]
    for n in range(3):
        packed.clear()
        values.append(AIMessage(f"more {n}"))
        known = take_apart(SERDE, values, "c", known)
        assert packed == [1]
    packed.clear()
    values[CHUNK].content = "changed"
    known = take_apart(SERDE, values, "c", known)
    assert packed == [CHUNK, 4]
    assert [exact(SERDE.loads_typed((e.tag, e.data))) for e in known.elements] == [as_stored(v) for v in values]


def test_what_a_message_holds_may_come_back_to_the_memory_when_it_is_let_go_of(make_saver: Any) -> None:
    """A private attribute may be anything: its finaliser, too, may use the saver."""
    saver = make_saver(synchronous="NORMAL", memory_bytes=150_000)
    known, found = saver._core.memory.known, []

    class Looking:
        def __del__(self) -> None:
            found.append([known.get((thread, "", "1"), saver.serde) is not None for thread in "ab"])

    def put(thread: str, values: list[Any]) -> None:
        where = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
        saver.put(where, {"v": 4, "id": "1", "channel_values": {"x": values}}, {}, {})

    values = [HumanMessage(f"{n} " + "text " * 200) for n in range(9)]
    again = copy.deepcopy(values)
    object.__setattr__(values[0], "__pydantic_private__", {"_looking": Looking()})
    put("a", values)
    del values
    assert found == []
    put("b", again)  # there is no room for both
    assert found == [[False, True]]
