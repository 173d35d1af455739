"""Reading looks at little more than what is asked for: queries and records are counted."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph_eventlog.eventlog import record
from langgraph_eventlog.eventlog.reader import EventReader
from langgraph_eventlog.projections import history, pending_writes
from langgraph_eventlog.saver import EventLogSaver

TEXT = "The quick brown fox jumps over the lazy dog. " * 5
CONFIG: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts what is asked of the projections `history` and `pending_writes`."""
    counted: Counter[str] = Counter()

    def counting(name: str, ask: Any) -> Any:
        def asking(*args: Any) -> Any:
            counted[name] += 1
            return ask(*args)

        return asking

    for module, name in ((history, "history"), (pending_writes, "pending_writes")):
        monkeypatch.setattr(module, "all_rows", counting(name, module.all_rows))
    monkeypatch.setattr(history, "one_row", counting("history", history.one_row))
    return counted


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The positions of the records that are asked for, in memory or not."""
    positions: list[int] = []
    open_record = EventReader.open

    def noting(self: EventReader, connection: Any, position: int, known: Any = None) -> Any:
        positions.append(position)
        return open_record(self, connection, position, known)

    monkeypatch.setattr(EventReader, "open", noting)
    return positions


@pytest.fixture
def decompressed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the records that are read and decompressed."""
    sizes: list[int] = []
    decode = record.decode

    def noting(encoded: bytes, *others: Any) -> tuple[tuple[int, ...], bytes]:
        bases, body = decode(encoded, *others)
        sizes.append(len(body))
        return bases, body

    monkeypatch.setattr(record, "decode", noting)
    return sizes


def put(saver: EventLogSaver, id: str, parent: str | None, values: dict[str, Any]) -> Any:
    """Put a checkpoint; give its config."""
    checkpoint: Any = {
        "v": 4,
        "id": id,
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": values,
        "channel_versions": {},
        "versions_seen": {},
    }
    config = {"configurable": CONFIG["configurable"] | ({"checkpoint_id": parent} if parent else {})}
    return saver.put(config, checkpoint, {}, {})


def fill(saver: EventLogSaver, steps: int, *, seed_at: int | None = None, messages: bool = False) -> None:
    """Put a path of checkpoints, each with a write; two events a step."""
    parent: dict[str, Any] = {}
    said: list[Any] = []
    for n in range(steps):
        said = [*said, HumanMessage(f"{n} {TEXT}", id=str(n))] if messages else []
        values: dict[str, Any] = {"d": "seed"} if n == seed_at else {"messages": said} if messages else {}
        checkpoint: Any = {
            "v": 4,
            "id": f"{n:06}",
            "ts": "2026-01-01T00:00:00+00:00",
            "channel_values": values,
            "channel_versions": {},
            "versions_seen": {},
        }
        config = saver.put({"configurable": CONFIG["configurable"] | parent}, checkpoint, {"step": n}, {})
        saver.put_writes(config, [("d", n)], f"task {n}")
        parent = {"checkpoint_id": f"{n:06}"}


def test_a_path_of_ancestors_is_a_few_queries(make_saver: Any, queries: Counter[str]) -> None:
    saver = make_saver(synchronous="NORMAL")
    fill(saver, 400)
    queries.clear()
    found = saver.get_delta_channel_history(config=CONFIG, channels=["d"])["d"]
    assert [write[2] for write in found["writes"]] == list(range(399))
    assert "seed" not in found
    assert queries["history"] <= 8
    assert queries["pending_writes"] <= 10


def test_beyond_the_seed_no_record_is_read_and_few_rows(make_saver: Any, opened: list[int]) -> None:
    saver = make_saver(synchronous="NORMAL")
    fill(saver, 400, seed_at=380)
    opened.clear()
    found = saver.get_delta_channel_history(config=CONFIG, channels=["d"])["d"]
    assert found["seed"] == "seed"
    assert [write[2] for write in found["writes"]] == list(range(380, 399))
    assert min(opened) == 2 * 380 + 1
    with saver.log.database.reading() as connection:
        row = saver._core.views.history.latest(connection, 1)
        sizes = [len(some) for some in saver._core.views.history.generations(connection, row)]
    assert sizes[0] <= 16
    assert all(after <= 4 * before for before, after in pairwise(sizes))
    assert sum(sizes) == 399


@pytest.mark.parametrize("branches", [2, 3, 7])
def test_a_path_is_found_among_other_branches(make_saver: Any, queries: Counter[str], branches: int) -> None:
    saver = make_saver(synchronous="NORMAL")
    parents: list[str | None] = [None] * branches
    for n in range(400):
        branch = n % branches
        config = put(saver, f"{n:06}", parents[branch], {})
        saver.put_writes(config, [("d", n)], f"task {n}")
        parents[branch] = f"{n:06}"
    queries.clear()
    for last in parents:
        config = {"configurable": CONFIG["configurable"] | {"checkpoint_id": last}}
        found = saver.get_delta_channel_history(config=config, channels=["d"])["d"]
        assert [write[2] for write in found["writes"]] == list(
            range(int(last or 0) % branches, int(last or 0), branches)
        )
    assert queries["history"] <= 10 * branches
    assert queries["pending_writes"] <= 14 * branches


def test_a_path_whose_ids_are_in_any_order_is_found(make_saver: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    ids = [f"{n:06}" for n in range(150)]
    random.Random(5).shuffle(ids)
    for n, (parent, id) in enumerate(zip([None, *ids], ids, strict=False)):
        saver.put_writes(put(saver, id, parent, {}), [("d", n)], "task")
    for n in (149, 100, 1, 0):
        config = {"configurable": CONFIG["configurable"] | {"checkpoint_id": ids[n]}}
        found = saver.get_delta_channel_history(config=config, channels=["d"])["d"]
        assert [write[2] for write in found["writes"]] == list(range(n))


def test_a_listing_asks_for_the_writes_of_a_page_at_once(make_saver: Any, queries: Counter[str]) -> None:
    saver = make_saver(synchronous="NORMAL")
    fill(saver, 200)
    queries.clear()
    listed = list(saver.list(CONFIG))
    assert [found.pending_writes[0][2] for found in listed] == list(range(199, -1, -1))
    assert queries["pending_writes"] <= 8


def test_a_listing_follows_no_difference_twice(make_saver: Any, opened: list[int]) -> None:
    """Each step's records are its own, and its base's: so what is asked for grows with the checkpoints alone."""
    asked = {}
    for steps in (100, 200):
        saver = make_saver(":memory:", synchronous="NORMAL")
        fill(saver, steps, messages=True)
        opened.clear()
        assert len(list(saver.list(CONFIG))) == steps
        asked[steps] = len(opened)
    assert asked[200] < 2.6 * asked[100]


def test_what_was_read_before_is_not_followed_again(make_saver: Any, opened: list[int]) -> None:
    saver = make_saver(synchronous="NORMAL")
    fill(saver, 60, messages=True)
    saver.get_tuple(CONFIG)
    opened.clear()
    saver.get_tuple(CONFIG)
    assert len(opened) <= 2


def test_writes_of_several_checkpoints_are_those_of_each(make_saver: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    fill(saver, 150)
    saver.put_writes({"configurable": CONFIG["configurable"] | {"checkpoint_id": "000007"}}, [("d", 1)], "another")
    table = saver._core.views.pending_writes
    ids = [f"{n:06}" for n in range(160)]
    with saver.log.database.reading() as connection:
        for some in (ids, ids[:1], ids[3:9], ids[5:69], ids[5:70], ids[::-1], []):
            expected = {id: rows for id in some if (rows := table.of(connection, 1, id))}
            assert table.of_several(connection, 1, some) == expected
        assert table.of_several(connection, 2, ids) == {}


@pytest.mark.parametrize("tasks", [1, 3, 10, 40])
@pytest.mark.parametrize("apart", [1, 2, 30])
def test_writes_of_several_checkpoints_are_those_of_each_however_many(make_saver: Any, tasks: int, apart: int) -> None:
    saver = make_saver(":memory:", synchronous="NORMAL")
    for n in range(70):
        config = {"configurable": CONFIG["configurable"] | {"checkpoint_id": f"{n:06}"}}
        for task in range(tasks if n % 3 else 1):
            saver.put_writes(config, [("d", n)], f"task {task}")
    table = saver._core.views.pending_writes
    ids = [f"{n:06}" for n in range(0, 75, apart)]
    with saver.log.database.reading() as connection:
        expected = {id: rows for id in ids if (rows := table.of(connection, 1, id))}
        assert table.of_several(connection, 1, ids) == expected


@pytest.mark.parametrize("memory_bytes", [0, 100_000])
def test_a_record_that_is_too_large_to_be_kept_is_read_once_for_all_its_values(
    make_saver: Any, decompressed: list[int], memory_bytes: int
) -> None:
    values = {f"channel {n}": f"{n} {TEXT}" for n in range(500)}
    with EventLogSaver(make_saver().path) as writer:
        put(writer, "1", None, values)
        put(writer, "2", "1", values | {"channel 0": "new"})
    saver = make_saver(memory_bytes=memory_bytes)
    decompressed.clear()
    assert saver.get_tuple(CONFIG).checkpoint["channel_values"] == values | {"channel 0": "new"}
    assert len(decompressed) == 2
    decompressed.clear()
    put(saver, "3", "2", values)
    assert len(decompressed) == 2


@pytest.mark.parametrize("memory_bytes", [0, 100_000])
def test_writes_that_are_too_large_to_be_kept_are_read_once_for_all_their_elements(
    make_saver: Any, decompressed: list[int], memory_bytes: int
) -> None:
    said = [HumanMessage(f"{n} {TEXT}", id=str(n)) for n in range(600)]
    with EventLogSaver(make_saver().path) as writer:
        config = put(writer, "1", None, {"messages": said[:100]})
        writer.put_writes(config, [("messages", said[100:])], "task")
        put(writer, "2", "1", {"messages": said})
        kept = next(iter(writer.log.read(after=2)))
        assert kept.size < 20_000, "slices, or this test shows nothing"
    saver = make_saver(memory_bytes=memory_bytes)
    decompressed.clear()
    assert saver.get_tuple(CONFIG).checkpoint["channel_values"] == {"messages": said}
    assert len(decompressed) == 3


@pytest.mark.parametrize("form", ["list", "dict"])
def test_what_a_value_has_lost_is_not_read_for_ever(make_saver: Any, decompressed: list[int], form: str) -> None:
    def put_all(saver: EventLogSaver) -> Any:
        large = [f"{n} {TEXT}" for n in range(1000)]
        small = large[:8]
        for n in range(30):
            given = large if n == 0 else [*small[:-1], f"{n} {TEXT}"]
            value: Any = given if form == "list" else {str(i): element for i, element in enumerate(given)}
            put(saver, f"{n:03}", f"{n - 1:03}" if n else None, {"c": value})
        return value

    with EventLogSaver(make_saver().path) as writer:
        value = put_all(writer)
    saver = make_saver()
    decompressed.clear()
    assert saver.get_tuple(CONFIG).checkpoint["channel_values"] == {"c": value}
    assert sum(decompressed) < 3 * 8 * len(TEXT) + 2_000


def random_text(seed: int, size: int) -> str:
    return "".join(random.Random(seed).choices("abcdefghij klmnopqrst", k=size))


def message(n: int, size: int = 200) -> HumanMessage:
    return HumanMessage(f"{n} {random_text(n, size)}", id=str(n))


def beside_documents(n: int, state: dict[str, Any]) -> dict[str, Any]:
    """A task adds a message, and replaces documents that are much larger than that."""
    return {"x": [*state.get("x", []), message(n)], "documents": random_text(n, 40_000)}


def mostly_replaced(n: int, state: dict[str, Any]) -> dict[str, Any]:
    return {"x": [message(0), *(message(m, 3_000) for m in range(10 * n, 10 * n + 9))]}


def one_of_many_channels(n: int, state: dict[str, Any]) -> dict[str, Any]:
    return {**(state or {f"channel {i}": random_text(i, 100) for i in range(200)}), f"channel {n % 200}": str(n) * 30}


@pytest.mark.parametrize("process", ["one", "a new one each time"])
@pytest.mark.parametrize("step", [beside_documents, mostly_replaced, one_of_many_channels])
def test_a_checkpoint_is_read_from_a_few_times_its_size(
    make_saver: Any, decompressed: list[int], step: Any, process: str
) -> None:
    """Whatever else stands in the events that its values refer to."""
    saver = make_saver(synchronous="NORMAL")
    config, state, ratios = CONFIG, {}, []
    for n in range(60):
        if process != "one" and n % 4 == 0:
            saver.close()
            saver = make_saver(path=saver.path, synchronous="NORMAL")
        new = step(n, state)
        changed = [(name, value) for name, value in new.items() if state.get(name) is not value]
        if n:
            saver.put_writes(config, changed, f"task {n}")
        state = new
        config = put(saver, f"{n:03}", f"{n - 1:03}" if n else None, state)
        if n % 10 == 9:
            with EventLogSaver(saver.path, read_only=True) as reader:
                decompressed.clear()
                found = reader.get_tuple(config)
            assert found is not None
            assert found.checkpoint["channel_values"] == state
            size = sum(len(reader.serde.dumps_typed(value)[1]) for value in state.values())
            ratios.append((sum(decompressed) - 100_000) / size)
    assert max(ratios) < 4
