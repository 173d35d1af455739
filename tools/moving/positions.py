"""Which events of a log are about some threads, be it among others."""

from __future__ import annotations

import json
from array import array as numbers
from collections.abc import Iterable, Iterator

import apsw

from ...eventlog.event import Kind, RestateWrites
from ...eventlog.log import EventLog
from ...eventlog.sql import all_rows
from .write_places import WritePlace

__all__ = ["places_restated", "positions_of"]

_OF_THREADS = """
SELECT position FROM event WHERE stream IN (
  SELECT s.stream FROM json_each(?) AS j JOIN stream AS s ON s.thread = j.value)"""
# Of the chosen threads (their keys as JSON), and of the whole log those kinds that may be about them.
_POSITIONS = f"""{_OF_THREADS}
UNION ALL SELECT position FROM event WHERE stream IS NULL
  AND kind IN ({Kind.DELETE_FOR_RUNS:d}, {Kind.PRUNE:d}, {Kind.IMPORT:d}, {Kind.CARRY:d})
ORDER BY 1"""
_RESTATED = f"{_OF_THREADS} AND kind = {Kind.RESTATE_WRITES:d}"


def positions_of(log: EventLog, connection: apsw.Connection, thread_ids: Iterable[str]) -> numbers[int]:
    """Give the positions of all events that may be about some threads, in order."""
    return numbers("q", (row[0] for row in connection.execute(_POSITIONS, (_keys(log, connection, thread_ids),))))


def places_restated(log: EventLog, connection: apsw.Connection, thread_ids: Iterable[str]) -> Iterator[WritePlace]:
    """Yield the places that the restate_writes of some threads name.

    Raises:
        CorruptRecordError: one of them is damaged.
    """
    for (position,) in all_rows(connection, _RESTATED, (_keys(log, connection, thread_ids),)):
        opened = log.reader.open(connection, position)
        data = None if opened is None else opened.data()
        if isinstance(data, RestateWrites):
            yield data.applied, data.ordinal


def _keys(log: EventLog, connection: apsw.Connection, thread_ids: Iterable[str]) -> str:
    keys = [log.keys.find_thread(connection, thread_id) for thread_id in thread_ids]
    return json.dumps([key for key in keys if key is not None])
