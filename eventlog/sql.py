"""Running queries: what apsw types as any SQLite value is, in STRICT tables, what the caller knows it to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import apsw

from .errors import LogDamagedError

__all__ = ["MAX_BYTES_A_PAGE", "Bindings", "all_rows", "one_row", "page_of_rows", "the_row"]

# Records may be large: a page of them ends with the one that makes it so.
MAX_BYTES_A_PAGE = 16 * 1024 * 1024

Bindings = Iterable[Any] | Mapping[str, Any]


def all_rows(connection: apsw.Connection, sql: str, bindings: Bindings = ()) -> list[Any]:
    """Give every row, a tuple each."""
    return connection.execute(sql, bindings).fetchall()  # type: ignore[arg-type]  # apsw types bindings more narrowly


def page_of_rows(
    connection: apsw.Connection, sql: str, bindings: Bindings, limit: int, *, sized: int
) -> tuple[list[Any], bool]:
    """Give the first rows, up to the one that makes them large together; and whether there may be more.

    Args:
        connection: to the file.
        sql: a query for at most `limit` rows.
        bindings: its values.
        limit: as given to the query.
        sized: the column whose bytes count.
    """
    rows, size = [], 0
    cursor: Any = connection.execute(sql, bindings)  # type: ignore[arg-type]  # apsw types bindings more narrowly
    try:
        for row in cursor:
            rows.append(row)
            # What SQLite reads of a damaged row may be anything.
            size += len(row[sized]) if isinstance(row[sized], bytes | str) else 0
            if size >= MAX_BYTES_A_PAGE:
                return rows, True
    finally:
        cursor.close(force=True)  # or, after an error, the connection would go on seeing this moment
    return rows, len(rows) == limit


def one_row(connection: apsw.Connection, sql: str, bindings: Bindings = ()) -> Any:
    """Give the first row, a tuple, or None."""
    return connection.execute(sql, bindings).fetchone()  # type: ignore[arg-type]  # apsw types bindings more narrowly


def the_row(connection: apsw.Connection, sql: str, bindings: Bindings = ()) -> Any:
    """Give the first row of a query that always has one.

    Raises:
        LogDamagedError: it has none.
    """
    row = one_row(connection, sql, bindings)
    if row is None:
        raise LogDamagedError("a row that every log has is missing. verify() lists all damage")
    return row
