"""Losing power: FULL loses nothing that was acknowledged, NORMAL only the last of it; the log is whole, and goes on.

EVENTLOG_TORTURE_ROUNDS=100000 does more rounds, EVENTLOG_TORTURE_SEED=... others; `python tests/faults power` does
them with a progress bar.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import EventLogError, Finding, NotAnEventLogError
from langgraph_eventlog.saver import EventLogSaver

from .interposer import Interposer, Operation
from .issued import BrokenPromiseError, checkpoint_of, config_of
from .power import PowerVfs
from .power_rounds import FLAWS, Flaw, run_round
from .runner import rerun
from .work import Synchronous

ROUNDS = int(os.environ.get("EVENTLOG_TORTURE_ROUNDS", "1000"))
SEED = int(os.environ.get("EVENTLOG_TORTURE_SEED", "0"))
PARTS = 10
# Of a saver that is wrong about durability, so many rounds are enough to find it out.
ENOUGH = 60

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SQLite's VFS is another there")


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
def test_nothing_is_lost_that_was_to_survive_losing_power(in_memory: Path, synchronous: Synchronous, part: int) -> None:
    numbers = range(SEED + part, SEED + ROUNDS // 2, PARTS)
    assert numbers
    for number in numbers:
        try:
            run_round(number, synchronous, in_memory / "round")
        except BrokenPromiseError as e:
            raise BrokenPromiseError(f"{e}\nagain: {rerun(number, synchronous)}") from e


# The simulation itself.


def broken_rounds(synchronous: Synchronous, folder: Path, flaw: Flaw) -> int:
    broken = 0
    for number in range(ENOUGH):
        try:
            run_round(number, synchronous, folder, flaw=flaw)
        except BrokenPromiseError:
            broken += 1
    return broken


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_saver_that_is_wrong_about_full_loses_acknowledged_events_in_this_simulation(
    in_memory: Path, flaw: Flaw
) -> None:
    assert broken_rounds("FULL", in_memory / "round", flaw) > ENOUGH // 10


def test_a_saver_that_never_syncs_damages_the_log_in_this_simulation(in_memory: Path) -> None:
    """At NORMAL, losing the end is allowed: what is found is that the rest is not whole."""
    assert broken_rounds("NORMAL", in_memory / "round", "never syncs") > ENOUGH // 20


def test_a_round_done_again_is_the_same_round(in_memory: Path) -> None:
    reports = [run_round(7, "FULL", in_memory / "round") for _ in range(2)]
    assert reports[0] == reports[1]
    assert len({run_round(number, "FULL", in_memory / "round").operations for number in range(10)}) > 5


class Images:
    """What may be found in a folder of its own."""

    def __init__(self, power: PowerVfs) -> None:
        self.all = [power.left() for _ in range(200)]

    def of(self, name: str) -> set[bytes | None]:
        return {image.get(name) for image in self.all}


def test_what_was_synced_is_found_and_what_was_not_may_be_lost(tmp_path: Path) -> None:
    with PowerVfs(tmp_path, 0, random.Random(1)) as power:
        file = apsw.VFSFile("unix", str(tmp_path / "file"), flags())
        file.xWrite(b"synced", 0)
        assert Images(power).of("file") >= {None, b"", b"synced"}  # and anything that the disk held there before
        file.xSync(apsw.SQLITE_SYNC_NORMAL)
        power.answer(Operation("sync_folder", str(tmp_path), lambda _: apsw.SQLITE_OK))
        assert Images(power).of("file") == {b"synced"}
        file.xWrite(b"SYN", 0)
        assert Images(power).of("file") == {b"synced", b"SYNced"}
        file.xTruncate(2)
        assert Images(power).of("file") >= {b"synced", b"SYNced", b"SY"}
        file.xSync(apsw.SQLITE_SYNC_NORMAL)
        assert Images(power).of("file") == {b"SY"}
        file.xClose()


def test_of_several_sectors_any_may_be_lost(tmp_path: Path) -> None:
    with PowerVfs(tmp_path, 0, random.Random(1)) as power:
        file = apsw.VFSFile("unix", str(tmp_path / "file"), flags())
        file.xWrite(bytes(3 * 4096), 0)
        file.xSync(apsw.SQLITE_SYNC_NORMAL)
        power.answer(Operation("sync_folder", str(tmp_path), lambda _: apsw.SQLITE_OK))
        file.xWrite(b"\1" * (3 * 4096), 0)
        found = {bytes(data[i * 4096] for i in range(3)) for data in Images(power).of("file") if data}
        assert len(found) == 8
        file.xClose()


def test_a_new_file_may_be_missing_and_a_deleted_one_may_come_back(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    with PowerVfs(tmp_path, 0, random.Random(1)) as power:
        file = apsw.VFSFile("unix", str(tmp_path / "new"), flags())
        file.xWrite(b"new", 0)
        file.xSync(apsw.SQLITE_SYNC_NORMAL)
        file.xClose()
        apsw.VFS("plain", "unix").xDelete(str(tmp_path / "old"), False)
        assert Images(power).of("new") == {None, b"new"}
        assert Images(power).of("old") == {None, b"old"}
        power.answer(Operation("sync_folder", str(tmp_path), lambda _: apsw.SQLITE_OK))
        assert Images(power).of("new") == {b"new"}
        assert Images(power).of("old") == {None}


def flags() -> list[int]:
    return [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_READWRITE, 0]


# What the rounds have found, each by itself.


class StopsFolding(Interposer):
    """Lets some pages of the WAL get into the file, and fails from then on; as a process that is killed there."""

    def __init__(self, folder: Path, pages: int) -> None:
        super().__init__(folder, ("write", "truncate", "sync", "delete"))
        self.left = pages
        self.stopped = False

    def answer(self, operation: Operation) -> int:
        if operation.kind == "write" and operation.path.endswith(".db"):
            self.left -= 1
        self.stopped = self.stopped or self.left < 0
        return apsw.SQLITE_IOERR if self.stopped else operation.do()


@pytest.mark.parametrize("pages", [1, 2, 5])
def test_a_log_is_recognised_when_its_wal_was_half_folded_in(tmp_path: Path, make_saver: Any, pages: int) -> None:
    """Its header then counts more pages than the file has: what is missing is in the WAL."""
    path = tmp_path / "agent.db"
    with EventLogSaver(path) as saver:
        saver.put(config_of("a"), checkpoint_of("1", {"v": 1}), {}, {})
    with StopsFolding(tmp_path, pages) as stop:
        with EventLogSaver(path) as saver:
            saver.put(config_of("a", "", "1"), checkpoint_of("2", {"v": "x" * 100, "w": os.urandom(60_000)}), {}, {})
        assert stop.stopped
    header = path.read_bytes()[:100]
    assert int.from_bytes(header[28:32], "big") * 2048 > path.stat().st_size
    again = make_saver(path)
    found = again.get_tuple(config_of("a"))
    assert found.checkpoint["channel_values"]["v"] == "x" * 100


def test_what_is_no_log_is_still_told_from_one_whose_header_counts_too_many_pages(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(20000))")
    connection.close()
    data = path.read_bytes()[:8192]
    path.write_bytes(data)
    with pytest.raises(NotAnEventLogError):
        EventLogSaver(path)
    assert path.read_bytes() == data


class FailsOnce(Interposer):
    """Fails the operation of this number, once it is told to count."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ("read", "open", "shm_map"))
        self.left = 0
        self.failed = False

    def answer(self, operation: Operation) -> int:
        self.left -= 1
        if self.left != 0:
            return operation.do()
        self.failed = True
        return apsw.SQLITE_CANTOPEN if operation.kind == "open" else apsw.SQLITE_IOERR_READ


def test_a_disk_that_fails_while_verifying_is_told_and_what_can_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    path, at = tmp_path / "agent.db", 0
    with EventLogSaver(path) as saver:
        for number in range(1, 20):
            saver.put(config_of("a"), checkpoint_of(f"{number:02}", {"v": os.urandom(6_000)}), {}, {})
    with FailsOnce(tmp_path) as disk:
        while disk.failed or at == 0:
            at += 1
            findings: list[Finding] = []
            with EventLogSaver(path) as saver:
                disk.left, disk.failed = at, False
                try:
                    findings = list(saver.log.verify())
                    told = bool(findings)
                except EventLogError:
                    told = True
                disk.left = 0
            # SQLite's own check goes on, and says which page it could not read.
            assert all(finding.code == "sqlite" for finding in findings)
            assert told == disk.failed
    assert at > 20


@pytest.mark.skipif(sys.platform != "linux", reason="a folder's descriptor is named by /proc")
def test_folders_that_were_made_for_a_log_survive_losing_power_with_it(
    tmp_path: Path, make_saver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite syncs the entries of the folder that the log is in; whoever made that folder has to sync its own."""
    synced: list[tuple[str, list[str]]] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        folder = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append((folder, os.listdir(folder)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    make_saver(tmp_path / "there" / "new" / "newer" / "agent.db")
    expected = {str(tmp_path): "there", str(tmp_path / "there"): "new", str(tmp_path / "there" / "new"): "newer"}
    assert {folder: names for folder, names in synced if folder in expected} == {
        folder: ([name, *[n for n in os.listdir(folder) if n != name]]) for folder, name in expected.items()
    }
    synced.clear()
    make_saver(tmp_path / "there" / "agent.db")
    assert synced == []
