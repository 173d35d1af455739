"""Telling, in import events, where events came from that threads are taken along with: see `provenance`."""

from __future__ import annotations

from collections.abc import Mapping

import apsw

from ...eventlog.appender import PreparedEvent, prepare
from ...eventlog.event import Import, NewEvent
from ...eventlog.log import EventLog
from ...eventlog.sql import the_row
from .provenance import Ranges, log_id_of

__all__ = ["Telling"]

_ERASED = "SELECT count(*) FROM erased"
# An import event tells of at most so many runs of positions: then comes another.
_MAX_RANGES = 10_000


class Telling:
    """What there is to tell of what has been given since the last import event.

    Args:
        source: the log that events are from.
        connection: to it, in a transaction that lasts as long as this is used.
        kind: "extract" or "merge".

    Attributes:
        log_id: of the source, hexadecimal.
        moved, copied: where events stand, and where they stood.
    """

    def __init__(self, source: EventLog, connection: apsw.Connection, kind: str) -> None:
        self._log, self._connection, self._kind = source, connection, kind
        self.log_id = log_id_of(connection)
        self.moved, self.copied = Ranges(), Ranges()
        self._counted = (0, 0)  # checkpoints and writes that an import event has told of

    @property
    def is_much(self) -> bool:
        """Whether it is enough for an import event."""
        return len(self.moved.rows) + len(self.copied.rows) >= _MAX_RANGES

    def event(self, names: Mapping[str, str], checkpoints: int, writes: int) -> PreparedEvent:
        """Give the import event, and begin anew.

        Args:
            names: the threads' ids, and what they are called there; {}: another import event will follow.
            checkpoints: how many have been given in all.
            writes: likewise.
        """
        moved, copied = self.moved, self.copied
        self.moved, self.copied = Ranges(), Ranges()
        before, self._counted = self._counted, (checkpoints, writes)
        source = {
            "kind": self._kind,
            "log_id": self.log_id,
            "anchor": str(self._log.reader.head(self._connection)),
            "threads": len(names),
            "ids": [[old, new] for old, new in names.items()],
            "erased": the_row(self._connection, _ERASED)[0],
            "moved": moved.rows,
            "copied": copied.rows,
        }
        ranges = tuple(sorted([*moved.here(), *copied.here()]))
        return prepare(NewEvent(Import(source, ranges, checkpoints - before[0], writes - before[1])))
