"""What is known of the checkpoints that were put last, so that the next put stores and serialises only what is new.

Filled from what has been committed. Never holds bytes that another serializer made. Of objects that could change it
holds messages and documents alone, in a witness, which tells whether they have changed: they are looked at, by address,
and neither handed out, nor written to, nor serialised. What they take counts.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from ..eventlog.delta import Chain
from ..eventlog.event import PutWrites
from .parts import Parts
from .written import Written

__all__ = ["Key", "Known", "KnownCheckpoints", "KnownValue", "is_earlier"]

# (thread_id, checkpoint_ns, checkpoint_id)
Key = tuple[str, str, str]


@dataclass(slots=True)
class KnownValue:
    """What is known of a stored value. Never changed; not frozen, since several are made for each put.

    Attributes:
        at: the event that stores it; None: the one that stores the checkpoint.
        parts: the value.
        chain: what it is read from.
        read_bytes: about how many bytes of events were read, at most, for the checkpoint at which its run began.
    """

    at: int | None
    parts: Parts
    chain: Chain
    read_bytes: int = 0


@dataclass(slots=True, eq=False)
class Known:
    """A checkpoint's values, channels' and its own maps', as they were made by one serializer. Never changed.

    Attributes:
        serde: that serializer; of another's values nothing is known.
        position: the event that stores the checkpoint.
        channels: their values, by name.
        fields: the checkpoint's own maps, by name.
        read_bytes: about how many bytes of events are read for it, at most.
        generation: the file's when all this was true, or an earlier one. Once that has grown, the checkpoint, or what
            it refers to, may have been restated: what is stored from now on refers to nothing that is named here.
        written: serialised values that stand in put_writes of the checkpoint. Grows as these are appended.
    """

    serde: SerializerProtocol
    position: int
    channels: Mapping[str, KnownValue]
    fields: Mapping[str, KnownValue]
    read_bytes: int
    generation: int | None = None
    written: Written = field(default_factory=Written)

    def at(self, value: KnownValue) -> int:
        """Give the event that stores one of its values."""
        return self.position if value.at is None else value.at

    @property
    def memory(self) -> int:
        """About how many bytes it takes in memory, without what is `written`."""
        total = 600
        for values in (self.channels, self.fields):
            for value in values.values():
                parts = value.parts
                total += 500 + parts.size + 130 * len(parts.elements) + 60 * len(parts.keys)
                if parts.given_sizes:  # a str may take four times the bytes that it is serialised to
                    total += sum(parts.given_sizes) + 40 * len(parts.given_sizes)
                if parts.snapshot is not None:
                    total += parts.snapshot.memory
        return total


def is_earlier(generation: int | None, than: int | None) -> bool:
    """Tell whether what was known under one generation is of no use under another. None: none was counted."""
    return generation is not None and than is not None and generation < than


class KnownCheckpoints:
    """The newest checkpoints of the threads that were used last, one for each branch of a thread.

    Args:
        max_bytes: what they may take together; 0: remember nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a child process for instance."""
        self._lock = threading.Lock()
        self._known: OrderedDict[Key, tuple[Known, int]] = OrderedDict()
        self._bytes = 0

    @property
    def used_bytes(self) -> int:
        """About how many bytes it takes."""
        return self._bytes

    def get(self, key: Key, serde: SerializerProtocol, generation: int | None = None) -> Known | None:
        """Give what is known of a checkpoint under this very serializer, and not of an earlier generation."""
        gone: list[Known] = []
        with self._lock:
            found = self._known.get(key)
            if found is None or found[0].serde is not serde:
                return None
            if not is_earlier(found[0].generation, generation):
                self._known.move_to_end(key)
                return found[0]
            self._drop(key, gone)
            return None

    def remember(self, key: Key, known: Known, *, parent: Key | None = None) -> None:
        """Take in what has been committed; it takes its parent's place."""
        size = known.memory
        gone: list[Known] = []  # let go of without the lock: a message may hold anything, and that may come back here
        with self._lock:
            for replaced in (parent, key):
                if replaced is not None and replaced in self._known:
                    self._drop(replaced, gone)
            if size <= self._max_bytes:
                self._add(key, known, size, gone)

    def remember_written(
        self,
        key: Key,
        serde: SerializerProtocol,
        data: PutWrites,
        position: int,
        again: Iterable[tuple[int, tuple[Any, ...]]] = (),
    ) -> None:
        """Take in a committed put_writes at a checkpoint. `again`: see `Written.add`."""
        gone: list[Known] = []
        with self._lock:
            found = self._known.pop(key, None)
            if found is None:
                return
            known, size = found
            self._bytes -= size
            more = known.written.add(data, position, again) if known.serde is serde else 0
            self._add(key, known, size + more, gone)

    def _add(self, key: Key, known: Known, size: int, gone: list[Known]) -> None:
        self._known[key] = known, size
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._known)), gone)

    def _drop(self, key: Key, gone: list[Known]) -> None:
        known, size = self._known.pop(key)
        self._bytes -= size
        gone.append(known)
