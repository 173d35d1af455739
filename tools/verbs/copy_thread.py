"""`copy-thread FILE SOURCE TARGET`: a thread with all of its history, under another id."""

from __future__ import annotations

from typing import Annotated

import typer

from ..arguments import AsJson, KeyFile, LogFile
from ..moving.threads import copy_thread, facts
from ..opening import open_log_to_change
from ..printing import print_json, say

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Move"
EXAMPLES = "`langgraph-eventlog copy-thread agent.db order-1 order-1-copy`"


def command(
    file: LogFile,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The thread's id.", show_default=False)],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The new thread's id.", show_default=False)],
    *,
    as_json: AsJson = False,
    key_file: KeyFile = None,
) -> None:
    """Copy a thread with all of its history to a new one, storing nothing twice."""
    with open_log_to_change(file, key_file=key_file) as log:
        made = copy_thread(log, source, target)
    if as_json:
        print_json({"source": source, "copied": facts(made)})
    else:
        what = f"{made.checkpoints:,} checkpoints and {made.writes:,} writes"
        say(f"{target}: {what}, copied from {source}")
