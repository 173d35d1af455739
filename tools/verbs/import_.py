"""`import SOURCE FILE`: takes over what LangGraph's own savers hold."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from ...eventlog.errors import ConfigError
from ...saver import EventLogSaver
from ..arguments import AsJson, KeyFile, LogFile
from ..cli import EXIT_FOUND
from ..moving.importing import Imported, import_from, open_source
from ..opening import key_from, strict_serializer
from ..printing import console, print_json, progress_of_steps, safe

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Move"
EXAMPLES = "`langgraph-eventlog import checkpoints.sqlite agent.db`"


def command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file of SqliteSaver or AsyncSqliteSaver; or postgresql://USER:PASSWORD@HOST/DATABASE, a database "
            "of PostgresSaver. It is only read.",
            show_default=False,
        ),
    ],
    file: LogFile,
    *,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Leave alone what the log holds otherwise under the same id, and go on."),
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare/--no-compare", help="Compare everything through both savers in the end.")
    ] = True,
    as_json: AsJson = False,
    key_file: KeyFile = None,
) -> None:
    """Import all that an official saver holds into a log, which is made if it is not there.

    Stopped anywhere and run again, it goes on; run once more, it appends nothing. Exits with 1 if the comparison in the
    end finds a difference.
    """
    if not source.strip():
        raise ConfigError("SOURCE is empty")
    serde = strict_serializer()
    with open_source(source, serde) as opened:
        if compare:
            opened.official(serde)  # if it is not installed, no log is made
        with EventLogSaver(file, serde=serde, key=key_from(key_file)) as saver, progress_of_steps() as progress:
            done = import_from(opened, saver, skip_existing=skip_existing, comparing=compare, progress=progress)
    if as_json:
        print_json(done)
    else:
        _print(done)
    if done.differences:
        raise typer.Exit(EXIT_FOUND)


def _print(done: Imported) -> None:
    out = console()
    there = done.there
    out.print(
        f"The source holds {there.threads:,} threads, {there.checkpoints:,} checkpoints and {there.writes:,} writes, "
        f"in {done.source_bytes:,} bytes."
    )
    out.print(f"Appended {done.checkpoints:,} checkpoints and {done.writes:,} writes.")
    if done.skipped:
        out.print(f"Left alone {done.skipped:,} that the log holds otherwise.")
    out.print(f"The log took {done.bytes_before:,} bytes, and takes {done.bytes_after:,} now.")
    if done.compared:
        found = f"{len(done.differences):,} differences" if done.differences else "no difference"
        out.print(f"Compared {done.compared:,} checkpoints through both savers: {found}.")
    for difference in done.differences:
        place = f"checkpoint {difference.checkpoint_id} of thread {difference.thread_id}"
        namespace = f", namespace {difference.checkpoint_ns}" if difference.checkpoint_ns else ""
        out.print(Text("different: ", "bold red") + safe(f"{place}{namespace}: {difference.what}"))
