"""Giving the space of what was erased back to the file system, paced, while others append."""

from __future__ import annotations

from collections.abc import Iterator

from ...eventlog.database import Database
from ...eventlog.space import fold, free_some, pages_with_remains, rewrite, sizes, truncate_wal
from ...eventlog.sql import the_row
from .pacing import Pace

__all__ = ["fold_if_large", "free", "pages_with_remains", "rewrite", "sizes", "truncate"]

# Below that, the WAL is folded in by whoever commits; above, a reader stays, and it would only grow.
_MANY_WAL_PAGES = 3_000
_LOOKS = 20
_LOOK_AGAIN_S = 0.05
_HEAD = "SELECT head FROM meta"


def free(database: Database, pace: Pace) -> Iterator[int]:
    """Give pages that nothing uses back, and yield after each transaction how many are left."""
    with database.reading() as connection:
        left = int(connection.pragma("freelist_count"))
        head = the_row(connection, _HEAD)[0]
    while left:
        with pace.transaction(), database.writing() as connection:
            pace.begun()
            before, head = head, the_row(connection, _HEAD)[0]
            if head != before:
                pace.saw_others()
            left = free_some(connection, pace.pages)
        yield left
        fold_if_large(database, pace)


def fold_if_large(database: Database, pace: Pace) -> None:
    """Wait for up to a second while a reader keeps the WAL from beginning anew, so that it does not grow for ever."""
    if database.private or not pace.is_time_to_fold():
        return
    for _ in range(_LOOKS):
        pages, folded = fold(database)
        if pages < _MANY_WAL_PAGES or folded >= pages:
            return
        pace.sleep(_LOOK_AGAIN_S)


def truncate(database: Database, pace: Pace) -> bool:
    """Empty the WAL, into which what was erased was written before; tell whether that could be done."""
    return truncate_wal(database, sleep=pace.sleep)
