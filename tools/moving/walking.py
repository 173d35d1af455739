"""Going through all checkpoints of a log, and the writes whose checkpoint is not there, as they are at one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import apsw

from ...eventlog.sql import all_rows
from ...projections.history import CheckpointRow
from ...projections.pending_writes import EffectiveWrite
from ...saver import EventLogSaver
from ...saver.decoding import Gathered, Gatherer
from ...saver.memory import Memory

__all__ = ["Found", "Selection", "walk"]

_PAGE = 64
_MEMORY_BYTES = 64 * 1024 * 1024


class Selection(NamedTuple):
    """What to take of a log.

    Attributes:
        thread_id: only this thread.
        first: only what was put there by this event or a later one.
        last: only what was put there by this event or an earlier one.
    """

    thread_id: str | None = None
    first: int | None = None
    last: int | None = None

    def has(self, position: int) -> bool:
        """Tell whether an event is in the range."""
        return (self.first is None or position >= self.first) and (self.last is None or position <= self.last)

    @property
    def is_range(self) -> bool:
        """Whether only a range of events is wanted."""
        return self.first is not None or self.last is not None


class Found(NamedTuple):
    """A checkpoint with its writes, or writes whose checkpoint is not there: then `gathered` is None."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str
    gathered: Gathered | None
    writes: tuple[EffectiveWrite, ...]


def walk(saver: EventLogSaver, connection: apsw.Connection, selection: Selection) -> Iterator[Found]:
    """Yield what is selected, thread by thread, namespace by namespace, in the order of checkpoint ids.

    Hidden checkpoints, which others need for their delta channels, are among them. Memory is bounded.

    Args:
        saver: on the log.
        connection: in a read transaction, which lasts as long as the walk.
        selection: what is wanted.

    Raises:
        CorruptRecordError: a record is damaged.
    """
    core = saver._core
    keys = core.log.keys
    gatherer = core.gatherer(connection, Memory(_MEMORY_BYTES))
    if selection.thread_id is None:
        threads = all_rows(connection, "SELECT thread, thread_id FROM thread ORDER BY thread")
    else:
        thread = keys.find_thread(connection, selection.thread_id)
        threads = [] if thread is None else [(thread, selection.thread_id)]
    for thread, thread_id in threads:
        for stream, checkpoint_ns in keys.streams_of(connection, thread):
            yield from _stream(saver, connection, gatherer, selection, stream=stream, place=(thread_id, checkpoint_ns))


def _stream(
    saver: EventLogSaver,
    connection: apsw.Connection,
    gatherer: Gatherer,
    selection: Selection,
    *,
    stream: int,
    place: tuple[str, str],
) -> Iterator[Found]:
    views = saver._core.views
    after: str | None = None
    while True:
        page = _page(views.history.page_in_order, connection, stream, after)
        for row in page:
            gathered = gatherer.gather(row) if selection.has(row.applied) else None
            if gathered is None or selection.is_range:
                rows = views.pending_writes.of(connection, stream, row.checkpoint_id)
                writes = tuple(gatherer.effective([found for found in rows if selection.has(found.applied)]))
            else:
                writes = tuple(gathered.writes)
            if gathered is not None or writes:
                yield Found(*place, row.checkpoint_id, gathered, writes)
        if len(page) < _PAGE:
            break
        after = page[-1].checkpoint_id
    for checkpoint_id in dict.fromkeys(row.checkpoint_id for row in views.pending_writes.of_stream(connection, stream)):
        if views.history.one(connection, stream, checkpoint_id) is None:
            rows = views.pending_writes.of(connection, stream, checkpoint_id)
            writes = tuple(gatherer.effective([row for row in rows if selection.has(row.applied)]))
            if writes:
                yield Found(*place, checkpoint_id, None, writes)


def _page(
    page_in_order: Callable[..., list[CheckpointRow]], connection: apsw.Connection, stream: int, after: str | None
) -> list[CheckpointRow]:
    """Give a stream's next checkpoints: less than a page is the last."""
    rows = page_in_order(connection, (stream, after), _PAGE)
    return [row for row in rows if row.stream == stream]
