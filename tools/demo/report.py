"""Tables of what is in the log: threads, a thread's history, what its last steps changed, tokens, promises kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...projections import TokenTotals
from ...saver import EventLogSaver
from .run import Check

__all__ = ["print_changes", "print_checks", "print_history", "print_threads", "print_tokens"]

_SHOWN = 8
_PREVIEW = 60
_WIDE = 110  # columns; from here on there is room for checkpoint ids


def print_threads(console: Console, saver: EventLogSaver) -> None:
    """Print the thread list, the last active first."""
    table = _table(
        console, "Threads", "thread", ">checkpoints", ">writes", ">bytes", ">last step", "last activity (UTC)"
    )
    for info in saver.threads():
        counts = (f"{info.checkpoints:,}", f"{info.writes:,}", f"{info.bytes:,}", str(info.latest_step))
        _row(table, info.thread_id, *counts, f"{info.last_activity:%Y-%m-%d %H:%M:%S}")
    _show(console, table)


def print_history(console: Console, saver: EventLogSaver, thread_id: str) -> None:
    """Print the newest checkpoints of a thread."""
    found = list(saver.list(_of(thread_id)))
    title = f"History of {thread_id}: the newest {min(_SHOWN, len(found))} of {len(found)} checkpoints"
    wide = console.width >= _WIDE
    columns = [">step", "source", "run", *(["checkpoint"] if wide else []), ">messages", "the last message"]
    table = _table(console, title, *columns)
    for one in found[:_SHOWN]:
        messages = one.checkpoint["channel_values"].get("messages", [])
        metadata = one.metadata
        last = _preview(messages[-1]) if messages else ""
        facts = (str(metadata.get("step")), metadata.get("source", ""), metadata.get("run_id", ""))
        _row(table, *facts, *([one.checkpoint["id"]] if wide else []), str(len(messages)), last)
    _show(console, table)


def print_changes(console: Console, saver: EventLogSaver, thread_id: str, *, steps: int = 4) -> None:
    """Print which channels a thread's last steps changed, and what was added to them."""
    table = _table(console, f"What the last steps of {thread_id} changed", ">step", "channel", "change")
    newest = list(saver.list(_of(thread_id), limit=steps + 1))
    for one, parent in reversed(list(pairwise(newest))):
        for n, (channel, change) in enumerate(_changes(one, parent)):
            _row(table, str(one.metadata.get("step")) if n == 0 else "", channel, change)
    _show(console, table)


def _changes(one: CheckpointTuple, parent: CheckpointTuple) -> Iterable[tuple[str, str]]:
    before, after = parent.checkpoint["channel_values"], one.checkpoint["channel_values"]
    for channel in sorted(before.keys() | after.keys()):
        if channel not in after:
            yield channel, "removed"
        elif channel not in before or before[channel] != after[channel]:
            yield from ((channel, added) for added in _added(before.get(channel), after[channel]))


def _added(before: Any, after: Any) -> Iterable[str]:
    if isinstance(after, list) and isinstance(before, list) and after[: len(before)] == before:
        for value in after[len(before) :]:
            yield f"+ {_preview(value)}"
    else:
        yield "set" if after is None else f"set to {_preview(after)}"


def print_tokens(console: Console, totals: list[TokenTotals]) -> None:
    """Print the tokens used: each thread's sum over its runs."""
    table = _table(
        console, "Tokens, by the TokenUsage projection", "thread", ">runs", ">messages", ">input", ">output", ">total"
    )
    threads: dict[str, list[TokenTotals]] = defaultdict(list)
    for total in totals:
        threads[total.thread_id].append(total)
    for name, runs in [*threads.items(), ("all", totals)]:
        counts = [sum(1 for run in runs if run.run_id)] + [
            sum(getattr(run, key) for run in runs)
            for key in ("messages", "input_tokens", "output_tokens", "total_tokens")
        ]
        _row(table, name, *(f"{count:,}" for count in counts))
    _show(console, table)


def print_checks(console: Console, checks: list[Check]) -> None:
    """Print each promise, whether it was kept, and what was found."""
    table = _table(console, "Promises", "", "promise", "found")
    for check in checks:
        mark = Text("ok", "green") if check.kept else Text("FAILED", "bold red")
        table.add_row(mark, Text(check.promise), Text(check.found))
    _show(console, table)


def _table(console: Console, title: str, *columns: str) -> Table:
    """Make a table; a column that begins with ">" is aligned to the right. The last gives way if there is no room."""
    look = box.SIMPLE_HEAD if console.is_terminal else None
    table = Table(title=title, title_justify="left", title_style="bold", box=look, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        header, last = _line(column.removeprefix(">")), column == columns[-1]
        table.add_column(header, justify="right" if right else "left", no_wrap=not last)
    return table


def _row(table: Table, *cells: str) -> None:
    table.add_row(*map(_line, cells))


def _line(cell: str) -> Text:
    """Give a cell of one line, cut where there is no more room. Not a str: what agents say is not markup."""
    return Text(cell, no_wrap=True, overflow="ellipsis")


def _show(console: Console, table: Table) -> None:
    """Print a table with an empty line after it: the look for terminals has one, a plain table gets one.

    A plain table also loses the spaces that fill up its lines.
    """
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)
    console.print()


def _preview(value: Any) -> str:
    if isinstance(value, BaseMessage):
        calls = ", ".join(call["name"] for call in value.tool_calls) if isinstance(value, AIMessage) else ""
        said = f"{value.type}: {value.text}" + (f" [calls {calls}]" if calls else "")
    else:
        said = str(value)
    line = " ".join(said.split())
    return line if len(line) <= _PREVIEW else line[: _PREVIEW - 1] + "…"


def _of(thread_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
