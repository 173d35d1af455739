"""An event turned into an entry: what it says, decoded, and what can be told of it from other events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import apsw

from ...eventlog.delta import weight_of_value
from ...eventlog.errors import CorruptRecordError, EventLogError
from ...eventlog.event import (
    Carry,
    Compaction,
    Copy,
    DeleteForRuns,
    DeleteThread,
    EventData,
    Field,
    Import,
    Kind,
    Prune,
    Put,
    PutWrites,
    RecordedEvent,
    Removal,
    Restate,
    RestateWrites,
    Thread,
    put_of,
    stored_in,
)
from ...eventlog.value import Value
from ...saver import EventLogSaver
from ...saver.decoder import Decoder
from ...saver.serialising import load_metadata
from ..times import recorded_time
from ..undecoded import UndecodedSerializer
from .changes import ValueReader
from .entry import AuditEntry
from .lineage import Found, Lineage
from .nodes import SENDS, node_of_path, nodes_in_metadata, nodes_sent_to, nodes_that_saw

__all__ = ["Explainer", "kind_name", "time_of"]


def kind_name(kind: Kind) -> str:
    """Give the word for a kind of event, as FORMAT.md has it."""
    return kind.name.lower()


def time_of(event: RecordedEvent) -> datetime:
    """Give when an event was recorded; a clock that was very wrong gives the earliest or latest time there is."""
    try:
        return recorded_time(event.recorded_at)
    except OverflowError:
        edge = datetime.max if event.recorded_at > 0 else datetime.min
        return edge.replace(tzinfo=recorded_time(0).tzinfo)


class _CountingDecoder(Decoder):
    """Counts what it decodes."""

    decoded_bytes = 0

    def value(self, value: Value) -> Any:
        """Give the object that a value stands for."""
        self.decoded_bytes += weight_of_value(value)
        return super().value(value)


class Explainer:
    """Explains events, best in the order of the log: what was put last is remembered.

    Args:
        saver: the log, its projections, and the serializer that decodes.
    """

    def __init__(self, saver: EventLogSaver) -> None:
        serde = saver.serde
        self.serde = serde if isinstance(serde, UndecodedSerializer) else UndecodedSerializer(serde)
        self._decoder = _CountingDecoder(self.serde, None)
        self.reader = ValueReader(saver.log, self._decoder)
        self.lineage = Lineage(saver.log, saver._core.views, self.reader)

    @property
    def decoded_bytes(self) -> int:
        """How much it has decoded of values: about what its entries hold."""
        return self._decoder.decoded_bytes

    def explain(self, connection: apsw.Connection, event: RecordedEvent, *, in_full: bool = True) -> AuditEntry:
        """Give the entry of an event. What cannot be read of it is left out, and named as its `problem`.

        The event has to be there in the caller's transaction: then what it refers to is there as well.

        Without `in_full`, its changes and nodes are left out: which costs next to nothing, and it must be called for
        every event all the same.
        """
        entry = AuditEntry(
            position=event.position,
            recorded_at=time_of(event),
            kind=kind_name(event.kind),
            thread_id=event.thread_id,
            checkpoint_ns=event.checkpoint_ns,
            size=event.size,
        )
        try:
            return self._explained(connection, event, entry, in_full)
        except CorruptRecordError as e:
            why = e.reason if e.position == event.position else f"event {e.position}: {e.reason}"
            return replace(entry, problem=why)
        except EventLogError as e:
            return replace(entry, problem=str(e))

    def _explained(
        self, connection: apsw.Connection, event: RecordedEvent, entry: AuditEntry, in_full: bool
    ) -> AuditEntry:
        match event.data:
            case Put() | Restate():
                return self._put(connection, event, entry, in_full)
            case PutWrites():
                return self._put_writes(connection, event, event.data, entry, in_full)
            case RestateWrites(applied, ordinal, writes):  # they change nothing: the same writes in other bytes
                place = {"applied": applied, "ordinal": ordinal}
                return replace(entry, checkpoint_id=writes.checkpoint_id, task_id=writes.task_id, details=place)
            case Copy() if event.thread_id is not None:
                self.lineage.remember_copied(connection, event.thread_id, event.data)
        return replace(entry, details=_details(event.data))

    def _put(self, connection: apsw.Connection, event: RecordedEvent, entry: AuditEntry, in_full: bool) -> AuditEntry:
        put = put_of(event.data)
        assert put is not None
        assert event.stream is not None
        self.lineage.remember(event.stream, put.checkpoint_id, event.position)
        metadata = load_metadata(self.serde, put.metadata)
        metadata = metadata if isinstance(metadata, dict) else {}
        step, source = metadata.get("step"), metadata.get("source")
        entry = replace(
            entry,
            checkpoint_id=put.checkpoint_id,
            parent_id=put.parent_id,
            run_id=_text(metadata.get("run_id")),
            step=step if type(step) is int else None,
            source=_text(source),
        )
        if isinstance(event.data, Restate):  # it changes nothing: the same checkpoint in other bytes
            return replace(entry, details={"hidden": event.data.hidden})
        if not in_full:
            return entry
        parent = self._parent(connection, event.stream, put, event.position)
        changes, carried = self.reader.of_put(connection, event.position, put, parent)
        nodes = tuple(self._nodes(connection, event.position, put, parent, metadata))
        details = {"parent": "not found"} if put.parent_id is not None and parent is None else {}
        return replace(entry, changes=changes, carried=carried, nodes=nodes, details=details)

    def _parent(self, connection: apsw.Connection, stream: int, put: Put, position: int) -> Found | None:
        if put.parent_id is None:
            return None
        try:
            return self.lineage.find(connection, stream, put.parent_id, position)
        except CorruptRecordError:
            return None  # it has an entry of its own, which says so

    def _put_writes(
        self, connection: apsw.Connection, event: RecordedEvent, data: PutWrites, entry: AuditEntry, in_full: bool
    ) -> AuditEntry:
        assert event.stream is not None
        try:
            found = self.lineage.find(connection, event.stream, data.checkpoint_id, event.position)
        except CorruptRecordError:
            found = None
        metadata = {} if found is None else load_metadata(self.serde, found.put.metadata)
        run_id = _text(metadata.get("run_id")) if isinstance(metadata, dict) else None
        entry = replace(entry, checkpoint_id=data.checkpoint_id, task_id=data.task_id, run_id=run_id)
        if not in_full:
            return entry
        node = node_of_path(data.task_path)
        if isinstance(node, int):
            sent = [] if found is None else nodes_sent_to(self._sends(connection, found))
            node = sent[node] if node < len(sent) else None
        return replace(entry, nodes=() if node is None else (node,), changes=self.reader.of_writes(data))

    def _sends(self, connection: apsw.Connection, found: Found) -> Any:
        stored = stored_in(found.put, Field("channel", SENDS))
        if stored is None:
            return None
        resolver = self.reader.resolver(connection)
        return self.reader.decoder.value(resolver.channel(found.position, SENDS, stored))

    def _nodes(
        self, connection: apsw.Connection, position: int, put: Put, parent: Found | None, metadata: Mapping[str, Any]
    ) -> list[str]:
        nodes = nodes_in_metadata(metadata)
        if parent is not None and put.versions_seen != parent.put.versions_seen:
            resolver, value = self.reader.resolver(connection), self.reader.decoder.value
            seen = value(resolver.versions_seen(position, put))
            nodes += nodes_that_saw(seen, value(resolver.versions_seen(parent.position, parent.put)))
        if parent is not None and metadata.get("source") == "loop":
            nodes += nodes_sent_to(self._sends(connection, parent))
        return list(dict.fromkeys(filter(None, nodes)))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _details(data: EventData) -> dict[str, Any]:
    """Give what an event says that is about no single checkpoint."""
    match data:
        case DeleteThread():
            return {"checkpoints": data.checkpoints, "writes": data.writes}
        case DeleteForRuns():
            return {"run_ids": list(data.run_ids), "removals": _removals(data.removals)}
        case Prune():
            return {
                "strategy": data.strategy,
                "deleted_threads": list(data.deleted_threads),
                "removals": _removals(data.removals),
            }
        case Copy():
            return {
                "how": data.how,
                "source_thread_id": data.source_thread_id,
                "from_checkpoint_id": data.from_checkpoint_id,
                "streams": [
                    {"checkpoint_ns": s.checkpoint_ns, "checkpoints": len(s.checkpoints), "writes": len(s.writes)}
                    for s in data.streams
                ],
                "metadata": None if data.metadata is None else dict(data.metadata),
            }
        case Thread():
            return {"name": data.name, "metadata": dict(data.metadata)}
        case Import():
            return {
                "source": dict(data.source),
                "positions": [list(positions) for positions in data.imported],
                "checkpoints": data.checkpoints,
                "writes": data.writes,
            }
        case Carry():
            return {"projection": data.projection, "facts": data.facts}
        case Compaction():
            erased = [list(positions) for positions in data.erased]
            return {"policy": dict(data.policy), "erased": erased, "bytes": data.bytes}
    return {}


def _removals(removals: Sequence[Removal]) -> list[dict[str, Any]]:
    return [
        {
            "thread_id": removal.thread_id,
            "checkpoint_ns": removal.checkpoint_ns,
            "removed": list(removal.removed),
            "hidden": list(removal.hidden),
        }
        for removal in removals
    ]
