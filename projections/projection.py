"""What a projection of a user's own is: a class with a name, a schema version, `reset` and `apply`.

    class Failures(Projection):
        name = "failures"
        schema_version = 1

        def reset(self):
            self.db.execute("CREATE TABLE failures (thread_id TEXT PRIMARY KEY, n INTEGER NOT NULL)")

        def apply(self, event):
            if event.kind is Kind.PUT_WRITES and any(w.channel == "__error__" for w in event.data.writes):
                self.db.execute(
                    "INSERT INTO failures VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1", (event.thread_id,)
                )

Given to the saver, it is caught up when the log is opened, kept up in the transaction of each append, and rebuilt when
its schema version changes.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import apsw
import apsw.ext

from ..eventlog.errors import ConfigError, ProjectionError
from ..eventlog.event import RecordedEvent
from ..eventlog.sql import Bindings, all_rows, one_row
from ..eventlog.value import Value

if TYPE_CHECKING:
    from ..eventlog.log import EventLog

__all__ = ["Progress", "Projection", "ProjectionTables"]

_WRITES = {"SQLITE_INSERT", "SQLITE_UPDATE", "SQLITE_DELETE"}
_DEFINES = {"SQLITE_CREATE_TABLE", "SQLITE_DROP_TABLE", "SQLITE_CREATE_INDEX", "SQLITE_DROP_INDEX"}
_READS = {"SQLITE_SELECT", "SQLITE_READ", "SQLITE_FUNCTION", "SQLITE_RECURSIVE"}
_MAX_CHECKED = 1000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a projection is: `position` is the last event applied, `head` the newest there is."""

    position: int
    head: int

    @property
    def behind(self) -> int:
        """How many positions are still to come: 0 if it is up to date."""
        return self.head - self.position


class Projection(abc.ABC):
    """Base class of user projections; any object with the same attributes will do.

    Attributes:
        name: lower-case letters, digits and underscores. Its tables are called this, or this and an underscore and
            more.
        schema_version: add 1 when the tables, or what events do to them, change.
        db: the tables; set when it is registered.

    It may also have `carry()`, so that it can be rebuilt after events have been erased; without one it refuses that.
    carry() takes nothing and gives plain data (msgpack's types), read with `self.db.execute`: all that its tables say,
    so that they can be made from it. A compaction appends it, as a `Carry` event of the projection's name, before it
    erases anything; given to `apply`, that event's `facts` replace all that the tables hold, whatever they hold by
    then, and whichever schema version of the projection has carried them. Only programs that have the projection open
    can carry: what another erases is not made up for. Events that it has not seen yet are never erased; so a projection
    that nobody catches up keeps compaction from erasing what is newer.
    """

    name: str
    schema_version: int = 1
    db: ProjectionTables

    @abc.abstractmethod
    def reset(self) -> None:
        """Make the tables, empty. Those of an earlier schema version are gone already."""

    @abc.abstractmethod
    def apply(self, event: RecordedEvent) -> None:
        """Take in an event, with `self.db.execute`, in the transaction that appends it (or catches up).

        Raising rolls the transaction back: the put fails with a ProjectionError. What is kept elsewhere than in
        `self.db` is not rolled back, not caught up and not rebuilt.
        """

    def query(self, sql: str, bindings: Bindings = ()) -> list[tuple[Any, ...]]:
        """Read, at any time, from any thread; sees what has been committed.

        Also the built-in projections, whose tables may change with each version, and hold ids as bytes: see
        `ids.to_key`. Checkpoints are in `history` and `history_recent` together.
        """
        return self.db.query(sql, bindings)

    def progress(self) -> Progress:
        """Tell how far it is: other processes may have appended without it."""
        return self.db.progress()


class ProjectionTables:
    """A projection's access to the log's file: writes to its own tables while it is being applied.

    It reads at any time.
    """

    def __init__(self, name: str, log: EventLog) -> None:
        self._name = name
        self._log = log
        self._connection: apsw.Connection | None = None
        self._checked: set[str] = set()
        self._checked_reads: set[str] = set()

    @property
    def in_use(self) -> bool:
        """Whether the log that it belongs to is open."""
        return not self._log.closed

    def execute(self, sql: str, bindings: Bindings = ()) -> apsw.Cursor:
        """Run one statement in the transaction at hand; only within `reset`, `apply` and `carry`.

        Raises:
            ProjectionError: it is called elsewhere, or the statement is not one, or would change a table that is
            not the projection's.
        """
        if self._connection is None:
            raise ProjectionError(
                f"projection {self._name}: execute() works within reset(), apply() and carry(); use query() to read",
                projection=self._name,
            )
        if sql not in self._checked:
            self._check(self._connection, sql)
            if len(self._checked) >= _MAX_CHECKED:
                self._checked.clear()
            self._checked.add(sql)
        return self._connection.execute(sql, bindings)  # type: ignore[arg-type]

    def query(self, sql: str, bindings: Bindings = ()) -> list[tuple[Any, ...]]:
        """Read what has been committed.

        Raises:
            ProjectionError: the statement is not one, or would change something.
        """
        with self._log.database.reading() as connection:
            # A private database has one connection, which can write: what SQLite refuses elsewhere is refused here.
            try:
                if sql not in self._checked_reads:
                    self._check_read(connection, sql)
                    if len(self._checked_reads) >= _MAX_CHECKED:
                        self._checked_reads.clear()
                    self._checked_reads.add(sql)
                return all_rows(connection, sql, bindings)
            except apsw.SQLError as e:  # the user's statement, not damage
                raise ProjectionError(
                    f"projection {self._name}: this query cannot be run: {e}", projection=self._name
                ) from e

    def values(self, event: RecordedEvent) -> dict[str, Value]:
        """Give every channel's value at a put, references resolved, as opaque (tag, data)."""
        if self._connection is None:
            return self._log.values(event)
        return self._log.values_in(self._connection, event)

    def progress(self) -> Progress:
        """Tell how far the projection is."""
        with self._log.database.reading() as connection:
            row = one_row(connection, "SELECT progress FROM projection WHERE name = ?", (self._name,))
            head = self._log.reader.head(connection).position
        return Progress(row[0] if row and row[0] is not None else 0, head)

    def _check(self, connection: apsw.Connection, sql: str) -> None:
        actions, single = _actions(connection, sql)
        if not single:
            raise self._refused("one statement at a time, please")
        for kind, table in actions:
            if kind in _READS or kind == "SQLITE_REINDEX":
                continue  # defining an index fills it; rebuilding another one changes nothing that is read
            own = table == self._name or table.startswith(f"{self._name}_")
            if kind in _DEFINES and own:
                continue
            if kind in _WRITES and (own or table in ("sqlite_schema", "sqlite_master")):
                continue  # defining a table inserts into the schema; writing there directly is refused by SQLite
            raise self._refused(f"{kind.removeprefix('SQLITE_').lower()} {table}".strip())

    def _check_read(self, connection: apsw.Connection, sql: str) -> None:
        actions, single = _actions(connection, sql)
        # VACUUM and its like ask for nothing.
        if not single or not actions or any(kind not in _READS for kind, _ in actions):
            raise ProjectionError(
                f"projection {self._name}: query() reads, with one SELECT; tables are changed by execute() within "
                "reset() and apply()",
                projection=self._name,
            )

    def _refused(self, what: str) -> ProjectionError:
        return ProjectionError(
            f"projection {self._name} may change the tables {self._name} and {self._name}_* only, not: {what}",
            projection=self._name,
        )


def _actions(connection: apsw.Connection, sql: str) -> tuple[list[tuple[str, str]], bool]:
    """Give what a statement would do, as (action, table), and whether it is one statement; nothing is done.

    query_info's own `actions` fail on anything that makes an index, a primary key included (apsw 3.54.1).
    """
    actions: list[tuple[str, str]] = []

    def note(code: int, third: str | None, fourth: str | None, database: str | None, source: str | None) -> int:
        kind = str(apsw.mapping_authorizer_function[code])
        of_index = kind in ("SQLITE_CREATE_INDEX", "SQLITE_DROP_INDEX")
        actions.append((kind, (fourth if of_index else third) or ""))
        return apsw.SQLITE_OK

    before = connection.authorizer
    connection.authorizer = note
    try:
        info = apsw.ext.query_info(connection, sql)
    finally:
        connection.authorizer = before
    return actions, not info.query_remaining


_RESERVED = (
    *("meta", "thread", "stream", "event", "erased", "projection"),
    *("latest", "history", "pending_writes", "threads", "metadata_index", "sqlite"),
)


def check_apart(name: str, names: Iterable[str]) -> None:
    """Check that one projection's tables cannot be another's, too.

    Raises:
        ConfigError: one of the names begins with the other and an underscore.
    """
    for other in names:
        if other.startswith(f"{name}_") or name.startswith(f"{other}_"):
            raise ConfigError(
                f"projections {name!r} and {other!r}: one name begins with the other, and so would those of its tables"
            )


def check_definition(projection: Any) -> None:
    """Check a projection's name and version.

    Raises:
        ConfigError: one is missing, or the name would reach tables of others.
    """
    name, version = getattr(projection, "name", None), getattr(projection, "schema_version", None)
    if not isinstance(name, str) or not name.isascii() or not name.isidentifier() or name != name.lower():
        raise ConfigError(f"a projection's name is lower-case letters, digits and underscores, not {name!r}")
    if any(r == name or r.startswith(f"{name}_") or name.startswith(f"{r}_") for r in _RESERVED):
        raise ConfigError(f"a projection cannot be called {name!r}: its tables could be mistaken for the log's own")
    if not isinstance(version, int) or version < 1:
        raise ConfigError(f"projection {name}: schema_version is 1 or more, not {version!r}")
    for method in ("reset", "apply"):
        if not callable(getattr(projection, method, None)):
            raise ConfigError(f"projection {name} has no method {method}()")
