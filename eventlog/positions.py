"""A set of positions that takes a bit for each, up to the greatest: millions of erased events take little memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["PositionSet", "merged"]

_ALL = 0xFF


class PositionSet:
    """Positions, 1 and greater; those that were added go again by ranges."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, position: int) -> None:
        """Add one."""
        byte, bit = divmod(position, 8)
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits) + len(self._bits) // 8))
        self._bits[byte] |= 1 << bit

    def __contains__(self, position: int) -> bool:
        byte, bit = divmod(position, 8)
        return 0 <= byte < len(self._bits) and bool(self._bits[byte] >> bit & 1)

    def __iter__(self) -> Iterator[int]:
        for byte, bits in enumerate(self._bits):
            if bits:
                yield from (8 * byte + bit for bit in range(8) if bits >> bit & 1)

    def first_missing(self, first: int, last: int) -> int | None:
        """Give the smallest position of a range that is not in the set; None: all are."""
        position = first
        while position <= last:
            if position % 8 == 0 and position + 7 <= last:
                end = (last + 1) // 8
                part = self._bits[position // 8 : end]
                full = len(part) - len(part.lstrip(b"\xff"))
                position += 8 * full
                if full:
                    continue
            if position not in self:
                return position
            position += 1
        return None

    def remove(self, first: int, last: int) -> None:
        """Take a range out, as far as it is there."""
        last = min(last, 8 * len(self._bits) - 1)
        if first > last:
            return
        low, high = first // 8, last // 8
        below, above = (1 << first % 8) - 1, _ALL & ~((2 << last % 8) - 1)  # bits that stay
        if low == high:
            self._bits[low] &= below | above
            return
        self._bits[low] &= below
        self._bits[high] &= above
        self._bits[low + 1 : high] = bytes(high - low - 1)


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Give the same positions as ranges in order that neither touch nor overlap; empty ones are left out."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(pair for pair in ranges if pair[0] <= pair[1]):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found
