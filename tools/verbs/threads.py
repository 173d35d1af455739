"""`threads FILE`: what threads there are."""

from __future__ import annotations

from typing import Annotated

import typer

from ..arguments import AsJson, KeyFile, LogFile
from ..opening import open_log
from ..printing import console, print_json_line, safe, table

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Look"
EXAMPLES = "`langgraph-eventlog threads agent.db --limit 10`"


def command(
    file: LogFile,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="At most so many.")] = 50,
    as_json: AsJson = False,
    key_file: KeyFile = None,
) -> None:
    """List the threads, newest activity first."""
    with open_log(file, key_file=key_file) as log:
        shown = table("thread", "name", ">checkpoints", ">writes", ">bytes", ">step", "last activity (UTC)")
        for info in log.threads(limit=limit):
            if as_json:
                print_json_line(info)
                continue
            counts = (f"{info.checkpoints:,}", f"{info.writes:,}", f"{info.bytes:,}")
            step = "" if info.latest_step is None else str(info.latest_step)
            name = safe(info.name or "")
            shown.add_row(safe(info.thread_id), name, *counts, step, f"{info.last_activity:%Y-%m-%d %H:%M:%S}")
        if not as_json:
            console().print(shown)
