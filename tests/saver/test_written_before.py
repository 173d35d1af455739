"""What a task has written is not serialised again by the put that follows, unless it is something else by then."""

from __future__ import annotations

import copy
import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog import Put, Whole
from langgraph_eventlog.eventlog.event import PutWrites, Write
from langgraph_eventlog.eventlog.value import Edit, Slice, Splice
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.saver.snapshot import serialised_like, take, thaw
from langgraph_eventlog.saver.taking_apart import take_apart
from langgraph_eventlog.saver.written import Written

from .changing import SERDE, as_stored, change, exact, made, odd, plain

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
TEXT = "The quick brown fox jumps over the lazy dog. " * 4
TRIES = settings(
    max_examples=300, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
Make = Callable[..., EventLogSaver]


def config(id: str | None) -> Any:
    return {"configurable": {"thread_id": "t", "checkpoint_ns": "", **({"checkpoint_id": id} if id else {})}}


def put(saver: EventLogSaver, id: str, parent: str | None, value: Any) -> None:
    checkpoint: Any = {
        "v": 4,
        "id": id,
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": {"x": value},
        "channel_versions": {},
        "versions_seen": {},
    }
    saver.put(config(parent), checkpoint, {}, {})


def read(saver: EventLogSaver, id: str) -> Any:
    found = saver.get_tuple(config(id))
    assert found is not None
    return found.checkpoint["channel_values"]["x"]


def inserted(saver: EventLogSaver, id: str) -> list[type]:
    """Of what type the elements are that a checkpoint's value has beyond its parent's."""
    (stored,) = [
        e.data.channels["x"] for e in saver.log.read() if isinstance(e.data, Put) and e.data.checkpoint_id == id
    ]
    if isinstance(stored, Edit):
        return [type(element) for _, element in stored.changed]
    return [type(element) for element in stored.inserted] if isinstance(stored, Splice) else []


def messages(n: int) -> list[AnyMessage]:
    return [(AIMessage if i % 2 else HumanMessage)(content=f"{i} {TEXT}", id=str(i)) for i in range(n)]


class Serialised:
    """What JsonPlusSerializer is given, in order; and what is done meanwhile, before and after it serialises."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.before: Callable[[], None] | None = None
        self.after: Callable[[], None] | None = None


@pytest.fixture
def serialised(monkeypatch: pytest.MonkeyPatch) -> Serialised:
    seen, real = Serialised(), JsonPlusSerializer.dumps_typed

    def dumps_typed(serde: JsonPlusSerializer, obj: Any) -> tuple[str, bytes]:
        seen.given.append(copy.deepcopy(obj))
        if seen.before is not None:
            seen.before()
        made = real(serde, obj)
        if seen.after is not None:
            seen.after()
        return made

    monkeypatch.setattr(JsonPlusSerializer, "dumps_typed", dumps_typed)
    return seen


WRITTEN: dict[str, Callable[[list[Any]], list[tuple[str, Any]]]] = {
    "bare": lambda new: [("x", message) for message in new],
    "in a list": lambda new: [("x", new)],
    "in lists of one": lambda new: [("x", [message]) for message in new],
    "in a long list": lambda new: [("other", 1), ("x", [*messages(20), *new])],
}


@pytest.mark.parametrize("how", WRITTEN)
def test_messages_that_a_task_wrote_are_not_serialised_again(
    file_saver: EventLogSaver, serialised: Serialised, how: str
) -> None:
    state = messages(9)
    new: list[Any] = [
        HumanMessage(TEXT, id="new"),
        Document(TEXT),
        AIMessage([{"type": "text", "text": TEXT}], id="too"),
    ]
    put(file_saver, "1", None, state)
    file_saver.put_writes(config("1"), WRITTEN[how](new), "task")
    serialised.given.clear()
    put(file_saver, "2", "1", [*state, *new])
    assert serialised.given == []
    assert inserted(file_saver, "2") == [Slice] * 3
    assert exact(read(file_saver, "2")) == as_stored([*state, *new])


def test_texts_that_a_task_wrote_into_a_dict_are_not_serialised_again(
    file_saver: EventLogSaver, serialised: Serialised
) -> None:
    for n, written in enumerate(
        [
            {"a": "new a " + TEXT * 3},
            {"a key of more than thirty-one letters": "new b " + TEXT * 3},
            {"short": "s", "b": b"new " + TEXT.encode() * 3, "c": "ü" + TEXT * 3, "n": 1, "twice": "ü" + TEXT * 3},
        ]
    ):
        state = {f"doc{i}": f"{i} {TEXT}" for i in range(9)}
        put(file_saver, f"{n}a", None, state)
        file_saver.put_writes(config(f"{n}a"), [("x", written)], "task")
        serialised.given.clear()
        put(file_saver, f"{n}b", f"{n}a", {**state, **written})
        assert serialised.given == ([["s", 1]] if n == 2 else [])
        expected = [Whole, Slice, Slice, Whole, Slice] if n == 2 else [Slice]
        assert inserted(file_saver, f"{n}b") == expected
        assert read(file_saver, f"{n}b") == {**state, **written}


def test_a_short_list_of_messages_is_serialised_once(file_saver: EventLogSaver, serialised: Serialised) -> None:
    """It is stored in one piece, which is what the serializer makes of the whole list."""
    state = [HumanMessage("a"), AIMessage("b")]
    put(file_saver, "1", None, state)
    assert serialised.given == [state]
    (event,) = file_saver.log.read()
    assert isinstance(event.data, Put)
    assert event.data.channels["x"] == Whole(*SERDE.dumps_typed(state))
    assert exact(read(file_saver, "1")) == as_stored(state)


# What is something else by then.

CHANGES: dict[str, Callable[[Any], None]] = {
    "content": lambda m: setattr(m, "content", "b"),
    "an id, as a reducer gives one": lambda m: setattr(m, "id", "given later"),
    "True to 1": lambda m: m.additional_kwargs.update(k=1),
    "zeros": lambda m: m.additional_kwargs.update(z=-0.0),
    "str to bytes": lambda m: m.additional_kwargs.update(s=b""),
    "inside": lambda m: m.additional_kwargs["n"]["n"].append(1),
    "order": lambda m: m.additional_kwargs.update(k=m.additional_kwargs.pop("k")),
    "an extra": lambda m: setattr(m, "foo", [{}]),
    "class": lambda m: setattr(m, "__class__", AIMessage),
    "odd": lambda m: m.additional_kwargs.update(k=(1, 2)),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("how", ["in place", "another object"])
@pytest.mark.parametrize("bare", [False, True])
def test_a_message_that_was_changed_since_is_what_it_is_now(make_saver: Make, name: str, how: str, bare: bool) -> None:
    saver, state = make_saver(), messages(9)
    new = HumanMessage(TEXT, additional_kwargs={"k": True, "z": 0.0, "s": "", "n": {"n": []}})
    put(saver, "1", None, state)
    saver.put_writes(config("1"), [("x", new if bare else [new])], "task")
    was = as_stored(new)
    if how == "another object":
        new = copy.deepcopy(new)
    CHANGES[name](new)
    assert as_stored(new) != was
    put(saver, "2", "1", [*state, new])
    with make_saver() as fresh:
        for reader in (saver, fresh):
            assert exact(read(reader, "2")) == as_stored([*state, new])
            found = reader.get_tuple(config("1"))
            assert found is not None
            assert found.pending_writes is not None
            assert exact(found.pending_writes[0][2]) == (was if bare else f"list[{was}]")


def test_an_equal_message_in_its_place_is_not_serialised_again(
    file_saver: EventLogSaver, serialised: Serialised
) -> None:
    """Nor one that was changed, and changed back."""
    state, new = messages(9), HumanMessage(TEXT, id="new", additional_kwargs={"k": [1]})
    put(file_saver, "1", None, state)
    file_saver.put_writes(config("1"), [("x", [new])], "task")
    serialised.given.clear()
    equal = copy.deepcopy(new)
    new.additional_kwargs["k"][0] = 2
    new.additional_kwargs["k"][0] = 1
    put(file_saver, "2", "1", [*state, new, equal])
    assert serialised.given == []
    assert inserted(file_saver, "2") == [Slice, Slice]
    assert exact(read(file_saver, "2")) == as_stored([*state, new, new])


def test_a_state_that_was_there_only_while_it_was_serialised_is_not_taken_for_the_one_before_or_after(
    file_saver: EventLogSaver, serialised: Serialised
) -> None:
    """Another thread changes a message when the task's writes are serialised, and changes it back afterwards."""
    state, new = messages(9), HumanMessage(f"calm {TEXT}", id="new")
    put(file_saver, "1", None, state)
    serialised.before = lambda: setattr(new, "content", f"for a moment {TEXT}")
    serialised.after = lambda: setattr(new, "content", f"calm {TEXT}")
    file_saver.put_writes(config("1"), [("x", [new])], "task")
    serialised.before = serialised.after = None
    put(file_saver, "2", "1", [*state, new])
    assert inserted(file_saver, "2") == [Whole]
    assert exact(read(file_saver, "2")) == as_stored([*state, new])
    new.content = f"for a moment {TEXT}"
    put(file_saver, "3", "1", [*state, new])
    assert exact(read(file_saver, "3")) == as_stored([*state, new])


def test_lists_and_dicts_that_change_while_they_are_serialised_are_not_mistaken(
    file_saver: EventLogSaver, serialised: Serialised
) -> None:
    """What was serialised is what was there at one moment, element by element and value by value."""
    one, two = HumanMessage(f"one {TEXT}"), HumanMessage(f"two {TEXT}")
    texts = [f"{n} {TEXT * 3}" for n in range(4)]
    for n, (state, written, act) in enumerate(
        [
            (messages(9), [one, two], lambda value: value.reverse()),
            (messages(9), [one, two], lambda value: value.pop()),
            ({"a": TEXT * 3}, {"b": texts[0], "c": texts[1]}, lambda value: value.update(b=texts[2], d=texts[3])),
            ({"a": TEXT * 3}, {"b": texts[0], "c": texts[1]}, lambda value: value.update(b=value.pop("c"))),
        ]
    ):
        put(file_saver, f"{n}a", None, state)
        for when in ("before", "after"):
            value: Any = written.copy()
            serialised.before = serialised.after = None
            setattr(serialised, when, lambda value=value, act=act: act(value))
            file_saver.put_writes(config(f"{n}a"), [("x", value)], when)
        serialised.before = serialised.after = None
        final: Any = [*state, one, two, one] if isinstance(state, list) else {**state, "v": texts[0], "w": texts[1]}
        put(file_saver, f"{n}b", f"{n}a", final)
        assert exact(read(file_saver, f"{n}b")) == as_stored(final)


def test_a_text_is_found_by_itself_and_no_other_object_is_taken_for_it(file_saver: EventLogSaver) -> None:
    """Not one that happens to be where another was in memory, nor a list or message among the dict's values."""
    put(file_saver, "1", None, {"a": TEXT * 4})
    ids = set()
    for n in range(20):
        value = f"{n} {TEXT * 4}"
        ids.add(id(value))
        file_saver.put_writes(config("1"), [("x", {"b": value})], f"task {n}")
        del value
        gc.collect()
    assert len(ids) == 20  # each is still there
    file_saver.put_writes(config("1"), [("x", {"b": [TEXT * 4], "c": HumanMessage(TEXT), "d": TEXT * 4})], "mixed")
    final = {"a": TEXT * 4, "b": f"3 {TEXT * 4}", "c": f"x {TEXT * 4}"}
    put(file_saver, "2", "1", final)
    assert read(file_saver, "2") == final


# Whose bytes they are.


@pytest.mark.parametrize("value", ["messages", "texts"])
@pytest.mark.parametrize("which", ["another", "a clone", "encrypting", "an inherited one", "another cipher"])
def test_what_another_serializer_made_is_not_taken(
    make_saver: Make, serialised: Serialised, which: str, value: str
) -> None:
    class Mine(JsonPlusSerializer):
        pass

    plain = JsonPlusSerializer(allowed_msgpack_modules=None)
    serde: Any = {
        "another": JsonPlusSerializer(),
        "a clone": plain.with_msgpack_allowlist([("somewhere", "Something")]),
        "encrypting": EncryptedSerializer.from_pycryptodome_aes(key=b"k" * 16),
        "an inherited one": Mine(),
        "another cipher": EncryptedSerializer.from_pycryptodome_aes(key=b"l" * 16),
    }[which]
    assert serde is not plain
    first = EncryptedSerializer.from_pycryptodome_aes(key=b"k" * 16) if which == "another cipher" else plain
    saver: EventLogSaver = make_saver(serde=first)
    state: Any = messages(9) if value == "messages" else {"a": TEXT * 4}
    new: Any = HumanMessage(TEXT) if value == "messages" else "new" + TEXT * 4
    final: Any = [*state, new] if value == "messages" else {**state, "b": new}
    written: Any = [new] if value == "messages" else {"b": new}
    for n, (writing, putting) in enumerate([(first, serde), (serde, first), (serde, serde)]):
        saver.serde = putting
        put(saver, f"{n}a", None, state)
        saver.serde = writing
        saver.put_writes(config(f"{n}a"), [("x", written)], "task")
        saver.serde = putting
        serialised.given.clear()
        put(saver, f"{n}b", f"{n}a", final)
        its_own = writing is putting and type(serde) is JsonPlusSerializer
        assert (serialised.given == []) is its_own
        assert (Slice in inserted(saver, f"{n}b")) is its_own
        assert exact(read(saver, f"{n}b")) == as_stored(final)


def test_bytes_that_no_object_was_serialised_to_are_not_taken(file_saver: EventLogSaver) -> None:
    """A bytes value that is laid out like a message: pydantic would leave out a field that it does not know."""
    new = HumanMessage(TEXT, id="new")
    new.__dict__["unknown"] = 1
    (state,) = take([new]).states()
    assert state is not None
    with_extra = HumanMessage(TEXT, id="new", unknown=1)
    for n, written in enumerate([with_extra, [with_extra], SERDE.dumps_typed(with_extra)[1]]):
        before = messages(9)
        put(file_saver, f"{n}a", None, before)
        file_saver.put_writes(config(f"{n}a"), [("x", written)], "task")
        put(file_saver, f"{n}b", f"{n}a", [*before, new])
        assert exact(read(file_saver, f"{n}b")) == as_stored([*before, new])
        assert not hasattr(read(file_saver, f"{n}b")[-1], "unknown")


@TRIES
@given(one=made, data=st.data())
def test_bytes_once_made_of_an_object_are_those_of_every_state_that_they_are_like(one: Any, data: Any) -> None:
    """Whatever was put into either object past pydantic."""
    two = copy.deepcopy(one)
    for value in (one, two):
        for _ in range(data.draw(st.integers(0, 2))):
            change(data.draw, [value], data.draw(st.sampled_from([plain, odd])))
    if data.draw(st.booleans()) and isinstance(two, type(one)) and two.__pydantic_extra__:
        two.__dict__.update(two.__pydantic_extra__)
        two.__pydantic_extra__.clear()
    try:
        bytes_of_one = SERDE.dumps_typed(one)[1]
        (state,) = take([two]).states()
        like = None if state is None else serialised_like(type(two), state)
    except (TypeError, ValueError, AttributeError, RecursionError):
        event("cannot be serialised, or read")
        return
    event(f"alike: {like == bytes_of_one}")
    if state is not None and like == bytes_of_one and type(one) is type(two):
        assert SERDE.dumps_typed(thaw(type(two), state))[1] == like


@TRIES
@given(values=st.lists(st.one_of(made, st.lists(made), st.dictionaries(st.text(max_size=40), st.text())), max_size=4))
def test_every_place_that_is_remembered_is_that_of_these_bytes(values: list[Any]) -> None:
    writes, again, expected = [], [], []
    for value in values:
        slot = len(writes)
        try:
            whole = Whole(*SERDE.dumps_typed(value))
        except TypeError:
            continue
        writes.append(Write("x", slot, whole))
        if value or not isinstance(value, dict):
            again.append((slot, tuple(value.values()) if isinstance(value, dict) else ()))
        if not isinstance(value, dict):
            expected += [SERDE.dumps_typed(e)[1] for e in (value if isinstance(value, list) else [value])]
    there = Written()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("langgraph_eventlog.saver.written._MIN_BYTES_OF_DICT", 0)
        there.add(PutWrites("1", "task", "", tuple(writes)), 7, again)
    assert set(there.objects) == set(expected)
    for data, (position, slot, offset) in there.objects.items():
        assert position == 7
        assert writes[slot].value.data[offset : offset + len(data)] == data
    for value in values:
        for text in value.values() if isinstance(value, dict) else ():
            found = there.immutable(text)
            if found is not None:
                assert found == Whole(*SERDE.dumps_typed(text))
                place = there.find(found)
                assert place is not None
                data = writes[place.slot].value.data
                assert data[place.offset : place.offset + place.length] == found.data


def test_what_a_dicts_texts_take_in_memory_is_counted_as_they_change() -> None:
    texts = {f"{n}": ("ü" if n % 2 else "") + TEXT * n for n in range(9)}
    parts = take_apart(SERDE, texts, "x", None)
    for changed in ({"1": "short"}, {"2": "ü" * 999, "3": TEXT}, {"new": TEXT}, {}):
        texts = {**texts, **changed}
        parts = take_apart(SERDE, texts, "x", parts)
        assert parts.given == tuple(texts.values())
        # Those that are not ASCII hold what they are serialised to, once they were.
        least = [sys.getsizeof(text.encode().decode()) for text in texts.values()]
        assert all(one <= size <= 4 * one + 100 for one, size in zip(least, parts.given_sizes, strict=True))
