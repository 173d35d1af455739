"""Copying a log that is in use: one moment of it, in a file of its own that is complete or not there."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import apsw

from ...eventlog.connection import file_uri, is_private
from ...eventlog.coverage import Coverage, Told
from ...eventlog.encryption import Key
from ...eventlog.errors import ConfigError, LogDamagedError, LogIOError, LogOpenError, translated
from ...eventlog.event import Head
from ...eventlog.log import EventLog
from ...eventlog.opening import absolute
from ...eventlog.syncing import sync

__all__ = ["Backup", "backup"]

# 4 MiB at a time: between two steps, the progress is told, and the caller can interrupt.
_PAGES_AT_A_TIME = 1_024
_BESIDE = ("-wal", "-shm", "-journal")
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made.

    Attributes:
        path: of it, absolute.
        head: the newest event in it, with its link: an anchor of the log that it is of.
        bytes: its size.
        verified: whether its chain and digests were checked.
    """

    path: str
    head: Head
    bytes: int
    verified: bool


def backup(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    key: str | bytes | None = None,
    force: bool = False,
    verify: bool = True,
    told: Told | None = None,
) -> Backup:
    """Copy the log at `path` as it is at one moment, while others append to it.

    They are not kept waiting; but what they append goes into the WAL, which cannot begin anew until the copying is
    over. The copy is made beside the target, under a name of its own that ends in ".partial"; it is on the disk, and
    checked, before it gets the target's name. Whatever stops this leaves the target as it was, or not there; a kill may
    leave the ".partial" file, which can be deleted.

    Args:
        path: of the log. It is not changed.
        target: of the copy. It gets the log's permissions, and the same log_id: it is the same log, at that moment.
        key: the log's; the copy has the same. None: it is not encrypted.
        force: replace what is at `target`.
        verify: check chain and digests of the copy.
        told: called with what is being done ("copying", "checking"), how much of it is done, and its total.

    Raises:
        ConfigError: there is something at `target`, or it is in use, or it is the log itself.
        LogOpenError: there is no log at `path`, or `key` is not its key, or no file can be made at `target`.
        LogDamagedError: the log, or the copy, does not verify; `target` is as it was.
        LogFullError, LogIOError: the copy cannot be written; `target` is as it was.
    """
    source, goal = absolute(path), absolute(target)
    if is_private(source) or is_private(goal):
        raise ConfigError("a backup is of a file, and into a file: a private log has no name")
    if not os.path.isfile(source):
        raise LogOpenError(f"there is no log at {source}", path=source)
    _check_goal(source, goal, force=force)
    partial = f"{goal}.{secrets.token_hex(4)}.partial"
    with _failures_of_the_system(goal, partial):
        with EventLog(source, read_only=True, key=key) as log:
            mode = stat.S_IMODE(os.stat(source).st_mode)
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            head = _copy(log, partial, Key.of(key), told)
        if verify:
            _verify(partial, key, head, told)
        os.chmod(partial, mode)
        sync(partial)
        size = os.path.getsize(partial)
        _check_goal(source, goal, force=force)
        _rename(partial, goal, force=force)
        sync(os.path.dirname(goal))
    return Backup(goal, head, size, verify)


def _check_goal(source: str, goal: str, *, force: bool) -> None:
    if os.path.exists(goal):
        if os.path.samefile(source, goal):
            raise ConfigError(f"{goal} is the log itself")
        if not force:
            raise ConfigError(f"{goal} is there already: choose another name, or force it to be replaced")
    for suffix in ("-wal", "-journal"):
        # SQLite would take what is in such a file for a part of the new one.
        if os.path.exists(goal + suffix) and os.path.getsize(goal + suffix) > 0:
            raise ConfigError(
                f"{goal}{suffix} holds changes to what is, or was, at {goal}: somebody has it open, or was stopped "
                "while it was open. Choose another name"
            )


def _copy(log: EventLog, partial: str, key: Key | None, told: Told | None) -> Head:
    """Copy all pages of one moment; give the head at that moment."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
    with log.database.reading() as connection, translated(f"the copy of {log.path}"):
        # The transaction's first look: the pages that are copied are as of now, however long that takes. Without it,
        # the copying would begin anew whenever somebody appends.
        head = log.reader.head(connection)
        with contextlib.closing(apsw.Connection(file_uri(partial, key=key), flags=flags)) as copy:
            copy.pragma("synchronous", "OFF")  # all of it is synced at the end
            with copy.backup("main", connection, "main") as pages:
                while not pages.done:
                    pages.step(_PAGES_AT_A_TIME)
                    if told is not None:
                        told("copying", pages.page_count - pages.remaining, pages.page_count)
    return head


def _verify(partial: str, key: str | bytes | None, head: Head, told: Told | None) -> None:
    """Check the copy; not read-only, so that nothing is left beside it."""
    coverage = Coverage(None if told is None else lambda _, done, total: told("checking", done, total))
    with EventLog(partial, key=key) as copy:
        findings = list(islice(copy.verify(anchor=head, quick=True, coverage=coverage), _SHOWN))
    if findings:
        raise LogDamagedError(
            f"the copy does not verify: {'; '.join(map(str, findings))}. Is the log damaged? `verify` says so. A "
            "damaged log can be copied without this check"
        )


def _rename(partial: str, goal: str, *, force: bool) -> None:
    for suffix in ("-wal", "-shm"):
        # Nothing is in them. Who still has an old file open goes on with these, without sharing them with the new one.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(goal + suffix)
    if force:
        os.replace(partial, goal)
        return
    try:
        os.link(partial, goal)  # fails if somebody was quicker, as a rename would not
    except FileExistsError:
        raise ConfigError(f"{goal} was made meanwhile, by somebody else: it is as it was") from None
    except OSError as e:
        if e.errno not in _NO_LINKS:
            raise
        os.rename(partial, goal)  # a file system without hard links
        return
    os.unlink(partial)


@contextlib.contextmanager
def _failures_of_the_system(goal: str, partial: str) -> Iterator[None]:
    """Translate its errors, and leave nothing partial behind."""
    try:
        yield
    except BaseException as e:
        for suffix in ("", *_BESIDE):
            with contextlib.suppress(OSError):
                os.unlink(partial + suffix)
        if isinstance(e, FileNotFoundError | NotADirectoryError | PermissionError):
            raise LogOpenError(f"no file can be made at {goal}: {e.strerror}", path=goal) from e
        if isinstance(e, OSError):
            raise LogIOError(f"{goal} could not be written: {e}. Nothing was left there") from e
        raise
