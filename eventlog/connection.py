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
from .wal import WAL_LIMIT_BYTES, AfterCommit

__all__ = ["BusyHandler", "connect", "file_uri", "is_private"]

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
            connection.pragma("journal_size_limit", WAL_LIMIT_BYTES)
            # In the place of SQLite's own. Who does not sync each commit has nothing of a longer WAL.
            connection.set_wal_hook(AfterCommit(busy, ahead=synchronous == "FULL"))
        else:
            connection.pragma("query_only", "ON")
    except BaseException:
        connection.close()
        raise
    return connection
