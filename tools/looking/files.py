"""How a log's file is used: pages, the WAL, tables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import apsw

from ...eventlog.sql import all_rows

__all__ = ["FileSizes", "file_sizes"]

_TABLES = "SELECT name, pgsize FROM dbstat WHERE aggregate = TRUE ORDER BY pgsize DESC, name"


@dataclass(frozen=True, slots=True)
class FileSizes:
    """How the file is used.

    Attributes:
        file_bytes: of the file.
        wal_bytes: of the WAL beside it.
        page_bytes: of a page.
        pages: how many.
        free_pages: how many of them hold nothing.
        tables: by table or index, the bytes of its pages, the largest first; {} where this SQLite cannot tell.
    """

    file_bytes: int
    wal_bytes: int
    page_bytes: int
    pages: int
    free_pages: int
    tables: Mapping[str, int]


def file_sizes(connection: apsw.Connection, path: str) -> FileSizes:
    """Say how the file at `path`, to which this is a connection, is used. Looks at each of its pages."""
    try:
        tables = dict(all_rows(connection, _TABLES))
    except apsw.SQLError:
        tables = {}
    return FileSizes(
        file_bytes=os.stat(path).st_size,
        wal_bytes=os.stat(f"{path}-wal").st_size if os.path.exists(f"{path}-wal") else 0,
        page_bytes=connection.pragma("page_size"),
        pages=connection.pragma("page_count"),
        free_pages=connection.pragma("freelist_count"),
        tables=tables,
    )
