"""A file gets another key as a whole or not at all, and only when nobody else has it open."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import (
    ConfigError,
    EventLog,
    LogBusyError,
    LogIOError,
    LogOpenError,
    NotAnEventLogError,
    rekeying,
)
from langgraph_eventlog.eventlog.connection import file_uri
from langgraph_eventlog.eventlog.encryption import Key, can_encrypt
from langgraph_eventlog.saver import EventLogSaver, rekey

pytestmark = pytest.mark.skipif(not can_encrypt(), reason="the plain build of apsw")

OLD, NEW = b"o" * 32, "the new one"


@pytest.fixture
def path(tmp_path: Path, tools: Any) -> Path:
    """A log of a few events, encrypted with OLD."""
    made = tmp_path / "log" / "agent.db"
    with EventLogSaver(made, key=OLD) as saver:
        tools.fill(saver)
    return made


def events(path: Path, key: Any) -> list[Any]:
    """What is in it, having verified all of it."""
    with EventLogSaver(path, key=key) as saver:
        assert list(saver.log.verify()) == []
        return list(saver.log.read())


def files(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.parent.iterdir()}


def test_a_file_is_encrypted_decrypted_and_given_other_keys(path: Path, tools: Any) -> None:
    before, ino = events(path, OLD), path.stat().st_ino
    key: Any = OLD
    for new in (NEW, b"n" * 32, None, "again", None, OLD):
        rekey(path, key=key, new_key=new)
        assert os.listdir(path.parent) == [path.name]
        assert path.stat().st_ino != ino
        assert (b"MARKthread" in path.read_bytes()) == (new is None)
        assert events(path, new) == before
        with pytest.raises(LogOpenError):
            EventLog(path, key=key)
        key = new
    with EventLogSaver(path, key=OLD) as saver, saver.log.database.reading() as connection:
        assert connection.pragma("auto_vacuum") == 2
        assert connection.pragma("journal_mode") == "wal"


def test_a_wal_that_a_kill_left_is_taken_along(path: Path, tools: Any) -> None:
    killed = """
import os, signal, sys
from langgraph_eventlog.saver import EventLogSaver
EventLogSaver(sys.argv[1], key=b"o" * 32).register_thread("later")
os.kill(os.getpid(), signal.SIGKILL)
"""
    tools.run_python(killed, path, check=False)
    assert Path(f"{path}-wal").stat().st_size > 0
    rekey(path, key=OLD, new_key=NEW)
    with EventLogSaver(path, key=NEW) as saver:
        assert "later" in {thread.thread_id for thread in saver.threads()}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_permissions_stay(path: Path, mode: int) -> None:
    old = os.umask(0)
    try:
        path.chmod(mode)
        rekey(path, key=OLD, new_key=NEW)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("umask", [0o000, 0o777], ids=oct)
def test_a_copy_is_for_its_owner_to_read_and_write_and_for_nobody_else(
    path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = rekeying._vacuum_into

    def looking(connection: Any, copy: str, new: Any) -> Any:
        seen.append(stat.S_IMODE(os.stat(copy).st_mode))
        return real(connection, copy, new)

    monkeypatch.setattr(rekeying, "_vacuum_into", looking)
    path.chmod(0o666)
    old = os.umask(umask)
    try:
        rekey(path, key=OLD, new_key=None)
    finally:
        os.umask(old)
    assert seen == [0o600]


def test_a_link_stays_a_link_and_a_second_name_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(path)
    rekey(tmp_path / "link.db", key=OLD, new_key=NEW)
    assert (tmp_path / "link.db").is_symlink()
    (tmp_path / "second.db").hardlink_to(path)
    before = path.read_bytes()
    with pytest.raises(LogOpenError, match="hard link"):
        rekey(path, key=NEW, new_key=OLD)
    assert path.read_bytes() == before == (tmp_path / "second.db").read_bytes()


@pytest.mark.parametrize("wrong", [None, NEW, b"x" * 32])
def test_the_wrong_old_key_changes_nothing(path: Path, wrong: Any) -> None:
    before = files(path)
    with pytest.raises(NotAnEventLogError):
        rekey(path, key=wrong, new_key="other")
    assert files(path) == before


def test_what_cannot_be_given_another_key_is_said_so(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        rekey(path, key=None, new_key=None)
    with pytest.raises(ConfigError):
        rekey(":memory:", key=None, new_key=NEW)
    with pytest.raises(LogOpenError, match="not there"):
        rekey(tmp_path / "none.db", key=None, new_key=NEW)
    with pytest.raises(LogOpenError, match="folder"):
        rekey(tmp_path, key=None, new_key=NEW)
    assert not (tmp_path / "none.db").exists()


HOLDER = """
import sys
from langgraph_eventlog.saver import EventLogSaver
with EventLogSaver(sys.argv[1], key=b"o" * 32, read_only=sys.argv[2] == "read-only") as saver:
    saver.log.head()
    print("open", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("who", ["this process", "another", "another, read-only"])
def test_a_log_that_is_open_is_refused_and_left_as_it_is(path: Path, who: str) -> None:
    if who == "this process":
        with EventLogSaver(path, key=OLD) as saver:
            with pytest.raises(LogBusyError, match="is open"):
                rekey(path, key=OLD, new_key=NEW, busy_timeout_ms=50)
            saver.register_thread("goes on")
    else:
        arguments = [sys.executable, "-c", HOLDER, str(path), who.removeprefix("another, ")]
        holder = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(LogBusyError, match="is open"):
            rekey(path, key=OLD, new_key=NEW, busy_timeout_ms=50)
        holder.communicate("\n", timeout=60)
        assert holder.returncode == 0
    assert not Path(f"{path}.rekey").exists()
    events(path, OLD)
    rekey(path, key=OLD, new_key=NEW)
    events(path, NEW)


def test_who_opened_the_old_file_just_before_finds_no_log_in_it(path: Path) -> None:
    """Appending to it would be lost with it, and its WAL would lie beside the new file."""
    uri = file_uri(str(path), key=Key.of(OLD))
    late = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI)
    rekey(path, key=OLD, new_key=NEW)
    with pytest.raises(apsw.NotADBError):
        late.pragma("journal_mode", "wal")
    with pytest.raises(apsw.NotADBError):
        late.execute("SELECT * FROM meta")
    late.close()
    assert os.listdir(path.parent) == [path.name]
    events(path, NEW)


@pytest.mark.parametrize("failing", ["rename", "fsync", "chmod", "open"])
def test_a_failure_of_the_system_leaves_the_old_file_and_no_copy(
    path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = events(path, OLD)

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rekeying.os, failing, fail)
    with pytest.raises(LogIOError, match="No space left"):
        rekey(path, key=OLD, new_key=NEW)
    monkeypatch.undo()
    assert os.listdir(path.parent) == [path.name]
    assert events(path, OLD) == before


KILLED = """
import gc, os, shutil, signal, sys
from langgraph_eventlog.eventlog import EventLog, LogOpenError
from langgraph_eventlog.saver import EventLogSaver, rekey
source, folder = sys.argv[1:]
path, OLD, NEW = folder + "/agent.db", b"o" * 32, b"n" * 32
with EventLog(source, key=OLD, read_only=True) as log:
    expected = list(log.read())

class Killer:
    def __init__(self, at):
        self.at, self.count = at, 0
    def __call__(self, frame, what, argument):
        # Before and after each call into C: SQLite's, and the operating system's.
        if what in ("c_call", "c_return") and frame.f_code.co_filename.endswith(("rekeying.py", "contextlib.py")):
            self.count += 1
            if self.count == self.at:
                os.kill(os.getpid(), signal.SIGKILL)

at, seen, copies = 0, {"old": 0, "new": 0}, 0
while True:
    at += 1
    os.makedirs(folder)
    shutil.copy(source, path)
    pid = os.fork()
    if pid == 0:
        gc.disable()
        sys.setprofile(Killer(at))
        rekey(path, key=OLD, new_key=NEW)
        sys.setprofile(None)
        os._exit(0)
    finished = os.waitpid(pid, 0)[1] == 0
    copies += os.path.exists(path + ".rekey")
    for name, key, again in (("old", OLD, NEW), ("new", NEW, OLD)):
        try:
            log = EventLogSaver(path, key=key)
        except LogOpenError:
            continue
        seen[name] += 1
        with log:
            assert list(log.log.read()) == expected, (at, name)
            assert list(log.log.verify()) == [], (at, name)
        rekey(path, key=key, new_key=again)  # whatever the kill left
        assert os.listdir(folder) == ["agent.db"], (at, os.listdir(folder))
        break
    else:
        raise AssertionError(f"neither key opens what is left of a kill at {at}")
    shutil.rmtree(folder)
    if finished:
        break
print(at, seen, copies)
assert at > 40 and seen["old"] > 20 and seen["new"] > 3 and copies > 5, (at, seen, copies)
"""


def test_a_kill_at_any_point_leaves_the_old_file_or_the_new_one(path: Path, tmp_path: Path, tools: Any) -> None:
    print(tools.run_python(KILLED, path, tmp_path / "killed").stdout)
