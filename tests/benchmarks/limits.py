"""What a put_writes and a put cannot take less than, on this machine: so that what is left can be told.

    python tests/benchmarks/limits.py [--steps N] [--folder FOLDER]

The work is the one of many short threads, at NORMAL. Ours, and the official saver, do it alone, one after the other.
Then what ours did is done once more without it: the very same statements, on a file that is as empty, through apsw
alone; and the serializer, zstd and SHA-256 by themselves, on the same bytes. The first is what SQLite takes for these
tables, all together what is left if everything between the caller and those took no time. Last, what an fsync takes:
of a file that grows by each commit, and of one that keeps its length.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import zstandard
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog import record
from langgraph_eventlog.eventlog.connection import connect
from langgraph_eventlog.eventlog.dictionaries import dictionary
from langgraph_eventlog.saver import EventLogSaver
from material import thread_config
from peers import open_peer
from phases import steps_of
from rich.console import Console
from rich.table import Table

__all__ = ["main"]

CALLS = ("put_writes", "put")
COMMIT_BYTES = 10_000
SYNCS = 200
Statements = list[tuple[str, Any]]


class Heard:
    """What the writing connection of a saver is told, by call."""

    def __init__(self, saver: EventLogSaver) -> None:
        self.now: Statements = []
        saver.log.database.writer().exec_trace = self._hear

    def _hear(self, cursor: apsw.Cursor, sql: str, bindings: Any) -> bool:
        self.now.append((sql, bindings))
        return True

    def taken(self) -> Statements:
        """Give what has been heard since the last time."""
        heard, self.now = self.now, []
        return heard


def microseconds(call: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Give how long a call takes, and what it gives."""
    start = time.perf_counter_ns()
    given = call(*arguments)
    return (time.perf_counter_ns() - start) / 1e3, given


def calls(saver: Any, steps: int) -> Iterator[tuple[str, float, Any]]:
    """Do the work; yield the name of each call, what it took, and what was written."""
    configs: dict[str, Any] = {}
    for thread, step in steps_of("threads", steps):
        config = configs.get(thread.thread_id)
        if config is None:
            config = thread_config(thread.thread_id)
        else:
            yield "put_writes", microseconds(saver.put_writes, config, step.writes, step.task_id)[0], step.writes
        given = (config, step.checkpoint, step.metadata, step.new_versions)
        taken, configs[thread.thread_id] = microseconds(saver.put, *given)
        yield "put", taken, ()


def alone(name: str, folder: Path, steps: int) -> dict[str, float]:
    """Give the medians of a saver's calls, with nobody else there."""
    times: dict[str, list[float]] = {call: [] for call in CALLS}
    with open_peer(name, folder, "NORMAL") as peer:
        for call, taken, _ in calls(peer.saver, steps):
            times[call].append(taken)
    return {call: statistics.median(found) for call, found in times.items()}


def recorded(folder: Path, steps: int) -> tuple[list[tuple[str, Statements, Any]], Path]:
    """Do the work once, listening; give what each call told SQLite, and the file as it was before."""
    path, empty = folder / "heard.db", folder / "empty.db"
    with EventLogSaver(path, synchronous="NORMAL") as saver:
        saver.log.database.writer()
    shutil.copy(path, empty)
    found = []
    with EventLogSaver(path, synchronous="NORMAL") as saver:
        heard = Heard(saver)
        for call, _, writes in calls(saver, steps):
            found.append((call, heard.taken(), writes))
    return found, empty


def statements_alone(found: list[tuple[str, Statements, Any]], path: Path) -> dict[str, float]:
    """Give what the statements of each call take, on a file of their own."""
    times: dict[str, list[float]] = {call: [] for call in CALLS}
    flags = apsw.SQLITE_OPEN_READWRITE
    connection = connect(str(path), flags=flags, busy_timeout_ms=1_000, synchronous="NORMAL", writer=True)
    execute = connection.execute

    def replay(statements: Statements) -> None:
        for sql, bindings in statements:
            execute(sql, bindings)

    try:
        for call, statements, _ in found:
            times[call].append(microseconds(replay, statements)[0])
    finally:
        connection.close()
    return {call: statistics.median(taken) for call, taken in times.items()}


def bytes_alone(found: list[tuple[str, Statements, Any]]) -> dict[str, tuple[float, float]]:
    """Give what the serializer takes for what a call wrote, and what zstd and SHA-256 take for its record."""
    serde = JsonPlusSerializer()
    compressor = zstandard.ZstdCompressor(dict_data=dictionary(1), compression_params=record._PARAMETERS)
    times: dict[str, list[tuple[float, float]]] = {call: [] for call in CALLS}
    for call, statements, writes in found:
        stored = next(bindings[4] for sql, bindings in statements if sql.lstrip().startswith("INSERT INTO event"))
        _, body = record.decode(stored)
        serialised, _ = microseconds(lambda values: [serde.dumps_typed(value) for _, value in values], writes)
        compressed, _ = microseconds(compressor.compress, body)
        digested, _ = microseconds(lambda data: hashlib.sha256(data).digest(), stored)
        times[call].append((serialised, compressed + digested))
    medians = {}
    for call, taken in times.items():
        first, second = zip(*taken, strict=True)
        medians[call] = (statistics.median(first), statistics.median(second))
    return medians


def syncs(path: Path) -> tuple[float, float]:
    """Give what writing and syncing a commit's bytes takes: at the end of a file, and, once more, within it."""
    data = os.urandom(COMMIT_BYTES)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def write(n: int) -> None:
        os.pwrite(file, data, n * len(data))
        os.fdatasync(file)

    try:
        grows, keeps = ([microseconds(write, n)[0] for n in range(SYNCS)] for _ in range(2))
    finally:
        os.close(file)
    return statistics.median(grows), statistics.median(keeps)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_200, help="how many in all, eight of each thread")
    parser.add_argument("--folder", type=Path, help="make the files there: choose a real disk")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        ours, official = (alone(peer, folder, options.steps) for peer in ("ours", "sqlite"))
        found, empty = recorded(folder, options.steps)
        sql, data = statements_alone(found, empty), bytes_alone(found)
        grows, keeps = syncs(folder / "synced")
    table = Table("us", *CALLS)
    rows: dict[str, Callable[[str], float]] = {
        "its statements, through apsw alone": lambda call: sql[call],
        "the serializer, on what was written": lambda call: data[call][0],
        "zstd and SHA-256, of its record": lambda call: data[call][1],
        "these together": lambda call: sql[call] + sum(data[call]),
        "ours": lambda call: ours[call],
        "official": lambda call: official[call],
    }
    for what, of in rows.items():
        table.add_row(what, *(f"{of(call):,.0f}" for call in CALLS))
    console = Console()
    console.print(table)
    console.print(
        f"write and sync {COMMIT_BYTES:,} bytes: {grows:,.0f} us at the end of a file, {keeps:,.0f} us within one"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
