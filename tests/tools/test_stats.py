"""`stats`: where the bytes are. What is counted adds up to what the file holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph_eventlog.eventlog import Kind
from langgraph_eventlog.eventlog.record import RecordFormatError, body_size, decode, read_bases
from langgraph_eventlog.eventlog.value import Carried, DictOf, Edit, ListOf, Patch, Slice, Splice, Whole, stored_bytes
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.saver.compaction.planning import Plan, make_plan
from langgraph_eventlog.tools.looking import reclaiming
from langgraph_eventlog.tools.looking.reclaiming import Reclaimable, reclaimable
from langgraph_eventlog.tools.looking.statistics import statistics

DAY_US = 86_400_000_000
HOLDING_VALUES = (Kind.PUT, Kind.PUT_WRITES, Kind.RESTATE, Kind.RESTATE_WRITES)


def records(saver: EventLogSaver) -> dict[int, tuple[int, bytes]]:
    """By position, each event's kind and record."""
    with saver.log.database.reading() as connection:
        rows = connection.execute("SELECT position, kind, record FROM event").fetchall()
    return {position: (kind, record) for position, kind, record in rows}


def unneeded(saver: EventLogSaver) -> set[int]:
    """By FORMAT.md section 6, as a fixed point: the events that could be erased, one after the other."""
    there = records(saver)
    superseded = superseded_of(saver)
    with saver.log.database.reading() as connection:
        pointed_at = {
            p
            for table in ("history", "history_recent", "pending_writes")
            for (p,) in connection.execute(f"SELECT position FROM {table}")
        }
    staying = set(there)
    while True:
        named = {base for position in staying for base in read_bases(there[position][1])}
        going = {
            position
            for position in staying
            if (there[position][0] in HOLDING_VALUES or position in superseded)
            and position not in pointed_at | named
            and position != max(there)
        }
        if not going:
            return set(there) - staying
        staying -= going


def superseded_of(saver: EventLogSaver) -> set[int]:
    """Copies to, and names of, threads that are deleted later; and names of threads that get another one later."""
    found: set[int] = set()
    about: dict[str, list[tuple[int, Kind]]] = {}
    for event in saver.log.read():
        gone = [event.thread_id] if event.kind == Kind.DELETE_THREAD else getattr(event.data, "deleted_threads", ())
        for thread_id in gone:
            found |= {position for position, _ in about.pop(thread_id, [])}
        if event.kind in (Kind.COPY, Kind.THREAD):
            before = about.setdefault(event.thread_id or "", [])
            if event.kind == Kind.THREAD:
                found |= {position for position, kind in before if kind == Kind.THREAD}
            before.append((event.position, event.kind))
    return found


def test_sizes_add_up_to_those_of_all_records(shop: Path) -> None:
    with EventLogSaver(shop, read_only=True) as saver:
        there = records(saver)
        found = statistics(saver, threads=100, now_us=1_767_225_600_000_000 + DAY_US)
    size = sum(len(record) for _, record in there.values())
    body = sum(len(decode(record, lambda base: decode(there[base][1])[1])[1]) for _, record in there.values())
    for parts in ([found.events], found.kinds.values(), found.ages.values()):
        assert (sum(one.events for one in parts), sum(one.bytes for one in parts)) == (len(there), size)
        assert sum(one.body_bytes for one in parts) == body
    assert (sum(one.events for one in found.threads), sum(one.bytes for one in found.threads)) == (len(there), size)
    shares = sum(one.bytes for one in found.channels.values()) + sum(found.beside.values())
    assert shares == pytest.approx(size, abs=len(found.channels) + len(found.beside))
    assert {name: sizes.events for name, sizes in found.kinds.items()} == {
        kind.name.lower(): count for kind in Kind if (count := sum(1 for k, _ in there.values() if k == kind))
    }


def test_values_are_counted_as_they_are_stored(make_saver: Any) -> None:
    saver = make_saver(":memory:")
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    for n in range(5):
        values = {
            "same": "x" * 500,
            "grows": [{"role": "user", "content": f"{m} " * 50} for m in range(n + 20)],
            "new": n,
        }
        config = saver.put(config, {**empty_checkpoint(), "channel_values": values}, {"step": n}, {})
        saver.put_writes(config, [("new", n + 1)], "task")
    found = statistics(saver)
    same, grown, new = (found.channels[name] for name in ("same", "grows", "new"))
    assert (same.keyframes, same.carried, same.deltas, same.writes) == (1, 4, 0, 0)
    assert 500 < same.keyframe_bytes < 520
    assert grown.keyframes + grown.deltas == 5
    assert grown.deltas >= 3
    assert grown.delta_bytes < grown.keyframe_bytes
    assert (new.keyframes, new.writes) == (5, 5)
    assert found.keyframes == (
        same.keyframes + grown.keyframes + 5,
        sum(c.keyframe_bytes for c in found.channels.values()),
    )
    assert found.file is None  # a private log


def test_ages_are_reckoned_from_when_events_were_recorded(make_saver: Any) -> None:
    now = 0
    saver = make_saver(":memory:", clock=lambda: now)
    for days in (400, 100, 31, 8, 2, 0):
        now = (1000 - days) * DAY_US
        saver.register_thread(f"{days} days ago")
    found = statistics(saver, now_us=1000 * DAY_US)
    assert {name: sizes.events for name, sizes in found.ages.items()} == {
        "1 day": 1, "7 days": 1, "30 days": 1, "90 days": 1, "365 days": 1, "older": 1,
    }  # fmt: skip


def test_threads_that_are_deleted_are_named_as_such(shop: Path) -> None:
    with EventLogSaver(shop, read_only=True) as saver:
        found = {one.thread_id: one for one in statistics(saver, threads=100).threads}
    assert [name for name, one in found.items() if one.is_deleted] == ["gone"]
    assert found[None].events == 1  # the prune
    assert max(found.values(), key=lambda one: one.bytes).thread_id == "long"


def planned_then(change: Callable[[], object]) -> Callable[..., Plan]:
    """Give what makes a plan, and then has the log changed."""

    def planned(*arguments: Any, **options: Any) -> Plan:
        plan = make_plan(*arguments, **options)
        change()
        return plan

    return planned


def test_what_could_be_erased_is_what_nothing_needs_however_indirectly(shop: Path) -> None:
    with EventLogSaver(shop) as saver:
        for change in (
            lambda: None,
            lambda: saver.delete_for_runs(["run 2 of order-1", "run 3 of notes"]),
            lambda: saver.delete_thread("order-3"),  # its copy still needs it
            lambda: saver.prune(["notes", "planner"]),
            lambda: saver.delete_thread("order-3-again"),
            lambda: saver.prune(["long", "order-2"], strategy="delete"),
        ):
            change()
            expected = unneeded(saver)
            assert expected
            there = records(saver)
            found = reclaimable(saver)
            assert found.events == len(expected)
            assert found.bytes == sum(len(there[position][1]) for position in expected)
            assert statistics(saver).reclaimable == found


def test_a_compaction_does_what_was_said_that_it_would(shop: Path) -> None:
    with EventLogSaver(shop) as saver:
        saver.prune(["long", "notes"])
        saver.delete_thread("order-3")
        expected = reclaimable(saver)
        assert min(expected.events, expected.later_events) > 0
        report = saver.compact()
        assert sum(report.events_erased.values()) == expected.events + expected.later_events
        assert report.bytes_erased == expected.bytes + expected.later_bytes
        assert reclaimable(saver) == Reclaimable(0, 0, 0, 0, 0)
        found = statistics(saver)
        assert found.erased == sum(report.events_erased.values())
        restated = [found.kinds[name].events for name in ("restate", "restate_writes") if name in found.kinds]
        assert sum(restated) == report.restated > 0


def test_what_somebody_erases_meanwhile_is_not_told_as_still_to_be_erased(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EventLogSaver(shop, erase_deleted=False) as saver, EventLogSaver(shop, erase_deleted=False) as other:
        saver.prune(["long", "notes", "order-1"])
        monkeypatch.setattr(reclaiming, "make_plan", planned_then(lambda: other.compact()))
        assert reclaimable(saver) == Reclaimable(0, 0, 0, 0, 0)


def test_nothing_that_could_be_erased_is_less_than_nothing_while_others_go_on_erasing(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = iter(["long", "notes", "order-1", "order-3", "planner"])

    def erase_and_remove_more() -> None:
        other.compact()
        other.prune([next(threads)])

    with EventLogSaver(shop, erase_deleted=False) as saver, EventLogSaver(shop, erase_deleted=False) as other:
        saver.prune([next(threads)])
        monkeypatch.setattr(reclaiming, "make_plan", planned_then(erase_and_remove_more))
        found = reclaimable(saver)
    assert found.events > 0
    assert min(found.later_events, found.later_bytes) >= 0


def test_in_a_log_from_which_nothing_was_removed_there_is_nothing_to_erase(make_saver: Any) -> None:
    saver = make_saver(":memory:")
    assert reclaimable(saver).events == 0
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    config = saver.put(config, empty_checkpoint(), {}, {})
    saver.put_writes(config, [("c", 1)], "task")
    assert reclaimable(saver).events == 0


def test_a_checkpoint_with_more_bases_than_fit_into_the_first_bytes_keeps_them_all(make_saver: Any) -> None:
    saver = make_saver(":memory:")
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    values: dict[str, Any] = {}
    for n in range(100):  # each channel's value stands in another put
        values[f"c{n}"] = f"value {n} " * 20
        config = saver.put(config, {**empty_checkpoint(), "channel_values": values}, {"step": n}, {})
    with pytest.raises(RecordFormatError):
        read_bases(records(saver)[100][1][:64])
    saver.prune(["t"])
    found = reclaimable(saver)
    assert found.events == len(unneeded(saver))
    assert found.events < 10


@pytest.mark.plain_file("a record is damaged on purpose")
def test_a_damaged_event_is_named_and_the_others_are_counted(shop: Path) -> None:
    connection = apsw.Connection(str(shop))
    (trigger,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'event_never_changes'").fetchone()
    connection.execute("DROP TRIGGER event_never_changes")
    connection.execute("UPDATE event SET record = zeroblob(length(record)) WHERE position = 30")
    connection.execute(trigger)
    connection.close()
    with EventLogSaver(shop, read_only=True) as saver:
        found = statistics(saver)
        assert found.events.events == len(records(saver)) - 1
    assert found.damaged == (30,)
    assert found.reclaimable is None


def test_the_command_shows_tables_and_one_document(run: Any, json_of: Any, shop: Path) -> None:
    shown = run("stats", shop, "--threads", "1").stdout
    for part in ("put_writes", "keyframes", "deltas", "reclaimable", "messages", "(versions)", "free", "WAL"):
        assert part in shown
    assert "long" in shown
    assert "order-1" not in shown
    document = json_of("stats", shop)
    assert document["file"]["file_bytes"] == shop.stat().st_size
    assert document["file"]["pages"] * document["file"]["page_bytes"] == shop.stat().st_size
    assert sum(document["file"]["tables"].values()) <= shop.stat().st_size
    assert document["events"]["events"] == document["head"] - document["erased"]
    assert document["reclaimable"]["events"] > 0


def test_a_log_that_another_process_appends_to_can_be_measured(json_of: Any, busy_shop: Path) -> None:
    document = json_of("stats", busy_shop)
    assert document["events"]["events"] == document["head"]
    assert document["damaged"] == []


def test_progress_ends_where_it_was_said_to(shop: Path) -> None:
    told: list[float] = []
    with EventLogSaver(shop, read_only=True) as saver:
        statistics(saver, progress=told.append)
        head = saver.log.head().position
    assert told == sorted(told)
    assert 2 * head - 1 <= told[-1] <= 2 * head


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (Whole("tag", b"12345"), 8),
        (Carried(1), 0),
        (ListOf((Whole("t", b"12"), Slice("t", 1, 0, 0, 99))), 4),
        (Splice(1, 5, (Whole("t", b"12"),), 5), 3),
        (DictOf((("key", Whole("t", b"12")),)), 6),
        (Edit(1, (("key", Whole("t", b"12")),), ("gone",)), 10),
        (Patch(1, "tag", 1_000, b"12345"), 8),
    ],
)
def test_a_stored_values_size_is_what_it_holds_itself(value: Any, size: int) -> None:
    assert stored_bytes(value) == size


def test_a_bodys_size_stands_in_the_header(shop: Path) -> None:
    with EventLogSaver(shop, read_only=True) as saver:
        there = records(saver)
    for _, record in there.values():
        assert body_size(record) == len(decode(record, lambda base: decode(there[base][1])[1])[1])
