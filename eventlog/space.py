"""Giving space back to the file system, and looking whether what was erased is gone from the file.

Each function does one short step, or can be interrupted: what is left is done by whoever comes next. A private log
(":memory:" or "") has no WAL, and no file that anyone could look into.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import apsw

from .database import Database

__all__ = ["Sizes", "fold", "free_some", "pages_with_remains", "rewrite", "sizes", "truncate_wal"]

_HEADER_BYTES = 100
_PENDING_BYTE = 0x40000000
_BTREE_PAGES = (2, 5, 10, 13)
_INTERIOR_PAGES = (2, 5)
_PAGES_AT_A_TIME = 256
_MIN_WAIT_MS = 5
_MAX_WAIT_MS = 80


class Sizes(NamedTuple):
    """Bytes of a log's file, and of its WAL. A private log has no WAL."""

    file: int
    wal: int


def sizes(database: Database) -> Sizes:
    """Look how large a log is."""
    if database.private:
        with database.reading() as connection:
            pages, page_bytes = connection.pragma("page_count"), connection.pragma("page_size")
        return Sizes(int(pages) * int(page_bytes), 0)
    return Sizes(os.stat(database.path).st_size, _size_of_wal(database))


def _size_of_wal(database: Database) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.stat(f"{database.path}-wal").st_size
    return 0


def free_some(connection: apsw.Connection, pages: int) -> int:
    """Give pages that nothing uses back, in the caller's write transaction; give how many are left.

    The file is as much smaller once the WAL has been folded into it.
    """
    # It frees one page for each row that is fetched.
    connection.execute(f"PRAGMA incremental_vacuum({int(pages)})").fetchall()
    return int(connection.pragma("freelist_count"))


def fold(database: Database) -> tuple[int, int]:
    """Fold into the file what of the WAL can be without waiting for anyone; give (pages in it, pages folded)."""
    if database.private:
        return 0, 0
    with database.maintaining(busy_timeout_ms=0) as connection, contextlib.suppress(apsw.BusyError):
        return connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    return 0, 0  # another is at it


def truncate_wal(database: Database, *, sleep: Callable[[float], None], attempts: int = 16) -> bool:
    """Fold all of the WAL into the file and empty it; tell whether that could be done.

    Those who are reading are waited for a little, several times: writers wait as long. Who reads on for longer keeps
    the WAL as it is.
    """
    if database.private:
        return True
    fold(database)
    wait_ms = _MIN_WAIT_MS
    for attempt in range(attempts):
        with database.maintaining(busy_timeout_ms=wait_ms) as connection, contextlib.suppress(apsw.BusyError):
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            return True
        if attempt < attempts - 1:
            sleep(2 * wait_ms / 1000)
        wait_ms = min(2 * wait_ms, _MAX_WAIT_MS)
    return False


def rewrite(database: Database) -> None:
    """Write all of the file anew, without gaps; others who write wait for it.

    It takes as much memory as the file has bytes, and the WAL grows by as much.
    """
    with database.exclusive() as connection:
        connection.execute("VACUUM")


def pages_with_remains(database: Database) -> int | None:
    """Count the pages of the file in whose unused part something stands: copies of what was moved to other pages.

    SQLite overwrites what is deleted, but not what it moved while it balanced a page; that stays until the room is
    used, or the file written anew. What is in the WAL is not looked at.

    Returns:
        None if the file cannot be looked into: it is encrypted, or reading it failed.
    """
    if database.private:
        return 0
    if database.key is not None:
        return None
    try:
        return sum(_has_remains(page, number, usable) for number, page, usable in _pages(database))
    except apsw.Error:
        return None


def _pages(database: Database) -> Iterator[tuple[int, bytes, int]]:
    # Not open(): closing such a file would drop all locks that this process has on it.
    file = apsw.VFSFile("", database.path, [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0])
    try:
        header = file.xRead(_HEADER_BYTES, 0)
        size = int.from_bytes(header[16:18], "big")
        size = 65536 if size == 1 else size
        usable = size - header[20]
        count = file.xFileSize() // size
        for first in range(0, count, _PAGES_AT_A_TIME):
            some = file.xRead(min(_PAGES_AT_A_TIME, count - first) * size, first * size)
            for at in range(0, len(some) // size):
                yield first + at + 1, some[at * size : (at + 1) * size], usable
    finally:
        file.xClose()


def _has_remains(page: bytes, number: int, usable: int) -> bool:
    """Tell whether a b-tree page has anything between its cell pointers and its cells."""
    start = _HEADER_BYTES if number == 1 else 0
    if _is_pointer_map(number, len(page), usable) or page[start] not in _BTREE_PAGES:
        return False
    cells = int.from_bytes(page[start + 3 : start + 5], "big")
    first = start + (12 if page[start] in _INTERIOR_PAGES else 8) + 2 * cells
    last = int.from_bytes(page[start + 5 : start + 7], "big") or 65536
    return first < last <= usable and any(page[first:last])


def _is_pointer_map(number: int, size: int, usable: int) -> bool:
    """Tell whether a page says of others what they are, as those of a file with auto_vacuum do."""
    every = usable // 5 + 1
    found = (number - 2) // every * every + 2
    return number >= 2 and number == found + (found == _PENDING_BYTE // size + 1)
