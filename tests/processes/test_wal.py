"""What bounds the WAL: commits fold it into the file, and readers that keep it from beginning anew are waited for.

Iterators that were left, forgotten savers and readers in long transactions never keep a writer waiting.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import apsw
import pytest
from langgraph_eventlog.eventlog import wal as wal_module
from langgraph_eventlog.saver import EventLogSaver

from .children import Child, config, put, write

FOLDER = Path(__file__).parent
MB = 1_000_000
# journal_size_limit; and what is added before the next look, with a commit in it.
LIMIT = 16 * 1024 * 1024
STEP = 4_200_000

READER = """
import apsw
connection = apsw.Connection(sys.argv[1])
connection.execute("BEGIN")
count = connection.execute("SELECT count(*) FROM event").fetchall()
say("reading")
hear()
assert connection.execute("SELECT count(*) FROM event").fetchall() == count
connection.close()
say("through")
"""


def wal_bytes(saver: EventLogSaver) -> int:
    return os.path.getsize(saver.path + "-wal")


def fill(saver: EventLogSaver, size: int, name: str) -> int:
    """Append that much, which nothing can make smaller; give how large the WAL was at most."""
    largest = 0
    for n in range(size // 100_000):
        write(saver, name, f"{n}", os.urandom(100_000))
        largest = max(largest, wal_bytes(saver))
    return largest


def nobody_reads(saver: EventLogSaver) -> bool:
    """Tell whether the WAL can be emptied: SQLite refuses while anyone is in a transaction."""
    with contextlib.closing(apsw.Connection(saver.path)) as other:
        other.execute("SELECT 1 FROM meta").fetchall()  # before it has read anything, it knows of no WAL
        try:
            other.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            return False
    return wal_bytes(saver) == 0


def test_with_nobody_reading_the_wal_is_folded_in_a_few_megabytes_at_a_time(make_saver: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    assert fill(saver, 12 * MB, "t") < STEP + MB
    assert os.path.getsize(saver.path) > 7 * MB


def test_with_somebody_always_reading_the_wal_stays_bounded(make_saver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two readers take turns, so that at no moment there is none: SQLite of its own would never begin anew."""
    monkeypatch.setattr(wal_module, "_BYTES_AT_A_TIME", 50 * 4096)
    monkeypatch.setattr(wal_module, "WAL_LIMIT_BYTES", 200 * 4096)
    saver = make_saver(synchronous="NORMAL")
    put(saver, "t", x=1)
    stop, turns = threading.Event(), [threading.Event(), threading.Event()]
    rounds = [0, 0]
    failed: list[BaseException] = []

    def read(own: int) -> None:
        try:
            while not stop.is_set():
                with saver.log.database.reading() as connection:
                    assert connection.execute("SELECT count(*) FROM event").fetchall() != [(0,)]
                    rounds[own] += 1
                    turns[1 - own].set()  # the other may leave: this one is in
                    time.sleep(0.003)
                    while not turns[own].wait(0.01):
                        if stop.is_set():
                            return
                    turns[own].clear()
        except BaseException as e:
            failed.append(e)

    readers = [threading.Thread(target=read, args=(own,)) for own in range(2)]
    for reader in readers:
        reader.start()
    try:
        largest = 0
        for n in range(600):
            write(saver, "t", f"{n}", os.urandom(8_000))
            largest = max(largest, wal_bytes(saver))
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert failed == []
    assert min(rounds) > 10
    assert largest < 3 * 200 * 4096, f"{largest:,} bytes of WAL for 4.8 MB"


def test_a_reader_in_a_long_transaction_keeps_nobody_waiting_and_when_it_ends_the_wal_shrinks(make_saver: Any) -> None:
    """A foreign one: as long as it lasts the WAL grows, since what it reads must stay; then it begins anew."""
    saver = make_saver(synchronous="NORMAL")
    put(saver, "t", x=1)
    with Child(READER, saver.path) as reader:
        assert reader.hear() == "reading"
        largest = fill(saver, 24 * MB, "meanwhile")
        assert largest > 24 * MB  # nothing of it could be given up
        reader.say("end")
        assert reader.hear() == "through"
    fill(saver, 2 * STEP, "after")
    assert wal_bytes(saver) <= LIMIT + MB
    assert len(list(saver.log.read(thread_id="meanwhile"))) == 240


def left_half_way(saver: EventLogSaver) -> dict[str, Callable[[], Iterator[Any]]]:
    return {
        "list of all": lambda: saver.list(None),
        "list of a thread": lambda: saver.list({"configurable": {"thread_id": "t"}}),
        "list with a limit": lambda: saver.list(None, limit=90),
        "list with an indexed filter": lambda: saver.list(None, filter={"source": "loop"}),
        "list with any filter": lambda: saver.list(None, filter={"colour": "red"}),
        "threads": lambda: iter(saver.threads()),
        "events": lambda: saver.log.read(),
        "events of a thread": lambda: saver.log.read(thread_id="t"),
        "subscription": lambda: iter(saver.log.subscribe()),
    }


@pytest.fixture
def hundred(make_saver: Any) -> EventLogSaver:
    """A saver with a hundred checkpoints in two threads."""
    saver: EventLogSaver = make_saver(synchronous="NORMAL")
    for n in range(100):
        thread = "t" if n % 2 else f"thread {n}"
        checkpoint = {"v": 4, "id": f"{n:03}", "ts": "", "channel_values": {"x": n}, "channel_versions": {}}
        saver.put(config(thread), checkpoint | {"versions_seen": {}}, {"source": "loop", "colour": "red"}, {})  # type: ignore[arg-type,typeddict-unknown-key]
    return saver


@pytest.mark.parametrize("what", left_half_way(None))  # type: ignore[arg-type]  # only the names are asked for
def test_an_iterator_that_is_left_half_way_holds_no_transaction(hundred: EventLogSaver, what: str) -> None:
    iterator = left_half_way(hundred)[what]()
    next(iterator)
    assert nobody_reads(hundred)
    put(hundred, "u", x=1)
    rest = sum(1 for _ in itertools.islice(iterator, 20))
    assert rest == 20
    assert nobody_reads(hundred)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_async_iterator_that_is_left_half_way_holds_no_transaction(hundred: EventLogSaver, backend: str) -> None:
    async def main() -> None:
        listing, threads = hundred.alist(None), hundred.athreads()
        await anext(listing)
        await anext(threads)
        assert nobody_reads(hundred)
        await hundred.adelete_thread("t")
        await anext(listing)
        assert nobody_reads(hundred)
        await listing.aclose()  # type: ignore[attr-defined]
        await threads.aclose()  # type: ignore[attr-defined]

    anyio.run(main, backend=backend)


def test_many_iterators_that_are_left_half_way_do_not_let_the_wal_grow(
    hundred: EventLogSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []
    for n in range(60):
        for make in left_half_way(hundred).values():
            left.append(make())
            next(left[-1])
        write(hundred, "large", f"{n}", os.urandom(200_000))
        assert wal_bytes(hundred) < STEP + MB


def test_a_read_only_saver_that_was_forgotten_or_is_idle_holds_nothing(hundred: EventLogSaver) -> None:
    idle = EventLogSaver(hundred.path, read_only=True)
    assert idle.get_tuple(config("t")) is not None
    assert len(list(idle.list(None))) == 100
    assert nobody_reads(hundred)
    holder = [idle]
    del idle
    with pytest.warns(ResourceWarning, match="was not closed"):  # noqa: PT031  forgetting takes two
        holder.clear()
        gc.collect()
    put(hundred, "u", x=1)
    assert nobody_reads(hundred)


def test_a_saver_that_nobody_can_reach_any_more_keeps_no_writer_waiting(make_saver: Any) -> None:
    """In a cycle, which the garbage collector has not found yet."""
    saver = make_saver(busy_timeout_ms=1_000)
    forgotten: Any = EventLogSaver(saver.path)
    put(forgotten, "forgotten", x=1)
    list(forgotten.list(None))
    cycle = [forgotten]
    cycle.append(cycle)
    gc.disable()
    try:
        del forgotten, cycle
        for n in range(20):
            put(saver, f"{n}", x=n)
        assert nobody_reads(saver)
    finally:
        with pytest.warns(ResourceWarning, match="was not closed"):
            gc.collect()
        gc.enable()


FORGETFUL = """
from langgraph_eventlog.saver import EventLogSaver

def forget(path):
    saver = EventLogSaver(path)  # line 6
    put(saver, "t", x=1)
    saver.with_allowlist([])
    if sys.argv[2] == "now":
        del saver
        gc.collect()

import gc, threading, warnings
warnings.resetwarnings()
gc.disable()
forget(sys.argv[1])
"""


@pytest.mark.parametrize("when", ["now", "at the end of the process"])
def test_the_warning_names_the_file_and_the_line_that_opened_it(tmp_path: Path, when: str) -> None:
    (tmp_path / "forgetful.py").write_text(
        f"import sys; sys.path.insert(0, {str(FOLDER)!r})\nfrom children import *" + FORGETFUL
    )
    path = tmp_path / "agent.db"
    command = [sys.executable, "-W", "always::ResourceWarning", tmp_path / "forgetful.py", path, when]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    [warning] = [line for line in done.stderr.splitlines() if "was not closed" in line]
    assert str(path) in warning
    assert f"opened at {tmp_path / 'forgetful.py'}:6," in warning
    assert "close()" in warning


def test_a_log_whose_wal_is_half_folded_in_can_be_opened(make_saver: Any) -> None:
    """The file's header may then speak of pages that only the WAL has: that is no damage."""
    saver = make_saver(synchronous="NORMAL")
    for n in range(12):
        write(saver, f"{n}", "large", os.urandom(3_000))
        with contextlib.closing(apsw.Connection(saver.path)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchall()
            write(saver, f"{n}", "small")
            with saver.log.database.exclusive() as connection:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)  # as far as the reader lets it
            for read_only in (False, True):
                with EventLogSaver(saver.path, read_only=read_only) as another:
                    assert another.log.head() == saver.log.head()
