"""Importing from the official savers: everything that they hold, resumable, and compared in the end."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from ...eventlog.errors import RecordTooLargeError
from ...saver import EventLogSaver
from ...saver.agreeing import Agreement
from ...saver.intake import Intake, Taken
from ...saver.memory import Memory
from .comparing import Difference, Place, compare
from .errors import ConflictError, SourceError
from .official_sqlite import SqliteSource
from .source import Counts, Source, parents_first

__all__ = ["Imported", "Progress", "import_from", "open_source"]

# What one transaction appends at most, about: small enough that others who append do not wait for long.
_MAX_EVENTS = 128
_MAX_BYTES = 4 * 1024 * 1024
_MEMORY_BYTES = 64 * 1024 * 1024
_POSTGRES = ("postgresql://", "postgres://")
_MAX_DIFFERENCES = 1000

# Called with what is being done, how much of it has been, and how much there is.
Progress = Callable[[str, float, float], None]


@dataclass(slots=True)
class Imported:
    """What an import has done.

    Attributes:
        source: where it came from.
        there: how much the source holds.
        checkpoints: how many were appended.
        writes: how many were.
        skipped: checkpoints that were not appended, because the log holds others of the same ids.
        source_bytes: what the source takes.
        bytes_before: what the log took before.
        bytes_after: what it takes now.
        compared: how many checkpoints were compared.
        differences: what the comparison found, the first thousand.
    """

    source: dict[str, Any]
    there: Counts
    source_bytes: int
    bytes_before: int
    checkpoints: int = 0
    writes: int = 0
    skipped: int = 0
    bytes_after: int = 0
    compared: int = 0
    differences: list[Difference] = field(default_factory=list)


def open_source(source: str | os.PathLike[str], serde: SerializerProtocol) -> Source:
    """Open what is to be imported: a file of the official SqliteSaver, or with postgresql://... a PostgresSaver's.

    Args:
        source: the file, or the database's connection string.
        serde: that it was written with, if that is an EncryptedSerializer.

    Raises:
        SourceError: it is not there, is something else, or cannot be read.
        ConfigError: the extra `postgres` is not installed.
    """
    text = os.fspath(source)
    if text.startswith(_POSTGRES):
        from .official_postgres import PostgresSource

        return PostgresSource(text, serde)
    return SqliteSource(text, serde)


def import_from(
    source: Source,
    saver: EventLogSaver,
    *,
    skip_existing: bool = False,
    comparing: bool = True,
    progress: Progress = lambda what, done, total: None,
) -> Imported:
    """Append all that a source holds and the log does not: checkpoints, writes, parents, namespaces and metadata.

    Values are taken over as serialised bytes: nothing is decoded, and no code that they name is run. Each transaction
    says in the log (an `import` event) which of its events came from where. Killed anywhere and called again, it goes
    on; called once more, it appends nothing.

    Args:
        source: see `open_source`.
        saver: on the log. Its serde encrypts what is stored if it is an EncryptedSerializer; it reads what is compared,
            and decodes nothing else.
        skip_existing: leave alone, instead of refusing, what the log holds otherwise under the same id.
        comparing: read everything once more through the official saver and through ours, and compare.
        progress: see `Progress`.

    Raises:
        ConflictError: the log holds something else under an id of the source: nothing was changed.
        SourceError: the source cannot be read, or was changed meanwhile; what was appended stays.
        ConfigError: comparing needs the official saver, which is not installed: nothing was changed.
        EventLogError: the log cannot be appended to; what was appended before stays.
    """
    official = source.official(saver.serde) if comparing else None
    counts = source.counts()
    described = {**source.describe(), **counts._asdict()}
    result = Imported(dict(described), counts, source.size, _bytes_of(saver))
    others = _look_for_others(source, saver, counts, skip_existing=skip_existing, progress=progress)
    result.skipped = len(others)
    intake = Intake(saver._core, saver.serde)
    run = {**described, "run": secrets.token_hex(8)}
    seen = 0
    for batch, more in _batches(source, saver, others):
        seen += more
        source.check_unchanged()
        try:
            done = intake.append(batch, run)
        except RecordTooLargeError as e:
            several = ", ".join(sorted({f"{t.checkpoint_id!r} of thread {t.thread_id!r}" for t in batch}))
            raise SourceError(f"one of the checkpoints {several} is larger than a record can be: {e}") from e
        result.checkpoints += done.checkpoints
        result.writes += done.writes
        progress("importing", seen, counts.checkpoints)
    source.check_unchanged()
    if official is not None:
        places = (place for place in _places(source) if place not in others)
        total = counts.checkpoints

        def compared(n: int) -> None:
            result.compared = n
            progress("comparing", n, total)

        for difference in compare(official, saver, places, done=compared):
            if len(result.differences) < _MAX_DIFFERENCES:
                result.differences.append(difference)
        source.check_unchanged()
    result.bytes_after = _bytes_of(saver)
    return result


def _places(source: Source) -> Iterator[Place]:
    for thread_id in source.threads():
        for key in source.keys(thread_id):
            if key.is_there:
                yield thread_id, key.checkpoint_ns, key.checkpoint_id


def _look_for_others(
    source: Source, saver: EventLogSaver, counts: Counts, *, skip_existing: bool, progress: Progress
) -> set[Place]:
    """Give what the log holds otherwise than the source does.

    Raises:
        ConflictError: it does, and that is not to be skipped.
    """
    core, memory = saver._core, Memory(_MEMORY_BYTES)
    others: set[Place] = set()
    seen = 0
    for thread_id in source.threads():
        with core.log.database.reading() as connection:
            known = core.log.keys.find_thread(connection, thread_id) is not None
        keys = source.keys(thread_id) if known else ()
        # In several read transactions, so that none lasts for long.
        for first in range(0, len(keys), _MAX_EVENTS):
            with core.log.database.reading() as connection:
                agreement = Agreement(core, saver.serde, connection, memory)
                for key in keys[first : first + _MAX_EVENTS]:
                    if not agreement.has_some(thread_id, key.checkpoint_ns, key.checkpoint_id):
                        continue
                    taken, _ = source.read(thread_id, key)
                    what = agreement.differs(taken)
                    if what is not None and not skip_existing:
                        raise ConflictError(_conflict(taken, what, saver.path))
                    if what is not None:
                        others.add((thread_id, key.checkpoint_ns, key.checkpoint_id))
            seen += len(keys[first : first + _MAX_EVENTS])
            progress("looking at what is there", seen, counts.checkpoints)
    return others


def _conflict(taken: Taken, what: str, path: str) -> str:
    return (
        f"{path} holds checkpoint {taken.checkpoint_id!r} of thread {taken.thread_id!r}, namespace "
        f"{taken.checkpoint_ns!r}, already, but {what} is another than in the source. Nothing was imported. Import "
        "into another log, or leave what is there alone with --skip-existing"
    )


def _batches(source: Source, saver: EventLogSaver, others: set[Place]) -> Iterator[tuple[list[Taken], int]]:
    """Give what is to be appended together, parents before children; and how many checkpoints that was, with others."""
    core, memory = saver._core, Memory(0)
    batch: list[Taken] = []
    events = size = seen = 0
    for thread_id in source.threads():
        for key in parents_first(source.keys(thread_id)):
            seen += key.is_there
            if (thread_id, key.checkpoint_ns, key.checkpoint_id) in others:
                continue
            taken, its_size = source.read(thread_id, key)
            with core.log.database.reading() as connection:
                if Agreement(core, saver.serde, connection, memory).is_complete(taken):
                    continue
            batch.append(taken)
            events += len(taken.writes) + 1
            size += its_size
            if events >= _MAX_EVENTS or size >= _MAX_BYTES:
                yield batch, seen
                batch, events, size, seen = [], 0, 0, 0
    if batch or seen:
        yield batch, seen


def _bytes_of(saver: EventLogSaver) -> int:
    """Give what the log takes, once its WAL has been folded into the file."""
    with saver.log.database.reading() as connection:
        pages: int = connection.pragma("page_count")
        size: int = connection.pragma("page_size")
    return pages * size
