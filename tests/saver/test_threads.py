"""Threads: registering, listing, counting; what forgets a thread, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from langgraph_eventlog.eventlog import ConfigError, EventLog, Kind
from langgraph_eventlog.saver import EventLogSaver, ThreadInfo

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return (self.now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    def go(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


@pytest.fixture
def still() -> Clock:
    return Clock()


@pytest.fixture(params=["file", ":memory:"])
def twin(request: pytest.FixtureRequest, make_saver: Callable[..., EventLogSaver], twin_of: Any, still: Clock) -> Any:
    """Sync and async, on a file and in memory, with a clock that the test moves."""
    path = None if request.param == "file" else ":memory:"
    return twin_of(make_saver(path, synchronous="NORMAL", clock=still))


def listed(twin: Any, **options: Any) -> list[ThreadInfo]:
    if twin.runner is None:
        return list(twin.saver.threads(**options))

    async def collect() -> list[ThreadInfo]:
        return [info async for info in twin.saver.athreads(**options)]

    return twin.runner.run(collect())


def ids(twin: Any, **options: Any) -> list[str]:
    return [info.thread_id for info in listed(twin, **options)]


def the(twin: Any, thread_id: str) -> ThreadInfo:
    (found,) = [info for info in listed(twin) if info.thread_id == thread_id]
    return found


def kinds(log: EventLog) -> list[Kind]:
    return [event.kind for event in log.read()]


def test_an_empty_log_has_no_threads(twin: Any) -> None:
    assert listed(twin) == []


def test_a_thread_is_counted_without_reading_it(twin: Any, still: Clock) -> None:
    first = still.go(1)
    twin.put("1", {"x": 1}, metadata={"source": "input", "step": -1})
    still.go(1)
    twin.put("2", {"x": 2}, parent="1", metadata={"source": "loop", "step": 0})
    twin.put("a", {"x": 2}, ns="sub", metadata={"source": "other", "step": 7})
    twin.write("2", [("x", 1), ("y", 2)])
    last = still.go(1)
    twin.write("2", [("x", 1)], task="other")
    assert listed(twin) == [
        ThreadInfo(
            thread_id="t",
            name=None,
            metadata={},
            created_at=first,
            last_activity=last,
            checkpoints=3,
            writes=3,
            bytes=sum(event.size for event in twin.saver.log.read()),
            latest_checkpoint_id="2",
            latest_step=0,
            latest_source="loop",
        )
    ]


def test_putting_a_checkpoint_again_does_not_count_twice(twin: Any) -> None:
    twin.put("1", {"x": "a" * 50})
    twin.put("1", {"x": "b"})
    info = the(twin, "t")
    assert (info.checkpoints, info.bytes) == (1, [event.size for event in twin.saver.log.read()][1])


def test_the_latest_is_the_greatest_id_of_the_root_namespace(twin: Any) -> None:
    twin.put("2", {}, metadata={"step": 5, "source": "loop"})
    twin.put("1", {}, metadata={"step": 4, "source": "loop"})
    twin.put("9", {}, ns="sub", metadata={"step": 9})
    info = the(twin, "t")
    assert (info.latest_checkpoint_id, info.latest_step, info.latest_source) == ("2", 5, "loop")


def test_a_thread_with_only_a_subgraph_or_writes_is_listed_without_a_latest(twin: Any) -> None:
    twin.put("9", {}, ns="sub", thread="a", metadata={"step": 9})
    twin.write("1", [("x", 1)], thread="b")
    assert [(i.thread_id, i.latest_checkpoint_id, i.latest_step, i.checkpoints, i.writes) for i in listed(twin)] == [
        ("b", None, None, 0, 1),
        ("a", None, None, 1, 0),
    ]


def test_odd_steps_and_sources_are_none(twin: Any) -> None:
    twin.put("1", {}, metadata={"step": "x", "source": 3})
    info = the(twin, "t")
    assert (info.latest_step, info.latest_source) == (None, None)


def test_the_last_active_comes_first(twin: Any, still: Clock) -> None:
    """Puts, writes and registering are activity; threads of the same moment come newest first."""
    for name in "abc":
        twin.put("1", thread=name)
    assert ids(twin) == ["c", "b", "a"]
    still.go(1)
    twin.write("1", [("x", 1)], thread="a")
    assert ids(twin) == ["a", "c", "b"]
    still.go(1)
    twin.call("register_thread", "b", "name")
    assert ids(twin) == ["b", "a", "c"]
    still.go(1)
    twin.put("2", thread="c")
    assert ids(twin) == ["c", "b", "a"]


def test_a_clock_that_goes_backwards_moves_a_thread_back(twin: Any, still: Clock) -> None:
    """last_activity is what the clock said at the last event: nothing is made up."""
    twin.put("1", thread="a")
    twin.put("1", thread="b")
    still.go(-3600)
    twin.put("2", thread="b")
    assert ids(twin) == ["a", "b"]
    assert the(twin, "b").last_activity == START - timedelta(hours=1)


def test_pages_follow_each_other(twin: Any, still: Clock) -> None:
    for n in range(10):
        still.go(n % 2)
        twin.call("register_thread", n, str(n))
    everything = listed(twin)
    assert [info.thread_id for info in everything] == [str(n) for n in reversed(range(10))]
    assert listed(twin, limit=0) == []
    assert listed(twin, limit=100) == everything
    assert listed(twin, limit=3) == everything[:3]
    assert listed(twin, limit=3, before=everything[2]) == everything[3:6]
    assert listed(twin, before=everything[-1]) == []
    assert listed(twin, before=everything[4], limit=99) == everything[5:]


def test_a_page_goes_on_from_where_the_last_was_though_that_thread_has_moved(twin: Any, still: Clock) -> None:
    for name in "abcd":
        still.go(1)
        twin.put("1", thread=name)
    page = listed(twin, limit=2)
    still.go(1)
    twin.put("2", thread="c")
    twin.call("delete_thread", "b")
    assert ids(twin, before=page[-1]) == ["a"]


def test_two_thousand_threads_are_listed_page_by_page(make_saver: Callable[..., EventLogSaver]) -> None:
    """All, each once, in order, filtered or not, however large the pages."""
    now = iter(range(10_000))
    saver = make_saver(":memory:", clock=lambda: next(now) // 7)  # many threads of one moment
    for n in range(2_000):
        saver.register_thread(f"t{n}", None, {"n": n, "third": n % 3 == 0})
    expected = [f"t{n}" for n in reversed(range(2_000))]
    assert [info.thread_id for info in saver.threads()] == expected
    assert [info.metadata["n"] for info in saver.threads(metadata={"third": True})] == [
        n for n in reversed(range(2_000)) if n % 3 == 0
    ]
    found: list[ThreadInfo] = []
    while page := list(saver.threads(limit=300, before=found[-1] if found else None)):
        found += page
    assert [info.thread_id for info in found] == expected

    async def listed() -> list[str]:
        return [info.thread_id async for info in saver.athreads(limit=1_500)]

    assert asyncio.run(listed()) == expected[:1_500]


def test_a_thread_that_becomes_active_while_threads_are_listed_is_not_left_out(
    make_saver: Callable[..., EventLogSaver],
) -> None:
    now = iter(range(10_000))
    saver = make_saver(":memory:", clock=lambda: next(now))
    names = [f"t{n}" for n in range(200)]
    for name in names:
        saver.register_thread(name)
    listing = saver.threads()
    found = [next(listing).thread_id]
    for name in ("t0", "t1", "t199", "new"):  # two of the last page, one that was given, one that was not there
        saver.register_thread(name, "active")
    found += [info.thread_id for info in listing]
    assert found == [*(f"t{n}" for n in reversed(range(2, 200))), "new", "t1", "t0"]
    below = list(saver.threads(limit=100))[-1]
    saver.register_thread("t5", "active")
    assert "t5" not in [info.thread_id for info in saver.threads(before=below)]  # it is above


@pytest.mark.parametrize("limit", [-1, -100])
def test_a_negative_limit_is_refused(twin: Any, limit: int) -> None:
    with pytest.raises(ConfigError, match="limit"):
        listed(twin, limit=limit)


def test_threads_are_filtered_by_registered_metadata(twin: Any) -> None:
    """By the rules of list's filter: every key, dots reach inside, None is absent or null, 1 is not "1"."""
    twin.call("register_thread", "a", None, {"user": "ann", "n": 1, "org": {"id": 7}})
    twin.call("register_thread", "b", None, {"user": "bob", "n": "1", "org": {"id": 8}})
    twin.call("register_thread", "c", None, {"user": "ann", "tags": ["x", "y"]})
    assert ids(twin, metadata={"user": "ann"}) == ["c", "a"]
    assert ids(twin, metadata={"user": "ann", "n": 1}) == ["a"]
    assert ids(twin, metadata={"n": "1"}) == ["b"]
    assert ids(twin, metadata={"org.id": 7}) == ["a"]
    assert ids(twin, metadata={"tags": ("x", "y")}) == ["c"]
    assert ids(twin, metadata={"n": None}) == ["c"]
    assert ids(twin, metadata={"user": "ann"}, limit=1) == ["c"]
    assert ids(twin, metadata={}) == ["c", "b", "a"]
    with pytest.raises(ConfigError, match="filter key"):
        listed(twin, metadata={"a' OR 1": 1})


def test_registering_returns_the_thread_as_it_is(twin: Any, still: Clock) -> None:
    info = twin.call("register_thread", "t", "My chat", {"user": "ann", "when": START, "cost": Decimal("1.5")})
    assert info == the(twin, "t")
    assert (info.name, info.metadata) == ("My chat", {"user": "ann", "when": START, "cost": Decimal("1.5")})
    assert (info.created_at, info.last_activity, info.checkpoints, info.writes, info.bytes) == (START, START, 0, 0, 0)


def test_registering_merges_metadata_key_by_key(twin: Any) -> None:
    twin.call("register_thread", "t", "one", {"a": 1, "b": {"x": 1}, "c": UUID(int=1)})
    info = twin.call("register_thread", "t", None, {"b": {"y": 2}, "d": 4, "a": None, "never": None})
    assert (info.name, info.metadata) == ("one", {"b": {"y": 2}, "c": UUID(int=1), "d": 4})
    assert twin.call("register_thread", "t", "").name == ""
    twin.put("1", {"x": 1})
    assert the(twin, "t").metadata == {"b": {"y": 2}, "c": UUID(int=1), "d": 4}


def test_a_change_of_type_only_is_a_change(twin: Any) -> None:
    """1, True and 1.0 are equal to Python, and not the same in a filter's JSON or in an audit."""
    for value in (1, True, 1.0, [1], [True]):
        assert repr(twin.call("register_thread", "t", None, {"a": value}).metadata) == repr({"a": value})
    assert len(kinds(twin.saver.log)) == 5


def test_registering_without_a_change_is_no_event(twin: Any, still: Clock) -> None:
    info = twin.call("register_thread", "t", "n", {"a": {"b": [1, None]}, "t": (1, 2)})
    still.go(60)
    for name, metadata in (
        ("n", None),
        (None, {}),
        (None, {"a": {"b": [1, None]}}),
        ("n", {"gone": None, "t": [1, 2]}),
    ):
        assert twin.call("register_thread", "t", name, metadata) == info
    assert kinds(twin.saver.log) == [Kind.THREAD]


def test_registering_does_not_touch_what_is_given(twin: Any) -> None:
    metadata = {"a": {"b": None}, "c": None}
    twin.call("register_thread", "t", None, metadata)
    assert metadata == {"a": {"b": None}, "c": None}
    assert the(twin, "t").metadata == {"a": {"b": None}}


def test_ids_compare_as_text(twin: Any) -> None:
    twin.put("1", thread=1)
    twin.call("register_thread", "1", "one")
    twin.call("register_thread", UUID(int=3), "three")
    twin.put("1", thread=str(UUID(int=3)))
    assert [(i.thread_id, i.name, i.checkpoints) for i in listed(twin)] == [
        (str(UUID(int=3)), "three", 1),
        ("1", "one", 1),
    ]
    assert isinstance(twin.call("register_thread", 1).thread_id, str)
    twin.call("delete_thread", 1)
    assert ids(twin) == [str(UUID(int=3))]


def test_a_deleted_thread_is_forgotten_name_and_all(twin: Any, still: Clock) -> None:
    twin.call("register_thread", "t", "old", {"a": 1})
    twin.put("1")
    twin.write("1", [("x", 1)])
    twin.call("delete_thread", "t")
    assert listed(twin) == []
    again = still.go(5)
    twin.put("2")
    info = the(twin, "t")
    assert (info.name, info.metadata, info.created_at, info.checkpoints, info.writes) == (None, {}, again, 1, 0)


def test_a_registered_thread_without_checkpoints_can_be_deleted(twin: Any) -> None:
    twin.call("register_thread", "t", "n")
    twin.call("delete_thread", "t")
    twin.call("delete_thread", "t")
    assert listed(twin) == []
    assert kinds(twin.saver.log) == [Kind.THREAD, Kind.DELETE_THREAD]
    assert twin.call("register_thread", "t", None, {"b": 2}).metadata == {"b": 2}


@pytest.mark.parametrize("strategy", ["keep_latest", "delete"])
def test_pruning_is_counted(twin: Any, still: Clock, strategy: str) -> None:
    for n in range(3):
        twin.put(str(n), {"x": n})
        twin.write(str(n), [("x", n)] * (n + 1))
    twin.call("register_thread", "t", "n")
    before = the(twin, "t")
    still.go(9)
    twin.call("prune", ["t", "not there"], strategy=strategy)
    if strategy == "delete":
        assert listed(twin) == []
        return
    info = the(twin, "t")
    sizes = [event.size for event in twin.saver.log.read(thread_id="t", kinds={Kind.PUT, Kind.PUT_WRITES})]
    assert (info.checkpoints, info.writes, info.bytes) == (1, 3, sum(sizes[-2:]))
    assert (info.name, info.created_at, info.last_activity) == ("n", before.created_at, before.last_activity)


def test_a_thread_emptied_by_deleting_its_runs_is_listed_only_if_it_was_registered(twin: Any, still: Clock) -> None:
    """Its facts stay: it was not deleted."""
    for name in ("named", "described", "plain", "kept"):
        twin.put("1", thread=name, metadata={"run_id": "r"})
        twin.write("1", [("x", 1)], thread=name)
    twin.put("2", thread="kept", metadata={"run_id": "s"})
    twin.call("register_thread", "named", "n")
    twin.call("register_thread", "described", None, {"a": 1})
    twin.call("delete_for_runs", ["r"])
    assert ids(twin) == ["kept", "described", "named"]  # all of one moment: newest first
    info = the(twin, "named")
    assert (info.checkpoints, info.writes, info.bytes, info.latest_checkpoint_id) == (0, 0, 0, None)
    assert (the(twin, "kept").checkpoints, the(twin, "kept").latest_checkpoint_id) == (1, "2")
    still.go(5)
    twin.put("3", thread="plain")
    assert the(twin, "plain").created_at == START


def test_copies_and_forks_are_counted_for_each_thread(twin: Any, still: Clock) -> None:
    twin.call("register_thread", "t", "original", {"a": 1})
    twin.put("1", {"x": 1})
    twin.write("1", [("x", 1)])
    twin.put("2", {"x": 2}, parent="1")
    twin.write("2", [("x", 2)])
    later = still.go(3)
    twin.call("copy_thread", "t", "copy")
    config = twin.call("fork_thread", twin.config(id="1"), "fork", {"b": 2})
    assert config == twin.config("fork", "1")
    original, copy, fork = the(twin, "t"), the(twin, "copy"), the(twin, "fork")
    assert (copy.checkpoints, copy.writes, copy.bytes) == (2, 2, original.bytes)
    assert (copy.name, copy.metadata, copy.created_at, copy.last_activity) == (None, {}, later, later)
    assert (fork.checkpoints, fork.writes, fork.metadata, fork.latest_checkpoint_id) == (1, 0, {"b": 2}, "1")
    assert original.last_activity == START


def test_infos_compare_and_print_without_the_key_that_pages_need(twin: Any) -> None:
    twin.put("1")
    info = the(twin, "t")
    assert "key" not in repr(info)
    with pytest.raises(AttributeError):
        info.name = "x"  # type: ignore[misc]


def test_a_very_wrong_clock_is_shown_as_the_last_day_there_is(make_saver: Callable[..., EventLogSaver]) -> None:
    saver = make_saver(":memory:", clock=lambda: 2**62)
    saver.register_thread("t", "n")
    (info,) = saver.threads()
    assert info.created_at.year == 9999


def test_registering_stays_through_a_rebuild_and_reopening(
    make_saver: Callable[..., EventLogSaver], twin_of: Any
) -> None:
    twin = twin_of(make_saver())
    twin.call("register_thread", "t", "n", {"when": START})
    twin.put("1")
    before = listed(twin)
    twin.call("rebuild")
    assert listed(twin) == before
    twin.saver.close()
    assert listed(twin.on(make_saver())) == before
