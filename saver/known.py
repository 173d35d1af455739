"""What is known of a checkpoint's values, so that the next checkpoint's can be differences to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from langgraph.checkpoint.serde.base import SerializerProtocol

from ..eventlog.value import Slice
from .parts import Parts

__all__ = ["Known", "KnownValue"]


@dataclass(frozen=True, slots=True)
class KnownValue:
    """What is known of a stored value.

    Attributes:
        at: the event that stores it; None: the one that stores the checkpoint.
        parts: the value.
        keyframe: what the last value stored in full weighs.
        since: what the differences since then weigh.
        patches: how many of these are patches.
    """

    at: int | None
    parts: Parts
    keyframe: int
    since: int = 0
    patches: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """A checkpoint's values, channels' and its own maps', as they were made by one serializer.

    Attributes:
        serde: that serializer; of another's values nothing is known.
        position: the event that stores the checkpoint.
        channels: their values, by name.
        fields: the checkpoint's own maps, by name.
        written: serialised values that stand in put_writes of the checkpoint, and where.
    """

    serde: SerializerProtocol
    position: int
    channels: Mapping[str, KnownValue]
    fields: Mapping[str, KnownValue]
    written: Mapping[bytes, Slice] = field(default_factory=dict)

    def at(self, value: KnownValue) -> int:
        """Give the event that stores one of its values."""
        return self.position if value.at is None else value.at

    def with_written(self, written: Mapping[bytes, Slice]) -> Known:
        """Give the same with other `written`."""
        return Known(self.serde, self.position, self.channels, self.fields, written)

    @property
    def memory(self) -> int:
        """About how many bytes it takes in memory, without what is `written`."""
        return 600 + sum(200 + v.parts.memory for v in (*self.channels.values(), *self.fields.values()))
