"""Clones of what was decoded before: nothing tells them from what decoding again would give, nor shares with them."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
import uuid
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import ormsgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core import messages as lc
from langchain_core.documents import Document
from langchain_core.messages.base import BaseMessage
from langgraph.checkpoint.serde import event_hooks
from langgraph.checkpoint.serde._msgpack import SAFE_MSGPACK_TYPES
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph_eventlog.eventlog import DecodingError, ProjectionError, RecordedEvent
from langgraph_eventlog.eventlog.value import Whole
from langgraph_eventlog.projections import Projection
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.saver.clones import Clones
from langgraph_eventlog.saver.cloning import maker_of
from langgraph_eventlog.saver.models import MODELS
from langgraph_eventlog.saver.serialising import load
from langgraph_eventlog.saver.unpacking import hands_on, loader
from pydantic import BaseModel

SERDE = JsonPlusSerializer()
TRIES = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXT = "The quick brown fox jumps over the lazy dog. " * 5


class Custom(lc.HumanMessage):
    """A message of one's own."""


class State(BaseModel):
    """A model of one's own."""

    n: int = 1


def told(value: Any) -> Any:
    """All that an object is: types, the order of dicts, and of a model its whole state."""
    if isinstance(value, BaseModel):
        private = (value.__pydantic_extra__, value.__pydantic_private__)
        return (type(value), told(value.__dict__), sorted(value.__pydantic_fields_set__), told(private))
    if isinstance(value, dict):
        return (type(value), [(told(k), told(v)) for k, v in value.items()])
    if isinstance(value, list | tuple):
        return (type(value), [told(v) for v in value])
    return (type(value), repr(value))


def mutate(value: Any) -> None:
    """Change everything in it that can be changed, at every depth."""
    if isinstance(value, BaseModel):
        for part in (value.__dict__, value.__pydantic_extra__, value.__pydantic_private__):
            mutate(part)
        value.__pydantic_fields_set__.add("changed")
    elif isinstance(value, dict):
        for item in value.values():
            mutate(item)
        value["changed"] = True
    elif isinstance(value, list | tuple):
        for item in value:
            mutate(item)
        if isinstance(value, list):
            value.append("changed")


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.binary(max_size=4)
)
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
maps = st.dictionaries(st.text(max_size=3), plain, max_size=3)
contents = st.text(max_size=9) | st.lists(st.text(max_size=3) | maps, max_size=2)
calls = st.lists(
    st.builds(
        lambda name, args, id: {"name": name, "args": args, "id": id},
        st.text(max_size=3),
        maps,
        st.none() | st.text(max_size=3),
    ),
    max_size=2,
)
usage = st.none() | st.just(
    {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "input_token_details": {"cache_read": 1}}
)
common = {
    "content": contents,
    "additional_kwargs": maps,
    "response_metadata": maps,
    "id": st.none() | st.text(max_size=3),
}
chunks = st.lists(
    st.builds(
        lambda args, index: {"name": "f", "args": args, "id": "1", "index": index},
        st.sampled_from(['{"a": [1, {"b": 2}]}', '{"a', ""]),
        st.none() | st.integers(0, 2),
    ),
    max_size=2,
)


def build(make: Callable[..., Any], **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Unlike st.builds(), without a look at what else the class could be given."""
    return st.fixed_dictionaries(parts).map(lambda found: make(**found))


def extra(found: dict[str, Any]) -> lc.HumanMessage:
    return lc.HumanMessage("x", **{f"extra_{key}": value for key, value in found.items()})


def old_calls(found: dict[str, Any]) -> lc.AIMessage:
    """Which becomes tool_calls, too."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": [1]}'}}
    return lc.AIMessage("", additional_kwargs={**found, "tool_calls": [call]})


texts = st.text(max_size=3)
statuses = st.sampled_from(["success", "error"])
models = st.one_of(
    build(lc.HumanMessage, **common),
    build(lc.HumanMessageChunk, **common),
    build(lc.SystemMessage, **common),
    build(lc.SystemMessageChunk, **common),
    build(lc.AIMessage, tool_calls=calls, usage_metadata=usage, **common),
    build(lc.AIMessageChunk, tool_call_chunks=chunks, usage_metadata=usage, **common),
    build(lc.ToolMessage, tool_call_id=texts, artifact=plain, status=statuses, **common),
    build(lc.ToolMessageChunk, tool_call_id=texts, artifact=plain, status=statuses, **common),
    build(lc.ChatMessage, role=texts, **common),
    build(lc.ChatMessageChunk, role=texts, **common),
    build(lc.FunctionMessage, name=texts, **common),
    build(lc.FunctionMessageChunk, name=texts, **common),
    build(lc.RemoveMessage, id=texts),
    build(Document, page_content=texts, metadata=maps, id=st.none() | texts),
    maps.map(extra),
    maps.map(old_calls),
)
states = st.recursive(
    models | st.lists(models, min_size=1, max_size=3).map(_DeltaSnapshot),
    lambda inner: st.one_of(
        st.tuples(inner, st.lists(inner | plain, max_size=2)).map(lambda found: [found[0], *found[1]]),
        st.dictionaries(texts, inner, min_size=1, max_size=3),
    ),
    max_leaves=4,
)


@TRIES
@given(states)
def test_a_clone_is_what_decoding_gives_and_shares_nothing(value: Any) -> None:
    tag, data = SERDE.dumps_typed(value)
    decoded = SERDE.loads_typed((tag, data))
    fresh = told(decoded)
    found = maker_of(decoded, data)
    assert found is not None
    maker, _ = found
    mutate(decoded)
    first, second = maker(), maker()
    assert told(first) == fresh
    mutate(first)
    assert told(second) == told(maker()) == told(SERDE.loads_typed((tag, data))) == fresh


@TRIES
@given(st.lists(states | plain, max_size=3))
def test_what_is_unpacked_is_what_the_serializer_makes(value: Any) -> None:
    whole = Whole(*SERDE.dumps_typed(value))
    assert told(loader(SERDE)(whole)) == told(load(SERDE, whole))


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize(
    "value",
    [
        Custom("x"),
        State(),
        lc.AIMessage("x", additional_kwargs={"id": uuid.UUID(int=1), "state": State(), "said": lc.HumanMessage("x")}),
        lc.AIMessage.model_construct(content=[1], tool_calls="none"),  # which the class refuses
        lc.HumanMessage.model_construct(),
    ],
    ids=["a subclass", "a model of one's own", "models in a model", "refused", "without content"],
)
def test_what_a_class_refuses_or_is_another_is_left_to_the_serializer(value: Any) -> None:
    whole = Whole(*SERDE.dumps_typed(value))
    assert told(loader(SERDE)(whole)) == told(load(SERDE, whole))


@pytest.mark.parametrize(
    "model",
    [
        b"",
        b"\x94",
        b"\x94\xff\xff",
        b"\x94\xbdlangchain_core.messages.human\xacHumanMessage",
        b"\x94\xbdlangchain_core.messages.human\xacHumanMessage\x01\x01",
        b"\x93\xbdlangchain_core.messages.human\xacHumanMessage\x80",
        b"\x94\xbdlangchain_core.messages.human\xacHumanMessage\x81\x01\x01\xc0",
    ],
)
def test_bytes_that_are_no_model_are_left_to_the_serializer(model: bytes) -> None:
    whole = Whole("msgpack", ormsgpack.packb([1, ormsgpack.Ext(5, model), "x"]))
    assert told(loader(SERDE)(whole)) == told(load(SERDE, whole))


@pytest.mark.parametrize(
    "cls", [lc.AIMessage, lc.AIMessageChunk, lc.HumanMessage, lc.SystemMessage, lc.ToolMessage, lc.ChatMessage]
)
def test_messages_are_nothing_but_their_fields_validated(cls: type[BaseModel]) -> None:
    """Of this version of LangChain. Where it is otherwise, they are made by their class, which takes longer."""
    assert hands_on(cls)


class Upper(lc.HumanMessage):
    def __init__(self, content: Any, **fields: Any) -> None:
        super().__init__(str(content).upper(), **fields)


class Forgetful(lc.HumanMessage):
    def __init__(self, content: Any, id: Any = None, **fields: Any) -> None:
        super().__init__(content, **fields)


class Twice(lc.HumanMessage):
    def __init__(self, content: Any, **fields: Any) -> None:
        super().__init__(content, **fields)
        super().__init__(content, **fields)


class Noting(lc.HumanMessage):
    def __init__(self, content: Any, **fields: Any) -> None:
        super().__init__(content, **fields)
        self.__dict__["noted"] = 1


class Refusing(lc.HumanMessage):
    def __init__(self, content: Any, **fields: Any) -> None:
        if type(content) is not str:
            raise ValueError("text only, please")
        super().__init__(content, **fields)


class Made(lc.HumanMessage):
    def __new__(cls, *_: Any, **__: Any) -> Any:
        return super().__new__(cls)


@pytest.mark.parametrize("cls", [Upper, Forgetful, Twice, Noting, Refusing, Made, lc.RemoveMessage, Document, State])
def test_a_class_that_does_more_than_handing_on_its_fields_is_called(cls: type[BaseModel]) -> None:
    assert not hands_on(cls)


@pytest.mark.parametrize("patched", [lc.HumanMessage, BaseMessage])
def test_what_another_program_has_put_in_the_place_of_a_class_s_own_is_called(
    monkeypatch: pytest.MonkeyPatch, patched: Any
) -> None:
    own = patched.__init__

    def traced(self: Any, content: Any, **fields: Any) -> None:
        nonlocal calls
        calls += 1
        own(self, content, **fields)

    calls = 0
    load_value, whole = loader(SERDE), Whole(*SERDE.dumps_typed([lc.HumanMessage("x"), lc.AIMessage("y")]))
    assert hands_on(lc.HumanMessage)
    monkeypatch.setattr(patched, "__init__", traced)
    assert not hands_on(lc.HumanMessage)
    assert told(loader(SERDE)(whole)) == told(load_value(whole))
    assert calls == (2 if patched is BaseMessage else 1)


def test_what_stands_in_the_place_of_the_serializer_s_own_methods_is_called() -> None:
    whole = Whole(*SERDE.dumps_typed([lc.HumanMessage("x"), lc.AIMessage("y")]))
    asked: list[Any] = []
    serde = JsonPlusSerializer()
    serde.loads_typed = asked.append  # type: ignore[method-assign]
    loader(serde)(whole)
    assert len(asked) == 1
    serde = JsonPlusSerializer()
    serde._unpack_ext_hook = lambda code, data: asked.append(code)
    loader(serde)(whole)
    assert len(asked) == 3
    loader(JsonPlusSerializer(__unpack_ext_hook__=lambda code, data: asked.append(code)))(whole)
    assert len(asked) == 5


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x92\x01"])
def test_bytes_that_are_no_msgpack_are_a_decoding_error(data: bytes) -> None:
    with pytest.raises(DecodingError, match="JsonPlusSerializer"):
        loader(SERDE)(Whole("msgpack", data))


@pytest.mark.parametrize(
    "value",
    [
        Custom("x"),
        [lc.HumanMessage("x"), Custom("x")],
        [lc.HumanMessage("x"), State()],
        lc.AIMessage("x", additional_kwargs={"id": uuid.UUID(int=1)}),
        lc.AIMessage("x", additional_kwargs={"them": {1, 2}}),
        lc.ToolMessage("x", tool_call_id="1", artifact=(uuid.UUID(int=1),)),
        {"plain": [1, {"a": 2}]},
        _DeltaSnapshot([1, {"a": 2}]),
        _DeltaSnapshot([lc.HumanMessage("x"), State()]),
        [1, "x", None],
        "x",
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_known_well_or_as_quick_to_decode_is_decoded(value: Any) -> None:
    tag, data = SERDE.dumps_typed(value)
    assert maker_of(SERDE.loads_typed((tag, data)), data) is None


def test_an_object_that_is_in_it_twice_is_not_cloned() -> None:
    """There would be two of it in a clone."""
    shared = [1]
    _, data = SERDE.dumps_typed(lc.HumanMessage("x", additional_kwargs={"a": [1], "b": [1]}))
    assert maker_of(lc.HumanMessage("x", additional_kwargs={"a": [1], "b": [1]}), data) is not None
    assert maker_of(lc.HumanMessage.model_construct(content="x", a=shared, b=shared), data) is None
    circular = lc.HumanMessage.model_construct(content="x")
    circular.__dict__["content"] = [circular]
    assert maker_of(circular, data) is None


def test_a_class_that_only_has_the_name_of_a_known_one_is_not_cloned() -> None:
    _, data = SERDE.dumps_typed(lc.HumanMessage("x"))
    impostor = type("HumanMessage", (lc.HumanMessage,), {"__module__": lc.HumanMessage.__module__})
    assert maker_of(impostor("x"), data) is None


# Through the saver.


def put(saver: EventLogSaver, id: str, values: dict[str, Any], parent: str | None = None, thread: str = "t") -> Any:
    configurable = {"thread_id": thread, "checkpoint_ns": ""} | ({} if parent is None else {"checkpoint_id": parent})
    checkpoint: Any = {
        "v": 4,
        "id": id,
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": values,
        "channel_versions": {},
        "versions_seen": {"node": {"messages": id}},
        "updated_channels": ["messages", "x"],
    }
    return saver.put({"configurable": configurable}, checkpoint, {"step": 1, "writes": {"a": [1]}}, {})


def chat(saver: EventLogSaver, length: int, make: Callable[[int], Any], thread: str = "t") -> None:
    history: list[Any] = []
    for n in range(length):
        history = [*history, make(n)]
        parent = f"{n - 1:04}" if n else None
        config = put(saver, f"{n:04}", {"messages": history, "d": {str(n): [make(n)], "text": TEXT}}, parent, thread)
        saver.put_writes(config, [("messages", [make(n)])], f"task {n}")


def message(n: int) -> Any:
    call = {"name": "search", "args": {"q": [n, {"deep": [n]}]}, "id": str(n)}
    kinds = (
        lc.HumanMessage([{"type": "text", "text": f"{n} {TEXT}"}], id=str(n)),
        lc.AIMessage(f"{n} {TEXT}", id=str(n), tool_calls=[call], response_metadata={"model": {"name": ["m"]}}),
        lc.ToolMessage(f"{n} {TEXT}", tool_call_id=str(n), artifact={"found": [n]}),
    )
    return kinds[n % 3]


def everything_told(found: Any) -> Any:
    return told(list(found))


def test_a_listing_decodes_each_message_once(make_saver: Any) -> None:
    """Of 60 checkpoints, which hold 1,830 messages together, and 60 writes."""
    serde = JsonPlusSerializer()
    saver = make_saver(serde=serde)
    chat(saver, 60, message)
    decoded: Counter[bytes] = Counter()
    hook = serde._unpack_ext_hook

    def counting(code: int, data: bytes) -> Any:
        decoded[data] += 1
        return hook(code, data)

    serde._unpack_ext_hook = counting
    assert len(list(saver.list({"configurable": {"thread_id": "t"}}))) == 60
    # Each is in the list of messages, in a list in d, and in a list that was written.
    assert len(decoded) == 60
    assert max(decoded.values()) == 1


def messages_of(found: Any) -> list[weakref.ref[Any]]:
    return [weakref.ref(one) for one in found.checkpoint["channel_values"]["messages"]]


def are_gone(references: list[weakref.ref[Any]]) -> bool:
    return not any(reference() for reference in references)


def test_a_listing_lets_go_of_what_its_reader_has_dropped(make_saver: Any) -> None:
    """Of all but the last that was dropped, and of that at the end."""
    saver = make_saver()
    chat(saver, 40, message)
    seen: list[list[weakref.ref[Any]]] = []
    listing = saver.list({"configurable": {"thread_id": "t"}})
    for found in listing:
        seen.append(messages_of(found))
        assert all(map(are_gone, seen[:-2]))
        if len(seen) == 30:
            break
    assert len(seen[-1]) == 11
    del found
    listing.close()
    assert all(map(are_gone, seen))


def test_what_the_reader_of_a_listing_keeps_stays_as_it_is(make_saver: Any) -> None:
    saver = make_saver()
    chat(saver, 40, message)
    kept, all_told = [], []
    for found in saver.list({"configurable": {"thread_id": "t"}}):
        all_told.append(told(found))
        kept.append(found)
        found.checkpoint["channel_values"]["messages"].reverse()
    for found in kept:
        found.checkpoint["channel_values"]["messages"].reverse()
    assert [told(found) for found in kept] == all_told


def test_a_long_listing_is_seldom_interrupted_by_the_garbage_collector(make_saver: Any) -> None:
    """It makes 20,100 messages, of at least six objects each, and its reader keeps none."""
    saver = make_saver()
    chat(saver, 200, message)
    collections = 0

    def count(phase: str, info: dict[str, int]) -> None:
        nonlocal collections
        collections += phase == "start"

    thresholds = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    gc.callbacks.append(count)
    try:
        assert sum(1 for _ in saver.list({"configurable": {"thread_id": "t"}})) == 200
    finally:
        gc.callbacks.remove(count)
        gc.set_threshold(*thresholds)
    assert collections < 20_100 * 6 / 700 / 2


@pytest.mark.parametrize("read", ["list", "get_tuple", "history"])
def test_whatever_is_done_to_one_result_no_other_changes(make_saver: Any, read: str) -> None:
    saver = make_saver()
    chat(saver, 20, message)
    saver.copy_thread("t", "copy")
    config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}

    def results(saver: EventLogSaver) -> list[Any]:
        if read == "list":
            return list(saver.list(None))
        if read == "get_tuple":
            return [saver.get_tuple(config) for _ in range(4)]
        return [saver.get_delta_channel_history(config=config, channels=["messages", "none"]) for _ in range(4)]

    with EventLogSaver(saver.path) as fresh:
        expected = [told(result) for result in results(fresh)]
    found = results(saver)
    for n, result in enumerate(found):
        assert told(result) == expected[n]
        mutate(result.checkpoint if read != "history" else result)
        mutate(result.metadata if read != "history" else None)
        mutate(result.pending_writes if read != "history" else None)
        assert [told(other) for other in found[n + 1 :]] == expected[n + 1 :]
    assert [told(result) for result in results(saver)] == expected


@TRIES
@given(history=st.lists(states, min_size=1, max_size=6), reads=st.integers(1, 3))
def test_whatever_is_put_every_read_of_it_is_as_new(make_saver: Any, history: list[Any], reads: int) -> None:
    saver = make_saver(":memory:")
    for n in range(len(history)):
        values = {"messages": history[: n + 1], "last": history[n], "text": TEXT * 3}
        put(saver, f"{n:04}", values, f"{n - 1:04}" if n else None)
    expected = [
        told(SERDE.loads_typed(SERDE.dumps_typed({"messages": history[: n + 1], "last": history[n], "text": TEXT * 3})))
        for n in reversed(range(len(history)))
    ]
    for _ in range(reads):
        listed = list(saver.list(None))
        for n, found in enumerate(listed):
            assert told(found.checkpoint["channel_values"]) == expected[n]
            again = saver.get_tuple(found.config)
            assert told(again.checkpoint["channel_values"]) == expected[n]
            mutate(again.checkpoint)
            mutate(found.checkpoint)


def test_serializers_do_not_share_what_they_decode(make_saver: Any) -> None:
    """One makes other objects of the same bytes."""
    saver = make_saver()
    chat(saver, 5, message)
    config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    usual = [told(saver.get_tuple(config).checkpoint) for _ in range(3)]
    asked = 0

    def hook(code: int, data: bytes) -> Any:
        nonlocal asked
        asked += 1
        return f"made {asked}"

    saver.serde = JsonPlusSerializer(__unpack_ext_hook__=hook)
    first, second = (saver.get_tuple(config).checkpoint["channel_values"]["messages"] for _ in range(2))
    assert len(first) == 5
    assert set(first).isdisjoint(second)
    saver.serde = JsonPlusSerializer(allowed_msgpack_modules=None)
    assert [told(saver.get_tuple(config).checkpoint) for _ in range(3)] == usual


@pytest.mark.parametrize("allowed", [True, None], ids=["warned of", "blocked"])
def test_what_a_serializer_warns_of_or_blocks_it_does_so_at_each_read(
    make_saver: Any, allowed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Any] = []
    unregister = event_hooks.register_serde_event_listener(events.append)
    try:
        saver = make_saver(serde=JsonPlusSerializer(allowed_msgpack_modules=allowed))
        put(saver, "1", {"messages": [lc.HumanMessage(TEXT * 3), Custom(TEXT * 3)]})
        counts = []
        for _ in range(4):
            events.clear()
            saver.get_tuple({"configurable": {"thread_id": "t", "checkpoint_ns": ""}})
            counts.append(len(events))
        assert counts == [1, 1, 1, 1]
    finally:
        unregister()


def test_clones_are_bounded(make_saver: Any) -> None:
    """With room for few, everything is still what it should be."""
    saver = make_saver(memory_bytes=80_000)
    chat(saver, 30, message)
    with EventLogSaver(saver.path) as fresh:
        expected = everything_told(fresh.list(None))
    config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    for _ in range(3):
        assert told(saver.get_tuple(config)) == expected[1][0]
    held = saver._core.memory._clones[saver.serde]
    assert 0 < held._makers._bytes <= 20_000
    assert 0 < held._seen.used_bytes <= 20_000


class Peeking(Projection):
    """Reads what is being appended, and then refuses some of it."""

    name = "peeking"
    schema_version = 1
    saver: Any = None

    def reset(self) -> None:
        self.db.execute("CREATE TABLE peeking (n)")

    def apply(self, event: RecordedEvent) -> None:
        if self.saver is not None and event.thread_id == "t":
            config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
            found = self.saver.get_tuple(config)
            if found is not None and found.checkpoint["channel_values"]["refused"]:
                raise RuntimeError("no")


def test_what_was_read_of_a_put_that_is_rolled_back_is_not_remembered(make_saver: Any) -> None:
    """Its position is another's afterwards. Only in a private database can it be read at all."""
    projection = Peeking()
    saver = make_saver(":memory:", projections=[projection])
    projection.saver = saver
    good = [message(n) for n in range(9)]
    put(saver, "1", {"messages": good, "refused": False})
    with pytest.raises(ProjectionError):
        put(saver, "2", {"messages": [*good, message(100)], "refused": True}, "1")
    put(saver, "2", {"messages": [*good, message(200)], "refused": False}, "1")
    found = saver.get_tuple({"configurable": {"thread_id": "t", "checkpoint_ns": ""}})
    assert found.checkpoint["channel_values"]["messages"] == [*good, message(200)]


def test_what_takes_far_more_memory_than_its_bytes_counts_as_much() -> None:
    """Empty dicts are one byte each, and hundreds in memory."""
    clones = Clones(100_000_000)
    small = lc.HumanMessage("x", additional_kwargs={"a": [{} for _ in range(50_000)]})
    tag, data = SERDE.dumps_typed(small)
    clones.learn([data], [SERDE.loads_typed((tag, data))], at_once=True)
    tracemalloc.start()
    try:
        maker_and_count = maker_of(SERDE.loads_typed((tag, data)), data)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert maker_and_count is not None
    assert len(data) < 60_000
    assert taken / 2 < clones.used_bytes < 10 * taken


def test_small_strings_are_decoded_not_remembered(make_saver: Any) -> None:
    saver = make_saver()
    values = {"x": [f"the string of number {n}" for n in range(2_000)]}
    config = put(saver, "1", values)
    for _ in range(3):
        assert saver.get_tuple(config).checkpoint["channel_values"] == values
    assert saver._core.memory._clones[saver.serde].used_bytes < 5_000


def test_the_clones_of_many_savers_together_keep_to_the_memory(make_saver: Callable[..., EventLogSaver]) -> None:
    """With an allowlist of its own, each clone of a saver has a serializer of its own."""
    saver = make_saver(memory_bytes=400_000, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    values = {"messages": [lc.HumanMessage(f"{n} {TEXT}", id=str(n)) for n in range(30)]}
    checkpoint: Any = {"v": 4, "id": "1", "ts": "", "channel_values": values, "channel_versions": {}}
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    saver.put(config, checkpoint | {"versions_seen": {}}, {}, {})
    clones = [saver.with_allowlist([("a_module", f"Class{n}")]) for n in range(20)]
    for clone in clones * 3:
        found = clone.get_tuple(config)
        assert found is not None
        assert found.checkpoint["channel_values"] == values
        assert saver._core.memory.used_bytes <= 400_000
    decoder = saver._core.memory.decoder(clones[-1].serde)
    assert decoder._clones is not None
    assert decoder._clones.used_bytes > 0, "what was used last is kept"


def test_every_class_that_is_made_without_asking_the_serializer_is_one_that_it_always_allows() -> None:
    """Also where `allowed_msgpack_modules` names nothing."""
    assert {(cls.__module__, cls.__name__) for cls in MODELS} <= SAFE_MSGPACK_TYPES


def test_a_class_that_stands_in_the_place_of_another_is_the_one_that_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(lc.AIMessage):
        pass

    whole = Whole(*SERDE.dumps_typed([lc.AIMessage("a"), lc.HumanMessage("b")]))
    monkeypatch.setattr("langchain_core.messages.ai.AIMessage", Other)
    assert list(map(type, loader(SERDE)(whole))) == list(map(type, load(SERDE, whole))) == [Other, lc.HumanMessage]


NEW_REPLACED = """
from langchain_core.messages import AIMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog.value import Whole
from langgraph_eventlog.saver.unpacking import loader

made = []

def new(cls, *_, **__):
    made.append(cls)
    return object.__new__(cls)

serde = JsonPlusSerializer()
whole = Whole(*serde.dumps_typed([AIMessage("a")]))
AIMessage.__new__ = new
assert loader(serde)(whole)[0].content == "a"
assert made == [AIMessage], made
"""


def test_what_makes_the_objects_of_a_class_is_called() -> None:
    """In another process: a class that has had such a method is never quite what it was before."""
    subprocess.run([sys.executable, "-c", NEW_REPLACED], check=True, timeout=120)
