"""The history of a thread: its checkpoints as a tree, and the facts of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from ...eventlog.errors import check_limit
from ...projections.history import CheckpointRow
from ...saver import EventLogSaver
from .facts import CheckpointFacts, FactReader
from .naming import find_stream, views_of
from .tree import Line, draw

__all__ = ["HistoryLine", "history"]

_PAGE = 64


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """A line of the tree: see `tree.Line`; `facts` of the checkpoint that stands there, if one does.

    A line that has an id, and no facts, is that of a checkpoint that was removed while the history was being read.
    """

    line: Line
    facts: CheckpointFacts | None = None


def history(
    saver: EventLogSaver,
    thread_id: str,
    *,
    checkpoint_ns: str = "",
    hidden: bool = False,
    limit: int | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Iterator[HistoryLine]:
    """Yield the lines of the tree of a thread's checkpoints in one namespace, newest first.

    Args:
        saver: an open log.
        thread_id: the thread.
        checkpoint_ns: the namespace.
        hidden: also checkpoints that were removed, but are kept because delta channels of others need them. Without
            them, what hangs on a hidden one hangs on its nearest ancestor that can be seen.
        limit: at most so many checkpoints, those that are drawn first.
        progress: is called with how many of them have been read.

    Ids and parents of all checkpoints of the namespace are held in memory, what else they are only page by page. A
    damaged checkpoint is yielded with what is known of it. The tree is as it was at one moment, and so are the facts of
    a page: of what compaction has stored anew between them, or of what has been removed, nothing is said to be damaged.

    Raises:
        ConfigError: there is no such thread or namespace; the limit is negative.
    """
    check_limit(limit)
    views = views_of(saver)
    with saver.log.database.reading() as connection:
        stream = find_stream(saver, connection, thread_id, checkpoint_ns)
        rows = {row.checkpoint_id: row for row in views.history.of_stream(connection, stream)}
    drawn = {one: row for one, row in rows.items() if hidden or not row.hidden}
    lines = draw({one: _parent_drawn(row, rows, drawn) for one, row in drawn.items()})
    reader = FactReader(saver, thread_id, checkpoint_ns, rows)
    told = 0
    while page := list(islice(lines, _PAGE)):
        if limit is not None:
            page = _up_to(page, limit - told)
        with saver.log.database.reading() as connection:
            now = [views.history.one(connection, stream, line.id) for line in page if line.id is not None]
            facts = reader.read(connection, [row for row in now if row is not None and (hidden or not row.hidden)])
        for line in page:
            if line.id is not None:
                told += 1
                progress(told)
            yield HistoryLine(line, None if line.id is None else facts.get(line.id))
        if limit is not None and told >= limit:
            return


def _parent_drawn(
    row: CheckpointRow, rows: Mapping[str, CheckpointRow], drawn: Mapping[str, CheckpointRow]
) -> str | None:
    """Give the nearest ancestor that is drawn."""
    passed = {row.checkpoint_id}
    parent_id = row.parent_id
    while parent_id is not None and parent_id not in drawn and parent_id not in passed and parent_id in rows:
        passed.add(parent_id)
        parent_id = rows[parent_id].parent_id
    return parent_id


def _up_to(lines: list[Line], limit: int) -> list[Line]:
    """Give the lines up to that of the last checkpoint within the limit."""
    count = 0
    for n, line in enumerate(lines):
        if line.id is not None:
            count += 1
            if count > limit:
                return lines[:n]
    return lines
