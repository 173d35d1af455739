"""Clones of what was decoded before, instead of decoding it again: by its bytes, for one serializer."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any

from ..eventlog.bounded import Bounded
from .cloning import Maker, maker_of

__all__ = ["Clones"]

# What is larger is decoded again.
_MAX_BYTES_OF_ONE = 1024 * 1024
# A decoded object, and what makes clones of it, are several times as large as its bytes.
_SIZE_FACTOR = 6
_SIZE_OF_MAKER = 1_000
_SIZE_OF_SEEN = 200
# A list, dict or model takes so much, even if it is serialised to one byte.
_SIZE_OF_CONTAINER = 300


class Clones:
    """Makers of clones, by the msgpack bytes that were decoded. Usable from any thread.

    Making a maker takes as long as decoding: unless told to do so at once, it is made when an object is decoded the
    second time.

    Args:
        max_bytes: what they may take together, about.
    """

    def __init__(self, max_bytes: int) -> None:
        self._makers: Bounded[bytes, Maker] = Bounded(max_bytes * 3 // 4)
        # Decoded once; or of which there are no clones.
        self._seen = _Seen(max_bytes // 4)

    @property
    def used_bytes(self) -> int:
        """About how many bytes they take."""
        return self._makers.used_bytes + self._seen.used_bytes

    def settle(self) -> None:
        """Take note of what was decoded lately: whoever is about to decode again has to know it by then."""
        self._seen.settle()

    def maker(self, data: bytes) -> Maker | None:
        """Give what makes clones of what the bytes stand for, None if it has to be decoded."""
        return self._makers.get(data)

    def makers(self, several: Sequence[bytes]) -> list[Maker | None]:
        """Give the makers of several."""
        if not self._makers.used_bytes:
            return [None] * len(several)  # the first that a process reads: hashing it would take long for nothing
        return self._makers.get_all(several)

    def learn(self, several: Sequence[bytes], decoded: Sequence[Any], *, at_once: bool) -> None:
        """Take in what was decoded from the bytes; it may be changed afterwards."""
        if max(map(len, several), default=0) > _MAX_BYTES_OF_ONE:
            small = [pair for pair in zip(several, decoded, strict=True) if len(pair[0]) <= _MAX_BYTES_OF_ONE]
            several, decoded = [data for data, _ in small], [one for _, one in small]
        if not at_once and not self._seen.used_bytes:
            self._seen.note(list(several))  # the first that a process reads
            return
        clonable = self._seen.get_all(several)
        if not at_once:
            self._seen.note([data for data, known in zip(several, clonable, strict=True) if known is None])
            if not any(clonable):
                return
        for data, one, known in zip(several, decoded, clonable, strict=True):
            if known or (at_once and known is None):
                self._learn(data, one)

    def _learn(self, data: bytes, decoded: Any) -> None:
        found = maker_of(decoded, data)
        if found is None:
            self._seen.add([data], clonable=False)
            return
        maker, containers = found
        size = max(_SIZE_FACTOR * len(data) + _SIZE_OF_MAKER, _SIZE_OF_CONTAINER * containers)
        self._makers.add(data, maker, size)


class _Seen:
    """What was decoded, the last of it, and whether there are clones. Adding many takes hardly longer than adding one.

    Args:
        max_bytes: what it may take, about.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._clonable: dict[bytes, bool] = {}
        # Not hashed yet, which of a long list takes as long as anything here: for those who read once, in vain.
        self._noted: list[list[bytes]] = []
        self._noted_bytes = 0
        self._lock = threading.Lock()
        self._known_bytes = 0

    @property
    def used_bytes(self) -> int:
        """About how many bytes it takes."""
        return self._known_bytes + self._noted_bytes

    def get_all(self, several: Sequence[bytes]) -> list[bool | None]:
        """Tell of each whether there are clones; None: it was not seen, or is not settled yet."""
        if not self._clonable:
            return [None] * len(several)
        return list(map(self._clonable.get, several))

    def note(self, several: list[bytes]) -> None:
        """Take in what was decoded, of which there may be clones; it is seen when this is settled."""
        if not several:
            return
        size = self._size(several)
        with self._lock:
            self._noted.append(several)
            self._noted_bytes += size
        if self.used_bytes > self._max_bytes:
            self.settle()

    def settle(self) -> None:
        """Have seen all that was noted."""
        if not self._noted:
            return
        with self._lock:
            noted, self._noted, self._noted_bytes = self._noted, [], 0
        self.add(list(chain.from_iterable(noted)), clonable=True)

    def add(self, several: Sequence[bytes], *, clonable: bool) -> None:
        """Take in what was decoded."""
        with self._lock:
            new = dict.fromkeys([data for data in several if data not in self._clonable])
            self._clonable.update(dict.fromkeys(several, clonable))
            self._known_bytes += self._size(new)
            if self._known_bytes > self._max_bytes:
                self._drop()

    def _drop(self) -> None:
        # A good part at once: the first of a dict is the slower to find, the more of them were deleted before.
        dropped = []
        for data in self._clonable:
            if self._known_bytes <= self._max_bytes * 3 // 4:
                break
            dropped.append(data)
            self._known_bytes -= self._size((data,))
        for data in dropped:
            del self._clonable[data]

    def _size(self, several: Collection[bytes]) -> int:
        return sum(map(len, several)) + _SIZE_OF_SEEN * len(several)
