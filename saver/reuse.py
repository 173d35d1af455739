"""What this process knows of values that are stored already, so that a put can refer to them.

Knows hashes, and the bytes that a patch may be made against; says "the same" only of the same serialised bytes. Filled
from what has been committed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from langgraph.checkpoint.serde.base import SerializerProtocol

from .differences import Known

__all__ = ["Reuse"]

_MAX_BYTES = 64 * 1024 * 1024


class Reuse:
    """The last checkpoints put or looked up, by (thread_id, checkpoint_ns, checkpoint_id).

    The least recently used go first.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a child process for instance."""
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str, str], Known] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[str, str, str], serde: SerializerProtocol) -> Known | None:
        """Give what is known of a checkpoint under this very serializer."""
        with self._lock:
            known = self._known.get(key)
            if known is None or known.serde is not serde:
                return None
            self._known.move_to_end(key)
            return known

    def remember(self, key: tuple[str, str, str], known: Known) -> None:
        """Take in what has been committed."""
        size = known.memory
        with self._lock:
            old = self._known.pop(key, None)
            self._bytes += size - (0 if old is None else old.memory)
            self._known[key] = known
            while self._bytes > _MAX_BYTES and len(self._known) > 1:
                _, dropped = self._known.popitem(last=False)
                self._bytes -= dropped.memory
