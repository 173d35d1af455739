"""`merge FILE SOURCE [THREAD...]`: the threads of another log into a log."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ...eventlog.errors import LogDamagedError
from ..arguments import AsJson, KeyFile, LogFile
from ..cli import EXIT_FOUND
from ..moving.checking import check_provenance
from ..moving.choosing import choose, renames, wanted_metadata
from ..moving.merging import merge
from ..opening import open_log, open_log_to_change
from ..printing import complain, console, print_json, progress, safe, table
from .extract import Rename, Threads, Where

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Move"
EXAMPLES = "`langgraph-eventlog merge agent.db acme.db`"


def command(
    file: LogFile,
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The log that has them.", show_default=False)],
    threads: Threads = None,
    where: Where = None,
    rename: Rename = None,
    check: Annotated[bool, typer.Option("--check", help="Compare every event with SOURCE afterwards.")] = False,
    as_json: AsJson = False,
    key_file: KeyFile = None,
    source_key_file: Annotated[
        Path | None,
        typer.Option(
            "--source-key-file",
            metavar="KEYFILE",
            help="Of an encrypted SOURCE; like --key-file, which is taken if this is not given.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Append the threads of another log, with their whole history, to FILE; all of them, unless some are named.

    Both may be in use, and SOURCE stays as it is. Each thread is appended in one transaction: it is there whole, or
    not at all. Run again after it was stopped, it goes on. A thread id that FILE has already is an error, and nothing
    is changed: --rename gives it another.
    """
    with open_log(source, key_file=source_key_file or key_file) as origin:
        chosen = choose(origin, None if not (threads or where) else threads or (), where=wanted_metadata(where))
        keys = [*origin._core.views.metadata_index.names]
        with open_log_to_change(file, key_file=key_file, indexed_metadata=keys) as log:
            with progress("taking threads in", None) as bar:
                merged = merge(log, origin, chosen, rename=renames(rename, chosen), progress=lambda done, _: bar(done))
            findings = [*check_provenance(log, origin)] if check else []
    if as_json:
        found = [{"code": f.code, "position": f.position, "message": f.message} for f in findings]
        print_json({**asdict(merged), "head": str(merged.head), "findings": found})
    else:
        shown = table("threads", ">already there", ">events", ">checkpoints", ">writes", "head of FILE")
        counts = (merged.events, merged.checkpoints, merged.writes)
        shown.add_row(
            str(len(merged.threads)), str(len(merged.already)), *(f"{n:,}" for n in counts), safe(merged.head)
        )
        console().print(shown)
    for finding in findings:
        complain(LogDamagedError(str(finding)))
    if findings:
        raise typer.Exit(EXIT_FOUND)
