"""The places of writes (FORMAT.md section 4) when threads are taken from one log into another.

A restate_writes names the place that it takes: the position of the put_writes, or copy, that applied the writes first,
and an ordinal. If that came along, the place is where it stands now. But mostly it has been erased since: it was to go
that the writes were restated for. Then it gets a place of its own, behind all that came along from before it, and
before all from after it: for the order of a checkpoint's writes is all that places are for.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["WritePlace", "WritePlaces"]

# (applied, ordinal)
WritePlace = tuple[int, int]


class WritePlaces:
    """Gives the places that restate_writes name, as events come along in their order.

    Args:
        named: the places that they name in the log that they are from.
    """

    def __init__(self, named: Iterable[WritePlace]) -> None:
        self._named = sorted(set(named))
        self._passed = 0
        self._here: dict[WritePlace, WritePlace | None] = dict.fromkeys(self._named)
        # The position at which places were last given, and the next ordinal there.
        self._free: WritePlace = (-1, 1)

    def pass_to(self, position: int, head: int) -> None:
        """Note that events from a position on come now, and that the newest here stands at `head`."""
        while self._passed < len(self._named) and self._named[self._passed] < (position, 0):
            there = self._named[self._passed]
            if self._here[there] is None:
                self.erased(there, head)
            self._passed += 1

    def stands(self, there: WritePlace, here: WritePlace) -> None:
        """Note where the writes of a place stand now."""
        if there in self._here:
            self._here[there] = here

    def erased(self, there: WritePlace, head: int) -> WritePlace:
        """Give a place of its own to what is not there any more, behind the newest event."""
        position, ordinal = self._free if self._free[0] == head else (head, 1)
        self._free = (position, ordinal + 1)
        self._here[there] = (position, ordinal)
        return position, ordinal

    def copied(self, copy: int, ordinals: Iterable[int], here: int) -> None:
        """Note that of what a copy copied these are still copied, by one that stands at `here`."""
        count = 0
        for ordinal in ordinals:
            self.stands((copy, ordinal), (here, count))
            count += 1
        self._free = (here, max(count, 1))

    def at(self, there: WritePlace, head: int) -> WritePlace:
        """Give the place here for one there."""
        return self._here.get(there) or self.erased(there, head)
