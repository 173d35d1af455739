"""The demo's command line: runs, reports, and says by its exit code whether everything was as promised."""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from ...projections import TokenUsage
from ...saver import EventLogSaver
from .commands import run_commands
from .conversation import thread_names
from .official import official_is_installed, official_size
from .report import print_changes, print_checks, print_history, print_threads, print_tokens
from .run import Check, checks_of, reference_run, run_and_kill

__all__ = ["main"]

_PLAIN_WIDTH = 100
_MAX_THREADS = 64


def main() -> int:
    """Run the demo; 0: everything was as promised."""
    parser = argparse.ArgumentParser(
        prog="python -m langgraph_eventlog.tools.demo",
        description="Runs agents that search Python's documentation, kills their process in the middle, resumes them "
        "from the log in a second process, looks whether anything was lost, and uses the command line on that log.",
    )
    parser.add_argument("--path", type=Path, help="where to keep the log's file (default: it is removed at the end)")
    parser.add_argument("--threads", type=int, default=8, help="conversations, held at the same time (default: 8)")
    parser.add_argument("--questions", type=int, default=9, help="questions in each conversation (default: 9)")
    arguments = parser.parse_args()
    if not 1 <= arguments.threads <= _MAX_THREADS or arguments.questions < 1:
        parser.error(f"--threads is 1 to {_MAX_THREADS}, --questions at least 1")
    if arguments.path is not None and arguments.path.exists():
        parser.error(f"{arguments.path} exists: the demo begins with a new file")
    console = _console()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.path or Path(folder, "agent.db")
        checks = _demo(console, path, threads=arguments.threads, questions=arguments.questions)
    if arguments.path is not None:
        console.print(f"The log is kept in {arguments.path}.", markup=False, soft_wrap=True)
    failed = [check for check in checks if not check.kept]
    console.print(f"{len(failed)} promises were not kept." if failed else "Everything is as promised.")
    return 1 if failed else 0


def _demo(console: Console, path: Path, *, threads: int, questions: int) -> list[Check]:
    console.print(f"{threads} agents are asked {questions} questions each about Python's documentation.")
    with console.status("An uninterrupted run on InMemorySaver, to compare with ..."):
        reference = reference_run(threads=threads, questions=questions)
    console.print(f"Uninterrupted, on InMemorySaver, that takes {reference.supersteps} supersteps.")
    run = run_and_kill(console, path, threads=threads, questions=questions, supersteps=reference.supersteps)
    usage = TokenUsage()  # the processes knew nothing of it: it is computed now, from the log
    with EventLogSaver(path, projections=[usage]) as saver:
        tokens = usage.totals()
        shown = thread_names(threads)[0]
        print_threads(console, saver)
        print_history(console, saver, shown)
        print_changes(console, saver, shown)
        print_tokens(console, tokens)
        with console.status("Verifying ..."):
            checks = checks_of(saver, reference, run, tokens)
        head = saver.log.head()
    print_checks(console, checks)
    console.print(f"Anchors, at the kill and now:\n  {run.anchor}\n  {head}", highlight=False, soft_wrap=True)
    console.print(f"Size of the file:  {path.stat().st_size:,} bytes", highlight=False)
    if official_is_installed():
        with console.status("The same run on the official SqliteSaver ..."):
            size = official_size(threads=threads, questions=questions)
        console.print(f"With SqliteSaver:  {size:,} bytes, for the same run", highlight=False)
    return [*checks, run_commands(console, path, thread=shown, anchor=str(run.anchor))]


def _console() -> Console:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a character shows another
    plain = not sys.stdout.isatty()
    return Console(width=_PLAIN_WIDTH if plain else None)


if __name__ == "__main__":
    sys.exit(main())
