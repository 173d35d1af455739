"""What is kept is stored once more without what goes: nothing that can be read changes, and nobody names the old."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog import Kind, Restate, RestateWrites
from langgraph_eventlog.eventlog.event import NewEvent, Prune, Removal
from langgraph_eventlog.eventlog.value import Carried, Edit, ListOf, Patch, Slice, Splice
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.saver.compaction.restating import restate_affected

from ..eventlog.independent_reader import read_log
from .affected import Plan, everything, named, pointed_at, restate, rows_at
from .test_similar_writes import edited

pytestmark = pytest.mark.slow

Make = Callable[..., EventLogSaver]
TEXT = "The quick brown fox jumps over the lazy dog. " * 4


class Serde:
    """A user's own: what it makes of a value, nobody else can read; and never twice the same."""

    def __init__(self) -> None:
        self._inner = JsonPlusSerializer()
        self._count = 0

    def dumps_typed(self, value: Any) -> tuple[str, bytes]:
        tag, data = self._inner.dumps_typed(value)
        self._count += 1
        return f"own:{tag}", self._count.to_bytes(4, "big") + data[::-1]

    def loads_typed(self, stored: tuple[str, bytes]) -> Any:
        tag, data = stored
        return self._inner.loads_typed((tag.removeprefix("own:"), data[4:][::-1]))


SERDES: dict[str, Callable[[], Any]] = {
    "JsonPlusSerializer": lambda: None,
    "encrypted": lambda: EncryptedSerializer.from_pycryptodome_aes(key=b"0123456789abcdef"),
    "another": Serde,
}


@pytest.fixture(params=SERDES)
def serde(request: pytest.FixtureRequest) -> Any:
    return SERDES[request.param]()


def config(id: str | None, thread: str = "t", ns: str = "") -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, **({"checkpoint_id": id} if id else {})}}


def message(n: int) -> Any:
    return (AIMessage if n % 2 else HumanMessage)(content=f"{n} {TEXT}", id=str(n))


def name(n: int) -> str:
    return f"{n:04}"


def put(saver: EventLogSaver, n: int, values: dict[str, Any], *, thread: str = "t", ns: str = "", **more: Any) -> None:
    parent = more.pop("parent", name(n - 1) if n else None)
    checkpoint: Any = {
        "v": 4,
        "id": name(n),
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": values,
        "channel_versions": {f"channel {i}": f"{n if i == n % 9 else 0:032}.5" for i in range(9)},
        "versions_seen": {"node": {f"channel {i}": f"{n:032}.5" for i in range(9)}, "__input__": {}},
        "rest": {n, "of it"},
    }
    about = {"step": n, "source": "loop", "thread_id": thread, "run_id": f"run {n // 4}"}
    saver.put(config(parent, thread, ns), checkpoint, {**about, **more}, {})


def turn(saver: EventLogSaver, n: int, chat: list[Any], thread: str = "t") -> None:
    """What a graph does in a step: writes at the checkpoint before, then the next."""
    said = message(n)
    if n:
        written = [("messages", [said]), ("d", [n]), ("document", edited(n))]
        saver.put_writes(config(name(n - 1), thread), written, f"task {n}")
    chat.append(said)
    keyed = {f"key {i}": f"{TEXT}{n if i == n % 5 else ''}" for i in range(5)}
    values = {
        "messages": list(chat),
        "keyed": keyed,
        "document": edited(n),
        "same": [TEXT * 10],
        "n": n,
        "vectors": b"".join(i.to_bytes(4, "big") for i in range(600)) + bytes([n]),
    }
    put(saver, n, values | ({"d": ["seed", n]} if n % 7 == 0 else {}), thread=thread)


def chat_of(saver: EventLogSaver, turns: int, thread: str = "t") -> list[Any]:
    chat: list[Any] = []
    for n in range(turns):
        turn(saver, n, chat, thread)
    return chat


def remove(saver: EventLogSaver, *ids: int, thread: str = "t", ns: str = "", hidden: tuple[int, ...] = ()) -> None:
    removal = Removal(thread, ns, tuple(map(name, ids)), tuple(map(name, hidden)))
    saver.log.append(NewEvent(Prune("retention", (), (removal,))))


def check(saver: EventLogSaver, **options: Any) -> Any:
    """Restate; everything is read as before, also by another, and after a rebuild; and nothing that goes is named."""
    before = everything(saver)
    plan = Plan.of(saver)
    rows = rows_at(saver, plan.affected)
    result = restate(saver, plan, **options)
    assert (result.checkpoints + result.writes, result.left) == (rows, 0)
    assert everything(saver) == before
    assert list(saver.log.verify()) == []
    assert named(saver) == set()
    assert not pointed_at(saver) & (plan.affected | plan.gone)
    if saver.path != ":memory:":
        with EventLogSaver(saver.path, serde=saver.serde) as other:
            assert everything(other) == before
    saver.rebuild()
    assert everything(saver) == before
    return result


def restated(saver: EventLogSaver) -> list[Any]:
    return [event.data for event in saver.log.read() if event.kind in (Kind.RESTATE, Kind.RESTATE_WRITES)]


def record_bytes(saver: EventLogSaver, after: int = 0) -> int:
    return sum(event.size for event in saver.log.read(after=after) if event.kind in (1, 2, 11, 12))


@pytest.mark.parametrize("where", ["file", ":memory:"])
def test_the_end_of_a_chat_is_kept_without_its_beginning(make_saver: Make, serde: Any, where: str) -> None:
    saver = make_saver(serde=serde) if where == "file" else make_saver(":memory:", serde=serde)
    chat_of(saver, 40)
    remove(saver, *range(25))
    result = check(saver)
    assert 0 < result.checkpoints <= 15
    assert result.writes > 0 or isinstance(serde, EncryptedSerializer)  # patches to what has gone
    assert result.transactions <= 15
    assert check(saver).checkpoints == 0


def test_what_the_middle_leaves_is_kept(make_saver: Make, serde: Any) -> None:
    saver = make_saver(serde=serde)
    chat_of(saver, 30)
    remove(saver, 10, 11, 12, 20, hidden=(3, 28))
    result = check(saver)
    assert 0 < result.checkpoints <= 26


def test_hidden_checkpoints_stay_hidden(make_saver: Make) -> None:
    saver = make_saver()
    chat_of(saver, 12)
    remove(saver, *range(6), hidden=(6, 7, 8))
    check(saver)
    listed = [found.config["configurable"]["checkpoint_id"] for found in saver.list(None)]
    assert listed == [name(n) for n in (11, 10, 9)]


def test_every_kind_of_difference_is_made_again(make_saver: Make) -> None:
    saver = make_saver()
    chat_of(saver, 30)
    remove(saver, *range(10))
    check(saver)
    values = [value for data in restated(saver) if isinstance(data, Restate) for value in data.put.channels.values()]
    assert {Carried, Splice, Edit, Patch, ListOf} <= set(map(type, values))
    assert any(isinstance(data, RestateWrites) for data in restated(saver))


def test_restating_the_end_of_a_chat_costs_what_it_cost_before(make_saver: Make) -> None:
    saver = make_saver(synchronous="NORMAL")
    chat: list[Any] = []
    for n in range(250):
        if n:
            saver.put_writes(config(name(n - 1)), [("messages", [message(n)])], f"task {n}")
        chat.append(message(n))
        put(saver, n, {"messages": list(chat), "document": TEXT * 20})
    cost = {event.position: event.size for event in saver.log.read()}
    remove(saver, *range(100))
    kept = sum(cost[position] for position in pointed_at(saver))
    head = saver.log.head().position
    result = check(saver)
    assert result.checkpoints == 150
    added = record_bytes(saver, after=head)
    assert added == result.bytes
    assert added < 1.5 * kept, (added, kept)
    # What tasks have written, and stays, is not stored again.
    spliced = [data.put.channels["messages"] for data in restated(saver)]
    inserted = [type(element) for value in spliced if isinstance(value, Splice) for element in value.inserted]
    assert inserted.count(Slice) > 140


def test_copies_of_what_was_restated_refer_to_it(make_saver: Make) -> None:
    saver = make_saver()
    chat_of(saver, 20)
    for n in range(5):
        saver.copy_thread("t", f"copy {n}")
    saver.copy_thread("copy 1", "copy of a copy")
    for thread in ("t", *(f"copy {n}" for n in range(5)), "copy of a copy"):
        remove(saver, *range(8), thread=thread)
    head = saver.log.head().position
    result = check(saver)
    assert result.checkpoints > 9 * 7
    count = result.checkpoints // 7
    events = [event for event in saver.log.read(after=head) if isinstance(event.data, Restate)]
    copies = [event for event in events if event.thread_id != "t"]
    assert len(copies) == count * 6
    assert {type(value) for event in copies for value in event.data.put.channels.values()} == {Carried}
    first = sum(event.size for event in events if event.thread_id == "t")
    assert sum(event.size for event in copies) < 6 * first
    metadata = [found.metadata["thread_id"] for found in saver.list(config(None, "copy of a copy"))]
    assert metadata == ["copy of a copy"] * 12


def test_copies_of_restates_are_restated_too(make_saver: Make) -> None:
    saver = make_saver()
    chat = chat_of(saver, 16)
    saver.copy_thread("t", "before")
    remove(saver, *range(4))
    remove(saver, *range(4), thread="before")
    check(saver)
    saver.copy_thread("t", "after")
    saver.fork_thread(config(name(12)), "fork")
    turn(saver, 16, chat)
    for thread in ("t", "before", "after"):
        remove(saver, *range(4, 9), thread=thread)
    saver.delete_thread("before")
    check(saver)
    saver.delete_thread("t")
    remove(saver, 9, 10, 11, thread="after")
    count = 0
    for n in range(4, 12):
        remove(saver, n, thread="fork")
        count += check(saver).checkpoints
    assert count > 0


def test_a_copy_outlives_the_thread_that_was_copied(make_saver: Make) -> None:
    saver = make_saver()
    chat_of(saver, 12)
    saver.fork_thread(config(name(11)), "fork")
    remove(saver, *range(8), thread="fork")
    saver.delete_thread("t")
    # 9 has all of its values itself; 8, 10 and 11 refer to what goes, the latter two through writes.
    result = check(saver)
    assert (result.checkpoints, result.writes) == (3, 3)


def test_ids_that_were_put_again_are_restated_as_they_are_now(make_saver: Make) -> None:
    """Parents may stand behind their children, and even be their own grandchildren."""
    saver = make_saver()
    chat_of(saver, 12)
    put(saver, 4, {"same": [TEXT * 10], "n": "again"}, parent=name(9))
    put(saver, 9, {"same": [TEXT * 10], "n": "again", "keyed": {"a": TEXT * 4, "b": TEXT * 4}}, parent=name(4))
    put(saver, 2, {"same": [TEXT * 10]}, parent=name(2))
    remove(saver, 0, 1, 3)
    assert check(saver).checkpoints > 0


def test_writes_keep_their_order_and_what_they_replace(make_saver: Make) -> None:
    saver = make_saver()
    put(saver, 0, {"x": 1})
    first = [("document", edited(1)), ("__resume__", 1)]
    saver.put_writes(config(name(0)), first, "task 0")
    # Before their checkpoint; again, of which the first counts; and in a special channel, of which the last does.
    for n in range(1, 4):
        saver.put_writes(config(name(1)), [("document", edited(n)), ("__resume__", edited(n))], "task")
        saver.put_writes(config(name(1)), [("document", edited(n)), ("d", n)], f"other {n}")
        saver.put_writes(config("never put"), [("document", edited(n + 5))], f"another {n}")
    put(saver, 1, {"x": 2})
    saver.copy_thread("t", "copy")
    remove(saver, 0)
    remove(saver, 0, thread="copy")
    result = check(saver)
    assert result.writes > 6
    saver.put_writes(config(name(1)), [("document", "late"), ("__resume__", "late")], "task")
    found = saver.get_tuple(config(name(1)))
    assert found is not None
    documents = [value for task, channel, value in found.pending_writes or [] if task == "task"]
    assert sorted(documents) == sorted([edited(1), "late"])
    assert check(saver).writes == 0


def test_namespaces_have_their_own_parents(make_saver: Make) -> None:
    saver = make_saver()
    for ns in ("", "sub:1", "sub:1|deep"):
        for n in range(6):
            put(saver, n, {"same": [TEXT * 10, ns], "n": n}, ns=ns)
    for ns in ("", "sub:1", "sub:1|deep"):
        remove(saver, 0, 1, ns=ns)
    assert check(saver).checkpoints == 12


def test_what_loses_a_little_is_not_stored_anew_each_time(make_saver: Make) -> None:
    """Unless it is asked for: rolling retention would write everything again and again."""
    saver = make_saver()
    for thread, kept in (("little", 36), ("much", 6)):
        for n in range(40):
            put(saver, n, {"document": TEXT * 20 + str(n // 30), "chat": [message(i) for i in range(n)]}, thread=thread)
        remove(saver, *range(40 - kept), thread=thread)
    before = everything(saver)
    restate(saver, thorough=False)
    assert {event.thread_id for event in saver.log.read(kinds=[Kind.RESTATE])} == {"much"}
    assert everything(saver) == before
    assert check(saver).checkpoints > 30


def test_any_live_record_may_be_the_one_that_goes(make_saver: Make, serde: Any) -> None:
    chance = random.Random(1)
    saver = make_saver(serde=serde)
    chat_of(saver, 12)
    saver.copy_thread("t", "copy")
    for _ in range(6):
        before = everything(saver)
        also = {position for position in pointed_at(saver) if chance.random() < 0.2}
        plan = Plan.of(saver, also)
        restate(saver, plan)
        assert everything(saver) == before
        assert not pointed_at(saver) & plan.affected
        assert not named(saver) & (plan.affected | plan.gone)
    check(saver)


def test_a_state_that_is_large_is_hashed_and_compressed_before_the_lock_is_taken(
    make_saver: Make, monkeypatch: Any
) -> None:
    from langgraph_eventlog.eventlog import appender, record
    from langgraph_eventlog.saver.compaction import reencoding

    saver = make_saver()
    large = random.Random(1).randbytes(600_000)
    for n in range(6):
        put(saver, n, {"large": large, "n": n, "grows": [large[: 50_000 * i] for i in range(n)]})
    remove(saver, 0, 1, 2)
    under_lock: list[int] = []

    def watch(module: Any, name: str) -> None:
        real = getattr(module, name)

        def watching(data: bytes, *more: Any, **options: Any) -> Any:
            if saver.log.database.write_lock.owned():
                under_lock.append(len(data))
            return real(data, *more, **options)

        monkeypatch.setattr(module, name, watching)

    watch(reencoding, "digest_of")
    watch(record, "_compressed")
    watch(appender, "digest_of")
    assert check(saver).checkpoints == 3
    assert max(under_lock, default=0) < 256 * 1024


def test_transactions_become_as_large_as_fits_and_each_is_followed_by_a_pause(make_saver: Make) -> None:
    saver = make_saver()
    chat_of(saver, 60)
    remove(saver, *range(10))
    now, told = [0.0], list[str]()

    def clock() -> float:
        now[0] += 0.0001
        return now[0]

    class Pace:
        @contextmanager
        def transaction(self) -> Iterator[None]:
            assert not saver.log.database.write_lock.owned()
            yield
            told.append("ended")

        def begun(self) -> None:
            assert saver.log.database.write_lock.owned()
            told.append("begun")

    result = check(saver, clock=clock, pace=Pace())
    assert told == ["begun", "ended"] * result.transactions
    assert result.longest_hold_us > 0
    assert result.transactions < result.checkpoints / 2


def test_a_row_that_changes_meanwhile_is_encoded_again(make_saver: Make, monkeypatch: Any) -> None:
    saver, other = make_saver(), make_saver()
    chat_of(saver, 8)
    remove(saver, 0, 1)
    plan = Plan.of(saver)
    from langgraph_eventlog.saver.compaction import restating

    real = restating._Work._append
    happens = iter([lambda: remove(other, 5, hidden=(3,)), lambda: put(other, 6, {"other": 1}), other.rebuild])

    def append(*args: Any) -> Any:
        next(happens, lambda: None)()
        return real(*args)

    monkeypatch.setattr(restating._Work, "_append", append)
    restate(saver, plan)
    listed = [found.config["configurable"]["checkpoint_id"] for found in saver.list(None)]
    assert listed == [name(n) for n in (7, 6, 4, 2)]
    found = saver.get_tuple(config(name(6)))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"other": 1}
    assert not named(saver) & plan.gone


def test_killed_in_between_it_goes_on_where_it_was(make_saver: Make) -> None:
    saver = make_saver()
    chat_of(saver, 30)
    saver.copy_thread("t", "copy")
    for thread in ("t", "copy"):
        remove(saver, *range(10), thread=thread)
    before = everything(saver)

    class Killed(Exception):
        pass

    class Pace:
        @contextmanager
        def transaction(self) -> Iterator[None]:
            yield
            raise Killed

        def begun(self) -> None:
            pass

    for _ in range(3):
        with pytest.raises(Killed):
            restate(saver, pace=Pace())
        assert everything(saver) == before
        assert list(saver.log.verify()) == []
    assert check(saver).checkpoints > 0


def test_elements_that_a_later_version_has_added_are_kept(make_saver: Make, monkeypatch: Any) -> None:
    from langgraph_eventlog.eventlog import body
    from langgraph_eventlog.eventlog.plain import unpack
    from langgraph_eventlog.eventlog.record import decode

    saver = make_saver()
    with monkeypatch.context() as later:
        real = body._to_array
        later.setattr(body, "_to_array", lambda data, index: [*real(data, index), "later"])
        chat_of(saver, 4)
    remove(saver, 0, 1)
    check(saver)
    with saver.log.database.reading() as connection:
        records = connection.execute("SELECT record FROM event WHERE kind = 11").fetchall()
    assert [unpack(decode(record)[1])[-1] for (record,) in records] == ["later"] * 2


def test_a_projection_of_a_user_is_told_of_what_stands_in_the_log(make_saver: Make) -> None:
    told: list[Any] = []

    class Values:
        name, schema_version, tables = "values", 1, ("told",)

        def ddl(self) -> list[str]:
            return ["CREATE TABLE told (position INTEGER)"]

        def reset(self) -> None:
            pass

        def apply(self, event: Any) -> None:
            if isinstance(event.data, Restate):
                told.append((event.position, event.data))

    saver = make_saver(projections=[Values()])
    chat_of(saver, 12)
    remove(saver, *range(4))
    result = check(saver)
    by_position = {event.position: event.data for event in saver.log.read(kinds=[Kind.RESTATE])}
    assert dict(told) == by_position
    assert len(by_position) == result.checkpoints > 0


def test_of_what_was_put_since_its_records_tell(make_saver: Make) -> None:
    """A plan is made before: what comes after it refers to what goes as well, and is restated in the same run."""
    saver = make_saver()
    chat = chat_of(saver, 10)
    remove(saver, 0, 1, 2)
    plan = Plan.of(saver)
    for n in range(10, 14):
        turn(saver, n, chat)
    saver.put_writes(config(name(13)), [("document", edited(3))], "like before")
    before = everything(saver)
    result = restate_affected(saver._core, is_affected=plan.is_affected, goes=plan.goes, upto=plan.upto)
    assert result.checkpoints == 10
    assert everything(saver) == before
    assert named(saver) == set()


@pytest.mark.plain_file("the reader has no key")
def test_a_reader_written_from_the_format_alone_reads_the_same(make_saver: Make) -> None:
    saver = make_saver()
    chat_of(saver, 16)
    saver.copy_thread("t", "copy")
    for thread in ("t", "copy"):
        remove(saver, *range(6), hidden=(6, 7), thread=thread)

    def read() -> Any:
        log = read_log(saver.path)
        checkpoints = {
            key: (one.hidden, one.metadata, one.event.put[:2], one.event.put[6:], one.event.values)
            for key, one in log.checkpoints.items()
        }
        return checkpoints, {key: log.writes(key) for key in [*checkpoints]}

    before = read()
    assert check(saver).writes > 0
    assert read() == before
