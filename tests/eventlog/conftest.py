"""What the tests of the log share: a log with every kind of event in it, ways to damage it, and subprocesses."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import apsw
import pytest
from langgraph_eventlog.eventlog import Compaction, EventLog, NewEvent
from langgraph_eventlog.eventlog.connection import file_uri
from langgraph_eventlog.eventlog.encryption import Key
from langgraph_eventlog.eventlog.integrity import inner_of
from langgraph_eventlog.saver import EventLogSaver

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def golden() -> ModuleType:
    """tests/golden/make.py: `fill`, `put`, `config`, `checkpoint`."""
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def raw(path: str | Path) -> Iterator[apsw.Connection]:
    """A connection without any settings, as another program would have it.

    Never the standard library's while a log is open: it is another copy of SQLite, and when it closes the file,
    this process's POSIX locks are gone, and with them the WAL.
    """
    key = Key.of(EventLog.__init__.__kwdefaults__["key"])  # that of an encrypted run
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(str(path) if key is None else file_uri(str(path), key=key), flags=flags)
    connection.pragma("synchronous", "OFF")
    try:
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def without_triggers(path: str | Path) -> Iterator[apsw.Connection]:
    """Someone with write access, who takes the triggers away and puts them back: only data differs afterwards."""
    with raw(path) as connection, connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, sql in triggers:
            connection.execute(sql)


def _int(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)


def _lp(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def recompute(connection: apsw.Connection) -> None:
    """Recompute every digest and link by FORMAT.md section 7, with hashlib alone: what a thorough attacker does."""
    log_id, created_at = connection.execute("SELECT log_id, created_at FROM meta").fetchone()
    link = hashlib.sha256(b"langgraph-eventlog" + log_id + _int(created_at)).digest()
    stubs = {p: (k, inner) for p, k, inner in connection.execute("SELECT position, kind, inner FROM erased")}
    events = {
        row[0]: row[1:]
        for row in connection.execute(
            "SELECT position, recorded_at, kind, thread_id, checkpoint_ns, record FROM event "
            "LEFT JOIN stream USING (stream) LEFT JOIN thread USING (thread)"
        )
    }
    head = max([0, *events])
    for position in range(1, head + 1):
        if position in events:
            recorded_at, kind, thread_id, ns, record = events[position]
            where = [b"log"] if thread_id is None else [b"stream", thread_id.encode(), ns.encode()]
            digest = hashlib.sha256(record).digest()
            inner = hashlib.sha256(_lp(_int(recorded_at), *where, digest)).digest()
        else:
            kind, inner = stubs[position]
        leaf = hashlib.sha256(_lp(_int(position), _int(kind), inner)).digest()
        link = hashlib.sha256(link + leaf).digest()
        if position in events:
            connection.execute("UPDATE event SET digest = ?, link = ? WHERE position = ?", (digest, link, position))
    connection.execute("UPDATE meta SET head = ?, link = ?", (head, link))


def erase(saver: EventLogSaver, positions: list[int], *, declared: bool = True) -> None:
    """Erase events as FORMAT.md says, stubs first, in the transaction of the compaction event that declares it."""

    def decide(connection: Any) -> NewEvent:
        size = 0
        for position in positions:
            event = next(saver.log.read(after=position - 1, limit=1))
            address = (event.thread_id, event.checkpoint_ns)
            inner = inner_of(recorded_at=event.recorded_at, address=address, digest=event.digest)
            connection.execute("INSERT INTO erased VALUES (?, ?, ?)", (position, int(event.kind), inner))
            connection.execute("DELETE FROM event WHERE position = ?", (position,))
            size += event.size
        ranges = tuple((p, p) for p in positions) if declared else ()
        return NewEvent(Compaction({"by": "test"}, ranges, size))

    saver.log.transact(decide)


def run_python(code: str, *args: object, check: bool = True, stdin: str | None = None) -> str:
    """Run code in a process of its own; give what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        input=stdin,
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def helpers() -> Any:
    """The functions above: tests are not a package, and cannot import them."""
    return sys.modules[__name__] if __name__ in sys.modules else _Namespace()


class _Namespace:
    raw = staticmethod(raw)
    without_triggers = staticmethod(without_triggers)
    recompute = staticmethod(recompute)
    erase = staticmethod(erase)
    run_python = staticmethod(run_python)


@pytest.fixture(scope="session")
def _filled_file(tmp_path_factory: pytest.TempPathFactory, golden: ModuleType) -> Path:
    path = tmp_path_factory.mktemp("filled") / "filled.db"
    config = golden.config
    # Metadata that comes with the config, so that there is something to index.
    with_user = mock.patch.object(golden, "config", lambda *named: {**config(*named), "metadata": {"user": named[0]}})
    with with_user, EventLogSaver(path, clock=golden.ticking(), indexed_metadata=["user"]) as saver:
        golden.fill(saver)
    return path


@pytest.fixture
def filled(_filled_file: Path, make_saver: Callable[..., EventLogSaver], tmp_path: Path) -> EventLogSaver:
    """A saver on a file that holds every kind of event the saver makes."""
    shutil.copy(_filled_file, tmp_path / "filled.db")
    return make_saver(tmp_path / "filled.db", synchronous="NORMAL")


@pytest.fixture
def erased_log(filled: EventLogSaver, golden: ModuleType) -> EventLogSaver:
    """The same, with the put and the put_writes of the deleted thread "gone" erased, and a put after that."""
    positions = [e.position for e in filled.log.read(thread_id="gone") if e.kind in (1, 2)]
    assert len(positions) == 2
    erase(filled, positions)
    golden.put(filled, "after", "c2", "c1")
    return filled
