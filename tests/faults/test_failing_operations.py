"""The n-th file operation fails: the caller is told, or has lost nothing; the log is whole, and the saver goes on.

Operations of which there are many are failed one in some here; `python tests/faults faults` fails them all.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import EventLogError, LogBusyError, LogIOError
from langgraph_eventlog.eventlog.errors import translated
from langgraph_eventlog.saver import EventLogSaver

from .fault_rounds import FAULTS, Fault, Result, rounds, run_with_fault
from .interposer import Interposer, Operation
from .issued import BrokenPromiseError, checkpoint_of, config_of
from .work import Synchronous

# A prime, so that it is not always the same page that is met.
EVERY = {"write": 17, "short write": 17, "disk full": 17, "read": 5, "lock shared memory": 5}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SQLite's VFS is another there")


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_failing_operation_is_told_or_lost_nothing(in_memory: Path, name: str, synchronous: Synchronous) -> None:
    results = [result for _, result in rounds(name, synchronous, in_memory, every=EVERY.get(name, 1))]
    assert len(results) >= (1 if FAULTS[name].lasting else 2)
    assert all(result.raised or result.absorbed for result in results)
    # SQLite does not look whether the entries of a folder could be synced, nor the log whether the WAL could be cut.
    if name not in ("sync of a folder", "truncate"):
        assert any(result.raised for result in results)


def test_a_fault_that_does_not_come_is_none(in_memory: Path) -> None:
    assert run_with_fault(Fault("write", apsw.SQLITE_IOERR_WRITE), 10**9, "FULL", in_memory) == Result(0, [], [], "")


@pytest.mark.parametrize("name", ["write", "sync", "disk full"])
def test_a_saver_that_swallows_an_error_is_found_out(
    in_memory: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The rounds are worth something."""
    put = EventLogSaver.put

    def careless(saver: EventLogSaver, config: Any, *arguments: Any) -> Any:
        try:
            return put(saver, config, *arguments)
        except EventLogError:
            return config

    monkeypatch.setattr(EventLogSaver, "put", careless)
    with pytest.raises(BrokenPromiseError, match="was acknowledged, and is not in the log"):
        list(rounds(name, "FULL", in_memory, every=EVERY.get(name, 1)))


class Fails(Interposer):
    """Fails operations while it is told to."""

    def __init__(self, folder: Path, kind: str, code: int, end: str) -> None:
        super().__init__(folder, (kind,))
        self.code, self.end = code, end
        self.failing = False
        self.failed = 0

    def answer(self, operation: Operation) -> int:
        if not (self.failing and operation.path.endswith(self.end)):
            return operation.do()
        self.failed += 1
        return self.code


def put(saver: Any, checkpoint_id: str) -> Any:
    return saver.put(config_of("a"), checkpoint_of(checkpoint_id, {"v": checkpoint_id}), {}, {})


@pytest.mark.parametrize(("kind", "code"), [("write", apsw.SQLITE_IOERR_WRITE), ("sync", apsw.SQLITE_IOERR_FSYNC)])
def test_a_put_is_acknowledged_when_only_folding_in_the_wal_after_it_fails(
    tmp_path: Path, make_saver: Any, kind: str, code: int
) -> None:
    """It is in the WAL, durable; folding is tried again after the next one."""
    saver = make_saver(tmp_path / "agent.db")
    with saver.log.database.exclusive() as connection:
        connection.pragma("wal_autocheckpoint", 1)
    with Fails(tmp_path, kind, code, ".db") as disk:
        # Which files are concerned is seen when they are opened.
        saver.close()
        saver = make_saver(tmp_path / "agent.db")
        with saver.log.database.exclusive() as connection:
            connection.pragma("wal_autocheckpoint", 1)
        disk.failing = True
        put(saver, "1")
        assert disk.failed > 0
        disk.failing = False
    assert saver.get_tuple(config_of("a")).checkpoint["id"] == "1"


def test_a_put_whose_sync_failed_raises_and_is_not_there_and_can_be_done_again(tmp_path: Path, make_saver: Any) -> None:
    with Fails(tmp_path, "sync", apsw.SQLITE_IOERR_FSYNC, "-wal") as disk:
        saver = make_saver(tmp_path / "agent.db")
        put(saver, "1")
        disk.failing = True
        with pytest.raises(LogIOError, match=r"agent\.db"):
            put(saver, "2")
        assert saver.get_tuple(config_of("a")).checkpoint["id"] == "1"
        disk.failing = False
        put(saver, "2")
    assert [one.checkpoint["id"] for one in saver.list(None)] == ["2", "1"]
    assert saver.log.head().position == 2


def test_losing_a_race_for_the_wal_is_being_busy() -> None:
    with pytest.raises(LogBusyError, match="try again") as caught, translated("/a/log.db"):
        raise apsw.ProtocolError("locking protocol")
    assert caught.value.path == "/a/log.db"
