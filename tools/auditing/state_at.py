"""The state of a thread as it was: its events up to a position, replayed into projections of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import apsw
from langgraph.checkpoint.base import CheckpointTuple, DeltaChannelHistory

from ...eventlog.errors import ConfigError
from ...eventlog.log import EventLog
from ...eventlog.sql import one_row
from ...eventlog.streams import StreamKeys
from ...projections.builtin import BuiltIn
from ...projections.reachability import version_names
from ...projections.rebuild import create_tables
from ...saver import EventLogSaver
from ...saver.decoder import Decoder
from ...saver.decoding import Gatherer, build
from ...saver.delta_history import delta_channel_history
from ...saver.memory import Memory
from ...saver.removing import may_be_delta
from ...saver.serialising import load_metadata
from ..times import recorded_time
from ..undecoded import UndecodedSerializer
from .erasures import Range, events_of, maybe_of_thread

__all__ = ["NamespaceState", "StateAt", "position_at", "state_at"]

_MEMORY_BYTES = 64 * 1024 * 1024
# The last of those recorded by then: a clock may go back.
_AT_TIME = "SELECT position FROM event WHERE recorded_at <= ? ORDER BY position DESC LIMIT 1"
_RECORDED_AT = "SELECT recorded_at FROM event WHERE position <= ? ORDER BY position DESC LIMIT 1"
# These come before the tables of the same names in the file.
_SCHEMA = "temp."


@dataclass(frozen=True, slots=True)
class NamespaceState:
    """The latest checkpoint of a namespace, as it was.

    Attributes:
        checkpoint_ns: the namespace; "" is the thread's own.
        latest: the checkpoint, with its pending writes, decoded.
        checkpoints: how many there were, hidden ones not counted.
        rebuilt: delta channels, which most checkpoints hold no value of: what they were rebuilt from, oldest first.
            Only the graph's own code can do that.
    """

    checkpoint_ns: str
    latest: CheckpointTuple
    checkpoints: int
    rebuilt: Mapping[str, DeltaChannelHistory]


@dataclass(frozen=True, slots=True)
class StateAt:
    """A thread as it was.

    Attributes:
        thread_id: its id.
        position: after which event.
        recorded_at: when the last event up to there was recorded, UTC; None: there was none.
        exists: whether there was such a thread.
        name, metadata: as registered then.
        namespaces: in the order of their names.
        incomplete: ranges of positions, up to this one, of erased events that may have been about the thread: what they
            held is missing. (): nothing is.
    """

    thread_id: str
    position: int
    recorded_at: datetime | None
    exists: bool
    name: str | None
    metadata: Mapping[str, Any]
    namespaces: tuple[NamespaceState, ...]
    incomplete: tuple[Range, ...]


class _Replayed(NamedTuple):
    """The projections as they were, and what reads from them."""

    views: BuiltIn
    connection: apsw.Connection
    gatherer: Gatherer
    decoder: Decoder


def position_at(log: EventLog, time: datetime) -> int:
    """Give the position of the last event recorded at a time or before; 0 if there is none."""
    microseconds = round((time - recorded_time(0)).total_seconds() * 1_000_000)
    with log.database.reading() as connection:
        row = one_row(connection, _AT_TIME, (microseconds,))
    return 0 if row is None else int(row[0])


def state_at(saver: EventLogSaver, thread_id: str, at: int | datetime) -> StateAt:
    """Give the state of a thread as it was after the event at a position, or at a time.

    That of a thread that was deleted or pruned since as well, as long as the records are in the log: see `incomplete`.
    Every event of the thread up to there is applied once more, by the code that applied it first, to tables in memory.
    The log is read as it is at one moment.

    Raises:
        ConfigError: there is no such position.
        CorruptRecordError: one of the events, or what the state refers to, is damaged.
    """
    log = saver.log
    head = log.head().position
    position = at if isinstance(at, int) else position_at(log, at)
    if not 0 <= position <= head:
        raise ConfigError(f"there is no position {position}: the log has 1 to {head}, and 0 is before the first")
    views = BuiltIn(log.reader, StreamKeys())
    with log.database.scratch() as connection, _temporary(connection, views):
        # What is replayed, what it refers to and what is missing are of one moment, though others erase meanwhile.
        connection.execute("BEGIN")
        row = one_row(connection, _RECORDED_AT, (position,))
        incomplete = maybe_of_thread(log, connection, thread_id, position)
        _replay(log, connection, views, thread_id, position)
        thread = log.keys.find_thread(connection, thread_id)
        info = None if thread is None else views.threads.one(connection, thread)
        streams = [] if info is None or thread is None else log.keys.streams_of(connection, thread)
        gatherer = Gatherer(log, views, connection, Memory(_MEMORY_BYTES))
        state = _Replayed(views, connection, gatherer, Decoder(_serde(saver), None))
        namespaces = [_namespace(state, thread_id, *stream) for stream in streams]
        connection.execute("COMMIT")
    metadata = {} if info is None or info.metadata is None else load_metadata(_serde(saver), info.metadata)
    return StateAt(
        thread_id=thread_id,
        position=position,
        recorded_at=None if row is None else recorded_time(row[0]),
        exists=info is not None,
        name=None if info is None else info.name,
        metadata=metadata,
        namespaces=tuple(sorted(filter(None, namespaces), key=lambda state: state.checkpoint_ns)),
        incomplete=incomplete,
    )


def _serde(saver: EventLogSaver) -> UndecodedSerializer:
    return saver.serde if isinstance(saver.serde, UndecodedSerializer) else UndecodedSerializer(saver.serde)


@contextlib.contextmanager
def _temporary(connection: apsw.Connection, views: BuiltIn) -> Iterator[None]:
    """Have empty tables of the projections in the place of the file's, on this connection alone."""
    create_tables(connection, views, schema=_SCHEMA)
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        for table in views.tables:  # a private log has but this connection
            connection.execute(f"DROP TABLE {_SCHEMA}{table.name}")


def _replay(log: EventLog, connection: apsw.Connection, views: BuiltIn, thread_id: str, up_to: int) -> None:
    for event in events_of(log, connection, thread_id):
        if event.position > up_to:
            return
        views.apply(connection, event)


def _namespace(state: _Replayed, thread_id: str, stream: int, checkpoint_ns: str) -> NamespaceState | None:
    views, connection, gatherer, decoder = state
    row = views.history.latest(connection, stream)
    if row is None:
        return None
    gathered = gatherer.gather(row)
    without_value = (version_names(gathered.channel_versions) or set()).difference(gathered.channels)
    channels = sorted(filter(may_be_delta, without_value))
    generations = views.history.generations(connection, row)
    found = delta_channel_history(gatherer, generations, channels).decoded(decoder) if channels else {}
    return NamespaceState(
        checkpoint_ns=checkpoint_ns,
        latest=build(decoder, gathered, thread_id, checkpoint_ns),
        checkpoints=views.history.count(connection, stream)[0],
        rebuilt={name: history for name, history in found.items() if history["writes"] or "seed" in history},
    )
