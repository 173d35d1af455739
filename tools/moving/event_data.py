"""What an event says, as JSON: values decoded, as far as the event itself recorded them, and redacted."""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from ...eventlog.delta import weight_of_value
from ...eventlog.event import (
    Carry,
    Compaction,
    Copy,
    DeleteForRuns,
    DeleteThread,
    Import,
    Prune,
    Put,
    RecordedEvent,
    Restate,
    RestateWrites,
    Thread,
    put_of,
    writes_of,
)
from ...eventlog.resolve import Resolver, complete
from ...eventlog.value import Carried, Edit, Splice, Stored, Value
from ...saver.decoder import Decoder
from ...saver.serialising import load_metadata
from .redaction import Redaction

__all__ = ["EventValues"]

# Their data is shown as it is.
_WITHOUT_VALUES = (DeleteThread, DeleteForRuns, Prune, Copy, Thread, Import, Carry, Compaction)

Line = dict[str, Any]


class EventValues:
    """Gives what events say, as they are in the transaction that the resolver reads in.

    Args:
        serde: decodes values.
        resolver: puts them together.
        redaction: what is taken out.

    Attributes:
        shown_bytes: how much of values has been given, about, before they were decoded.
    """

    def __init__(self, serde: SerializerProtocol, resolver: Resolver, redaction: Redaction) -> None:
        self._serde = serde
        self._resolver = resolver
        self._redaction = redaction
        self._decoder = Decoder(serde, None)
        self.shown_bytes = 0

    def shown(self, event: RecordedEvent) -> Line:
        """Give what an event says.

        Raises:
            LogDamagedError: it, or an event that it refers to, is damaged.
        """
        data = event.data
        put = put_of(data)
        if put is not None:
            hidden = {"hidden": data.hidden} if isinstance(data, Restate) else {}
            return {**hidden, **self._put(event.position, put)}
        writes = writes_of(data)
        if writes is not None:
            place = {"applied": data.applied, "ordinal": data.ordinal} if isinstance(data, RestateWrites) else {}
            return {
                **place,
                "checkpoint_id": writes.checkpoint_id,
                "task_id": writes.task_id,
                "task_path": writes.task_path,
                "writes": [
                    {"channel": w.channel, "idx": w.idx, "value": self._shown(w.channel, complete(w.value))}
                    for w in writes.writes
                ],
            }
        if not isinstance(data, _WITHOUT_VALUES):
            return {"not_shown": type(data).__name__}  # what may hold values is not shown past the redaction
        shown: Line = self._redaction.of_other(data)
        return shown

    def _put(self, position: int, put: Put) -> Line:
        values = self._resolver.all_channels(position, put)
        versions = self._resolver.channel_versions(position, put)
        seen = self._resolver.versions_seen(position, put)
        self.shown_bytes += weight_of_value(versions) + weight_of_value(seen)
        rest = {} if put.rest is None else self._redaction.of_other(self._decoder.value(put.rest))
        metadata = load_metadata(self._serde, put.metadata)
        return {
            "checkpoint_id": put.checkpoint_id,
            "parent_id": put.parent_id,
            "metadata": self._redaction.of_other(metadata),
            **self._redaction.of_versions(put.frame),
            "channels": {name: self._channel(name, stored, values[name]) for name, stored in put.channels.items()},
            "channel_versions": self._redaction.of_versions(self._decoder.value(versions)),
            "versions_seen": self._redaction.of_versions(self._decoder.value(seen)),
            **({"rest": rest} if rest else {}),
        }

    def _channel(self, name: str, stored: Stored, value: Value) -> Line:
        """Give what an event stored of a channel: whole, or what differs from another event."""
        if isinstance(stored, Carried):
            return {"same_as": stored.base}
        if isinstance(stored, Splice) and isinstance(value, tuple):
            added = value[stored.prefix : len(value) - stored.suffix]
            kept = {"list_of": stored.base, "kept_first": stored.prefix, "kept_last": stored.suffix}
            return {**kept, "inserted": self._shown(name, added)}
        if isinstance(stored, Edit) and isinstance(value, dict):
            changed = {key: value[key] for key, _ in stored.changed}
            removed: Any = list(stored.removed)
            if self._redaction.takes_out(name):
                removed = self._redaction.redacted(removed)  # keys are part of the value
            return {"dict_of": stored.base, "removed": removed, "set": self._shown(name, changed)}
        return {"value": self._shown(name, value)}

    def _shown(self, channel: str, value: Value) -> Any:
        self.shown_bytes += weight_of_value(value)
        return self._redaction.of_channel(channel, self._decoder.value(value))
