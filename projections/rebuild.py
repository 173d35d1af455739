"""Rebuilding the built-in projections from the log: into shadow tables, in short transactions, then a swap."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

import apsw

from ..eventlog.errors import CorruptRecordError, EventLogError, LogBusyError, LogDamagedError
from ..eventlog.log import EventLog
from ..eventlog.reader import Row
from ..eventlog.space import rewrite
from ..eventlog.sql import all_rows, one_row, the_row
from ..eventlog.streams import StreamKeys
from .builtin import BuiltIn
from .metadata_index import KEY_DDL

__all__ = [
    "NEXT_GENERATION",
    "TABLES",
    "RebuildTakenOverError",
    "create_tables",
    "rebuild",
    "record_versions",
    "wait_for_another",
]

_BATCH = 500
_LOOK_AGAIN_S = 0.02
_SHADOW = "_rebuild"
_OLD = "_old"
_SET_VERSION = "INSERT OR REPLACE INTO projection (name, schema_version, progress) VALUES (?, ?, NULL)"
_FORGET_VERSION = "DELETE FROM projection WHERE name = ?"
# One row marks a rebuild under way: whoever starts another one takes the shadow tables over.
_MARK = "INSERT OR REPLACE INTO projection (name, schema_version, progress) VALUES ('rebuild under way', ?, 0)"
_MARKED = "SELECT schema_version FROM projection WHERE name = 'rebuild under way'"
_MARK_PROGRESS = "UPDATE projection SET progress = ? WHERE name = 'rebuild under way'"
_UNDER_WAY = "SELECT schema_version, progress FROM projection WHERE name = 'rebuild under way'"
_UNMARK = "DELETE FROM projection WHERE name = 'rebuild under way'"
NEXT_GENERATION = "UPDATE meta SET generation = generation + 1 RETURNING generation"

TABLES = ("history", "history_recent", "pending_writes", "threads", "metadata_index")
# Tables that earlier versions of this library had: files are rid of them when they are rebuilt.
_RETIRED = ("latest",)
_LEFTOVERS = tuple(name + suffix for suffix in (_SHADOW, _OLD) for name in (*TABLES, *_RETIRED))
_KEY_DDL = KEY_DDL.replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1)


class RebuildTakenOverError(LogBusyError):
    """Another rebuild was begun after this one, and goes on in its place."""


def create_tables(connection: apsw.Connection, builtin: BuiltIn, *, schema: str = "") -> None:
    """Make the tables, in the main database or another schema; and the one of declared keys, if it is not there.

    That one is no projection: it stays through rebuilds.
    """
    if not schema:
        connection.execute(_KEY_DDL)
    for table in builtin.tables:
        connection.execute(table.sql(table.ddl).replace("CREATE TABLE ", f"CREATE TABLE {schema}", 1))


def record_versions(connection: apsw.Connection, builtin: BuiltIn) -> None:
    """Note the schema versions of the tables that are there now."""
    for table in builtin.tables:
        connection.execute(_SET_VERSION, (table.name, table.schema_version))


def rebuild(log: EventLog, progress: Callable[[int, int], None] | None = None) -> int:
    """Make the built-in projections anew from the log; give the file's new generation.

    `progress` is told up to which position they are made, and up to which they will be. Appends go on meanwhile, on the
    old tables. A kill leaves the old tables in place, and the next rebuild clears up.

    Raises:
        RebuildTakenOverError: another rebuild was begun.
        CorruptRecordError: an event cannot be read; the old tables stay.

    Where the old tables are so damaged that SQLite cannot drop them, or not all of their pages, the whole file is
    written anew without them; there may be none then, until the new ones are complete.
    """
    shadow = BuiltIn(log.reader, StreamKeys(), suffix=_SHADOW)
    token = int.from_bytes(os.urandom(6), "big")
    _begin_somehow(log, shadow, token)
    position = 0
    while True:
        with log.database.writing() as connection:
            if one_row(connection, _MARKED) != (token,):
                raise RebuildTakenOverError(
                    f"another rebuild of {log.path} took over from this one", path=log.path, waited_ms=0
                )
            rows, more = log.reader.page(connection, position, _BATCH)
            for row in rows:
                _apply(shadow, connection, log, row)
            head = log.reader.head(connection).position
            if not more:
                shadow.metadata_index.take_in_new(connection)
                generation = _swap(connection, shadow)
                break
            position = rows[-1][0]
            connection.execute(_MARK_PROGRESS, (position,))
        if progress is not None:
            progress(position, head)
    if progress is not None:
        progress(head, head)
    try:
        with log.database.writing() as connection:
            _drop(connection, _OLD)
    except LogDamagedError:
        _cut_out(log, _LEFTOVERS)
    with contextlib.suppress(LogDamagedError):  # of the log itself: that is not for a rebuild to mend
        with log.database.reading() as connection:
            lost = _has_lost_pages(connection)
        if lost:
            rewrite(log.database)
    return generation


def _begin_somehow(log: EventLog, shadow: BuiltIn, token: int) -> None:
    """Begin, whatever is damaged of the tables.

    SQLite cannot drop a table that is damaged, and may have to move its pages to make another.
    """
    for damaged in (_LEFTOVERS, (*_LEFTOVERS, *TABLES)):
        try:
            _begin(log, shadow, token)
            return
        except LogDamagedError:
            if TABLES[0] in damaged:
                for _ in log.read():  # raises if there is no way to have them again
                    pass
            with contextlib.suppress(LogDamagedError):
                _cut_out(log, damaged)
    _begin(log, shadow, token)


def _begin(log: EventLog, shadow: BuiltIn, token: int) -> None:
    with log.database.writing() as connection:
        _drop(connection, _SHADOW)
        _drop(connection, _OLD)
        create_tables(connection, shadow)
        shadow.metadata_index.look(connection)
        connection.execute(_MARK, (token,))


def _apply(shadow: BuiltIn, connection: apsw.Connection, log: EventLog, row: Row) -> None:
    event = log.reader.to_event(row)
    try:
        shadow.apply(connection, event)
    except (EventLogError, apsw.Error):
        raise
    except Exception as e:
        # Well formed, but not what a saver appends: a put that is about no stream, metadata that is no map.
        raise CorruptRecordError(
            f"what it says cannot be: {type(e).__name__}", path=log.path, position=event.position
        ) from e


def wait_for_another(log: EventLog) -> bool:
    """Wait while another process rebuilds; tell whether one did, and has ended.

    One that stands still for the busy timeout is not waited for.
    """
    timeout_s = log.database.busy_timeout_ms / 1000
    seen, since = None, time.monotonic()
    while True:
        with log.database.reading() as connection:
            found = one_row(connection, _UNDER_WAY)
        if found is None:
            return seen is not None
        if found != seen:
            seen, since = found, time.monotonic()
        elif time.monotonic() - since > timeout_s:
            return False
        time.sleep(_LOOK_AGAIN_S)


def _swap(connection: apsw.Connection, shadow: BuiltIn) -> int:
    """Put the shadows in the tables' place. Renaming is quick however large they are.

    Dropping is not, and comes after.
    """
    existing = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    for name in TABLES:
        if name in existing:
            connection.execute(f"ALTER TABLE {name} RENAME TO {name}{_OLD}")
        connection.execute(f"ALTER TABLE {name}{_SHADOW} RENAME TO {name}")
    for name in _RETIRED:
        if name in existing:
            connection.execute(f"ALTER TABLE {name} RENAME TO {name}{_OLD}")
        connection.execute(_FORGET_VERSION, (name,))
    record_versions(connection, shadow)
    connection.execute(_UNMARK)
    generation: int = the_row(connection, NEXT_GENERATION)[0]
    return generation


def _drop(connection: apsw.Connection, suffix: str) -> None:
    for name in (*TABLES, *_RETIRED):
        connection.execute(f"DROP TABLE IF EXISTS {name}{suffix}")


def _has_lost_pages(connection: apsw.Connection) -> bool:
    """Tell whether the file has pages that are neither in use nor free: those that a damaged page of a table named."""
    return any("never used" in str(text) for (text,) in all_rows(connection, "PRAGMA quick_check"))


def _cut_out(log: EventLog, names: tuple[str, ...]) -> None:
    """Remove tables that SQLite cannot drop: from the schema, and then from the file, by writing all of it anew."""
    with log.database.exclusive() as connection:
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
        try:
            connection.pragma("writable_schema", "ON")
            with log.database.transaction(connection):
                for name in names:
                    connection.execute("DELETE FROM sqlite_schema WHERE tbl_name = ?", (name,))
                    connection.execute("DELETE FROM projection WHERE name = ?", (name,))
                connection.execute(_UNMARK)  # another's rebuild has lost its tables
                connection.execute(NEXT_GENERATION)
        finally:
            connection.pragma("writable_schema", "RESET")
            connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.execute("VACUUM")
