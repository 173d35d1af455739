"""Table `history_recent`: the checkpoints put last, until `history` takes them in, many at a time: they settle.

Each index of `history` is a page more that a put would change. So a new checkpoint goes in here, a table without
indexes, and settles in the transaction of a later event: every 64th, and any that does more than put what is new or
write to it. Where a row stands thus follows from the log alone, whoever appends. What changes rows knows `history`
only; what reads sees both: see `of_both`.
"""

from __future__ import annotations

import re

import apsw

from ..eventlog.event import Put, PutWrites, RecordedEvent, Thread
from ..eventlog.sql import the_row
from .table import Table

__all__ = ["COLUMNS_DDL", "SETTLED_EVERY", "Recent", "of_both"]

# At each position that is a multiple of this, before the event there: a page or a few are cheap to read through.
SETTLED_EVERY = 64
# All others may change rows of `history`, or say that events are gone: without those a rebuild may settle later than it
# was done then, but no later than here.
_ADDING = frozenset({Put, PutWrites, Thread})

COLUMNS_DDL = """
  stream INTEGER NOT NULL,
  checkpoint_id BLOB NOT NULL,
  position INTEGER NOT NULL,
  applied INTEGER NOT NULL,
  parent_id BLOB,
  run_id BLOB,
  source ANY,
  step ANY,
  hidden INTEGER NOT NULL CHECK (hidden IN (0, 1)),
  bytes INTEGER NOT NULL,
  metadata BLOB NOT NULL,
  PRIMARY KEY (stream, checkpoint_id)"""
_COLUMNS = "stream, checkpoint_id, position, applied, parent_id, run_id, source, step, hidden, bytes, metadata"


class Recent(Table):
    """Rows as those of `history`, keyed by (stream, checkpoint_id); none is hidden, and none is in both.

    Attributes:
        ADD: adds a row of `History.values`; does nothing if there is one of its key, here or in `history`.
    """

    name = "history_recent"
    schema_version = 1
    key = "stream, checkpoint_id"
    ddl = f"""
CREATE TABLE history_recent@ ({COLUMNS_DDL}
) STRICT, WITHOUT ROWID"""

    # New ids are mostly the greatest: of the index that SQLite takes, on (checkpoint_id, stream), always the last page.
    ADD = f"""
INSERT OR IGNORE INTO history_recent@ ({_COLUMNS})
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
WHERE NOT EXISTS (SELECT 1 FROM history@ AS h WHERE h.checkpoint_id = ?2 AND h.stream = ?1)"""
    _COUNT = "SELECT count(*) FROM history_recent@"
    # IGNORE: SQLite need not keep what it would take to undo the statement alone, which takes longer than all else.
    _TAKE_IN = f"INSERT OR IGNORE INTO history@ ({_COLUMNS}) SELECT {_COLUMNS} FROM history_recent@"
    _REPLACE = _TAKE_IN.replace("IGNORE", "REPLACE")
    _EMPTY = "DELETE FROM history_recent@"

    def prepare(self, connection: apsw.Connection, event: RecordedEvent) -> None:
        """Move all rows to `history` if it is time to, or the event may change rows there."""
        if event.position % SETTLED_EVERY == 0 or type(event.data) not in _ADDING:
            self.settle(connection)

    def settle(self, connection: apsw.Connection) -> None:
        """Move all rows to `history`."""
        count = the_row(connection, self.sql(self._COUNT))[0]
        if not count:
            return  # even to empty what is empty would change a page
        connection.execute(self.sql(self._TAKE_IN))
        if connection.changes() < count:
            # Some are there already, which only damage makes: it keeps nobody from appending, and verify() tells.
            connection.execute(self.sql(self._REPLACE))
        connection.execute(self.sql(self._EMPTY))


def of_both(select: str, of_recent: str | None = None) -> str:
    """Give a query of `history AS h` that sees `history_recent`, too.

    ORDER BY and LIMIT come after it; each table is then read in that order, and only as far as needed.

    Args:
        select: without them.
        of_recent: what to ask `history_recent` instead, in the same names; of all its rows: it has no index.
    """
    of_recent = re.sub(r"\bhistory(@?) AS h\b", r"history_recent\1 AS r", of_recent or select)
    of_recent = re.sub(r"\bh[.]", "r.", of_recent)
    return f"{select} UNION ALL {of_recent}"
