"""Checking events and stubs one by one, in order: digests and the hash chain, gaps, and what was declared erased."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from itertools import islice, product
from operator import le
from types import NoneType

import apsw

from .coverage import Coverage
from .database import Database
from .errors import CorruptRecordError
from .event import ERASABLE, Compaction, Head, Kind
from .finding import Finding
from .integrity import digest_of, inner_of, leaf_of, link_of
from .positions import Positions, merged
from .reader import EventReader, Row
from .references import ReferenceCheck
from .sql import all_rows, page_of_rows, the_row

__all__ = ["ChainCheck"]

_BATCH = 256
_ROWS = """
SELECT e.position, e.recorded_at, e.kind, e.stream, e.record, e.digest, e.link, s.thread, t.thread_id, s.checkpoint_ns
FROM event AS e NOT INDEXED LEFT JOIN stream AS s ON s.stream = e.stream LEFT JOIN thread AS t ON t.thread = s.thread
WHERE e.position > ? ORDER BY e.position LIMIT ?"""
_LATER_COMPACTIONS = f"""
{_ROWS.partition("WHERE")[0]}WHERE e.position > ? AND e.kind = {Kind.COMPACTION} ORDER BY e.position LIMIT ?"""
_STUBS = "SELECT position, kind, inner FROM erased NOT INDEXED WHERE position > ? AND position <= ? ORDER BY position"
_BEYOND = "SELECT (SELECT max(position) FROM event), (SELECT max(position) FROM erased)"
_BEFORE = "SELECT (SELECT min(position) FROM event), (SELECT min(position) FROM erased)"
# What SQLite gives for a row of each table. STRICT lets nothing else in, but a flipped bit in a row's header changes
# what it reads.
_STUB = (int, int, bytes)
_TEXT = (str, NoneType)
_INTEGER = (int, NoneType)
_SANE = frozenset(product(*((int,),) * 3, _INTEGER, *((bytes,),) * 3, _INTEGER, _TEXT, _TEXT)) | {_STUB}
# Nearly all of a log, and nothing in them matters to the chain but their digest.
_KINDS_OF_VALUES = frozenset((Kind.PUT, Kind.PUT_WRITES, Kind.RESTATE, Kind.RESTATE_WRITES))
_MAX_UNDECLARED = 1000


class ChainCheck:
    """Walks events and stubs in order.

    Args:
        database: the log.
        reader: of its events.
        head: up to which position.
        link: the one before the first event.
        anchors: to be compared with what is walked past.
        quick: do not decode events that hold values: that their records are what was appended is all that is checked.
        coverage: is told what is done.
    """

    def __init__(
        self,
        database: Database,
        reader: EventReader,
        *,
        head: int,
        link: bytes,
        anchors: Collection[Head],
        quick: bool,
        coverage: Coverage,
    ) -> None:
        self._database = database
        self._reader = reader
        self._head = head
        self._undecoded = _KINDS_OF_VALUES if quick else frozenset()
        self._references = ReferenceCheck(reader, database.path)
        self._coverage = coverage
        self._anchors = sorted(anchors, key=lambda anchor: anchor.position)
        # Of each position that an anchor names: the link there, and where the chain was last broken before.
        self._at_anchors: dict[int, tuple[bytes, int]] = {0: (link, 0)}
        self._named = {anchor.position for anchor in self._anchors}
        self._broken = 0
        self._stubs = Positions()
        self._after = 0
        self.link = link

    @property
    def copied_streams(self) -> set[tuple[str, str]]:
        """(thread_id, checkpoint_ns) of the streams that copies went to."""
        return self._references.copied_streams

    def check(self) -> Iterator[Finding]:
        """Walk from the first event to the head, and yield what is wrong."""
        with self._database.reading() as connection:
            smallest = [p for p in the_row(connection, _BEFORE) if p is not None and p < 1]
        for position in smallest:
            yield Finding("gap", position, "positions begin at 1")
        self._coverage.tell("chain", 0, self._head)
        while self._after < self._head:
            with self._database.reading() as connection:
                found = self._check_batch(connection, self._after)
            yield from found
            self._coverage.tell("chain", self._after, self._head)
        self._coverage.head = Head(self._head, self.link)
        yield from self._check_end()
        if self._stubs:
            self._take_in_later_compactions()
        for position in islice(self._stubs, _MAX_UNDECLARED):
            yield Finding("erased", position, "it was erased, but no compaction says so")

    def _take_in_later_compactions(self) -> None:
        """Look for what has been erased since the check began: compactions beyond its head say so."""
        after, more = self._head, True
        while more:
            with self._database.reading() as connection:
                rows, more = page_of_rows(connection, _LATER_COMPACTIONS, (after, _BATCH), _BATCH, sized=4)
            for row in rows:
                if row[0] <= after:
                    return  # a damaged tree, which has been found already
                # A damaged one is for the next check to find: this one ends before it.
                with contextlib.suppress(CorruptRecordError):
                    data = self._reader.to_event((*row, None)).data
                    assert isinstance(data, Compaction)
                    for first, last in _declared(data, row[0]):
                        self._stubs.remove(first, last)
                after = row[0]

    def _check_batch(self, connection: apsw.Connection, after: int) -> list[Finding]:
        rows, more = page_of_rows(connection, _ROWS, (after, _BATCH), _BATCH, sized=4)
        positions = [row[0] for row in rows]
        if any(map(le, positions, [after, *positions])):
            self._after = self._head
            return [Finding("sqlite", None, f"the events behind {after} are not in the order of their positions")]
        if positions and positions[-1] > self._head:
            rows = [row for row in rows if row[0] <= self._head]
        last = rows[-1][0] if rows and more else self._head
        stubs = all_rows(connection, _STUBS, (after, last))
        # A stub comes before the event of the same position, if there is one.
        pending = sorted(stubs + rows, key=lambda row: (row[0], len(row))) if stubs else rows
        found: list[Finding] = []
        expected = after + 1
        for row in pending:
            position = row[0]
            if position != expected:
                if position < expected:
                    found.append(Finding("gap", position, "it is there, and erased as well"))
                    continue
                found.append(self._gap(expected, position - 1))
            expected = position + 1
            types = tuple(map(type, row))
            if types not in _SANE:
                self._broken = position
                found.append(Finding("record", position, "a column holds what it cannot hold"))
                continue
            if types == _STUB:
                self._check_stub(row, found)
            else:
                self._check_event(connection, row, found)
            if position in self._named and position != self._broken:
                self._at_anchors[position] = (self.link, self._broken)
        if expected <= last:
            found.append(self._gap(expected, last))
        self._coverage.events += len(rows)
        self._coverage.erased += len(stubs)
        self._after = last
        return found

    def _gap(self, first: int, last: int) -> Finding:
        self._broken = last
        what = "it is missing" if first == last else f"it and all up to {last} are missing"
        return Finding("gap", first, what)

    def _check_stub(self, row: tuple[int, int, bytes], found: list[Finding]) -> None:
        position, kind, inner = row
        if kind not in ERASABLE:
            found.append(Finding("erased", position, f"an event of kind {kind} is never erased"))
        self._stubs.add(position)
        self.link = link_of(self.link, leaf_of(position=position, kind=kind, inner=inner))

    def _check_event(self, connection: apsw.Connection, row: Row, found: list[Finding]) -> None:
        position, recorded_at, kind, stream, record, digest, link, _, thread_id, checkpoint_ns = row
        address = None if stream is None else (thread_id or "", checkpoint_ns or "")
        inner = inner_of(recorded_at=recorded_at, address=address, digest=digest)
        self.link = link_of(self.link, leaf_of(position=position, kind=kind, inner=inner))
        if self.link != link:
            found.append(
                Finding("link", position, "it is not the event that was appended here, or one before it is not")
            )
            self._broken = position
            self.link = link  # go on from what is there, to tell further damage apart
        if kind not in self._undecoded:
            self._decode(connection, row, found)
        elif digest_of(record) != digest:
            found.append(Finding("digest", position, "its record does not match its digest"))
        elif stream is not None and thread_id is None:
            found.append(Finding("stream", position, "its stream is not in the file"))

    def _decode(self, connection: apsw.Connection, row: Row, found: list[Finding]) -> None:
        try:
            event = self._reader.to_event((*row, self._reader.base_of(connection, row[4])))
        except CorruptRecordError as e:
            found.append(Finding(e.code, e.position, e.reason))
            return
        if isinstance(event.data, Compaction):
            # What is declared erased has its stub before this event, and no other compaction declares it.
            declared = _declared(event.data, event.position)
            wrong = [p for first, last in declared if (p := self._stubs.first_missing(first, last)) is not None]
            if wrong:
                what = f"it says that it erased event {wrong[0]}, which is not so"
                found.append(Finding("erased", event.position, what))
            for first, last in declared:
                self._stubs.remove(first, last)
        else:
            found.extend(self._references.check(connection, event))

    def _check_end(self) -> Iterator[Finding]:
        with self._database.reading() as connection:
            newest, newest_erased = the_row(connection, _BEYOND)
            head = self._reader.head(connection).position
        if (newest or 0) != head:
            yield Finding("head", newest, f"it is the newest event, but the table meta says {head}")
        if (newest_erased or 0) >= max(head, 1):
            yield Finding("erased", newest_erased, "the newest event is never erased")

    def check_anchors(self) -> Iterator[Finding]:
        """Compare the anchors with what was walked past."""
        for anchor in self._anchors:
            link, broken = self._at_anchors.get(anchor.position, (None, 0))
            if anchor.position > self._head:
                yield Finding("anchor", anchor.position, f"the log ends at {self._head}: its tail has been cut off")
            elif link != anchor.link:
                yield Finding(
                    "anchor", anchor.position, "the log up to here is not the one that the anchor was taken from"
                )
            else:
                self._coverage.hold(anchor, unbroken_after=broken)


def _declared(data: Compaction, position: int) -> list[tuple[int, int]]:
    """Give what a compaction at a position says that it erased."""
    return merged((max(first, 1), min(last, position)) for first, last in data.erased)
