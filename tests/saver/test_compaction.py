"""Compaction: what was removed is gone from the file, and everything else reads, verifies and rebuilds as before."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph_eventlog.eventlog import (
    Compaction,
    CorruptRecordError,
    Kind,
    LogDamagedError,
    LogReadOnlyError,
)
from langgraph_eventlog.projections import Projection
from langgraph_eventlog.projections.ids import to_key
from langgraph_eventlog.projections.token_usage import TokenUsage
from langgraph_eventlog.saver import CompactionReport, EventLogSaver
from langgraph_eventlog.saver.compaction import compacting, planning
from langgraph_eventlog.saver.compaction.compacting import Compactor
from langgraph_eventlog.saver.compaction.pacing import Pace

POINTED_AT = " UNION ".join(
    f"SELECT position FROM {table}" for table in ("history", "history_recent", "pending_writes")
)
BIG = "k" * 500


def config(thread: str = "t", id: str | None = None, ns: str = "") -> Any:
    named = {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": id}
    return {"configurable": {k: v for k, v in named.items() if v is not None}}


def put(
    saver: EventLogSaver,
    id: str,
    values: Any,
    *,
    parent: str | None = None,
    thread: str = "t",
    ns: str = "",
    **meta: Any,
) -> None:
    checkpoint: Any = {
        "v": 4,
        "id": id,
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": values,
        "channel_versions": {**dict.fromkeys(values, id), "log": "1"},
        "versions_seen": {},
        "updated_channels": None,
    }
    saver.put(config(thread, parent, ns), checkpoint, meta, {})


def fill(saver: EventLogSaver) -> None:
    """Make threads with differences, carried values, writes and delta channels; and remove some of each."""
    for thread in ("kept", "deleted", "pruned", "run", "source"):
        saver.register_thread(thread, f"name of {thread}", {"mail": f"mail of {thread}"})
        for n in range(8):
            messages = [f"{thread} SAID {i} " * 20 for i in range(n)]
            values = {"messages": messages, "big": f"{thread} {BIG}", "n": n, **({"log": ["seed"]} if n == 2 else {})}
            parent = str(n - 1) if n else None
            put(saver, str(n), values, parent=parent, thread=thread, run_id=f"{thread} run {n // 4}")
            saver.put_writes(config(thread, str(n)), [("log", f"{thread} WROTE {n} " * 20)], f"task {n}")
            put(saver, str(n), {"inner": n}, thread=thread, ns="sub:1", parents={"": str(n)})
    put(saver, "7", {"messages": ["another"], "big": "replaced"}, parent="6", thread="kept")
    saver.copy_thread("source", "copied")
    saver.fork_thread(config("source", "3"), "forked", {"mail": "of the fork"})
    saver.fork_thread(config("kept", "3"), "forked and deleted", {"mail": "mail of the deleted fork"})
    saver.delete_thread("forked and deleted")
    saver.delete_thread("source")
    saver.delete_thread("deleted")
    saver.prune(["pruned"])
    saver.delete_for_runs(["run run 0"])
    saver.register_thread("kept", "another name")


def everything(saver: EventLogSaver) -> list[Any]:
    """What can be read: also what is hidden, and delta channels. The size of a thread may change with its records."""
    seen: list[Any] = [repr(found) for found in saver.list(None)]
    seen += [(t.thread_id, t.name, t.metadata, t.created_at, t.last_activity, t.checkpoints) for t in saver.threads()]
    for thread in ("kept", "deleted", "pruned", "run", "source", "copied", "forked"):
        for id in [None, *map(str, range(8))]:
            for ns in ("", "sub:1"):
                seen.append(repr(saver.get_tuple(config(thread, id, ns))))
                seen.append(saver.get_delta_channel_history(config=config(thread, id, ns), channels=["log", "big"]))
    return seen


def erased(saver: EventLogSaver) -> dict[int, int]:
    with saver.log.database.reading() as connection:
        return dict(connection.execute("SELECT position, kind FROM erased").fetchall())


def positions(saver: EventLogSaver, **options: Any) -> list[int]:
    return [event.position for event in saver.log.read(**options)]


def bytes_of(saver: EventLogSaver) -> bytes:
    """All that is in the file and its WAL; not by open(), which would drop this process's locks."""
    import apsw

    found = b""
    for suffix, flag in (("", apsw.SQLITE_OPEN_MAIN_DB), ("-wal", apsw.SQLITE_OPEN_WAL)):
        if os.path.exists(saver.path + suffix):
            file = apsw.VFSFile("", saver.path + suffix, [flag | apsw.SQLITE_OPEN_READONLY, 0])
            found += file.xRead(file.xFileSize(), 0) if file.xFileSize() else b""
            file.xClose()
    return found


def engine(saver: EventLogSaver, **options: Any) -> Compactor:
    return Compactor(saver._core, **options)


class StopError(Exception):
    """What a test raises between two transactions: there, a process could be killed."""


def test_everything_reads_verifies_and_rebuilds_as_before(saver: EventLogSaver) -> None:
    fill(saver)
    before, anchor = everything(saver), saver.log.head()
    report = saver.compact()
    assert everything(saver) == before
    assert list(saver.verify(anchor=anchor)) == []
    saver.rebuild()
    assert everything(saver) == before
    assert list(saver.verify(anchor=anchor)) == []
    assert report.complete
    assert report.blocked_by == ()
    assert set(report.events_erased) == {Kind.PUT, Kind.PUT_WRITES, Kind.COPY, Kind.THREAD}
    assert report.bytes_erased > 0


def test_what_was_deleted_pruned_or_replaced_goes_and_what_is_pointed_at_stays(saver: EventLogSaver) -> None:
    fill(saver)
    with saver.log.database.reading() as connection:
        pointed = connection.execute(POINTED_AT).fetchall()
    puts = {e.position for e in saver.log.read() if e.kind in (Kind.PUT, Kind.PUT_WRITES)}
    deleted = set(positions(saver, thread_id="deleted", kinds=[Kind.PUT, Kind.PUT_WRITES]))
    saver.compact(thorough=False)
    gone, live = set(erased(saver)), {position for (position,) in pointed}
    assert gone.isdisjoint(live)
    assert deleted <= gone
    # Not by a row, but by a difference, the rest is still referred to.
    named = {base for e in saver.log.read() for base in bases(saver, e.position)}
    assert puts - gone - live <= named != set()


def test_what_is_kept_refers_to_nothing_that_is_not(saver: EventLogSaver) -> None:
    fill(saver)
    report = saver.compact()
    assert report.restated > 0
    assert report.bytes_restated > 0
    with saver.log.database.reading() as connection:
        pointed = connection.execute(POINTED_AT)
        live = {position for (position,) in pointed}
    values = [Kind.PUT, Kind.PUT_WRITES, Kind.RESTATE, Kind.RESTATE_WRITES]
    assert set(positions(saver, kinds=values)) == live
    assert {base for position in live for base in bases(saver, position)} <= live


def bases(saver: EventLogSaver, position: int) -> tuple[int, ...]:
    from langgraph_eventlog.eventlog.record import read_bases

    with saver.log.database.reading() as connection:
        row = connection.execute("SELECT record FROM event WHERE position = ?", (position,)).fetchone()
    return read_bases(row[0])


def test_the_log_says_what_was_erased_and_removing_events_stay(saver: EventLogSaver) -> None:
    fill(saver)
    before = {event.position: event for event in saver.log.read()}
    report = saver.compact()
    said = [e.data for e in saver.log.read(kinds=[Kind.COMPACTION])]
    ranges = [pair for data in said if isinstance(data, Compaction) for pair in data.erased]
    declared = [p for first, last in ranges for p in range(first, last + 1)]
    assert sorted(declared) == sorted(erased(saver))
    assert sum(report.events_erased.values()) == len(declared)
    assert report.bytes_erased == sum(before[p].size for p in declared)
    assert report.bytes_erased == sum(data.bytes for data in said if isinstance(data, Compaction))
    removing = [e.position for e in before.values() if e.kind in (3, 4, 5)]
    assert removing == positions(saver, kinds=[Kind.DELETE_THREAD, Kind.DELETE_FOR_RUNS, Kind.PRUNE])


def test_a_dry_run_says_what_then_happens_and_changes_nothing(saver: EventLogSaver) -> None:
    fill(saver)
    head = saver.log.head()
    dry = saver.compact(dry_run=True)
    assert (dry.dry_run, dry.complete, dry.transactions) == (True, False, 0)
    assert saver.log.head() == head
    assert erased(saver) == {}
    report = saver.compact()
    assert (dry.events_erased, dry.bytes_erased) == (report.events_erased, report.bytes_erased)
    assert saver.compact(dry_run=True).complete


def test_a_log_that_is_open_for_reading_only_can_be_asked_what_would_go(make_saver: Any) -> None:
    saver = make_saver()
    fill(saver)
    reading = make_saver(read_only=True)
    with pytest.raises(LogReadOnlyError):
        reading.compact()
    assert reading.compact(dry_run=True).events_erased == saver.compact(dry_run=True).events_erased != {}
    assert erased(saver) == {}


def test_nothing_to_do_is_no_event(saver: EventLogSaver) -> None:
    empty = saver.compact()
    assert (empty.complete, empty.rounds, empty.transactions, saver.log.head().position) == (True, 1, 0, 0)
    put(saver, "1", {"n": 1})
    assert saver.compact().events_erased == {}
    assert saver.log.head().position == 1
    fill(saver)
    saver.compact()
    head = saver.log.head()
    again = saver.compact()
    assert (again.events_erased, again.complete, again.bytes_erased) == ({}, True, 0)
    assert saver.log.head() == head


def test_the_newest_event_goes_with_the_next(saver: EventLogSaver) -> None:
    """The chain ends in it: so it cannot go as long as it is that."""
    put(saver, "1", {"n": 1}, thread="a")
    saver.copy_thread("a", "b")
    saver.delete_thread("b")
    assert saver.compact().events_erased == {Kind.COPY: 1}
    assert set(erased(saver)) == {2}


@pytest.mark.plain_file("the marker is looked for in the file")
def test_no_byte_is_left_of_what_was_deleted(make_saver: Any) -> None:
    saver = make_saver()
    for n in range(6):
        for thread in ("kept", "secret"):
            values = {"messages": [f"{thread.upper()} text {i}" * 3 for i in range(n)], "big": os.urandom(3000).hex()}
            put(saver, str(n), values, parent=str(n - 1) if n else None, thread=thread, note=f"{thread.upper()} note")
            saver.put_writes(config(thread, str(n)), [("x", f"{thread.upper()} write")], f"{thread.upper()} task")
    saver.register_thread("secret", "SECRET name", {"mail": "SECRET mail"})
    saver.fork_thread(config("kept"), "fork", {"mail": "SECRET mail of a fork"})
    saver.delete_thread("fork")
    saver.delete_thread("secret")
    assert b"SECRET" in bytes_of(saver)
    report = saver.compact(vacuum=True)
    found = bytes_of(saver)
    assert b"SECRET" not in found
    assert b"KEPT" in found
    assert (report.pages_with_remains, report.complete) == (0, True)


def test_space_is_given_back_to_the_file_system(make_saver: Any) -> None:
    saver = make_saver()
    put(saver, "1", {"n": 1}, thread="kept")
    for n in range(100):
        put(saver, str(n), {"data": os.urandom(20_000)}, thread="large")
    saver.compact()
    before = os.path.getsize(saver.path)
    saver.delete_thread("large")
    report = saver.compact()
    assert report.file_bytes_before >= before > 2_000_000
    assert os.path.getsize(saver.path) == report.file_bytes_after < 200_000
    assert os.path.getsize(saver.path + "-wal") == report.wal_bytes_after == 0
    assert report.bytes_erased > 2_000_000


def test_a_reader_that_stays_is_reported_and_the_next_is_complete(make_saver: Any) -> None:
    saver = make_saver()
    fill(saver)
    with saver.log.database.reading() as connection:
        connection.execute("SELECT * FROM meta").fetchall()
        slept: list[float] = []
        report = engine(saver, pace=Pace(sleep=slept.append)).run()
        assert (report.complete, report.wal_bytes_after > 0, report.pages_with_remains) == (False, True, None)
    report = saver.compact()
    assert (report.complete, report.wal_bytes_after, report.events_erased) == (True, 0, {})


def test_a_thread_keeps_when_it_began_and_was_last_active(make_saver: Any, clock: Callable[[], int]) -> None:
    saver = make_saver(clock=clock)
    put(saver, "1", {"n": 1}, run_id="r")
    put(saver, "1", {"n": 2}, thread="replaced")
    put(saver, "1", {"n": 3}, thread="replaced")
    saver.put_writes(config("t", "1"), [("n", 1)], "task")
    saver.delete_for_runs(["r"])
    saver.register_thread("other")
    before = list(saver.threads())
    with saver.log.database.reading() as connection:
        facts = connection.execute("SELECT created_at, last_activity FROM threads").fetchall()
    assert sum(saver.compact().events_erased.values()) == 3
    for _ in range(2):
        assert list(saver.threads()) == before
        with saver.log.database.reading() as connection:
            assert connection.execute("SELECT created_at, last_activity FROM threads").fetchall() == facts
        saver.rebuild()


# Others at work.


def test_what_is_copied_between_the_plan_and_the_erasure_stays(make_saver: Any, monkeypatch: Any) -> None:
    """The rows that are read first may get a copy of what the rows that are read last lose."""
    saver, other = make_saver(), make_saver()
    put(saver, "1", {"n": 1}, thread="a")
    saver.delete_thread("a")
    put(saver, "1", {"big": BIG, "n": 1}, thread="source")
    put(saver, "2", {"big": BIG, "n": 2}, parent="1", thread="source")
    saver.put_writes(config("source", "2"), [("x", "written")], "task")
    from langgraph_eventlog.projections import reaching

    original, done = reaching._pages, []

    def pages(log: Any, sql: str, *rest: Any) -> Any:
        rows = list(original(log, sql, *rest))
        if not done:
            done.append(True)
            # As if this reading had come to the target before the copy, and to the source after its deletion.
            other.copy_thread("source", "a")
            other.delete_thread("source")
            return iter([])
        return iter(rows)

    monkeypatch.setattr(reaching, "_pages", pages)
    monkeypatch.setattr(reaching, "check_whole", lambda log: None)
    with monkeypatch.context() as patched:
        patched.setattr("langgraph_eventlog.saver.compaction.planning.check_whole", lambda log: None)
        saver.compact()
    found = saver.get_tuple(config("a"))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"big": BIG, "n": 2}
    assert found.pending_writes == [("task", "x", "written")]
    assert list(saver.verify()) == []


@pytest.mark.parametrize("when", range(1, 5))
def test_what_is_put_meanwhile_by_a_saver_that_remembers_the_deleted_stays_readable(make_saver: Any, when: int) -> None:
    saver, writer = make_saver(), make_saver()
    for n in range(30):
        values = {"big": BIG + "x" * n, "same": BIG, "list": [f"{i} {BIG}" for i in range(n)]}
        put(writer, f"{n:02}", values, parent=f"{n - 1:02}" if n else None)
    given = values
    saver.delete_thread("t")
    count = itertools.count(1)

    def between(what: str) -> None:
        if next(count) == when:
            put(writer, "99", given, parent="29")

    pace = Pace(clock=itertools.count(0, 0.001).__next__, sleep=lambda _: None)
    report = engine(saver, between=between, pace=pace).run()
    assert next(count) > when
    found = saver.get_tuple(config("t", "99"))
    assert found is not None
    assert found.checkpoint["channel_values"] == given
    assert list(saver.verify()) == []
    assert report.transactions >= when
    saver.rebuild()
    assert list(saver.verify()) == []


def test_a_put_whose_base_was_erased_meanwhile_stores_its_values_whole(make_saver: Any) -> None:
    saver, writer = make_saver(), make_saver()
    put(writer, "1", {"kept": BIG})
    saver.delete_thread("t")
    assert saver.compact().events_erased == {Kind.PUT: 1}
    put(writer, "2", {"kept": BIG}, parent="1")  # it remembers 1, and would refer to it
    assert bases(saver, saver.log.head().position) == ()
    found = saver.get_tuple(config("t", "2"))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"kept": BIG}


def test_of_what_is_spared_for_a_late_reference_all_bases_are(make_saver: Any, monkeypatch: Any) -> None:
    """A chain of differences, of which the last is referred to by an event that was appended after the plan."""
    saver, writer = make_saver(), make_saver()
    for n in range(6):
        put(writer, str(n), {"list": [f"{i} {BIG}" for i in range(n)]}, parent=str(n - 1) if n else None)
    assert bases(saver, 6) == (5,)
    saver.delete_thread("t")
    late: list[int] = []

    def after_plan(done: int, of: int) -> None:
        if not late and done == of:
            late.append(done)
            put(writer, "6", {"list": [f"{i} {BIG}" for i in range(7)]}, parent="5")

    with monkeypatch.context() as patched:
        patched.setattr(compacting, "_MAX_ROUNDS", 1)
        assert not engine(saver, progress=after_plan).run().complete
    assert late == [7]
    needed, left = set[int](), [8]
    while left:
        found = bases(saver, left.pop())
        needed |= set(found)
        left += found
    assert len(needed) >= 3
    assert set(erased(saver)) == set(range(1, 7)) - needed != set()
    # It is stored anew by the next, so that what was spared goes, too.
    for _ in range(2):
        newest = saver.get_tuple(config("t", "6"))
        assert newest is not None
        assert len(newest.checkpoint["channel_values"]["list"]) == 7
        assert saver.compact().complete
    assert {*range(1, 7)} <= set(erased(saver))


def test_two_at_once_erase_each_event_once(make_saver: Any) -> None:
    saver, other = make_saver(), make_saver()
    fill(saver)
    before, reports = everything(saver), []
    steps: list[str] = []

    def between(what: str) -> None:
        steps.append(what)
        if len(steps) in (1, 3):
            reports.append(engine(other, pace=stepping()).run())

    reports.append(engine(saver, between=between, pace=stepping()).run())
    assert len(reports) >= 2
    assert everything(other) == before
    total = sum(sum(report.events_erased.values()) for report in reports)
    assert total == len(erased(saver))
    assert list(saver.verify()) == []


def stepping() -> Pace:
    """A pace at which each transaction erases a few events."""
    return Pace(clock=itertools.count(0, 0.002).__next__, sleep=lambda _: None)


@pytest.mark.parametrize("path", [None, ":memory:"])
def test_killed_between_any_two_transactions_it_is_valid_and_can_be_done_again(
    make_saver: Any, tmp_path: Path, path: Any
) -> None:
    at, expected = 0, list[int]()
    while True:
        saver = make_saver(tmp_path / f"{at}.db" if path is None else path, clock=ticking())
        fill(saver)
        before, anchor = everything(saver), saver.log.head()
        count = itertools.count()

        def between(what: str, count: Any = count, at: int = at) -> None:
            if next(count) == at:
                raise StopError

        try:
            engine(saver, between=between, pace=stepping()).run()
        except StopError:
            if path is None:
                saver.close()
                saver = make_saver(saver.path)
            assert everything(saver) == before
            assert list(saver.verify(anchor=anchor)) == []
            engine(saver, pace=stepping()).run()
            finished = False
        else:
            finished = True
        assert everything(saver) == before
        found = sorted(erased(saver))
        assert at == 0 or found == expected
        expected = found
        assert list(saver.verify(anchor=anchor)) == []
        saver.close()
        if finished:
            break
        at += 4
    assert at > 15


def ticking() -> Callable[[], int]:
    return itertools.count(1_767_225_600_000_000, 1_000_000).__next__


def test_it_can_be_stopped_between_two_transactions(make_saver: Any) -> None:
    saver = make_saver()
    fill(saver)
    steps: list[str] = []
    report = engine(saver, between=steps.append, stopped=lambda: len(steps) >= 5, pace=stepping()).run()
    assert (len(steps), report.complete) == (5, False)
    assert saver.compact().complete


def test_it_can_be_awaited_and_a_cancelled_one_ends_early(make_saver: Any) -> None:
    saver = make_saver()
    fill(saver)
    before = everything(saver)
    seen: list[tuple[int, int]] = []

    async def main() -> CompactionReport:
        assert (await saver.acompact(dry_run=True)).dry_run
        task: Any = None
        loop = asyncio.get_running_loop()

        def progress(done: int, of: int) -> None:
            seen.append((done, of))
            loop.call_soon_threadsafe(task.cancel)

        task = asyncio.ensure_future(saver.acompact(progress=progress))
        with pytest.raises(asyncio.CancelledError):
            await task
        return await saver.acompact()

    report = asyncio.run(main())
    assert report.complete
    assert seen
    assert everything(saver) == before


# Users' projections.


class Puts(Projection):
    """Counts puts; cannot be rebuilt without them."""

    name = "puts"
    schema_version = 1

    def reset(self) -> None:
        self.db.execute("CREATE TABLE puts (n INTEGER NOT NULL)")
        self.db.execute("INSERT INTO puts VALUES (0)")

    def apply(self, event: Any) -> None:
        if event.kind is Kind.PUT:
            self.db.execute("UPDATE puts SET n = n + 1")

    def count(self) -> int:
        return self.query("SELECT n FROM puts")[0][0]


def test_a_projection_that_is_behind_blocks_what_it_has_not_seen_and_is_named(make_saver: Any) -> None:
    with EventLogSaver(make_saver().path, projections=[Puts()]) as with_it:
        put(with_it, "1", {"n": 1}, thread="a")
        put(with_it, "2", {"n": 1}, thread="a")
    saver = make_saver()
    for n in range(5):
        put(saver, str(n), {"n": 1}, thread="b")
    saver.delete_thread("a")
    saver.delete_thread("b")
    report = saver.compact()
    assert (set(erased(saver)), report.blocked_by, report.complete) == ({1, 2}, ("puts",), False)
    projection = Puts()
    with EventLogSaver(saver.path, projections=[projection]) as with_it:
        assert projection.count() == 7
    report = saver.compact()
    assert (set(erased(saver)), report.blocked_by, report.complete) == ({*range(1, 8)}, (), True)


def test_one_that_is_open_here_is_caught_up_first(make_saver: Any) -> None:
    projection = Puts()
    saver, other = make_saver(projections=[projection]), make_saver()
    for n in range(300):
        put(other, f"{n:03}", {"n": 1})
    other.delete_thread("t")
    assert saver.compact().events_erased == {Kind.PUT: 300}
    assert projection.count() == 300


def spent(saver: EventLogSaver, tokens: int, thread: str = "t", message: str | None = None) -> None:
    from langchain_core.messages import AIMessage

    usage: Any = {"input_tokens": tokens, "output_tokens": 1, "total_tokens": tokens + 1}
    said = AIMessage("text", id=message or f"m{tokens}", usage_metadata=usage)
    saver.put_writes(config(thread, f"{tokens:04}"), [("messages", [said])], f"task {tokens}")
    put(saver, f"{tokens:04}", {"n": tokens}, thread=thread, run_id=f"run {tokens % 2}")


def test_totals_are_the_same_after_a_compaction_and_a_rebuild(make_saver: Any) -> None:
    usage = TokenUsage()
    saver = make_saver(projections=[usage])
    for n in range(1, 9):
        spent(saver, n, thread=f"thread {n % 3}")
    saver.delete_thread("thread 1")
    totals = usage.totals()
    assert len(totals) == 6
    for _ in range(2):
        assert saver.compact().complete
        assert usage.totals() == totals
        saver.rebuild("token_usage")
        assert usage.totals() == totals
    spent(saver, 100, thread="thread 1", message="m1")  # counted already, before it was erased
    assert usage.totals() == totals
    spent(saver, 101, thread="thread 1")
    totals = usage.totals()
    saver.delete_thread("thread 2")
    assert saver.compact().complete
    assert len([e for e in saver.log.read(kinds=[Kind.CARRY]) if e.data.projection == "token_usage"]) == 1  # type: ignore[union-attr]
    head = saver.log.head()
    saver.compact()
    assert saver.log.head() == head
    saver.rebuild("token_usage")
    assert usage.totals() == totals


def test_a_projection_that_could_not_carry_its_facts_refuses_to_be_rebuilt(make_saver: Any) -> None:
    from langgraph_eventlog.eventlog import ProjectionError

    usage, puts = TokenUsage(), Puts()
    saver = make_saver(projections=[usage, puts])
    for n in range(1, 5):
        spent(saver, n)
    saver.delete_thread("t")
    totals = usage.totals()
    with EventLogSaver(saver.path) as without:
        assert sum(without.compact().events_erased.values()) == 8
    with pytest.raises(ProjectionError, match="it was not open then, to carry its facts"):
        saver.rebuild("token_usage")
    with pytest.raises(ProjectionError, match=r"it has no carry\(\)"):
        saver.rebuild("puts")
    assert (usage.totals(), puts.count()) == (totals, 4)
    # What it has, it carries the next time; then it can.
    put(saver, "1", {"n": 1}, thread="u")
    saver.delete_thread("u")
    assert saver.compact().complete
    saver.rebuild("token_usage")
    assert usage.totals() == totals
    with pytest.raises(ProjectionError):
        saver.rebuild("puts")


@pytest.mark.parametrize("facts", [ValueError("no"), object(), {"set": {1}}], ids=["raises", "object", "set"])
def test_a_carry_that_fails_erases_nothing(make_saver: Any, facts: Any) -> None:
    from langgraph_eventlog.eventlog import ProjectionError

    class Failing(Puts):
        def carry(self) -> Any:
            if isinstance(facts, Exception):
                raise facts
            return facts

    saver = make_saver(projections=[Failing()])
    put(saver, "1", {"n": 1})
    saver.delete_thread("t")
    with pytest.raises(ProjectionError, match=r"puts failed in carry\(\)"):
        saver.compact()
    assert erased(saver) == {}


# Damage.


def test_a_damaged_record_stops_it_before_anything_is_erased(make_saver: Any, helpers: Any) -> None:
    saver = make_saver()
    fill(saver)
    make_saver.damaged(saver.path)
    with helpers(saver.path) as connection:
        connection.execute("UPDATE event SET record = CAST(record || x'00' AS BLOB) WHERE position = 20")
    with pytest.raises(CorruptRecordError) as caught:
        saver.compact()
    assert caught.value.position == 20
    assert erased(saver) == {}


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM history WHERE checkpoint_id = ?1",
        "UPDATE history SET position = position + 1 WHERE checkpoint_id = ?1",
        "DELETE FROM history_recent WHERE ?1 IS NOT NULL",
        "UPDATE history_recent SET position = position - 1 WHERE ?1 IS NOT NULL",
        "DELETE FROM pending_writes WHERE checkpoint_id = ?1",
        "UPDATE pending_writes SET position = position - 1 WHERE checkpoint_id = ?1",
        "UPDATE threads SET bytes = bytes + 1 WHERE ?1 IS NOT NULL",
        "UPDATE threads SET checkpoints = checkpoints + 1 WHERE ?1 IS NOT NULL",
    ],
)
def test_on_the_word_of_damaged_projections_nothing_is_erased(make_saver: Any, helpers: Any, damage: str) -> None:
    saver = make_saver()
    fill(saver)
    put(saver, "8", {"n": 8}, parent="7", thread="kept")
    before = everything(saver)
    with helpers(saver.path) as connection:
        connection.execute(damage, (to_key("7"),))
        assert connection.changes()
    with pytest.raises(LogDamagedError, match=r"rebuild\(\)"):
        saver.compact()
    assert erased(saver) == {}
    saver.rebuild()
    assert saver.compact().complete
    assert everything(saver) == before


@pytest.mark.parametrize("lost", ["all of a thread", "everything", "what there is to say of a thread"])
def test_what_has_lost_its_rows_is_not_taken_for_removed(make_saver: Any, helpers: Any, lost: str) -> None:
    saver = make_saver()
    fill(saver)
    saver.delete_thread("nobody")
    before = everything(saver)
    which = "" if lost == "everything" else "WHERE thread = (SELECT min(thread) FROM threads)"
    streams = f"WHERE stream IN (SELECT stream FROM stream {which})"
    with helpers(saver.path) as connection:
        if lost != "what there is to say of a thread":
            for table in ("history", "history_recent", "pending_writes"):
                connection.execute(f"DELETE FROM {table} {streams}")
        connection.execute(f"DELETE FROM threads {which}")
    with pytest.raises(LogDamagedError, match=r"is not among the threads.*rebuild\(\)"):
        saver.compact()
    assert erased(saver) == {}
    saver.rebuild()
    assert saver.compact().complete
    assert everything(saver) == before


def test_a_thread_that_is_deleted_while_the_log_is_looked_through_is_not_taken_for_lost(
    make_saver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver, other = make_saver(), make_saver()
    fill(saver)
    doomed = next(saver.threads()).thread_id
    real = planning.check_whole

    def check(log: Any) -> None:
        real(log)
        other.delete_thread(doomed)
        other.prune([info.thread_id for info in other.threads()][:1], strategy="delete")

    monkeypatch.setattr(planning, "check_whole", check)
    plan = planning.make_plan(saver.log)
    assert plan.dead.least() is None or plan.head not in plan.dead


@pytest.fixture
def helpers() -> Any:
    """Open a file past the log, without its triggers."""
    import contextlib

    import apsw
    from langgraph_eventlog.eventlog import EventLog
    from langgraph_eventlog.eventlog.connection import file_uri
    from langgraph_eventlog.eventlog.encryption import Key

    @contextlib.contextmanager
    def raw(path: str) -> Any:
        key = Key.of(EventLog.__init__.__kwdefaults__["key"])  # type: ignore[index]
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(path if key is None else file_uri(path, key=key), flags=flags)
        try:
            with connection:
                triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
                for name, _ in triggers:
                    connection.execute(f"DROP TRIGGER {name}")
                yield connection
                for _, sql in triggers:
                    connection.execute(sql)
        finally:
            connection.close()

    return raw


# Whether it is worth it.


def test_progress_grows_to_the_end(saver: EventLogSaver) -> None:
    fill(saver)
    told: list[tuple[int, int]] = []
    saver.compact(progress=lambda done, of: told.append((done, of)))
    assert told[-1][0] == told[-1][1] > 0
    for (before, _), (done, of) in itertools.pairwise(told):
        assert before <= done <= of
    told.clear()
    saver.compact(dry_run=True, progress=lambda done, of: told.append((done, of)))
    assert told[-1][0] == told[-1][1] == saver.log.head().position
