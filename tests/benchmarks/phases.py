"""Where the time of a put and of a put_writes goes, ours and the official saver taking turns as in the benchmark.

    python tests/benchmarks/phases.py [chat|threads|documents] [--synchronous FULL|NORMAL] [--steps N]

Each part is timed by wrapping the function that does it, which costs about a microsecond a call: compare the parts
with each other, and the whole with `python tests/benchmarks`. Calls are those of Python functions, of one step in the
middle.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import apsw
from langgraph_eventlog.eventlog import appender, connection
from langgraph_eventlog.projections.builtin import BuiltIn
from langgraph_eventlog.saver import saver as saver_module
from langgraph_eventlog.saver.known import KnownCheckpoints
from material import Step, Thread, chat, documents, edited, thread_config
from peers import open_peer
from rich.console import Console
from rich.table import Table

__all__ = ["main"]

# Parts that lie within none of the others.
PARTS = {
    "what has changed, the serializer, differences": [(saver_module, "encode_put"), (saver_module, "encode_writes")],
    "body, compression, digest": [(appender, "prepare")],
    "the event's row and `meta`, the hash chain": [(appender, "append")],
    "projections": [(BuiltIn, "apply")],
    "remembering it": [(KnownCheckpoints, "remember"), (KnownCheckpoints, "remember_written")],
}
TRANSACTION = "BEGIN and COMMIT"
REST = "the way to them, and the rest"


class Clock:
    """Sums up what each part of the call at hand takes, in nanoseconds."""

    def __init__(self) -> None:
        self.now: dict[str, int] = {}

    def wrapped(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Give the function, timed."""

        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter_ns()
            try:
                return function(*arguments, **named)
            finally:
                self.now[part] = self.now.get(part, 0) + time.perf_counter_ns() - start

        return timed

    def watch(self) -> None:
        """Wrap what the parts are done by, for good."""
        for part, places in PARTS.items():
            for owner, name in places:
                setattr(owner, name, self.wrapped(part, getattr(owner, name)))
        clock = self

        class Connection(apsw.Connection):
            def execute(self, sql: str, *arguments: Any, **named: Any) -> Any:
                if not sql.startswith(("BEGIN", "COMMIT")):
                    return super().execute(sql, *arguments, **named)
                return clock.wrapped(TRANSACTION, super().execute)(sql, *arguments, **named)

        connection.apsw.Connection = Connection  # type: ignore[misc]


def steps_of(work: str, count: int) -> Iterator[tuple[Thread, Step]]:
    """Give the steps of a work of the benchmark."""
    if work == "chat":
        thread = Thread(0)
        yield from ((thread, step) for step in chat(thread, count))
    elif work == "threads":
        threads = [Thread(0, number) for number in range(max(1, count // 8))]
        of_each = [chat(thread, 8) for thread in threads]
        yield from ((thread, next(of_each[n])) for _, (n, thread) in itertools.product(range(8), enumerate(threads)))
    else:
        thread, state = Thread(0), documents(20, 20_000)
        for n in range(count):
            name = list(state)[n % 20]
            new = edited(state[name], thread)
            state = {**state, name: new}
            yield thread, thread.step("files", {name: new}, state)


def counted(call: Callable[[], Any], *, really: bool) -> tuple[Any, int]:
    """Give what a call gives, and how many calls of Python functions it makes, if that is asked for."""
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    if really:
        sys.setprofile(count)
    try:
        return call(), calls
    finally:
        sys.setprofile(None)


def measure(work: str, synchronous: str, steps: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Run; give for each call the medians of ours, of its parts and of the official saver's, in microseconds."""
    clock = Clock()
    clock.watch()
    times: dict[str, dict[str, list[int]]] = {name: defaultdict(list) for name in ("put_writes", "put")}
    calls = dict.fromkeys(times, 0)
    with open_peer("ours", folder, synchronous) as ours, open_peer("sqlite", folder, synchronous) as official:
        configs: dict[tuple[str, str], Any] = {}
        for number, (thread, step) in enumerate(steps_of(work, steps)):
            for peer in (ours, official):
                config = configs.get((peer.name, thread.thread_id))
                arguments: dict[str, tuple[Any, ...]] = {"put_writes": (step.writes, step.task_id)}
                if config is None:  # the first checkpoint has no parent to write at
                    config, arguments = thread_config(thread.thread_id), {}
                arguments["put"] = (step.checkpoint, step.metadata, step.new_versions)
                for name, given in arguments.items():
                    clock.now, method = {}, getattr(peer.saver, name)
                    count = peer is ours and number == steps // 2
                    start = time.perf_counter_ns()
                    made, found = counted(lambda f=method, c=config, g=given: f(c, *g), really=count)
                    taken = time.perf_counter_ns() - start
                    if name == "put":
                        configs[peer.name, thread.thread_id] = made
                    if count:
                        calls[name] = found
                        continue  # counting takes time
                    times[name][peer.name].append(taken)
                    if peer is ours:
                        for part in (*PARTS, TRANSACTION):
                            times[name][part].append(clock.now.get(part, 0))
                        times[name][REST].append(taken - sum(clock.now.values()))
    return {
        name: {**{of: statistics.median(values) / 1e3 for of, values in found.items()}, "calls": calls[name]}
        for name, found in times.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="?", choices=("chat", "threads", "documents"), default="threads")
    parser.add_argument("--synchronous", choices=("FULL", "NORMAL"), default="NORMAL")
    parser.add_argument("--steps", type=int, help="how many in all (1,200 of threads, 450 of a chat, 150 of documents)")
    options = parser.parse_args(argv)
    steps = options.steps or {"chat": 450, "threads": 1_200, "documents": 150}[options.work]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.work, options.synchronous, steps, Path(folder))
    table = Table("part", *(title for name in found for title in (f"{name}, us", "share")))
    for part in (*PARTS, TRANSACTION, REST):
        shares = ((found[name][part], found[name][part] / found[name]["ours"]) for name in found)
        table.add_row(part, *(text for us, share in shares for text in (f"{us:,.0f}", f"{share:.0%}")))
    table.add_row("all of it", *(text for name in found for text in (f"{found[name]['ours']:,.0f}", "")))
    table.add_row("official", *(text for name in found for text in (f"{found[name]['sqlite']:,.0f}", "")))
    table.add_row("Python calls", *(text for name in found for text in (f"{found[name]['calls']:,}", "")))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
