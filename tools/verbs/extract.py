"""`extract FILE TARGET THREAD...`: threads into a log file of their own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ...eventlog.errors import ConfigError
from ..arguments import AsJson, KeyFile, LogFile
from ..cli import EXIT_FOUND
from ..moving.choosing import choose, renames, wanted_metadata
from ..moving.extracting import delete_extracted, extract
from ..opening import key_from, open_log, open_log_to_change
from ..printing import complain, console, print_json, progress, safe, table

__all__ = ["EXAMPLES", "PANEL", "Rename", "Threads", "Where", "command"]

PANEL = "Move"
EXAMPLES = "`langgraph-eventlog extract agent.db acme.db --where customer=acme --check`"

Threads = Annotated[list[str] | None, typer.Argument(metavar="[THREAD]...", help="Ids of threads.", show_default=False)]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="KEY=VALUE",
        help="The threads whose registered metadata has this, too. VALUE is JSON, or else text. Several: all of them.",
        show_default=False,
    ),
]
Rename = Annotated[
    list[str] | None,
    typer.Option(
        "--rename", metavar="OLD=NEW", help="Give a thread another id. May be given several times.", show_default=False
    ),
]


def command(
    file: LogFile,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The new log's path.", show_default=False)],
    threads: Threads = None,
    where: Where = None,
    rename: Rename = None,
    everything: Annotated[bool, typer.Option("--all", help="Take all threads.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare every event with FILE, and verify both, before TARGET is there.")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the threads in FILE when TARGET is there. Checks before.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a log that is at TARGET, and in no use.")] = False,
    as_json: AsJson = False,
    key_file: KeyFile = None,
) -> None:
    """Take threads, with their whole history, out into a log file of their own.

    Every event about them is there again, with its own time. FILE may be in use, and stays as it is, unless --delete
    deletes the threads there. TARGET is encrypted if FILE is, with the same key. An import event in TARGET says where
    each event came from.
    """
    if not (threads or where or everything):
        raise typer.BadParameter("name threads, or give --where or --all")
    opening = open_log_to_change if delete else open_log
    with opening(file, key_file=key_file) as log:
        chosen = choose(log, None if everything else threads or (), where=wanted_metadata(where))
        with progress("taking threads out", None) as bar:
            extracted = extract(
                log,
                target,
                chosen,
                rename=renames(rename, chosen),
                key=key_from(key_file),
                force=force,
                check=check or delete,
                progress=lambda done, _: bar(done),
            )
        stay = delete_extracted(log, extracted) if delete else []
    if as_json:
        deleted = [thread_id for thread_id in extracted.threads if delete and thread_id not in stay]
        heads = {"anchor": str(extracted.anchor), "head": str(extracted.head)}
        print_json({**asdict(extracted), **heads, "deleted": deleted})
    else:
        shown = table("threads", ">events", ">checkpoints", ">writes", ">bytes", "head of the new log")
        counts = (extracted.events, extracted.checkpoints, extracted.writes, extracted.bytes)
        shown.add_row(str(len(extracted.threads)), *(f"{n:,}" for n in counts), safe(extracted.head))
        console().print(shown)
    for thread_id in stay:
        complain(ConfigError(f"thread {thread_id!r} has gone on meanwhile, and stays in {file}"))
    if stay:
        raise typer.Exit(EXIT_FOUND)
