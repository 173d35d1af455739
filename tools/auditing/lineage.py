"""Finding the events that hold checkpoints: parents of puts, and the checkpoints that writes are at.

What was put last is remembered, within bounds. Otherwise the projections are asked, and, for what was removed since,
the events of the stream that are near.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import apsw

from ...eventlog.errors import CorruptRecordError
from ...eventlog.event import Copy, Put, put_of
from ...eventlog.log import EventLog
from ...eventlog.sql import all_rows
from ...projections.builtin import BuiltIn
from .changes import ValueReader

__all__ = ["Found", "Lineage"]

_MOST_REMEMBERED = 50_000
# A parent is mostly put right before its child, and with durability="async" a checkpoint soon after what is written at
# it.
_LOOKED_AT_BEFORE = 512
_LOOKED_AT_AFTER = 64
_PUTS_BEFORE = """
SELECT position FROM event WHERE stream = ? AND position < ? AND kind IN (1, 11) ORDER BY position DESC LIMIT ?"""
_PUTS_AFTER = (
    "SELECT position FROM event WHERE stream = ? AND position > ? AND kind IN (1, 11) ORDER BY position LIMIT ?"
)


class Found(NamedTuple):
    """Where a checkpoint stands, and what it holds."""

    position: int
    put: Put


class Lineage:
    """Finds checkpoints, as they were at some position of the log.

    Args:
        log: the log.
        views: its projections.
        reader: reads records.
    """

    def __init__(self, log: EventLog, views: BuiltIn, reader: ValueReader) -> None:
        self._log = log
        self._views = views
        self._reader = reader
        self._known: OrderedDict[tuple[int, str], int] = OrderedDict()

    def remember(self, stream: int, checkpoint_id: str, position: int) -> None:
        """Note where a checkpoint stands from now on."""
        self._known.pop((stream, checkpoint_id), None)
        self._known[stream, checkpoint_id] = position
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)

    def remember_copied(self, connection: apsw.Connection, thread_id: str, copy: Copy) -> None:
        """Note where the checkpoints stand that a copy has put into a thread."""
        for copied in copy.streams:
            keys = self._log.keys.find(connection, thread_id, copied.checkpoint_ns)
            for checkpoint_id, position, _ in copied.checkpoints if keys is not None else ():
                self.remember(keys[1], checkpoint_id, position)  # type: ignore[index]  # it is not None here

    def find(self, connection: apsw.Connection, stream: int, checkpoint_id: str, near: int) -> Found | None:
        """Give the checkpoint as it was at position `near`, or, if it was put a little later, as it was then.

        None: it is not there any more, or not near.

        Raises:
            CorruptRecordError: it is damaged.
        """
        position = self._known.get((stream, checkpoint_id))
        if position is not None:
            return self._read(connection, position)
        row = self._views.history.one(connection, stream, checkpoint_id)
        if row is not None and (row.applied < near or not self._before(connection, stream, checkpoint_id, near)):
            return self._read(connection, row.position)
        return self._before(connection, stream, checkpoint_id, near) or self._nearest(
            connection, _PUTS_AFTER, (stream, near, _LOOKED_AT_AFTER), checkpoint_id
        )

    def _before(self, connection: apsw.Connection, stream: int, checkpoint_id: str, near: int) -> Found | None:
        return self._nearest(connection, _PUTS_BEFORE, (stream, near, _LOOKED_AT_BEFORE), checkpoint_id)

    def _nearest(
        self, connection: apsw.Connection, sql: str, bindings: tuple[int, int, int], checkpoint_id: str
    ) -> Found | None:
        for (position,) in all_rows(connection, sql, bindings):
            try:
                opened = self._reader.open(connection, position)
            except CorruptRecordError:
                continue  # it has an entry of its own
            if opened is not None and opened.checkpoint_id == checkpoint_id:
                return self._read(connection, position)
        return None

    def _read(self, connection: apsw.Connection, position: int) -> Found | None:
        # Its record may be known still, when what that refers to has been erased with it.
        if self._log.reader.recorded_at(connection, position) is None:
            return None
        opened = self._reader.open(connection, position)
        put = None if opened is None else put_of(opened.data())
        return None if put is None else Found(position, put)
