"""Projection `metadata_index`: checkpoints by the values of metadata keys that users declared.

Which keys those are is no projection, and stands in the table `metadata_index_key`. Whoever appends keeps the index of
all of them, declared here or not: adding one adds 1 to meta.generation, so that every process looks again before it
appends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import apsw

from ..eventlog.errors import LogDamagedError
from ..eventlog.plain import PlainDataError, unpack
from ..eventlog.sql import all_rows
from .history import COLUMNS, CheckpointRow, below_key, page_below
from .ids import from_key, to_key
from .metadata import OTHER_SQL, IndexKey, field, index_key
from .recent import of_both
from .table import Table, check_progress, check_row, row_types

__all__ = ["BELOW_ALL", "KEY_DDL", "MetadataIndex"]

# `complete` is 0 as long as checkpoints that were there before the key are still being taken in.
KEY_DDL = """
CREATE TABLE metadata_index_key (
  name TEXT PRIMARY KEY,
  complete INTEGER NOT NULL CHECK (complete IN (0, 1))
) STRICT, WITHOUT ROWID"""

# Streams are 1 and up.
BELOW_ALL = (0, b"")
_TYPES = row_types(int, bytes, bytes)
_BATCH = 500
_METADATA = """
SELECT h.stream, h.checkpoint_id, h.metadata FROM history@ AS h NOT INDEXED
WHERE (h.stream, h.checkpoint_id) > (?1, ?2)"""
_OF_KEY = f"""
SELECT {COLUMNS} FROM metadata_index AS m CROSS JOIN history AS h NOT INDEXED
  ON h.stream = m.stream AND h.checkpoint_id = m.checkpoint_id
WHERE m.name = ?1 AND m.value = %s AND h.hidden = 0 AND (m.checkpoint_id, m.stream) < (?3, ?4)""".replace(
    "h.stream, h.checkpoint_id,", "m.stream AS stream, m.checkpoint_id AS checkpoint_id,", 1
)
# Of the few recent ones each is looked up: among all that have the value it would be long before one of them came.
_OF_KEY_RECENT = f"""
SELECT {COLUMNS} FROM history AS h CROSS JOIN metadata_index AS m
  ON m.stream = h.stream AND m.checkpoint_id = h.checkpoint_id AND m.name = ?1
WHERE m.value IN (?2, {OTHER_SQL}) AND h.hidden = 0 AND (h.checkpoint_id, h.stream) < (?3, ?4)"""


class MetadataIndex(Table):
    """Rows keyed by (name, value, checkpoint_id, stream), for values that have an `index_key`; hidden checkpoints too.

    Attributes:
        names: the keys that were declared when this process looked, and whether the index of each was complete.
    """

    name = "metadata_index"
    schema_version = 1
    key = "name, value, checkpoint_id, stream"
    derived = "name NOT IN (SELECT name FROM main.metadata_index_key WHERE complete = 0)"
    ddl = """
CREATE TABLE metadata_index@ (
  name TEXT NOT NULL,
  value ANY NOT NULL,
  checkpoint_id BLOB NOT NULL,
  stream INTEGER NOT NULL,
  PRIMARY KEY (name, value, checkpoint_id, stream),
  UNIQUE (stream, checkpoint_id, name)
) STRICT, WITHOUT ROWID"""

    _PUT = "INSERT OR REPLACE INTO metadata_index@ (name, value, checkpoint_id, stream) VALUES (?, ?, ?, ?)"
    _REMOVE = "DELETE FROM metadata_index@ WHERE stream = ? AND checkpoint_id = ?"
    _REMOVE_STREAM = "DELETE FROM metadata_index@ WHERE stream = ?"
    _HISTORY = f"""
{of_both(_METADATA)} ORDER BY 1, 2 LIMIT ?3"""
    _DECLARED = "SELECT name, complete FROM metadata_index_key"
    _DECLARE = "INSERT INTO metadata_index_key (name, complete) VALUES (?, 0)"
    _COMPLETE = "UPDATE metadata_index_key SET complete = 1 WHERE name = ?"
    # What only a serializer can read may be equal to anything.
    _PAGE = f"""
{of_both(f"{_OF_KEY % '?2'} UNION ALL {_OF_KEY % OTHER_SQL}", _OF_KEY_RECENT)}
ORDER BY 2 DESC, 1 DESC LIMIT ?5"""

    def __init__(self, suffix: str = "") -> None:
        super().__init__(suffix)
        self.names: dict[str, bool] = {}

    # Declared keys.

    def declared(self, connection: apsw.Connection) -> dict[str, bool]:
        """Give the keys that the file names, and whether the index of each is complete."""
        rows = all_rows(connection, self._DECLARED)
        # A name that is damaged is none: it only makes listings slower, and verify() tells.
        return {name: bool(complete) for name, complete in rows if type(name) is str}

    def look(self, connection: apsw.Connection) -> None:
        """Keep from now on what the file says is declared."""
        self.names = self.declared(connection)

    def declare(self, connection: apsw.Connection, names: Collection[str]) -> None:
        """Add keys that are not there yet; what came before them is still to be taken in."""
        for name in names:
            connection.execute(self._DECLARE, (name,))
        self.look(connection)

    def complete(self, connection: apsw.Connection, names: Collection[str]) -> None:
        """Note that all of `history` has been taken in under these keys."""
        for name in names:
            connection.execute(self._COMPLETE, (name,))

    def take_in(
        self, connection: apsw.Connection, names: Collection[str], above: tuple[int, bytes], limit: int
    ) -> tuple[int, bytes] | None:
        """Take in up to `limit` rows of `history` above a (stream, checkpoint_id), the id as its key.

        Give where to go on; None if nothing is left.

        Raises:
            LogDamagedError: a row's metadata cannot be read.
        """
        rows = all_rows(connection, self.sql(self._HISTORY), (*above, limit))
        for row in rows:
            check_row(row, _TYPES)
        check_progress(is_further=not rows or (rows[-1][0], rows[-1][1]) > above)
        for stream, checkpoint_id, metadata in rows:
            try:
                unpacked = unpack(metadata)
            except PlainDataError as e:
                raise LogDamagedError(
                    f"metadata of checkpoint {from_key(checkpoint_id)!r} in the projection history is damaged: "
                    "open the log without indexed_metadata, and rebuild()"
                ) from e
            self._put_under(connection, names, (checkpoint_id, stream), unpacked)
        return (rows[-1][0], rows[-1][1]) if len(rows) == limit else None

    def take_in_new(self, connection: apsw.Connection) -> None:
        """Take in all of `history` under keys that another process has declared since this one looked."""
        before = self.names
        self.look(connection)
        new = [name for name in self.names if name not in before]
        after: tuple[int, bytes] | None = BELOW_ALL if new else None
        while after is not None:
            after = self.take_in(connection, new, after, _BATCH)

    # What events do.

    def put(
        self, connection: apsw.Connection, stream: int, checkpoint_id: str, metadata: Mapping[str, Any], *, new: bool
    ) -> None:
        """Take in a checkpoint; unless it is new, in the place of the one of that id."""
        if not self.names:
            return
        if not new:
            connection.execute(self.sql(self._REMOVE), (stream, to_key(checkpoint_id)))
        self._put_under(connection, self.names, (to_key(checkpoint_id), stream), metadata)

    def _put_under(
        self, connection: apsw.Connection, names: Collection[str], key: tuple[bytes, int], metadata: Mapping[str, Any]
    ) -> None:
        for name in names:
            value = index_key(field(metadata, name))
            if value is not None:
                connection.execute(self.sql(self._PUT), (name, value, *key))

    def remove(self, connection: apsw.Connection, stream: int, checkpoint_id: str) -> None:
        """Remove a checkpoint."""
        if self.names:
            connection.execute(self.sql(self._REMOVE), (stream, to_key(checkpoint_id)))

    def remove_stream(self, connection: apsw.Connection, stream: int) -> None:
        """Remove all checkpoints of a stream."""
        if self.names:
            connection.execute(self.sql(self._REMOVE_STREAM), (stream,))

    # What is read.

    def page(
        self, connection: apsw.Connection, name: str, value: IndexKey, below: tuple[str, int] | None, limit: int
    ) -> list[CheckpointRow]:
        """Give visible checkpoints, newest first, strictly below a (checkpoint_id, stream).

        All of those whose field may be equal to a value of this key, and some that are not: compare them.
        """
        return page_below(all_rows(connection, self._PAGE, (name, value, *below_key(below), limit)), below)
