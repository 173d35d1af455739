"""Opening looks before it touches: what is not an event log is refused, named, and byte for byte what it was."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph_eventlog.eventlog import (
    ConfigError,
    EventLog,
    LogDamagedError,
    LogOpenError,
    LogReadOnlyError,
    NewerFormatError,
    NewEvent,
    NotAnEventLogError,
    Thread,
)

EVENT = NewEvent(Thread("name", {}), "t")


def contents(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.parent.iterdir() if p.name.startswith(path.name)}


def refused(path: Path, error: type[LogOpenError] = NotAnEventLogError) -> str:
    """Opening fails in both ways, and changes no file, nor adds one."""
    before = contents(path)
    for read_only in (False, True):
        with pytest.raises(error) as caught:
            EventLog(path, read_only=read_only)
        assert type(caught.value) is error
        assert caught.value.path == str(path)
        assert str(path) in str(caught.value)
    assert contents(path) == before
    return str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"not a database\n" * 500,
        bytes(4096),
        b"SQLite format 3\0",
        b"SQLite format 3\0" + bytes(84),
        b"\xff" * 100,
    ],
    ids=["a byte", "text", "zeros", "magic alone", "header of zeros", "ff"],
)
def test_a_file_that_is_not_sqlite_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "agent.db"
    path.write_bytes(data)
    assert "not an event log" in refused(path)


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_another_programs_database_is_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "agent.db"
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA journal_mode = {mode}")
    other.execute("CREATE TABLE notes (text)")
    other.execute("INSERT INTO notes VALUES ('mine')")
    other.commit()
    other.close()
    assert "some other SQLite database" in refused(path)


def test_a_database_with_another_application_id_is_refused_also_if_it_has_no_tables(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    other = sqlite3.connect(path)
    other.execute("PRAGMA application_id = 5")
    other.execute("VACUUM")
    other.close()
    refused(path)


KILLED_SAVER = """
import os, signal, sqlite3, sys
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver
kept = []
for path in sys.argv[1:]:
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    saver = SqliteSaver(connection)
    saver.setup()
    config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    saver.put(config, empty_checkpoint(), {}, {})
    if "folded" in path:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        saver.put(config, empty_checkpoint(), {}, {})
    kept.append(connection)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_official_savers_file_is_refused_and_its_wal_left_as_it_is(tmp_path: Path) -> None:
    """Merely opening it would fold the WAL. With all tables in the WAL, the main file looks as if it had none."""
    folded, fresh = tmp_path / "folded.db", tmp_path / "fresh.db"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_SAVER, folded, fresh], capture_output=True, text=True, timeout=60, check=False
    )
    assert killed.returncode == -9, killed.stderr
    for path in (folded, fresh):
        assert set(contents(path)) == {path.name, f"{path.name}-wal", f"{path.name}-shm"}
        assert contents(path)[f"{path.name}-wal"]
    assert b"checkpoints" not in fresh.read_bytes()
    assert "SqliteSaver" in refused(folded)
    assert "not an event log" in refused(fresh)
    for path, expected in ((folded, 2), (fresh, 1)):
        own = sqlite3.connect(path)
        assert own.execute("SELECT count(*) FROM checkpoints").fetchone() == (expected,)
        own.close()


def test_an_empty_main_file_beside_a_wal_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    path.touch()
    (tmp_path / "agent.db-wal").write_bytes(b"x" * 100)
    assert "WAL" in refused(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/"), Path(".")):
        with pytest.raises(LogOpenError, match="folder"):
            EventLog(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LogOpenError, match="regular"):
        EventLog(tmp_path / "pipe")


@pytest.mark.parametrize("version", [2, 77, 2**31 - 1])
def test_a_newer_format_is_refused_with_both_versions(filled: Any, make_saver: Any, helpers: Any, version: int) -> None:
    make_saver.damaged(filled.path)
    filled.close()
    with helpers.raw(filled.path) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    refused(Path(filled.path), NewerFormatError)
    with pytest.raises(NewerFormatError) as caught:
        EventLog(filled.path)
    assert (caught.value.found, caught.value.supported) == (version, 1)


@pytest.mark.parametrize("at", [0, 15, 16, 68, 71])
def test_a_damaged_header_is_never_taken_for_nothing(filled: Any, make_saver: Any, at: int) -> None:
    make_saver.damaged(filled.path)
    filled.close()
    path = Path(filled.path)
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)
    refused(path)


@pytest.mark.parametrize("at", [18, 21, 44, 47, 56, 59, 100, 101, 105])
def test_damage_further_down_is_an_error_of_the_log_and_changes_nothing(filled: Any, make_saver: Any, at: int) -> None:
    """Either it can be opened none the less, or the error is one of ours."""
    make_saver.damaged(filled.path)
    filled.close()
    path = Path(filled.path)
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)
    with contextlib.suppress(LogOpenError, LogDamagedError):
        EventLog(path, read_only=True).close()
    assert path.read_bytes() == data


def test_a_truncated_log_is_an_error_of_the_log(filled: Any, make_saver: Any) -> None:
    make_saver.damaged(filled.path)
    filled.close()
    path = Path(filled.path)
    whole = path.read_bytes()
    for size in (50, 100, 512, 4096, 5000, 8192, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises((LogOpenError, LogDamagedError)):
            EventLog(path)


@pytest.mark.parametrize("path", [b"agent.db", 5, None, "a\0b.db", "caf\udce9.db"])
def test_what_is_no_path_is_said_so(path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ConfigError, TypeError)):
        EventLog(path)
    assert list(tmp_path.iterdir()) == []


def test_other_options_are_checked_before_anything_is_made(tmp_path: Path) -> None:
    for options in ({"synchronous": "OFF"}, {"synchronous": "full"}, {"busy_timeout_ms": -1}):
        with pytest.raises(ConfigError):
            EventLog(tmp_path / "agent.db", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


# Reading only.


def test_read_only_does_not_make_a_log(tmp_path: Path) -> None:
    for path in (tmp_path / "agent.db", tmp_path / "folder" / "agent.db"):
        with pytest.raises(LogOpenError, match="not there"):
            EventLog(path, read_only=True)
    (tmp_path / "empty.db").touch()
    with pytest.raises(LogOpenError, match="empty"):
        EventLog(tmp_path / "empty.db", read_only=True)
    assert [p.name for p in tmp_path.iterdir()] == ["empty.db"]


def test_read_only_follows_a_live_log_and_refuses_to_change_it(filled: Any, make_saver: Any) -> None:
    reader = make_saver(filled.path, read_only=True)
    assert list(reader.log.read()) == list(filled.log.read())
    filled.register_thread("later")
    assert reader.log.head() == filled.log.head()
    for change in (
        lambda: reader.register_thread("x"),
        lambda: reader.delete_thread("a"),
        reader.rebuild,
        lambda: reader.put(
            {"configurable": {"thread_id": "a", "checkpoint_ns": ""}}, {"id": "c9", "channel_values": {}}, {}, {}
        ),
    ):
        with pytest.raises(LogReadOnlyError):
            change()
    assert list(reader.log.verify()) == []


# Rights. Root may do everything, so that these run as nobody, in a process of their own.


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everyone can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="eventlog-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


AS_NOBODY = """
import os, sys
from langgraph_eventlog.eventlog import EventLog, LogOpenError, LogReadOnlyError, NewEvent, Thread
import langgraph_eventlog.eventlog.verify, concurrent.futures
if os.geteuid() == 0:
    try:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    except OSError:
        print("skip"); sys.exit()
"""


def as_nobody(helpers: Any, code: str, *args: object) -> None:
    printed = helpers.run_python(AS_NOBODY + code + "\nprint('done')", *args)
    if printed.startswith("skip"):
        pytest.skip("this process may not become another user")
    assert printed == "done\n"


def test_what_may_not_be_written_is_said_so_and_can_be_read(open_folder: Path, helpers: Any) -> None:
    """A folder where nothing can be made; a log that is read-only; one in an unwritable folder, without a WAL."""
    log = open_folder / "agent.db"
    with EventLog(log) as made:
        made.append(EVENT)
    log.chmod(0o644)
    unreadable = open_folder / "secret.db"
    shutil.copy(log, unreadable)
    unreadable.chmod(0o600)
    if os.geteuid() != 0:
        open_folder.chmod(0o555)
    before = sorted(p.name for p in open_folder.iterdir())
    code = """
folder = sys.argv[1]
for name in ("new.db", "new/folder/new.db", "agent.db", "secret.db"):
    try:
        EventLog(folder + "/" + name)
    except LogOpenError as e:
        assert folder + "/" + name in str(e), e
    else:
        raise AssertionError(name)
with EventLog(folder + "/agent.db", read_only=True) as log:
    assert [e.position for e in log.read()] == [1]
    assert list(log.verify()) == []
    try:
        log.append(NewEvent(Thread(None, {}), "t"))
    except LogReadOnlyError:
        pass
    else:
        raise AssertionError("appended")
try:
    EventLog(folder + "/secret.db", read_only=True)
except LogOpenError:
    pass
else:
    raise AssertionError("read")
"""
    if os.geteuid() != 0:
        unreadable.chmod(0o000)
        log.chmod(0o444)
    as_nobody(helpers, code, open_folder)
    assert sorted(p.name for p in open_folder.iterdir()) == before
    open_folder.chmod(0o755)


@pytest.mark.parametrize("what", ["another log", "a copy of it from before", "nothing"])
def test_a_log_that_is_replaced_after_it_was_opened_is_not_appended_to(
    make_saver: Any, tmp_path: Path, what: str
) -> None:
    """It was opened, and read; what is remembered of it would damage what is there now."""
    path, other = tmp_path / "agent.db", tmp_path / "other.db"
    with EventLog(path) as log:
        log.append(EVENT)
    if what == "a copy of it from before":
        shutil.copy(path, other)
    elif what == "another log":
        with EventLog(other) as log:
            log.append(NewEvent(Thread("name", {}), "not t"))
    with EventLog(path) as log:
        log.append(EVENT)
    with EventLog(path) as log:
        assert len(list(log.read(thread_id="t"))) == 2
        if what == "nothing":
            path.unlink()
        else:
            os.replace(other, path)
        before = contents(path)
        with pytest.raises(LogOpenError) as caught:
            log.append(EVENT)
        assert caught.value.path == str(path)
        if what != "nothing":
            assert "replaced" in str(caught.value)
            assert contents(path)["agent.db"] == before["agent.db"]
    if what != "nothing":
        with EventLog(path) as log:
            assert (log.head().position, list(log.verify())) == (1, [])
