"""`export FILE TARGET`: to the official SqliteSaver's file, or to JSON Lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from rich.text import Text

from ...eventlog.errors import ConfigError
from ...saver import EventLogSaver
from ..arguments import MOST, Allow, AllowAny, AsJson, KeyFile, LogFile
from ..cli import EXIT_FOUND
from ..moving.exporting import export_to_sqlite, new_file
from ..moving.jsonl import checkpoint_lines, event_lines
from ..moving.redaction import Redaction, salt_from
from ..moving.walking import Selection
from ..opening import open_log, strict_serializer
from ..printing import console, print_json, progress, progress_of_steps, safe

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Move"
EXAMPLES = (
    "`langgraph-eventlog export agent.db checkpoints.sqlite` · "
    "`langgraph-eventlog export agent.db audit.jsonl --jsonl --redact channel:messages`"
)


def command(
    file: LogFile,
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="The file to make. With --jsonl, - is standard output.")
    ],
    *,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="JSON Lines: one line for each event.")] = False,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="With --jsonl: one line for each checkpoint that there is, instead.")
    ] = False,
    thread: Annotated[
        str | None, typer.Option("--thread", metavar="THREAD", help="Only this thread.", show_default=False)
    ] = None,
    first: Annotated[
        int | None,
        typer.Option("--from", metavar="POSITION", min=1, max=MOST, help="From this event on.", show_default=False),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option("--to", metavar="POSITION", min=1, max=MOST, help="Up to this event.", show_default=False),
    ] = None,
    redact: Annotated[
        list[str] | None,
        typer.Option(
            "--redact",
            metavar="RULE",
            help="With --jsonl: leave a salted hash of values, channel:NAME or key:NAME. May be given several times.",
            show_default=False,
        ),
    ] = None,
    salt_file: Annotated[
        Path | None,
        typer.Option(
            "--salt-file",
            metavar="SALTFILE",
            help="With --redact: holds the salt, made if it is not there. Without it, nobody gets to know the salt.",
            show_default=False,
        ),
    ] = None,
    stubs: Annotated[
        bool,
        typer.Option(
            "--stubs", help="With --jsonl --thread: give the hashes of all other events, to recompute the chain."
        ),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option("--compare/--no-compare", help="Compare a SQLite file with the log through both savers."),
    ] = True,
    allow: Allow = None,
    allow_any: AllowAny = False,
    as_json: AsJson = False,
    key_file: KeyFile = None,
) -> None:
    """Export to a new file of LangGraph's own SqliteSaver, or with --jsonl to JSON Lines.

    Exits with 1 if a comparison finds a difference, or a record is damaged.
    """
    only_jsonl = {"--checkpoints": checkpoints, "--redact": redact, "--salt-file": salt_file, "--stubs": stubs}
    misused = [name for name, given in only_jsonl.items() if given and not jsonl]
    if misused:
        raise ConfigError(f"{misused[0]} is for --jsonl")
    if target == "-" and not jsonl:
        raise ConfigError("a file for SqliteSaver cannot go to standard output: name one, or ask for --jsonl")
    if first is not None and last is not None and first > last:
        raise ConfigError(f"--from {first} is after --to {last}")
    selection = Selection(thread, first, last)
    with open_log(file, key_file=key_file, allow=allow, allow_any=allow_any) as saver:
        _check_thread(saver, thread)
        if not jsonl:
            # What has to be decoded, and is not allowed to be, is an error: nothing may be lost on the way.
            any_class = JsonPlusSerializer(
                pickle_fallback=True, allowed_msgpack_modules=True, allowed_json_modules=True
            )
            saver.serde = any_class if allow_any else strict_serializer(allow=allow)
            _to_sqlite(saver, target, selection, comparing=compare, as_json=as_json)
            return
        redaction = Redaction(redact or (), salt=None if salt_file is None else salt_from(salt_file))
        if checkpoints:
            lines: Iterable[dict[str, Any]] = checkpoint_lines(saver, selection=selection, redaction=redaction)
        else:
            lines = event_lines(saver, selection=selection, redaction=redaction, stubs=stubs)
        _to_jsonl(lines, saver.log.head().position, target, as_json=as_json)


def _check_thread(saver: EventLogSaver, thread: str | None) -> None:
    if thread is None:
        return
    with saver.log.database.reading() as connection:
        if saver.log.keys.find_thread(connection, thread) is None:
            raise ConfigError(f"{saver.path} has no thread {thread!r}")


def _to_sqlite(saver: EventLogSaver, target: str, selection: Selection, *, comparing: bool, as_json: bool) -> None:
    with progress_of_steps() as tell:
        done = export_to_sqlite(saver, target, selection=selection, comparing=comparing, progress=tell)
    if as_json:
        print_json({"target": target, "format": "sqlite", **asdict(done)})
    else:
        out = console()
        out.print(
            f"Exported {done.threads:,} threads, {done.checkpoints:,} checkpoints and {done.writes:,} writes, in "
            f"{done.bytes:,} bytes."
        )
        if done.compared:
            found = f"{len(done.differences):,} differences" if done.differences else "no difference"
            out.print(f"Compared {done.compared:,} checkpoints through both savers: {found}.")
        for difference in done.differences:
            place = f"checkpoint {difference.checkpoint_id} of thread {difference.thread_id}"
            out.print(Text("different: ", "bold red") + safe(f"{place}: {difference.what}"))
    if done.differences:
        raise typer.Exit(EXIT_FOUND)


def _to_jsonl(lines: Iterable[dict[str, Any]], head: int, target: str, *, as_json: bool) -> None:
    count = damaged = 0
    with _output(target) as out, progress("exporting", head) as tell:
        for line in lines:
            out.write(json.dumps(line, separators=(",", ":")) + "\n")
            count += 1
            damaged += "damaged" in line
            tell(line.get("position", 0))
    if target != "-":
        if as_json:
            print_json({"target": target, "format": "jsonl", "lines": count, "damaged": damaged})
        else:
            console().print(f"Exported {count:,} lines." + (f" {damaged:,} records are damaged." if damaged else ""))
    if damaged:
        raise typer.Exit(EXIT_FOUND)


@contextmanager
def _output(target: str) -> Iterator[TextIO]:
    if target == "-":
        yield sys.stdout
        return
    with new_file(target) as path, path.open("w", encoding="utf-8") as file:
        yield file
        file.flush()
