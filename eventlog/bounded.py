"""A memory of a bounded size: the entries added last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["Bounded", "Recent"]

K = TypeVar("K")
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """Keeps the entries added last, up to `max_bytes` by their declared sizes.

    Usable from any thread.
    """

    _at_least = 0  # so many are kept whatever their sizes

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._sizes: dict[K, int] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """What the entries declare together."""
        return self._bytes

    def get(self, key: K) -> V | None:
        """Give the entry, None if it is not there (any more)."""
        return self._entries.get(key)

    def get_all(self, keys: Iterable[K]) -> list[V | None]:
        """Do what `get` does, for several."""
        return list(map(self._entries.get, keys))

    def add(self, key: K, value: V, size: int) -> None:
        """Add an entry of about so many bytes, in the place of the one of that key."""
        with self._lock:
            self._entries.pop(key, None)
            self._bytes += size - self._sizes.get(key, 0)
            self._entries[key], self._sizes[key] = value, size
            while self._bytes > self._max_bytes and len(self._entries) > self._at_least:
                dropped, _ = self._entries.popitem(last=False)
                self._bytes -= self._sizes.pop(dropped)


class Recent(Bounded[K, V]):
    """What a short-lived reader has found, in front of a memory that outlives it, and that may be smaller, or none.

    Keeps the entry added last whatever its size: one large record is asked for many of its parts in a row.

    Args:
        max_bytes: what its own entries may take, by their declared sizes.
        behind: what is asked, and added to, too.
    """

    _at_least = 1

    def __init__(self, max_bytes: int, behind: Bounded[K, V] | None = None) -> None:
        super().__init__(max_bytes)
        self._behind = behind

    def get(self, key: K) -> V | None:
        """Give the entry, None if it is in neither (any more)."""
        found = self._entries.get(key)
        return found if found is not None or self._behind is None else self._behind._entries.get(key)

    def get_all(self, keys: Iterable[K]) -> list[V | None]:
        """Do what `get` does, for several."""
        return [self.get(key) for key in keys]

    def add(self, key: K, value: V, size: int) -> None:
        """Add an entry to both."""
        super().add(key, value, size)
        if self._behind is not None:
            self._behind.add(key, value, size)
