"""`audit FILE [THREAD]`: everything that ever happened, a thread as it was, what happens now, or a page of it."""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ...eventlog.errors import ConfigError
from ...saver import EventLogSaver
from ..arguments import MOST, Allow, AllowAny, AsJson, KeyFile, LogFile
from ..auditing.entry import AuditEntry
from ..auditing.filters import AuditFilter
from ..auditing.page import write_page
from ..auditing.replay import Follow, replay
from ..auditing.shown import WARNED, entry_lines, state_json, state_lines
from ..auditing.state_at import state_at
from ..opening import open_log
from ..printing import console, print_json, print_json_line, progress, safe
from ..times import parse_time

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Look"
_POSITION = re.compile(r"\d{1,18}", re.ASCII)
EXAMPLES = """
`langgraph-eventlog audit agent.db --since 2d --kind delete_thread --kind prune`

`langgraph-eventlog audit agent.db order-2 --node refund --text 250`

`langgraph-eventlog audit agent.db order-2 --at 2026-01-31T12:00`

`langgraph-eventlog audit agent.db --follow --json`

`langgraph-eventlog audit agent.db order-2 --html order-2.html`
"""


def command(
    file: LogFile,
    thread: Annotated[
        str | None, typer.Argument(metavar="[THREAD]", help="Only what is about this thread.", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Recorded then or later: 2026-01-31T12:00 (UTC), or 2h ago.", show_default=False
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Recorded before then.", show_default=False)] = None,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Of this run_id.", show_default=False)] = None,
    node: Annotated[
        str | None,
        typer.Option(metavar="NODE", help="This node ran, or wrote, or ran the subgraph.", show_default=False),
    ] = None,
    channel: Annotated[
        str | None, typer.Option(metavar="CHANNEL", help="Changed, or wrote to, this channel.", show_default=False)
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="What is new with it holds this text; upper and lower case are one.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND", help="put, put_writes, delete_thread ...; may be given several times.", show_default=False
        ),
    ] = None,
    after: Annotated[
        int | None,
        typer.Option(metavar="POSITION", min=0, max=MOST, help="Only events after this position.", show_default=False),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=0, max=MOST, help="At most so many.", show_default=False)
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="POSITION|TIME", help="Show the thread's state as it was then.", show_default=False),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is appended from now on.")] = False,
    html: Annotated[
        Path | None,
        typer.Option(metavar="PAGE", help="Write a page of the thread's history, to be looked at.", show_default=False),
    ] = None,
    values: Annotated[bool, typer.Option("--values", help="With --json: values whole, not in few words.")] = False,
    as_json: AsJson = False,
    key_file: KeyFile = None,
    allow: Allow = None,
    allow_any: AllowAny = False,
) -> None:
    """Replay everything that ever happened, in the order of the log: deletions, prunes and compactions, too.

    What of it can be told is told: when, which call, run and node, and what it changed.
    """
    where = AuditFilter(
        since=None if since is None else parse_time(since),
        until=None if until is None else parse_time(until),
        run=run,
        node=node,
        channel=channel,
        text=text,
        kinds=kind or None,
    )
    if html is not None and str(html).startswith("-"):
        raise ConfigError(f"--html takes the path of a page to write, and {str(html)!r} looks like an option: ./{html}")
    if html is not None and as_json:
        raise ConfigError("--html writes a page, and --json prints: give one of them")
    if sum([at is not None, follow, html is not None]) > 1:
        raise ConfigError("--at, --follow and --html are three different things: give one of them")
    if at is not None or html is not None:
        if thread is None:
            raise ConfigError(f"{'--at' if at is not None else '--html'} is about one thread: say which")
        if where != AuditFilter() or after is not None or limit is not None:
            raise ConfigError("--at and --html show a whole thread: they go with no other option that chooses events")
    with open_log(file, key_file=key_file, allow=allow, allow_any=allow_any) as log:
        if thread is not None:
            _check_there(log, thread, waits=follow)
        if at is not None and thread is not None:
            _print_state(log, thread, at, as_json=as_json)
        elif html is not None and thread is not None:
            _write_page(log, thread, html)
        elif follow:
            with Follow(log, thread, after=after, where=where) as entries:
                _print(itertools.islice(entries, limit), as_json=as_json, values=values)
        else:
            # Where a person sees both, what is printed shows that it goes on; a bar would only be in its way.
            bar = contextlib.nullcontext(_nothing) if sys.stdout.isatty() else progress("events", _head(log))
            with bar as done:
                replayed = replay(log, thread, after=after or 0, where=where, limit=limit, done=done)
                _print(replayed, as_json=as_json, values=values)


def _nothing(_: float) -> None:
    pass


def _head(log: EventLogSaver) -> int:
    return log.log.head().position


def _check_there(log: EventLogSaver, thread: str, *, waits: bool) -> None:
    with log.log.database.reading() as connection:
        if log.log.keys.find_thread(connection, thread) is not None:
            return
    if not waits:
        raise ConfigError(f"nothing in {log.path} is, or ever was, about a thread {thread!r}")
    typer.echo(f"nothing is about a thread {thread!r} yet: waiting for it", err=True)


def _print(entries: Iterable[AuditEntry], *, as_json: bool, values: bool) -> None:
    out = console()
    for entry in entries:
        if as_json:
            print_json_line(entry.as_json(values=values))
        else:
            _print_lines(out, entry_lines(entry))


def _print_lines(out: Console, lines: Iterable[str]) -> None:
    for number, line in enumerate(lines):
        shown = safe(line.replace("\n", " "))
        shown.stylize("bold" if number == 0 else "red" if line.lstrip().startswith(WARNED) else "")
        out.print(shown, soft_wrap=True)
    out.file.flush()


def _print_state(log: EventLogSaver, thread: str, at: str, *, as_json: bool) -> None:
    state = state_at(log, thread, int(at) if _POSITION.fullmatch(at.strip()) else parse_time(at))
    if as_json:
        print_json(state_json(state))
    else:
        _print_lines(console(), state_lines(state))


def _write_page(log: EventLogSaver, thread: str, page: Path) -> None:
    with progress("events", _head(log)) as done:
        left_out = write_page(log, thread, page, done=done)
    console().print(safe(f"wrote {page}"), soft_wrap=True)
    for what in left_out:
        console().print(safe(f"left out: {what}"), soft_wrap=True)
