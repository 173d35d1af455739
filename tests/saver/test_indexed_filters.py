"""Filters through an index give what comparing everything gives, and read little else."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from langgraph_eventlog.eventlog.errors import ConfigError
from langgraph_eventlog.saver import EventLogSaver, decoding, filters, listing

Make = Callable[..., EventLogSaver]

TEXTS = ["", "1", "1.0", "True", "a", "A", "a' OR '1'='1", "\ud800", "é", "x" * 256, "x" * 257, "x" * 300]
NUMBERS = [0, 1, True, False, 1.0, -0.0, 1.5, 2**53 + 1, float(2**53), 2**63, float(2**63), 10**400, math.inf]
OTHERS = [None, math.nan, b"", b"a", [], [1], {}, {"b": 1}, UUID(int=1), str(UUID(int=1)), Decimal(1), Decimal("1.5")]
VALUES: list[Any] = [*TEXTS, *NUMBERS, *OTHERS]


def ids(saver: EventLogSaver, config: Any = None, **options: Any) -> list[str]:
    return [found.config["configurable"]["checkpoint_id"] for found in saver.list(config, **options)]


def put(saver: EventLogSaver, twin: Any, n: int, thread: str, ns: str, metadata: Any) -> None:
    """With the metadata just as it is: `put` would take NULs out, and turn UUIDs of runs into text."""
    config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": ns}}
    saver.put(config, twin.checkpoint(f"{n:03}", {}, {}), metadata, {})


@pytest.fixture
def filled(make_saver: Make, sync_twin: Any) -> EventLogSaver:
    """Every value under every kind of key, over threads and namespaces."""
    saver = make_saver(synchronous="NORMAL", indexed_metadata=["user", "deep.er"])
    for n, value in enumerate(VALUES):
        names = {
            name: VALUES[(n + i) % len(VALUES)] for i, name in enumerate(["source", "step", "run_id", "user", "x"])
        }
        metadata = {**names, "deep": {"er": value}} if n % 5 else {**names, "deep.er": value}
        put(saver, sync_twin, n, f"t{n % 2}", "" if n % 3 else "sub", metadata)
    return saver


@pytest.mark.parametrize("name", ["source", "step", "run_id", "user", "deep.er", "deep", "x", "nowhere"])
def test_every_value_is_found_as_without_an_index(
    filled: EventLogSaver, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    configs: list[Any] = [None, {"configurable": {"thread_id": "t1"}}]
    configs += [{"configurable": {"thread_id": "t1", "checkpoint_ns": ns}} for ns in ("", "sub")]
    for value in [*VALUES, Decimal(2), "2", UUID(int=2), float("1e300"), -(2**63)]:
        for config in configs:
            for more in ({}, {"limit": 2}, {"before": {"configurable": {"checkpoint_id": "020"}}}):
                with monkeypatch.context() as without:
                    without.setattr(filters, "_INDEXED_TYPES", ())
                    without.setattr(filters, "run_key", lambda _: None)
                    expected = ids(filled, config, filter={name: value}, **more)
                assert ids(filled, config, filter={name: value}, **more) == expected, (value, config, more)


def test_the_values_are_found_at_all(filled: EventLogSaver) -> None:
    found = {repr(value): len(ids(filled, filter={"user": value})) for value in VALUES}
    assert found == {
        **dict.fromkeys(found, 1),
        **dict.fromkeys(["1", "True", "1.0", "Decimal('1')"], 4),
        **dict.fromkeys(["0", "False", "-0.0"], 3),
        **dict.fromkeys(["1.5", "Decimal('1.5')", "9223372036854775808"], 2),
        repr(float(2**63)): 2,
        repr(UUID(int=1)): 2,
        repr(str(UUID(int=1))): 2,
        "nan": 0,
    }


def test_several_keys_must_match_whichever_index_is_read(filled: EventLogSaver) -> None:
    metadata = next(found.metadata for found in filled.list(None, filter={"user": "a"}))
    names = ["source", "step", "run_id", "user", "x"]
    for without in names:
        filter = {name: metadata[name] for name in names if name != without}
        assert len(ids(filled, filter=filter)) == 1
        assert ids(filled, filter={**filter, without: "something else"}) == []
    assert ids(filled, filter={"x": [], "run_id": "nobody's"}) == []


@pytest.fixture
def many(make_saver: Make, sync_twin: Any) -> EventLogSaver:
    """300 checkpoints, three of each run, in ten threads."""
    saver = make_saver(synchronous="NORMAL", indexed_metadata=["user", "deep.er"])
    for n in range(300):
        metadata = {"source": "input" if n % 100 == 7 else "loop", "step": n // 3, "run_id": f"r{n // 3}", "x": n // 3}
        metadata |= {"user": f"u{n // 3}", "deep": {"er": n // 3}}
        put(saver, sync_twin, n, f"t{n % 10}", "" if n % 20 < 10 else "sub", metadata)
    return saver


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What of the metadata was decoded to be compared."""
    seen: list[Any] = []
    original = listing.load_metadata

    def load(serde: Any, packed: bytes) -> Any:
        seen.append(original(serde, packed))
        return seen[-1]

    monkeypatch.setattr(listing, "load_metadata", load)
    return seen


@pytest.mark.parametrize(
    "filter",
    [
        {"run_id": "r50"},
        {"user": "u50"},
        {"deep.er": 50.0},
        {"step": 50},
        {"source": "input"},
        {"source": "loop", "step": 50},
        {"source": "loop", "step": 50, "x": 50, "user": "u50", "run_id": "r50"},
        {"x": 50, "deep.er": 50, "source": "loop"},
        {"run_id": UUID(int=1)},
    ],
    ids=repr,
)
def test_only_what_may_match_is_read(many: EventLogSaver, compared: list[Any], filter: Any) -> None:
    found = ids(many, filter=filter)
    assert len(compared) == len(found) == (0 if filter == {"run_id": UUID(int=1)} else 3)


@pytest.mark.parametrize("filter", [{"run_id": "r50"}, {"step": 50, "x": 50}, {"source": "input"}], ids=repr)
def test_within_a_thread_only_what_may_match_is_read(many: EventLogSaver, compared: list[Any], filter: Any) -> None:
    everywhere = ids(many, filter=filter)
    for namespaces in (["", "sub"], [None]):
        compared.clear()
        found = []
        for named in ({"thread_id": f"t{n}", "checkpoint_ns": ns} for n in range(10) for ns in namespaces):
            found += ids(many, {"configurable": {k: v for k, v in named.items() if v is not None}}, filter=filter)
        assert sorted(found, reverse=True) == everywhere
        assert len(compared) == 3


def test_other_keys_go_through_everything(many: EventLogSaver, compared: list[Any]) -> None:
    assert len(ids(many, filter={"x": 50})) == 3
    assert len(compared) == 300


def test_a_value_that_only_the_serializer_reads_does_not_slow_down_others(
    many: EventLogSaver, compared: list[Any], sync_twin: Any
) -> None:
    put(many, sync_twin, 900, "t", "", {"user": UUID(int=1), "run_id": "r", "step": Decimal(7)})
    assert ids(many, filter={"user": "u50", "source": "loop"}) == ["152", "151", "150"]
    assert len(compared) == 4
    assert ids(many, filter={"user": str(UUID(int=1))}) == ids(many, filter={"user": UUID(int=1)}) == ["900"]
    assert ids(many, filter={"step": 7}) == ["900", "023", "022", "021"]


def test_pages_go_on_where_they_ended_whatever_happens_meanwhile(many: EventLogSaver, sync_twin: Any) -> None:
    for n in range(400, 500):
        put(many, sync_twin, n, "t", "", {"user": "often"})
    for filter in ({"user": "often"}, {"source": "loop"}):
        expected = ids(many, filter=filter)
        found = []
        for n, one in enumerate(many.list(None, filter=filter)):
            found.append(one.config["configurable"]["checkpoint_id"])
            if n == 20:
                many.rebuild()
                put(many, sync_twin, 600 + n, "new", "", {"user": "often", "source": "loop"})
        assert found == expected


@pytest.mark.parametrize(
    "wrong", ["user", b"user", ["it's"], ["a b"], [""], ["a\0"], [1], [None], None, 5, ["fine", "not fine"]], ids=repr
)
def test_keys_that_no_filter_could_name_are_refused(make_saver: Make, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="indexed_metadata") as raised:
        make_saver(indexed_metadata=wrong)
    assert isinstance(raised.value, ValueError)


def test_what_is_always_indexed_is_not_indexed_twice(make_saver: Make, sync_twin: Any) -> None:
    saver = make_saver(indexed_metadata=["run_id", "step", "source", "user", "user"])
    put(saver, sync_twin, 1, "t", "", {"run_id": "r", "step": 1, "source": "loop", "user": "ann"})
    with saver.log.database.reading() as connection:
        assert connection.execute("SELECT name, value FROM metadata_index").fetchall() == [("user", "ann")]


@pytest.mark.parametrize("filter", [None, {"source": "loop"}, {"nothing": None}], ids=repr)
def test_no_more_is_read_from_the_log_than_the_limit_asks_for(
    many: EventLogSaver, monkeypatch: pytest.MonkeyPatch, filter: Any
) -> None:
    gathered: list[Any] = []
    original = decoding.Gatherer.gather_page

    def gather(self: Any, rows: Any) -> Any:
        gathered.extend(row.checkpoint_id for row in rows)
        return original(self, rows)

    monkeypatch.setattr(decoding.Gatherer, "gather_page", gather)
    for limit in (0, 1, 5, 20, 70):
        gathered.clear()
        assert ids(many, filter=filter, limit=limit) == gathered
        assert len(gathered) == limit
