"""Entries, and states, as lines of text for people. Nothing is made safe for a terminal: who prints them does that."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..jsonable import jsonable
from .entry import AuditEntry, ChannelChange
from .preview import preview, preview_of_change
from .state_at import NamespaceState, StateAt

__all__ = ["WARNED", "entry_lines", "state_json", "state_lines"]

# What lines begin with that say what is missing.
WARNED = ("!", "incomplete")
_MOST = 8  # of elements and keys
_INDENT = " " * 10
_ROUTING = "branch:to:"


def entry_lines(entry: AuditEntry) -> list[str]:
    """Give an entry: a line that says what happened, and one or more for each channel, or thread, that it changed.

    LangGraph's channels `branch:to:NODE`, which say who runs next, are left out.
    """
    when = "-" if entry.recorded_at is None else f"{entry.recorded_at:%Y-%m-%d %H:%M:%S.%f}"
    facts = [entry.kind, *([] if entry.thread_id is None else [_place(entry)])]
    if entry.step is not None:
        facts.append(f"step {entry.step}")
    if entry.source is not None:
        facts.append(entry.source)
    if entry.nodes:
        facts.append(f"node {', '.join(entry.nodes)}")
    if entry.run_id is not None:
        facts.append(f"run {entry.run_id}")
    if entry.checkpoint_id is not None:
        facts.append(f"at {entry.checkpoint_id}" if entry.task_id else entry.checkpoint_id)
    lines = [f"{entry.position:>8}  {when}  {'  '.join(facts)}"]
    if entry.problem is not None:
        lines.append(f"{_INDENT}{WARNED[0]} {entry.problem}")
    changes = [change for change in entry.changes if not change.channel.startswith(_ROUTING)]
    lines += [f"{_INDENT}{line}" for change in changes for line in _change_lines(change)]
    if entry.carried:
        lines.append(f"{_INDENT}carried: {', '.join(entry.carried)}")
    return [*lines, *(f"{_INDENT}{line}" for line in _detail_lines(entry))]


def _place(entry: AuditEntry) -> str:
    return f"{entry.thread_id} / {entry.checkpoint_ns}" if entry.checkpoint_ns else f"{entry.thread_id}"


def _change_lines(change: ChannelChange) -> Iterator[str]:
    name = change.channel
    if change.how == "gone":
        yield f"{name}: gone"
    elif change.how == "added":
        if change.removed:
            yield f"{name}: {change.removed} removed at {change.at}"
        yield from (f"{name} + {preview(value)}" for value in change.added[:_MOST])
        if len(change.added) > _MOST:
            yield f"{name} + {len(change.added) - _MOST} more"
    elif change.how == "keys":
        for key in list(change.keys_set)[:_MOST]:
            yield f"{name}[{key}] = {preview(change.keys_set[key])}"
        if len(change.keys_set) > _MOST:
            yield f"{name}: {len(change.keys_set) - _MOST} more keys set"
        if change.keys_removed:
            yield f"{name}: removed {preview(list(change.keys_removed))}"
        if not change.keys_set and not change.keys_removed:
            yield f"{name}: its keys are in another order"
    elif change.how == "changed":
        before, after = preview_of_change(change.before, change.value)
        yield f"{name} - {before}"
        yield f"{name} + {after}"
    else:
        yield f"{name} {'=' if change.how == 'new' else '<-'} {preview(change.value)}"


def _detail_lines(entry: AuditEntry) -> Iterator[str]:
    details = dict(entry.details)
    if entry.kind == "erased":
        first, last = details["positions"]
        yield f"events {first} to {last} have been erased" if first < last else "this event has been erased"
        return
    removals = details.pop("removals", ())
    for name, value in details.items():
        if value not in (None, [], {}):
            yield f"{name}: {preview(value)}"
    for removal in removals:
        where = " / ".join(filter(None, (removal["thread_id"], removal["checkpoint_ns"])))
        yield f"{where}: {len(removal['removed'])} checkpoints removed, {len(removal['hidden'])} hidden"


def state_json(state: StateAt) -> dict[str, Any]:
    """Give a state as JSON has it; its shape is in tools/docs/audit.md."""
    return {
        "thread_id": state.thread_id,
        "position": state.position,
        "recorded_at": None if state.recorded_at is None else state.recorded_at.isoformat(),
        "exists": state.exists,
        "name": state.name,
        "metadata": jsonable(state.metadata),
        "complete": not state.incomplete,
        "incomplete": [list(positions) for positions in state.incomplete],
        "namespaces": [_namespace_json(namespace) for namespace in state.namespaces],
    }


def _namespace_json(state: NamespaceState) -> dict[str, Any]:
    found = state.latest
    checkpoint: Mapping[str, Any] = found.checkpoint
    parent = found.parent_config or {}
    return {
        "checkpoint_ns": state.checkpoint_ns,
        "checkpoint_id": checkpoint["id"],
        "parent_id": parent.get("configurable", {}).get("checkpoint_id"),
        "ts": checkpoint.get("ts"),
        "checkpoints": state.checkpoints,
        "metadata": jsonable(found.metadata),
        "values": jsonable(checkpoint["channel_values"]),
        "pending_writes": [
            {"task_id": task_id, "channel": channel, "value": jsonable(value)}
            for task_id, channel, value in found.pending_writes or ()
        ],
        "rebuilt": {
            name: {
                **({"seed": jsonable(history["seed"])} if "seed" in history else {}),
                "writes": [jsonable(value) for _, _, value in history["writes"]],
            }
            for name, history in state.rebuilt.items()
        },
    }


def state_lines(state: StateAt) -> list[str]:
    """Give a state: each namespace's latest checkpoint, its values, a line for each element, and its pending writes."""
    when = "" if state.recorded_at is None else f", {state.recorded_at:%Y-%m-%d %H:%M:%S.%f} UTC"
    title = state.thread_id if state.name is None else f"{state.thread_id} ({state.name})"
    lines = [f"{title} after event {state.position}{when}"]
    if state.incomplete:
        ranges = ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in state.incomplete)
        lines.append(f"{WARNED[1]}: of the events before it, {ranges} have been erased, and may have been about it")
    if not state.exists:
        lines.append("there was no such thread")
    for namespace in state.namespaces:
        lines += _namespace_lines(namespace)
    return lines


def _namespace_lines(state: NamespaceState) -> Iterator[str]:
    found = state.latest
    checkpoint: Mapping[str, Any] = found.checkpoint
    metadata: Mapping[str, Any] = found.metadata
    yield ""
    yield f"namespace {state.checkpoint_ns!r}, checkpoint {checkpoint['id']}, one of {state.checkpoints}"
    known = {name: metadata[name] for name in ("step", "source", "run_id") if metadata.get(name) is not None}
    yield f"  {', '.join(f'{name} {value}' for name, value in known.items())}"
    for name, value in checkpoint["channel_values"].items():
        if not name.startswith(_ROUTING):
            yield from _value_lines(name, value)
    for name, history in state.rebuilt.items():
        yield f"  {name}: rebuilt from"
        if "seed" in history:
            yield f"    {preview(history['seed'])}"
        yield from (f"    + {preview(value)}" for _, _, value in history["writes"])
    for task_id, channel, value in found.pending_writes or ():
        if not channel.startswith(_ROUTING):
            yield f"  pending, of task {task_id}: {channel} <- {preview(value)}"


def _value_lines(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, list) and value:
        yield f"  {name}:"
        yield from (f"    {preview(element)}" for element in value)
    elif isinstance(value, dict) and value:
        yield f"  {name}:"
        yield from (f"    {json.dumps(str(key), ensure_ascii=False)}: {preview(item)}" for key, item in value.items())
    else:
        yield f"  {name}: {preview(value)}"
