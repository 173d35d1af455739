"""`stats FILE`: where the bytes are."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from ..arguments import MOST, AsJson, KeyFile, LogFile
from ..looking.files import FileSizes
from ..looking.statistics import Statistics, statistics
from ..opening import open_log
from ..printing import console, print_json, progress, safe_line, table

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Look"
EXAMPLES = "`langgraph-eventlog stats agent.db --threads 20`"


def command(
    file: LogFile,
    threads: Annotated[
        int, typer.Option("--threads", min=0, max=MOST, help="Name so many of the largest threads.")
    ] = 10,
    as_json: AsJson = False,
    key_file: KeyFile = None,
) -> None:
    """Say where the bytes are: by kind of event, channel, thread and age, and how the file is used.

    *bytes* are those of records as they stand in the file, compressed; *in full* is what they hold, uncompressed. A
    *keyframe* is a value stored whole in a checkpoint, a *delta* one stored as a difference to an earlier one; what has
    not changed is *carried*, and takes nothing. A record's bytes are shared out to the channels in it by their sizes in
    full. *Reclaimable* is what compaction would erase if nothing else were to go than what was deleted, pruned or
    replaced already.
    """
    with open_log(file, key_file=key_file) as log, progress("reading", total=2 * log.log.head().position) as done:
        found = statistics(log, threads=threads, progress=done)
    if as_json:
        print_json(found)
        return
    out = console()
    _print_events(out, found)
    _print_channels(out, found)
    _print_threads(out, found)
    if found.file is not None:
        _print_file(out, found.file)


def _print_events(out: Console, found: Statistics) -> None:
    shown = table("kind of event", ">events", ">bytes", ">in full", ">ratio")
    for kind, sizes in [*found.kinds.items(), ("all", found.events)]:
        ratio = f"{sizes.body_bytes / sizes.bytes:.1f}" if sizes.bytes else ""
        shown.add_row(kind, f"{sizes.events:,}", f"{sizes.bytes:,}", f"{sizes.body_bytes:,}", ratio)
    out.print(shown)
    for name, (count, size) in (("keyframes", found.keyframes), ("deltas", found.deltas)):
        _line(out, name, f"{count:,} values, {size:,} bytes in full")
    if found.reclaimable is not None:
        gain = found.reclaimable
        _line(out, "reclaimable", f"{gain.events:,} events, {gain.bytes:,} bytes: nothing needs them any more")
        if gain.later_events:
            later = f"{gain.later_events:,} events, {gain.later_bytes:,} bytes, once what refers to them"
            _line(out, "", f"{later}, {gain.restated_bytes:,} bytes, is stored anew")
    _line(out, "erased", f"{found.erased:,} events so far, of {found.head:,}")
    if found.damaged:
        positions = ", ".join(map(str, found.damaged[:10])) + (" ..." if len(found.damaged) > 10 else "")
        out.print(Text(f"DAMAGED: events at {positions}: verify tells more", "bold red"))
    out.print()
    ages = table("recorded within", ">events", ">bytes")
    for name, aged in found.ages.items():
        if aged.events:
            ages.add_row(name, f"{aged.events:,}", f"{aged.bytes:,}")
    out.print(ages)


def _print_channels(out: Console, found: Statistics) -> None:
    out.print()
    shown = table(
        "channel", ">bytes", ">keyframes", ">in full", ">deltas", ">in full", ">carried", ">writes", ">in full"
    )
    for name, one in found.channels.items():
        counts: list[Any] = [one.bytes, one.keyframes, one.keyframe_bytes, one.deltas, one.delta_bytes]
        shown.add_row(safe_line(name), *(f"{count:,}" for count in [*counts, one.carried, one.writes, one.write_bytes]))
    for name, size in found.beside.items():
        shown.add_row(Text(f"({name})", "dim"), f"{size:,}", *[""] * 7)
    out.print(shown)


def _print_threads(out: Console, found: Statistics) -> None:
    if not found.threads:
        return
    out.print()
    shown = table("thread", ">events", ">bytes")
    for one in found.threads:
        name = Text("(the whole log)", "dim") if one.thread_id is None else safe_line(one.thread_id)
        shown.add_row(name + Text(" (deleted)" if one.is_deleted else "", "dim"), f"{one.events:,}", f"{one.bytes:,}")
    out.print(shown)


def _print_file(out: Console, file: FileSizes) -> None:
    out.print()
    _line(out, "file", f"{file.file_bytes:,} bytes, and {file.wal_bytes:,} in the WAL")
    _line(out, "pages", f"{file.pages:,} of {file.page_bytes:,} bytes, {file.free_pages:,} of them free")
    largest = [f"{safe_line(name).plain} {size:,}" for name, size in list(file.tables.items())[:6]]
    if largest:
        _line(out, "tables", f"{', '.join(largest)} bytes")


def _line(out: Console, title: str, text: str) -> None:
    out.print(Text.assemble((f"{title:12}", "bold"), text), soft_wrap=True)
