"""What is set on a connection is in force on every connection that a log uses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import EventLog
from langgraph_eventlog.eventlog import database as database_module
from langgraph_eventlog.saver import EventLogSaver

EVERYWHERE = {
    "cell_size_check": 1,
    "temp_store": 2,  # in memory
    "cache_size": -16 * 1024,
    "trusted_schema": 0,
}
WRITING = {"recursive_triggers": 1, "secure_delete": 1, "journal_size_limit": 16 * 1024 * 1024, "query_only": 0}
READING = {"query_only": 1}
CONFIGURED = {
    apsw.SQLITE_DBCONFIG_DEFENSIVE: 1,
    apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA: 0,
    apsw.SQLITE_DBCONFIG_DQS_DML: 0,
    apsw.SQLITE_DBCONFIG_DQS_DDL: 0,
}
FULL, NORMAL = 2, 1


def settings(connection: apsw.Connection, names: Any) -> dict[str, Any]:
    return {name: connection.pragma(name) for name in names}


def configured(connection: apsw.Connection) -> dict[int, int]:
    return {option: connection.config(option, -1) for option in CONFIGURED}


@contextlib.contextmanager
def connection_of(saver: EventLogSaver, role: str) -> Iterator[apsw.Connection]:
    database = saver.log.database
    with {"writer": database.exclusive, "reader": database.reading, "scratch": database.scratch}[role]() as connection:
        yield connection


@pytest.mark.parametrize("role", ["writer", "reader", "scratch"])
@pytest.mark.parametrize("path", ["agent.db", ":memory:", ""])
def test_no_connection_trusts_what_is_in_the_file(make_saver: Any, tmp_path: Path, path: str, role: str) -> None:
    saver = make_saver(tmp_path / path if path == "agent.db" else path)
    with connection_of(saver, role) as connection:
        # A rebuild to compare with may be large: of an encrypted log, it stays in memory all the same.
        temp_store = 1 if role == "scratch" and path == "agent.db" and saver.log.database.key is None else 2
        assert settings(connection, EVERYWHERE) == {**EVERYWHERE, "temp_store": temp_store}
        assert configured(connection) == CONFIGURED
        with pytest.raises(apsw.SQLError, match="no such column"):
            connection.execute('SELECT "no column" FROM meta')


@pytest.mark.parametrize("path", ["agent.db", ":memory:", ""])
@pytest.mark.parametrize(("synchronous", "number"), [("FULL", FULL), ("NORMAL", NORMAL)])
def test_a_writer_is_as_safe_as_was_asked_for_and_erases_what_it_deletes(
    make_saver: Any, tmp_path: Path, path: str, synchronous: str, number: int
) -> None:
    saver = make_saver(tmp_path / path if path == "agent.db" else path, synchronous=synchronous)
    with saver.log.database.exclusive() as connection:
        assert settings(connection, WRITING) == WRITING
        assert connection.pragma("synchronous") == number


def test_a_writer_opened_anew_after_another_was_closed_is_set_up_alike(file_saver: EventLogSaver) -> None:
    """As after a fork."""
    file_saver.log.database._close_idle()
    with file_saver.log.database.exclusive() as connection:
        assert settings(connection, {**WRITING, **EVERYWHERE}) == {**WRITING, **EVERYWHERE}
        assert configured(connection) == CONFIGURED


@pytest.mark.parametrize("read_only", [False, True])
def test_a_reader_only_reads(make_saver: Any, tmp_path: Path, read_only: bool) -> None:
    make_saver(tmp_path / "agent.db").register_thread("t")
    saver = make_saver(tmp_path / "agent.db", read_only=read_only)
    with saver.log.database.reading() as connection:
        assert settings(connection, READING) == READING
        assert connection.readonly("main") is read_only
        with pytest.raises(apsw.ReadOnlyError):
            connection.execute("UPDATE meta SET head = 0")


def test_a_log_that_is_read_only_has_no_connection_that_writes(make_saver: Any, tmp_path: Path) -> None:
    make_saver(tmp_path / "agent.db").register_thread("t")
    saver = make_saver(tmp_path / "agent.db", read_only=True)
    with saver.log.database.exclusive() as connection:
        assert settings(connection, READING) == READING
        assert connection.readonly("main")


def test_what_is_deleted_is_overwritten(make_saver: Any, tmp_path: Path) -> None:
    """In the file itself, once the WAL is folded in."""
    saver = make_saver()
    secret = b"the name of the rose" * 20
    with saver.log.database.writing() as connection:
        connection.execute("CREATE TABLE projection_x (data BLOB)")
        connection.execute("INSERT INTO projection_x VALUES (?)", (secret,))
        connection.execute("INSERT INTO projection_x VALUES ('stays')")
    with saver.log.database.exclusive() as connection:
        connection.pragma("wal_checkpoint(TRUNCATE)")
    with saver.log.database.writing() as connection:
        connection.execute("DELETE FROM projection_x WHERE typeof(data) = 'blob'")
    with saver.log.database.writing() as connection:
        connection.execute("DROP TABLE projection_x")
    saver.close()
    assert secret not in Path(saver.path).read_bytes()


# A file in a folder that cannot be written is read with immutable=1, which passes over the WAL: not if there is one.


@pytest.fixture
def nothing_may_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user without the right to: the administrator, whom tests may run as, has it everywhere."""
    monkeypatch.setattr(database_module.os, "access", lambda *_: False)


@pytest.mark.usefixtures("nothing_may_be_written")
def test_events_that_stand_in_the_wal_are_read_from_an_unwritable_folder(file_saver: EventLogSaver) -> None:
    file_saver.register_thread("t")
    assert Path(file_saver.path + "-wal").stat().st_size > 0
    with EventLog(file_saver.path, read_only=True) as log:
        assert log.head() == file_saver.log.head()
        assert [e.thread_id for e in log.read()] == ["t"]


@pytest.mark.usefixtures("nothing_may_be_written")
def test_without_a_wal_nothing_is_made_beside_the_file(make_saver: Any, tmp_path: Path) -> None:
    saver = make_saver()
    saver.register_thread("t")
    saver.close()
    with EventLog(saver.path, read_only=True) as log:
        assert [e.thread_id for e in log.read()] == ["t"]
        assert [p.name for p in tmp_path.iterdir()] == ["agent.db"]


def test_a_statement_is_prepared_once_for_each_connection(file_saver: Any) -> None:
    """A put's statements are all found in the cache the second time."""
    config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    for n in range(3):
        file_saver.put(config, {"v": 4, "id": str(n), "ts": "", "channel_values": {}}, {}, {})
    with file_saver.log.database.exclusive() as connection:
        before = connection.cache_stats()["misses"]
    file_saver.put(config, {"v": 4, "id": "3", "ts": "", "channel_values": {}}, {}, {})
    with file_saver.log.database.exclusive() as connection:
        assert connection.cache_stats()["misses"] == before
