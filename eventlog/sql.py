"""Running queries: what apsw types as any SQLite value is, in STRICT tables, what the caller knows it to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import apsw

from .errors import LogDamagedError

__all__ = ["Bindings", "all_rows", "one_row", "the_row"]

Bindings = Iterable[Any] | Mapping[str, Any]


def all_rows(connection: apsw.Connection, sql: str, bindings: Bindings = ()) -> list[Any]:
    """Give every row, a tuple each."""
    return connection.execute(sql, bindings).fetchall()  # type: ignore[arg-type]  # apsw types bindings more narrowly


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
