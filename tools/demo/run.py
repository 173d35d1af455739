"""Runs the graphs in a process, kills it half-way, has a second one finish, and looks whether all is as promised."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from langgraph.checkpoint.memory import InMemorySaver
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ...eventlog import EventLog, Head, Put, PutWrites, RecordedEvent
from ...eventlog.plain import unpack
from ...projections import TokenTotals
from ...saver import EventLogSaver
from .conversation import end_of, hold_conversations, thread_names

__all__ = ["Check", "KilledRun", "Reference", "checks_of", "reference_run", "run_and_kill"]


@dataclass(frozen=True, slots=True)
class Check:
    """A promise, whether it was kept, and what was found."""

    promise: str
    kept: bool
    found: str


@dataclass(frozen=True, slots=True)
class Reference:
    """How the run ends if nothing interrupts it."""

    ends: dict[str, dict[str, Any]]
    supersteps: int


@dataclass(frozen=True, slots=True)
class KilledRun:
    """What there is to say of the two processes.

    Attributes:
        signalled: whether the first process died of the kill.
        supersteps_at_kill: how many supersteps were in the log when it was dead.
        supersteps: how many there are in the end.
        acknowledged: every append that the first process said had been acknowledged to it, and how often it said so.
        anchor: the log's head after the kill.
        exit_code: of the second process.
    """

    signalled: bool
    supersteps_at_kill: int
    supersteps: int
    acknowledged: Counter[tuple[str, ...]]
    anchor: Head
    exit_code: int


def reference_run(*, threads: int, questions: int) -> Reference:
    """Hold the conversations uninterrupted, on LangGraph's own InMemorySaver."""
    saver = InMemorySaver()
    hold_conversations(saver, threads=threads, questions=questions)
    supersteps = sum(1 for found in saver.list(None, filter={"source": "loop"}))
    return Reference({name: end_of(saver, name) for name in thread_names(threads)}, supersteps)


def run_and_kill(console: Console, path: Path, *, threads: int, questions: int, supersteps: int) -> KilledRun:
    """Run, kill at half of `supersteps`, run again to the end, showing how far it is."""
    arguments = ["--threads", str(threads), "--questions", str(questions)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        EventLogSaver(path) as saver,
        tempfile.TemporaryFile() as said,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("supersteps, first process ", total=supersteps)
        done = 0

        def superstep(process: subprocess.Popen[bytes], kill_at: int | None) -> None:
            nonlocal done
            done += 1
            progress.update(task, completed=done)
            if done == kill_at:
                process.kill()

        # At three quarters it stops by itself: on a busy machine, too, the kill comes before the end.
        command = [*_worker(path), *arguments, "--hold-after", str(max(2, supersteps * 3 // 4))]
        first = _start(command, stdin=subprocess.PIPE, stdout=said)
        after = _follow(saver.log, first, 0, lambda: superstep(first, max(1, supersteps // 2)))
        done_at_kill = done
        anchor = saver.log.head()
        acknowledged = _acknowledged(said)
        progress.console.print(
            f"The first process was killed (SIGKILL) with {done_at_kill} of {supersteps} supersteps logged."
        )
        progress.update(task, description="supersteps, second process")
        second = _start([*_worker(path), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        _follow(saver.log, second, after, lambda: superstep(second, None))
    progress.console.print("A second process has resumed every thread from the log, and finished.\n")
    signalled = first.returncode == -signal.SIGKILL
    return KilledRun(signalled, done_at_kill, done, acknowledged, anchor, second.returncode)


def _worker(path: Path) -> list[str]:
    return [sys.executable, "-m", "langgraph_eventlog.tools.demo.worker", str(path)]


def _start(command: list[str], *, stdin: int, stdout: IO[bytes] | int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=stdin, stdout=stdout)  # noqa: S603  our own module


def _follow(log: EventLog, process: subprocess.Popen[bytes], after: int, superstep: Callable[[], None]) -> int:
    """Call `superstep` for each one that is appended until the process is dead; give the last position."""

    def take_in(event: RecordedEvent) -> None:
        if isinstance(event.data, Put) and unpack(event.data.metadata).get("source") == "loop":
            superstep()

    with process, log.subscribe(after=after, poll_interval_ms=5) as subscription:

        def close_at_its_end() -> None:
            process.wait()
            subscription.close()

        watcher = threading.Thread(target=close_at_its_end)
        watcher.start()
        try:
            for event in subscription:
                take_in(event)
        finally:
            if process.poll() is None:
                process.kill()  # something went wrong here
            watcher.join()
    position = subscription.position
    for event in log.read(after=position):  # what came between the last look and the end
        take_in(event)
        position = event.position
    return position


def _acknowledged(said: IO[bytes]) -> Counter[tuple[str, ...]]:
    said.seek(0)
    *lines, _ = said.read().split(b"\n")  # what comes after the last line break was not said to the end
    return Counter(tuple(json.loads(line)) for line in lines)


def _appended(log: EventLog) -> Counter[tuple[str, ...]]:
    """Give the log's puts and put_writes, in the words of the worker."""
    found: Counter[tuple[str, ...]] = Counter()
    for event in log.read():
        where = (event.thread_id or "", event.checkpoint_ns or "")
        if isinstance(event.data, Put):
            found["put", *where, event.data.checkpoint_id] += 1
        elif isinstance(event.data, PutWrites):
            found["put_writes", *where, event.data.checkpoint_id, event.data.task_id] += 1
    return found


def checks_of(saver: EventLogSaver, reference: Reference, run: KilledRun, tokens: list[TokenTotals]) -> list[Check]:
    """Give each promise with what became of it."""
    said, missing = run.acknowledged.total(), (run.acknowledged - _appended(saver.log)).total()
    differing = [name for name, end in reference.ends.items() if end_of(saver, name) != end]
    findings = list(saver.log.verify(anchor=run.anchor))
    used = sum(
        message["usage_metadata"]["total_tokens"]
        for end in reference.ends.values()
        for message in end["messages"]
        if message.get("usage_metadata")
    )
    counted = sum(total.total_tokens for total in tokens)
    return [
        Check(
            "the first process was killed in the middle",
            run.signalled and 0 < run.supersteps_at_kill < reference.supersteps,
            f"{run.supersteps_at_kill} of {reference.supersteps} supersteps",
        ),
        Check(
            "every append acknowledged to it is in the log",
            missing == 0 and said > 0,
            f"{said - missing} of {said}",
        ),
        Check(
            "every thread was finished, no superstep twice",
            run.exit_code == 0 and run.supersteps == reference.supersteps,
            f"{run.supersteps} of {reference.supersteps}, exit {run.exit_code}",
        ),
        Check(
            "the end is that of the uninterrupted run",
            not differing,
            f"{len(reference.ends) - len(differing)} of {len(reference.ends)} threads",
        ),
        Check(
            "verify finds nothing, given the anchor",
            not findings,
            "no findings" if not findings else f"{len(findings)} findings, the first: {findings[0]}",
        ),
        Check(
            "the tokens in the log are those of the messages",
            counted == used,
            f"{counted:,} of {used:,}",
        ),
    ]
