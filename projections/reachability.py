"""Which ancestors a checkpoint needs when others are removed: a delta channel is rebuilt from what its ancestors wrote.

LangGraph's DeltaChannel stores nothing in most checkpoints; its value is the nearest ancestor's that holds one (the
seed), and the writes of all ancestors since. (langgraph-checkpoint, BaseCheckpointSaver.get_delta_channel_history.)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import apsw

from ..eventlog.event import Put, put_of, writes_of
from ..eventlog.plain import unpack
from ..eventlog.reader import EventReader
from ..eventlog.value import PLAIN_TAG, Value, Whole
from .builtin import BuiltIn
from .history import CheckpointRow

__all__ = ["needed_ancestors", "version_names", "versioned_channels"]


def needed_ancestors(
    views: BuiltIn,
    reader: EventReader,
    connection: apsw.Connection,
    row: CheckpointRow,
    *,
    may_be_delta: Callable[[str], bool],
    also: Collection[str] | None = (),
) -> list[CheckpointRow]:
    """Give the ancestors, nearest first, that `row` needs to stay readable.

    A channel counts if it has a version but no value in the checkpoint, and `may_be_delta` does not rule it out;
    whether it really is a delta channel only the graph knows, so that this may give too many, never too few. `also`
    names channels that have a version in its descendants; None: any may.
    """
    put = _put(reader, connection, row)
    if put is None:
        return []
    versions = version_names(reader.resolver(connection).channel_versions(row.position, put))
    candidates = None
    if versions is not None and also is not None:
        candidates = {name for name in versions.union(also) - set(put.channels) if may_be_delta(name)}
    seeded: set[str] = set(put.channels)
    path: list[CheckpointRow] = []
    needed = 0
    for ancestor in views.history.ancestors(connection, row):
        if candidates is not None and candidates <= seeded:
            break
        path.append(ancestor)
        found = _put(reader, connection, ancestor)
        holds = set() if found is None else set(found.channels)
        involved = (holds | _written(views, reader, connection, ancestor)) - seeded
        if candidates is not None:
            involved &= candidates
        if any(may_be_delta(name) for name in involved):
            needed = len(path)
        seeded |= holds
    return path[:needed]


def versioned_channels(
    reader: EventReader, connection: apsw.Connection, rows: Iterable[CheckpointRow]
) -> set[str] | None:
    """Give the channels that have a version in any of the checkpoints; None if one of them has none at all."""
    names: set[str] = set()
    resolver = reader.resolver(connection)
    for row in rows:
        put = _put(reader, connection, row)
        versions = None if put is None else version_names(resolver.channel_versions(row.position, put))
        if versions is None:
            return None
        names |= versions
    return names


def _put(reader: EventReader, connection: apsw.Connection, row: CheckpointRow) -> Put | None:
    found = reader.data(connection, row.position)
    return None if found is None else put_of(found[1])


def version_names(value: Value) -> set[str] | None:
    """Give the channels that have a version; None if there are none, or they cannot be read without the serializer."""
    versions: Any = value
    if isinstance(value, Whole):
        versions = unpack(value.data) if value.tag == PLAIN_TAG else None
    return set(versions) if isinstance(versions, dict) and versions else None


def _written(views: BuiltIn, reader: EventReader, connection: apsw.Connection, row: CheckpointRow) -> set[str]:
    names: set[str] = set()
    for writes in views.pending_writes.of(connection, row.stream, row.checkpoint_id):
        found = reader.data(connection, writes.position)
        put_writes = None if found is None else writes_of(found[1])
        if put_writes is not None:
            names |= {write.channel for write in put_writes.writes}
    return names
