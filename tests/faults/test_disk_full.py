"""The disk is full: puts say so, reads go on, and once there is space the same saver goes on putting."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import EventLogError, LogFullError
from langgraph_eventlog.saver import EventLogSaver

from .interposer import Interposer, Operation
from .issued import checkpoint_of, config_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SQLite's VFS is another there")


class FullDisk(Interposer):
    """Takes no byte more, and half of the last ones, while it is full."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ("write",))
        self.full = False

    def answer(self, operation: Operation) -> int:
        if not self.full:
            return operation.do()
        operation.do(operation.size // 2)
        return apsw.SQLITE_FULL


def put(saver: EventLogSaver, checkpoint_id: str, value: Any = "value") -> None:
    saver.put(config_of("a"), checkpoint_of(checkpoint_id, {"v": value}), {}, {})


def ids(saver: EventLogSaver) -> list[str]:
    return sorted(one.checkpoint["id"] for one in saver.list(None))


def check_full(saver: EventLogSaver, path: Path) -> None:
    """Everything that writes says that the disk is full, and everything that reads goes on."""
    head = saver.log.head()
    attempts = [
        lambda: put(saver, "9", os.urandom(50_000)),
        lambda: saver.put_writes(config_of("a", "", "1"), [("v", os.urandom(50_000))], "task"),
        lambda: saver.rebuild(),
    ]
    for attempt in attempts:
        with pytest.raises(LogFullError) as caught:
            attempt()
        assert str(path) in str(caught.value)
        assert "free some space" in str(caught.value)
    assert saver.log.head() == head
    assert ids(saver) == ["1", "2"]
    found = saver.get_tuple(config_of("a"))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"v": "value"}
    assert list(saver.log.verify()) == []


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
def test_a_full_disk_stops_what_writes_and_nothing_else(tmp_path: Path, make_saver: Any, synchronous: str) -> None:
    with FullDisk(tmp_path) as disk:
        saver = make_saver(tmp_path / "agent.db", synchronous=synchronous)
        put(saver, "1")
        put(saver, "2")
        disk.full = True
        check_full(saver, tmp_path / "agent.db")
        with EventLogSaver(tmp_path / "agent.db", read_only=True) as reader:
            assert ids(reader) == ["1", "2"]
        disk.full = False
        put(saver, "3")
        saver.rebuild()
        assert ids(saver) == ["1", "2", "3"]
        assert saver.log.head().position == 3


def test_a_log_that_may_not_grow_is_a_full_disk(tmp_path: Path, make_saver: Any) -> None:
    saver = make_saver(tmp_path / "agent.db")
    put(saver, "1")
    put(saver, "2")
    with saver.log.database.exclusive() as connection:
        pages = connection.pragma("max_page_count", 1)  # SQLite takes the number of pages that there are
    check_full(saver, tmp_path / "agent.db")
    with saver.log.database.exclusive() as connection:
        assert connection.pragma("max_page_count", 10 * pages) == 10 * pages
    put(saver, "3", os.urandom(50_000))
    assert ids(saver) == ["1", "2", "3"]


def test_a_new_log_on_a_full_disk_says_so_and_can_be_made_later(tmp_path: Path, make_saver: Any) -> None:
    with FullDisk(tmp_path) as disk:
        disk.full = True
        with pytest.raises(EventLogError, match="no space left"):
            EventLogSaver(tmp_path / "agent.db")
        disk.full = False
        put(make_saver(tmp_path / "agent.db"), "1")


IN_ITS_OWN_DISK = """
import os, subprocess, sys
from langgraph_eventlog.eventlog import LogFullError
from langgraph_eventlog.saver import EventLogSaver

folder = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)
path, ballast = os.path.join(folder, "agent.db"), os.path.join(folder, "ballast")
with open(ballast, "wb") as file:
    file.write(bytes(300_000))

def config(checkpoint_id=None):
    named = {"thread_id": "a", "checkpoint_ns": ""}
    return {"configurable": named if checkpoint_id is None else {**named, "checkpoint_id": checkpoint_id}}

def put(saver, number):
    checkpoint = {"v": 4, "id": f"{number:04}", "ts": "", "channel_values": {"v": os.urandom(10_000)},
                  "channel_versions": {}, "versions_seen": {}}
    saver.put(config(), checkpoint, {}, {})

with EventLogSaver(path) as saver:
    full = []
    for number in range(1, 200):
        try:
            put(saver, number)
        except LogFullError as e:
            assert path in str(e), e
            full.append(number)
            if len(full) == 3:
                break
    acknowledged = [f"{number:04}" for number in range(1, full[0])]
    assert acknowledged and full[0] + 2 == full[2], full
    assert sorted(one.checkpoint["id"] for one in saver.list(None)) == acknowledged
    assert saver.get_tuple(config()).checkpoint["id"] == acknowledged[-1]
    os.remove(ballast)
    put(saver, 999)
    assert saver.log.head().position == len(acknowledged) + 1
    assert list(saver.log.verify()) == []
with EventLogSaver(path) as saver:
    assert len(list(saver.list(None))) == len(acknowledged) + 1
with open(ballast, "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
# The last to close took WAL and shared memory away: with no space for new ones, opening says so.
try:
    EventLogSaver(path).close()
except LogFullError as e:
    assert path in str(e), e
else:
    raise AssertionError("there was space")
print("all is well")
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="takes `unshare`, to mount a disk that is its own")
def test_a_disk_that_is_really_full_is_told_and_freeing_space_is_enough(tmp_path: Path) -> None:
    own_mounts = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*own_mounts, "mount", "-t", "tmpfs", "none", str(tmp_path)], capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    done = subprocess.run(
        [*own_mounts, sys.executable, "-W", "error::ResourceWarning", "-c", IN_ITS_OWN_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "all is well\n", done.stderr
