"""What people call a checkpoint: its id, a part of it, or its step; and which threads and namespaces there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw

from ...eventlog.errors import ConfigError
from ...eventlog.plain import PlainDataError, unpack
from ...eventlog.sql import all_rows
from ...projections.builtin import BuiltIn
from ...projections.history import CheckpointRow
from ...saver import EventLogSaver

__all__ = ["find_checkpoint", "find_stream", "namespaces", "short_ids", "step_of", "thread_ids", "views_of"]

_MANY = 8  # so many are named in an error
_LEAST = 4  # characters of an id's part: two or three are in too many ids by chance
_SHORT = (8, 13, 18, 23)  # where a UUID has its hyphens
# What begins with a prefix, through the unique index: no text is above the greatest character for long.
_BEGINNING = """
SELECT t.thread_id FROM thread AS t JOIN threads AS a ON a.thread = t.thread
WHERE t.thread_id >= ?1 AND t.thread_id < ?1 || char(1114111)
  AND (a.checkpoints > 0 OR a.writes > 0 OR a.metadata IS NOT NULL)
ORDER BY t.thread_id LIMIT ?2"""


def views_of(saver: EventLogSaver) -> BuiltIn:
    """Give the built-in projections of a log, to read from."""
    return BuiltIn(saver.log.reader, saver.log.keys)


def thread_ids(saver: EventLogSaver, beginning: str = "", *, limit: int = 100) -> list[str]:
    """Give the ids of threads that begin so, in their order, at most `limit`."""
    with saver.log.database.reading() as connection:
        return [found for (found,) in all_rows(connection, _BEGINNING, (beginning, limit))]


def namespaces(saver: EventLogSaver, thread_id: str) -> list[str]:
    """Give the namespaces in which a thread has checkpoints, hidden ones too, the root one ("") first.

    Raises:
        ConfigError: there is no such thread.
    """
    views = views_of(saver)
    with saver.log.database.reading() as connection:
        thread = saver.log.keys.find_thread(connection, thread_id)
        row = None if thread is None else views.threads.one(connection, thread)
        if thread is None or row is None:
            raise ConfigError(_no_thread(saver, thread_id))
        streams = saver.log.keys.streams_of(connection, thread)
        return sorted(ns for stream, ns in streams if views.history.count(connection, stream)[1])


def find_stream(saver: EventLogSaver, connection: apsw.Connection, thread_id: str, checkpoint_ns: str) -> int:
    """Give the file's key of a thread and namespace.

    Raises:
        ConfigError: there is no such thread, or it has no such namespace.
    """
    thread = saver.log.keys.find_thread(connection, thread_id)
    if thread is None or views_of(saver).threads.one(connection, thread) is None:
        raise ConfigError(_no_thread(saver, thread_id))
    found = saver.log.keys.find(connection, thread_id, checkpoint_ns)
    if found is None:
        there = [ns for _, ns in saver.log.keys.streams_of(connection, thread)]
        raise ConfigError(f"thread {thread_id!r} has no namespace {checkpoint_ns!r}; it has {_some(there)}")
    return found[1]


def find_checkpoint(
    saver: EventLogSaver,
    connection: apsw.Connection,
    thread_id: str,
    name: str | None = None,
    *,
    checkpoint_ns: str = "",
) -> CheckpointRow:
    """Give the checkpoint that is meant.

    Args:
        saver: an open log.
        connection: in a read transaction.
        thread_id: its thread.
        name: its id; or its step, a number; or a part of its id, four characters or more, that no other has. None: the
            latest.
        checkpoint_ns: its namespace.

    Hidden checkpoints, kept only as ancestors of others, are found by their id, or if no other is meant.

    Raises:
        ConfigError: there is no such thread, namespace or checkpoint, or several are meant: it names them.
    """
    views = views_of(saver)
    stream = find_stream(saver, connection, thread_id, checkpoint_ns)
    where = f"thread {thread_id!r}" + (f", namespace {checkpoint_ns!r}," if checkpoint_ns else "")
    if name is None:
        latest = views.history.latest(connection, stream)
        if latest is None:
            raise ConfigError(f"{where} has no checkpoint")
        return latest
    exact = views.history.one(connection, stream, name)
    if exact is not None:
        return exact
    rows = views.history.of_stream(connection, stream)
    meant = [row for row in rows if str(step_of(row)) == name]
    if not meant and len(name) >= _LEAST:
        meant = [row for row in rows if name in row.checkpoint_id]
    shown = [row for row in meant if not row.hidden] or meant
    if len(shown) == 1:
        return shown[0]
    if not shown:
        steps = sorted({step for row in rows if (step := step_of(row)) is not None})
        known = f": it has {len(rows)} checkpoints, of the steps {steps[0]} to {steps[-1]}" if steps else ""
        raise ConfigError(f"{where} has no checkpoint {name!r}{known}")
    raise ConfigError(f"{name!r} could be {len(shown)} checkpoints of {where}: {_some(r.checkpoint_id for r in shown)}")


def step_of(row: CheckpointRow) -> int | None:
    """Give a checkpoint's step; None if its metadata names none."""
    try:
        metadata: Any = unpack(row.metadata)
    except PlainDataError:
        return None
    step = metadata.get("step") if isinstance(metadata, dict) else None
    return step if isinstance(step, int) else None


def short_ids(ids: Sequence[str]) -> dict[str, str]:
    """Give each id's beginning, the shortest length at which all of them differ: up to one of a UUID's hyphens."""
    for length in _SHORT:
        if len({one[:length] for one in ids}) == len(ids):
            return {one: one[:length] for one in ids}
    return {one: one for one in ids}


def _no_thread(saver: EventLogSaver, thread_id: str) -> str:
    near = thread_ids(saver, thread_id[:4], limit=_MANY) or thread_ids(saver, limit=_MANY)
    known = f": there are {_some(near)}" if near else ", nor any other"
    return f"there is no thread {thread_id!r} in {saver.path}{known}"


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return ", ".join(map(repr, names[:_MANY])) + more
