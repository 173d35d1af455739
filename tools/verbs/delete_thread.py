"""`delete-thread FILE THREAD...`: threads go, with all of their history."""

from __future__ import annotations

from ..arguments import AsJson, KeyFile, LogFile, ThreadIds, Yes
from ..confirming import confirm
from ..moving.threads import delete_threads, facts, threads_there
from ..opening import open_log_to_change
from ..printing import print_json, say

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Move"
EXAMPLES = "`langgraph-eventlog delete-thread agent.db order-1 order-2`"


def command(
    file: LogFile, threads: ThreadIds, *, yes: Yes = False, as_json: AsJson = False, key_file: KeyFile = None
) -> None:
    """Delete threads, with all of their checkpoints and writes.

    Nothing finds them any more from now on. Their records stay in the log, for `audit`, until it is compacted: then
    their bytes go, too.
    """
    with open_log_to_change(file, key_file=key_file) as log:
        there = threads_there(log, threads)
        if not yes:
            confirm("delete", there)
        deleted = delete_threads(log, [info.thread_id for info in there])
    if as_json:
        print_json({"deleted": [facts(info) for info in deleted]})
        return
    for info in deleted:
        what = f"{info.checkpoints:,} checkpoints and {info.writes:,} writes"
        say(f"{info.thread_id}: deleted, with {what}")
    say("Their records stay in the log until it is compacted: only then their bytes go.")
