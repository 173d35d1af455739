"""Reading a SQLite file that is not ours without changing a byte of it, nor of what lies beside it.

Merely opening a database that a killed program left folds its WAL and removes it; and reading one in the usual way
writes to its -shm file, or makes one. So a file without WAL is read as immutable; and one with a WAL together with a
copy of that, its index in memory. Needs no right to write, neither to the file nor to its folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import apsw

from ...eventlog.connection import file_uri
from .errors import SourceError

__all__ = ["SqliteSnapshot"]

_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
_TRIES = 20
_numbers = count(1)


class SqliteSnapshot:
    """One state of a SQLite file, the WAL included.

    Args:
        path: of the file. No other connection of this process may have it open: closing this one would drop its locks.

    Attributes:
        connection: reads it.
        size: bytes of the file and its WAL.

    Raises:
        SourceError: it cannot be read, or its program was interrupted in a way that only opening it mends.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.realpath(path)
        if not os.path.isfile(self.path):
            raise SourceError(f"there is no file {os.fspath(path)}")
        self._resources = contextlib.ExitStack()
        try:
            self._folder = self._resources.enter_context(
                tempfile.TemporaryDirectory(prefix="langgraph-eventlog-import-", ignore_cleanup_errors=True)
            )
            self.connection = self._open()
        except apsw.Error as e:
            self._resources.close()
            raise SourceError(f"{self.path} cannot be read: {e}") from e
        except OSError as e:
            self._resources.close()
            raise SourceError(f"{self.path} cannot be read: {e.strerror}") from e
        except BaseException:
            self._resources.close()
            raise

    def _open(self) -> apsw.Connection:
        self._refuse_hot_journal()
        wal = self._copy_wal()
        self.size = self._state[1] + (0 if wal is None else os.path.getsize(wal))
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        if wal is None:
            connection = apsw.Connection(file_uri(self.path, immutable=True), flags=flags)
            self._resources.callback(connection.close)
        else:
            vfs = _WalElsewhere(self.path, wal)
            self._resources.callback(vfs.unregister)
            connection = apsw.Connection(file_uri(self.path), flags=flags, vfs=vfs.name)
            self._resources.callback(connection.close)
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.pragma("locking_mode", "exclusive")  # the WAL's index is then in memory
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.pragma("query_only", True)
        connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
        return connection

    def _refuse_hot_journal(self) -> None:
        with contextlib.suppress(OSError), Path(self.path + "-journal").open("rb") as journal:
            if journal.read(8) == _JOURNAL_MAGIC:
                raise SourceError(
                    f"{self.path} has a rollback journal: its program was stopped in the midst of a transaction. Open "
                    "it once with that program, which rolls it back, and import it then"
                )

    def _copy_wal(self) -> str | None:
        """Copy the WAL, if there is something in it, at a moment at which nothing was moved from it into the file."""
        database = Path(self._folder, "copy")
        database.touch()  # SQLite looks there for the permissions of a WAL that it opens
        copy = f"{database}-wal"
        for _ in range(_TRIES):
            self._state = self._stat()
            try:
                shutil.copyfile(self.path + "-wal", copy)
            except FileNotFoundError:
                Path(copy).write_bytes(b"")
            if self._state == self._stat():
                return copy if os.path.getsize(copy) else None
        raise SourceError(f"{self.path} is being changed all the time: stop the program that uses it, and try again")

    def _stat(self) -> tuple[int, int, int]:
        found = os.stat(self.path)
        return found.st_ino, found.st_size, found.st_mtime_ns

    def check_unchanged(self) -> None:
        """Raise a SourceError if the file has been changed since it was opened."""
        if self._stat() != self._state:
            raise SourceError(
                f"{self.path} was changed while it was read: stop the program that uses it, and run the import again. "
                "It goes on where it stopped"
            )

    def close(self) -> None:
        """Close it, and remove the copy."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class _WalElsewhere(apsw.VFS):
    """Files as they are, without locks, but for one database's WAL: that is read from a copy. Nothing is deleted."""

    def __init__(self, path: str, wal: str) -> None:
        self.name = f"langgraph-eventlog-import-{os.getpid()}-{next(_numbers)}"
        self._path = path
        self._wal = wal
        # Locks would be for others who write, and they need the -shm file.
        super().__init__(self.name, base="unix-none")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  SQLite calls it so
        if flags[0] & apsw.SQLITE_OPEN_WAL:
            return apsw.VFSFile("unix-none", self._wal, flags)
        return apsw.VFSFile("unix-none", name, flags)

    def xDelete(self, name: str, sync_folder: bool) -> None:  # noqa: N802  SQLite calls it so
        raise apsw.ReadOnlyError(f"{name} is not deleted")
