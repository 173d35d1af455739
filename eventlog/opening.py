"""Finding out what a path holds before touching it, and making a new log (FORMAT.md section 1).

A file that may not be ours is looked at with `immutable=1` only: merely opening a killed program's database would
fold its WAL,
and a plain open() of a file that this process has open would drop its POSIX locks.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from enum import Enum
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import apsw

from .connection import file_uri, pause
from .encryption import Key
from .errors import ConfigError, LogDamagedError, LogOpenError, NewerFormatError, NotAnEventLogError
from .integrity import genesis_link
from .sql import all_rows, one_row

__all__ = [
    "APPLICATION_ID",
    "FORMAT_VERSION",
    "Found",
    "check_schema",
    "create",
    "expected_schema",
    "folded",
    "look",
    "opening_apart",
    "prepare_folder",
    "use_journal",
]

# Persisted: do not change.
APPLICATION_ID = 0x4C474556  # "LGEV"
FORMAT_VERSION = 1
_AUTO_VACUUM_INCREMENTAL = 2
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")

_LOOKS = 40  # about 50 ms
_SQLITE_MAGIC = b"SQLite format 3\0"
_HEADER_SIZE = 100
# Rollback journal or WAL, nothing reserved, and three numbers that never change.
_HEADER_FORMATS = (b"\1\1\0@  ", b"\2\2\0@  ")
_SCHEMA_FORMAT, _UTF_8 = b"\0\0\0\4", b"\0\0\0\1"
_STATEMENT = re.compile(
    r"^(?P<sql>CREATE (?P<type>TABLE|INDEX|TRIGGER) (?P<name>\w+)"
    r"(?:(?: BEFORE [A-Z_a-z, ]+?)? ON (?P<table>\w+))?.*?);\n(?:\n|\Z)",
    re.MULTILINE | re.DOTALL,
)

# Held by who makes a file, or opens one apart from a Database; and while the process forks: a child would inherit, for
# ever, what another thread had locked in SQLite at that moment. Whoever forks takes it last (see `forking`): who waits
# for it may have a write lock, as a projection has that opens another log.
opening_apart = threading.Lock()

_SCHEMA = files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")


def absolute(path: str | os.PathLike[str]) -> str:
    """Give the path that a log keeps, whatever the working directory becomes; ":memory:" and "" as they are."""
    try:
        text = os.fspath(path)
    except TypeError:
        raise ConfigError(f"path is a str or a path object, not {type(path).__name__}") from None
    if not isinstance(text, str):
        raise ConfigError(f"path is a str or a path object, not {type(text).__name__}")
    if text in (":memory:", ""):
        return text
    if "\0" in text:
        raise ConfigError("path holds a NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"path is not Unicode, which SQLite needs: {text!r}") from None
    # SQLite puts the WAL beside the file that a link leads to; two names of one file are one log.
    return os.path.realpath(os.path.expanduser(text))


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
            raise _foreign(path, "is empty, but has a WAL beside it")
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
        raise _foreign(path, _describe(tables))
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


def _foreign(path: str, what: str) -> NotAnEventLogError:
    return NotAnEventLogError(
        f"{path} {what}, not an event log: it was left as it is. Give another path, and a new log is made there",
        path=path,
    )


def _unreadable(path: str, key: Key | None) -> LogOpenError:
    if key is None:
        return _foreign(path, "is not a SQLite database (or its header is damaged, or it is encrypted: give its key)")
    try:
        application_id, _, tables = _look_inside(path, None)
    except apsw.Error:
        return NotAnEventLogError(
            f"{path} cannot be read with the key that was given: that is not its key, or it is not an event log, or "
            "its header is damaged; SQLite cannot tell which. It was left as it is",
            path=path,
        )
    if application_id != APPLICATION_ID:
        return _foreign(path, _describe(tables))
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
        with Path(path + "-journal").open("rb") as journal:
            header = journal.read(20)
    except OSError:
        return False
    return header[:8] == _JOURNAL_MAGIC and header[16:20] == bytes(4)


def prepare_folder(path: str) -> None:
    """Make the folders above `path`, and the file, for its owner only (SQLite gives the WAL the same permissions).

    Raises:
        LogOpenError: that is not allowed, or a file is in the way.
    """
    try:
        _make_folders(os.path.dirname(path) or ".")
        # Closing the descriptor drops whatever locks this process has on the file: no other thread may have opened it.
        with opening_apart, contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            try:
                os.fchmod(descriptor, 0o600)  # whatever the umask took away
            finally:
                os.close(descriptor)
    except OSError as e:
        raise LogOpenError(
            f"{path} cannot be created: {e.strerror}. Give a path in a folder that can be written", path=path
        ) from e


def _make_folders(folder: str) -> None:
    """Make a folder and those above it, for their owner only, each so that it is still there when power has been lost.

    What is in the last of them SQLite sees to.
    """
    if os.path.isdir(folder):
        return
    above = os.path.dirname(folder)
    if above != folder:
        _make_folders(above)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
        os.chmod(folder, 0o700)  # whatever the umask took away
    with contextlib.suppress(OSError):  # not every system lets a folder be synced
        descriptor = os.open(above, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def create(connection: apsw.Connection, *, path: str, now_us: int, timeout_ms: int) -> None:
    """Make the tables, unless another process has done so meanwhile. Atomic: a kill leaves nothing, or all of it.

    The transaction begins deferred: BEGIN IMMEDIATE writes the first page before auto_vacuum could be set, and
    auto_vacuum outside of a transaction commits a page of its own.

    Raises:
        NotAnEventLogError: another program has made its tables there meanwhile.
        apsw.BusyError: others kept it locked all the time.
    """
    deadline = time.monotonic() + timeout_ms / 1000
    while True:
        try:
            connection.execute("BEGIN")
            if connection.pragma("application_id") != APPLICATION_ID:
                if one_row(connection, "SELECT 1 FROM sqlite_schema"):
                    raise _foreign(path, "is some other SQLite database")
                _write_schema(connection, now_us)
            connection.execute("COMMIT")
            return
        except apsw.BusyError:
            # Another process is creating it: two that have read cannot both go on to write.
            connection.execute("ROLLBACK")
            if time.monotonic() >= deadline:
                raise
            pause()
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _write_schema(connection: apsw.Connection, now_us: int) -> None:
    connection.pragma("auto_vacuum", _AUTO_VACUUM_INCREMENTAL)
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", FORMAT_VERSION)
    connection.execute(_SCHEMA)
    log_id = os.urandom(16)
    connection.execute(
        "INSERT INTO meta (id, head, link, generation, log_id, created_at) VALUES (1, 0, ?, 1, ?, ?)",
        (genesis_link(log_id=log_id, created_at=now_us), log_id, now_us),
    )


def use_journal(connection: apsw.Connection, mode: str, *, timeout_ms: int) -> None:
    """Switch the file to another journal, "wal" or "delete".

    Waits: to get to WAL, for those who are still in a transaction of the old kind; from WAL, for all who have it open.
    """
    deadline = time.monotonic() + timeout_ms / 1000
    while True:
        try:
            connection.pragma("journal_mode", mode)
            return
        except apsw.BusyError:
            if time.monotonic() >= deadline:
                raise
            pause()


def check_schema(connection: apsw.Connection, *, path: str) -> None:
    """Check that the log's tables and triggers are there and as they should be.

    Raises:
        LogDamagedError: one is missing or different: without its triggers, a log is not append-only.
    """
    rows = all_rows(connection, "SELECT type, name, tbl_name, sql FROM sqlite_schema")
    found = {name: (kind, table, folded(sql or "")) for kind, name, table, sql in rows}
    for name, entry in expected_schema().items():
        if found.get(name) != entry:
            what = "is missing" if name not in found else "is not what it should be"
            raise LogDamagedError(f"{path} is damaged, or was tampered with: {name} {what} in its schema")


@lru_cache(maxsize=1)
def expected_schema() -> dict[str, tuple[str, str, str]]:
    """Give the log's own tables, index and triggers: name to (type, table, SQL with its white space folded)."""
    # As SQLite keeps it: the text of each statement, without what surrounds it.
    return {
        found["name"]: (found["type"].lower(), found["table"] or found["name"], folded(found["sql"]))
        for found in _STATEMENT.finditer(_SCHEMA)
    }


def folded(sql: str) -> str:
    """Give SQL with its white space folded, to compare."""
    return " ".join(sql.split())
