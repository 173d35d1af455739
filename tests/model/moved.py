"""Comparing threads in one log with what was made of them in another, by everything that can be read of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langgraph_eventlog.eventlog.event import put_of, writes_of
from langgraph_eventlog.eventlog.plain import pack, unpack
from langgraph_eventlog.eventlog.reader import touches
from langgraph_eventlog.saver import EventLogSaver

from .seeing import config_of, exact, key_of, same, seen, told

__all__ = ["compare", "events_of", "keys_kept"]


def compare(source: EventLogSaver, target: EventLogSaver, names: Mapping[str, str], deltas: Any = ("d", "e")) -> None:
    """Threads of the source, by their names in the target, are the same there."""
    for old, new in names.items():
        found, expected = [*target.list(config_of(new, None, None))], [*source.list(config_of(old, None, None))]
        same([key_of(one)[0] for one in found], [key_of(one)[0] for one in expected])
        # Those of one id in several namespaces come in the order of their streams, which are local to a file.
        for one, other in zip(sorted(found, key=key_of), sorted(expected, key=key_of), strict=True):
            same(seen(one), seen(renamed(other, old, new)))
        streams = streams_of(source, old)
        same(streams_of(target, new), streams)
        for ns in streams:
            same(rows_of(target, new, ns, new, new), rows_of(source, old, ns, old, new))
            ids = [row[0] for row in rows_of(source, old, ns, old, new)[0]]
            for checkpoint_id in [None, *ids]:
                config = config_of(old, ns, checkpoint_id)
                other, one = source.get_tuple(config), target.get_tuple(config_of(new, ns, checkpoint_id))
                same(one and seen(one), other and seen(renamed(other, old, new)))
                before = source.get_delta_channel_history(config=config, channels=[*deltas])
                after = target.get_delta_channel_history(config=config_of(new, ns, checkpoint_id), channels=[*deltas])
                same(exact(dict(after)), exact(dict(before)))
    wanted = [facts for facts in infos(source) if facts[0] in names]
    same(
        [facts for facts in infos(target) if facts[0] in names.values()],
        [(names[facts[0]], *facts[1:]) for facts in wanted],
    )


def keys_kept(source: EventLogSaver, target: EventLogSaver) -> None:
    """Metadata keys that are indexed there are indexed here."""
    assert set(source._core.views.metadata_index.names) <= set(target._core.views.metadata_index.names)


def events_of(saver: EventLogSaver, thread_id: str) -> list[tuple[int, Any]]:
    """Time and kind of each event about a thread, in order."""
    return [(event.recorded_at, event.kind) for event in saver.log.read() if touches(event, thread_id)]


def renamed(one: Any, old: str, new: str) -> Any:
    if old == new:
        return one
    config = {"configurable": {**one.config["configurable"], "thread_id": new}}
    parent = one.parent_config and {"configurable": {**one.parent_config["configurable"], "thread_id": new}}
    metadata = {**one.metadata, "thread_id": new} if one.metadata.get("thread_id") == old else one.metadata
    return one._replace(config=config, parent_config=parent, metadata=metadata)


def streams_of(saver: EventLogSaver, thread_id: str) -> dict[str, int]:
    """Those that have anything: by namespace, how many checkpoints and rows of writes."""
    with saver.log.database.reading() as connection:
        thread = saver.log.keys.find_thread(connection, thread_id)
        views, found = saver._core.views, {}
        for stream, ns in [] if thread is None else saver.log.keys.streams_of(connection, thread):
            count = views.history.count(connection, stream)[1] + len(views.pending_writes.of_stream(connection, stream))
            if count:
                found[ns] = count
    return found


def rows_of(saver: EventLogSaver, thread_id: str, ns: str, old: str, new: str) -> tuple[list[Any], list[Any]]:
    """What the projections say of a stream, hidden checkpoints and writes of ones that are not there included."""
    with saver.log.database.reading() as connection:
        _, stream = saver.log.keys.find(connection, thread_id, ns) or (0, 0)
        views = saver._core.views
        checkpoints = [
            (row.checkpoint_id, row.parent_id, row.hidden, told(metadata_of(row.metadata, old, new)))
            for row in views.history.of_stream(connection, stream)
        ]
        writes = [
            (row.checkpoint_id, row.writes, writes_of(saver.log.reader.data(connection, row.position)[1]))  # type: ignore[index]
            for row in views.pending_writes.of_stream(connection, stream)
        ]
    return checkpoints, writes


def metadata_of(metadata: bytes, old: str, new: str) -> dict[str, Any]:
    unpacked: dict[str, Any] = unpack(metadata)
    return {**unpacked, "thread_id": new} if unpacked.get("thread_id") == old else unpacked


def infos(saver: EventLogSaver) -> Iterator[tuple[Any, ...]]:
    for info in saver.threads():
        latest = (info.latest_checkpoint_id, info.latest_step, info.latest_source)
        times = (info.created_at, info.last_activity)
        yield info.thread_id, info.name, told(info.metadata), *times, info.checkpoints, info.writes, latest


def values_in(saver: EventLogSaver) -> bytes:
    """All that stands in the records of a log, decompressed, references and patches included."""
    parts = []
    with saver.log.database.reading() as connection:
        rows, _ = saver.log.reader.page(connection, 0, 1_000_000)
        for row in rows:
            opened = saver.log.reader.opened(row)
            parts.append(pack(opened.array))
            put = put_of(opened.data())
            if put is not None:
                parts.append(repr(saver.log.reader.resolver(connection).all_channels(row[0], put)).encode())
    return b"\n".join(parts)
