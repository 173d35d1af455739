"""Values stored as differences: whatever was put is what is read, and small changes cost little."""

from __future__ import annotations

import copy
import itertools
import threading
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog import Put
from langgraph_eventlog.eventlog import delta as log_delta
from langgraph_eventlog.eventlog import record as log_record
from langgraph_eventlog.eventlog.body import bases_of
from langgraph_eventlog.eventlog.resolve import complete
from langgraph_eventlog.eventlog.value import Carried, DictOf, Edit, ListOf, Patch, Slice, Splice, Whole
from langgraph_eventlog.saver import EventLogSaver, differences, encoding, parts

SERDE = JsonPlusSerializer()
TEXT = "The quick brown fox jumps over the lazy dog. "


@pytest.fixture
def small_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take everything apart, and make every difference, however small."""
    monkeypatch.setattr(parts, "_MIN_BYTES_APART", 0)
    monkeypatch.setattr(parts, "_MIN_BYTES_AN_ELEMENT", 0)
    monkeypatch.setattr(differences, "COST_OF_DIFFERENCE", -1_000)
    monkeypatch.setattr(log_delta, "COST_OF_DIFFERENCE", 1)
    monkeypatch.setattr(differences, "_MIN_PATCHED", 1)


class Chain:
    """Puts one state after another on a thread."""

    def __init__(self, saver: EventLogSaver) -> None:
        self.saver = saver
        self.config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        self.ids = itertools.count(1)

    def put(self, values: dict[str, Any], versions: dict[str, Any] | None = None, seen: Any = None) -> Any:
        checkpoint: Any = {
            "v": 4,
            "id": f"{next(self.ids):06}",
            "ts": "2026-01-01T00:00:00+00:00",
            "channel_values": values,
            "channel_versions": versions or {},
            "versions_seen": seen or {},
        }
        self.config = self.saver.put(self.config, checkpoint, {"step": 1}, {})
        return self.config

    def stored(self, channel: str) -> list[Any]:
        events = (event.data for event in self.saver.log.read())
        return [data.channels[channel] for data in events if isinstance(data, Put) and channel in data.channels]


def as_stored(value: Any) -> Any:
    """What the serializer makes of a value: what a saver that stores it whole gives back."""
    return SERDE.loads_typed(SERDE.dumps_typed(value))


def told(value: Any) -> str:
    """Exactly what a value is: 1 is not True, 0.0 not -0.0, the order of dicts counts."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{told(k)}: {told(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}[" + ", ".join(told(v) for v in value) + "]"
    if hasattr(value, "model_dump"):
        return f"{type(value).__name__}({told(value.model_dump())})"
    return f"{type(value).__name__}:{value!r}"


def messages(n: int) -> list[Any]:
    return [(AIMessage if i % 2 else HumanMessage)(content=f"{i} {TEXT * 5}", id=str(i)) for i in range(n)]


# What is stored.


def test_a_chat_turn_costs_the_new_messages(file_saver: EventLogSaver) -> None:
    chain = Chain(file_saver)
    for n in range(6, 20, 2):
        chain.put({"messages": messages(n)})
    first, *others = chain.stored("messages")
    assert isinstance(first, ListOf)
    assert all(isinstance(stored, Splice) for stored in others[:2])
    assert [len(stored.inserted) for stored in others if isinstance(stored, Splice)] == [
        2 for stored in others if isinstance(stored, Splice)
    ]
    assert all(stored.suffix == 0 for stored in others if isinstance(stored, Splice))


def test_differences_since_a_keyframe_never_outweigh_it(file_saver: EventLogSaver) -> None:
    """Of a list whose last element is another each time, what the earlier ones were is read for nothing."""
    chain = Chain(file_saver)
    for n in range(1, 120):
        chain.put({"messages": [*messages(20), HumanMessage(f"{n} {TEXT}", id="last")]})
    keyframe = since = keyframes = 0
    for stored in chain.stored("messages"):
        if isinstance(stored, Splice):
            since += 250 + log_delta.weight(stored.inserted)
        else:
            keyframe, since, keyframes = log_delta.weight_of_value(complete(stored)), 0, keyframes + 1
        assert since <= keyframe
    assert 3 <= keyframes <= 12


@pytest.mark.parametrize("writes", [True, False], ids=["written by tasks", "put only"])
@pytest.mark.parametrize("process", ["one", "a new one each time"])
def test_a_list_that_grows_is_read_from_few_records_and_stored_few_times(
    make_saver: Any, writes: bool, process: str
) -> None:
    saver = make_saver()
    chain, said, others = Chain(saver), messages(300), {"other": {"of": [TEXT * 20]}, "flag": None}
    for n in range(1, len(said) + 1):
        if process != "one" and n % 3 == 0:
            saver.close()
            chain.saver = saver = make_saver(saver.path)
        if writes and n > 1:
            saver.put_writes(chain.config, [("messages", said[n - 1 : n])], "a task")
        chain.put({"messages": said[:n], **others})
    events = {event.position: event.data for event in saver.log.read()}
    stored = {at: data.channels["messages"] for at, data in events.items() if isinstance(data, Put)}
    whole = [e for value in stored.values() for e in getattr(value, "inserted", getattr(value, "elements", ()))]
    size = log_delta.weight(Whole("", SERDE.dumps_typed(m)[1]) for m in said)
    assert log_delta.weight(e for e in whole if isinstance(e, Whole)) < 2.5 * size, "each message a few times"
    at, read = max(stored), set()
    while isinstance(value := stored[at], Splice):
        read |= {at, value.base, *(e.base for e in value.inserted if isinstance(e, Slice))}
        at = value.base
    assert len(read) <= 3 * log_delta.STEPS_GATHERED + len(said) // log_delta.STEPS_GATHERED
    found = saver.get_tuple(chain.config)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"messages": said, **others}


def test_steps_that_are_large_are_not_gathered(file_saver: EventLogSaver) -> None:
    chain = Chain(file_saver)
    said = [HumanMessage(f"{n} {TEXT * 200}", id=str(n)) for n in range(80)]
    for n in range(1, len(said) + 1):
        chain.put({"messages": said[:n]})
    assert max(len(stored.inserted) for stored in chain.stored("messages") if isinstance(stored, Splice)) == 1


def test_a_list_that_was_gathered_and_is_cut_short_is_stored_in_full(file_saver: EventLogSaver) -> None:
    """Or what it has lost would be read for ever."""
    chain, said = Chain(file_saver), messages(200)
    for n in range(1, len(said) + 1):
        chain.put({"messages": said[:n]})
    chain.put({"messages": said[:20]})
    chain.put({"messages": said[:21]})
    *_, before, cut, after = chain.stored("messages")
    assert isinstance(before, Splice)
    assert not isinstance(cut, Splice)
    assert isinstance(after, Splice)


def test_a_message_edited_deleted_or_inserted_costs_itself(file_saver: EventLogSaver) -> None:
    chain = Chain(file_saver)
    state = messages(12)
    chain.put({"messages": list(state)})
    state[5] = AIMessage(content="edited", id="5")
    chain.put({"messages": list(state)})
    del state[3]
    chain.put({"messages": list(state)})
    state.insert(0, HumanMessage(content="inserted", id="x"))
    chain.put({"messages": list(state)})
    _, edited, deleted, inserted = chain.stored("messages")
    assert (edited.prefix, len(edited.inserted), edited.suffix) == (5, 1, 6)
    assert (deleted.prefix, len(deleted.inserted), deleted.suffix) == (3, 0, 8)
    assert (inserted.prefix, len(inserted.inserted), inserted.suffix) == (0, 1, 11)


def test_a_dict_costs_the_keys_that_change_and_a_text_what_changes_in_it(file_saver: EventLogSaver) -> None:
    chain = Chain(file_saver)
    documents = {f"doc{i}": f"{i} {TEXT * 30}" for i in range(10)}
    text = "".join(f"{i} {TEXT}" for i in range(500))
    chain.put({"documents": documents, "text": text})
    chain.put({"documents": {**documents, "doc3": "short", "new": "one"}, "text": text.replace("250 The", "251 A")})
    first, second = chain.stored("documents")
    assert isinstance(first, DictOf)
    assert isinstance(second, Edit)
    assert [key for key, _ in second.changed] == ["doc3", "new"]
    whole, patch = chain.stored("text")
    assert isinstance(whole, Whole)
    assert isinstance(patch, Patch)
    assert len(patch.frame) < 500


def test_versions_of_many_channels_cost_those_that_change(file_saver: EventLogSaver) -> None:
    chain = Chain(file_saver)
    versions = {f"channel-{i}": f"{i:032}.0123456789" for i in range(40)}
    seen = {f"node-{i}": {f"channel-{i}": f"{i:032}.0123456789"} for i in range(40)}
    chain.put({}, versions, seen)
    versions = {**versions, "channel-7": "x"}
    seen = {**seen, "node-7": {"channel-7": "x"}}
    chain.put({}, versions, seen)
    event = list(file_saver.log.read())[-1]
    assert isinstance(event.data, Put)
    assert isinstance(event.data.channel_versions, Edit)
    assert isinstance(event.data.versions_seen, Edit)
    assert event.size < 400
    found = file_saver.get_tuple(chain.config)
    assert found is not None
    assert (found.checkpoint["channel_versions"], found.checkpoint["versions_seen"]) == (versions, seen)


def test_what_is_carried_leads_to_what_stores_it_even_if_that_is_a_difference(file_saver: EventLogSaver) -> None:
    chain = Chain(file_saver)
    for n in (10, 12, 12, 12, 14):
        chain.put({"messages": messages(n)})
    assert [type(stored) for stored in chain.stored("messages")] == [ListOf, Splice, Carried, Carried, Splice]
    assert [stored.base for stored in chain.stored("messages")[1:]] == [1, 2, 2, 2]


def test_small_values_and_lists_of_numbers_stay_whole(file_saver: EventLogSaver) -> None:
    chain = Chain(file_saver)
    subclass = type("Subclass", (list,), {})([TEXT] * 20)
    chain.put({"numbers": list(range(10_000)), "few": ["a"], "tags": ["tag"] * 1_000, "subclass": subclass})
    for channel in ("numbers", "few", "tags", "subclass"):
        assert isinstance(chain.stored(channel)[0], Whole), channel


def test_only_what_is_known_to_take_lists_apart_does(make_saver: Any) -> None:
    class Other(JsonPlusSerializer):
        pass

    saver = make_saver(serde=Other())
    chain = Chain(saver)
    chain.put({"messages": messages(8)})
    assert isinstance(chain.stored("messages")[0], Whole)


class Unserialisable:
    """Can be pickled, and nothing else."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unserialisable)

    __hash__ = object.__hash__


def test_a_list_of_which_something_is_pickled_is_pickled_whole(make_saver: Any) -> None:
    """Otherwise its other elements would not come back as they do from a pickled list: tuples as lists."""
    saver = make_saver(serde=JsonPlusSerializer(pickle_fallback=True))
    chain = Chain(saver)
    value = [(TEXT * 20, 1), Unserialisable(), bytearray(b"x" * 600)]
    chain.put({"x": value, "y": {"a": value[0], "b": value[1]}})
    assert [type(stored) for stored in chain.stored("x") + chain.stored("y")] == [Whole, Whole]
    found = saver.get_tuple(chain.config)
    assert found is not None
    assert told_types(found.checkpoint["channel_values"]["x"]) == [tuple, Unserialisable, bytearray]


def told_types(values: list[Any]) -> list[type]:
    return [type(value) for value in values]


def test_a_bytearray_in_a_list_comes_back_as_it_does_from_the_serializer(file_saver: EventLogSaver) -> None:
    chain = Chain(file_saver)
    value = [bytearray(b"x" * 600), b"y" * 600, None]
    chain.put({"x": value})
    found = file_saver.get_tuple(chain.config)
    assert found is not None
    assert told(found.checkpoint["channel_values"]["x"]) == told(as_stored(value))


def test_no_key_of_a_dict_is_readable_under_encryption(make_saver: Any, tmp_path: Path) -> None:
    """Keys of dicts that are taken apart stand in the record as they are: so under encryption none is."""
    saver = make_saver(serde=EncryptedSerializer.from_pycryptodome_aes(SERDE, key=b"k" * 16))
    chain = Chain(saver)
    chain.put({"patients": {"SECRETNAME": TEXT * 20, "b": TEXT * 20}})
    chain.put({"patients": {"SECRETNAME": TEXT * 20, "b": TEXT * 20, "SECRETNAME2": "x"}})
    assert all(isinstance(stored, Whole) for stored in chain.stored("patients"))
    saver.close()
    assert b"SECRETNAME" not in (tmp_path / "agent.db").read_bytes()


def test_a_value_is_of_one_moment_whatever_another_thread_does_to_it(file_saver: EventLogSaver) -> None:
    """It is serialised in one piece: the first and the last element always say the same."""
    value = [{"n": 0, "text": TEXT}] + [{"text": TEXT} for _ in range(2_000)] + [{"n": 0, "text": TEXT}]
    stop = threading.Event()

    def change() -> None:
        for i in itertools.count(1):
            if stop.is_set():
                return
            # One statement of C: no other thread sees it half done.
            value[0], value[-1] = {"n": i, "text": TEXT}, {"n": i, "text": TEXT}

    changing = threading.Thread(target=change)
    changing.start()
    try:
        chain = Chain(file_saver)
        for _ in range(20):
            chain.put({"x": value})
    finally:
        stop.set()
        changing.join()
    for found in file_saver.list(None):
        first, *_, last = found.checkpoint["channel_values"]["x"]
        assert abs(first["n"] - last["n"]) <= 1


class Subclass(bytes):
    """The serializer takes it by itself, and not in a list."""


@pytest.mark.parametrize(
    "value",
    [[Subclass(b"x" * 600), (1, 2)], {"\ud800": "x" * 600, "b": (1, 2)}, [("x" * 600, 1), {1, 2}], [(1, TEXT * 20)]],
    ids=["bytes", "surrogate", "set", "tuple"],
)
def test_what_is_read_is_what_the_serializer_makes_of_the_whole(make_saver: Any, value: Any) -> None:
    """With pickle_fallback, one element that cannot be packed decides about all of them."""
    serde = JsonPlusSerializer(pickle_fallback=True)
    saver = make_saver(serde=serde)
    chain = Chain(saver)
    chain.put({"x": value})
    found = saver.get_tuple(chain.config)
    assert found is not None
    assert told(found.checkpoint["channel_values"]["x"]) == told(serde.loads_typed(serde.dumps_typed(value)))


def test_a_serializer_that_is_replaced_during_a_put_does_not_mix_with_the_old_one(
    make_saver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = make_saver(serde=EncryptedSerializer.from_pycryptodome_aes(SERDE, key=b"a" * 16))
    other = EncryptedSerializer.from_pycryptodome_aes(SERDE, key=b"b" * 16)
    chain = Chain(saver)
    chain.put({"x": TEXT * 20})
    real = saver._known

    def known(*args: Any) -> Any:
        found = real(*args)
        saver.serde = other
        return found

    monkeypatch.setattr(saver, "_known", known)
    config = chain.put({"x": TEXT * 20})
    saver.serde = EncryptedSerializer.from_pycryptodome_aes(SERDE, key=b"a" * 16)
    found = saver.get_tuple(config)
    assert found is not None
    assert found.checkpoint["channel_values"]["x"] == TEXT * 20


def test_keys_weigh_what_they_weigh(file_saver: EventLogSaver) -> None:
    """Otherwise edits of long keys would pile up behind a small keyframe."""
    chain = Chain(file_saver)
    small = {str(i): TEXT for i in range(20)}
    for n in range(30):
        chain.put({"d": {**small, f"{n}" * 2_000: "x"} if n % 2 else small})
    since = keyframe = 0
    for stored in chain.stored("d"):
        if isinstance(stored, Edit):
            since += sum(len(key) for key, _ in stored.changed) + sum(len(key) for key in stored.removed)
        elif not isinstance(stored, Carried):
            keyframe, since = log_delta.weight_of_value(complete(stored)), 0
        assert since <= keyframe


def test_a_long_chain_of_a_long_list_is_read_without_a_copy_for_each_link(file_saver: EventLogSaver) -> None:
    chain = Chain(file_saver)
    value = [f"{i:030}" for i in range(5_000)]
    for _ in range(200):
        value.append("one more, of a length that is of no account")
        chain.put({"x": value})
    tracemalloc.start()
    try:
        found = file_saver.get_tuple(chain.config)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found is not None
    assert found.checkpoint["channel_values"]["x"] == value
    assert peak < 20_000_000, "200 copies of 5,000 references would be 8 MB each way; elements 250 kB"


# What is read.

scalars = st.sampled_from([0, 1, True, False, None, 0.0, -0.0, "", b"", "a", "é\0", 1.0, -1])
leaves = scalars | st.builds(lambda i: HumanMessage(content=f"m{i}", id=str(i)), st.integers(0, 3))
dicts = partial(st.dictionaries, st.sampled_from("abcdef"), max_size=6)
states = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | dicts(inner))
tops = st.lists(states, max_size=6) | dicts(states) | st.text(max_size=30)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Any, int]]:
    """Values one after another, each made from one before it, and which checkpoint each is a child of."""
    values = [draw(tops)]
    history = [(values[0], 0)]
    for n in range(1, draw(st.integers(2, 9))):
        parent = draw(st.integers(max(0, n - 3), n - 1))
        value = copy.deepcopy(values[parent])
        if isinstance(value, list):
            how = draw(st.sampled_from(["grow", "shrink", "reverse", "repeat", "set", "new", "same"]))
            value = _changed_list(draw, how, value)
        elif isinstance(value, dict):
            value = _changed_dict(draw, value)
        else:
            value = draw(tops) if draw(st.booleans()) else value + draw(st.text(max_size=5))
        values.append(value)
        history.append((value, parent))
    return history


def _changed_list(draw: st.DrawFn, how: str, value: list[Any]) -> Any:
    at = draw(st.integers(0, len(value)))
    match how:
        case "grow":
            value[at:at] = draw(st.lists(states, max_size=3))
        case "shrink":
            del value[at : at + 2]
        case "reverse":
            value.reverse()
        case "repeat":
            value = value + value
        case "set" if value:
            value[at % len(value)] = draw(states)
        case "new":
            return draw(tops)
    return value


def _changed_dict(draw: st.DrawFn, value: dict[str, Any]) -> Any:
    for key in draw(st.lists(st.sampled_from("abcdef"), max_size=3)):
        if draw(st.booleans()):
            value[key] = draw(states)
        else:
            value.pop(key, None)
    items = list(value.items())
    return dict(draw(st.permutations(items))) if draw(st.booleans()) else value


@pytest.mark.usefixtures("small_counts")
@given(history=histories(), reopen=st.sets(st.integers(0, 8)), encrypted=st.booleans(), two=st.booleans())
@settings(max_examples=150, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_was_put_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, history: list[Any], reopen: set[int], encrypted: bool, two: bool
) -> None:
    """On forks, by two savers in turn, from memory and from the log, with and without encryption."""
    path = tmp_path_factory.mktemp("log") / "agent.db"
    options: Any = {"synchronous": "NORMAL"}
    if encrypted:
        options["serde"] = EncryptedSerializer.from_pycryptodome_aes(SERDE, key=b"k" * 16)
    savers = [EventLogSaver(path, **options) for _ in range(1 + two)]
    try:
        configs: list[Any] = []
        expected: list[str] = []
        for n, (value, parent) in enumerate(history):
            expected.append(told(as_stored(value)))
            if n in reopen:
                savers[0].close()
                savers[0] = EventLogSaver(path, **options)
            chain = Chain(savers[n % len(savers)])
            chain.ids = itertools.count(n + 1)
            if configs:
                chain.config = configs[parent]
            configs.append(chain.put({"x": value}, {"x": n, **{str(i): i for i in range(n)}}, {"n": {"x": n}}))
            _mutate(value)
        for saver in savers:
            listed = {t.config["configurable"]["checkpoint_id"]: t for t in saver.list(None)}
            for n, config in enumerate(configs):
                found = saver.get_tuple(config)
                assert found is not None
                for one in (found, listed[config["configurable"]["checkpoint_id"]]):
                    assert told(one.checkpoint["channel_values"]["x"]) == expected[n]
                    assert one.checkpoint["channel_versions"] == {"x": n, **{str(i): i for i in range(n)}}
        assert list(savers[0].log.verify()) == []
    finally:
        for saver in savers:
            saver.close()


def _mutate(value: Any) -> None:
    """Change in place what was put: it must not change what is read."""
    if isinstance(value, list):
        value.append("changed afterwards")
    elif isinstance(value, dict):
        value["changed"] = "afterwards"


def test_every_tuple_is_independent_of_every_other(file_saver: EventLogSaver) -> None:
    chain = Chain(file_saver)
    for n in (10, 12, 12, 14):
        chain.put({"messages": messages(n), "d": {str(i): [TEXT * 20] for i in range(5)}})
    before = [told(t.checkpoint["channel_values"]) for t in file_saver.list(None)]
    for found in file_saver.list(None):
        values = found.checkpoint["channel_values"]
        values["messages"][0].content = "changed"
        values["messages"][1].additional_kwargs["changed"] = True
        values["d"]["0"].append("changed")
    assert [told(t.checkpoint["channel_values"]) for t in file_saver.list(None)] == before
    listed = list(file_saver.list(None))
    listed[0].checkpoint["channel_values"]["messages"][0].content = "changed"
    assert [told(t.checkpoint["channel_values"]) for t in listed[1:]] == before[1:]


@pytest.mark.parametrize(("times", "stored_as"), [(1, Splice), (3, Splice), (4, ListOf)])
def test_a_base_that_was_erased_meanwhile_is_not_referred_to(
    file_saver: EventLogSaver, monkeypatch: Any, times: int, stored_as: type
) -> None:
    """The append finds that the base is gone, and the put is encoded again: as the log has it, and at last in full."""
    chain = Chain(file_saver)
    chain.put({"messages": messages(10)})
    from langgraph_eventlog.eventlog import appender

    real, gone = appender.all_rows, iter([[]] * times)

    def all_rows(connection: Any, sql: str, bindings: Any = ()) -> Any:
        return next(gone, real(connection, sql, bindings))

    check = appender.check_bases

    def check_as_if_erased(connection: Any, bases: Any, *, head: int, erased: bool) -> None:
        check(connection, bases, head=head, erased=True)  # otherwise it need not look

    monkeypatch.setattr(appender, "all_rows", all_rows)
    monkeypatch.setattr(appender, "check_bases", check_as_if_erased)
    chain.put({"messages": messages(12)})
    assert [type(stored) for stored in chain.stored("messages")] == [ListOf, stored_as]
    found = file_saver.get_tuple(chain.config)
    assert found is not None
    assert len(found.checkpoint["channel_values"]["messages"]) == 12


def test_the_file_of_a_long_chat_grows_with_its_messages_not_with_their_square(tmp_path: Path) -> None:
    sizes = []
    for n in (60, 120):
        with EventLogSaver(tmp_path / f"{n}.db", synchronous="NORMAL") as saver:
            chain = Chain(saver)
            for i in range(1, n + 1):
                chain.put({"messages": messages(i)})
            sizes.append(sum(event.size for event in saver.log.read()))
    assert sizes[1] < 2.6 * sizes[0]


def test_a_put_that_would_refer_to_too_many_events_is_stored_in_full(
    file_saver: EventLogSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of tasks' writes, or of channels that changed last at different steps."""
    for module in (log_record, encoding):
        monkeypatch.setattr(module, "MAX_BASES", 12)
    chain, values = Chain(file_saver), {}
    for n in range(20):
        values[f"channel {n}"] = f"{n} {TEXT * 20}"
        chain.put(dict(values))
    assert all(not isinstance(event.data, Put) or len(bases_of(event.data)) <= 12 for event in file_saver.log.read())
    config = chain.put(values | {"messages": messages(40)})
    for n in range(40, 60):
        file_saver.put_writes(config, [("messages", [messages(60)[n]])], f"task {n}")
    expected = values | {"messages": messages(60)}
    config = chain.put(expected)
    found = file_saver.get_tuple(config)
    assert found is not None
    assert found.checkpoint["channel_values"] == expected
