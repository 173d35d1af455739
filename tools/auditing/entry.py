"""What a replay gives: an entry for each event, and in it a change for each channel that the event says anything of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..jsonable import jsonable
from .preview import preview, preview_of_change

__all__ = ["AuditEntry", "ChannelChange"]


@dataclass(frozen=True, slots=True)
class ChannelChange:
    """What an event says of one channel.

    Attributes:
        channel: its name.
        how: "new": the parent checkpoint has no such channel, or there is no parent that can be read; "added": a list
            has got or lost elements; "keys": a dict's keys were set or removed; "changed": another value; "gone": the
            parent has it, the checkpoint does not; "written": a task wrote it.
        value: of "new", "changed" and "written", decoded.
        before: of "changed", what the parent holds.
        at: of "added", the place of the first element that is new or was lost.
        added: of "added", the elements that are new, decoded.
        removed: of "added", how many elements of the parent's list are gone from that place.
        keys_set: of "keys", the items that are new or have another value, decoded.
        keys_removed: of "keys".
        idx: of "written", the write's place in its batch; negative for LangGraph's special channels.
    """

    channel: str
    how: str
    value: Any = None
    before: Any = None
    at: int | None = None
    added: tuple[Any, ...] = ()
    removed: int = 0
    keys_set: Mapping[str, Any] = field(default_factory=dict)
    keys_removed: tuple[str, ...] = ()
    idx: int | None = None

    def values(self) -> list[Any]:
        """Give the values that are new with this event."""
        return [*self.added, *self.keys_set.values(), *([self.value] if self.how in _WITH_VALUE else [])]

    def as_json(self, *, values: bool = False) -> dict[str, Any]:
        """Give it as JSON has it: values in few words, or with `values` whole."""
        show = jsonable if values else preview
        document: dict[str, Any] = {"channel": self.channel, "how": self.how}
        if self.how == "added":
            document |= {"at": self.at, "added": [show(value) for value in self.added], "removed": self.removed}
        elif self.how == "keys":
            document["set"] = {key: show(value) for key, value in self.keys_set.items()}
            document["removed"] = list(self.keys_removed)
        elif self.how == "changed":
            whole = (jsonable(self.before), jsonable(self.value))
            document["before"], document["value"] = whole if values else preview_of_change(self.before, self.value)
        elif self.how in _WITH_VALUE:
            document["value"] = show(self.value)
            if self.idx is not None:
                document["idx"] = self.idx
        return document


_WITH_VALUE = frozenset({"new", "changed", "written"})


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that happened, as the log has it.

    Attributes:
        position: of the event.
        recorded_at: UTC, by the clock of the process that appended it; None of what is not there any more.
        kind: which call: "put", "put_writes", "delete_thread", "delete_for_runs", "prune", "copy", "thread", "import",
            "carry", "compaction", "restate", "restate_writes"; "erased": events that are not there any more, from
            `position` on; "damaged": an event that cannot be read.
        thread_id: the thread it is about; None: the whole log.
        checkpoint_ns: the namespace it is about; None: the whole log.
        checkpoint_id: of a put or restate, the checkpoint; of a put_writes or restate_writes, the one that
            the writes are at.
        parent_id: of a put or restate.
        run_id: of a put, as its metadata says; of a put_writes, that of the checkpoint which it is at.
        step, source: of a put, as its metadata says.
        nodes: of a put, the nodes that ran since its parent; of a put_writes, the one that wrote. () if that cannot be
            told; see `nodes`.
        task_id: of a put_writes or restate_writes.
        changes: what the event says of channels, but for those carried.
        carried: the channels that hold what the parent's do.
        details: what there is to say of other kinds, plain data; see tools/docs/audit.md.
        size: bytes of its record; of "erased", how many events.
        problem: why something of it could not be read; None: all could.
    """

    position: int
    recorded_at: datetime | None
    kind: str
    thread_id: str | None = None
    checkpoint_ns: str | None = None
    checkpoint_id: str | None = None
    parent_id: str | None = None
    run_id: str | None = None
    step: int | None = None
    source: str | None = None
    nodes: tuple[str, ...] = ()
    task_id: str | None = None
    changes: tuple[ChannelChange, ...] = ()
    carried: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0
    problem: str | None = None

    def as_json(self, *, values: bool = False) -> dict[str, Any]:
        """Give it as JSON has it: without what is None or empty; values in few words, or with `values` whole."""
        facts = {
            "position": self.position,
            "recorded_at": None if self.recorded_at is None else self.recorded_at.isoformat(),
            "kind": self.kind,
            "thread_id": self.thread_id,
            "checkpoint_ns": self.checkpoint_ns,
            "checkpoint_id": self.checkpoint_id,
            "parent_id": self.parent_id,
            "run_id": self.run_id,
            "step": self.step,
            "source": self.source,
            "nodes": list(self.nodes),
            "task_id": self.task_id,
            "changes": [change.as_json(values=values) for change in self.changes],
            "carried": list(self.carried),
            "details": jsonable(self.details),
            "size": self.size,
            "problem": self.problem,
        }
        always = ("position", "recorded_at", "kind", "checkpoint_ns")
        return {name: fact for name, fact in facts.items() if name in always or fact not in (None, [], {})}
