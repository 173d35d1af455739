"""Sets of positions, one bit each: a log of ten million events takes a megabyte or so for each set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["Positions", "merged"]

_ALL = 0xFF


class Positions:
    """A set of positions, 0 and greater.

    Args:
        last: those beyond are not taken in; None: there is no end, and the set takes as much as the greatest asks for.
    """

    __slots__ = ("_bits", "_last")

    def __init__(self, last: int | None = None) -> None:
        self._last = last
        self._bits = bytearray() if last is None else bytearray(last // 8 + 1)

    def add(self, position: int) -> None:
        """Put in a position; one beyond `last` is passed over."""
        if position < 0 or (self._last is not None and position > self._last):
            return
        byte, bit = position >> 3, position & 7
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits) + len(self._bits) // 8))
        self._bits[byte] |= 1 << bit

    def discard(self, position: int) -> None:
        """Take out a position, if it is in."""
        if 0 <= position < 8 * len(self._bits):
            self._bits[position >> 3] &= ~(1 << (position & 7))

    def remove(self, first: int, last: int) -> None:
        """Take out a range, as far as it is in."""
        first, last = max(first, 0), min(last, 8 * len(self._bits) - 1)
        if first > last:
            return
        low, high = first >> 3, last >> 3
        below, above = (1 << (first & 7)) - 1, _ALL & ~((2 << (last & 7)) - 1)  # bits that stay
        if low == high:
            self._bits[low] &= below | above
            return
        self._bits[low] &= below
        self._bits[high] &= above
        self._bits[low + 1 : high] = bytes(high - low - 1)

    def __contains__(self, position: int) -> bool:
        return 0 <= position < 8 * len(self._bits) and bool(self._bits[position >> 3] >> (position & 7) & 1)

    def __len__(self) -> int:
        """Give how many are in it: counted, each time."""
        return int.from_bytes(self._bits, "little").bit_count()

    def __bool__(self) -> bool:
        return any(self._bits)

    def __iter__(self) -> Iterator[int]:
        """Yield them, the smallest first."""
        for byte, bits in enumerate(self._bits):
            if bits:
                yield from (8 * byte + bit for bit in range(8) if bits >> bit & 1)

    def below(self, position: int) -> Iterator[int]:
        """Yield those below a position, the greatest first; what is taken out meanwhile further down is not yielded."""
        at = min(position, 8 * len(self._bits)) - 1
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

    def first_missing(self, first: int, last: int) -> int | None:
        """Give the smallest position of a range that is not in the set; None: all are."""
        position = first
        while position <= last:
            if position >= 0 and position % 8 == 0 and position + 7 <= last:
                part = self._bits[position // 8 : (last + 1) // 8]
                full = len(part) - len(part.lstrip(b"\xff"))
                position += 8 * full
                if full:
                    continue
            if position not in self:
                return position
            position += 1
        return None


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Give the same positions as ranges in order that neither touch nor overlap; empty ones are left out."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(pair for pair in ranges if pair[0] <= pair[1]):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found
