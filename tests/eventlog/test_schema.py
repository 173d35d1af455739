"""What has been appended stays: triggers in the file abort every change, whichever program tries, however."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import EventLog, LogDamagedError
from langgraph_eventlog.eventlog.opening import expected_schema, folded

H = "zeroblob(32)"
EVENT = "event (position, recorded_at, kind, stream, record, digest, link)"

ABORTED = {
    # event
    "update a record": "UPDATE event SET record = x'00' WHERE position = 1",
    "update nothing really": "UPDATE event SET link = link",
    "update or ignore": "UPDATE OR IGNORE event SET kind = 2 WHERE position = 1",
    "update or replace": "UPDATE OR REPLACE event SET position = 2 WHERE position = 1",
    "update the rowid": "UPDATE event SET rowid = 500 WHERE position = 1",
    "delete an event": "DELETE FROM event WHERE position = 1",
    "delete a removal": "DELETE FROM event WHERE kind = 3",
    "delete the newest": "DELETE FROM event WHERE position = (SELECT max(position) FROM event)",
    "delete all events": "DELETE FROM event",
    "replace an event": f"INSERT OR REPLACE INTO {EVENT} SELECT 1, 0, 1, 1, x'', {H}, {H}",
    "replace into": f"REPLACE INTO {EVENT} VALUES (1, 0, 1, 1, x'', {H}, {H})",
    "replace by rowid": "REPLACE INTO event (rowid, recorded_at, kind, record, digest, link)"
    f" VALUES (1, 0, 1, x'', {H}, {H})",
    "upsert an event": f"INSERT INTO {EVENT} VALUES (1, 0, 1, 1, x'', {H}, {H}) ON CONFLICT DO UPDATE SET record = x''",
    "insert or ignore": f"INSERT OR IGNORE INTO {EVENT} VALUES (1, 0, 1, 1, x'', {H}, {H})",
    "skip a position": f"INSERT INTO {EVENT} SELECT max(position) + 2, 0, 1, 1, x'', {H}, {H} FROM event",
    "fill a hole": f"INSERT INTO {EVENT} VALUES ((SELECT position FROM erased), 0, 1, 1, x'', {H}, {H})",
    "insert at zero": f"INSERT INTO {EVENT} VALUES (0, 0, 1, 1, x'', {H}, {H})",
    "a position by default": f"INSERT INTO {EVENT} VALUES (NULL, 0, 1, 1, x'', {H}, {H})",
    # erased
    "update a stub": "UPDATE erased SET inner = zeroblob(32)",
    "delete a stub": "DELETE FROM erased",
    "replace a stub": f"REPLACE INTO erased SELECT position, kind, {H} FROM erased",
    "upsert a stub": f"INSERT INTO erased SELECT position, kind, {H} FROM erased WHERE true"
    f" ON CONFLICT DO UPDATE SET inner = {H}",
    "a stub of nothing": f"INSERT INTO erased VALUES (5000, 1, {H})",
    "a stub of another kind": f"INSERT INTO erased VALUES (1, 2, {H})",
    "a stub of a removal": f"INSERT INTO erased SELECT position, 1, {H} FROM event WHERE kind = 3",
    "a stub of a removal as it is": f"INSERT INTO erased SELECT position, kind, {H} FROM event WHERE kind = 3",
    "a stub of the newest": f"INSERT INTO erased SELECT max(position), kind, {H} FROM event",
    "a stub that is short": "INSERT INTO erased VALUES (1, 1, x'00')",
    # thread, stream
    "rename a thread": "UPDATE thread SET thread_id = 'x' WHERE thread = 1",
    "renumber a thread": "UPDATE OR REPLACE thread SET thread = 2 WHERE thread = 1",
    "delete a thread": "DELETE FROM thread WHERE thread = 1",
    "replace a thread": "REPLACE INTO thread VALUES (1, 'x')",
    "replace a thread by its id": "REPLACE INTO thread VALUES (999, 'a')",
    "replace a thread by rowid": "REPLACE INTO thread (rowid, thread_id) VALUES (1, 'x')",
    "upsert a thread": "INSERT INTO thread VALUES (1, 'x') ON CONFLICT DO UPDATE SET thread_id = 'x'",
    "rename a stream": "UPDATE stream SET checkpoint_ns = 'x' WHERE stream = 1",
    "move a stream": "UPDATE stream SET thread = 2 WHERE stream = 1",
    "delete a stream": "DELETE FROM stream WHERE stream = 1",
    "replace a stream": "REPLACE INTO stream VALUES (1, 1, 'x')",
    "replace a stream by its name": "REPLACE INTO stream VALUES (999, 1, '')",
    "upsert a stream": "INSERT INTO stream VALUES (1, 1, 'x') ON CONFLICT DO UPDATE SET checkpoint_ns = 'x'",
    # meta
    "another log's id": "UPDATE meta SET log_id = zeroblob(16)",
    "another time of birth": "UPDATE meta SET created_at = 0",
    "another row number": "UPDATE meta SET id = 2",
    "delete meta": "DELETE FROM meta",
    "a second meta": "INSERT INTO meta SELECT 2, head, link, generation, log_id, created_at FROM meta",
    "replace meta": f"REPLACE INTO meta SELECT 1, 0, {H}, 1, zeroblob(16), 0",
    "upsert meta": f"INSERT INTO meta SELECT 1, 0, {H}, 1, zeroblob(16), 0 FROM meta WHERE true"
    " ON CONFLICT DO UPDATE SET created_at = 0",
}

LOG_TABLES = ("event", "erased", "thread", "stream", "meta")


def dump(path: str) -> list[Any]:
    connection = apsw.Connection(path)
    try:
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in LOG_TABLES]
    finally:
        connection.close()


@pytest.fixture(params=["sqlite3", "sqlite3, recursive triggers", "apsw"])
def stranger(request: pytest.FixtureRequest, erased_log: Any) -> Iterator[Any]:
    """Another program's connection; the log is closed, as two copies of SQLite do not know each other's locks."""
    erased_log.close()
    if request.param == "apsw":
        connection: Any = apsw.Connection(erased_log.path)
    else:
        connection = sqlite3.connect(erased_log.path, isolation_level=None)
        if "recursive" in request.param:
            connection.execute("PRAGMA recursive_triggers = ON")
    yield connection
    connection.close()


@pytest.mark.plain_file("another program opens it")
def test_every_change_of_what_has_been_appended_is_aborted(erased_log: Any, stranger: Any) -> None:
    before = dump(erased_log.path)
    for what, sql in ABORTED.items():
        with pytest.raises((sqlite3.IntegrityError, apsw.ConstraintError)):  # noqa: PT012  the failure names the case
            stranger.execute(sql)
            pytest.fail(f"{what}: {sql}")
    assert dump(erased_log.path) == before


def test_a_put_with_its_stub_in_place_may_go_and_a_removal_may_not(
    make_saver: Any, erased_log: Any, helpers: Any
) -> None:
    """The one deletion there is, and it leaves a trace that stays."""
    make_saver.damaged(erased_log.path)
    with helpers.raw(erased_log.path) as connection:
        connection.execute(f"INSERT INTO erased VALUES (1, 1, {H})")
        connection.execute("DELETE FROM event WHERE position = 1")
        with pytest.raises(apsw.ConstraintError):
            connection.execute("DELETE FROM erased WHERE position = 1")
        connection.execute(f"INSERT INTO erased VALUES (2, 2, {H})")
        with pytest.raises(apsw.ConstraintError):
            connection.execute("DELETE FROM event WHERE position IN (2, 3)")  # 3 has no stub: neither goes
        assert connection.execute("SELECT count(*) FROM event WHERE position = 2").fetchone() == (1,)
    codes = {(f.code, f.position) for f in erased_log.log.verify()}
    assert ("erased", 1) in codes


def test_aborting_leaves_a_transaction_usable(filled: Any, helpers: Any) -> None:
    with helpers.raw(filled.path) as connection:
        connection.execute("BEGIN")
        with pytest.raises(apsw.ConstraintError):
            connection.execute("DELETE FROM event")
        connection.execute("ROLLBACK")
    filled.register_thread("another")


def test_what_the_schema_is_expected_to_be_is_what_sqlite_keeps_of_it(filled: Any, helpers: Any) -> None:
    with helpers.raw(filled.path) as connection:
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql NOT NULL").fetchall()
    kept = {name: (kind, table, folded(sql)) for kind, name, table, sql in rows}
    assert {kept[name][0] for name in expected_schema()} == {"table", "index", "trigger"}
    assert {name: kept[name] for name in expected_schema()} == expected_schema()
    assert {table for _, table, _ in expected_schema().values()} == {*LOG_TABLES, "projection"}
    assert not [name for name, (_, table, _) in kept.items() if table in LOG_TABLES and name not in expected_schema()]


@pytest.mark.parametrize("name", sorted(expected_schema()))
def test_a_log_without_one_of_its_tables_or_triggers_is_not_opened(
    filled: Any, helpers: Any, make_saver: Any, name: str
) -> None:
    make_saver.damaged(filled.path)
    filled.close()
    with helpers.raw(filled.path) as connection:
        ((kind,),) = connection.execute("SELECT type FROM sqlite_schema WHERE name = ?", (name,)).fetchall()
        for (trigger,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?", (name,)
        ).fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(f"DROP {kind} {name}")
    for read_only in (False, True):
        with pytest.raises(LogDamagedError):
            EventLog(filled.path, read_only=read_only)


def test_the_schema_has_a_guard_for_every_table_of_the_log(filled: Any, helpers: Any) -> None:
    with helpers.raw(filled.path) as connection:
        rows = connection.execute("SELECT tbl_name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for table in LOG_TABLES:
        guards = " ".join(sql for name, sql in rows if name == table)
        assert all(f"BEFORE {change}" in guards for change in ("INSERT", "UPDATE", "DELETE")), table
