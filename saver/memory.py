"""The memory of what has been put lately, so that the next put stores and serialises only what is new.

Bounded in bytes; what was used longest ago goes first. Filled from what has been committed. It never hands out objects,
nor bytes that another serializer made.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

from langgraph.checkpoint.serde.base import SerializerProtocol

from ..eventlog.value import Slice
from .known import Known

__all__ = ["Key", "Memory"]

# (thread_id, checkpoint_ns, checkpoint_id)
Key = tuple[str, str, str]
_BYTES_BESIDE_A_SLICE = 200


class Memory:
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

    def get(self, key: Key, serde: SerializerProtocol) -> Known | None:
        """Give what is known of a checkpoint under this very serializer."""
        with self._lock:
            found = self._known.get(key)
            if found is None or found[0].serde is not serde:
                return None
            self._known.move_to_end(key)
            return found[0]

    def remember(self, key: Key, known: Known, *, parent: Key | None = None) -> None:
        """Take in what has been committed; it takes its parent's place."""
        size = known.memory
        with self._lock:
            if parent is not None:
                self._forget(parent)
            self._forget(key)
            if size <= self._max_bytes:
                self._add(key, known, size)

    def remember_written(self, key: Key, serde: SerializerProtocol, written: Mapping[bytes, Slice]) -> None:
        """Take in where serialised values stand that a committed put_writes has stored at a checkpoint."""
        more = sum(len(data) + _BYTES_BESIDE_A_SLICE for data in written)
        with self._lock:
            found = self._known.get(key)
            if found is None or found[0].serde is not serde or found[1] + more > self._max_bytes:
                return
            known, size = found
            self._forget(key)
            # In place of the old one: another thread may be going through that.
            self._add(key, known.with_written({**known.written, **written}), size + more)

    def _add(self, key: Key, known: Known, size: int) -> None:
        self._known[key] = known, size
        self._bytes += size
        while self._bytes > self._max_bytes:
            _, (_, dropped) = self._known.popitem(last=False)
            self._bytes -= dropped

    def _forget(self, key: Key) -> None:
        found = self._known.pop(key, None)
        if found is not None:
            self._bytes -= found[1]
