"""One SQLite connection, set up the way this log needs it; nothing here knows what is in the file.

Settings are made on each connection: apsw.bestpractice.apply would hook every connection of the host program. Of its
recommendations we take WAL, strict quoting and recursive triggers, have a busy handler of our own instead
of SQLite's, which starves writers, and leave foreign keys (none are declared, verify() checks) and
`optimize` (plans are fixed by the queries, and statistics would change them).
"""

from __future__ import annotations

import random
import time
from urllib.parse import quote

import apsw

from .encryption import Key

__all__ = ["BusyHandler", "WalCheckpoints", "connect", "file_uri", "is_private"]

_WAL_LIMIT_BYTES = 16 * 1024 * 1024
# So many at a time are folded in: a thousand pages of four kilobytes, as SQLite of its own does, or two thousand of 2.
# Where that has not been enough, readers are waited for.
_WAL_BYTES_AT_A_TIME = 4_096_000
_WAIT_FOR_READERS_MS = 200
_CACHE_KIB = 16 * 1024
# More than there are statements, so that each is prepared once for each connection.
_CACHED_STATEMENTS = 128


class BusyHandler:
    """Retries after a short random pause until the deadline.

    SQLite's own handler backs off up to 100 ms, so that under many writers some starve until their timeout; with pauses
    of 0.2 to 2 ms none does.
    """

    def __init__(self, timeout_ms: int) -> None:
        self.timeout_ms = timeout_ms
        self._deadline = 0.0

    def __call__(self, tried: int) -> bool:
        """Tell SQLite whether to try again, having waited."""
        now = time.monotonic()
        if tried == 0:
            self._deadline = now + self.timeout_ms / 1000
        if now >= self._deadline:
            return False
        pause()
        return True


class WalCheckpoints:
    """Folds the WAL into the file after commits, so that it begins anew; what SQLite does of its own is not enough.

    SQLite folds in what it can without waiting, and begins anew when it happens that nobody is reading. With readers
    in several processes somebody always is, and the WAL grows for as long as that goes on. So when it has become
    large, those who are reading are waited for: whoever begins meanwhile does not need the WAL any more. A foreign
    reader may keep its transaction for hours: it is waited for a little, and again when the WAL has grown further.
    """

    def __init__(self, busy: BusyHandler) -> None:
        self._busy = busy
        self._pages_at_a_time = self._many_pages = self._next = 0

    def __call__(self, connection: apsw.Connection, name: str, pages: int) -> int:
        """Be told by SQLite, after each commit, how many pages the WAL has."""
        if not self._next:  # the first commit: before it, a new file had no pages of any size
            page_bytes = connection.pragma("page_size")
            self._next = self._pages_at_a_time = _WAL_BYTES_AT_A_TIME // page_bytes
            self._many_pages = _WAL_LIMIT_BYTES // page_bytes
        if pages + self._pages_at_a_time < self._next:  # it has begun anew
            self._next = self._pages_at_a_time
        if pages >= self._next:
            self._next = pages + self._pages_at_a_time
            self._fold(connection, wait=pages >= self._many_pages)
        return apsw.SQLITE_OK

    def _fold(self, connection: apsw.Connection, *, wait: bool) -> None:
        timeout_ms = self._busy.timeout_ms
        try:
            self._busy.timeout_ms = _WAIT_FOR_READERS_MS
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART if wait else apsw.SQLITE_CHECKPOINT_PASSIVE)
        except Exception:  # noqa: S110  the commit is durable: whatever goes wrong here must not look as if it were not
            pass
        finally:
            self._busy.timeout_ms = timeout_ms


def pause() -> None:
    """Wait the short random time after which a lock is tried again."""
    time.sleep(random.uniform(0.0002, 0.002))


def is_private(path: str) -> bool:
    """Tell whether SQLite gives this path a database that nobody else can open."""
    return path in (":memory:", "")


def file_uri(path: str, *, immutable: bool = False, key: Key | None = None) -> str:
    """Give the URI of a file.

    Args:
        path: absolute.
        immutable: SQLite reads it without taking a lock, and without its WAL.
        key: the file is encrypted with it; so is one that is made.
    """
    # Two slashes at the beginning, which POSIX allows, would be taken for the name of a host.
    authority = "//" if path.startswith("/") else ""
    parameters = ["immutable=1"] * immutable + ([] if key is None else [key.uri_parameters()])
    return f"file:{authority}{quote(path)}?{'&'.join(parameters)}"


def connect(
    path: str,
    *,
    flags: int,
    busy_timeout_ms: int,
    synchronous: str,
    writer: bool,
    immutable: bool = False,
    key: Key | None = None,
) -> apsw.Connection:
    """Open a connection and set it up.

    Args:
        path: absolute, or ":memory:" or "".
        flags: apsw's SQLITE_OPEN_* flags.
        busy_timeout_ms: how long a lock is waited for.
        synchronous: "FULL" or "NORMAL".
        writer: False forbids any change through this connection.
        immutable: nobody changes the file, and no WAL belongs to it: SQLite takes no lock.
        key: the file is encrypted with it. A private database is then kept in memory.
    """
    if is_private(path):
        path = path if key is None else ":memory:"
    elif immutable or key is not None:
        path, flags = file_uri(path, immutable=immutable, key=key), flags | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(path, flags=flags, statementcachesize=_CACHED_STATEMENTS)
    try:
        busy = BusyHandler(busy_timeout_ms)
        connection.set_busy_handler(busy)
        # A hostile schema may not call functions, nor a string pass for a column.
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
        connection.pragma("cell_size_check", "ON")
        connection.pragma("temp_store", "MEMORY")  # state never reaches a temporary file
        connection.pragma("cache_size", -_CACHE_KIB)
        if writer:
            connection.pragma("synchronous", synchronous)
            connection.pragma("recursive_triggers", "ON")
            connection.pragma("secure_delete", "ON")
            connection.pragma("journal_size_limit", _WAL_LIMIT_BYTES)
            connection.set_wal_hook(WalCheckpoints(busy))  # in the place of SQLite's own
        else:
            connection.pragma("query_only", "ON")
    except BaseException:
        connection.close()
        raise
    return connection
