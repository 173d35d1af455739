"""`backup`: one moment of a log in use, complete under the target's name or not there."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langgraph_eventlog.eventlog import (
    ConfigError,
    EventLogError,
    LogDamagedError,
    LogOpenError,
    NewEvent,
    PutWrites,
    Whole,
    Write,
)
from langgraph_eventlog.eventlog.encryption import can_encrypt
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.moving.backup import backup


def append(saver: EventLogSaver, n: int, size: int = 10) -> None:
    value = Whole("bytes", os.urandom(size))
    saver.log.append(NewEvent(PutWrites(f"c{n}", "t", "", (Write("x", 0, value),)), "thread"))


@pytest.fixture
def large(file_saver: EventLogSaver) -> EventLogSaver:
    """More than two steps of copying."""
    for n in range(10):
        append(file_saver, n, 1_000_000)
    return file_saver


def test_the_copy_is_the_log_with_its_chain(run: Any, json_of: Any, shop: Path, tmp_path: Path) -> None:
    anchor = run("anchor", shop).stdout.strip()
    made = json_of("backup", shop, "copy.db")
    assert made["file"] == str(tmp_path / "copy.db")
    assert f"{made['head']['position']}:{made['head']['link']}" == anchor
    assert made["bytes"] == (tmp_path / "copy.db").stat().st_size
    assert made["verified"] is True
    assert run("verify", "copy.db", "--anchor", anchor).returncode == 0
    assert json_of("threads", "copy.db", lines=True) == json_of("threads", shop, lines=True)


def test_a_log_in_use_is_copied_as_of_one_moment(run: Any, busy_shop: Path, tmp_path: Path) -> None:
    before = run("anchor", busy_shop).stdout.strip()
    shown = run("backup", busy_shop, "copy.db").stdout
    assert "chain and digests were checked" in shown
    run("verify", "copy.db", "--anchor", before, "--anchor", shown.partition("anchor: ")[2].strip())
    with EventLogSaver(tmp_path / "copy.db") as copy:  # it can be gone on with
        copy.register_thread("new")
        assert list(copy.verify()) == []


def test_others_append_while_it_is_made(large: EventLogSaver, make_saver: Any, tmp_path: Path) -> None:
    """Without waiting at all; and it does not begin anew for that."""
    other = make_saver(large.path, busy_timeout_ms=0)
    head = large.log.head()
    copied = []

    def told(what: str, done: int, total: int) -> None:
        if what == "copying":
            copied.append((done, total))
            append(other, 100 + len(copied))

    made = backup(large.path, tmp_path / "copy.db", told=told)
    assert made.head == head
    assert [done for done, _ in copied] == sorted({done for done, _ in copied})
    assert len(copied) >= 3
    assert copied[-1][0] == copied[-1][1]
    assert large.log.head().position == head.position + len(copied)
    assert make_saver(tmp_path / "copy.db").log.head() == head


def test_what_is_there_is_not_replaced_unless_that_is_asked(run: Any, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("mine")
    assert "is there already" in run("backup", shop, "copy.db", code=2).stderr
    assert (tmp_path / "copy.db").read_text() == "mine"
    run("backup", shop, "copy.db", "--force")
    run("verify", "copy.db")
    run("backup", shop, "copy.db", "--force")  # also after somebody has looked at it
    assert "is the log itself" in run("backup", shop, "agent.db", "--force", code=2).stderr
    os.link(shop, tmp_path / "other-name.db")
    run("backup", shop, "other-name.db", "--force", code=2)
    assert sorted(path.name for path in tmp_path.glob("*.partial")) == []


def test_a_log_that_is_in_use_is_not_replaced(large: EventLogSaver, make_saver: Any, tmp_path: Path) -> None:
    other = make_saver(tmp_path / "other.db")
    append(other, 1)
    with pytest.raises(ConfigError, match="somebody has it open"):
        backup(large.path, other.path, force=True)
    # Nor may what is left of one be taken for a part of the copy.
    (tmp_path / "gone.db-wal").write_bytes(b"something")
    with pytest.raises(ConfigError, match=r"gone\.db-wal"):
        backup(large.path, tmp_path / "gone.db")


def test_somebody_who_was_quicker_keeps_what_he_made(large: EventLogSaver, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"

    def told(what: str, done: int, total: int) -> None:
        if what == "checking" and done == total:
            target.write_text("mine")

    with pytest.raises(ConfigError):
        backup(large.path, target, told=told)
    assert target.read_text() == "mine"
    assert list(tmp_path.glob("*.partial*")) == []


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("at", ["copying", "checking"])
@pytest.mark.parametrize("error", [StoppedError, KeyboardInterrupt])
def test_a_backup_that_is_stopped_leaves_nothing(
    large: EventLogSaver, tmp_path: Path, at: str, error: type[BaseException]
) -> None:
    def told(what: str, _done: int, _total: int) -> None:
        if what == at:
            raise error

    before = sorted(tmp_path.iterdir())
    with pytest.raises(error):
        backup(large.path, tmp_path / "copy.db", told=told)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("at", ["copying", "checking"])
def test_a_backup_that_is_killed_leaves_nothing_under_its_name(
    large: EventLogSaver, make_saver: Any, tmp_path: Path, at: str
) -> None:
    code = """
import os, signal, sys
from langgraph_eventlog.tools.moving.backup import backup
told = lambda what, done, total: what == sys.argv[3] and os.kill(os.getpid(), signal.SIGKILL)
backup(sys.argv[1], sys.argv[2], told=told)
"""
    target = tmp_path / "copy.db"
    killed = subprocess.run([sys.executable, "-c", code, large.path, str(target), at], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    backup(large.path, target)
    assert list(make_saver(target).verify(anchor=large.log.head())) == []


def test_a_damaged_log_is_not_copied_unseen(run: Any, shop: Path, tmp_path: Path) -> None:
    with EventLogSaver(shop) as saver, saver.log.database.exclusive() as connection:
        ((trigger,),) = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE name = 'event_never_changes'"
        ).fetchall()
        connection.execute("DROP TRIGGER event_never_changes")
        connection.execute("UPDATE event SET recorded_at = 0 WHERE position = 9")
        connection.execute(trigger)
    assert "[link] event 9" in run("backup", shop, "copy.db", code=3).stderr
    assert not (tmp_path / "copy.db").exists()
    assert "it was not checked" in run("backup", shop, "copy.db", "--no-verify").stdout
    assert "[link] event 9" in run("verify", "copy.db", "--quick", code=1).stdout


def test_it_gets_the_permissions_of_the_log(large: EventLogSaver, tmp_path: Path) -> None:
    for mode in (0o600, 0o640):
        os.chmod(large.path, mode)
        made = backup(large.path, tmp_path / "copy.db", force=True)
        assert stat.S_IMODE(os.stat(made.path).st_mode) == mode


def test_where_no_file_can_be_made(run: Any, large: EventLogSaver, tmp_path: Path) -> None:
    with pytest.raises(LogOpenError, match=r"none/copy\.db"):
        backup(large.path, tmp_path / "none" / "copy.db")
    with pytest.raises(EventLogError):
        backup(large.path, ":memory:")
    assert "there is no log" in run("backup", "none.db", "copy.db", code=3).stderr
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.skipif(not can_encrypt(), reason="this build of apsw cannot encrypt")
def test_an_encrypted_log_stays_encrypted(make_saver: Any, tmp_path: Path) -> None:
    key = bytes(range(32))
    saver = make_saver(tmp_path / "secret.db", key=key)
    append(saver, 1)
    made = backup(saver.path, tmp_path / "copy.db", key=key)
    assert Path(made.path).read_bytes()[:6] != b"SQLite"
    assert make_saver(tmp_path / "copy.db", key=key).log.head() == saver.log.head()
    with pytest.raises(LogOpenError):
        backup(saver.path, tmp_path / "another.db")
    assert list(tmp_path.glob("another*")) == []


def test_an_encrypted_log_without_its_key_is_refused(run: Any, tmp_path: Path) -> None:
    (tmp_path / "secret.db").write_bytes(os.urandom(8192))
    assert "encrypted: give its key" in run("backup", "secret.db", "copy.db", code=3).stderr
    assert not (tmp_path / "copy.db").exists()


def test_a_copy_that_does_not_verify_is_taken_away(
    large: EventLogSaver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk gives back something else than was written."""
    from langgraph_eventlog.tools.moving import backup as module

    copy = module._copy

    def copy_badly(log: Any, partial: str, *rest: Any) -> Any:
        head = copy(log, partial, *rest)
        size = os.path.getsize(partial)
        with open(partial, "r+b") as file:
            file.seek(size // 2)
            file.write(os.urandom(100_000))
        return head

    monkeypatch.setattr(module, "_copy", copy_badly)
    with pytest.raises(LogDamagedError):
        backup(large.path, tmp_path / "copy.db")
    assert list(tmp_path.glob("copy.db*")) == []
