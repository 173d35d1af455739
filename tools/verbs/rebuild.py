"""`rebuild FILE`: the tables that are derived from the log, made anew."""

from __future__ import annotations

from ..arguments import AsJson, KeyFile, LogFile
from ..bars import Bars
from ..opening import open_log_to_change
from ..printing import print_json, say

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Move"
EXAMPLES = "`langgraph-eventlog rebuild agent.db`"


def command(file: LogFile, *, as_json: AsJson = False, key_file: KeyFile = None) -> None:
    """Make the tables anew that everything is read from, out of the log, while graphs go on.

    This mends them if they are damaged; events are not changed.
    """
    with open_log_to_change(file, key_file=key_file) as log, Bars() as bars:
        log.rebuild(progress=lambda done, total: bars.tell("rebuilding", done, total))
        path, head = log.path, log.log.head()
    if as_json:
        print_json({"file": path, "head": {"position": head.position, "link": head.link.hex()}})
    else:
        say(f"{path}: rebuilt from events up to {head.position:,}")
