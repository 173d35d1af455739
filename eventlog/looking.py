"""Finding out what a path holds before touching it (FORMAT.md section 1).

A file that may not be ours is looked at with `immutable=1` only: merely opening a killed program's database would
fold its WAL, and a plain open() of a file that this process has open would drop its POSIX locks.
"""

from __future__ import annotations

import contextlib
import os
from enum import Enum
from typing import Any

import apsw

from .connection import file_uri, pause
from .encryption import Key
from .errors import LogOpenError, NewerFormatError, NotAnEventLogError
from .forking import opening_apart
from .opening import APPLICATION_ID, FORMAT_VERSION, foreign
from .sql import all_rows

__all__ = ["Found", "look"]

# Persisted, by SQLite.
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
_LOOKS = 40  # about 50 ms
_SQLITE_MAGIC = b"SQLite format 3\0"
_HEADER_SIZE = 100
# Rollback journal or WAL, nothing reserved, and three numbers that never change.
_HEADER_FORMATS = (b"\1\1\0@  ", b"\2\2\0@  ")
_SCHEMA_FORMAT, _UTF_8 = b"\0\0\0\4", b"\0\0\0\1"


class Found(Enum):
    """What a path holds."""

    NOTHING = "nothing"
    LOG = "a log"


def look(path: str, key: Key | None = None) -> Found:
    """Tell what is at `path`, leaving it as it is.

    Raises:
        NotAnEventLogError: something else is there, or the key is not the file's: SQLite cannot tell which.
        NewerFormatError: a log is there that this version cannot read.
        LogOpenError: it is a folder, or cannot be looked at, or a key was given and the log is not encrypted.
    """
    if os.path.isdir(path):
        raise LogOpenError(
            f"{path} is a folder: give the path of a file in it, {path}/agent.db for instance", path=path
        )
    if not os.path.exists(path):
        return Found.NOTHING
    if not os.path.isfile(path):
        raise LogOpenError(f"{path} is not a regular file: give the path of one", path=path)
    if os.path.getsize(path) == 0:
        if _size(path + "-wal") > 0:
            raise foreign(path, "is empty, but has a WAL beside it")
        return Found.NOTHING
    unfinished = _is_unfinished_creation(path)
    try:
        application_id, version, tables = _look_inside(path, key)
    except (apsw.NotADBError, apsw.CorruptError):
        if unfinished:
            return Found.NOTHING
        raise _unreadable(path, key) from None
    except apsw.Error as e:
        raise LogOpenError(f"{path} cannot be read: {e}", path=path) from e
    if application_id != APPLICATION_ID:
        if unfinished and not tables:
            return Found.NOTHING  # not even the first page was written whole
        raise foreign(path, _describe(tables))
    if unfinished:
        return Found.NOTHING
    if version > FORMAT_VERSION:
        raise NewerFormatError(
            f"{path} has format version {version}, and this library reads up to {FORMAT_VERSION}: "
            "upgrade langgraph-checkpoint-eventlog",
            path=path,
            found=version,
            supported=FORMAT_VERSION,
        )
    return Found.LOG


def _look_inside(path: str, key: Key | None) -> tuple[int, int, list[str]]:
    """Give the identity, the version, and unless it is a log, the names of the tables."""
    header = None if key is not None else _header(path)
    if header is not None and header[0] == APPLICATION_ID:
        return (*header, [])
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    uri = file_uri(path, immutable=True, key=key)
    with opening_apart, contextlib.closing(apsw.Connection(uri, flags=flags)) as connection:
        # While the WAL, which is not looked at here, is folded in (and after one that was killed, or that readers kept
        # from ending), the header may speak of pages that are not in the file yet. Without this, that is corruption.
        connection.config(apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA, 1)
        application_id = _application_id(connection, torn=key is not None)
        if application_id == APPLICATION_ID:
            return application_id, connection.pragma("user_version"), []
        version = connection.pragma("user_version")
        names = all_rows(connection, "SELECT name FROM sqlite_schema WHERE type = 'table'")
        return application_id, version, [name for (name,) in names]


def _header(path: str) -> tuple[int, int] | None:
    """Give the identity and the version as they stand in a SQLite file's first page; None if there is no such page."""
    # Through SQLite's own file layer, which knows of the locks that other connections of this process hold.
    flags = [apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_MAIN_DB, 0]
    with opening_apart:
        file = apsw.VFSFile("", path, flags)
        try:
            page = file.xRead(_HEADER_SIZE, 0)
        finally:
            file.xClose()
    # What SQLite itself looks at before it takes a file for a database: its own error is to be told if it refuses.
    page_size = int.from_bytes(page[16:18], "big")
    is_page_size = page_size == 1 or (page_size >= 512 and page_size & (page_size - 1) == 0)
    if not page.startswith(_SQLITE_MAGIC) or not is_page_size or page[18:24] not in _HEADER_FORMATS:
        return None
    if len(page) < _HEADER_SIZE or page[44:48] != _SCHEMA_FORMAT or page[56:60] != _UTF_8:
        return None
    return int.from_bytes(page[68:72], "big"), int.from_bytes(page[60:64], "big")


def _application_id(connection: apsw.Connection, *, torn: bool) -> Any:
    """Read the first page. An encrypted one that is read while it is written, half old and half new, is no page."""
    for _ in range(_LOOKS if torn else 0):
        with contextlib.suppress(apsw.NotADBError):
            return connection.pragma("application_id")
        pause()
    return connection.pragma("application_id")


def _describe(tables: list[str]) -> str:
    if {"checkpoints", "writes"} <= set(tables):
        return "is a database of LangGraph's own SqliteSaver"
    return "is some other SQLite database"


def _unreadable(path: str, key: Key | None) -> LogOpenError:
    if key is None:
        return foreign(path, "is not a SQLite database (or its header is damaged, or it is encrypted: give its key)")
    try:
        application_id, _, tables = _look_inside(path, None)
    except apsw.Error:
        return NotAnEventLogError(
            f"{path} cannot be read with the key that was given: that is not its key, or it is not an event log, or "
            "its header is damaged; SQLite cannot tell which. It was left as it is",
            path=path,
        )
    if application_id != APPLICATION_ID:
        return foreign(path, _describe(tables))
    return LogOpenError(
        f"{path} is an event log that is not encrypted, and a key was given: leave the key out, or encrypt the log "
        "first with rekey(path, key=None, new_key=...)",
        path=path,
    )


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _is_unfinished_creation(path: str) -> bool:
    """Tell whether a hot rollback journal says that the database was empty before it."""
    try:
        with open(path + "-journal", "rb") as journal:
            header = journal.read(20)
    except OSError:
        return False
    return header[:8] == _JOURNAL_MAGIC and header[16:20] == bytes(4)
