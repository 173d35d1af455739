"""What a check covers: how far it is, which anchors hold, and which positions they prove."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from langgraph_eventlog.eventlog import Coverage, EventLog, Head, NewEvent, PutWrites, Whole, Write
from langgraph_eventlog.eventlog.group_commit import Append


def heads_of(log: EventLog) -> dict[int, Head]:
    return {e.position: Head(e.position, e.link) for e in log.read()}


def covered(log: EventLog, **options: Any) -> tuple[set[tuple[str, int | None]], Coverage]:
    coverage = Coverage()
    return {(f.code, f.position) for f in log.verify(coverage=coverage, **options)}, coverage


@pytest.mark.parametrize("quick", [False, True])
def test_several_anchors_prove_up_to_the_last_that_holds(filled: Any, quick: bool) -> None:
    heads = heads_of(filled.log)
    head = filled.log.head()
    wrong = Head(20, bytes(32))
    found, coverage = covered(filled.log, anchors=[heads[12], wrong, heads[5]], anchor=heads[7], quick=quick)
    assert found == {("anchor", 20)}
    assert coverage.held == [heads[5], heads[7], heads[12]]
    assert coverage.proved == [(1, 12)]
    assert coverage.unproved == [(13, head.position)]
    assert coverage.head == head
    assert coverage.log_id == filled.log.log_id()
    assert coverage.events == head.position


def test_two_anchors_at_one_position_are_told_apart(filled: Any) -> None:
    heads = heads_of(filled.log)
    found, coverage = covered(filled.log, anchors=[heads[7], Head(7, bytes(32))])
    assert found == {("anchor", 7)}
    assert coverage.held == [heads[7]]


def test_erased_events_are_proved_to_have_been_there(erased_log: Any) -> None:
    head = erased_log.log.head()
    found, coverage = covered(erased_log.log, anchor=head)
    assert found == set()
    assert coverage.proved == [(1, head.position)]
    assert coverage.erased == 2
    assert coverage.events == head.position - 2


@pytest.mark.parametrize(
    ("damage", "broken"),
    [
        ("DELETE FROM event WHERE position IN (9, 10)", 11),
        ("UPDATE event SET recorded_at = 1 WHERE position = 9", 9),
        ("UPDATE event SET link = zeroblob(32) WHERE position = 9", 10),
    ],
)
def test_an_anchor_proves_nothing_before_a_break(
    filled: Any, make_saver: Any, helpers: Any, damage: str, broken: int
) -> None:
    make_saver.damaged(filled.path)
    heads = heads_of(filled.log)
    with helpers.without_triggers(filled.path) as connection:
        connection.execute(damage)
    _, coverage = covered(filled.log, anchors=[heads[4], heads[14]])
    assert coverage.held == [heads[4], heads[14]]
    assert coverage.proved == [(1, 4), (broken + 1, 14)]
    assert coverage.unproved == [(5, broken), (15, heads[max(heads)].position)]


def test_an_anchor_at_an_event_that_was_changed_does_not_hold(filled: Any, make_saver: Any, helpers: Any) -> None:
    make_saver.damaged(filled.path)
    heads = heads_of(filled.log)
    with helpers.without_triggers(filled.path) as connection:
        connection.execute("UPDATE event SET recorded_at = 1 WHERE position = 9")
    found, coverage = covered(filled.log, anchor=heads[9])
    assert found >= {("link", 9), ("anchor", 9)}
    assert coverage.proved == []


@pytest.mark.parametrize("table", ["history", "history_recent", "threads"])
def test_a_quick_check_looks_at_the_chain_alone(filled: Any, make_saver: Any, helpers: Any, table: str) -> None:
    make_saver.damaged(filled.path)
    with helpers.raw(filled.path) as connection:
        connection.execute(f"DELETE FROM {table}")
    assert covered(filled.log, quick=True)[0] == set()
    assert "projection" in {code for code, _ in covered(filled.log)[0]}


def test_a_quick_check_finds_every_flipped_record_and_every_false_stub(
    erased_log: Any, make_saver: Any, helpers: Any
) -> None:
    make_saver.damaged(erased_log.path)
    positions = [e.position for e in erased_log.log.read()]
    with helpers.without_triggers(erased_log.path) as connection:
        connection.execute("UPDATE event SET record = CAST(substr(record, 1, length(record) - 1) || 'xyz' AS BLOB)")
        connection.execute("UPDATE erased SET kind = 3 - kind WHERE position = 17")
    found = covered(erased_log.log, quick=True)[0]
    # Of what holds no values the record is decoded, and that it cannot be is found as well: the digest is what is said.
    assert {p for code, p in found if code == "digest"} == set(positions)
    assert ("link", 19) in found


def test_progress_goes_from_nothing_to_everything(filled: Any) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    coverage = Coverage(lambda what, done, total: told.setdefault(what, []).append((done, total)))
    assert list(filled.log.verify(coverage=coverage)) == []
    head = filled.log.head().position
    assert list(told) == ["chain", "projections"]
    for steps in told.values():
        assert steps == sorted(steps)
        assert steps[-1] == (head, head)


def test_memory_does_not_grow_with_the_log(make_saver: Any, tmp_path: Path) -> None:
    """Not even with what was erased: a bit for each."""

    def peak(events: int) -> int:
        log = make_saver(tmp_path / f"{events}.db", synchronous="NORMAL").log
        for first in range(0, events, 64):
            log._append_all(
                [
                    Append(
                        decide=lambda _, n=n: NewEvent(
                            PutWrites(f"c{n}", "t", "", (Write("x", 0, Whole("bytes", bytes(1000))),)), "t"
                        )
                    )
                    for n in range(first, first + 64)
                ]
            )
        tracemalloc.start()
        try:
            assert list(log.verify(quick=True)) == []
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(64)  # what is imported and cached at first
    assert peak(64 * 40) < 1.5 * peak(64 * 8)
