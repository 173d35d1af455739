"""`diff FILE THREAD [A] [B]`: what changed between two checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from ..arguments import Allow, AllowAny, AsJson, KeyFile, LogFile, ThreadId
from ..looking.differences import Change, ChannelDifference, difference
from ..looking.messages import conversation
from ..looking.tasks import is_inner
from ..opening import open_log
from ..printing import console, print_json, safe, safe_line
from ..values import one_line, said_text, value_text

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Look"
EXAMPLES = """`langgraph-eventlog diff agent.db order-1`

`langgraph-eventlog diff agent.db order-1 4 10`"""
_MARKS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow"), "moved": ("~", "yellow")}
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}
_MAX_CHANGES = 50


def command(
    file: LogFile,
    thread: ThreadId,
    a: Annotated[
        str | None,
        typer.Argument(
            metavar="[A]",
            help="The first checkpoint: its id, a part of it that no other has, or its step; else the parent of B.",
            show_default=False,
        ),
    ] = None,
    b: Annotated[
        str | None,
        typer.Argument(metavar="[B]", help="The second, named likewise; else the latest.", show_default=False),
    ] = None,
    *,
    namespace: Annotated[
        str,
        typer.Option("--namespace", metavar="NS", help="The checkpoints' namespace: '' is the root one."),
    ] = "",
    full: Annotated[bool, typer.Option("--full", help="Cut nothing, however long.")] = False,
    as_json: AsJson = False,
    allow: Allow = None,
    allow_any: AllowAny = False,
    key_file: KeyFile = None,
) -> None:
    """Show what changed from one checkpoint to another, channel by channel.

    Messages that were added, removed or changed (those of one id are the same message), keys that were set and removed,
    elements of lists, text as a unified diff.
    """
    with open_log(file, key_file=key_file, allow=allow, allow_any=allow_any) as log:
        found = difference(log, thread, a, b, checkpoint_ns=namespace)
    if as_json:
        print_json(found)
        return
    out = console()
    for mark, side in (("---", found.a or "nothing: B has no parent"), ("+++", found.b)):
        out.print(Text.assemble(f"{mark} ", safe_line(side), style="bold"), soft_wrap=True)
    for channel in found.channels if full else [one for one in found.channels if not is_inner(one.channel)]:
        _print(out, channel, full=full)
    if not found.channels:
        out.print(Text("no channel's value differs", "dim"))


def _print(out: Console, channel: ChannelDifference, *, full: bool) -> None:
    what = "" if channel.kind in ("added", "removed") else f"  {channel.kind}"
    out.print()
    out.print(Text.assemble((safe_line(channel.channel).plain, "bold underline"), (what, "dim")))
    shown = channel.changes if full else channel.changes[:_MAX_CHANGES]
    for change in shown:
        for line in _lines(channel, change, full=full):
            out.print(line, soft_wrap=True)
    if len(shown) < len(channel.changes):
        out.print(Text(f"... {len(channel.changes) - len(shown):,} changes more: --full shows them", "dim"))


def _lines(channel: ChannelDifference, change: Change, *, full: bool) -> Iterator[Text]:
    mark, colour = _MARKS[change.change]
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in change.at).removeprefix(".")
    head = Text(f"{mark} {safe_line(place).plain}" + (" " if place else ""), colour)
    if change.diff is not None:
        if channel.kind != "text":
            yield Text.assemble(head, "text changed")
        for line in change.diff:
            yield Text(safe(line).plain, _COLOURS.get(line[:1], ""))
    elif change.change == "moved":
        yield Text.assemble(head, f"was at [{change.before}]")
    elif channel.kind == "messages":
        for side, message in (("-", change.before), ("+", change.after)):
            if message is not None:
                yield Text.assemble((f"{side} ", _COLOURS[side]), said_text(conversation([message])[0], full=full))
    elif change.change == "changed":
        yield head
        yield Text.assemble(("  - ", "red"), _value(change.before, full=full))
        yield Text.assemble(("  + ", "green"), _value(change.after, full=full))
    else:
        yield Text.assemble(head, _value(change.after if change.change == "added" else change.before, full=full))


def _value(value: Any, *, full: bool) -> Text:
    return value_text(value, full=True) if full else safe(one_line(value, 300))
