"""What a process keeps of what it has put and read: bytes, which never change, and what makes clones of objects.

Bounded. Nothing in it is ever handed to a caller. Of what a caller has given, and may change, it holds messages and
documents alone: to see, when they come again, whether they are the same ones, as they were.
"""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ..eventlog.bounded import Bounded
from ..eventlog.opened import OpenedRecord
from ..eventlog.resolve import ResolvedValues
from .clones import Clones
from .decoder import Decoder, Given
from .known import KnownCheckpoints
from .similar import SimilarWrites
from .unpacking import is_usual

__all__ = ["Memory"]


class Memory:
    """What has been put into one log, and read from it.

    Args:
        max_bytes: what all of it may take, about; 0: nothing is kept.

    Attributes:
        max_bytes: as given.
        known: of the checkpoints that were put last.
        similar: of put_writes, what later ones may be patches to.
        records: by position. An event that is there never changes; one that was erased is not asked for again.
        values: what values came to.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a child process for instance."""
        self.known = KnownCheckpoints(self.max_bytes * 7 // 16)
        self.similar = SimilarWrites(self.max_bytes // 16)
        self.records: Bounded[int, OpenedRecord] = Bounded(self.max_bytes // 16)
        self.values: ResolvedValues = Bounded(self.max_bytes * 3 // 16)
        self._clones: WeakKeyDictionary[JsonPlusSerializer, Clones] = WeakKeyDictionary()
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """About how many bytes all of it takes."""
        with self._lock:
            clones = sum(clones.used_bytes for clones in self._clones.values())
        parts = (self.known, self.similar, self.records, self.values)
        return sum(part.used_bytes for part in parts) + clones

    def decoder(self, serde: SerializerProtocol, *, at_once: bool = False, given: Given | None = None) -> Decoder:
        """Give what decodes with this very serializer, and clones what that decoded before.

        With `at_once`, an object is expected to be needed again when it is decoded first. What is given is held for a
        while by `given`.
        """
        clones = self._clones_of(serde)
        if clones is not None:
            clones.settle()
        return Decoder(serde, clones, at_once=at_once, given=given)

    def _clones_of(self, serde: SerializerProtocol) -> Clones | None:
        if not is_usual(serde):
            return None
        with self._lock:
            found = self._clones.pop(serde, None) or Clones(self.max_bytes // 4)
            self._make_room()
            self._clones[serde] = found  # as the last one: it was used last
            return found

    def _make_room(self) -> None:
        """Let go of the clones of the serializers that were not used for longest: each clone of a saver has its own."""
        others = list(self._clones.items())
        used = sum(clones.used_bytes for _, clones in others)
        for serde, clones in others:
            if used <= self.max_bytes // 4:
                break
            del self._clones[serde]
            used -= clones.used_bytes
