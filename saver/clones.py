"""Clones of what was decoded before, instead of decoding it again: by its bytes, for one serializer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..eventlog.bounded import Bounded
from .cloning import Maker, maker_of

__all__ = ["Clones"]

# What is larger is decoded again.
_MAX_BYTES_OF_ONE = 1024 * 1024
# A decoded object, and what makes clones of it, are several times as large as its bytes.
_SIZE_FACTOR = 6
_SIZE_OF_MAKER = 1_000
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
        self._seen: Bounded[bytes, bool] = Bounded(max_bytes // 4)

    @property
    def used_bytes(self) -> int:
        """About how many bytes they take."""
        return self._makers.used_bytes + self._seen.used_bytes

    def maker(self, data: bytes) -> Maker | None:
        """Give what makes clones of what the bytes stand for, None if it has to be decoded."""
        return self._makers.get(data)

    def makers(self, several: Sequence[bytes]) -> list[Maker | None]:
        """Give the makers of several."""
        return self._makers.get_all(several)

    def learn(self, data: bytes, decoded: Any, *, at_once: bool) -> None:
        """Take in what was decoded from the bytes; it may be changed afterwards."""
        if len(data) > _MAX_BYTES_OF_ONE:
            return
        clonable = self._seen.get(data)
        if clonable is None and not at_once:
            self._seen.add(data, True, len(data) + 200)
        elif clonable is not False:
            found = maker_of(decoded, data)
            if found is None:
                self._seen.add(data, False, len(data) + 200)
            else:
                maker, containers = found
                size = max(_SIZE_FACTOR * len(data) + _SIZE_OF_MAKER, _SIZE_OF_CONTAINER * containers)
                self._makers.add(data, maker, size)
