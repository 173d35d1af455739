"""What is known of a checkpoint's values, so that the next checkpoint's can be differences to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from sys import getsizeof
from typing import Any

from langgraph.checkpoint.serde.base import CipherProtocol, SerializerProtocol

from ..eventlog.value import Slice, Whole
from .snapshot import Snapshot

__all__ = ["NOTHING", "Form", "Known", "KnownValue"]

# In the place of an object, since None is one.
NOTHING: Any = object()


class Form(Enum):
    """How a value is taken apart."""

    WHOLE = "whole"
    LIST = "list"
    DICT = "dict"


@dataclass(frozen=True, slots=True)
class KnownValue:
    """What is known of a stored value.

    Attributes:
        at: the event that stores it; None: the one that stores the checkpoint.
        form: how it is taken apart.
        keys: of a dict; () otherwise.
        elements: as they were serialised, before encryption if this process did that; of a value in one piece, that.
        size: about how many bytes it takes in a record, in full.
        keyframe: what the last value stored in full weighs.
        since: what the differences since then weigh.
        patches: how many of these are patches.
        cipher: encrypted what is stored, and not `elements`; None: nothing did.
        given: the object that it was made of, if that can never change in place.
        snapshot: of the list that it was made of, if one was taken.
    """

    at: int | None
    form: Form
    keys: tuple[str, ...]
    elements: tuple[Whole, ...]
    size: int
    keyframe: int
    since: int
    patches: int
    cipher: CipherProtocol | None = None
    given: Any = NOTHING
    snapshot: Snapshot | None = None

    @property
    def memory(self) -> int:
        """About how many bytes it takes in memory."""
        snapshot = 0 if self.snapshot is None else self.snapshot.size + 8 * len(self.snapshot.types)
        # A str may take four times the bytes that it is serialised to.
        given = 0 if self.given is NOTHING else getsizeof(self.given)
        return 400 + self.size + snapshot + given + 130 * len(self.elements) + 60 * len(self.keys)


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
        return 600 + sum(value.memory for value in (*self.channels.values(), *self.fields.values()))
