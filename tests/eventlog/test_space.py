"""Space goes back to the file system; what is left of the erased can be counted."""

from __future__ import annotations

import os
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import EventLog, LogClosedError
from langgraph_eventlog.eventlog.space import (
    fold,
    free_some,
    pages_with_remains,
    rewrite,
    sizes,
    truncate_wal,
)


@pytest.fixture
def used(log: EventLog) -> EventLog:
    """A log with a table of which most has been deleted."""
    with log.database.writing() as connection:
        connection.execute("CREATE TABLE history_rebuild (n INTEGER PRIMARY KEY, b BLOB)")
        connection.executemany("INSERT INTO history_rebuild (b) VALUES (?)", [(os.urandom(3_000),) for _ in range(300)])
    with log.database.writing() as connection:
        connection.execute("DELETE FROM history_rebuild WHERE n > 20")
    yield log
    with log.database.writing() as connection:
        connection.execute("DROP TABLE history_rebuild")


def free_pages(log: EventLog) -> int:
    with log.database.reading() as connection:
        return connection.pragma("freelist_count")


def test_free_pages_go_back_some_at_a_time_and_the_file_is_smaller(used: EventLog) -> None:
    database = used.database
    assert truncate_wal(database, sleep=lambda _: None)
    before, free = sizes(database), free_pages(used)
    assert free > 200
    with database.writing() as connection:
        assert free_some(connection, 50) == free - 50 == connection.pragma("freelist_count")
    left = free
    while left:
        with database.writing() as connection:
            left = free_some(connection, 1_000)
    assert truncate_wal(database, sleep=lambda _: None)
    after = sizes(database)
    assert after.wal == 0
    assert before.file - after.file >= free * 2048 > 800_000
    assert after.file == os.path.getsize(used.path)


def test_a_reader_that_stays_keeps_the_wal_and_is_waited_for_a_little(used: EventLog) -> None:
    database = used.database
    assert truncate_wal(database, sleep=lambda _: None)
    slept: list[float] = []
    with database.reading() as reader:
        reader.execute("SELECT count(*) FROM event").fetchall()
        with database.writing() as connection:
            connection.execute("DELETE FROM history_rebuild WHERE n > 10")
        pages, folded = fold(database)
        assert folded < pages
        assert not truncate_wal(database, sleep=slept.append, attempts=3)
        assert len(slept) == 2
        assert sizes(database).wal > 0
    assert truncate_wal(database, sleep=slept.append, attempts=3)
    assert (len(slept), sizes(database).wal) == (2, 0)


def test_remains_are_counted_and_writing_anew_leaves_nothing_of_the_deleted(log: EventLog, make_saver: Any) -> None:
    """Rows of a b-tree that is balanced leave copies behind, also with secure_delete."""
    database = log.database
    with database.writing() as connection:
        connection.execute("CREATE TABLE history_old (k BLOB PRIMARY KEY, t TEXT) WITHOUT ROWID")
        for n in range(4_000):
            connection.execute("INSERT INTO history_old VALUES (?, ?)", (os.urandom(16), f"MARK{n:05} " * 9))
    with database.writing() as connection:
        connection.execute("DELETE FROM history_old")
        connection.execute("INSERT INTO history_old VALUES (x'00', 'left')")
    with database.writing() as connection:
        while free_some(connection, 1_000):
            pass
    assert truncate_wal(database, sleep=lambda _: None)
    with database.writing() as connection:
        for n in range(2_000):
            connection.execute("INSERT INTO history_old VALUES (?, ?)", (os.urandom(16), f"MORE{n:05} " * 9))
    with database.writing() as connection:
        connection.execute("DELETE FROM history_old WHERE random() % 2")
    assert truncate_wal(database, sleep=lambda _: None)
    with_remains = pages_with_remains(database)
    if database.key is None:
        assert with_remains is not None
        assert with_remains > 0
    else:
        assert with_remains is None
    with database.reading() as connection:
        live = {text[:9] for (text,) in connection.execute("SELECT t FROM history_old WHERE k <> x'00'")}
    rewrite(database)
    assert truncate_wal(database, sleep=lambda _: None)
    if database.key is None:
        connection = apsw.VFSFile("", log.path, [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0])
        data = connection.xRead(connection.xFileSize(), 0)
        connection.xClose()
        found = {data[at : at + 9].decode() for at in places(data, b"MORE")}
        assert found == live
        assert b"MARK" not in data
    with database.writing() as connection:
        connection.execute("DROP TABLE history_old")


def places(data: bytes, what: bytes) -> list[int]:
    found, at = [], data.find(what)
    while at >= 0:
        found.append(at)
        at = data.find(what, at + 1)
    return found


def test_looking_into_the_file_takes_no_lock_from_this_process(log: EventLog, make_saver: Any, helpers: Any) -> None:
    """Closing a file that was merely open()ed would: another process could then take the WAL away."""
    pages_with_remains(log.database)
    script = """
import apsw, sys
connection = apsw.Connection(sys.argv[1])
try:
    connection.pragma("locking_mode", "EXCLUSIVE")
    connection.pragma("journal_mode", "delete")
    print(connection.pragma("journal_mode"))
except apsw.BusyError:
    print("in use")
"""
    with log.database.reading() as connection:
        connection.execute("SELECT * FROM meta").fetchall()
        if log.database.key is None:
            assert helpers.run_python(script, log.path).strip() in ("in use", "wal")


def test_a_private_log_has_a_size_no_wal_and_no_remains(make_saver: Any) -> None:
    database = make_saver(":memory:").log.database
    assert sizes(database).file > 0
    assert (sizes(database).wal, fold(database), pages_with_remains(database)) == (0, (0, 0), 0)
    assert truncate_wal(database, sleep=lambda _: None)


def test_a_closed_log_says_so(make_saver: Any) -> None:
    saver = make_saver()
    database = saver.log.database
    saver.close()
    with pytest.raises(LogClosedError):
        fold(database)
