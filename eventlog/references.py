"""Checking what events refer to: the values that theirs are made of, and the events that a copy names."""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from .body import stored_values
from .bounded import Recent
from .errors import CorruptRecordError
from .event import Copy, Field, Kind, Put, RecordedEvent, Restate
from .finding import Finding
from .opened import OpenedRecord
from .reader import EventReader
from .resolve import Resolver
from .sql import one_row
from .value import Stored, Whole

__all__ = ["ReferenceCheck"]

_KIND = "SELECT kind FROM event WHERE position = ?1 UNION ALL SELECT kind FROM erased WHERE position = ?1"
_MAX_BYTES_OF_RECORDS = 64 * 1024 * 1024


class ReferenceCheck:
    """Checks events in order.

    Attributes:
        copied_streams: (thread_id, checkpoint_ns) of the streams that copies went to.
    """

    def __init__(self, reader: EventReader, path: str) -> None:
        self._reader = reader
        self._path = path
        self._connection: apsw.Connection | None = None
        self._resolver: Resolver | None = None
        # A put of a thousand channels asks the one before it a thousand times.
        self._opened: Recent[int, OpenedRecord] = Recent(_MAX_BYTES_OF_RECORDS)
        self.copied_streams: set[tuple[str, str]] = set()

    def check(self, connection: apsw.Connection, event: RecordedEvent) -> Iterator[Finding]:
        """Yield what is wrong with what an event refers to."""
        data = event.data
        if isinstance(data, Put | Restate):
            yield from self._check_values(connection, event.position, data)
        elif isinstance(data, Copy):
            yield from self._check_copied(connection, event, data)

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
