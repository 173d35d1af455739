"""Projection `latest`: each stream's checkpoint of the greatest id, which is not always the last put."""

from __future__ import annotations

import apsw

from .ids import to_key
from .table import Table

__all__ = ["Latest"]


class Latest(Table):
    """Rows (stream, checkpoint_id). Hidden checkpoints are never the latest."""

    name = "latest"
    schema_version = 2
    key = "stream"
    ddl = """
CREATE TABLE latest@ (
  stream INTEGER PRIMARY KEY,
  checkpoint_id BLOB NOT NULL
) STRICT"""

    _ADVANCE = """
INSERT INTO latest@ (stream, checkpoint_id) VALUES (?, ?)
ON CONFLICT (stream) DO UPDATE SET checkpoint_id = excluded.checkpoint_id
WHERE excluded.checkpoint_id > latest@.checkpoint_id"""
    _FIND_AGAIN = """
INSERT OR REPLACE INTO latest@ (stream, checkpoint_id)
SELECT stream, checkpoint_id FROM history@ WHERE stream = ? AND hidden = 0 ORDER BY checkpoint_id DESC LIMIT 1"""
    _REMOVE = "DELETE FROM latest@ WHERE stream = ?"

    def advance(self, connection: apsw.Connection, stream: int, checkpoint_id: str) -> None:
        """Take in a checkpoint."""
        connection.execute(self.sql(self._ADVANCE), (stream, to_key(checkpoint_id)))

    def find_again(self, connection: apsw.Connection, stream: int) -> None:
        """Look for the greatest id once more, after checkpoints were removed from `history`."""
        self.remove(connection, stream)
        connection.execute(self.sql(self._FIND_AGAIN), (stream,))

    def remove(self, connection: apsw.Connection, stream: int) -> None:
        """Forget a stream."""
        connection.execute(self.sql(self._REMOVE), (stream,))
