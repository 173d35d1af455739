"""`backup FILE TARGET`: a copy of a log that may be in use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..arguments import AsJson, KeyFile, LogFile
from ..bars import Bars
from ..moving.backup import backup
from ..opening import key_from
from ..printing import print_json, say

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Move"
EXAMPLES = "`langgraph-eventlog backup agent.db backups/agent-monday.db`"


def command(
    file: LogFile,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The copy to make.", show_default=False)],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not check the copy's chain and digests: copy a damaged log, too.")
    ] = False,
    as_json: AsJson = False,
    key_file: KeyFile = None,
) -> None:
    """Copy the log as it is at this moment, while others go on appending to it. An encrypted one stays encrypted."""
    with Bars() as bars:
        made = backup(file, target, key=key_from(key_file), force=force, verify=not no_verify, told=bars.tell)
    if as_json:
        head = {"position": made.head.position, "link": made.head.link.hex()}
        print_json({"file": made.path, "head": head, "bytes": made.bytes, "verified": made.verified})
        return
    checked = "chain and digests were checked" if made.verified else "it was not checked"
    say(f"{made.path}: {made.bytes:,} bytes, events 1 to {made.head.position:,}; {checked}")
    say(f"anchor: {made.head}")
