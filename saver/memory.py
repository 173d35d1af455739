"""What a process keeps of what it has read: bytes, which never change, and what makes clones of decoded objects.

Bounded. Holds nothing that a caller was given, or will be.
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
from .decoder import Decoder

__all__ = ["Memory"]

_MAX_BYTES_OF_RECORDS = 4 * 1024 * 1024
_MAX_BYTES_OF_VALUES = 16 * 1024 * 1024


class Memory:
    """What has been read of one log.

    Args:
        at_once: whether an object is expected to be needed again when it is decoded first.

    Attributes:
        records: by position. An event that is there never changes; one that was erased is not asked for again.
        values: what values came to.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self._at_once = at_once
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a child process for instance."""
        self.records: Bounded[int, OpenedRecord] = Bounded(_MAX_BYTES_OF_RECORDS)
        self.values: ResolvedValues = Bounded(_MAX_BYTES_OF_VALUES)
        self._clones: WeakKeyDictionary[JsonPlusSerializer, Clones] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def decoder(self, serde: SerializerProtocol) -> Decoder:
        """Give what decodes with this very serializer, and clones what that decoded before."""
        return Decoder(serde, self._clones_of(serde))

    def _clones_of(self, serde: SerializerProtocol) -> Clones | None:
        if not isinstance(serde, JsonPlusSerializer) or type(serde) is not JsonPlusSerializer:
            return None
        # Given a hook of its own, it makes of the bytes whatever that gives.
        if getattr(serde, "_custom_unpack_ext_hook", True):
            return None
        with self._lock:
            found = self._clones.get(serde)
            if found is None:
                found = self._clones[serde] = Clones(at_once=self._at_once)
            return found
