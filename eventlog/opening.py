"""Making a new log, and checking what a log's file is to be (FORMAT.md sections 1 and 2)."""

from __future__ import annotations

import contextlib
import os
import re
import time
from functools import lru_cache
from importlib.resources import files

import apsw

from .connection import pause
from .errors import ConfigError, LogDamagedError, LogOpenError, NotAnEventLogError
from .forking import opening_apart
from .integrity import genesis_link
from .sql import all_rows, one_row
from .syncing import sync

__all__ = [
    "APPLICATION_ID",
    "FORMAT_VERSION",
    "check_schema",
    "create",
    "expected_schema",
    "folded",
    "foreign",
    "prepare_folder",
    "use_journal",
]

# Persisted: do not change.
APPLICATION_ID = 0x4C474556  # "LGEV"
FORMAT_VERSION = 1
_AUTO_VACUUM_INCREMENTAL = 2
# Of a new file. An append changes several pages, a few hundred bytes in each: half of SQLite's own 4,096 is half of
# what is written into the WAL, and less that stays empty. With 1,024 too few records fit on a page.
_PAGE_BYTES = 2_048

_STATEMENT = re.compile(
    r"^(?P<sql>CREATE (?P<type>TABLE|INDEX|TRIGGER) (?P<name>\w+)"
    r"(?:(?: BEFORE [A-Z_a-z, ]+?)? ON (?P<table>\w+))?.*?);\n(?:\n|\Z)",
    re.MULTILINE | re.DOTALL,
)
_SCHEMA = files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
# As SQLite keeps it: the text of each statement, without what surrounds it.
_EXPECTED = {
    found["name"]: (found["type"].lower(), found["table"] or found["name"], found["sql"])
    for found in _STATEMENT.finditer(_SCHEMA)
}


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


def foreign(path: str, what: str) -> NotAnEventLogError:
    """Give the error for a file that is something else; `what` begins with a verb."""
    return NotAnEventLogError(
        f"{path} {what}, not an event log: it was left as it is. Give another path, and a new log is made there",
        path=path,
    )


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
        sync(above)


def create(connection: apsw.Connection, *, path: str, now_us: int, timeout_ms: int) -> None:
    """Make the tables, unless another process has done so meanwhile. Atomic: a kill leaves nothing, or all of it.

    The transaction begins deferred: BEGIN IMMEDIATE writes the first page before auto_vacuum could be set, and
    auto_vacuum outside of a transaction commits a page of its own.

    Raises:
        NotAnEventLogError: another program has made its tables there meanwhile.
        apsw.BusyError: others kept it locked all the time.
    """
    deadline = time.monotonic() + timeout_ms / 1000
    connection.pragma("page_size", _PAGE_BYTES)  # before anything is read; does nothing if the file is there already
    while True:
        try:
            connection.execute("BEGIN")
            if connection.pragma("application_id") != APPLICATION_ID:
                if one_row(connection, "SELECT 1 FROM sqlite_schema"):
                    raise foreign(path, "is some other SQLite database")
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
    found = {name: (kind, table, sql) for kind, name, table, sql in rows}
    for name, (kind, table, sql) in _EXPECTED.items():
        entry = found.get(name, (None, None, None))
        # Mostly it is the same text.
        if entry[:2] != (kind, table) or (entry[2] != sql and folded(entry[2] or "") != folded(sql)):
            what = "is missing" if name not in found else "is not what it should be"
            raise LogDamagedError(f"{path} is damaged, or was tampered with: {name} {what} in its schema")


@lru_cache(maxsize=1)
def expected_schema() -> dict[str, tuple[str, str, str]]:
    """Give the log's own tables, index and triggers: name to (type, table, SQL with its white space folded)."""
    return {name: (kind, table, folded(sql)) for name, (kind, table, sql) in _EXPECTED.items()}


def folded(sql: str) -> str:
    """Give SQL with its white space folded, to compare."""
    return " ".join(sql.split())
