"""`threads FILE`: what threads there are."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from ..arguments import MOST, AsJson, KeyFile, LogFile, Where, metadata_filter
from ..opening import open_log
from ..printing import console, print_json_line, safe_line, table

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Look"
EXAMPLES = """`langgraph-eventlog threads agent.db --limit 10`

`langgraph-eventlog threads agent.db --where customer=c2 --where hold=false`"""
_SHOWN = (
    "thread_id",
    "name",
    "metadata",
    "created_at",
    "last_activity",
    "checkpoints",
    "writes",
    "bytes",
    "latest_checkpoint_id",
    "latest_step",
    "latest_source",
)


def command(
    file: LogFile,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, max=MOST, help="At most so many.")] = 50,
    where: Where = None,
    as_json: AsJson = False,
    key_file: KeyFile = None,
) -> None:
    """List the threads, newest activity first.

    *checkpoints* are those of all namespaces, *bytes* those of the records that hold them and their writes, compressed;
    *step* is that of the latest checkpoint.
    """
    wanted = metadata_filter(where)
    with open_log(file, key_file=key_file) as log:
        shown = table("thread", "name", ">checkpoints", ">writes", ">bytes", ">step", "last activity (UTC)")
        threads = log.threads(limit=limit + 1, metadata=wanted)
        for info in islice(threads, limit):
            if as_json:
                print_json_line({name: getattr(info, name) for name in _SHOWN})
                continue
            counts = (f"{info.checkpoints:,}", f"{info.writes:,}", f"{info.bytes:,}")
            step = "" if info.latest_step is None else str(info.latest_step)
            name = safe_line(info.name or "")
            shown.add_row(safe_line(info.thread_id), name, *counts, step, f"{info.last_activity:%Y-%m-%d %H:%M:%S}")
        if not as_json:
            console().print(shown)
            if next(threads, None) is not None:
                console().print(Text(f"There are more than {limit:,}: --limit shows more.", "dim"))
