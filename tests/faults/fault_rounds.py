"""The n-th operation of a kind fails, for n = 1, 2, ... until the scenario ends without coming that far.

A step in which one failed raises an EventLogError, or it has kept its promise all the same: SQLite takes some failures
in. Which these are is not listed, but tried: the power is cut right after the step, and what was acknowledged has to be
there, whether it raised or not.

A sync that failed, and is done again with success, has then been done: that is what SQLite relies on. (Linux may have
dropped what it could not write.)
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw
from langgraph_eventlog.eventlog import EventLogError
from langgraph_eventlog.saver import EventLogSaver

from .interposer import Operation
from .issued import BrokenPromiseError, Issued, check
from .power import PowerVfs, lay_out
from .work import SCENARIO, Synchronous, Work

__all__ = ["FAULTS", "Fault", "Result", "rounds", "run_with_fault"]

NAME = "agent.db"
_LASTS_FOR = 3  # steps that raise


@dataclass(frozen=True)
class Fault:
    """How operations fail.

    Attributes:
        kind: of the operations.
        code: SQLite's result code.
        short: half of what is to be written is.
        lasting: all that come after it fail, too, until some steps have raised; otherwise only this one.
    """

    kind: str
    code: int
    short: bool = False
    lasting: bool = False


FAULTS: dict[str, Fault] = {
    "write": Fault("write", apsw.SQLITE_IOERR_WRITE),
    "short write": Fault("write", apsw.SQLITE_IOERR_WRITE, short=True),
    "disk full": Fault("write", apsw.SQLITE_FULL, short=True, lasting=True),
    "sync": Fault("sync", apsw.SQLITE_IOERR_FSYNC),
    "no sync for long": Fault("sync", apsw.SQLITE_IOERR_FSYNC, lasting=True),
    "sync of a folder": Fault("sync_folder", apsw.SQLITE_CANTOPEN),
    "truncate": Fault("truncate", apsw.SQLITE_IOERR_TRUNCATE),
    "open": Fault("open", apsw.SQLITE_CANTOPEN),
    "delete": Fault("delete", apsw.SQLITE_IOERR_DELETE),
    "read": Fault("read", apsw.SQLITE_IOERR_READ),
    "lock": Fault("lock", apsw.SQLITE_IOERR_LOCK),
    "map shared memory": Fault("shm_map", apsw.SQLITE_IOERR_SHMMAP),
    "no space for shared memory": Fault("shm_map", apsw.SQLITE_IOERR_SHMSIZE, lasting=True),
    "lock shared memory": Fault("shm_lock", apsw.SQLITE_IOERR_SHMLOCK),
}


class _FaultyVfs(PowerVfs):
    """Fails the operation of number `at`; keeps count of what has been synced, so that the power can be cut as well."""

    def __init__(self, folder: Path, fault: Fault, at: int, chance: random.Random) -> None:
        super().__init__(folder, 0, chance, more_kinds={fault.kind})
        self.fault = fault
        self.active = True
        self.failed = 0
        self.where = ""
        self._at = at
        self._count = 0

    def answer(self, operation: Operation) -> int:
        fault = self.fault
        if self.active and operation.kind == fault.kind and not _is_unlocking(operation):
            self._count += 1
            if self._count == self._at or (fault.lasting and self._count > self._at):
                self.failed += 1
                self.where = self.where or operation.path.rpartition(NAME)[2] or "file"
                if fault.short:
                    operation.do(operation.size // 2)
                    self.note_write(operation, operation.size // 2)
                return fault.code
        return super().answer(operation)


def _is_unlocking(operation: Operation) -> bool:
    """SQLite does not look whether that succeeds: a lock that stays is one that another process holds."""
    return operation.kind == "shm_lock" and bool(operation.offset & apsw.SQLITE_SHM_UNLOCK)


@dataclass
class Result:
    """What a run of the scenario with one fault came to.

    Attributes:
        hit: how many operations failed; 0: the scenario did not come that far.
        raised: names of the steps that raised, and what.
        absorbed: names of the steps in which something failed, and which kept their promise all the same.
        where: the end of the name of the file at which the first failed.
    """

    hit: int
    raised: list[tuple[str, str]]
    absorbed: list[str]
    where: str


def run_with_fault(fault: Fault, at: int, synchronous: Synchronous, folder: Path) -> Result:
    """Run the scenario with the operation of number `at` failing; `folder` is emptied.

    Raises:
        BrokenPromiseError: a promise does not hold.
    """
    lay_out({}, folder / "work")
    work = Work(folder / "work" / NAME, synchronous, seed=4)
    result = Result(0, [], [], "")
    with _FaultyVfs(folder / "work", fault, at, random.Random(at)) as vfs:
        try:
            for number, step in enumerate(SCENARIO):
                name, before = f"{number + 1} {step.__name__}", vfs.failed
                try:
                    step(work)
                except EventLogError as e:
                    if vfs.failed == before:
                        raise BrokenPromiseError(f"step {name} raises {e!r}: nothing failed any more") from e
                    result.raised.append((name, type(e).__name__))
                except BrokenPromiseError:
                    raise
                except Exception as e:
                    raise BrokenPromiseError(f"step {name} raises {e!r}, which is none of the log's errors") from e
                else:
                    if vfs.failed > before:
                        result.absorbed.append(name)
                if before == 0 < vfs.failed:
                    lay_out(vfs.left(), folder / "cut")
                    # When the folder cannot be synced SQLite goes on: a new WAL is lost with all that was put into it.
                    may_lose = synchronous == "NORMAL" or fault.kind == "sync_folder"
                    _check(folder / "cut" / NAME, work.issued, f"after {name}", may_lose)
                if not fault.lasting or len(result.raised) >= _LASTS_FOR:
                    vfs.active = vfs.failed == 0
        finally:
            vfs.active = False
            work.close()
    result.hit, result.where = vfs.failed, vfs.where
    _check(folder / "work" / NAME, work.issued, "at the end", may_lose_the_end=False)
    return result


def _check(path: Path, issued: Issued, when: str, may_lose_the_end: bool) -> None:
    try:
        with EventLogSaver(path) as saver:
            check(saver, issued, may_lose_the_end=may_lose_the_end)
    except (BrokenPromiseError, EventLogError) as e:
        raise BrokenPromiseError(f"{when}: {e!r}") from e


def rounds(name: str, synchronous: Synchronous, folder: Path, *, every: int = 1) -> Iterator[tuple[int, Result]]:
    """Run for n = 1, 1 + every, ... until the fault is not hit any more.

    Raises:
        BrokenPromiseError: a promise does not hold; it says at which n.
    """
    at = 1
    while True:
        try:
            result = run_with_fault(FAULTS[name], at, synchronous, folder)
        except BrokenPromiseError as e:
            raise BrokenPromiseError(f"{name} number {at}, {synchronous}: {e}") from e
        if not result.hit:
            return
        yield at, result
        at += every
