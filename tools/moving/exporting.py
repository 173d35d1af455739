"""Exporting to a file of LangGraph's own SqliteSaver: users must be able to leave."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import apsw
from langgraph.checkpoint.serde.base import SerializerProtocol

from ...eventlog.connection import file_uri
from ...eventlog.errors import ConfigError, DecodingError, EncodingError
from ...eventlog.syncing import sync
from ...saver import EventLogSaver
from ..at_one_moment import LogAtOneMoment
from .comparing import Difference, Place, Readable, compare
from .errors import ExportError
from .importing import Progress
from .official_sqlite import SCHEMA, official_on
from .putting_together import checkpoint_blob, metadata_json, write_value
from .walking import Found, Selection, walk

__all__ = ["Exported", "export_to_sqlite", "new_file"]

_CHECKPOINT = "INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?)"
_WRITE = "INSERT INTO writes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PLACES = "SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints ORDER BY rowid"
_MAX_DIFFERENCES = 1000


@dataclass(slots=True)
class Exported:
    """What an export has written.

    Attributes:
        threads: how many.
        checkpoints: how many, those included that are only there for others' delta channels.
        writes: how many.
        bytes: the file takes.
        compared: how many checkpoints were compared.
        differences: what the comparison found, the first thousand.
    """

    threads: int = 0
    checkpoints: int = 0
    writes: int = 0
    bytes: int = 0
    compared: int = 0
    differences: list[Difference] = field(default_factory=list)


def export_to_sqlite(
    saver: EventLogSaver,
    target: str | os.PathLike[str],
    *,
    selection: Selection | None = None,
    comparing: bool = True,
    progress: Progress = lambda what, done, total: None,
) -> Exported:
    """Write what a log holds now into a new file, which SqliteSaver and AsyncSqliteSaver read and go on with.

    Checkpoints that are hidden, because they were pruned but others' delta channels need them, are written, too: that
    saver has no other place for them. Names and metadata of threads have none there. The log is read, and compared,
    as it is at one moment; the file is there when it is whole, or not at all.

    Args:
        saver: on the log. What is not msgpack is decoded with its serde; if that encrypts, the file's content is, too.
        target: the file, which must not be there.
        selection: one thread, or a range of events, see `walking.Selection`; None: everything.
        comparing: read everything once more through both savers, and compare; not if a range was selected.
        progress: see `importing.Progress`.

    Raises:
        ConfigError: the target is there; or comparing needs the official saver, which is not installed.
        ExportError: a value would have to be decoded, and the serializer cannot; no file is left.
        CorruptRecordError: a record of the log is damaged; no file is left.
    """
    selection = selection or Selection()
    comparing = comparing and not selection.is_range
    if comparing:
        official_on(None, saver.serde)  # raises if it is not installed
    result = Exported()
    with new_file(target) as path, saver.log.database.reading() as reading:
        with contextlib.closing(apsw.Connection(str(path))) as connection:
            total = saver._core.views.history.count_all(reading)
            found = walk(saver, reading, selection)
            _write_all(saver.serde, connection, found, result, lambda n: progress("exporting", n, total))
            connection.pragma("journal_mode", "wal")  # as the official saver leaves it
        _sync(path)
        result.bytes = path.stat().st_size
        if comparing:
            _compare(LogAtOneMoment(saver, reading), saver.serde, path, result, progress)
    return result


@contextlib.contextmanager
def new_file(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Make a file, for its owner only, that gets its name when the block ends; nothing is left of it if that raises.

    Raises:
        ConfigError: there is something of that name.
    """
    final = Path(target)
    if final.exists() or final.is_symlink():
        raise ConfigError(f"{final} is there already: it was left as it is. Give the name of a new file")
    partial = final.with_name(f"{final.name}.{os.getpid()}.partial")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        yield partial
        try:
            os.link(partial, final)  # unlike a rename, it replaces nothing
        except FileExistsError:
            raise ConfigError(f"{final} has been made meanwhile: it was left as it is") from None
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{partial}{suffix}")


def _write_all(
    serde: SerializerProtocol,
    connection: apsw.Connection,
    all_found: Iterable[Found],
    result: Exported,
    progress: Callable[[int], None],
) -> None:
    # Nothing is to be rolled back: a file that was not finished is removed.
    connection.pragma("journal_mode", "off")
    connection.pragma("synchronous", "off")
    connection.execute("BEGIN")
    connection.execute(SCHEMA)
    threads: set[str] = set()
    for found in all_found:
        threads.add(found.thread_id)
        try:
            _write(serde, connection.execute, found, result)
        except (DecodingError, EncodingError) as e:
            raise ExportError(
                f"checkpoint {found.checkpoint_id!r} of thread {found.thread_id!r} cannot be exported: {e}"
            ) from None
        progress(result.checkpoints)
    connection.execute("COMMIT")
    result.threads = len(threads)


def _write(serde: SerializerProtocol, execute: Callable[..., object], found: Found, result: Exported) -> None:
    place = (found.thread_id, found.checkpoint_ns, found.checkpoint_id)
    if found.gathered is not None:
        blob = checkpoint_blob(serde, found.gathered)
        row = found.gathered.row
        execute(_CHECKPOINT, (*place, row.parent_id, blob.tag, blob.data, metadata_json(serde, row.metadata)))
        result.checkpoints += 1
    for write in found.writes:
        value = write_value(serde, write)
        execute(_WRITE, (*place, write.task_id, write.task_path, write.idx, write.channel, value.tag, value.data))
        result.writes += 1


def _compare(log: Readable, serde: SerializerProtocol, path: Path, result: Exported, progress: Progress) -> None:
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    uri = file_uri(str(path.resolve()), immutable=True)
    with contextlib.closing(apsw.Connection(uri, flags=flags)) as connection:
        places = cast("Iterator[Place]", connection.execute(_PLACES))

        def compared(n: int) -> None:
            result.compared = n
            progress("comparing", n, result.checkpoints)

        for difference in compare(official_on(connection, serde), log, places, done=compared):
            if len(result.differences) < _MAX_DIFFERENCES:
                result.differences.append(difference)


def _sync(path: Path) -> None:
    sync(path)
    sync(path.resolve().parent)
