"""Every column of every row, damaged in ways that SQLite thinks fine: what is read is right, or one of our errors.

That verify() finds each change is in tests/eventlog/test_verify.py; here it is what readers, and writers, get.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import EventLogError, Kind, LogDamagedError
from langgraph_eventlog.eventlog.integrity import digest_of
from langgraph_eventlog.eventlog.record import base_of_patch
from langgraph_eventlog.projections.rebuild import TABLES
from langgraph_eventlog.saver import EventLogSaver

from .logs import Name, Seen, Truth, config, golden, untriggered

Damage = Callable[[Any, int], Any]


def flipped(at: int) -> Damage:
    def flip(value: bytes, position: int) -> bytes:
        place = at if at >= 0 else len(value) + at
        place = min(place, len(value) - 1)
        return value[:place] + bytes([value[place] ^ 1 << position % 8]) + value[place + 1 :]

    return flip


BYTES: dict[str, Damage] = {
    **{f"byte {at} flipped": flipped(at) for at in (0, 1, 2, 3, 4, 5, 9, 13, 25, -6, -1)},
    "zeroed": lambda value, _: bytes(len(value)),
    "all ones": lambda value, _: b"\xff" * len(value),
    "emptied": lambda value, _: b"",
    "cut in half": lambda value, _: value[: len(value) // 2],
    "without its last byte": lambda value, _: value[:-1],
    "extended": lambda value, _: value + b"\0",
    "doubled": lambda value, _: value + value,
}
NUMBERS: dict[str, Damage] = {
    "the next": lambda value, _: (value or 0) + 1,
    "one bit": lambda value, position: (value or 0) ^ 1 << position % 6,
    "zero": lambda value, _: 0 if value else 1,
    "negative": lambda value, position: -1 - position,
    "the greatest": lambda value, position: (1 << 63) - 1 - position,
    "the smallest": lambda value, position: -(1 << 63) + position,
}
DAMAGE: list[tuple[str, str, Damage]] = [
    *(("record", what, how) for what, how in BYTES.items()),
    *(("digest", what, how) for what, how in BYTES.items()),
    *(("link", what, how) for what, how in BYTES.items() if "flipped" not in what or what == "byte 0 flipped"),
    *((column, what, how) for column in ("kind", "stream", "recorded_at") for what, how in NUMBERS.items()),
    ("stream", "none", lambda value, _: None if value else 1),
]


def damage_events(path: Path, positions: list[int], column: str, how: Damage) -> set[int]:
    """Damage a column of some events; give the positions whose records cannot be read for it."""
    with untriggered(path) as connection:
        connection.pragma("ignore_check_constraints", "ON")
        for position in positions:
            select = f"SELECT {column} FROM event WHERE position = ?"
            (value,) = next(connection.execute(select, (position,)))
            new = how(value, position)
            assert new != value
            connection.execute(f"UPDATE event SET {column} = ? WHERE position = ?", (new, position))
        rows = connection.execute("SELECT position, record FROM event").fetchall()
    patches = {position: base_of_patch(record) for position, record in rows}
    return {*positions, *(position for position, base in patches.items() if base in positions)}


@pytest.mark.parametrize(("column", "what", "how"), DAMAGE, ids=[f"{column}: {what}" for column, what, _ in DAMAGE])
def test_a_damaged_event_never_yields_a_wrong_value(
    copy: Callable[[], Path],
    opened: Callable[[Path], EventLogSaver],
    truth: Truth,
    column: str,
    what: str,
    how: Damage,
) -> None:
    for third in range(3):
        positions = [position for position in truth.events if position % 3 == third]
        path = copy()
        unreadable = damage_events(path, positions, column, how)
        saver = opened(path)
        seen = Seen(saver, truth)
        assert seen.as_it_was, (seen.different, seen.missing)
        assert seen.errors == [] or column in ("record", "digest", "kind", "stream")
        if column in ("record", "digest"):
            assert set(seen.corrupt) == unreadable
            assert {e.path for e in seen.corrupt.values()} == {str(path)}
            assert seen.events == {at: event for at, event in truth.events.items() if at not in unreadable}
        # What no digest is over, verify() tells.
        wrong = {at for at, event in seen.events.items() if event != truth.events.get(at)}
        assert wrong | set(seen.corrupt) <= {finding.position for finding in saver.log.verify()}
        with contextlib.suppress(EventLogError):
            saver.rebuild()


def test_an_event_at_another_position_is_an_error_of_those_that_need_it(
    copy: Callable[[], Path], opened: Callable[[Path], EventLogSaver], truth: Truth
) -> None:
    for position in list(truth.events)[::6]:
        path = copy()
        with untriggered(path) as connection:
            connection.execute("UPDATE event SET position = position + 1000 WHERE position = ?", (position,))
        saver = opened(path)
        seen = Seen(saver, truth, everything=False)
        assert seen.as_it_was, (seen.different, seen.missing)
        assert {position, position + 1000} <= {finding.position for finding in saver.log.verify()}


def test_two_records_with_their_digests_in_each_others_place_are_not_taken_for_each_other(
    copy: Callable[[], Path], opened: Callable[[Path], EventLogSaver], truth: Truth
) -> None:
    """Each matches its digest; what a projection says of each does not fit."""
    puts = [position for position, event in truth.events.items() if event.kind is Kind.PUT]
    for one, two in zip(puts[::2], puts[1::2], strict=False):
        path = copy()
        with untriggered(path) as connection:
            rows = dict.fromkeys((one, two))
            for position in rows:
                rows[position] = next(
                    connection.execute("SELECT record, digest, stream FROM event WHERE position = ?", (position,))
                )
            for position, other in ((one, two), (two, one)):
                connection.execute(
                    "UPDATE event SET record = ?, digest = ?, stream = ? WHERE position = ?", (*rows[other], position)
                )
        seen = Seen(opened(path), truth, everything=False)
        assert seen.as_it_was, (one, two, seen.different, seen.missing)
        assert seen.failed


MENDED = [(what, how) for what, how in BYTES.items() if what != "emptied"]


@pytest.mark.parametrize(("what", "how"), MENDED, ids=[what for what, _ in MENDED])
def test_a_record_whose_digest_was_mended_is_decoded_or_refused_and_found(
    copy: Callable[[], Path], opened: Callable[[Path], EventLogSaver], truth: Truth, what: str, how: Damage
) -> None:
    """Nothing protects its values any more but the chain: still no error that is not ours, and verify() tells."""
    path = copy()
    positions = list(truth.events)[::2]
    damage_events(path, positions, "record", how)
    with untriggered(path) as connection:
        for position, record in connection.execute("SELECT position, record FROM event").fetchall():
            connection.execute("UPDATE event SET digest = ? WHERE position = ?", (digest_of(record), position))
    saver = opened(path)
    Seen(saver, truth)
    assert {("link", position) for position in positions} <= {(f.code, f.position) for f in saver.verify()}


META = ["head", "link", "generation", "log_id", "created_at"]
TABLES_OF_THE_LOG = {
    "meta": META,
    "thread": ["thread", "thread_id"],
    "stream": ["stream", "thread", "checkpoint_ns"],
    "erased": ["position", "kind", "inner"],
    "projection": ["name", "schema_version", "progress"],
}
ROWS = [(table, column) for table, columns in TABLES_OF_THE_LOG.items() for column in (*columns, "a missing row")]


def damaged_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value[:-1]
    if isinstance(value, str):
        return value + "?"
    return 1_000 if value is None else value + 1_000


def use(saver: EventLogSaver) -> list[EventLogError]:
    """Whatever a program may do: each succeeds, or fails with an error of ours."""
    make = golden()
    failed = []

    def attempt(call: Callable[[], Any]) -> None:
        try:
            call()
        except EventLogError as e:
            failed.append(e)

    for thread in ("a", "new"):
        attempt(lambda thread=thread: make.put(saver, thread, "c8", "c2"))
        attempt(lambda thread=thread: saver.put_writes(make.config(thread, "c8"), [("messages", "more")], "task"))
        attempt(lambda thread=thread: saver.register_thread(thread, "name", {"k": 1}))
        attempt(lambda thread=thread: saver.copy_thread(thread, f"copy of {thread}"))
        attempt(lambda thread=thread: saver.delete_for_runs([f"{thread}-c2"]))
        attempt(lambda thread=thread: saver.prune([thread]))
        attempt(lambda thread=thread: saver.delete_thread(thread))
        attempt(lambda thread=thread: list(saver.list(None, filter={"owner": "ann", "step": 1})))
    return failed


@pytest.mark.parametrize(("table", "column"), ROWS, ids=[f"{table}.{column}" for table, column in ROWS])
def test_a_damaged_row_beside_the_events_is_right_or_our_error_for_readers_and_writers(
    copy: Callable[[], Path],
    opened: Callable[[Path], EventLogSaver],
    truth: Truth,
    table: str,
    column: str,
) -> None:
    path = copy()
    with untriggered(path) as connection:
        connection.pragma("ignore_check_constraints", "ON")
        key = "name" if table == "projection" else "rowid"
        for (row,) in connection.execute(f"SELECT {key} FROM {table}").fetchall():
            if column == "a missing row":
                connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (row,))
                continue
            (value,) = next(connection.execute(f"SELECT {column} FROM {table} WHERE {key} = ?", (row,)))
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (damaged_value(value), row))
    try:
        saver = opened(path)
    except EventLogError:
        return
    seen = Seen(saver, truth)
    assert not [name for name in seen.different if name.id != "list"], seen.different
    assert column in ("generation", "progress") or table == "projection" or list(saver.verify())
    use(saver)
    list(saver.verify())
    with contextlib.suppress(EventLogError):
        saver.rebuild()


PROJECTED = {
    "history": [
        *("checkpoint_id", "position", "applied", "parent_id", "run_id", "source", "step", "hidden", "bytes"),
        "metadata",
    ],
    "history_recent": [
        *("checkpoint_id", "position", "applied", "parent_id", "run_id", "source", "step", "hidden", "bytes"),
        "metadata",
    ],
    "pending_writes": ["checkpoint_id", "applied", "ordinal", "position", "writes", "bytes"],
    "threads": ["created_at", "last_activity", "checkpoints", "writes", "bytes", "name", "metadata"],
    "metadata_index": ["name", "value", "checkpoint_id", "stream"],
}
COLUMNS = [(table, column) for table, columns in PROJECTED.items() for column in (*columns, "a missing row")]


def test_these_are_all_projections() -> None:
    assert set(PROJECTED) == set(TABLES)


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[f"{table}.{column}" for table, column in COLUMNS])
def test_a_damaged_projection_is_found_and_a_rebuild_repairs_it(
    copy: Callable[[], Path], opened: Callable[[Path], EventLogSaver], truth: Truth, table: str, column: str
) -> None:
    path = copy()
    with untriggered(path) as connection:
        connection.pragma("ignore_check_constraints", "ON")
        if column == "a missing row":
            connection.execute(f"DELETE FROM {table}")
        else:
            changes = 0
            for damage in (f"{column} || x'00ff'", f"coalesce({column}, 0) + 1", f"{column} || '?'", "7", "x'07'"):
                with contextlib.suppress(apsw.ConstraintError, apsw.SQLError):  # what the column does not take
                    connection.execute(f"UPDATE OR IGNORE {table} SET {column} = {damage}")
                    changes += connection.changes()
            assert changes
    saver = opened(path)
    Seen(saver, truth)
    assert list(saver.log.verify())
    use_before = saver.log.head()
    saver.rebuild()
    assert saver.log.head() == use_before
    again = opened(path)
    seen = Seen(again, truth)
    assert (seen.failed, seen.lost, seen.missing, seen.different, seen.errors) == ({}, {}, [], [], [])
    assert list(again.verify()) == []


def test_writing_goes_on_on_a_log_with_a_damaged_record(
    copy: Callable[[], Path], opened: Callable[[Path], EventLogSaver], truth: Truth
) -> None:
    """What does not depend on it is put and read as ever."""
    for position in list(truth.events)[::6]:
        path = copy()
        damage_events(path, [position], "record", BYTES["byte 9 flipped"])
        saver = opened(path)
        failed = use(saver)
        assert all(isinstance(e, LogDamagedError) for e in failed), failed
        make = golden()
        make.put(saver, "quite new", "c1")
        found = saver.get_tuple(config(Name("quite new", "", "c1")))
        assert found is not None
        assert found.checkpoint["channel_values"]["messages"] == ["hello c1"]
