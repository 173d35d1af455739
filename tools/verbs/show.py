"""`show FILE THREAD [CHECKPOINT]`: the state of a checkpoint."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from ...eventlog.errors import ConfigError
from ..arguments import Allow, AllowAny, AsJson, KeyFile, LogFile, ThreadId
from ..looking.messages import conversation, is_messages
from ..looking.states import State, load_state
from ..looking.tasks import is_inner
from ..opening import open_log
from ..printing import console, print_json, safe, safe_line
from ..values import one_line, said_text, value_text

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Look"
EXAMPLES = """`langgraph-eventlog show agent.db order-1`

`langgraph-eventlog show agent.db order-1 3 --channel ledger`

`langgraph-eventlog show agent.db order-1 --messages`

`langgraph-eventlog show agent.db order-1 -- -1`"""


def command(
    file: LogFile,
    thread: ThreadId,
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            metavar="[CHECKPOINT]",
            help="Its id, a part of it that no other has, or its step (a negative one after `--`); else the latest.",
            show_default=False,
        ),
    ] = None,
    *,
    namespace: Annotated[
        str,
        typer.Option("--namespace", metavar="NS", help="The checkpoint's namespace: '' is the root one."),
    ] = "",
    channel: Annotated[
        list[str] | None,
        typer.Option("--channel", help="Only this channel. May be given several times.", show_default=False),
    ] = None,
    messages: Annotated[
        bool, typer.Option("--messages", help="Only the conversation: channels that hold messages, in full.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Cut nothing, however long.")] = False,
    as_json: AsJson = False,
    allow: Allow = None,
    allow_any: AllowAny = False,
    key_file: KeyFile = None,
) -> None:
    """Show the state of a checkpoint: its values, what is pending, what interrupted it, what is next.

    Messages are shown as a conversation. The values of delta channels, which most checkpoints do not hold, are put
    together from what was written. What is next is told as far as the checkpoint itself tells: the graph is not there.
    """
    with open_log(file, key_file=key_file, allow=allow, allow_any=allow_any) as log:
        state = load_state(log, thread, checkpoint, checkpoint_ns=namespace)
    values = _values(state, channel)
    if messages:
        _print_messages(values, chosen=channel is not None, as_json=as_json)
    elif as_json:
        print_json(_document(state, values, all_=channel is None))
    else:
        _print(state, values, all_=channel is None, full=full)


def _values(state: State, channels: list[str] | None) -> dict[str, Any]:
    """Give the values by channel, delta channels' put together; only the chosen ones."""
    values = {**state.values, **{name: delta.value for name, delta in state.deltas.items()}}
    for name in channels or ():
        if name not in values:
            raise ConfigError(
                f"checkpoint {state.facts.checkpoint_id!r} has no value in a channel {name!r}: it has {sorted(values)}"
            )
    return values if channels is None else {name: values[name] for name in channels}


def _document(state: State, values: dict[str, Any], *, all_: bool) -> dict[str, Any]:
    deltas = {name: delta for name, delta in state.deltas.items() if name in values}
    facts = {name: getattr(state.facts, name) for name in type(state.facts).__slots__}
    if not all_:
        return {**facts, "values": values, "deltas": deltas}
    others = ("is_latest", "metadata", "versions", "pending", "interrupts", "errors", "next")
    return {**facts, "values": values, "deltas": deltas, **{name: getattr(state, name) for name in others}}


def _print_messages(values: dict[str, Any], *, chosen: bool, as_json: bool) -> None:
    held = {name: value for name, value in values.items() if is_messages(value)}
    if chosen and len(held) < len(values):
        raise ConfigError(f"channel {next(name for name in values if name not in held)!r} holds no messages")
    if as_json:
        print_json({name: conversation(value) for name, value in held.items()})
        return
    out = console()
    for name, value in held.items():
        if len(held) > 1:
            _heading(out, name)
        for said in conversation(value):
            out.print(said_text(said), soft_wrap=True)
    if not held:
        out.print(Text("no channel holds messages", "dim"))


def _print(state: State, values: dict[str, Any], *, all_: bool, full: bool) -> None:
    out = console()
    if all_:
        _print_facts(out, state)
    for name, value in sorted(values.items()):
        if all_ and not full and is_inner(name):
            continue
        delta = state.deltas.get(name)
        _heading(out, name, "" if delta is None else _how(delta.how))
        if delta is not None and delta.how is None:
            out.print(value_text({"snapshot": delta.snapshot, "writes": delta.writes}, full=full), soft_wrap=True)
        else:
            out.print(value_text(value, full=full), soft_wrap=True)
    if all_:
        _print_pending(out, state, full=full)


def _print_facts(out: Console, state: State) -> None:
    facts = state.facts
    name = facts.thread_id + (f", namespace {facts.checkpoint_ns}" if facts.checkpoint_ns else "")
    notes = [note for note, holds in (("latest", state.is_latest), ("removed, kept for others", facts.hidden)) if holds]
    lines = {
        "checkpoint": facts.checkpoint_id + (f" ({', '.join(notes)})" if notes else ""),
        "thread": name,
        "parent": "none" if facts.parent_id is None else facts.parent_id + _parent(facts.parent),
        "children": ", ".join(facts.children) or "none",
        "step": f"{facts.step}, source {facts.source}" if facts.step is not None else "",
        "run": facts.run_id or "",
        "time": f"{facts.time or '?'}, recorded {facts.recorded_at} at position {facts.position}",
        "ran": ", ".join(facts.nodes),
        "next": ", ".join(_next(one) for one in state.next),
        "metadata": one_line({k: v for k, v in state.metadata.items() if k not in ("step", "source", "run_id")}, 300),
        "bytes": f"{facts.bytes:,} stored, {facts.state_bytes or 0:,} in full",
    }
    for title, line in lines.items():
        if line:
            out.print(Text.assemble((f"{title:11}", "bold"), safe_line(line)), soft_wrap=True)


def _parent(there: str | None) -> str:
    return {"hidden": " (removed, kept for others)", "missing": " (not there any more)"}.get(there or "", "")


def _how(how: str | None) -> str:
    if how is None:
        return "a delta channel: what was written, which only its reducer can put together"
    return "a delta channel: a snapshot" if how == "snapshot" else f"a delta channel: what was written, {how}"


def _next(one: Any) -> str:
    return one.node if one.why != "send" else f"{one.node} (sent {one_line(one.argument, 60)})"


def _print_pending(out: Console, state: State, *, full: bool) -> None:
    for one in state.interrupts:
        answered = f", resumed with {one_line(list(one.answers))}" if one.answers else ", waits for an answer"
        _heading(out, f"interrupt of {one.node or one.task_id}", f"id {one.id}{answered}")
        out.print(value_text(one.value, full=full), soft_wrap=True)
    for task_id, error in state.errors.items():
        _heading(out, f"error of task {task_id}")
        out.print(value_text(error, full=full), soft_wrap=True)
    if state.pending:
        _heading(out, "pending writes", "they take effect with the next checkpoint")
        for write in state.pending:
            line = Text(f"{safe_line(write.node or write.task_id).plain} -> {safe_line(write.channel).plain}: ", "dim")
            shown = value_text(write.value, full=True) if full else safe(one_line(write.value))
            out.print(Text.assemble(line, shown), soft_wrap=True)


def _heading(out: Console, name: str, note: str = "") -> None:
    title = (safe_line(name).plain, "bold underline")
    out.print()
    out.print(Text.assemble(title, ("  " if note else "") + safe_line(note).plain), soft_wrap=True)
