"""verify() names exactly the checkpoints that damage makes unreadable; all others are read as they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from langgraph_eventlog.eventlog import CorruptRecordError, Kind
from langgraph_eventlog.saver import CheckpointFinding, EventLogSaver

from .logs import Name, Seen, Truth, config, untriggered


def affected(saver: EventLogSaver) -> dict[Name, tuple[str, ...]]:
    found = [f for f in saver.verify() if isinstance(f, CheckpointFinding)]
    named = {Name(f.thread_id, f.checkpoint_ns, f.checkpoint_id): f.channels for f in found}
    assert len(named) == len(found), "named twice"
    assert all(f.code == "checkpoint" and repr(f.checkpoint_id) in str(f) for f in found)
    return named


def by_brute_force(saver: EventLogSaver, truth: Truth) -> dict[Name, tuple[str, ...]]:
    seen = Seen(saver, truth, everything=False)
    assert seen.as_it_was, (seen.different, seen.missing)
    for error in seen.failed.values():
        assert isinstance(error, CorruptRecordError)
        assert error.path == saver.path
        assert saver.path in str(error)
        assert f"event {error.position} " in str(error)
    return dict.fromkeys(seen.failed, ()) | {name: tuple(channels) for name, channels in seen.lost.items()}


def test_a_log_that_is_whole_names_none(copy: Callable[[], Path], opened: Callable[[Path], EventLogSaver]) -> None:
    assert list(opened(copy()).verify()) == []


def test_the_log_that_is_damaged_has_every_kind_of_event(truth: Truth) -> None:
    assert {event.kind for event in truth.events.values()} == set(Kind)


def test_each_damaged_or_missing_record_is_listed_with_what_depends_on_it_and_nothing_else(
    copy: Callable[[], Path], opened: Callable[[Path], EventLogSaver], truth: Truth
) -> None:
    counts = []
    for position, event in truth.events.items():
        for damage in ("flipped", "missing")[: 2 if position % 4 == 0 else 1]:
            path = copy()
            with untriggered(path) as connection:
                if damage == "missing":
                    connection.execute("DELETE FROM event WHERE position = ?", (position,))
                else:
                    (record,) = next(connection.execute("SELECT record FROM event WHERE position = ?", (position,)))
                    at = (7 * position) % len(record)
                    record = record[:at] + bytes([record[at] ^ 1 << position % 8]) + record[at + 1 :]
                    connection.execute("UPDATE event SET record = ? WHERE position = ?", (record, position))
            saver = opened(path)
            listed, failing = affected(saver), by_brute_force(saver, truth)
            assert listed == failing, (position, event.kind, damage)
            counts.append(len(failing))
    # Not vacuous: nothing, one, and many checkpoints, of their own and through others.
    assert min(counts) == 0
    assert 1 in counts
    assert max(counts) >= 8


def test_two_damaged_records_are_listed_with_what_depends_on_either(
    copy: Callable[[], Path], opened: Callable[[Path], EventLogSaver], truth: Truth
) -> None:
    positions = list(truth.events)
    for one, two in zip(positions[::5], positions[3::7], strict=False):
        path = copy()
        with untriggered(path) as connection:
            connection.execute(
                "UPDATE event SET record = CAST(record || x'00' AS BLOB) WHERE position IN (?, ?)", (one, two)
            )
        saver = opened(path)
        assert affected(saver) == by_brute_force(saver, truth), (one, two)


def test_what_a_saver_has_in_memory_does_not_hide_damage(
    copy: Callable[[], Path], opened: Callable[[Path], EventLogSaver], truth: Truth
) -> None:
    path = copy()
    saver = opened(path)
    for name in truth.names:
        saver.get_tuple(config(name))
    with untriggered(path) as connection:
        connection.execute("UPDATE event SET digest = zeroblob(32) WHERE position = 1")
    listed = affected(saver)
    assert listed
    assert listed == by_brute_force(opened(path), truth)


@pytest.mark.anyio
async def test_the_async_twin_lists_the_same(copy: Callable[[], Path], opened: Callable[[Path], EventLogSaver]) -> None:
    path = copy()
    with untriggered(path) as connection:
        connection.execute("UPDATE event SET digest = zeroblob(32) WHERE position = 1")
    saver = opened(path)
    assert [finding async for finding in saver.averify()] == list(saver.verify())


def test_a_projection_that_cannot_be_read_ends_the_list_with_a_finding(
    copy: Callable[[], Path], opened: Callable[[Path], EventLogSaver]
) -> None:
    path = copy()
    with untriggered(path) as connection:
        connection.execute("UPDATE history SET parent_id = x'00ff61' WHERE parent_id IS NOT NULL")
    findings = list(opened(path).verify())
    assert {f.code for f in findings} >= {"projection", "sqlite"}
    assert "list of checkpoints" in str(findings[-1])
