"""What is done to the WAL after each commit: it is folded into the file, and kept longer than what is in it.

A commit at FULL syncs the WAL. While that is written at its end, it grows, and each sync has to wait for the file
system's journal, too, which takes as long again. So zeros are put behind what is in it, some hundred commits' worth at
a time, and commits are written over those. SQLite expects a WAL that is longer than what is in it: begun anew, it still
has what it held before, and where that begins is told by salts and checksums, which zeros never have. They are only
ever appended (O_APPEND: what another process writes meanwhile is not written over), and nobody relies on them.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    from .connection import BusyHandler

__all__ = ["WAL_LIMIT_BYTES", "AfterCommit"]

# Longer than this it is not when it begins anew.
WAL_LIMIT_BYTES = 16 * 1024 * 1024
# So many at a time are folded in: a thousand pages of four kilobytes, as SQLite of its own does, or two thousand of 2.
# Where that has not been enough, readers are waited for.
_BYTES_AT_A_TIME = 4_096_000
_WAIT_FOR_READERS_MS = 200
# Of the WAL as a whole, and of each page in it: https://sqlite.org/fileformat2.html#walformat
_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
# A commit is mostly 10 kB. There is room for some more, and it doubles when that gets short.
_LEAST_ROOM_BYTES = 64 * 1024
_MOST_ROOM_BYTES = 1024 * 1024
# Of a disk that is nearly full nothing is taken that is not needed: folding in needs space, too.
_LEFT_FREE_BYTES = 64 * 1024 * 1024


class AfterCommit:
    """Folds the WAL into the file, so that it begins anew, and makes room behind what is in it.

    What SQLite does of its own is not enough. It folds in what it can without waiting, and begins anew when it happens
    that nobody is reading. With readers in several processes somebody always is, and the WAL grows for as long as that
    goes on. So when it has become large, those who are reading are waited for: whoever begins meanwhile does not need
    the WAL any more. A foreign reader may keep its transaction for hours: it is waited for a little, and again when the
    WAL has grown further.

    Args:
        busy: of the connection.
        ahead: whether to keep the WAL longer than what is in it, for who syncs each commit. Only where appending to a
            file is one step.
    """

    def __init__(self, busy: BusyHandler, *, ahead: bool) -> None:
        self._busy = busy
        self._ahead = ahead and os.name == "posix"
        self._frame_bytes = self._pages_at_a_time = self._many_pages = self._next = self._last = 0
        # Up to how many pages there is room enough, as far as is known.
        self._enough = 0

    def __call__(self, connection: apsw.Connection, name: str, pages: int) -> int:
        """Be told by SQLite, after each commit, how many pages the WAL has."""
        if not self._next:  # the first commit: before it, a new file had no pages of any size
            page_bytes = connection.pragma("page_size")
            self._frame_bytes = _FRAME_HEADER_BYTES + page_bytes
            self._next = self._pages_at_a_time = _BYTES_AT_A_TIME // page_bytes
            self._many_pages = WAL_LIMIT_BYTES // page_bytes
        if pages < self._last:  # it has begun anew, and may have been emptied
            self._next = self._pages_at_a_time
            self._enough = 0
        self._last = pages
        if pages >= self._enough and self._ahead:
            self._enough = self._make_room(connection, pages)
        if pages >= self._next:
            self._next = pages + self._pages_at_a_time
            self._fold(connection, wait=pages >= self._many_pages)
        return apsw.SQLITE_OK

    def _make_room(self, connection: apsw.Connection, pages: int) -> int:
        """Have room behind so many pages; give up to how many there is enough."""
        used = _HEADER_BYTES + pages * self._frame_bytes
        # Whole pages: so the WAL has a length that others expect.
        room = min(max(used, _LEAST_ROOM_BYTES), _MOST_ROOM_BYTES) // self._frame_bytes * self._frame_bytes
        try:
            # Closing it lets go of no lock: SQLite has those on the file itself, and on its shared memory.
            wal = os.open(connection.filename_wal, os.O_WRONLY | os.O_APPEND)
            try:
                size = os.fstat(wal).st_size
                # Shorter than what is in it: another process has emptied it since.
                free = shutil.disk_usage(connection.filename_wal).free if used <= size < used + room // 2 else 0
                if free > _LEFT_FREE_BYTES:
                    size += os.write(wal, bytes(used + room - size))
            finally:
                os.close(wal)
        except Exception:  # a full disk, for one: the commit is durable, and must not look as if it were not
            size = used
        left = max(size - used, 0) // self._frame_bytes
        # Where nothing could be done, not at each commit again.
        return pages + max(left - left // 4, _LEAST_ROOM_BYTES // self._frame_bytes)

    def _fold(self, connection: apsw.Connection, *, wait: bool) -> None:
        timeout_ms = self._busy.timeout_ms
        try:
            self._busy.timeout_ms = _WAIT_FOR_READERS_MS
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART if wait else apsw.SQLITE_CHECKPOINT_PASSIVE)
        except Exception:  # noqa: S110  the commit is durable: whatever goes wrong here must not look as if it were not
            pass
        finally:
            self._busy.timeout_ms = timeout_ms
