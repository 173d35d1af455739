"""At FULL the WAL is kept longer than what is in it: zeros behind it, which nobody may take for anything."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import wal as wal_module
from langgraph_eventlog.eventlog.connection import BusyHandler
from langgraph_eventlog.saver import EventLogSaver

from .children import Child, put, write

KB = 1024
MB = 1024 * KB

APPENDER = """
import os
from langgraph_eventlog.saver import EventLogSaver
saver = EventLogSaver(sys.argv[1], synchronous="FULL")
say("open")
hear()
for n in range(200):
    write(saver, sys.argv[2], f"{n}", os.urandom(2_000))
say("through")
hear()
saver.close()
"""
KILLED = """
import os
from langgraph_eventlog.saver import EventLogSaver
saver = EventLogSaver(sys.argv[1], synchronous="FULL")
for n in range(20):
    write(saver, "t", f"{n}", b"x" * 1_000)
say("done")
hear()
"""


def wal_bytes(saver: EventLogSaver) -> int:
    return os.path.getsize(saver.path + "-wal")


def used_bytes(saver: EventLogSaver) -> int:
    """Give how much of the WAL holds something."""
    with saver.log.database.exclusive() as connection:
        pages, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        return 32 + int(pages) * (24 + int(connection.pragma("page_size")))


def test_commits_at_full_are_written_into_a_wal_that_is_longer_already(make_saver: Any) -> None:
    saver = make_saver(synchronous="FULL")
    grown = []
    put(saver, "t", x=0)
    for n in range(100):
        before = wal_bytes(saver)
        write(saver, "t", f"{n}", os.urandom(2_000))
        if wal_bytes(saver) != before:
            grown.append(n)
    assert 0 < len(grown) <= 8  # it doubles
    used = used_bytes(saver)
    assert used > 200 * KB
    assert used + 16 * KB < wal_bytes(saver) <= 2 * used + 64 * KB


def test_the_room_is_bounded(make_saver: Any) -> None:
    saver = make_saver(synchronous="FULL")
    sizes = []
    for n in range(36):
        write(saver, "t", f"{n}", os.urandom(100_000))
        sizes.append(wal_bytes(saver))
    assert MB // 2 < max(b - a for a, b in itertools.pairwise(sizes)) < MB + MB // 2
    assert sizes[-1] <= used_bytes(saver) + MB


def test_who_does_not_sync_each_commit_gets_no_room(make_saver: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    for n in range(20):
        write(saver, "t", f"{n}", os.urandom(2_000))
    assert wal_bytes(saver) == used_bytes(saver)


def test_an_emptied_wal_gets_room_again(make_saver: Any) -> None:
    saver = make_saver(synchronous="FULL")
    for n in range(50):
        write(saver, "t", f"{n}", os.urandom(2_000))
    with saver.log.database.exclusive() as connection:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    assert wal_bytes(saver) == 0
    write(saver, "t", "after", b"")
    assert wal_bytes(saver) > used_bytes(saver) + 32 * KB


def test_what_was_committed_is_found_in_front_of_the_zeros_after_a_kill(make_saver: Any, tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    with Child(KILLED, str(path)) as child:
        assert child.hear() == "done"
        child.kill()
    wal = Path(f"{path}-wal").read_bytes()
    assert wal.endswith(bytes(32 * KB))
    saver = make_saver(path)
    assert len(list(saver.log.read(thread_id="t"))) == 20


@pytest.mark.plain_file("it copies a file without what tells SQLite where its WAL ends")
@pytest.mark.parametrize("zeros", [0, 1, 31, 32, 55, 56, 2_103, 2_104, 100_000])
def test_zeros_alone_or_behind_what_was_committed_are_nothing(make_saver: Any, tmp_path: Path, zeros: int) -> None:
    saver = make_saver(tmp_path / "agent.db", synchronous="NORMAL")
    put(saver, "t", x=1)
    write(saver, "t", "1", b"1")
    for committed in (True, False):
        copy = tmp_path / f"copy-{committed}.db"
        if not committed:
            with saver.log.database.exclusive() as connection:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        shutil.copy(saver.path, copy)
        Path(f"{copy}-wal").write_bytes(Path(saver.path + "-wal").read_bytes() + bytes(zeros))
        found = make_saver(copy)
        assert [event.position for event in found.log.read()] == [event.position for event in saver.log.read()]


def test_processes_that_append_meanwhile_lose_nothing(make_saver: Any, tmp_path: Path) -> None:
    """Room is made after the commit, when others may write: here it is made all the time."""
    path = str(tmp_path / "agent.db")
    saver = make_saver(path, synchronous="FULL")
    put(saver, "t", x=1)
    stop = threading.Event()

    def make_room() -> None:
        while not stop.is_set():
            wal = os.open(saver.path + "-wal", os.O_WRONLY | os.O_APPEND)
            os.write(wal, bytes(5_000))
            os.close(wal)
            if os.path.getsize(saver.path + "-wal") > 32 * MB:
                return

    with Child(APPENDER, path, "a") as first, Child(APPENDER, path, "b") as second:
        children = (first, second)
        for child in children:
            assert child.hear() == "open"
        thread = threading.Thread(target=make_room)
        thread.start()
        for child in children:
            child.say("go")
        for child in children:
            assert child.hear() == "through"
        stop.set()
        thread.join()
        for child in children:
            child.say("end")
    for name in ("a", "b"):
        assert len(list(saver.log.read(thread_id=name))) == 200
    assert list(saver.verify()) == []


@pytest.mark.parametrize("fails", ["open", "write"])
def test_where_no_room_can_be_had_commits_go_on_and_do_not_ask_each_time(
    make_saver: Any, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    saver = make_saver(synchronous="FULL")
    put(saver, "t", x=1)
    asked = []

    def fail(*_: Any) -> int:
        asked.append(1)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with saver.log.database.exclusive() as connection:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    with monkeypatch.context() as patch:
        patch.setattr(wal_module.os, fails, fail)
        for n in range(40):
            write(saver, "t", f"{n}", os.urandom(1_000))
    assert 0 < len(asked) < 12
    assert len(list(saver.log.read(thread_id="t"))) == 41


def test_nothing_is_taken_of_a_disk_that_is_nearly_full(make_saver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    saver = make_saver(synchronous="FULL")
    left = wal_module._LEFT_FREE_BYTES
    monkeypatch.setattr(wal_module.shutil, "disk_usage", lambda path: SimpleNamespace(free=left))
    for n in range(20):
        write(saver, "t", f"{n}", os.urandom(2_000))
    assert wal_bytes(saver) == used_bytes(saver)
    monkeypatch.setattr(wal_module.shutil, "disk_usage", lambda path: SimpleNamespace(free=left + 1))
    write(saver, "t", "more", b"")
    assert wal_bytes(saver) > used_bytes(saver)


def test_what_goes_wrong_in_making_room_is_no_error_of_the_commit(
    make_saver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = make_saver(synchronous="FULL")

    def fail(path: str) -> Any:
        raise MemoryError

    monkeypatch.setattr(wal_module.shutil, "disk_usage", fail)
    put(saver, "t", x=1)
    write(saver, "t", "1", b"")
    assert len(list(saver.log.read(thread_id="t"))) == 2


def test_a_wal_that_was_emptied_since_the_commit_is_left_alone(make_saver: Any) -> None:
    saver = make_saver(synchronous="FULL")
    put(saver, "t", x=1)
    with saver.log.database.exclusive() as connection:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        after_commit = wal_module.AfterCommit(BusyHandler(1_000), ahead=True)
        after_commit(connection, "main", 1_000)  # told late
    assert wal_bytes(saver) == 0
