"""A new log is there whole or not at all, for its owner only, wherever its path points, and one only."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import EventLog, LogBusyError, NewEvent, NotAnEventLogError, Thread, opening
from langgraph_eventlog.eventlog.connection import connect
from langgraph_eventlog.saver import EventLogSaver

EVENT = NewEvent(Thread("name", {}), "t")


def used(path: Any) -> str:
    """Make a log, append, open it again and read; give its path."""
    with EventLog(path) as log:
        log.append(EVENT)
        absolute = log.path
    with EventLog(path) as log:
        assert [e.thread_id for e in log.read()] == ["t"]
        assert list(log.verify()) == []
    return absolute


def test_missing_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "agent.db"
    assert used(path) == str(path)


def test_only_the_owner_may_read_the_file_its_wal_and_its_index(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with EventLog(tmp_path / "agent.db") as log:
            log.append(EVENT)
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    finally:
        os.umask(old)
    assert modes == dict.fromkeys(("agent.db", "agent.db-wal", "agent.db-shm"), 0o600)


def test_an_empty_file_becomes_a_log() -> None:
    with tempfile.NamedTemporaryFile(suffix=".db") as file:
        used(file.name)
        for more in ("-wal", "-shm"):
            assert not os.path.exists(file.name + more)


@pytest.mark.parametrize(
    "name",
    [
        "a?b=c.db",
        "a?mode=memory.db",
        "a#b.db",
        "a%41b.db",
        "a%00.db",
        "a b.db",
        "a'b\"c.db",
        "äø\U0001f600.db",
        "a;b&c.db",
        ":memory:.db",
        "file:x.db",
        "-a.db",
        "a\\b.db",
        "a\nb.db",
        "agent",
    ],
)
def test_every_name_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    for folder in (tmp_path, tmp_path / name):
        assert used(folder / "x" / name) == str(folder / "x" / name)
        assert [p.name for p in (folder / "x").iterdir()] == [name]
        with EventLog(folder / "x" / name, read_only=True) as log:
            assert log.head().position == 1


def test_a_path_may_begin_with_two_slashes(tmp_path: Path) -> None:
    used("/" + str(tmp_path / "agent.db"))
    assert (tmp_path / "agent.db").exists()


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert used("~/agent.db") == str(tmp_path / "agent.db")


def test_a_relative_path_means_the_same_file_after_chdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with EventLog("agent.db") as log:
        monkeypatch.chdir(tmp_path / "elsewhere")
        log.append(EVENT)
        # Reading opens another connection.
        assert len(list(log.read())) == 1
        assert list(log.verify()) == []
    assert (tmp_path / "agent.db").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_is_followed(tmp_path: Path) -> None:
    used(tmp_path / "agent.db")
    (tmp_path / "link.db").symlink_to(tmp_path / "agent.db")
    with EventLog(tmp_path / "link.db") as log, EventLog(tmp_path / "agent.db") as direct:
        log.append(EVENT)
        assert direct.head() == log.head()


@pytest.mark.parametrize("path", [":memory:", ""])
def test_a_private_log_is_nobody_elses_and_ends_with_close(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with EventLogSaver(path) as one, EventLogSaver(path) as two:
        one.register_thread("t")
        assert two.log.head().position == 0
        assert one.log.head().position == 1
        assert one.path == path
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(one.log.head().position))
        thread.start()
        thread.join()
        assert seen == [1]
        assert list(one.log.verify()) == []
    with EventLogSaver(path) as again:
        assert again.log.head().position == 0
    assert list(tmp_path.iterdir()) == []


CREATOR = """
import sys
from langgraph_eventlog.eventlog import EventLog, NewEvent, Thread
print("ready", flush=True)
sys.stdin.readline()
with EventLog(sys.argv[1]) as log:
    log.append(NewEvent(Thread(None, {}), sys.argv[2]))
"""


def test_eight_processes_that_make_one_file_at_once_make_one_log(tmp_path: Path) -> None:
    path = tmp_path / "new" / "agent.db"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CREATOR, str(path), f"t{i}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(8)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    with EventLog(path) as log:
        assert sorted(e.thread_id or "" for e in log.read()) == [f"t{i}" for i in range(8)]
        assert list(log.verify()) == []


def test_threads_that_make_one_file_at_once_make_one_log(tmp_path: Path) -> None:
    together = threading.Barrier(6)
    failed: list[BaseException] = []

    def make(i: int) -> None:
        try:
            together.wait()
            with EventLogSaver(tmp_path / "agent.db") as saver:
                saver.register_thread(f"t{i}", "name")
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=make, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with EventLogSaver(tmp_path / "agent.db") as saver:
        assert sorted(t.thread_id for t in saver.threads()) == [f"t{i}" for i in range(6)]
        assert list(saver.log.verify()) == []


# A creation that was killed (FORMAT.md section 1). What a kill leaves is copied while it is there.


def writer(path: Path) -> apsw.Connection:
    return connect(
        str(path),
        flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE,
        busy_timeout_ms=0,
        synchronous="FULL",
        writer=True,
    )


def test_a_creation_that_was_killed_while_it_wrote_is_made_anew(tmp_path: Path) -> None:
    """The journal is synced first: it is there, and says that there were no pages, with any part of the pages."""
    (tmp_path / "made").mkdir()
    connection = writer(tmp_path / "made" / "agent.db")
    connection.execute("BEGIN")
    opening._write_schema(connection, 1)
    connection.pragma("cache_size", 1)
    connection.cache_flush()
    files = {p.name: p.read_bytes() for p in (tmp_path / "made").iterdir()}
    connection.execute("ROLLBACK")
    connection.close()
    journal, main = files["agent.db-journal"], files["agent.db"]
    assert journal[:8] == bytes.fromhex("d9d505f920a163d7")
    assert journal[16:20] == bytes(4)
    assert len(main) > 4096
    for i, size in enumerate((0, 1, 50, 100, 4095, 4096, 4097, 8192, len(main))):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / "agent.db").write_bytes(main[:size])
        (folder / "agent.db-journal").write_bytes(journal)
        used(folder / "agent.db")
        assert [p.name for p in folder.iterdir()] == ["agent.db"]


def test_another_programs_creation_under_way_is_waited_for_and_left_alone(tmp_path: Path) -> None:
    """It looks like an unfinished one of ours: while it goes on it is locked, and then it is seen to be another's."""
    path = tmp_path / "agent.db"
    other = apsw.Connection(str(path))
    other.execute("BEGIN; CREATE TABLE notes (text); INSERT INTO notes VALUES (zeroblob(20000))")
    other.cache_flush()
    assert (tmp_path / "agent.db-journal").read_bytes()[:8] == bytes.fromhex("d9d505f920a163d7")
    with pytest.raises((LogBusyError, NotAnEventLogError)):
        EventLog(path, busy_timeout_ms=20)
    other.execute("COMMIT")
    with pytest.raises(NotAnEventLogError):
        EventLog(path, busy_timeout_ms=20)
    assert other.execute("SELECT length(text) FROM notes").fetchall() == [(20000,)]
    assert other.pragma("journal_mode") == "delete"
    other.close()


@pytest.mark.plain_file("it looks at the bytes")
def test_a_creation_that_was_killed_before_the_switch_to_wal_is_finished_by_the_next_opener(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    connection = writer(path)
    opening.create(connection, path=str(path), now_us=1, timeout_ms=0)
    assert connection.pragma("journal_mode") == "delete"
    connection.close()
    with EventLog(path, read_only=True) as log:
        assert log.head().position == 0
    used(path)
    with EventLog(path) as log, log.database.reading() as reading:
        assert reading.pragma("journal_mode") == "wal"


def test_a_creation_that_was_killed_before_the_projections_is_finished_by_the_saver(tmp_path: Path) -> None:
    EventLog(tmp_path / "agent.db").close()
    with EventLogSaver(tmp_path / "agent.db") as saver:
        saver.register_thread("t")
        assert list(saver.log.verify()) == []


def test_a_log_appended_to_without_projections_is_caught_up_by_the_saver(tmp_path: Path) -> None:
    used(tmp_path / "agent.db")
    with EventLogSaver(tmp_path / "agent.db") as saver:
        assert [t.thread_id for t in saver.threads()] == ["t"]
        assert list(saver.log.verify()) == []


@pytest.mark.plain_file("it looks at the bytes")
def test_a_log_is_as_its_format_says(tmp_path: Path) -> None:
    used(tmp_path / "agent.db")
    header = (tmp_path / "agent.db").read_bytes()[:100]
    assert header[68:72] == b"LGEV"
    assert header[60:64] == b"\0\0\0\1"
    with EventLog(tmp_path / "agent.db") as log, log.database.reading() as connection:
        found = {name: connection.pragma(name) for name in ("journal_mode", "auto_vacuum", "encoding")}
        assert found == {"journal_mode": "wal", "auto_vacuum": 2, "encoding": "UTF-8"}


def test_a_log_made_by_another_process_is_seen_by_this_one(tmp_path: Path, helpers: Any) -> None:
    path = tmp_path / "agent.db"
    code = """
import sys
from langgraph_eventlog.saver import EventLogSaver
with EventLogSaver(sys.argv[1]) as saver:
    saver.register_thread("from " + sys.argv[2])
"""
    helpers.run_python(code, path, "afar")
    with EventLogSaver(path) as saver:
        saver.register_thread("here")
        helpers.run_python(code, path, "afar again")
        saver.register_thread("here again")
        assert [e.thread_id for e in saver.log.read()] == ["from afar", "here", "from afar again", "here again"]
        assert list(saver.log.verify()) == []
