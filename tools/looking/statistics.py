"""Where a log's bytes are: by kind of event, channel, thread and age; and how the file itself is used.

One pass over all events, in pages, with no transaction held between them. Memory grows with the number of threads and
of channels, not with the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import apsw

from ...eventlog.errors import CorruptRecordError, LogDamagedError
from ...eventlog.event import RecordedEvent, put_of, writes_of
from ...eventlog.log import EventLog
from ...eventlog.record import RecordFormatError, body_size
from ...eventlog.sql import all_rows, the_row
from ...eventlog.value import Carried, DictOf, ListOf, Stored, Whole, stored_bytes
from ...saver import EventLogSaver
from .files import FileSizes, file_sizes
from .reclaiming import Reclaimable, reclaimable

__all__ = ["ChannelSizes", "Sizes", "Statistics", "ThreadSizes", "statistics"]

_PAGE = 1_000
_DAY_US = 86_400_000_000
_AGES = (("1 day", 1), ("7 days", 7), ("30 days", 30), ("90 days", 90), ("365 days", 365))
_OLDER = "older"
_THREAD_IDS = "SELECT thread, thread_id FROM thread WHERE thread = ?"
_IS_LISTED = "SELECT 1 FROM threads WHERE thread = ?"
_COUNTS = "SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM erased)"
# What of a record is no channel's value.
METADATA, VERSIONS, REST, OTHER_EVENTS = "metadata", "versions", "rest", "other events"


@dataclass(slots=True)
class Sizes:
    """How many events, and what they take.

    Attributes:
        events: how many.
        bytes: of their records, as they stand in the file.
        body_bytes: of what the records hold, uncompressed.
    """

    events: int = 0
    bytes: int = 0
    body_bytes: int = 0

    def add(self, size: int, body: int) -> None:
        """Count an event."""
        self.events += 1
        self.bytes += size
        self.body_bytes += body


@dataclass(slots=True)
class ChannelSizes:
    """What the values of one channel take, in checkpoints and in writes.

    Attributes:
        keyframes: how many are stored whole in checkpoints.
        deltas: how many are stored as a difference to an earlier one.
        carried: how many are only named: they are what an earlier checkpoint holds.
        writes: how many are stored in writes.
        keyframe_bytes, delta_bytes, write_bytes: of these, uncompressed.
        bytes: their share of the records that hold them, as these stand in the file: a record's bytes are shared out
            by what is in it, uncompressed, as if all of it were compressed equally well.
    """

    keyframes: int = 0
    deltas: int = 0
    carried: int = 0
    writes: int = 0
    keyframe_bytes: int = 0
    delta_bytes: int = 0
    write_bytes: int = 0
    bytes: float = 0


@dataclass(frozen=True, slots=True)
class ThreadSizes:
    """What the events about one thread take; those of copies that only name another thread's events are small.

    Attributes:
        thread_id: its id; None: events about several threads, or the whole log.
        is_deleted: there is no such thread any more.
        events: how many.
        bytes: of their records.
    """

    thread_id: str | None
    is_deleted: bool
    events: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Where a log's bytes are.

    Attributes:
        head: the newest event's position.
        erased: how many events have been erased.
        events: all that are there.
        kinds: by kind of event, "put" for instance.
        channels: by channel, the largest first.
        beside: bytes of records, shared out as a channel's are, that are no channel's value: "metadata", "versions"
            (of channels, and what nodes have seen of them), the "rest" (ids, times, names), and "other events" than
            puts and put_writes, restated ones included.
        threads: the largest, by their records.
        ages: by how long ago events were recorded: "1 day" are those of less, and so on.
        reclaimable: what compaction would give back now; None if damage keeps that from being known.
        file: how the file is used; None of a private log.
        damaged: positions of events that cannot be read, at most 100: they are in no other number but `kinds`.
    """

    head: int
    erased: int
    events: Sizes
    kinds: Mapping[str, Sizes]
    channels: Mapping[str, ChannelSizes]
    beside: Mapping[str, int]
    threads: tuple[ThreadSizes, ...]
    ages: Mapping[str, Sizes]
    reclaimable: Reclaimable | None
    file: FileSizes | None
    damaged: tuple[int, ...]

    @property
    def keyframes(self) -> tuple[int, int]:
        """How many values of checkpoints are stored whole, and their bytes, uncompressed."""
        found = self.channels.values()
        return sum(one.keyframes for one in found), sum(one.keyframe_bytes for one in found)

    @property
    def deltas(self) -> tuple[int, int]:
        """How many are stored as differences, and their bytes, uncompressed."""
        found = self.channels.values()
        return sum(one.deltas for one in found), sum(one.delta_bytes for one in found)


def statistics(
    saver: EventLogSaver,
    *,
    threads: int = 10,
    now_us: int | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Statistics:
    """Say where a log's bytes are.

    Args:
        saver: an open log; others may append meanwhile: what comes after the head of now is not counted.
        threads: so many of the largest are named.
        now_us: from when ages are reckoned, UTC, microseconds since 1970-01-01; None: now.
        progress: is called with how many positions have been looked at, of twice as many as the head's.

    A damaged record is named, and the others are counted.
    """
    log = saver.log
    head = log.head().position
    tally = _Tally(time.time_ns() // 1000 if now_us is None else now_us)
    for position, record, event in _events(log, head):
        tally.take_in(position, record, event)
        progress(position)
    with log.database.reading() as connection:
        _, erased = the_row(connection, _COUNTS)
        largest = sorted(tally.threads.items(), key=lambda item: (-item[1].bytes, item[0] or 0))[:threads]
        named = tuple(_thread(connection, thread, sizes) for thread, sizes in largest)
        file = None if log.database.private else file_sizes(connection, log.path)
    try:
        gain = reclaimable(saver, progress=lambda done: progress(head + done))
    except LogDamagedError:
        gain = None
    channels = sorted(tally.channels.items(), key=lambda item: (-item[1].bytes, item[0]))
    for _, sizes in channels:
        sizes.bytes = round(sizes.bytes)
    return Statistics(
        head=head,
        erased=erased,
        events=tally.all,
        kinds={name: tally.kinds[name] for name in sorted(tally.kinds, key=lambda name: -tally.kinds[name].bytes)},
        channels=dict(channels),
        beside={name: round(size) for name, size in tally.beside.items()},
        threads=named,
        ages=tally.ages,
        reclaimable=gain,
        file=file,
        damaged=tuple(tally.damaged),
    )


def _events(log: EventLog, head: int) -> Iterator[tuple[int, bytes, RecordedEvent | CorruptRecordError]]:
    """Yield each event's position and record, and the event, or why it cannot be read."""
    position, more = 0, True
    while more and position < head:
        with log.database.reading() as connection:
            rows, more = log.reader.page(connection, position, _PAGE)
        for row in rows:
            if row[0] > head:
                return
            try:
                yield row[0], row[4], log.reader.to_event(row)
            except CorruptRecordError as e:
                yield row[0], row[4], e
        position = rows[-1][0] if rows else head


class _Tally:
    """What has been counted so far."""

    _MAX_DAMAGED = 100

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us
        self.all = Sizes()
        self.kinds: dict[str, Sizes] = {}
        self.channels: dict[str, ChannelSizes] = {}
        self.beside: dict[str, float] = {METADATA: 0, VERSIONS: 0, REST: 0, OTHER_EVENTS: 0}
        self.threads: dict[int | None, Sizes] = {}
        self.ages: dict[str, Sizes] = {name: Sizes() for name in (*(name for name, _ in _AGES), _OLDER)}
        self.damaged: list[int] = []

    def take_in(self, position: int, record: bytes, event: RecordedEvent | CorruptRecordError) -> None:
        try:
            if isinstance(event, CorruptRecordError):
                raise event
            body = body_size(record)
        except (CorruptRecordError, RecordFormatError):
            if len(self.damaged) < self._MAX_DAMAGED:
                self.damaged.append(position)
            self.kinds.setdefault("damaged", Sizes()).add(len(record) if isinstance(record, bytes) else 0, 0)
            return
        age = self._now_us - event.recorded_at
        name = next((name for name, days in _AGES if age < days * _DAY_US), _OLDER)
        kind = self.kinds.setdefault(event.kind.name.lower(), Sizes())
        for sizes in (self.all, kind, self.ages[name], self.threads.setdefault(event.thread, Sizes())):
            sizes.add(event.size, body)
        self._share_out(event, event.size / max(body, 1), body)

    def _share_out(self, event: RecordedEvent, ratio: float, body: int) -> None:
        put, writes = put_of(event.data), writes_of(event.data)
        left = body
        if put is not None:
            for name, value in put.channels.items():
                size = stored_bytes(value)
                self._count(self._channel(name, size * ratio), value, size)
                left -= size
            versions = stored_bytes(put.channel_versions) + stored_bytes(put.versions_seen)
            self.beside[METADATA] += len(put.metadata) * ratio
            self.beside[VERSIONS] += versions * ratio
            left -= versions + len(put.metadata)
        elif writes is not None:
            for write in writes.writes:
                size = stored_bytes(write.value)
                channel = self._channel(write.channel, size * ratio)
                channel.writes += 1
                channel.write_bytes += size
                left -= size
        else:
            self.beside[OTHER_EVENTS] += event.size
            return
        self.beside[REST] += left * ratio

    def _channel(self, name: str, share: float) -> ChannelSizes:
        found = self.channels.get(name)
        if found is None:
            found = self.channels[name] = ChannelSizes()
        found.bytes += share
        return found

    @staticmethod
    def _count(channel: ChannelSizes, value: Stored, size: int) -> None:
        if isinstance(value, Carried):
            channel.carried += 1
        elif isinstance(value, Whole | ListOf | DictOf):
            channel.keyframes += 1
            channel.keyframe_bytes += size
        else:
            channel.deltas += 1
            channel.delta_bytes += size


def _thread(connection: apsw.Connection, thread: int | None, sizes: Sizes) -> ThreadSizes:
    if thread is None:
        return ThreadSizes(None, False, sizes.events, sizes.bytes)
    _, thread_id = the_row(connection, _THREAD_IDS, (thread,))
    return ThreadSizes(thread_id, not all_rows(connection, _IS_LISTED, (thread,)), sizes.events, sizes.bytes)
