"""Whatever a graph changes in place between two puts, anywhere: what is read is what was there when it was put."""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest import mock

import ormsgpack
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog import Carried, EncodingError, Put
from langgraph_eventlog.saver import EventLogSaver, differences, parts, taking_apart, written

from .changing import SERDE, as_stored, change, change_list, elements, exact, odd

pytestmark = [
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
    pytest.mark.usefixtures("witnesses"),
]
TEXT = "The quick brown fox jumps over the lazy dog. " * 4
TINY = 6_000
Make = Callable[..., EventLogSaver]


def put(saver: EventLogSaver, id: str, parent: str | None, values: dict[str, Any]) -> None:
    checkpoint: Any = {
        "v": 4,
        "id": id,
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": values,
        "channel_versions": {},
        "versions_seen": {},
    }
    saver.put(config(parent), checkpoint, {}, {})


def config(id: str | None) -> Any:
    return {"configurable": {"thread_id": "t", "checkpoint_ns": "", **({"checkpoint_id": id} if id else {})}}


def read(saver: EventLogSaver, id: str) -> dict[str, Any]:
    found = saver.get_tuple(config(id))
    assert found is not None
    return found.checkpoint["channel_values"]


def messages(n: int) -> list[Any]:
    return [(AIMessage if i % 2 else HumanMessage)(content=f"{i} {TEXT}", id=str(i)) for i in range(n)]


def however_small() -> ExitStack:
    """Take everything apart, and make every difference and every slice, however small."""
    stack = ExitStack()
    for module, name, value in [
        (parts, "_MIN_BYTES_APART", 0),
        (parts, "_MIN_BYTES_AN_ELEMENT", 0),
        (written, "_MIN_BYTES", 1),
        (differences, "COST_OF_DIFFERENCE", -1_000),
        (differences, "weight_of_difference", lambda _: 0),
    ]:
        stack.enter_context(mock.patch.object(module, name, value))
    return stack


@pytest.mark.parametrize("small", [False, True], ids=["as it is", "however small"])
@given(data=st.data(), budget=st.sampled_from([64 * 1024 * 1024, 64 * 1024 * 1024, TINY, 0]), two=st.booleans())
@settings(max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_read_is_what_was_there_when_it_was_put(
    tmp_path_factory: pytest.TempPathFactory, small: bool, data: Any, budget: int, two: bool
) -> None:
    """By the saver that put it, the other that takes turns with it, and one that has only the file."""
    path, draw = tmp_path_factory.mktemp("log") / "agent.db", data.draw
    shared = {"both hold": [1]}
    state = [*draw(st.lists(elements, max_size=5)), HumanMessage(TEXT, additional_kwargs=shared), AIMessage([shared])]
    other, bare = [*state[:2]], draw(odd)
    expected: dict[str, dict[str, str]] = {}
    with ExitStack() as stack:
        if small:
            stack.enter_context(however_small())
        savers = [stack.enter_context(EventLogSaver(path, synchronous="NORMAL", memory_bytes=budget)) for _ in "ab"]
        savers = savers if two else savers[:1]
        parent = None
        for n in range(draw(st.integers(2, 6))):
            saver = savers[draw(st.integers(0, len(savers) - 1))]
            before = len(state)
            for _ in range(draw(st.integers(0, 2)) if n else 0):
                change_list(draw, state)
            for _ in range(draw(st.integers(0, 2)) if n else 0):
                change(draw, draw(st.sampled_from([state, state, other])), odd)
            values = {"state": state, "other": other, "bare": bare}
            if parent is not None and draw(st.booleans()):  # what the graph's tasks have written
                try:
                    saver.put_writes(config(parent), [("state", state[before:]), ("bare", bare), *values.items()], "a")
                except EncodingError:
                    event("writes that cannot be serialised")
            id = f"{n:02}"
            try:
                told = {name: as_stored(value) for name, value in values.items()}
            except (TypeError, ValueError, RecursionError):
                event("a state that cannot be serialised")
                with pytest.raises(EncodingError):
                    put(saver, id, parent, values)
                continue
            put(saver, id, parent, values)
            expected[id] = told
            with EventLogSaver(path, synchronous="NORMAL") as fresh:
                for reader in (saver, fresh):
                    assert {name: exact(value) for name, value in read(reader, id).items()} == told
            parent = draw(st.sampled_from([id, id, id, *expected]))
            if draw(st.integers(0, 5)) == 0:
                bare = draw(odd)
        for saver in savers:
            listed = {t.config["configurable"]["checkpoint_id"]: t.checkpoint for t in saver.list(None)}
            found = {id: {n: exact(v) for n, v in c["channel_values"].items()} for id, c in listed.items()}
            assert found == expected
            assert saver._core.memory.used_bytes <= budget
        assert list(savers[0].log.verify()) == []


# Each as a change of one message, whose earlier states come again.
CHANGES: dict[str, tuple[Callable[[Any], None], Callable[[Any], None]]] = {
    "content": (lambda m: setattr(m, "content", "a"), lambda m: setattr(m, "content", "b")),
    "1 and True": (lambda m: m.additional_kwargs.update(k=1), lambda m: m.additional_kwargs.update(k=True)),
    "zeros": (lambda m: m.additional_kwargs.update(k=0.0), lambda m: m.additional_kwargs.update(k=-0.0)),
    "str and bytes": (lambda m: m.additional_kwargs.update(k=""), lambda m: m.additional_kwargs.update(k=b"")),
    "order": (
        lambda m: m.__dict__.update(additional_kwargs={"a": 1, "b": 2}),
        lambda m: m.__dict__.update(additional_kwargs={"b": 2, "a": 1}),
    ),
    "extra": (lambda m: setattr(m, "foo", [{}]), lambda m: setattr(m, "foo", [None])),
    "an extra gone": (lambda m: setattr(m, "foo", 1), lambda m: m.__pydantic_extra__.pop("foo", None)),
    "class": (lambda m: setattr(m, "__class__", HumanMessage), lambda m: setattr(m, "__class__", AIMessage)),
    "odd": (lambda m: m.additional_kwargs.update(k=(1, 2)), lambda m: m.additional_kwargs.update(k=(1, 3))),
    "odd and plain": (lambda m: m.additional_kwargs.update(k=(1,)), lambda m: m.additional_kwargs.update(k=[2])),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("budget", [64 * 1024 * 1024, 0])
def test_there_and_back_again(make_saver: Make, name: str, budget: int) -> None:
    """A, B, A, A, B: of the message itself, and of one between others."""
    saver, state = make_saver(synchronous="NORMAL", memory_bytes=budget), messages(9)
    told = []
    for n, which in enumerate([0, 1, 0, 0, 1]):
        CHANGES[name][which](state[4])
        told.append(as_stored(state))
        put(saver, str(n), str(n - 1) if n else None, {"x": state})
        saver.put_writes(config(str(n)), [("x", state)], "a")
    assert told[0] != told[1]
    with make_saver() as fresh:
        for reader in (saver, fresh):
            assert [exact(read(reader, str(n))["x"]) for n in range(5)] == told


def test_private_attributes_and_which_fields_were_set_are_not_stored_and_do_no_harm(file_saver: EventLogSaver) -> None:
    state = messages(9)
    for n in range(3):
        object.__setattr__(state[4], "__pydantic_private__", {"_n": n})
        state[4].__pydantic_fields_set__.add(f"field {n}")
        put(file_saver, str(n), str(n - 1) if n else None, {"x": state})
        assert exact(read(file_saver, str(n))["x"]) == as_stored(state)
    kinds = [type(e.data.channels["x"]) for e in file_saver.log.read() if isinstance(e.data, Put)]
    assert kinds[1:] == [Carried, Carried]


@pytest.mark.parametrize(
    "wrong",
    [object(), {1: object()}, 2**64, [[1, object()]]],
    ids=["object", "inside of a dict", "a large int", "inside of a list"],
)
@pytest.mark.parametrize("warm", [False, True])
def test_a_message_that_became_unserialisable_is_an_error_that_says_where(
    file_saver: EventLogSaver, wrong: Any, warm: bool
) -> None:
    state = messages(9)
    if warm:
        put(file_saver, "1", None, {"x": state})
    state[4].additional_kwargs["k"] = wrong
    with pytest.raises(EncodingError, match=r"x\[4\]"):
        put(file_saver, "2", "1", {"x": state})
    del state[4].additional_kwargs["k"]
    put(file_saver, "2", "1", {"x": state})
    assert exact(read(file_saver, "2")["x"]) == as_stored(state)


def test_what_can_be_packed_and_not_unpacked_is_put_in_one_piece(file_saver: EventLogSaver) -> None:
    """A msgpack extension, in a message and beside it."""
    a_uuid = ormsgpack.packb(("uuid", "UUID", "0" * 32))
    for n, value in enumerate([ormsgpack.Ext(0, a_uuid), ormsgpack.Ext(99, b"x")]):
        state = [*messages(3), AIMessage("a", additional_kwargs={"k": value}), value, *messages(3)]
        put(file_saver, f"a{n}", None, {"x": state})
        put(file_saver, f"b{n}", f"a{n}", {"x": [*state, "more"]})
        assert exact(read(file_saver, f"a{n}")["x"]) == as_stored(state)
        assert exact(read(file_saver, f"b{n}")["x"]) == as_stored([*state, "more"])


def test_a_message_that_pydantic_did_not_make_is_refused_as_the_serializer_refuses_it(
    file_saver: EventLogSaver,
) -> None:
    message = object.__new__(AIMessage)
    message.__dict__.update(AIMessage(TEXT).__dict__)
    with pytest.raises(EncodingError, match=r"x\[3\]"):
        put(file_saver, "1", None, {"x": [*messages(3), message]})


def test_only_what_has_changed_is_serialised(file_saver: EventLogSaver, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of a list, in the middle, and when it was put into another order."""
    counts, real = [], JsonPlusSerializer.dumps_typed

    def dumps_typed(serde: JsonPlusSerializer, obj: Any) -> tuple[str, bytes]:
        counts[-1] += len(obj) if isinstance(obj, list) else 0
        return real(serde, obj)

    monkeypatch.setattr(JsonPlusSerializer, "dumps_typed", dumps_typed)
    state = messages(9)
    for n, act in enumerate(
        [
            lambda: None,
            lambda: state.append(HumanMessage(TEXT)),
            lambda: setattr(state[4], "content", "changed"),
            lambda: state.reverse(),
            lambda: state.pop(),
            lambda: state.insert(3, HumanMessage("inserted")),
            lambda: None,
        ]
    ):
        act()
        counts.append(0)
        put(file_saver, str(n), str(n - 1) if n else None, {"x": state})
    monkeypatch.undo()
    assert counts == [9, 1, 1, 0, 0, 1, 0]
    assert exact(read(file_saver, "6")["x"]) == as_stored(state)


# Another thread.


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[int], None]], Callable[[], None]]]:
    """Do something over and over in another thread; what is given back stops it."""
    stops: list[Callable[[], None]] = []

    def begin(act: Callable[[int], None]) -> Callable[[], None]:
        stopping, failures = threading.Event(), []

        def go_on() -> None:
            try:
                for n in itertools.count(1):
                    act(n)
                    if stopping.is_set():
                        return
            except BaseException as e:
                failures.append(e)

        thread = threading.Thread(target=go_on)
        thread.start()

        def stop() -> None:
            stopping.set()
            thread.join()
            assert failures == []

        stops.append(stop)
        return stop

    yield begin
    for stop in stops:
        stop()


@pytest.mark.parametrize("budget", [64 * 1024 * 1024, TINY, 0])
@pytest.mark.parametrize("where", ["fields", "extras"])
def test_a_message_that_another_thread_changes_is_what_it_was_at_one_moment(
    make_saver: Make, meanwhile: Any, budget: int, where: str
) -> None:
    """Each is a state that it had, none is older than one read before, and the last put has the last."""
    saver, state = make_saver(synchronous="NORMAL", memory_bytes=budget), messages(12)
    for message in state[4:8]:
        message.additional_kwargs = {"n": 0, "again": {"n": 0}}
        if where == "extras":
            message.foo = {"n": 0}

    rounds = threading.Semaphore(0)

    def act(n: int) -> None:
        rounds.release()
        for message in state[4:8]:
            if where == "extras":
                message.foo = {"n": n}
            # One statement of C: a message never says two things at once.
            message.additional_kwargs = {"n": n, "again": {"n": n}}

    stop = meanwhile(act)
    for n in range(40):
        assert rounds.acquire(timeout=60)
        put(saver, f"{n:02}", f"{n - 1:02}" if n else None, {"x": state})
    stop()
    put(saver, "40", "39", {"x": state})
    last = [0] * 12
    with make_saver() as fresh:
        for n in range(41):
            found = read(fresh if n % 2 else saver, f"{n:02}")["x"]
            for i, message in enumerate(found):
                said = message.additional_kwargs.get("n", 0)
                assert message.additional_kwargs.get("again", {"n": 0}) == {"n": said}
                assert said >= last[i]
                if where == "extras" and 4 <= i < 8:
                    assert message.foo["n"] in (said, said + 1)
                last[i] = said
        assert exact(read(fresh, "40")["x"]) == exact(read(saver, "40")["x"]) == as_stored(state)
    assert last[4] >= 40


def test_a_list_that_another_thread_makes_longer_and_shorter_is_one_that_it_was(
    file_saver: EventLogSaver, meanwhile: Any
) -> None:
    state, more = messages(8), messages(24)[8:]

    def act(n: int) -> None:
        if n % 16:
            state.append(more[n % 16])
        else:
            del state[8:]

    stop = meanwhile(act)
    for n in range(40):
        put(file_saver, f"{n:02}", f"{n - 1:02}" if n else None, {"x": state})
    stop()
    put(file_saver, "40", "39", {"x": state})
    whole = [m.id for m in [*messages(8), *more[1:]]]
    for n in range(41):
        ids = [m.id for m in read(file_saver, f"{n:02}")["x"]]
        assert ids == whole[: len(ids)]
        assert len(ids) >= 8
    assert exact(read(file_saver, "40")["x"]) == as_stored(state)


@pytest.mark.parametrize("which", [3, -1], ids=["one of those that were there", "one that is new"])
def test_it_is_not_changed_between_being_compared_and_being_serialised(
    file_saver: EventLogSaver, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    """What is remembered of a message is what was stored of it, though it changes in the middle of the put."""
    state = messages(8)
    put(file_saver, "1", None, {"x": list(state)})
    if which == -1:
        state.append(HumanMessage("first"))
    changing = state[which]
    changing.content = "second"
    expected = as_stored(state)

    def change_after(real: Callable[..., Any]) -> Callable[..., Any]:
        def take(*given: Any) -> Any:
            taken = real(*given)
            changing.content = "third"
            state.append(HumanMessage("too late"))
            return taken

        return take

    for name in ("take", "take_one_more"):
        monkeypatch.setattr(taking_apart, name, change_after(getattr(taking_apart, name)))
    put(file_saver, "2", "1", {"x": state})
    monkeypatch.undo()
    assert exact(read(file_saver, "2")["x"]) == expected
    put(file_saver, "3", "2", {"x": state})
    assert exact(read(file_saver, "3")["x"]) == as_stored(state) != expected


# The serializer.


class Rotating(JsonPlusSerializer):
    """Says what its key is: of the same value it makes something else each time."""

    key = "a"

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        tag, data = super().dumps_typed(obj)
        return f"{tag}/{self.key}", data

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        tag, key = data[0].split("/")
        assert key == self.key, "the key of that is no longer there"
        return super().loads_typed((tag, data[1]))


def test_of_a_serializer_that_is_not_known_nothing_is_taken_for_what_it_made_before(make_saver: Make) -> None:
    serde = Rotating()
    saver, values = make_saver(serde=serde), {"text": TEXT * 9, "n": 1, "none": None, "list": messages(9)}
    put(saver, "1", None, values)
    serde.key = "b"
    put(saver, "2", "1", values)
    assert exact(read(saver, "2")) == exact(
        {name: SERDE.loads_typed(SERDE.dumps_typed(v)) for name, v in values.items()}
    )


def aes(key: bytes) -> EncryptedSerializer:
    return EncryptedSerializer.from_pycryptodome_aes(key=key * 16)


@pytest.mark.parametrize("how", ["another serializer", "another cipher in it"])
def test_what_was_encrypted_otherwise_is_not_referred_to(make_saver: Make, how: str) -> None:
    """Whoever has only the new key can read all of the new checkpoint."""
    saver = make_saver(serde=aes(b"a"))
    state = messages(9)
    values = {"text": TEXT * 9, "n": 1, "none": None, "list": state, "dict": {"a": TEXT, "b": TEXT}}
    put(saver, "1", None, values)
    saver.put_writes(config("1"), [("list", [HumanMessage(TEXT, id="new")])], "a")
    if how == "another serializer":
        saver.serde = aes(b"b")
    else:
        saver.serde.cipher = aes(b"b").cipher
    state.append(HumanMessage(TEXT, id="new"))
    put(saver, "2", "1", values)
    told = exact({name: SERDE.loads_typed(SERDE.dumps_typed(value)) for name, value in values.items()})
    with make_saver(serde=aes(b"b")) as fresh:
        assert exact({name: read(fresh, "2")[name] for name in values}) == told
    (event,) = [e.data for e in saver.log.read() if isinstance(e.data, Put) and e.data.checkpoint_id == "2"]
    assert not any(hasattr(value, "base") for value in event.channels.values())


@pytest.mark.parametrize("old", ["plain", "encrypted"])
def test_after_the_serializer_was_replaced_nothing_of_the_old_one_is_used(make_saver: Make, old: str) -> None:
    plain, secret = JsonPlusSerializer(), aes(b"a")
    first, second = (plain, secret) if old == "plain" else (secret, plain)
    saver, state = make_saver(serde=first), messages(9)
    put(saver, "1", None, {"x": state, "text": TEXT})
    saver.put_writes(config("1"), [("x", [HumanMessage(TEXT * 2, id="new")])], "a")
    saver.serde = second
    state.append(HumanMessage(TEXT * 2, id="new"))
    put(saver, "2", "1", {"x": state, "text": TEXT})
    (put_event,) = [e.data for e in saver.log.read() if isinstance(e.data, Put) and e.data.checkpoint_id == "2"]
    assert not any(hasattr(value, "base") for value in put_event.channels.values())
    assert exact(read(saver, "2")["x"]) == as_stored(state)


def test_clones_with_other_serializers_share_the_memory_and_nothing_that_the_other_made(make_saver: Make) -> None:
    saver = make_saver(serde=JsonPlusSerializer(allowed_msgpack_modules=[]), memory_bytes=1 << 20)
    clone = saver.with_allowlist([("a", "B")])
    assert clone._core is saver._core
    assert clone.serde is not saver.serde
    state = messages(6)
    for n in range(8):
        state[n % 6].content += "!"
        state.append(HumanMessage(f"{n} {TEXT}"))
        put(clone if n % 2 else saver, str(n), str(n - 1) if n else None, {"x": state})
        assert exact(read(saver, str(n))["x"]) == as_stored(state)


def test_serialised_objects_are_not_what_is_handed_out(file_saver: EventLogSaver) -> None:
    """What is read may be changed, and put again: the memory holds none of it."""
    put(file_saver, "0", None, {"x": messages(9)})
    expected = [as_stored(messages(9))]
    for n in range(1, 6):
        state = read(file_saver, str(n - 1))["x"]
        state[n].additional_kwargs["n"] = [n]
        put(file_saver, str(n), str(n - 1), {"x": state})
        expected.append(as_stored(state))
        copied = copy.deepcopy(state)
        state[0].content = "changed afterwards"
        assert exact(read(file_saver, str(n))["x"]) == exact(copied)
    assert [exact(read(file_saver, str(n))["x"]) for n in range(6)] == expected
