"""Sets of positions, one bit each: a log of ten million events takes a megabyte for each set."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["Positions"]


class Positions:
    """A set of positions from 0 to `last`."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._bits = bytearray(last // 8 + 1)

    def add(self, position: int) -> None:
        """Put in a position; one beyond `last` is passed over."""
        if 0 <= position <= self._last:
            self._bits[position >> 3] |= 1 << (position & 7)

    def discard(self, position: int) -> None:
        """Take out a position, if it is in."""
        if 0 <= position <= self._last:
            self._bits[position >> 3] &= ~(1 << (position & 7))

    def __contains__(self, position: int) -> bool:
        return 0 <= position <= self._last and bool(self._bits[position >> 3] >> (position & 7) & 1)

    def __len__(self) -> int:
        """Give how many are in it: counted, each time."""
        return int.from_bytes(self._bits, "little").bit_count()

    def __bool__(self) -> bool:
        return any(self._bits)

    def below(self, position: int) -> Iterator[int]:
        """Yield those below a position, the greatest first; what is taken out meanwhile further down is not yielded."""
        at = min(position - 1, self._last)
        while at >= 0:
            byte = self._bits[at >> 3] & ((2 << (at & 7)) - 1)
            if not byte:
                at = len(self._bits[: at >> 3].rstrip(b"\0")) * 8 - 1
                continue
            found = (at & ~7) + byte.bit_length() - 1
            yield found
            at = found - 1

    def least(self) -> int | None:
        """Give the smallest; None if there is none."""
        skipped = len(self._bits) - len(self._bits.lstrip(b"\0"))
        if skipped == len(self._bits):
            return None
        byte = self._bits[skipped]
        return skipped * 8 + (byte & -byte).bit_length() - 1
