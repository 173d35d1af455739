"""Events: what is asked to be appended, what has been recorded, and the data of each kind.

Numbers of kinds are persisted. What an event does to the projections is not said here. What is made for each append
is a named tuple: a frozen dataclass takes several times as long to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from .value import Stored, Whole

__all__ = [
    "ERASABLE",
    "Carry",
    "Compaction",
    "CopiedStream",
    "Copy",
    "DeleteForRuns",
    "DeleteThread",
    "EventData",
    "Field",
    "Head",
    "Import",
    "Kind",
    "NewEvent",
    "Prune",
    "Put",
    "PutWrites",
    "RecordedEvent",
    "Removal",
    "Restate",
    "RestateWrites",
    "Similar",
    "Thread",
    "Write",
    "put_of",
    "stored_in",
    "writes_of",
]


class Kind(IntEnum):
    """What an event is. Frozen: these numbers stand in files."""

    PUT = 1
    PUT_WRITES = 2
    DELETE_THREAD = 3
    DELETE_FOR_RUNS = 4
    PRUNE = 5
    COPY = 6
    THREAD = 7
    IMPORT = 8
    CARRY = 9
    COMPACTION = 10
    RESTATE = 11
    RESTATE_WRITES = 12


# What may be erased: the kinds that hold values, and those that say of a thread or a user's projection what a later
# event makes of no account. Removing events stay for ever.
ERASABLE = (Kind.PUT, Kind.PUT_WRITES, Kind.COPY, Kind.THREAD, Kind.CARRY, Kind.RESTATE, Kind.RESTATE_WRITES)


class Put(NamedTuple):
    """A checkpoint. `metadata` is packed plain data; a parent is named, whether it exists or not."""

    checkpoint_id: str
    parent_id: str | None
    metadata: bytes
    channels: Mapping[str, Stored]
    channel_versions: Stored
    versions_seen: Stored
    frame: Mapping[str, Any]
    rest: Whole | None = None


class Write(NamedTuple):
    """One write of a task. `idx` is its place in the batch, or negative for a special channel."""

    channel: str
    idx: int
    value: Stored


class PutWrites(NamedTuple):
    """The writes of one task at a checkpoint, which may not be there yet."""

    checkpoint_id: str
    task_id: str
    task_path: str
    writes: tuple[Write, ...]


@dataclass(frozen=True, slots=True)
class DeleteThread:
    """Everything of the thread is gone; the counts say how much that was."""

    checkpoints: int
    writes: int


@dataclass(frozen=True, slots=True)
class Removal:
    """In one stream: checkpoints that are gone with their writes, and those that stay as ancestors only."""

    thread_id: str
    checkpoint_ns: str
    removed: tuple[str, ...]
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeleteForRuns:
    """The checkpoints of these runs are gone."""

    run_ids: tuple[str, ...]
    removals: tuple[Removal, ...]


@dataclass(frozen=True, slots=True)
class Prune:
    """Threads that are gone whole, and checkpoints that are."""

    strategy: str
    deleted_threads: tuple[str, ...]
    removals: tuple[Removal, ...]


@dataclass(frozen=True, slots=True)
class CopiedStream:
    """What of one namespace is copied.

    Puts as (checkpoint_id, position, hidden), put_writes as (checkpoint_id, position).
    """

    checkpoint_ns: str
    checkpoints: tuple[tuple[str, int, bool], ...]
    writes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """Events that from now on also stand in the target thread. `how` is "copy" or "fork"."""

    how: str
    source_thread_id: str
    from_checkpoint_id: str | None
    streams: tuple[CopiedStream, ...]
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread's name and metadata from now on, whole."""

    name: str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Import:
    """The events at these positions, (first, last) ranges, came from elsewhere."""

    source: Mapping[str, Any]
    imported: tuple[tuple[int, int], ...]
    checkpoints: int
    writes: int


@dataclass(frozen=True, slots=True)
class Carry:
    """Facts of a projection that outlive the events they came from."""

    projection: str
    facts: Any


@dataclass(frozen=True, slots=True)
class Compaction:
    """Positions erased in this event's own transaction, as (first, last) ranges."""

    policy: Mapping[str, Any]
    erased: tuple[tuple[int, int], ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Restate:
    """The same checkpoint in other bytes, so that those it was made of can be erased."""

    hidden: bool
    put: Put


@dataclass(frozen=True, slots=True)
class RestateWrites:
    """The same writes in other bytes; in the place that the projection `pending_writes` has them in."""

    applied: int
    ordinal: int
    writes: PutWrites


EventData = (
    Put
    | PutWrites
    | DeleteThread
    | DeleteForRuns
    | Prune
    | Copy
    | Thread
    | Import
    | Carry
    | Compaction
    | Restate
    | RestateWrites
)


def put_of(data: EventData | None) -> Put | None:
    """Give the checkpoint that an event holds, put or restated; None if it holds none."""
    if isinstance(data, Restate):
        return data.put
    return data if isinstance(data, Put) else None


def writes_of(data: EventData | None) -> PutWrites | None:
    """Give the writes that an event holds, put or restated; None if it holds none."""
    if isinstance(data, RestateWrites):
        return data.writes
    return data if isinstance(data, PutWrites) else None


class Field(NamedTuple):
    """Names a value in an event.

    Attributes:
        what: "channel", "channel_versions" or "versions_seen" of a put or restate, "write" of a put_writes.
        key: the channel's name, or the write's slot.
    """

    what: str
    key: str | int = ""


def stored_in(data: EventData | None, field: Field) -> Stored | None:
    """Give a value of an event as it is stored there; None if the event has no such value."""
    if field.what == "write":
        if not isinstance(data, PutWrites) or not isinstance(field.key, int) or field.key >= len(data.writes):
            return None
        return data.writes[field.key].value
    put = put_of(data)
    if put is None:
        return None
    if field.what == "channel":
        return put.channels.get(str(field.key))
    return put.channel_versions if field.what == "channel_versions" else put.versions_seen


@dataclass(frozen=True, slots=True)
class Similar:
    """An earlier put_writes that a new one may be stored as a patch to.

    Attributes:
        position: where it stands. Its own record is no patch.
        body: of its record.
        record_bytes: what its record takes.
        generation: the file's when it was appended, or before; None: it is not known.
    """

    position: int
    body: bytes = field(repr=False)
    record_bytes: int
    generation: int | None = None


class NewEvent(NamedTuple):
    """An event before it is recorded. `thread_id` None means the whole log.

    A thread-wide event has the namespace ''. If it is a put_writes, `similar` may name another. `generation` is the
    file's when it was found what this event refers to: under another, that may have been restated, and is not to be
    referred to any more. None: whatever is there may be referred to.
    """

    data: EventData
    thread_id: str | None = None
    checkpoint_ns: str = ""
    similar: Similar | None = None
    generation: int | None = None


class RecordedEvent(NamedTuple):
    """An event in the log.

    Attributes:
        position: its place: 1, 2, 3 ...
        recorded_at: UTC, microseconds since 1970-01-01, by the clock of the process that appended it.
        kind: what it is.
        thread_id: the thread it is about; None: the whole log.
        checkpoint_ns: the namespace it is about; "" for a thread-wide event, None for the whole log.
        data: what it says; values are opaque (tag, bytes) or references: `EventLog.values` resolves them.
        size: bytes of its record.
        digest: SHA-256 of its record.
        link: hash of everything up to it.
        stream: the file's key of (thread_id, checkpoint_ns): local to this file.
        thread: the file's key of thread_id: local to this file.
    """

    position: int
    recorded_at: int
    kind: Kind
    thread_id: str | None
    checkpoint_ns: str | None
    data: EventData
    size: int
    digest: bytes
    link: bytes
    stream: int | None = None
    thread: int | None = None

    def __repr__(self) -> str:
        """Leave out what nobody reads: what it says, which may be large, and hashes."""
        shown = ("position", "recorded_at", "kind", "thread_id", "checkpoint_ns", "size")
        return f"RecordedEvent({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


@dataclass(frozen=True, slots=True)
class Head:
    """The newest event's position and link; kept elsewhere, an anchor."""

    position: int
    link: bytes

    def __str__(self) -> str:
        return f"{self.position}:{self.link.hex()}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read what `str` gives, POSITION:HEX.

        Raises:
            ValueError: it is something else.
        """
        position, _, link = text.strip().partition(":")
        head = cls(int(position), bytes.fromhex(link))
        if head.position < 0 or len(head.link) != 32:
            raise ValueError(f"{text!r} is not POSITION:LINK with a link of 64 hexadecimal digits")
        return head
