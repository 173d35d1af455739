"""Which rows refer to what is to go: found page by page, while everybody goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import apsw

from ...eventlog.event import Kind
from ...eventlog.record import read_bases
from ...eventlog.sql import all_rows, one_row
from ...projections.history import CheckpointRow
from ...projections.pending_writes import WritesRow
from ...projections.reaching import Leaving
from ..core import Core

__all__ = ["AffectedRows", "Fate", "Place"]

_PAGE = 1_000
_RECORD = "SELECT kind, record FROM event WHERE position = ?"
_PUT_SINCE = "SELECT position FROM event WHERE stream = ? AND position > ? AND kind IN (1, 2) ORDER BY position"


class Place(NamedTuple):
    """Where a row was found.

    Attributes:
        position: the event that it pointed at.
        checkpoint_id: the checkpoint that it is, or that has the writes.
        applied: of writes, their place's; None: it is a checkpoint.
        ordinal: likewise.
    """

    position: int
    checkpoint_id: str
    applied: int | None = None
    ordinal: int = 0


class Fate:
    """Tells which records stay as they are.

    Args:
        is_affected: whether an event up to `upto` refers, directly or not, to what goes.
        goes: whether an event up to `upto` is to be erased.
        upto: the position up to which both can tell; of later events, this looks at what they refer to.
    """

    def __init__(self, is_affected: Callable[[int], bool], goes: Callable[[int], bool], upto: int) -> None:
        self._is_affected = is_affected
        self._goes = goes
        self._upto = upto
        self._later: dict[int, bool] = {}

    def goes(self, position: int) -> bool:
        """Tell whether an event is to be erased."""
        return position <= self._upto and self._goes(position)

    def stays(self, connection: apsw.Connection, position: int) -> bool:
        """Tell whether an event stays, and everything that it refers to."""
        if position <= self._upto:
            return not self._is_affected(position) and not self._goes(position)
        known = self._later.get(position)
        if known is None:
            row = one_row(connection, _RECORD, (position,))
            # What has been restated since refers to what stays only: by this, or by another that does the same.
            known = row is None or row[0] not in (Kind.PUT, Kind.PUT_WRITES)
            known = known or all(self.stays(connection, base) for base in read_bases(row[1]))
            self._later[position] = known
        return known


class AffectedRows:
    """Finds the rows of `history` and `pending_writes` that point at affected records.

    Args:
        core: of the log.
        fate: of the records.
        leaving: rows to pass over, as if they were not there.

    Attributes:
        copied: positions of affected checkpoints that copies have; once `streams` has been gone through.
    """

    def __init__(self, core: Core, fate: Fate, leaving: Leaving | None = None) -> None:
        self._core = core
        self._fate = fate
        self._leaving = leaving
        self.copied: set[int] = set()

    def streams(self) -> list[int]:
        """Give the streams that have such rows, in order."""
        found: set[int] = set()
        for stream, place, applied in self._places(0):
            found.add(stream)
            if place.applied is None and applied != place.position:
                self.copied.add(place.position)
        return sorted(found)

    def of(self, stream: int) -> list[Place]:
        """Give a stream's, by position: parents before children, as they mostly are put."""
        return sorted((place for _, place, _ in self._places(stream, stream)), key=lambda place: place.position)

    def _places(self, first: int, last: int | None = None) -> Iterator[tuple[int, Place, int]]:
        """Yield (stream, place, applied) of streams from `first` to `last`, checkpoints before writes."""
        log, history, pending_writes = self._core.log, self._core.views.history, self._core.views.pending_writes
        after: tuple[int, str | None] | None = (first, None)
        while after is not None and (last is None or after[0] <= last):
            with log.database.reading() as connection:
                rows = history.places(connection, after, _PAGE)
                found = [
                    (stream, Place(position, id_), applied)
                    for stream, id_, position, applied in rows
                    if self._is_there(stream, id_, position) and self._counts(connection, position)
                ]
            yield from (each for each in found if last is None or each[0] <= last)
            after = rows[-1][:2] if len(rows) == _PAGE else None
        below: tuple[int, WritesRow | None] | None = (first, None)
        while below is not None and (last is None or below[0] <= last):
            with log.database.reading() as connection:
                writes = pending_writes.page_in_order(connection, below, _PAGE)
                affected = [
                    row
                    for row in writes
                    if self._is_there(row.stream, row.checkpoint_id, row.position)
                    and self._counts(connection, row.position)
                ]
            for row in affected:
                if last is None or row.stream <= last:
                    place = Place(row.position, row.checkpoint_id, row.applied, row.ordinal)
                    yield row.stream, place, row.applied
            below = (writes[-1].stream, writes[-1]) if len(writes) == _PAGE else None

    def _is_there(self, stream: int, checkpoint_id: str, position: int) -> bool:
        return not (self._leaving and self._leaving.has(stream, checkpoint_id, position))

    def _counts(self, connection: apsw.Connection, position: int) -> bool:
        return not self._fate.stays(connection, position)

    def put_since(self, connection: apsw.Connection, stream: int, head: int) -> list[Place]:
        """Give what has been put into a stream after a position, and is affected."""
        places: list[Place] = []
        for (position,) in all_rows(connection, _PUT_SINCE, (stream, head)):
            opened = None
            if self._counts(connection, position):
                opened = self._core.log.reader.open(connection, position)
            if opened is not None and opened.checkpoint_id is not None:
                places.append(Place(position, opened.checkpoint_id, None if opened.is_put else position))
        return places

    def row(self, connection: apsw.Connection, stream: int, place: Place) -> CheckpointRow | WritesRow | None:
        """Give the row in a place, as it is now; None if it is not there, or not affected any more."""
        views = self._core.views
        row: CheckpointRow | WritesRow | None
        if place.applied is None:
            row = views.history.one(connection, stream, place.checkpoint_id)
        else:
            row = views.pending_writes.one(connection, stream, place.checkpoint_id, place.applied, place.ordinal)
        return None if row is None or not self._counts(connection, row.position) else row

    def is_worth_it(self, stream: int) -> bool:
        """Tell whether what goes, and a stream is still read from, takes more than half as much as what it has."""
        seen: set[int] = set()
        kept = reached = 0
        for place in self.of(stream):
            with self._core.log.database.reading() as connection:
                left = [place.position]
                while left:
                    position = left.pop()
                    found = None if position in seen else one_row(connection, _RECORD, (position,))
                    seen.add(position)
                    if found is None or self._fate.stays(connection, position):
                        continue
                    left += read_bases(found[1])
                    if self._fate.goes(position):
                        reached += len(found[1])
        with self._core.log.database.reading() as connection:
            for rows in (self._core.views.history, self._core.views.pending_writes):
                kept += sum(
                    row.size
                    for row in rows.of_stream(connection, stream)
                    if self._is_there(stream, row.checkpoint_id, row.position)
                )
        return 2 * reached > kept
