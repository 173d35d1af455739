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


def print_threads(console: Console, saver: EventLogSaver) -> None:
    """Print the thread list, the last active first."""
    table = _table(
        console, "Threads", "thread", ">checkpoints", ">writes", ">bytes", ">last step", "last activity (UTC)"
    )
    for info in saver.threads():
        counts = (f"{info.checkpoints:,}", f"{info.writes:,}", f"{info.bytes:,}", str(info.latest_step))
        _row(table, info.thread_id, *counts, f"{info.last_activity:%Y-%m-%d %H:%M:%S}")
    console.print(table)


def print_history(console: Console, saver: EventLogSaver, thread_id: str) -> None:
    """Print the newest checkpoints of a thread."""
    found = list(saver.list(_of(thread_id)))
    title = f"History of {thread_id}: the newest {min(_SHOWN, len(found))} of {len(found)} checkpoints"
    table = _table(console, title, ">step", "source", "run", "checkpoint", ">messages", "the last message")
    for one in found[:_SHOWN]:
        messages = one.checkpoint["channel_values"].get("messages", [])
        metadata = one.metadata
        last = _preview(messages[-1]) if messages else ""
        facts = (str(metadata.get("step")), metadata.get("source", ""), metadata.get("run_id", ""))
        _row(table, *facts, one.checkpoint["id"], str(len(messages)), last)
    console.print(table)


def print_changes(console: Console, saver: EventLogSaver, thread_id: str, *, steps: int = 4) -> None:
    """Print which channels a thread's last steps changed, and what was added to them."""
    table = _table(console, f"What the last steps of {thread_id} changed", ">step", "channel", "change")
    newest = list(saver.list(_of(thread_id), limit=steps + 1))
    for one, parent in reversed(list(pairwise(newest))):
        for n, (channel, change) in enumerate(_changes(one, parent)):
            _row(table, str(one.metadata.get("step")) if n == 0 else "", channel, change)
    console.print(table)


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
    console.print(table)


def print_checks(console: Console, checks: list[Check]) -> None:
    """Print each promise, whether it was kept, and what was found."""
    table = _table(console, "Promises", "", "promise", "found")
    for check in checks:
        mark = Text("ok", "green") if check.kept else Text("FAILED", "bold red")
        table.add_row(mark, Text(check.promise), Text(check.found))
    console.print(table)


def _table(console: Console, title: str, *columns: str) -> Table:
    """Make a table; a column that begins with ">" is aligned to the right."""
    look = box.SIMPLE_HEAD if console.is_terminal else None
    table = Table(title=title, title_justify="left", title_style="bold", box=look, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if right else "left", no_wrap=right)
    return table


def _row(table: Table, *cells: str) -> None:
    table.add_row(*map(Text, cells))  # Text: what agents say is not markup


def _preview(value: Any) -> str:
    if isinstance(value, BaseMessage):
        calls = ", ".join(call["name"] for call in value.tool_calls) if isinstance(value, AIMessage) else ""
        said = f"{value.type}: {value.text}" + (f" [calls {calls}]" if calls else "")
    else:
        said = str(value)
    line = " ".join(said.split())
    return line if len(line) <= _PREVIEW else line[: _PREVIEW - 3] + "..."


def _of(thread_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
