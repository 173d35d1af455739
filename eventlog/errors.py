"""Every error that the log raises, and the one place where apsw's are translated.

    EventLogError
    |-- LogOpenError               opening: a folder, not writable, cannot be created
    |   |-- NotAnEventLogError     the file is something else; it was not touched
    |   `-- NewerFormatError       written by a newer version of this library
    |-- LogClosedError             used after close()
    |-- LogBusyError               the write lock was not had within the timeout; nothing was appended
    |-- LogReadOnlyError           a change was asked of a log that was opened for reading
    |-- LogFullError               no space left; nothing was appended
    |-- LogIOError                 the operating system failed to read or write; nothing was appended
    |-- LogDamagedError            SQLite finds the file damaged
    |   `-- CorruptRecordError     one record is damaged; others are still readable
    |-- EncodingError              a value cannot be serialised; nothing was appended
    |   `-- RecordTooLargeError    it can, but not in one record; nothing was appended
    |-- DecodingError              the serializer at hand cannot read what is stored (also a ValueError)
    |-- BaseErasedError            a delta's base went away meanwhile (the saver encodes again)
    |-- EventErasedError           an event that was read before has been erased, and what its values are made of
    |-- ProjectionError            a projection failed; nothing was appended
    `-- ConfigError                what was passed in cannot be what was meant (also a ValueError)
        `-- ThreadExistsError      the thread to be created is already there

Values that the text mentions are attributes, too. None of them quotes what is in the state; a path into it names
fields, and of a dict's keys those that look like names. What a serializer said, which may quote state, is not shown: it
is the error's __context__.
"""

from __future__ import annotations

from types import TracebackType

import apsw

__all__ = [
    "BaseErasedError",
    "ConfigError",
    "CorruptRecordError",
    "DecodingError",
    "EncodingError",
    "EventErasedError",
    "EventLogError",
    "LogBusyError",
    "LogClosedError",
    "LogDamagedError",
    "LogFullError",
    "LogIOError",
    "LogOpenError",
    "LogReadOnlyError",
    "NewerFormatError",
    "NotAnEventLogError",
    "ProjectionError",
    "RecordTooLargeError",
    "ThreadExistsError",
]


class EventLogError(Exception):
    """The root: catch it to catch whatever the log raises."""


class LogOpenError(EventLogError):
    """The log cannot be opened or created. `path` says which."""

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class NotAnEventLogError(LogOpenError):
    """The file is not an event log. It was looked at only, and is byte for byte what it was."""


class NewerFormatError(LogOpenError):
    """The file needs a newer version of this library: `found` is its version, `supported` ours."""

    def __init__(self, message: str, *, path: str, found: int, supported: int) -> None:
        super().__init__(message, path=path)
        self.found = found
        self.supported = supported


class LogClosedError(EventLogError):
    """The log was closed (or, a private temporary one, belongs to the process that forked this one)."""


class LogBusyError(EventLogError):
    """Another process or thread held the write lock for all of `waited_ms`. Nothing was appended."""

    def __init__(self, message: str, *, path: str, waited_ms: int) -> None:
        super().__init__(message)
        self.path = path
        self.waited_ms = waited_ms


class LogReadOnlyError(EventLogError):
    """A change was asked of a log that can only be read."""


class LogFullError(EventLogError):
    """The disk (or a quota) is full. Nothing was appended.

    Reading goes on, and so does appending once there is space.
    """


class LogIOError(EventLogError):
    """The operating system reported an error. Nothing was appended by the call that raised it.

    Unless it was a sync that failed, and the process or the power ends before the next append: what the call was to
    append has been written then, and may be found in the log, whole.
    """


class LogDamagedError(EventLogError):
    """SQLite finds the file's structure damaged. `verify()` says more; `rebuild()` mends projections."""


class CorruptRecordError(LogDamagedError):
    """A record, or what a projection says about it, is not what was appended: `position` says which, in `path`."""

    def __init__(self, reason: str, *, path: str, position: int, code: str = "record") -> None:
        super().__init__(f"event {position} of {path} is damaged: {reason}. verify() lists all damage")
        self.reason = reason
        self.code = code
        self.path = path
        self.position = position


class EncodingError(EventLogError, TypeError):
    """A value cannot be serialised: `channel` holds it, at `path_in_value`. Nothing was appended."""

    def __init__(self, message: str, *, channel: str, path_in_value: str = "") -> None:
        super().__init__(message)
        self.channel = channel
        self.path_in_value = path_in_value


class RecordTooLargeError(EncodingError):
    """An event's body has `size` bytes, more than the `limit`. Nothing was appended."""

    def __init__(self, *, size: int, limit: int) -> None:
        super().__init__(
            f"the event's body has {size:,} bytes, more than the limit of {limit:,}: keep large values outside the "
            "state, and refer to them",
            channel="",
        )
        self.size = size
        self.limit = limit


class DecodingError(EventLogError, ValueError):
    """What is stored, with type tag `tag`, is not damaged, but the serializer at hand cannot read it."""

    def __init__(self, message: str, *, tag: str) -> None:
        super().__init__(message)
        self.tag = tag


class BaseErasedError(EventLogError):
    """What a new record refers to is not there any more, or was restated: `positions`. The caller encodes again."""

    def __init__(self, positions: tuple[int, ...]) -> None:
        super().__init__(f"events {positions} are referred to, but have been erased, or may have been restated")
        self.positions = positions


class EventErasedError(EventLogError):
    """The event at `position`, which was read before, has been erased since: its values cannot be had any more."""

    def __init__(self, *, path: str, position: int) -> None:
        super().__init__(
            f"event {position} of {path} has been erased since it was read: what its values were made of is gone"
        )
        self.path = path
        self.position = position


class ProjectionError(EventLogError):
    """A projection failed at an event; the append, or the catching up, was rolled back."""

    def __init__(self, message: str, *, projection: str, position: int | None = None) -> None:
        super().__init__(message)
        self.projection = projection
        self.position = position


class ConfigError(EventLogError, ValueError):
    """An argument or a config is not usable. Nothing was changed."""


class ThreadExistsError(ConfigError):
    """A thread of this id has checkpoints already: `thread_id`."""

    def __init__(self, thread_id: str) -> None:
        super().__init__(
            f"thread {thread_id!r} has checkpoints already: choose another id, or delete_thread() it first"
        )
        self.thread_id = thread_id


def check_limit(limit: object) -> None:
    """Check an argument that says how many to give at most; None: all.

    Raises:
        ConfigError: it is no such number.
    """
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise ConfigError(f"limit is a whole number, 0 or more, not {limit!r}")


class translated:  # noqa: N801  used as a block
    """Turn apsw's errors inside the block into this module's, chained."""

    # A class, because a generator's block costs each append and each read some microseconds.
    __slots__ = ("_busy_timeout_ms", "_path")

    def __init__(self, path: str, *, busy_timeout_ms: int = 0) -> None:
        self._path = path
        self._busy_timeout_ms = busy_timeout_ms

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        if e is not None and (translation := _translation(e, self._path, self._busy_timeout_ms)) is not None:
            raise translation from e


def _translation(e: BaseException, path: str, busy_timeout_ms: int) -> EventLogError | None:
    match e:
        case apsw.BusyError():
            return LogBusyError(
                f"{path} was locked by another process for {busy_timeout_ms} ms: nothing was changed. Is a process "
                "stopped or stuck in a transaction? A longer busy_timeout_ms waits longer",
                path=path,
                waited_ms=busy_timeout_ms,
            )
        case apsw.ProtocolError():
            return LogBusyError(
                f"{path}: SQLite lost every race for the locks of the WAL: nothing was changed; try again",
                path=path,
                waited_ms=0,
            )
        case apsw.ReadOnlyError():
            return LogReadOnlyError(f"{path} cannot be written: {e}")
        case apsw.FullError():
            return _full(path)
        case apsw.CantOpenError():
            return LogOpenError(f"{path} cannot be opened: {e}", path=path)
        case apsw.NotADBError():
            return NotAnEventLogError(f"{path} is not a SQLite database (or its header is damaged): {e}", path=path)
        case apsw.CorruptError() | apsw.SchemaChangeError() | UnicodeDecodeError():
            return LogDamagedError(f"{path} is damaged: {type(e).__name__}. verify() lists all damage")
        case apsw.SQLError() | apsw.ConstraintError():
            # Statements are constants, and what is written breaks no rule of the schema unless what was read was wrong:
            # it is the schema that is not what it was, or the header, or a row.
            return LogDamagedError(f"{path} is damaged: {e}. Nothing was changed; verify() lists all damage")
        case apsw.ConnectionClosedError():
            return LogClosedError(f"{path} is closed")
        case apsw.IOError():
            if getattr(e, "extendedresult", None) == apsw.SQLITE_IOERR_SHMSIZE:  # the -shm file cannot grow
                return _full(path)
            return LogIOError(f"reading or writing {path} failed: {e}")
    return None


def _full(path: str) -> LogFullError:
    return LogFullError(f"no space left for {path}: nothing was changed; free some space, then go on")
