"""Compaction of a log of long chats: how quickly it is done, and what others who put meanwhile notice of it.

After each the log is verified, and what is kept must read as before: a figure of a log that has lost something would
say nothing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from langgraph_eventlog.saver import EventLogSaver, Retention
from material import Thread, researching_chat, thread_config
from measure import Figure, Run, timed
from putting import put_until
from reading import CHILD, child

__all__ = ["compaction"]

_NAME = "ours.db"
_DOCUMENT = 8_000  # characters
_KEEP_LAST = 5
_POLICY = Retention(keep_last=_KEEP_LAST)
# Puts that began and ended, or overlapped: (when, seconds).
_Puts = list[tuple[float, float]]
# What is read of each thread: digests of its newest checkpoints.
_Seen = dict[str, list[bytes]]


def compaction(run: Run) -> None:
    """Measure compacting a log, half of whose threads are deleted, and the others keep their newest checkpoints."""
    for size, work in ((run.sizes.compaction_bytes, _compact), (run.sizes.disturbed_bytes, _disturb)):
        label = f"log of {size / 1e6:g} MB"
        with run.new_folder() as folder:
            work(run, folder / _NAME, label, _make(run, folder / _NAME, label, size))


def _compact(run: Run, made: Path, label: str, seen: _Seen) -> None:
    speed = run.figure(f"{label}: compact, nobody else there", "MB/s", 10.0, better="least")
    work = run.figure(f"{label}: the same, by a second of the processor", "MB/s", better="least")
    before = run.figure(f"{label}: file before", "MB", better="least")
    after = run.figure(f"{label}: file after", "MB", better="least")
    for _ in run.track(run.rounds(), run.sizes.rounds, f"{label}: compact"):
        with _copy(run, made) as path, EventLogSaver(path, erase_deleted=False) as saver:
            run.add(before, "ours", path.stat().st_size / 1e6)
            worked = time.process_time()
            report, seconds = timed(saver.compact, _POLICY)
            worked = time.process_time() - worked
            if not report.complete:
                raise RuntimeError(f"The compaction was not complete: {report}")
            run.add(speed, "ours", report.file_bytes_before / 1e6 / seconds)
            run.add(work, "ours", report.file_bytes_before / 1e6 / worked)
            run.add(after, "ours", report.file_bytes_after / 1e6)
            _check(saver, seen)


def _disturb(run: Run, made: Path, label: str, seen: _Seen) -> None:
    works: tuple[tuple[str, Callable[[Path, float], tuple[_Puts, float, float]]], ...] = (
        ("process", _in_processes),
        ("thread", _in_threads),
    )
    for other, work in works:
        who = f"another {other} compacts"
        figures = (
            run.figure(f"{label}: put, FULL, before another {other} compacts: median", "us", better="limit"),
            run.figure(f"{label}: put, FULL, before another {other} compacts: p99", "us", better="limit"),
            run.figure(f"{label}: put, FULL, while {who}: median", "us", better="limit"),
            run.figure(f"{label}: put, FULL, while {who}: p99", "us", better="limit"),
            run.figure(f"{label}: put, FULL, while {who}: the longest", "us", better="limit"),
        )
        ratio = run.figure(f"{label}: p99 while {who} / p99 before", "x", 5.0, better="limit")
        slowed = run.figure(f"{label}: compact, while another {other} puts without a pause", "MB/s", better="least")
        for _ in run.track(run.rounds(), run.sizes.rounds, f"{label}: put while {who}"):
            with _copy(run, made) as path:
                size = path.stat().st_size
                puts, began, ended = work(path, run.sizes.putting_s)
                _add(run, figures, ratio, puts, began, ended)
                run.add(slowed, "ours", size / 1e6 / (ended - began))
                with EventLogSaver(path, erase_deleted=False) as saver:
                    _check(saver, seen)


def _add(run: Run, figures: tuple[Figure, ...], ratio: Figure, puts: _Puts, began: float, ended: float) -> None:
    before = sorted(took for at, took in puts if at + took < began)
    during = sorted(took for at, took in puts if began <= at + took and at < ended)
    if not (before and during):
        raise RuntimeError("Nothing was put before the compaction, or while it was under way: the log is too small.")
    values = (_part(before, 0.5), _part(before, 0.99), _part(during, 0.5), _part(during, 0.99), during[-1])
    for figure, value in zip(figures, values, strict=True):
        run.add(figure, "ours", value * 1e6)
    run.add(ratio, "ours", values[3] / values[1])


def _part(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def _in_processes(path: Path, seconds: float) -> tuple[_Puts, float, float]:
    """Give the puts of one process, and when another process compacted."""
    command = [sys.executable, str(CHILD), "putting", str(path.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        time.sleep(seconds)
        began, ended, _ = child("compacting", str(path.parent), str(_KEEP_LAST))
        process.stdin.close()
        puts = json.loads(process.stdout.read())
    return [(at, took) for at, took in puts], began, ended


def _in_threads(path: Path, seconds: float) -> tuple[_Puts, float, float]:
    """Give the puts of one thread, and when another thread compacted with the same saver."""
    puts: _Puts = []
    stop, begun = threading.Event(), threading.Event()
    with EventLogSaver(path, synchronous="FULL", erase_deleted=False) as saver:
        thread = threading.Thread(target=lambda: puts.extend(put_until(saver, stop, begun.set)))
        thread.start()
        try:
            begun.wait()
            time.sleep(seconds)
            began = time.perf_counter()
            saver.compact(_POLICY)
            ended = time.perf_counter()
        finally:
            stop.set()
            thread.join()
    return puts, began, ended


def _make(run: Run, path: Path, label: str, wanted: int) -> _Seen:
    """Make the log, in which half of the threads are deleted; give what the newest of the others have."""
    steps = run.sizes.compaction_steps
    seen: _Seen = {}
    threads: list[str] = []
    with EventLogSaver(path, synchronous="NORMAL", erase_deleted=False) as saver:
        # A chat comes to some 3.2 kB a step.
        for _ in run.track(_until(path, wanted), max(4, wanted // (3_200 * steps)), f"{label}: making it"):
            thread = Thread(29, len(threads))
            threads.append(thread.thread_id)
            config: Any = thread_config(thread.thread_id)
            for count, step in enumerate(researching_chat(thread, steps, min(_DOCUMENT, wanted // steps))):
                if count:
                    saver.put_writes(config, step.writes, step.task_id)
                config = saver.put(config, step.checkpoint, step.metadata, step.new_versions)
        for thread_id in threads[::2]:
            saver.delete_thread(thread_id)
        for thread_id in threads[1::2]:
            seen[thread_id] = _newest(saver, thread_id)
    return seen


def _until(path: Path, wanted: int) -> Iterator[None]:
    """Yield until the file is so large, and four times at least."""
    told = 0
    while _size(path) < wanted or told < 4:
        yield None
        told += 1


def _size(path: Path) -> int:
    return sum(Path(f"{path}{end}").stat().st_size for end in ("", "-wal") if Path(f"{path}{end}").exists())


@contextmanager
def _copy(run: Run, made: Path) -> Iterator[Path]:
    """Give a copy of the log, in a folder of its own."""
    with run.new_folder() as folder:
        yield Path(shutil.copy(made, folder / _NAME))


def _newest(saver: EventLogSaver, thread_id: str) -> list[bytes]:
    # Digests: so many messages in memory would slow down what is measured.
    return [
        sha256(saver.serde.dumps_typed((found.checkpoint, found.metadata, found.pending_writes))[1]).digest()
        for found in saver.list(thread_config(thread_id), limit=_KEEP_LAST)
    ]


def _check(saver: EventLogSaver, seen: _Seen) -> None:
    """Check that the log is whole, and that of each thread its newest checkpoints are there, as they were."""
    for finding in saver.verify():
        raise RuntimeError(f"The log is not whole after the compaction: {finding}")
    for thread_id, expected in seen.items():
        if _newest(saver, thread_id) != expected or sum(1 for _ in saver.list(thread_config(thread_id))) != len(
            expected
        ):
            raise RuntimeError(f"Thread {thread_id} does not read as before the compaction.")
