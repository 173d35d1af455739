"""Measures this saver beside LangGraph's own, on the same work. README.md says what each work is."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from compaction import compaction
from graphs import delta_chat, tool_calls
from growth import chat_growth, look_up_growth, memory_growth
from measure import Run
from picture import chart, smoothed
from reading import few_of_many, reads_of_a_chat
from report import as_json, markdown, table
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sizes import FULL, QUICK, SMALLEST, Sizes
from writing import documents_edited, many_tasks, one_chat, short_threads

WORKS: dict[str, Callable[[Run], None]] = {
    "chat": one_chat,
    "threads": short_threads,
    "read": reads_of_a_chat,
    "many": few_of_many,
    "documents": documents_edited,
    "async": many_tasks,
    "delta": delta_chat,
    "graph": tool_calls,
    "growth": chat_growth,
    "lookup": look_up_growth,
    "memory": memory_growth,
    "compaction": compaction,
}


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="smaller works, one round: less than a minute")
    size.add_argument("--smallest", action="store_true", help="only to see that it works: the figures say nothing")
    parser.add_argument("--only", action="append", choices=WORKS, metavar="NAME", help=f"of {', '.join(WORKS)}")
    parser.add_argument("--folder", type=Path, help="where the databases are made, and removed; a temporary one")
    parser.add_argument("--svg", type=Path, metavar="FOLDER", help="draw the pictures there (takes the work chat)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures there")
    return parser.parse_args(given)


def run_all(chosen: Sequence[str], sizes: Sizes, folder: Path, console: Console) -> Run:
    """Do the works, one after the other."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        run = Run(folder, sizes, progress)
        for name in progress.track(chosen, description="works"):
            run.work = name
            WORKS[name](run)
    return run


def draw(run: Run, folder: Path) -> None:
    """Draw the two pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    if run.size_curve:
        title = f"File size over a chat of {run.sizes.chat} steps"
        (folder / "file-size.svg").write_text(chart(title, "MB", run.size_curve))
    if run.put_curve:
        curves = {name: smoothed(curve) for name, curve in run.put_curve.items()}
        title = f"Latency of put over a chat of {run.sizes.chat} steps, synchronous=FULL"
        (folder / "put-latency.svg").write_text(chart(title, "us", curves))


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print the table. Which floors are reached is told, not judged: that ends well, whatever it finds."""
    options = arguments(given)
    warnings.simplefilter("ignore")  # of LangGraph, on what is in beta there
    sizes = SMALLEST if options.smallest else QUICK if options.quick else FULL
    console = Console()
    if not console.is_terminal:
        console = Console(width=150)  # in a file, the table is not folded to a terminal's width
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="eventlog-bench-", dir=options.folder) as folder:
        run = run_all(options.only or list(WORKS), sizes, Path(folder), console)
    console.print(table(run))
    console.print(f"{time.perf_counter() - start:.0f} s; rounds: {sizes.rounds}.", end=" ")
    console.print("" if sizes is FULL else "The floors are about the full run: these works are smaller.")
    if options.svg:
        draw(run, options.svg)
    if options.markdown:
        options.markdown.write_text(markdown(run))
    if options.json:
        options.json.write_text(json.dumps(as_json(run), indent=1))


if __name__ == "__main__":
    main()
