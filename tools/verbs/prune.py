"""`prune FILE THREAD...`: the history of threads goes, or all of them."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ..arguments import AsJson, KeyFile, LogFile, ThreadIds, Yes
from ..confirming import confirm
from ..moving.threads import facts, prune_threads, threads_there
from ..opening import open_log_to_change
from ..printing import print_json, say

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Move"
EXAMPLES = "`langgraph-eventlog prune agent.db order-1 order-2 --keep-latest`"


def command(
    file: LogFile,
    threads: ThreadIds,
    *,
    delete: Annotated[
        bool,
        typer.Option(
            "--delete/--keep-latest",
            help="Remove all of the threads, after asking; or all checkpoints but the latest of each namespace.",
        ),
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    key_file: KeyFile = None,
) -> None:
    """Remove the older checkpoints of threads, in one step: graphs go on from the latest.

    What the latest one needs of older ones stays, out of sight. The records of what was removed stay in the log, for
    `audit`, until it is compacted: then their bytes go, too.
    """
    with open_log_to_change(file, key_file=key_file) as log:
        there = threads_there(log, threads)
        if delete and not yes:
            confirm("delete", there)
        strategy: Literal["keep_latest", "delete"] = "delete" if delete else "keep_latest"
        pruned = prune_threads(log, [info.thread_id for info in there], strategy=strategy)
    if as_json:
        changes = [
            {"before": facts(thread.before), "after": None if thread.after is None else facts(thread.after)}
            for thread in pruned
        ]
        print_json({"strategy": strategy, "pruned": changes})
        return
    for thread in pruned:
        left = 0 if thread.after is None else thread.after.checkpoints
        removed = thread.before.checkpoints - left
        say(f"{thread.before.thread_id}: {removed:,} checkpoints removed, {left:,} kept")
    say("Their records stay in the log until it is compacted: only then their bytes go.")
