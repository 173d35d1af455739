"""Comparing the built-in projections with what a rebuild gives, without changing the file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

import apsw

from ..eventlog.errors import CorruptRecordError, LogDamagedError
from ..eventlog.finding import Finding
from ..eventlog.log import EventLog
from ..eventlog.opening import folded
from ..eventlog.sql import all_rows, one_row
from ..eventlog.streams import StreamKeys
from .builtin import BuiltIn
from .ids import from_key
from .metadata_index import KEY_DDL
from .rebuild import TABLES, create_tables
from .table import Table

__all__ = ["compare_with_rebuild"]

_BATCH = 500
_SUFFIX = "_check"
_MAX_FINDINGS = 20


def compare_with_rebuild(log: EventLog, progress: Callable[[int, int], None]) -> Iterator[Finding]:
    """Yield each row (the first 20 of a table) that is not what the log gives.

    The rebuild goes into a private temporary database. Only the comparison itself holds a read transaction. `progress`
    is told up to which position the rebuild is, and up to which it will be.
    """
    builtin = BuiltIn(log.reader, StreamKeys(), suffix=_SUFFIX)
    with log.database.scratch() as connection:
        create_tables(connection, builtin, schema="temp.")
        builtin.metadata_index.look(connection)
        position, more = 0, True
        while more:
            connection.execute("BEGIN")
            rows, more = log.reader.page(connection, position, _BATCH)
            for row in rows:
                try:
                    builtin.apply(connection, log.reader.to_event(row))
                except CorruptRecordError as e:
                    yield Finding("projection", e.position, "no rebuild is possible past this damaged event")
                    return
                except Exception as e:
                    # Well formed, but not what a saver appends: metadata that is no map, text that cannot be stored, a
                    # column that holds another type than it can.
                    yield Finding("projection", row[0], f"no rebuild is possible past this event: {type(e).__name__}")
                    return
            if rows:
                position = rows[-1][0]
            head = log.reader.head(connection).position
            if more:
                connection.execute("COMMIT")
            progress(position, head)
        # Still in the transaction that saw the head: the tables and the log are of one moment.
        builtin.metadata_index.take_in_new(connection)
        yield from _check_tables(connection, builtin)
        connection.execute("COMMIT")


def _check_tables(connection: apsw.Connection, builtin: BuiltIn) -> Iterator[Finding]:
    rows = all_rows(connection, "SELECT name, schema_version, progress FROM projection")
    states = {name: (version, progress) for name, version, progress in rows}
    for table in builtin.tables:
        version, progress = states.get(table.name, (None, None))
        if version != table.schema_version:
            yield Finding("projection", None, f"{table.name} is of schema version {version}")
            continue
        if progress is not None:
            yield Finding("projection", None, f"{table.name} has a progress, but is always at the head")
        if not _is_as_made(connection, table.name, table.ddl.replace("@", "")):
            yield Finding("projection", None, f"the table {table.name} is missing, or not what it should be")
            continue
        yield from _compare(connection, table)
    if not _is_as_made(connection, "metadata_index_key", KEY_DDL):
        yield Finding("projection", None, "the table metadata_index_key is missing, or not what it should be")
    elif one_row(connection, "SELECT 1 FROM main.metadata_index_key WHERE typeof(name) <> 'text'"):
        yield Finding("projection", None, "metadata_index_key holds a name that is none")
    assert {table.name for table in builtin.tables} == set(TABLES)


def _readable(row: tuple[Any, ...], table: Table) -> tuple[Any, ...]:
    """Give a row's key, with ids as texts if they can be read."""
    key = list(row[: table.key.count(",") + 1])
    for place, column in enumerate(table.key.split(", ")):
        if column == "checkpoint_id":
            with contextlib.suppress(LogDamagedError):
                key[place] = from_key(key[place])
    return tuple(key)


def _is_as_made(connection: apsw.Connection, name: str, ddl: str) -> bool:
    found = one_row(connection, "SELECT sql FROM main.sqlite_schema WHERE name = ?", (name,))
    return found is not None and folded(found[0]).replace('"', "") == folded(ddl)


def _compare(connection: apsw.Connection, table: Table) -> Iterator[Finding]:
    # The names and keys are constants of this package. NOT INDEXED: an index could hide a row.
    which = f"WHERE {table.derived} ORDER BY {table.key}"
    live = connection.execute(f"SELECT * FROM main.{table.name} NOT INDEXED {which}")
    rebuilt = connection.execute(f"SELECT * FROM temp.{table.name}{_SUFFIX} {which}")
    findings = 0
    try:
        for found, expected in zip_longest(live, rebuilt):
            if found != expected:
                key = _readable(found or expected, table)
                what = "is missing" if found is None else "should not be there" if expected is None else "is different"
                yield Finding("projection", None, f"{table.name}: the row {key} {what}")
                findings += 1
                if findings == _MAX_FINDINGS or found is None or expected is None:
                    return
    except (apsw.Error, UnicodeDecodeError) as e:
        yield Finding("projection", None, f"{table.name} cannot be read: {type(e).__name__}")
    finally:
        live.close(force=True)
        rebuilt.close(force=True)
