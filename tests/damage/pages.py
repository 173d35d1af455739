"""Damages the bytes of a log's file and of its WAL, and reads what is left. A process of its own: it may crash or hang.

    python tests/damage/pages.py header|pages|projections|wal FOLDER SEED CASES

Prints what happened, as JSON. Fails at the first case in which anything but a right value or an error of the log comes
out, with the seed that makes it.
"""

from __future__ import annotations

import collections
import contextlib
import faulthandler
import json
import random
import resource
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
from langgraph_eventlog.eventlog import EventLogError, LogDamagedError, LogOpenError
from langgraph_eventlog.projections.rebuild import TABLES
from langgraph_eventlog.saver import EventLogSaver
from logs import Seen, Truth, golden, make

PAGE = 2048
HEADER = 100
HANG_S = 60
MEMORY_BYTES = 512 * 1024 * 1024
# Of so many damaged files one is also written to.
USED = 5


def limited() -> None:
    """No more memory than a reader of a small log needs; a case that hangs ends the process with where it was."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))


def damaged(data: bytes, chance: random.Random, where: range) -> bytes:
    """Give the bytes with something wrong between two places."""
    at = chance.choice(where)
    end = min(where.stop, len(data))
    length = chance.choice([1, 2, 4, 8, 32, 200, 1000])
    length = min(length, end - at)
    page = at - at % PAGE
    match chance.randrange(9):
        case 0 | 1 | 2 | 3:
            return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        case 4:
            return data[:at] + chance.randbytes(length) + data[at + length :]
        case 5:
            return data[:at] + bytes(length) + data[at + length :]
        case 6:  # a page that was not written
            filler = chance.choice([bytes(PAGE), b"\xff" * PAGE, chance.randbytes(PAGE)])
            return data[:page] + filler[: len(data) - page] + data[page + PAGE :]
        case 7:  # a page that was written somewhere else
            other = PAGE * chance.randrange(len(data) // PAGE)
            return data[:page] + data[other : other + PAGE] + data[page + PAGE :]
        case _:  # a number that is off by a little: sizes, counts, offsets
            return data[:at] + bytes([(data[at] + chance.choice([1, 255, 16])) % 256]) + data[at + 1 :]


def resized(data: bytes, chance: random.Random) -> bytes:
    """Give the bytes cut off, or with more behind them."""
    match chance.randrange(4):
        case 0:
            return data[: chance.randrange(1, len(data))]
        case 1:
            return data[: PAGE * chance.randrange(1, len(data) // PAGE)]
        case 2:
            return data + bytes(chance.choice([1, 100, PAGE, 10 * PAGE]))
        case _:
            return data + chance.randbytes(chance.choice([1, 100, PAGE, 10 * PAGE]))


def pages_of(path: Path, wanted: Callable[[str], bool]) -> list[int]:
    """Give the numbers of the pages, from 0, of the tables and indexes that are wanted."""
    with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        owners = connection.execute("SELECT name, pageno FROM dbstat").fetchall()
        tables = dict(connection.execute("SELECT name, tbl_name FROM sqlite_schema").fetchall())
    return [page - 1 for name, page in owners if wanted(tables.get(name, name))]


class Trial:
    """One log, and what became of it in each case."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.whole = folder / "whole.db"
        if not self.whole.exists():
            make(self.whole)
        self.data = self.whole.read_bytes()
        shutil.copy(self.whole, folder / "truth.db")
        self.truth = Truth(folder / "truth.db")
        self.path = folder / "case.db"
        self.outcomes: collections.Counter[str] = collections.Counter()

    def write(self, data: bytes, wal: bytes | None = None) -> None:
        """Make the damaged file; nothing is left of the one before."""
        for suffix in ("-wal", "-shm", "-journal"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        self.path.write_bytes(data)
        if wal is not None:
            Path(f"{self.path}-wal").write_bytes(wal)

    def look(self, *, use: bool = False, everything: bool = True) -> str:
        """Open and read the damaged file, checkpoints or everything; give what happened."""
        try:
            saver = EventLogSaver(self.path, synchronous="NORMAL", busy_timeout_ms=1000)
        except (LogOpenError, LogDamagedError) as e:
            return f"refused: {type(e).__name__}"
        with saver:
            seen = Seen(saver, self.truth, everything=everything)
            wrong = {at for at, event in seen.events.items() if event != self.truth.events.get(at)}
            gone = self.truth.events.keys() - seen.events.keys() - seen.corrupt.keys()
            as_it_was = seen.as_it_was and not wrong and (not gone or seen.errors or not everything)
            errors = [*seen.failed.values(), *seen.corrupt.values(), *seen.errors]
            assert all(isinstance(e, LogDamagedError | LogOpenError) for e in errors), errors
            if not as_it_was:
                # SQLite has given rows that no digest is over, or fewer of them: that is what verify() is for.
                assert list(saver.verify(anchor=self.truth.head)), (seen.different, seen.missing, wrong, gone)
            if use:
                self.use(saver)
            return "read: an error" if errors else "read: as it was" if as_it_was else "found by verify()"

    def use(self, saver: EventLogSaver) -> None:
        """Write; each call succeeds, or fails with an error of ours."""
        golden_make = golden()
        for thread in ("a", "new"):
            for call in (
                lambda thread=thread: golden_make.put(saver, thread, "c8", "c2"),
                lambda thread=thread: saver.put_writes(golden_make.config(thread, "c8"), [("x", 1)], "task"),
                lambda thread=thread: saver.register_thread(thread, "name"),
                lambda thread=thread: saver.prune([thread]),
                lambda thread=thread: saver.delete_thread(thread),
            ):
                with contextlib.suppress(EventLogError):
                    call()
        list(saver.verify())
        with contextlib.suppress(EventLogError):
            saver.rebuild()


def header(trial: Trial, chance: random.Random, cases: int) -> Iterator[None]:
    """Damage each byte of the file's header, in every way that one byte can be damaged, as far as there are cases."""
    ways = [(at, value) for at in range(HEADER) for value in range(256) if trial.data[at] != value]
    # One bit first, of every byte.
    ways.sort(key=lambda way: ((way[1] ^ trial.data[way[0]]).bit_count() > 1, chance.random()))
    for case, (at, value) in enumerate(ways[:cases]):
        trial.write(trial.data[:at] + bytes([value]) + trial.data[at + 1 :])
        outcome = trial.look(everything=case % USED == 0)
        field = "magic" if at < 16 else "application_id" if 68 <= at < 72 else "user_version" if 60 <= at < 64 else ""
        if field in ("magic", "application_id"):
            assert outcome == "refused: NotAnEventLogError", (at, value, outcome)
        if field == "user_version":
            assert outcome in ("refused: NewerFormatError", "refused: NotAnEventLogError", "read: as it was"), outcome
        trial.outcomes[outcome] += 1
        yield


def pages(trial: Trial, chance: random.Random, cases: int) -> Iterator[None]:
    """Damage every page in turn, at random places; every tenth case cuts the file off, or adds to it."""
    count = len(trial.data) // PAGE
    for case in range(cases):
        page = case % count
        data = (
            resized(trial.data, chance)
            if case % 10 == 9
            else damaged(trial.data, chance, range(PAGE * page, PAGE * (page + 1)))
        )
        trial.write(data)
        trial.outcomes["the same" if data == trial.data else trial.look(use=case % USED == 0)] += 1
        yield


def projections(trial: Trial, chance: random.Random, cases: int) -> Iterator[None]:
    """Damage the pages of the built-in projections: a rebuild gives back all that was there."""
    own = pages_of(trial.whole, lambda table: table in TABLES)
    for _ in range(cases):
        page = chance.choice(own)
        trial.write(damaged(trial.data, chance, range(PAGE * page, PAGE * (page + 1))))
        with EventLogSaver(trial.path, synchronous="NORMAL") as saver:
            saver.rebuild()
        with EventLogSaver(trial.path, synchronous="NORMAL") as saver:
            seen = Seen(saver, trial.truth)
            state = (seen.failed, seen.lost, seen.corrupt, seen.missing, seen.different, seen.errors)
            assert state == ({}, {}, {}, [], [], []), state
            assert list(saver.verify(anchor=trial.truth.head)) == []
        trial.outcomes["repaired"] += 1
        yield


def wal(trial: Trial, chance: random.Random, cases: int) -> Iterator[None]:
    """Damage a WAL that holds the last commits: what is left is what was there after some commit before the damage."""
    golden_make = golden()
    shutil.copy(trial.whole, trial.path)
    with EventLogSaver(trial.path) as saver:
        for n in range(1, 9):
            golden_make.put(saver, "tail", f"c{n}", f"c{n - 1}" if n > 1 else None)
            saver.put_writes(golden_make.config("tail", f"c{n}"), [("messages", f"write {n}")], f"task {n}")
        main, log = trial.path.read_bytes(), Path(f"{trial.path}-wal").read_bytes()
        events = {event.position: event for event in saver.log.read()}
        anchor = saver.log.head()
    assert (len(log) - 32) % (PAGE + 24) == 0
    while log.endswith(bytes(PAGE + 24)):  # room for more, in which there is nothing to damage
        log = log[: -PAGE - 24]
    for case in range(cases):
        if case == 0:
            data = log
        elif case % 4 == 3:
            data = resized(log, chance)
        else:
            data = damaged(log, chance, range(len(log)))
        trial.write(main, data)
        with EventLogSaver(trial.path, synchronous="NORMAL") as saver:
            head = saver.log.head()
            found = {event.position: event for event in saver.log.read()}
            assert found == {at: event for at, event in events.items() if at <= head.position}
            assert list(saver.verify()) == []
            against = {finding.code for finding in saver.verify(anchor=anchor)}
            assert against == ({"anchor"} if head.position < anchor.position else set())
            assert case or head == anchor
        trial.outcomes["nothing lost" if head == anchor else "commits lost, found against an anchor"] += 1
        yield


PARTS = {"header": header, "pages": pages, "projections": projections, "wal": wal}


def main(argv: list[str]) -> int:
    """Run one part."""
    part, folder, seed, cases = argv[0], Path(argv[1]), argv[2], int(argv[3])
    trial = Trial(folder)
    limited()
    done = 0
    try:
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        for _ in PARTS[part](trial, random.Random(f"{part} {seed}"), cases):
            done += 1
            faulthandler.dump_traceback_later(HANG_S, exit=True)
    except Exception:
        traceback.print_exc()
        print(f"{part}: case {done} with the seed {seed}; the file is {trial.path}", file=sys.stderr)
        return 1
    finally:
        faulthandler.cancel_dump_traceback_later()
    print(json.dumps({"cases": done, **trial.outcomes}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
