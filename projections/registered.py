"""A user's projection in the log's file: caught up in bounded batches, then joined to appends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import apsw

from ..eventlog.errors import ConfigError, CorruptRecordError, ProjectionError
from ..eventlog.event import Carry, NewEvent, RecordedEvent
from ..eventlog.log import EventLog
from ..eventlog.plain import pack, unpack
from ..eventlog.sql import all_rows, one_row, the_row
from .carrying import last_carry
from .projection import ProjectionTables, check_apart, check_definition

__all__ = ["RegisteredProjection"]

_BATCH = 256
_STATE = "SELECT schema_version, progress FROM projection WHERE name = ?"
_NAMES = "SELECT name FROM projection"
_SET_STATE = "INSERT OR REPLACE INTO projection (name, schema_version, progress) VALUES (?, ?, ?)"
_ADVANCE = "UPDATE projection SET progress = ? WHERE name = ?"
_OWN_TABLES = r"""
SELECT name FROM sqlite_schema
WHERE type = 'table' AND (name = ?1 OR name LIKE replace(?1, '_', '\_') || '\_%' ESCAPE '\')"""
_ERASED_AFTER = "SELECT 1 FROM erased WHERE position > ? LIMIT 1"


class RegisteredProjection:
    """A projection and where it is."""

    def __init__(self, projection: Any) -> None:
        check_definition(projection)
        self.projection = projection
        self.name: str = projection.name
        self._tables: ProjectionTables | None = None

    @property
    def can_carry(self) -> bool:
        """Whether it has facts that outlive the events they came from."""
        return callable(getattr(self.projection, "carry", None))

    def attach(self, log: EventLog) -> None:
        """Bring it up to date when the log is opened: rebuilt if its schema version is new, in bounded batches."""
        if self._tables is None:
            other = getattr(self.projection, "db", None)
            if isinstance(other, ProjectionTables) and other.in_use:
                raise ConfigError(
                    f"projection {self.name} belongs to another open log: give each log a projection object of its own"
                )
            self._tables = ProjectionTables(self.name, log)
            self.projection.db = self._tables
        if log.database.read_only:
            with log.database.reading() as connection:
                state = one_row(connection, _STATE, (self.name,))
            if state is None or state[0] != self.projection.schema_version:
                raise ProjectionError(
                    f"projection {self.name} is not in {log.path}, or of another schema version, and read_only=True "
                    "does not build it: open the log with it once for writing",
                    projection=self.name,
                )
            return  # it is read as it is: its progress says how far it is
        with log.database.writing() as connection:
            self._ensure_tables(connection, log)
        self.catch_up(log)

    def _ensure_tables(self, connection: apsw.Connection, log: EventLog) -> None:
        state = one_row(connection, _STATE, (self.name,))
        version = self.projection.schema_version
        if state is not None and state[0] == version:
            return
        if state is not None and state[0] > version:
            raise ProjectionError(
                f"projection {self.name} has schema version {state[0]} in the file, and {version} in this program: "
                "another program has a newer one. Upgrade this one",
                projection=self.name,
            )
        check_apart(self.name, (name for (name,) in all_rows(connection, _NAMES)))
        if state is not None:
            self._refuse_past_erasure(connection, log)
        self._reset(connection)

    def _refuse_past_erasure(self, connection: apsw.Connection, log: EventLog) -> None:
        """Refuse if events are missing that are not made up for by facts that it carried."""
        carried = last_carry(log.reader, connection, self.name) if self.can_carry else 0
        if one_row(connection, _ERASED_AFTER, (carried,)):
            why = "it was not open then, to carry its facts" if self.can_carry else "it has no carry()"
            raise ProjectionError(
                f"projection {self.name} cannot be rebuilt: events have been erased, and {why}. Its tables are as they "
                "were",
                projection=self.name,
            )

    def _reset(self, connection: apsw.Connection) -> None:
        for (table,) in all_rows(connection, _OWN_TABLES, (self.name,)):
            connection.execute(f'DROP TABLE "{table}"')  # a name that the schema holds, not input
        connection.execute(_SET_STATE, (self.name, self.projection.schema_version, 0))
        self._call(connection, None, self.projection.reset)

    def rebuild(self, log: EventLog) -> None:
        """Empty its tables and take in the whole log again; until that is done, reads see a part of it.

        Raises:
            ProjectionError: it failed; or events have been erased since it last carried its facts, if it has a carry().
        """
        with log.database.writing() as connection:
            self._refuse_past_erasure(connection, log)
            self._reset(connection)
        self.catch_up(log)

    def catch_up(self, log: EventLog) -> None:
        """Take in what is there, in transactions of at most 256 events, until nothing is left."""
        while True:
            with log.database.writing() as connection:
                progress = the_row(connection, _STATE, (self.name,))[1]
                if not self._take_in(connection, log, progress, _BATCH):
                    return

    def carry(self, log: EventLog, *, begun: Callable[[], None]) -> None:
        """Append its facts as they are now, of all events up to there; nothing if a newer program has taken it over.

        `begun` is called when the write lock is there. What has been caught up before does not take time then.

        Raises:
            ProjectionError: its carry() failed, or gave what is not plain data.
        """

        def decide(connection: apsw.Connection) -> NewEvent | None:
            begun()
            state = one_row(connection, _STATE, (self.name,))
            if state is None or state[0] != self.projection.schema_version:
                return None
            while self._take_in(connection, log, the_row(connection, _STATE, (self.name,))[1], _BATCH):
                pass
            return NewEvent(Carry(self.name, self._facts(connection)))

        log.transact(decide)

    def _facts(self, connection: apsw.Connection) -> Any:
        facts: list[Any] = []
        self._call(connection, None, lambda: facts.append(unpack(pack(self.projection.carry()))), what="carry()")
        return facts[0]

    def join(self, connection: apsw.Connection, log: EventLog, event: RecordedEvent) -> None:
        """Take in an event in the transaction that appends it.

        What other processes appended without this projection comes first.

        If those are more than one batch, one batch is taken in now, and the event later.
        """
        state = one_row(connection, _STATE, (self.name,))
        if state is None or state[0] != self.projection.schema_version:
            return  # a newer program has taken it over; progress() no longer moves here
        progress = state[1]
        if progress == event.position - 1:
            self._call(connection, event, partial(self.projection.apply, event))
            connection.execute(_ADVANCE, (event.position, self.name))
        else:
            self._take_in(connection, log, progress, _BATCH)

    def _take_in(self, connection: apsw.Connection, log: EventLog, progress: int, limit: int) -> bool:
        rows, more = log.reader.page(connection, progress, limit)
        for row in rows:
            try:
                event = log.reader.to_event(row)
            except CorruptRecordError:
                continue  # verify() reports it; a damaged record must not keep the log from being opened
            self._call(connection, event, partial(self.projection.apply, event))
            progress = event.position
        if rows:
            connection.execute(_ADVANCE, (rows[-1][0], self.name))
        return more

    def _call(
        self,
        connection: apsw.Connection,
        event: RecordedEvent | None,
        method: Callable[[], None],
        what: str = "reset()",
    ) -> None:
        assert self._tables is not None
        self._tables._connection = connection
        try:
            method()
        except ProjectionError:
            raise
        except Exception as e:
            position = None if event is None else event.position
            where = what if event is None else f"apply() at event {position}"
            raise ProjectionError(
                f"projection {self.name} failed in {where}: {type(e).__name__}. Nothing was changed. Mend it, "
                "or open the log without it",
                projection=self.name,
                position=position,
            ) from e
        finally:
            self._tables._connection = None
