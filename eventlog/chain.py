"""Checking events and stubs one by one, in order: the hash chain, and what each refers to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import apsw

from .body import stored_values
from .bounded import Recent
from .database import Database
from .errors import CorruptRecordError
from .event import ERASABLE, Compaction, Copy, Field, Head, Kind, Put, RecordedEvent, Restate
from .finding import Finding
from .integrity import inner_of, leaf_of, link_of
from .opened import OpenedRecord
from .reader import EventReader, Row
from .resolve import Resolver
from .sql import all_rows, one_row, page_of_rows, the_row
from .value import Stored, Whole

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
_KIND = "SELECT kind FROM event WHERE position = ?1 UNION ALL SELECT kind FROM erased WHERE position = ?1"
_INTEGER_OR_NULL = (int, type(None))
_TEXT_OR_NULL = (str, type(None))
_EVENT_TYPES = (int, int, int, _INTEGER_OR_NULL, *(bytes,) * 3, _INTEGER_OR_NULL, _TEXT_OR_NULL, _TEXT_OR_NULL)
_STUB_TYPES = (int, int, bytes)
_MAX_BYTES_OF_RECORDS = 64 * 1024 * 1024


class ChainCheck:
    """Walks events and stubs in order."""

    def __init__(self, database: Database, reader: EventReader, *, head: int, link: bytes, anchor: Head | None) -> None:
        self._database = database
        self._reader = reader
        self._head = head
        self._anchor = anchor
        self._anchor_link: bytes | None = link if anchor is not None and anchor.position == 0 else None
        self._stubs: set[int] = set()
        self._path = database.path
        self._connection: apsw.Connection | None = None
        self._resolver: Resolver | None = None
        # A put of a thousand channels asks the one before it a thousand times.
        self._opened: Recent[int, OpenedRecord] = Recent(_MAX_BYTES_OF_RECORDS)
        self.link = link
        self.copied_streams: set[tuple[str, str]] = set()

    def check(self) -> Iterator[Finding]:
        """Walk from the first event to the head, and yield what is wrong."""
        with self._database.reading() as connection:
            smallest = [p for p in the_row(connection, _BEFORE) if p is not None and p < 1]
        for position in smallest:
            yield Finding("gap", position, "positions begin at 1")
        after = 0
        while after < self._head:
            with self._database.reading() as connection:
                found = list(self._check_batch(connection, after))
                after = self._after
            yield from found
        yield from self._check_end()
        if self._stubs:
            self._take_in_later_compactions()
        for position in sorted(self._stubs)[:1000]:
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
                    self._stubs -= _positions(data, row[0])
                after = row[0]

    def _check_batch(self, connection: apsw.Connection, after: int) -> Iterator[Finding]:
        rows, more = page_of_rows(connection, _ROWS, (after, _BATCH), _BATCH, sized=4)
        if any(row[0] <= before for before, row in zip([after, *(row[0] for row in rows)], rows, strict=False)):
            yield Finding("sqlite", None, f"the events behind {after} are not in the order of their positions")
            self._after = self._head
            return
        rows = [row for row in rows if row[0] <= self._head]
        last = rows[-1][0] if rows and more else self._head
        stubs = all_rows(connection, _STUBS, (after, last))
        entries = [(row[0], True, row) for row in rows] + [(stub[0], False, stub) for stub in stubs]
        pending = sorted(entries, key=lambda entry: entry[:2])
        expected = after + 1
        for position, is_event, row in pending:
            if position < expected:
                yield Finding("gap", position, "it is there, and erased as well")
                continue
            if position > expected:
                yield from self._gap(expected, position - 1)
            expected = position + 1
            if not _is_sane(row, _EVENT_TYPES if is_event else _STUB_TYPES):
                # STRICT lets nothing else in, but a flipped bit in a row's header changes what SQLite reads.
                yield Finding("record", position, "a column holds what it cannot hold")
                continue
            yield from self._check_event(connection, row) if is_event else self._check_stub(row)
            if self._anchor is not None and position == self._anchor.position:
                self._anchor_link = self.link
        if expected <= last:
            yield from self._gap(expected, last)
        self._after = last

    def _gap(self, first: int, last: int) -> Iterator[Finding]:
        what = "it is missing" if first == last else f"it and all up to {last} are missing"
        yield Finding("gap", first, what)

    def _check_stub(self, row: tuple[int, int, bytes]) -> Iterator[Finding]:
        position, kind, inner = row
        if kind not in ERASABLE:
            yield Finding("erased", position, f"an event of kind {kind} is never erased")
        self._stubs.add(position)
        self.link = link_of(self.link, leaf_of(position=position, kind=kind, inner=inner))

    def _check_event(self, connection: apsw.Connection, row: Row) -> Iterator[Finding]:
        position, recorded_at, kind, stream, _, digest, link, _, thread_id, checkpoint_ns = row
        address = None if stream is None else (thread_id or "", checkpoint_ns or "")
        inner = inner_of(recorded_at=recorded_at, address=address, digest=digest)
        self.link = link_of(self.link, leaf_of(position=position, kind=kind, inner=inner))
        if self.link != link:
            yield Finding("link", position, "it is not the event that was appended here, or one before it is not")
            self.link = link  # go on from what is there, to tell further damage apart
        try:
            event = self._reader.to_event((*row, self._reader.base_of(connection, row[4])))
        except CorruptRecordError as e:
            yield Finding(e.code, e.position, e.reason)
            return
        yield from self._check_references(connection, event)

    def _check_references(self, connection: apsw.Connection, event: RecordedEvent) -> Iterator[Finding]:
        data = event.data
        if isinstance(data, Put | Restate):
            yield from self._check_values(connection, event.position, data)
        elif isinstance(data, Copy):
            yield from self._check_copied(connection, event, data)
        elif isinstance(data, Compaction):
            declared = _positions(data, event.position)
            # What is declared erased has its stub before this event, and no other compaction declares it.
            if position := min(declared - self._stubs, default=None):
                yield Finding("erased", event.position, f"it says that it erased event {position}, which is not so")
            self._stubs -= declared

    def _check_values(self, connection: apsw.Connection, position: int, data: Put | Restate) -> Iterator[Finding]:
        put = data.put if isinstance(data, Restate) else data
        if all(isinstance(value, Whole) for value in stored_values(put)):
            return
        resolver = self._resolver_for(connection)
        try:
            resolver.all_channels(position, put)
            resolver.channel_versions(position, put)
            resolver.versions_seen(position, put)
        except CorruptRecordError as e:
            yield Finding("base", position, f"a value refers to what is damaged: {e.reason}")

    def _resolver_for(self, connection: apsw.Connection) -> Resolver:
        # One for all batches, so that what the event before came to is still known; each batch has its own connection.
        self._connection = connection
        if self._resolver is None:
            self._resolver = Resolver(self._load, path=self._path)
        return self._resolver

    def _load(self, position: int, field: Field) -> Stored | None:
        assert self._connection is not None
        opened = self._reader.open(self._connection, position, self._opened)
        return None if opened is None else opened.stored(field)

    def _check_copied(self, connection: apsw.Connection, event: RecordedEvent, data: Copy) -> Iterator[Finding]:
        for stream in data.streams:
            self.copied_streams.add((event.thread_id or "", stream.checkpoint_ns))
            puts = [(p, (Kind.PUT, Kind.RESTATE)) for _, p, _ in stream.checkpoints]
            for position, kinds in puts + [(p, (Kind.PUT_WRITES, Kind.RESTATE_WRITES)) for _, p in stream.writes]:
                row = one_row(connection, _KIND, (position,))
                if row is None or row[0] not in kinds or position >= event.position:
                    yield Finding(
                        "base", event.position, f"it copies event {position}, which is not there to be copied"
                    )

    def _check_end(self) -> Iterator[Finding]:
        with self._database.reading() as connection:
            newest, newest_erased = the_row(connection, _BEYOND)
            head = self._reader.head(connection).position
        if (newest or 0) != head:
            yield Finding("head", newest, f"it is the newest event, but the table meta says {head}")
        if (newest_erased or 0) >= max(head, 1):
            yield Finding("erased", newest_erased, "the newest event is never erased")

    def check_anchor(self) -> Iterator[Finding]:
        """Compare the anchor with what was walked past."""
        if self._anchor is None:
            return
        if self._anchor.position > self._head:
            yield Finding("anchor", self._anchor.position, f"the log ends at {self._head}: its tail has been cut off")
        elif self._anchor_link != self._anchor.link:
            yield Finding(
                "anchor", self._anchor.position, "the log up to here is not the one that the anchor was taken from"
            )


def _positions(data: Compaction, position: int) -> set[int]:
    """Give what a compaction at a position says that it erased."""
    return {p for first, last in data.erased for p in range(max(first, 1), min(last, position) + 1)}


def _is_sane(row: Row, types: tuple[type | tuple[type, ...], ...]) -> bool:
    return all(isinstance(value, kind) for value, kind in zip(row, types, strict=False))
