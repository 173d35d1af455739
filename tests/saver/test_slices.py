"""What a task has written is stored once: the checkpoint after it refers to those bytes in the put_writes."""

from __future__ import annotations

import importlib.util
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog import Kind, Put, PutWrites, Whole
from langgraph_eventlog.eventlog.event import Compaction, NewEvent, Write, stored_in
from langgraph_eventlog.eventlog.integrity import inner_of
from langgraph_eventlog.eventlog.record import decode
from langgraph_eventlog.eventlog.resolve import Resolver
from langgraph_eventlog.eventlog.value import Edit, ListOf, Slice, Splice
from langgraph_eventlog.saver import EventLogSaver, written
from langgraph_eventlog.saver.pieces import cut
from langgraph_eventlog.saver.written import Written

from .changing import SERDE, as_stored, elements, exact, plain

TEXT = "The quick brown fox jumps over the lazy dog. " * 4
Make = Callable[..., EventLogSaver]


def config(id: str | None, thread: str = "t") -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": "", **({"checkpoint_id": id} if id else {})}}


def put(saver: EventLogSaver, id: str, parent: str | None, values: dict[str, Any], thread: str = "t") -> None:
    checkpoint: Any = {
        "v": 4,
        "id": id,
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": values,
        "channel_versions": {},
        "versions_seen": {},
    }
    saver.put(config(parent, thread), checkpoint, {}, {})


def read(saver: EventLogSaver, id: str, thread: str = "t") -> dict[str, Any]:
    found = saver.get_tuple(config(id, thread))
    assert found is not None
    return found.checkpoint["channel_values"]


def messages(n: int) -> list[Any]:
    return [(AIMessage if i % 2 else HumanMessage)(content=f"{i} {TEXT}", id=str(i)) for i in range(n)]


def put_event(saver: EventLogSaver, id: str) -> Put:
    (found,) = [e.data for e in saver.log.read() if isinstance(e.data, Put) and e.data.checkpoint_id == id]
    return found


def inserted(saver: EventLogSaver, id: str, channel: str = "x") -> list[Any]:
    """The elements that a checkpoint's value has beyond its parent's."""
    match put_event(saver, id).channels[channel]:
        case Splice() as stored:
            return list(stored.inserted)
        case Edit() as stored:
            return [element for _, element in stored.changed]
    return []


def chat(saver: EventLogSaver, turns: int = 4) -> list[Any]:
    """A graph's steps: a task's writes, and the checkpoint that is made of them."""
    state = messages(8)
    put(saver, "00", None, {"x": list(state)})
    for n in range(1, turns + 1):
        new = messages(8 + 2 * n)[-2:]
        saver.put_writes(config(f"{n - 1:02}"), [("x", new)], "task")
        state += new
        put(saver, f"{n:02}", f"{n - 1:02}", {"x": list(state)})
    return state


def test_a_message_that_was_written_is_not_stored_again(file_saver: EventLogSaver) -> None:
    state = chat(file_saver)
    for n in range(1, 5):
        found = inserted(file_saver, f"{n:02}")
        assert [type(element) for element in found] == [Slice, Slice]
        assert {element.base for element in found} == {2 * n}  # the put_writes before it
    assert exact(read(file_saver, "04")["x"]) == as_stored(state)
    with file_saver.log.database.reading() as connection:
        records = [bytes(record) for (record,) in connection.execute("SELECT record FROM event WHERE kind = 1")]
    assert sum(map(len, records[1:])) < 4 * 200


WRITTEN: dict[str, Callable[[Any], Any]] = {
    "bare": lambda m: m,
    "the only one of a list": lambda m: [m],
    "in a list": lambda m: [1, "two", m, {"three": 3}],
    "in a long list": lambda m: [*range(20), m],
    "in a dict": lambda m: {"a": 1, "b": m, "c": [2]},
    "in a large dict": lambda m: {**{str(i): i for i in range(20)}, "m": m},
    "twice": lambda m: [m, m],
}


@pytest.mark.parametrize("shape", WRITTEN)
def test_it_is_found_in_what_was_written(file_saver: EventLogSaver, shape: str) -> None:
    new, state = HumanMessage(TEXT, id="new"), messages(9)
    put(file_saver, "1", None, {"x": state})
    file_saver.put_writes(config("1"), [("other", TEXT), ("x", WRITTEN[shape](new)), ("last", 1)], "task")
    put(file_saver, "2", "1", {"x": [*state, new]})
    (element,) = inserted(file_saver, "2")
    assert isinstance(element, Slice)
    assert element.slot == 1
    assert exact(read(file_saver, "2")["x"]) == as_stored([*state, new])


def test_a_dicts_values_are_found_too(file_saver: EventLogSaver) -> None:
    documents, new = {f"doc{i}": f"{i} {TEXT * 2}" for i in range(10)}, "new " + TEXT * 2
    put(file_saver, "1", None, {"x": documents})
    file_saver.put_writes(config("1"), [("x", {"new": new, "short": "s"})], "task")
    put(file_saver, "2", "1", {"x": {**documents, "new": new, "short": "s"}})
    assert [type(element) for element in inserted(file_saver, "2")] == [Slice, Whole]
    assert read(file_saver, "2")["x"] == {**documents, "new": new, "short": "s"}


def test_several_tasks_special_channels_and_writes_that_lost_are_all_referred_to_right(
    file_saver: EventLogSaver,
) -> None:
    """A slot counts the writes of its event, whatever indices they have, and whether they are read or not."""
    new, state = [HumanMessage(f"{i} {TEXT}", id=f"new {i}") for i in range(6)], messages(12)
    put(file_saver, "1", None, {"x": state})
    file_saver.put_writes(config("1"), [("__interrupt__", new[0]), ("x", [new[1]]), ("__error__", TEXT)], "a")
    file_saver.put_writes(config("1"), [("x", "lost"), ("x", [new[2], new[3]])], "a", "~path")
    file_saver.put_writes(config("1"), [("__resume__", 1), ("x", [new[4], new[1]]), ("__interrupt__", new[5])], "b")
    put(file_saver, "2", "1", {"x": [*state, *new]})
    assert [type(element) for element in inserted(file_saver, "2")] == [Slice] * 6
    assert exact(read(file_saver, "2")["x"]) == as_stored([*state, *new])


@settings(max_examples=100, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    values=st.lists(st.one_of(elements, st.lists(elements, max_size=20), st.dictionaries(st.text(max_size=3), plain))),
    searched=st.sampled_from([0, 1 << 20]),
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_slice_is_the_bytes_that_it_stands_for(values: list[Any], searched: int) -> None:
    writes = []
    for n, value in enumerate(values):
        try:
            writes.append(Write("x", n, Whole(*SERDE.dumps_typed(value))))
        except TypeError:
            continue
    event = PutWrites("1", "task", "", tuple(writes))
    resolver = Resolver(lambda position, field: stored_in(event, field) if position == 7 else None, path="")
    there = Written()
    there.add(event, 7)
    wanted = [part for write in writes for part in (write.value.data, *(cut(write.value.data) or []))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(written, "_SEARCHED_BYTES", searched)
        for data in wanted:
            found = there.find(Whole("msgpack", data))
            if len(data) < 64:
                assert found is None
            else:
                assert resolver.channel(8, str(data), ListOf((found,))) == (Whole("msgpack", data),)
            assert there.find(Whole("bytes", data)) is None


def test_bytes_that_look_like_a_message_are_not_taken_for_it(file_saver: EventLogSaver) -> None:
    """Slices have a type, too: a message read as bytes would be another value."""
    new, state = HumanMessage(TEXT, id="new"), messages(9)
    raw = SERDE.dumps_typed(new)[1]
    put(file_saver, "1", None, {"x": state})
    file_saver.put_writes(config("1"), [("raw", raw), ("x", new), ("raw", raw), ("raw", bytearray(raw))], "task")
    put(file_saver, "2", "1", {"x": [*state, new], "raw": raw})
    assert exact(read(file_saver, "2")["x"]) == as_stored([*state, new])
    assert read(file_saver, "2")["raw"] == raw
    put(file_saver, "3", None, {"x": state})
    file_saver.put_writes(config("3"), [("raw", raw)], "task")
    put(file_saver, "4", "3", {"x": [*state, new]})
    assert [type(element) for element in inserted(file_saver, "4")] == [Whole]
    assert exact(read(file_saver, "4")["x"]) == as_stored([*state, new])


def test_a_checkpoints_own_maps_are_not_made_of_what_was_written(file_saver: EventLogSaver) -> None:
    """They are plain data of the log's, which no serializer made, though the bytes be the same."""
    seen = {f"node {i}": {f"channel {i}": f"{i:064}"} for i in range(20)}
    checkpoint: Any = {"v": 4, "id": "1", "ts": "", "channel_values": {}, "channel_versions": {}, "versions_seen": seen}
    file_saver.put(config(None), checkpoint, {}, {})
    new = {"channel 3": "x" * 64}
    file_saver.put_writes(config("1"), [("x", new)], "task")
    file_saver.put(config("1"), {**checkpoint, "id": "2", "versions_seen": {**seen, "node 3": new}}, {}, {})
    stored = put_event(file_saver, "2").versions_seen
    assert isinstance(stored, Edit)
    assert [type(element) for _, element in stored.changed] == [Whole]
    found = file_saver.get_tuple(config("2"))
    assert found is not None
    assert found.checkpoint["versions_seen"] == {**seen, "node 3": new}


class Pickling(JsonPlusSerializer):
    """One of a user's own."""


@pytest.mark.parametrize("serde", [Pickling(), EncryptedSerializer.from_pycryptodome_aes(key=b"k" * 16)])
def test_only_what_the_serializer_is_known_to_make_is_cut(make_saver: Make, serde: Any) -> None:
    """Under encryption a message is encrypted anew each time, and nothing of it stands in plain text."""
    saver = make_saver(serde=serde)
    state = chat(saver)
    assert not [e for n in range(1, 5) for e in inserted(saver, f"{n:02}") if isinstance(e, Slice)]
    assert exact(read(saver, "04")["x"]) == as_stored(state)
    if isinstance(serde, EncryptedSerializer):
        saver.close()
        assert b"quick brown" not in Path(saver.path).read_bytes()


def test_another_threads_branchs_or_serializers_writes_are_not_referred_to(make_saver: Make) -> None:
    saver, new, state = make_saver(), HumanMessage(TEXT, id="new"), messages(9)
    for thread in "tu":
        put(saver, "1", None, {"x": state}, thread)
    put(saver, "2", "1", {"x": state})
    put(saver, "3", "1", {"x": state})
    saver.put_writes(config("1", "u"), [("x", new)], "task")
    saver.put_writes(config("3"), [("x", new)], "task")
    put(saver, "4", "2", {"x": [*state, new]})
    assert [type(element) for element in inserted(saver, "4")] == [Whole]
    serde, saver.serde = saver.serde, JsonPlusSerializer()
    put(saver, "5", "3", {"x": [*state, new]})
    assert [type(element) for element in inserted(saver, "5")] == [Whole]
    saver.put_writes(config("5"), [("x", new)], "task")
    saver.serde = serde
    put(saver, "6", "5", {"x": [*state, new, new]})
    put(saver, "7", "6", {"x": [*state, new, new]})
    saver.serde = JsonPlusSerializer()
    saver.put_writes(config("7"), [("x", HumanMessage(TEXT, id="newer"))], "task")
    saver.serde = serde
    put(saver, "8", "7", {"x": [*state, new, new, HumanMessage(TEXT, id="newer")]})
    assert [type(element) for id in "68" for element in inserted(saver, id)] == [Whole, Whole]
    assert exact(read(saver, "4")["x"]) == exact(read(saver, "5")["x"]) == as_stored([*state, new])


@pytest.mark.parametrize("how", ["no memory", "little memory", "another process"])
def test_without_what_is_remembered_a_message_is_stored_again_and_right(make_saver: Make, how: str) -> None:
    budget = {"no memory": 0, "little memory": 4_000}.get(how, 1 << 20)
    saver = make_saver(memory_bytes=budget)
    other, new, state = make_saver() if how == "another process" else saver, HumanMessage(TEXT), messages(9)
    put(saver, "1", None, {"x": state})
    other.put_writes(config("1"), [("x", [new])], "task")
    put(saver, "2", "1", {"x": [*state, new]})
    assert [type(element) for element in inserted(saver, "2")] == [Whole]
    assert exact(read(saver, "2")["x"]) == as_stored([*state, new])


def erase(saver: EventLogSaver, position: int) -> None:
    """Erase a put_writes that nothing points at any more, as compaction does."""

    def decide(connection: apsw.Connection) -> NewEvent:
        sql = "SELECT recorded_at, digest, length(record) FROM event WHERE position = ? AND kind = 2"
        ((recorded_at, digest, size),) = connection.execute(sql, (position,)).fetchall()
        inner = inner_of(recorded_at=recorded_at, address=("t", ""), digest=digest)
        erased = (position, int(Kind.PUT_WRITES), inner)
        connection.execute("INSERT INTO erased (position, kind, inner) VALUES (?, ?, ?)", erased)
        connection.execute("DELETE FROM event WHERE position = ?", (position,))
        return NewEvent(Compaction({"test": True}, ((position, position),), size))

    saver.log.transact(decide)


def test_a_put_whose_put_writes_was_erased_meanwhile_stores_its_messages_whole(make_saver: Make) -> None:
    saver, other, new, state = make_saver(), make_saver(), HumanMessage(TEXT), messages(9)
    put(saver, "1", None, {"x": state})
    saver.put_writes(config("1"), [("x", [new])], "task")
    other.delete_thread("t")
    erase(other, 2)
    put(saver, "2", "1", {"x": [*state, new]})
    assert isinstance(put_event(saver, "2").channels["x"], ListOf)
    assert exact(read(saver, "2")["x"]) == as_stored([*state, new])
    put(saver, "3", "2", {"x": [*state, new, HumanMessage("more")]})
    assert exact(read(saver, "3")["x"]) == as_stored([*state, new, HumanMessage("more")])


@pytest.mark.parametrize("how", ["prune", "delete_for_runs", "the source of a copy"])
def test_what_is_referred_to_is_read_though_its_checkpoint_was_removed(make_saver: Make, how: str) -> None:
    saver, thread = make_saver(), "t"
    state = chat(saver)
    if how == "prune":
        saver.prune(["t"])
    elif how == "delete_for_runs":
        put(saver, "05", "04", {"x": state})
        saver.delete_for_runs(["none of it"])
        saver.prune(["t"])
    else:
        saver.copy_thread("t", "u")
        saver.delete_thread("t")
        thread = "u"
    latest = "05" if how == "delete_for_runs" else "04"
    assert saver.get_tuple(config("02", "t")) is None
    with make_saver() as fresh:
        assert exact(read(fresh, latest, thread)["x"]) == as_stored(state)


@pytest.fixture(scope="module")
def reader() -> ModuleType:
    """The reader that was written from FORMAT.md alone."""
    path = Path(__file__).parents[1] / "eventlog" / "independent_reader.py"
    spec = importlib.util.spec_from_file_location(f"independent_reader_{uuid.uuid4().hex}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


@pytest.mark.plain_file("the reader has no key")
def test_who_has_only_the_format_reads_the_same(file_saver: EventLogSaver, reader: ModuleType) -> None:
    state = chat(file_saver)
    documents = {f"doc{i}": f"{i} {TEXT * 2}" for i in range(10)}
    put(file_saver, "05", "04", {"x": state, "d": documents})
    file_saver.put_writes(config("05"), [("d", {"new": TEXT * 2})], "task")
    put(file_saver, "06", "05", {"x": state, "d": {**documents, "new": TEXT * 2}})
    assert [type(element) for element in inserted(file_saver, "06", "d")] == [Slice]
    expected = {f"{n:02}": {name: exact(v) for name, v in read(file_saver, f"{n:02}").items()} for n in range(7)}
    file_saver.close()
    log = reader.read_log(file_saver.path)
    found = {}
    for event in log.events.values():
        if event.kind == reader.PUT:
            values = {name: value for (field, name), value in event.values.items() if field == "channels"}
            found[event.put[0]] = {name: exact(decoded(value)) for name, value in values.items()}
    assert found == expected


def decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [decoded(element) for element in value]
    if isinstance(value, dict):
        return {key: decoded(element) for key, element in value.items()}
    return SERDE.loads_typed(value)


def test_slices_count_as_bases_in_what_is_stored(file_saver: EventLogSaver) -> None:
    """Compaction looks at a record's bases alone: all that its values refer to stand there."""
    chat(file_saver)
    with file_saver.log.database.reading() as connection:
        rows = connection.execute("SELECT position, record FROM event WHERE kind = 1").fetchall()
    assert [sorted(decode(record)[0]) for _, record in rows][1:] == [[n - 2, n - 1] for n in (3, 5, 7, 9)]
    assert isinstance(put_event(file_saver, "00").channels["x"], ListOf)
