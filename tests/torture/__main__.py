"""The long versions of what the tests try in short: hours of lost power, kills, damage, fuzzing and many processes.

Each work shows a progress bar, and says how many rounds it has run; the first that finds a broken promise ends the run
with exit code 1, and with the command that does just that round again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Work:
    """A long run: a Python program and what it is given.

    Attributes:
        what: in words.
        long: its command line.
        quick: the same for a minute or so, to see that it runs.
        environment: variables that it is to have.
    """

    what: str
    long: tuple[str, ...]
    quick: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


def _pages(part: str) -> Work:
    program = "damage/pages.py"
    return Work(f"damaged bytes: {part}", (program, part, "FOLDER", "1", "3000"), (program, part, "FOLDER", "1", "30"))


WORKS = {
    "power": Work("lost power", ("faults", "power"), ("faults", "power", "--rounds", "100")),
    "faults": Work(
        "failing operations of the file system", ("faults", "faults"), ("faults", "faults", "--only", "truncate")
    ),
    "kills": Work("killed processes", ("faults", "kills"), ("faults", "kills", "--rounds", "5")),
    **{f"damage-{part}": _pages(part) for part in ("header", "pages", "projections", "wal")},
    "fuzz": Work(
        "arbitrary and mutated records",
        ("damage/fuzz.py", "--inputs", "1000000"),
        ("damage/fuzz.py", "--inputs", "5000"),
    ),
    "processes": Work(
        "many writers and readers", ("processes", "--seconds", "60"), ("processes", "--seconds", "3", "--seed", "1")
    ),
    "sizes": Work(
        "values of 100 MB, and other sizes",
        ("-m", "pytest", "-q", "-p", "no:cacheprovider", "hostile/test_sizes.py"),
        ("-m", "pytest", "-q", "-p", "no:cacheprovider", "hostile/test_sizes.py", "-k", "empty"),
        {"EVENTLOG_TORTURE": "1"},
    ),
}


def command(work: Work, *, quick: bool, folder: str) -> list[str]:
    """Give what is run."""
    told = work.quick if quick else work.long
    return [sys.executable, *(folder if word == "FOLDER" else _place(word) for word in told)]


def _place(word: str) -> str:
    return str(TESTS / word) if not word.startswith("-") and (TESTS / word).exists() else word


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 if every promise held."""
    parser = argparse.ArgumentParser(prog="python tests/torture", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some minutes, to see that everything runs")
    parser.add_argument("--only", action="append", choices=WORKS, help="this work; may be given several times")
    options = parser.parse_args(argv)
    console = Console()
    done = Table("work", "minutes", title="Every promise held")
    for name in options.only or WORKS:
        work = WORKS[name]
        console.rule(f"{name}: {work.what}")
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="eventlog-torture-") as folder:
            ran = subprocess.run(
                command(work, quick=options.quick, folder=folder),
                env={**os.environ, **work.environment},
                cwd=TESTS.parent,
                check=False,
            )
        if ran.returncode:
            console.print(f"{name}: a promise is broken, or it could not be run; see above", style="bold red")
            return 1
        done.add_row(f"{name}: {work.what}", f"{(time.monotonic() - began) / 60:.1f}")
    console.print(done)
    return 0


if __name__ == "__main__":
    sys.exit(main())
