"""Long versions of what the tests do in short: power cuts, failing operations, kills."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from . import fault_rounds, killing
from .issued import BrokenPromiseError
from .power_rounds import FLAWS, run_round
from .work import Synchronous

__all__ = ["folder_in_memory", "main", "rerun"]

ROUNDS = {"power": 100_000, "kills": 200}
_BOTH: tuple[Synchronous, ...] = ("FULL", "NORMAL")


def rerun(number: int, synchronous: str, flaw: str | None = None) -> str:
    """Give the command that does just this round of losing power again."""
    command = ["python", "tests/faults", "power", "--rounds", "1", "--seed", str(number), "--synchronous", synchronous]
    return shlex.join(command + (["--flaw", flaw] if flaw else []))


def folder_in_memory() -> Path | None:
    """Give the system's folder in memory, if there is one: a sync is counted here, not needed, and a disk wears."""
    folder = Path("/dev/shm")
    return folder if os.access(folder, os.W_OK) else None


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the logs are made, and removed; one in memory, or temporary")
    works = parser.add_subparsers(dest="work", required=True)
    power = works.add_parser("power", help="cut the power at random moments")
    power.add_argument("--rounds", type=int, default=ROUNDS["power"], help="how many (%(default)s)")
    power.add_argument("--seed", type=int, default=0, help="of the first round; the next has the next (%(default)s)")
    power.add_argument("--synchronous", choices=_BOTH, help="only this one; otherwise in turns")
    power.add_argument("--flaw", choices=FLAWS, help="break durability on purpose: rounds fail, or this proves nothing")
    power.add_argument("--seconds", type=float, help="begin no round after so many")
    faults = works.add_parser("faults", help="fail the n-th operation, for all n")
    faults.add_argument("--only", action="append", choices=fault_rounds.FAULTS, help="this one; may be given again")
    kills = works.add_parser("kills", help="kill processes at random moments")
    kills.add_argument("--rounds", type=int, default=ROUNDS["kills"], help="how many (%(default)s)")
    kills.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    works.add_parser("nursery", help="what `kills` starts: waits for orders on its standard input")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; 0 if every promise held."""
    options = _arguments(argv)
    if options.work == "nursery":
        killing.nursery()
        return 0
    console, begun = Console(), time.monotonic()
    parent = options.folder or folder_in_memory()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="eventlog-faults-", dir=parent) as folder,
        Progress(*columns, TimeRemainingColumn(), console=console) as progress,
    ):
        run = {"power": _power, "faults": _faults, "kills": _kills}[options.work]
        try:
            told, good = run(options, Path(folder), progress), True
        except BrokenPromiseError as e:
            told, good = f"A promise is broken: {e}", False
    console.print(f"{told} ({time.monotonic() - begun:.0f} s)", soft_wrap=True, highlight=False)
    return 0 if good else 1


def _power(options: argparse.Namespace, folder: Path, progress: Progress) -> str:
    total: Counter[str] = Counter()
    broken: list[str] = []
    begun = time.monotonic()
    for number in progress.track(range(options.seed, options.seed + options.rounds), description="power cuts"):
        if options.seconds is not None and time.monotonic() - begun > options.seconds:
            break
        synchronous = options.synchronous or _BOTH[number % 2]
        total["rounds"] += 1
        try:
            report = run_round(number, synchronous, folder, flaw=options.flaw)
        except BrokenPromiseError as e:
            broken.append(f"{e}\n  again: {rerun(number, synchronous, options.flaw)}")
            progress.console.print(broken[-1], soft_wrap=True, highlight=False, markup=False)
            continue
        total.update(cuts=report.cuts, calls=report.acknowledged, operations=report.operations, events=report.events)
    told = (
        f"{total['rounds']:,} rounds, {total['cuts']:,} power cuts: {total['calls']:,} acknowledged calls, "
        f"{total['operations']:,} file operations before the cuts, {total['events']:,} events found"
    )
    if broken:
        raise BrokenPromiseError(f"in {len(broken)} of them (above). {told}")
    return f"{told}; nothing lost."


def _faults(options: argparse.Namespace, folder: Path, progress: Progress) -> str:
    injected: Counter[str] = Counter()
    for name in progress.track(options.only or list(fault_rounds.FAULTS), description="kinds of faults"):
        for synchronous in _BOTH:
            raised: Counter[str] = Counter()
            for _, result in fault_rounds.rounds(name, synchronous, folder):
                injected["runs"] += 1
                injected["faults"] += result.hit
                raised.update(error for _, error in result.raised)
                raised["taken in"] += len(result.absorbed)
            progress.console.print(f"{name}, {synchronous}: {dict(raised)}", soft_wrap=True, highlight=False)
    return f"{injected['runs']:,} runs of the scenario, {injected['faults']:,} operations failed; nothing lost."


def _kills(options: argparse.Namespace, folder: Path, progress: Progress) -> str:
    total: Counter[str] = Counter()
    done = killing.kill_rounds(options.rounds, options.seed, folder)
    for killed in progress.track(done, total=options.rounds, description="kills"):
        total.update(kills=1, calls=killed.acknowledged)
    return f"{total['kills']:,} kills, {total['calls']:,} acknowledged calls; nothing lost."


if __name__ == "__main__":
    sys.exit(main())
