"""Where events of one log stand in another, as they are being taken there."""

from __future__ import annotations

from array import array as numbers
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, NamedTuple

from ...eventlog.event import EventData, Field, put_of, writes_of
from .provenance import Ranges

__all__ = ["Made", "Place", "Places", "held_in"]


class Made(NamedTuple):
    """An event that holds what one of another thread's held; `thread_id`: by its old name."""

    position: int
    thread_id: str


class Place(NamedTuple):
    """An event that came along.

    Attributes:
        there: where it stood.
        here: where it stands now.
        held: how many writes it holds; -1: it holds a checkpoint.
    """

    there: int
    here: int
    held: int


def held_in(data: EventData) -> int:
    """Give what an event holds, as `Place.held` has it."""
    writes = writes_of(data)
    return -1 if put_of(data) is not None else 0 if writes is None else len(writes.writes)


class Places:
    """What came from where. Takes 24 bytes for each event, and more only for what copies show of other threads.

    Attributes:
        homes: where a value that belonged to an event that did not come along is now stored in full.
    """

    def __init__(self) -> None:
        self._there, self._here, self._held = numbers("q"), numbers("q"), numbers("q")
        self._made: dict[int, list[Made]] = {}
        self.homes: dict[tuple[int, Field], int] = {}

    def add(self, place: Place) -> None:
        """Note an event that came along; they come in their order."""
        self._there.append(place.there)
        self._here.append(place.here)
        self._held.append(place.held)

    def add_made(self, there: int, made: Made) -> None:
        """Note an event that holds what another thread's held."""
        self._made.setdefault(there, []).append(made)

    def same(self, there: int) -> int | None:
        """Give where the same event stands now; None if it did not come along."""
        i = bisect_left(self._there, there)
        return self._here[i] if i < len(self._there) and self._there[i] == there else None

    def made(self, there: int) -> list[Made]:
        """Give the events that hold what it held."""
        return self._made.get(there, [])

    def at(self, there: int) -> int | None:
        """Give an event that holds what one held; None if there is none."""
        here = self.same(there)
        if here is None and (made := self._made.get(there)):
            return made[0].position
        return here

    def home(self, there: int, field: Field) -> int | None:
        """Give an event that stores the value which one stored; None if there is none."""
        return self.at(there) or self.homes.get((there, field))

    def within(self, first: int, last: int) -> Iterator[Place]:
        """Yield those that stood in a range."""
        i = bisect_left(self._there, first)
        while i < len(self._there) and self._there[i] <= last:
            yield Place(self._there[i], self._here[i], self._held[i])
            i += 1

    def composed(self, rows: Any) -> Ranges:
        """Give what stands where, of ranges that say where events came from before they came from there."""
        composed = Ranges()
        for first, last, begin in rows or ():
            for place in self.within(first, last):
                composed.add(place.here, begin + place.there - first)
        return composed
