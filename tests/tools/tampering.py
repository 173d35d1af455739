"""Ways to tamper with a log's file, by who can write it and knows FORMAT.md: for the tests of `verify`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import apsw
from langgraph_eventlog.eventlog import NewEvent, PutWrites, Whole, appender
from langgraph_eventlog.saver import EventLogSaver

__all__ = ["TAMPERINGS", "edited_record", "rebuild"]

AT = 100  # the event that is tampered with: a put_writes with a message in it


def _of_the_log() -> ModuleType:
    """tests/eventlog/conftest.py: without_triggers, and recompute, which is written from FORMAT.md alone."""
    path = Path(__file__).parents[1] / "eventlog" / "conftest.py"
    spec = importlib.util.spec_from_file_location("conftest_of_eventlog", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_HELPERS = _of_the_log()


def edited_record(path: Path) -> tuple[int, bytes]:
    """The position of a write that says "euros", and a record that says "dollar" there, well formed."""
    with EventLogSaver(path, read_only=True) as saver:
        for event in saver.log.read():
            data = event.data
            if not isinstance(data, PutWrites):
                continue
            wholes = [w for w in data.writes if isinstance(w.value, Whole)]
            if event.position >= AT and any(b"euros" in w.value.data for w in wholes):
                writes = tuple(
                    w._replace(value=replace(w.value, data=w.value.data.replace(b"euros", b"dolla")))
                    if isinstance(w.value, Whole)
                    else w
                    for w in data.writes
                )
                edited = NewEvent(data._replace(writes=writes), event.thread_id, event.checkpoint_ns or "")
                return event.position, appender.prepare(edited).record
    raise AssertionError("the log has no such write")


def rebuild(path: Path) -> None:
    """Make the tables what the tampered log gives."""
    with EventLogSaver(path) as saver:
        saver.rebuild()


def _edit(path: Path, *, digest: bool = False, chain: bool = False) -> None:
    position, record = edited_record(path)
    with _HELPERS.without_triggers(path) as connection:
        connection.execute("UPDATE event SET record = ? WHERE position = ?", (record, position))
        if digest:
            connection.execute("UPDATE event SET digest = ? WHERE position = ?", (sha256(record).digest(), position))
        if chain:
            _HELPERS.recompute(connection)
    if chain:
        rebuild(path)


def _swap(path: Path, *, chain: bool = False) -> None:
    """Two registrations, which nothing refers to: the log is well formed afterwards."""
    columns = "recorded_at, kind, stream, record, digest"
    with _HELPERS.without_triggers(path) as connection:
        sql = f"SELECT position, {columns} FROM event WHERE kind = 7 ORDER BY position LIMIT 2"
        (one, *first), (two, *second) = connection.execute(sql).fetchall()
        for position, values in ((one, second), (two, first)):
            names = ", ".join(f"{name} = ?" for name in columns.split(", "))
            connection.execute(f"UPDATE event SET {names} WHERE position = ?", (*values, position))
        if chain:
            _HELPERS.recompute(connection)
    if chain:
        rebuild(path)


def _cut_off(path: Path) -> None:
    with _HELPERS.without_triggers(path) as connection:
        connection.execute("DELETE FROM event WHERE position > 500")
        _HELPERS.recompute(connection)
    rebuild(path)


def _take_out(path: Path) -> None:
    with _HELPERS.without_triggers(path) as connection:
        connection.execute("DELETE FROM event WHERE position = ?", (AT,))


def _take_out_with_stub(path: Path) -> None:
    with _HELPERS.without_triggers(path) as connection:
        ((kind,),) = connection.execute("SELECT kind FROM event WHERE position = ?", (AT,)).fetchall()
        connection.execute("DELETE FROM event WHERE position = ?", (AT,))
        connection.execute("INSERT INTO erased VALUES (?, ?, zeroblob(32))", (AT, kind))
        _HELPERS.recompute(connection)


def _backdate(path: Path) -> None:
    with _HELPERS.without_triggers(path) as connection:
        connection.execute("UPDATE event SET recorded_at = recorded_at - 3600000000 WHERE position = ?", (AT,))


def _hide_in_a_table(path: Path) -> None:
    with apsw.Connection(str(path)) as connection:
        connection.execute(
            "UPDATE history_recent SET hidden = 1 WHERE position = (SELECT max(position) FROM history_recent)"
        )
        assert connection.changes()
    connection.close()


# What was done; the codes of findings of a plain check; of a quick one; whether an anchor from after it finds it.
TAMPERINGS: dict[str, tuple[Callable[[Path], Any], set[str], set[str], bool]] = {
    "a record edited": (_edit, {"digest"}, {"digest"}, False),
    "a record edited, and its digest": (lambda path: _edit(path, digest=True), {"link"}, {"link"}, False),
    "a record edited, and the chain recomputed": (lambda path: _edit(path, chain=True), set(), set(), True),
    "two events swapped": (_swap, {"link"}, {"link"}, False),
    "two events swapped, and the chain recomputed": (lambda path: _swap(path, chain=True), set(), set(), True),
    "an event taken out": (_take_out, {"gap", "link"}, {"gap", "link"}, False),
    "an event taken out as if erased": (_take_out_with_stub, {"erased"}, {"erased"}, True),
    "an event backdated": (_backdate, {"link"}, {"link"}, False),
    "the tail cut off": (_cut_off, set(), set(), True),
    "a checkpoint hidden in a table": (_hide_in_a_table, {"projection"}, set(), False),
}
