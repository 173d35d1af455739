"""The end of the demo: the command line, on the log that the agents have left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rich.console import Console

from .run import Check

__all__ = ["run_commands"]


def run_commands(console: Console, path: Path, *, thread: str, anchor: str) -> Check:
    """Look into the log, prove that it is whole, give space back, and prove it again.

    Args:
        console: to print to.
        path: of the log.
        thread: to be looked at.
        anchor: of the log, at the kill.
    """
    commands = (
        ["audit", str(path), thread, "--limit", "6"],
        ["verify", str(path), "--anchor", anchor],
        ["compact", str(path), "--keep-last", "3", "--vacuum"],
        ["verify", str(path), "--anchor", anchor],
    )
    failed = []
    for arguments in commands:
        # As it is typed: the file by its name, the anchor by its beginning.
        shown = [
            Path(word).name if word == str(path) else f"{word[:16]}..." if word == anchor else word
            for word in arguments
        ]
        console.print(f"\n$ langgraph-eventlog {' '.join(shown)}", markup=False, highlight=False, soft_wrap=True)
        console.file.flush()
        command = [sys.executable, "-m", "langgraph_eventlog.tools", *arguments]
        if subprocess.run(command, check=False).returncode:  # noqa: S603  our own command
            failed.append(arguments[0])
    console.print()
    return Check(
        "what the command line did went well, and the anchor from the kill still holds",
        not failed,
        f"{', '.join(failed)} failed" if failed else f"{len(commands)} commands",
    )
