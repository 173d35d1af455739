"""Making a path ready to be a log: what is there is looked at, and what is not there is made."""

from __future__ import annotations

from collections.abc import Callable

import apsw

from .database import Database
from .errors import LogOpenError, LogReadOnlyError, NotAnEventLogError
from .looking import Found, look
from .opening import check_schema, create, prepare_folder, use_journal

__all__ = ["open_or_make"]


def open_or_make(database: Database, clock: Callable[[], int]) -> None:
    """Look at what the database's path holds, and make a log there if there is nothing.

    What is as it should be is only read, and waits for no writer.

    Raises:
        LogOpenError: and its kinds, when it cannot be a log; what is there is left as it is.
    """
    if database.private:
        with database.exclusive() as connection:
            create(connection, path=database.path, now_us=clock(), timeout_ms=database.busy_timeout_ms)
        return
    while True:
        found = look(database.path, database.key)
        try:
            _open_found(database, found, clock)
            return
        except NotAnEventLogError:
            if found is Found.LOG or database.key is None:
                raise
            # Another process was quicker to make it, with a salt of its own: without that, a passphrase gives
            # another key.
            database.reconnect()


def _open_found(database: Database, found: Found, clock: Callable[[], int]) -> None:
    if database.read_only:
        if found is Found.NOTHING:
            raise LogOpenError(
                f"{database.path} is not there (or empty), and read_only=True does not make it", path=database.path
            )
        with database.reading() as connection:
            check_schema(connection, path=database.path)
        return
    try:
        # What is as it should be is only read: the connection that writes is opened when something is appended.
        if found is Found.NOTHING or not _is_ready(database):
            _make_ready(database, found, clock)
    except LogReadOnlyError as e:  # SQLite's word, too, for a folder in which it cannot make the WAL
        raise LogOpenError(
            f"{database.path} may not be written: mend its permissions, or read it with read_only=True",
            path=database.path,
        ) from e


def _is_ready(database: Database) -> bool:
    with database.reading() as connection:
        _check_writable(connection, database.path)
        if connection.pragma("journal_mode") != "wal":
            return False
        check_schema(connection, path=database.path)
        return True


def _make_ready(database: Database, found: Found, clock: Callable[[], int]) -> None:
    if found is Found.NOTHING:
        prepare_folder(database.path)
    with database.exclusive() as connection:
        _check_writable(connection, database.path)
        if found is Found.NOTHING:
            create(connection, path=database.path, now_us=clock(), timeout_ms=database.busy_timeout_ms)
        use_journal(connection, "wal", timeout_ms=database.busy_timeout_ms)
        check_schema(connection, path=database.path)


def _check_writable(connection: apsw.Connection, path: str) -> None:
    if connection.readonly("main"):
        raise LogReadOnlyError(f"{path} cannot be written")
