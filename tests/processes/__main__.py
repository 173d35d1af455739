"""Many writers and readers, each a process, on one log; afterwards, everything is looked at.

Writers append from threads, and from tasks of asyncio and trio, in threads of their own and in shared ones; readers
check that no checkpoint lacks its values, and that no thread goes backwards. Half-way, one writer rebuilds the
projections; now and then, one process is stopped for a moment, wherever it is. At the end each event that a caller was
told of is in the log once, in its caller's order, nothing else is, and verify() finds nothing, which takes a rebuild.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driving import WAYS, Driver
from lanes import CHURNED, Reading, Writing
from langgraph_eventlog.eventlog import DeleteThread, Put, PutWrites, RecordedEvent
from langgraph_eventlog.saver import EventLogSaver
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["main"]

LANES = 4
_TICK_S = 0.05
# So long may a process take to begin, and to come to its end, beside others that keep the machine busy.
_GRACE_S = 120
# Readers that are stopped for a moment keep it from beginning anew for as long.
_MAX_WAL_BYTES = 64_000_000


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    path: str
    seconds: float
    writers: int
    readers: int
    seed: int
    synchronous: str
    stops: bool


def lane_names(plan: Plan) -> list[str]:
    return [f"w{n} l{lane}" for n in range(plan.writers) for lane in range(LANES)]


def write(plan: Plan, number: int, begin: float) -> dict[str, Any]:
    """Be a writer; give what came of it."""
    lanes = [Writing(f"w{number} l{lane}", plan.seed) for lane in range(LANES)]
    with EventLogSaver(plan.path, synchronous=plan.synchronous) as saver:  # type: ignore[arg-type]  # one of two
        driver = Driver(saver, begin + plan.seconds)
        with contextlib.ExitStack() as stack:
            if number == 0:
                stack.enter_context(rebuilding(saver, begin + plan.seconds / 2))
            driver.drive(WAYS[number % len(WAYS)], [lane.calls() for lane in lanes])
    return {
        "calls": driver.calls,
        "longest_s": driver.longest_s,
        "acknowledged": {lane.name: lane.acknowledged for lane in lanes},
        "deleted": sum(lane.deleted for lane in lanes),
    }


@contextlib.contextmanager
def rebuilding(saver: EventLogSaver, at: float) -> Any:
    """Rebuild, at that time, in another thread."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            time.sleep(max(0.0, at - time.monotonic()))
            saver.rebuild()
        except BaseException as e:
            failed.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failed:
        raise failed[0]


def read(plan: Plan, number: int, begin: float) -> dict[str, Any]:
    """Be a reader; give what came of it."""
    own = [f"own {name} {n}" for name in lane_names(plan) for n in range(2)]
    lanes = [Reading(own, f"{plan.seed} r{number} l{lane}") for lane in range(2 + number % 2)]
    with EventLogSaver(plan.path, read_only=number % 2 == 0) as saver:
        driver = Driver(saver, begin + plan.seconds)
        driver.drive(WAYS[number % 3], [lane.calls() for lane in lanes])
    return {"calls": driver.calls, "longest_s": driver.longest_s, "checked": sum(lane.checked for lane in lanes)}


def child(work: Any, plan: Plan, name: str, number: int, ready: Any) -> None:
    """Do the work of a process, and leave what came of it in a file."""
    ready.wait(_GRACE_S)
    try:
        came = work(plan, number, time.monotonic())
    except BaseException:
        came = {"error": traceback.format_exc()}
    Path(f"{plan.path}.{name}.json").write_text(json.dumps(came))


def run(plan: Plan, console: Console) -> tuple[dict[str, dict[str, Any]], int]:
    """Run all processes; give what came of each, and how large the WAL was at most."""
    # Forked, for speed: nothing is open yet, and there is no other thread.
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(plan.writers + plan.readers + 1)
    work = {f"w{n}": (write, n) for n in range(plan.writers)} | {f"r{n}": (read, n) for n in range(plan.readers)}
    processes = {
        name: context.Process(target=child, args=(function, plan, name, number, ready), name=name)
        for name, (function, number) in work.items()
    }
    sys.stdout.flush()
    for process in processes.values():
        process.start()
    ready.wait(_GRACE_S)
    try:
        wal_bytes = watch(plan, processes, console)
    finally:
        for process in processes.values():
            if process.is_alive():
                process.kill()
            process.join()
    came = {}
    for name, process in processes.items():
        file = Path(f"{plan.path}.{name}.json")
        came[name] = json.loads(file.read_text()) if file.exists() else {"error": f"exit code {process.exitcode}"}
    return came, wal_bytes


def watch(plan: Plan, processes: dict[str, Any], console: Console) -> int:
    """Wait until all have ended, stopping one now and then; give how large the WAL was at most."""
    chance = random.Random(f"{plan.seed} stops")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("WAL {task.fields[wal]}"))
    begin, largest = time.monotonic(), 0
    next_stop = begin + 1
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("processes", total=plan.seconds, wal="")
        while any(process.is_alive() for process in processes.values()):
            now = time.monotonic()
            if now > begin + plan.seconds + _GRACE_S:
                break  # whoever is left is killed, and has no result
            with contextlib.suppress(FileNotFoundError):
                largest = max(largest, os.path.getsize(plan.path + "-wal"))
            progress.update(task, completed=min(now - begin, plan.seconds), wal=f"{largest / 1e6:.1f} MB")
            if plan.stops and next_stop < now < begin + plan.seconds:
                stop_for_a_moment(processes[chance.choice(sorted(processes))], chance.uniform(0.05, 0.4))
                next_stop = time.monotonic() + chance.uniform(0.2, 1.5)
            time.sleep(_TICK_S)
        progress.update(task, completed=plan.seconds)
    return largest


def stop_for_a_moment(process: Any, seconds: float) -> None:
    """Stop it, wherever it is: maybe while it has the lock of the file, or is about to let go of it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGCONT)


# Afterwards.


def token_of(event: RecordedEvent) -> str | None:
    """Give by what a lane knows its event; None for what is only counted."""
    match event.data:
        case Put(checkpoint_id=id):
            return id
        case PutWrites(task_id=task):
            return task
        case DeleteThread():
            return None if event.thread_id in CHURNED else event.thread_id
    raise AssertionError(f"event {event.position} is of kind {event.kind!r}")


def problems(plan: Plan, came: dict[str, dict[str, Any]], wal_bytes: int, console: Console) -> list[str]:
    """Look at what is in the log, and what callers were told."""
    found = [] if wal_bytes < _MAX_WAL_BYTES else [f"the WAL had {wal_bytes:,} bytes"]
    found += [f"{name} failed:\n{one['error']}" for name, one in came.items() if "error" in one]
    told: dict[str, list[str]] = {}
    for one in came.values():
        told.update(one.get("acknowledged", {}))
    there: dict[str, list[str]] = {name: [] for name in lane_names(plan)}
    deleted = 0
    with EventLogSaver(plan.path) as saver:
        for event in saver.log.read():
            token = token_of(event)
            if token is None:
                deleted += 1
            else:
                there[" ".join(token.split()[-2:])].append(token)
        for name, tokens in told.items():
            if there[name] != tokens:
                lost, more = [t for t in tokens if t not in set(there[name])], len(there[name]) - len(set(there[name]))
                found.append(
                    f"{name} was told of {len(tokens)} events, and the log has {len(there[name])}: "
                    f"lost {lost[:5]}, {more} twice, or in another order"
                )
        if not any("error" in one for one in came.values()):
            told_deleted = sum(one.get("deleted", 0) for one in came.values())
            if deleted > told_deleted:
                found.append(f"{deleted} deletions of shared threads, and only {told_deleted} were told of")
        with console.status("verifying"):
            found += [str(finding) for finding in saver.log.verify()]
    return found


def report(plan: Plan, came: dict[str, dict[str, Any]], wal_bytes: int) -> str:
    """Give the figures."""
    events = sum(len(tokens) for one in came.values() for tokens in one.get("acknowledged", {}).values())
    checked = sum(one.get("checked", 0) for one in came.values())
    longest = {
        kind: max((one["longest_s"] for name, one in came.items() if name[0] == kind and "longest_s" in one), default=0)
        for kind in "wr"
    }
    return (
        f"{plan.writers} writers x {LANES} callers, {plan.readers} readers, {plan.seconds:g} s, "
        f"synchronous={plan.synchronous}, seed {plan.seed}: {events:,} events appended "
        f"({events / plan.seconds:,.0f}/s), {checked:,} checkpoints read and checked; the longest call took "
        f"{longest['w']:.2f} s of a writer's, {longest['r']:.2f} s of a reader's; the WAL had at most "
        f"{wal_bytes / 1e6:.1f} MB, the file has {os.path.getsize(plan.path) / 1e6:.1f} MB"
    )


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python tests/processes", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long they append and read (60)")
    parser.add_argument("--writers", type=int, default=8, help="processes that append (8)")
    parser.add_argument("--readers", type=int, default=4, help="processes that read (4)")
    parser.add_argument("--seed", type=int, help="decides what each does; a random one, which is printed")
    parser.add_argument("--synchronous", choices=["FULL", "NORMAL"], default="FULL")
    parser.add_argument("--no-stops", action="store_true", help="do not stop processes for a moment now and then")
    parser.add_argument("--folder", type=Path, help="where the log is made, and stays; a temporary one, removed")
    return parser.parse_args(given)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0: all is as it should be."""
    given = arguments(argv)
    console = Console()
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    with contextlib.ExitStack() as stack:
        folder = given.folder or stack.enter_context(tempfile.TemporaryDirectory())
        plan = Plan(
            path=str(Path(folder) / "agent.db"),
            seconds=given.seconds,
            writers=given.writers,
            readers=given.readers,
            seed=seed,
            synchronous=given.synchronous,
            stops=not given.no_stops,
        )
        with EventLogSaver(plan.path):
            pass  # the read-only ones want a file
        came, wal_bytes = run(plan, console)
        found = problems(plan, came, wal_bytes, console)
        console.print(report(plan, came, wal_bytes), highlight=False, soft_wrap=True)
        for problem in found:
            console.print(problem, highlight=False, markup=False, soft_wrap=True)
        if found:
            console.print(f"FAILED with --seed {seed}", style="bold red")
            return 1
    console.print("Every event that was acknowledged is there once, in order; verify() found nothing.", style="green")
    return 0


if __name__ == "__main__":
    sys.exit(main())
