"""Putting another file in a log's place: with another key (encrypting it, decrypting it, or both), or another log.

By copy and rename, never in place.

Changing the key in place destroys a file that another connection has open.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator

import apsw

from .connection import connect, file_uri, is_private
from .encryption import Key
from .errors import ConfigError, LogBusyError, LogDamagedError, LogIOError, LogOpenError, translated
from .looking import Found, look
from .opening import absolute, check_schema, use_journal
from .sql import the_row
from .syncing import sync

__all__ = ["rekey", "replace_log"]

_SUFFIX = ".rekey"
_FIRST_PAGE_BYTES = 4096
_META = "SELECT log_id, head, link, generation FROM meta"


def rekey(
    path: str | os.PathLike[str],
    *,
    key: str | bytes | None,
    new_key: str | bytes | None,
    busy_timeout_ms: int = 1_000,
) -> None:
    """Give the log at `path` another key; nobody may have it open.

    A kill or a power cut at any moment leaves the old file or the new one, whole. A copy beside it, `path` + ".rekey",
    takes as much space as the log; one that a kill left is overwritten by the next call. The new file has the old one's
    permissions, and is on the disk when this returns. The blocks that the old one took are given back to the file
    system, not wiped: what was not encrypted may be found there until they are used again.

    Args:
        path: of the log.
        key: its key; None: it is not encrypted.
        new_key: what it is to be encrypted with; None: it is to be decrypted.
        busy_timeout_ms: how long to wait for others to close it.

    Raises:
        LogBusyError: this process or another one has it open.
        ConfigError: a key is not usable, or this build of apsw cannot encrypt.
        LogOpenError: there is no log there, or `key` is not its key, or the file has a second name (a hard link).
        LogDamagedError, LogFullError, LogIOError: it cannot be copied; it is as it was.
    """
    old, new = Key.of(key), Key.of(new_key)
    if old is None and new is None:
        raise ConfigError("neither a key nor a new key was given: there is nothing to encrypt or to decrypt")
    if is_private(where := absolute(path)):
        raise ConfigError("a private log is not in a file that could get another key")
    if look(where, old) is not Found.LOG:
        raise LogOpenError(f"{where} is not there (or empty): there is no log to give another key", path=where)
    if os.stat(where).st_nlink > 1:
        raise LogOpenError(f"{where} is a hard link, one name of several: the others would not follow", path=where)
    with _alone(where, old, busy_timeout_ms) as (connection, take_its_place):
        copy = _copy(connection, where, new)
        with _failures_of_the_system(where, copy):
            take_its_place(copy)


def replace_log(
    path: str | os.PathLike[str], made: str, *, key: str | bytes | None = None, busy_timeout_ms: int = 1_000
) -> None:
    """Put another file in the place of the log at `path`; nobody may have that open.

    A kill or a power cut at any moment leaves the old file or the new one, whole.

    Args:
        path: of the log.
        made: the path of the other file, on the same file system, all of it on the disk; it has no WAL.
        key: of the log at `path`.
        busy_timeout_ms: how long to wait for others to close it.

    Raises:
        LogBusyError: this process or another one has it open.
        LogOpenError: there is no log there, or `key` is not its key.
        OSError: the files cannot be renamed; both are as they were.
    """
    old = Key.of(key)
    if look(where := absolute(path), old) is not Found.LOG:
        raise LogOpenError(f"{where} is not there (or empty): there is no log to replace", path=where)
    with _alone(where, old, busy_timeout_ms) as (_, take_its_place):
        take_its_place(made)


@contextlib.contextmanager
def _alone(path: str, key: Key | None, busy_timeout_ms: int) -> Iterator[tuple[apsw.Connection, Callable[[str], None]]]:
    """Give a connection to a file that nobody else has open, and what puts another file in its place."""
    connection = connect(
        path,
        # A URI, because VACUUM INTO is given one.
        flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI,
        busy_timeout_ms=busy_timeout_ms,
        synchronous="FULL",
        writer=True,
        key=key,
    )
    # What a host program traces on every connection would be given the URI of the copy, and its key in it.
    connection.trace_v2(0)
    connection.set_exec_trace(None)
    descriptors: list[int] = []

    def take_its_place(other: str) -> None:
        descriptors.append(os.open(path, os.O_RDWR))
        os.rename(other, path)
        sync(os.path.dirname(path))
        # Who opened the old file meanwhile waits for its lock. It is not to be found a log, nor to get a WAL, which
        # would lie beside the new one.
        os.pwrite(descriptors[0], bytes(_FIRST_PAGE_BYTES), 0)

    try:
        _keep_others_out(connection, path, busy_timeout_ms)
        yield connection, take_its_place
    finally:
        connection.close()
        # Not before: closing it drops whatever locks this process has on the file.
        for descriptor in descriptors:
            os.close(descriptor)


def _keep_others_out(connection: apsw.Connection, path: str, busy_timeout_ms: int) -> None:
    """Take the file for this connection alone, with all of its WAL in it, until it is closed."""
    try:
        with translated(path, busy_timeout_ms=busy_timeout_ms):
            connection.pragma("locking_mode", "EXCLUSIVE")
            # Who has a log open holds a lock on it all the time, without which WAL cannot be left.
            use_journal(connection, "delete", timeout_ms=busy_timeout_ms)
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
            check_schema(connection, path=path)
    except LogBusyError as e:
        raise LogBusyError(
            f"{path} is open in this process or in another: close it everywhere first",
            path=path,
            waited_ms=busy_timeout_ms,
        ) from e


def _copy(connection: apsw.Connection, path: str, new: Key | None) -> str:
    """Make a copy under another key, with the permissions of the file, and on the disk."""
    copy = path + _SUFFIX
    with _failures_of_the_system(path, copy):
        _remove(copy)
        made = os.open(copy, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            os.fchmod(made, 0o600)  # whatever the umask took away
        finally:
            os.close(made)
        if (failure := _vacuum_into(connection, copy, new)) is not None:
            with translated(path):
                raise failure
        _check(connection, copy, new)
        found = os.stat(path)
        if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(copy, found.st_uid, found.st_gid)
        os.chmod(copy, stat.S_IMODE(found.st_mode))
        sync(copy)
    return copy


def _vacuum_into(connection: apsw.Connection, copy: str, new: Key | None) -> apsw.Error | None:
    # Without a key of its own, a copy gets that of what it is a copy of; an empty one says that it has none.
    uri = f"{file_uri(copy)}key=" if new is None else file_uri(copy, key=new)
    try:
        connection.execute("VACUUM INTO ?", (uri,))
    except apsw.Error as e:
        # Not the error itself, which may quote the URI, and with it the key.
        return type(e)("the copy could not be made")
    return None


def _check(connection: apsw.Connection, copy: str, new: Key | None) -> None:
    """Read all of the copy again."""
    uri = file_uri(copy, immutable=True, key=new)
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    with translated(copy), contextlib.closing(apsw.Connection(uri, flags=flags)) as copied:
        same = the_row(copied, _META) == the_row(connection, _META)
        if not same or copied.pragma("quick_check", 1) != "ok":
            raise LogDamagedError(f"the copy in {copy} is not what was copied; the log is as it was")


@contextlib.contextmanager
def _failures_of_the_system(path: str, copy: str) -> Iterator[None]:
    """Translate its errors, and leave no copy behind, whatever happens."""
    try:
        yield
    except BaseException as e:
        with contextlib.suppress(OSError):
            _remove(copy)
        if isinstance(e, OSError):
            raise LogIOError(f"{path} could not be given another key: {e}. It has its old one, or the new one") from e
        raise


def _remove(copy: str) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(copy + suffix)
