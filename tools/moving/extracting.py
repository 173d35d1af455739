"""Taking threads out into a log file of their own: one for each agent or tenant, say."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import apsw

from ...eventlog.connection import is_private
from ...eventlog.errors import ConfigError, LogDamagedError, LogIOError
from ...eventlog.event import Head, NewEvent
from ...eventlog.opening import absolute
from ...eventlog.rekeying import replace_log
from ...eventlog.syncing import sync
from ...saver import EventLogSaver
from ...saver.removing import Remover
from .checking import check_provenance
from .choosing import choose, has_gone_on, names_of
from .planting import Progress, append_moved, append_times, times_of
from .transplanting import Moved, Transplant

__all__ = ["Extracted", "delete_extracted", "extract"]

_MAX_EVENTS = 1_000
_MAX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was taken out.

    Attributes:
        threads: their ids in the new log, by those in the old one.
        events, checkpoints, writes: how many.
        anchor: of the log that they were taken from, when they were.
        head: of the new log.
        bytes: of the new file.
    """

    threads: dict[str, str]
    events: int
    checkpoints: int
    writes: int
    anchor: Head
    head: Head
    bytes: int


def extract(
    source: EventLogSaver,
    target: str | os.PathLike[str],
    thread_ids: Collection[str] | None = None,
    *,
    where: Mapping[str, Any] | None = None,
    rename: Mapping[str, str] | None = None,
    key: str | bytes | None = None,
    force: bool = False,
    check: bool = False,
    progress: Progress | None = None,
    clock: Callable[[], int] | None = None,
) -> Extracted:
    """Write threads of a log, with their whole history, into a new log of their own.

    See `transplanting` for what comes along. The log may be in use: what is taken is of one moment; while that lasts,
    its WAL grows by what others append. Under the name of the target there is nothing until all of it is on the disk,
    whatever happens; a kill may leave a folder beside it, ".NAME.<random>", which can be deleted.

    Args:
        source: the log; it is only read.
        target: the path of the new log.
        thread_ids: the threads.
        where: of registered metadata: threads that have all of it, too. Without either, all threads.
        rename: other ids for some of them.
        key: what the new log is to be encrypted with.
        force: replace a log that is there, and that nobody has open.
        check: compare all of it with the source, and verify both, before it gets its name.
        progress: is told how far it is.
        clock: of the new log.

    Raises:
        ConfigError: there is no such thread, or a new id is no use, or something is at `target`.
        LogBusyError: with `force`, the log at `target` is in use.
        LogDamagedError: an event is damaged, or what was written is not what was read. There is no target.
    """
    path = absolute(target)
    if is_private(path):
        raise ConfigError("a private log ends when it is closed: threads are taken out into a file")
    if not force and os.path.lexists(path):
        raise ConfigError(f"{path} is there already: choose another path (or replace it: force)")
    names = names_of(choose(source, thread_ids, where=where), rename)
    if not names:
        raise ConfigError(f"no thread of {source.path} was chosen: there is nothing to take out")
    with _folder_beside(path) as folder:
        made = os.path.join(folder, "log")
        options: dict[str, Any] = {"key": key, "clock": clock, "synchronous": "NORMAL", "memory_bytes": 0}
        with EventLogSaver(made, indexed_metadata=[*source._core.views.metadata_index.names], **options) as saver:
            transplant, anchor = _fill(saver, source, names, progress)
            if check:
                findings = [*saver.log.verify(), *check_provenance(saver, source)]
                if findings:
                    raise LogDamagedError(f"what was to be {path} is not what was taken out: {findings[0]}")
            head = saver.log.head()
        size = _place(made, path, key, force=force)
    return Extracted(names, transplant.events, transplant.checkpoints, transplant.writes, anchor, head, size)


def _fill(
    saver: EventLogSaver, source: EventLogSaver, names: Mapping[str, str], progress: Progress | None
) -> tuple[Transplant, Head]:
    with source.log.database.reading() as connection:
        transplant = Transplant(source.log, connection, names, kind="extract", head=0)
        times = times_of(source, connection, names)
        for batch in _batches(transplant):
            _append(saver, lambda writing, batch=batch: append_moved(saver, writing, batch))  # type: ignore[misc]
            if progress is not None:
                progress(transplant.read, transplant.total)
        _append(saver, lambda writing: append_times(saver, writing, times))
        return transplant, source.log.reader.head(connection)


def _append(saver: EventLogSaver, append: Callable[[apsw.Connection], None]) -> None:
    def decide(connection: apsw.Connection) -> NewEvent | None:
        append(connection)
        return None

    saver.log.transact(decide)


def _batches(transplant: Transplant) -> Iterator[list[Moved]]:
    batch: list[Moved] = []
    size = 0
    for moved in transplant:
        batch.append(moved)
        size += len(moved.prepared.record)
        if len(batch) >= _MAX_EVENTS or size >= _MAX_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


@contextlib.contextmanager
def _folder_beside(path: str) -> Iterator[str]:
    """Give a folder of the same file system for the owner only, gone afterwards."""
    try:
        parent, name = os.path.split(path)
        os.makedirs(parent, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=f".{name}.", dir=parent)
    except OSError as e:
        raise LogIOError(f"{path} could not be written: {e}") from e
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place(made: str, path: str, key: str | bytes | None, *, force: bool) -> int:
    """Give the log that was made its name, when all of it is on the disk; give its size."""
    try:
        sync(made)
        size = os.stat(made).st_size
        if force and os.path.lexists(path):
            replace_log(path, made, key=key)
        else:
            # Unlike renaming, this never takes the place of something that has come to be there meanwhile.
            os.link(made, path)
            sync(os.path.dirname(path))
    except FileExistsError as e:
        raise ConfigError(f"{path} has come to be there meanwhile: choose another path") from e
    except OSError as e:
        raise LogIOError(f"{path} could not be written: {e}") from e
    return size


def delete_extracted(source: EventLogSaver, extracted: Extracted) -> list[str]:
    """Delete the threads that were taken out from the log that they were in; a delete_thread each.

    Returns:
        Those that stay, because they have gone on since: the new log does not have all of them.
    """
    remover = Remover(source.log, source._core.views)
    stay: dict[str, None] = {}
    for thread_id in extracted.threads:
        delete = remover.delete_thread(thread_id)

        def decide(
            connection: apsw.Connection,
            thread_id: str = thread_id,
            delete: Callable[[apsw.Connection], NewEvent | None] = delete,
        ) -> NewEvent | None:
            thread = source.log.keys.find_thread(connection, thread_id)
            # What has since been removed from it is of no concern: that is what is about to be done to all of it.
            if not has_gone_on(connection, thread, extracted.anchor.position):
                return delete(connection)
            stay[thread_id] = None
            return None

        source.log.transact(decide)
    return list(stay)
