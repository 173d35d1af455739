"""`history FILE THREAD`: the tree of a thread's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.text import Text

from ..arguments import MOST, Allow, AllowAny, AsJson, KeyFile, LogFile, Namespace, ThreadId
from ..looking.facts import CheckpointFacts
from ..looking.histories import HistoryLine, history
from ..looking.naming import namespaces, short_ids
from ..looking.tasks import is_inner
from ..opening import open_log
from ..printing import console, print_json_line, progress, safe_line

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Look"
EXAMPLES = """`langgraph-eventlog history agent.db order-1`

`langgraph-eventlog history agent.db planner --namespace plan --limit 20`"""
_HEADER = ("", "step", "source", "ran", "wrote", "time (UTC)", "stored", "state", "run", "changed by bytes")
_RIGHT = {"step", "stored", "state"}
_WIDEST = 24


def command(
    file: LogFile,
    thread: ThreadId,
    *,
    namespace: Namespace = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=0, max=MOST, help="At most so many of each namespace, the newest.", show_default=False
        ),
    ] = None,
    all_: Annotated[
        bool,
        typer.Option("--all", help="Also removed checkpoints that are kept because others are rebuilt from them."),
    ] = False,
    as_json: AsJson = False,
    allow: Allow = None,
    allow_any: AllowAny = False,
    key_file: KeyFile = None,
) -> None:
    """Draw the tree of a thread's checkpoints, newest first, with its forks: each namespace for itself.

    *ran* are the nodes that made a checkpoint, *wrote* those whose writes are stored at it. *stored* is its record's
    size, compressed; *state* that of all its values in full. The time is when it was recorded.
    """
    with open_log(file, key_file=key_file, allow=allow, allow_any=allow_any) as log:
        names = namespaces(log, thread) if namespace is None else [namespace]
        if not names and not as_json:
            console().print(Text("no checkpoints", "dim"))
        for n, name in enumerate(names):
            with progress(f"reading {name or 'the root namespace'}") as done:
                lines = history(log, thread, checkpoint_ns=name, hidden=all_, limit=limit, progress=done)
                if as_json:
                    for line in lines:
                        if line.facts is not None:
                            print_json_line(line.facts)
                    continue
                found = list(lines)
            _print(name, found, first=n == 0)


def _print(checkpoint_ns: str, lines: list[HistoryLine], *, first: bool) -> None:
    out = console()
    if not first:
        out.print()
    if checkpoint_ns:
        out.print(Text.assemble(("namespace ", "bold"), safe_line(checkpoint_ns)), soft_wrap=True)
    short = short_ids([line.facts.checkpoint_id for line in lines if line.facts is not None])
    rows = [_HEADER, *(_cells(line, short) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row, line in zip(rows, [None, *lines], strict=True):
        text = Text()
        for cell, width, title in zip(row, widths, _HEADER, strict=True):
            padded = cell.rjust(width) if title in _RIGHT else cell.ljust(width)
            text.append(padded + "  ", None if line is not None else "bold")
        text.rstrip()
        if out.is_terminal:
            out.print(text, no_wrap=True, overflow="ellipsis")
        else:  # whoever reads it with another program loses nothing
            out.print(text, soft_wrap=True)


def _cells(line: HistoryLine, short: Mapping[str, str]) -> tuple[str, ...]:
    facts = line.facts
    if facts is None:
        note = "" if line.line.id is None else "removed meanwhile"
        return (line.line.graph.rstrip(), *[""] * (len(_HEADER) - 2), note)
    time = "" if facts.recorded_at is None else f"{facts.recorded_at:%Y-%m-%d %H:%M:%S}"
    wrote = "" if not facts.writes else f"{_names(facts.wrote)} ({facts.writes})".strip()
    return (
        line.line.graph + _plain(short[facts.checkpoint_id]),
        "" if facts.step is None else str(facts.step),
        _plain(facts.source or ""),
        _names(facts.nodes),
        wrote,
        time,
        f"{facts.bytes:,}",
        "" if facts.state_bytes is None else f"{facts.state_bytes:,}",
        _cut(_plain(facts.run_id or "")),
        "; ".join([*_notes(line, facts), *_changes(facts)]),
    )


def _notes(line: HistoryLine, facts: CheckpointFacts) -> list[str]:
    notes = []
    if facts.hidden:
        notes.append("removed, kept for others")
    if line.line.is_cut:
        notes.append("its parent descends from it")
    elif facts.parent in ("missing", "hidden") and not (facts.parent == "hidden" and not line.line.is_root):
        notes.append(f"its parent {_plain(facts.parent_id or '')} was removed")
    if facts.damage is not None:
        notes.append(f"DAMAGED: {_plain(facts.damage)}")
    return notes


def _changes(facts: CheckpointFacts) -> list[str]:
    shown = [
        f"{_plain(name)} {grown:+,}"
        for name, grown in facts.changes.items()
        if not (is_inner(name) or name.startswith("__"))
    ]
    return [", ".join(shown)] if shown else []


def _names(names: tuple[str, ...]) -> str:
    return _cut(_plain(", ".join(names)))


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _plain(text: str) -> str:
    return safe_line(text).plain
