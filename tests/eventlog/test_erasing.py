"""Erasing: a stub stays of each event, the compaction event says exactly which, and readers beside it see no damage."""

from __future__ import annotations

import contextlib
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import (
    Carried,
    Carry,
    Compaction,
    CorruptRecordError,
    EventErasedError,
    EventLog,
    EventLogError,
    Kind,
    NewEvent,
    Put,
    Whole,
)
from langgraph_eventlog.eventlog.erasing import Erasure, ranges_of
from langgraph_eventlog.eventlog.event import ERASABLE
from langgraph_eventlog.eventlog.plain import pack

EMPTY = Whole("=", pack({}))


@pytest.fixture
def bare(tmp_path: Any) -> Any:
    """A log without projections, in which everything may be erased."""
    with EventLog(tmp_path / "bare.db") as log:
        yield log
        assert list(log.verify()) == []


def put(log: EventLog, n: int, base: int | None = None) -> int:
    value = Whole("t", b"value %d" % n) if base is None else Carried(base)
    return log.append(NewEvent(Put(f"c{n}", None, pack({}), {"x": value}, EMPTY, EMPTY, {}), "t")).position


def erase(log: EventLog, positions: list[int]) -> Erasure:
    erasure = Erasure()

    def decide(connection: Any) -> NewEvent:
        erasure.erase(connection, positions, enough=lambda _: False)
        return NewEvent(Compaction({}, erasure.ranges, erasure.size))

    log.transact(decide)
    return erasure


@pytest.mark.parametrize(
    ("positions", "ranges"),
    [
        ([], ()),
        ([7], ((7, 7),)),
        ([9, 8, 7], ((7, 9),)),
        ([9, 7, 6, 1], ((1, 1), (6, 7), (9, 9))),
        ([1, 3, 2, 5], ((1, 3), (5, 5))),
    ],
)
def test_ranges_hold_what_was_erased_and_nothing_between(positions: list[int], ranges: Any) -> None:
    assert ranges_of(positions) == ranges


def test_what_is_erased_is_counted_and_what_is_gone_already_is_passed_over(bare: EventLog) -> None:
    for n in range(6):
        put(bare, n)
    bare.append(NewEvent(Carry("a user's", {"n": 1})))
    bare.append(NewEvent(Carry("a user's", {"n": 2})))
    sizes = {event.position: event.size for event in bare.read()}
    assert erase(bare, [4, 2]).positions == [4, 2]
    second = erase(bare, [7, 5, 4, 3, 2])
    assert second.positions == [7, 5, 3]
    assert second.kinds == {Kind.CARRY: 1, Kind.PUT: 2}
    assert second.size == sizes[7] + sizes[5] + sizes[3]
    assert second.ranges == ((3, 3), (5, 5), (7, 7))
    assert [event.position for event in bare.read()] == [1, 6, 8, 9, 10]


def test_it_ends_when_that_is_enough_also_where_nothing_is_left_to_erase(bare: EventLog) -> None:
    for n in range(6):
        put(bare, n)
    erase(bare, [5, 4])
    erasure, last = Erasure(), []

    def decide(connection: Any) -> NewEvent:
        looked = iter([False, True])
        last.append(erasure.erase(connection, [5, 4, 3], enough=lambda _: next(looked)))
        last.append(erasure.erase(connection, [3, 2], enough=lambda found: len(found.positions) == 1))
        return NewEvent(Compaction({}, erasure.ranges, erasure.size))

    bare.transact(decide)
    assert (last, erasure.positions) == ([4, 3], [3])


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 6])
def test_verify_beside_an_erasure_finds_nothing(bare: EventLog, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """Whatever it has walked past already, the compaction that says so is beyond the head that it began with."""
    for n in range(700):
        put(bare, n)
    read = bare.database.reading
    count = 0

    @contextlib.contextmanager
    def reading() -> Any:
        nonlocal count
        count += 1
        if count == batch:
            monkeypatch.undo()
            erase(bare, [3, 300, 301, 600])
            monkeypatch.setattr(bare.database, "reading", reading)
        with read() as connection:
            yield connection

    monkeypatch.setattr(bare.database, "reading", reading)
    anchor = bare.head()
    assert list(bare.verify(anchor=anchor)) == []
    assert count > batch
    monkeypatch.undo()


def test_verify_finds_an_erasure_of_which_no_later_event_says_anything_either(
    bare: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        put(bare, n)
    read = bare.database.reading
    hidden = []

    @contextlib.contextmanager
    def reading() -> Any:
        if not hidden:
            hidden.append(True)
            bare.transact(lambda connection: _undeclared(connection, 2))
        with read() as connection:
            yield connection

    monkeypatch.setattr(bare.database, "reading", reading)
    found = [(finding.code, finding.position) for finding in bare.verify()]
    monkeypatch.undo()
    assert found == [("erased", 2)]
    bare.append(NewEvent(Compaction({}, ((2, 2),), 0)))


def _undeclared(connection: Any, position: int) -> NewEvent:
    Erasure().erase(connection, [position], enough=lambda _: False)
    return NewEvent(Compaction({}, (), 0))


def test_values_of_an_event_that_was_erased_since_it_was_read_are_an_error_that_says_so(bare: EventLog) -> None:
    put(bare, 1)
    put(bare, 2, base=1)
    put(bare, 3)
    first, second, third = bare.read()
    erase(bare, [2, 1])
    assert bare.values(first) == {"x": Whole("t", b"value 1")}  # it holds them itself
    assert bare.values(third) == {"x": Whole("t", b"value 3")}
    with pytest.raises(EventErasedError, match=r"event 2 .* has been erased since it was read") as caught:
        bare.values(second)
    assert caught.value.position == 2
    assert isinstance(caught.value, EventLogError)
    assert not isinstance(caught.value, CorruptRecordError)


def test_what_removes_and_what_says_so_is_never_erased(filled: Any, helpers: Any) -> None:
    """The file itself refuses, whoever asks."""
    filled.log.append(NewEvent(Compaction({}, (), 0)))
    filled.register_thread("more")
    lasting = [event for event in filled.log.read() if event.kind not in ERASABLE]
    assert {event.kind for event in lasting} >= {Kind.DELETE_THREAD, Kind.DELETE_FOR_RUNS, Kind.PRUNE, Kind.COMPACTION}
    with helpers.raw(filled.path) as connection:
        for event in lasting:
            with pytest.raises(apsw.ConstraintError):
                connection.execute("INSERT INTO erased VALUES (?, ?, ?)", (event.position, int(event.kind), bytes(32)))
            with pytest.raises(apsw.ConstraintError):
                connection.execute("DELETE FROM event WHERE position = ?", (event.position,))
