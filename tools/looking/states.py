"""The state of a checkpoint: its values, what is pending, what interrupted it, what is next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...eventlog.event import writes_of
from ...projections.history import CheckpointRow
from ...saver import EventLogSaver
from ..at_one_moment import LogAtOneMoment
from .deltas import DeltaValue, delta_values
from .facts import CheckpointFacts, FactReader
from .naming import find_checkpoint, views_of
from .tasks import Next, mapping, next_tasks, node_of_path, sends_in

__all__ = ["Interruption", "PendingWrite", "State", "load_state", "values_of"]

_INTERRUPT = "__interrupt__"
_RESUME = "__resume__"
_ERROR = "__error__"


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """A write stored at a checkpoint: what a task that ran after it came to.

    Attributes:
        task_id: of the task.
        node: of the task; None if that is not known.
        channel: to which it was written.
        value: what was written.
    """

    task_id: str
    node: str | None
    channel: str
    value: Any


@dataclass(frozen=True, slots=True)
class Interruption:
    """An interrupt of a task.

    Attributes:
        task_id: of the task.
        node: of the task; None if that is not known.
        id: the interrupt's, with which it is resumed; None if it has none.
        value: what it asks.
        answers: what the task was resumed with so far; it may have asked for more than one thing.
    """

    task_id: str
    node: str | None
    id: str | None
    value: Any
    answers: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class State:
    """A checkpoint, with its values.

    Attributes:
        facts: see `facts.CheckpointFacts`.
        is_latest: it is its namespace's latest.
        metadata: as it was put.
        values: by channel, as they are stored: delta channels are mostly not among them.
        deltas: by delta channel, its value put together: see `deltas.DeltaValue`.
        versions: the channels' versions.
        pending: writes stored at it, without interrupts, answers to them, and errors.
        interrupts: what waits for an answer, or had one.
        errors: of tasks that failed, by task id.
        next: tasks that are next, as far as the checkpoint tells; those that have finished are among them, since what
            they wrote takes effect with the others'.
    """

    facts: CheckpointFacts
    is_latest: bool
    metadata: Mapping[str, Any]
    values: Mapping[str, Any]
    deltas: Mapping[str, DeltaValue]
    versions: Mapping[str, Any]
    pending: tuple[PendingWrite, ...]
    interrupts: tuple[Interruption, ...]
    errors: Mapping[str, Any]
    next: tuple[Next, ...]


def load_state(
    saver: EventLogSaver, thread_id: str, checkpoint: str | None = None, *, checkpoint_ns: str = ""
) -> State:
    """Give the state of a checkpoint.

    Args:
        saver: an open log.
        thread_id: its thread.
        checkpoint: its id, a part of it, or its step, see `naming.find_checkpoint`; None: the latest.
        checkpoint_ns: its namespace.

    Raises:
        ConfigError: there is no such checkpoint, or several are meant.
        CorruptRecordError: it, or something that it refers to, is damaged.
        DecodingError: the saver's serializer cannot read a value.
    """
    views = views_of(saver)
    paths: dict[str, str] = {}
    with saver.log.database.reading() as connection:
        row = find_checkpoint(saver, connection, thread_id, checkpoint, checkpoint_ns=checkpoint_ns)
        log = LogAtOneMoment(saver, connection)
        found = log.tuple_of(row, thread_id, checkpoint_ns)
        deltas = delta_values(log, row, found)
        rows = {one.checkpoint_id: one for one in views.history.of_stream(connection, row.stream)}
        latest = views.history.latest(connection, row.stream)
        for one in views.pending_writes.of(connection, row.stream, row.checkpoint_id):
            event = saver.log.reader.data(connection, one.position)
            writes = None if event is None else writes_of(event[1])
            if writes is not None:
                paths[writes.task_id] = writes.task_path
        facts = FactReader(saver, thread_id, checkpoint_ns, rows).read(connection, [row])[row.checkpoint_id]
    values = found.checkpoint["channel_values"]
    sends = sends_in(values)
    nodes = {task_id: node_of_path(path, sends) for task_id, path in paths.items()}
    pending = [PendingWrite(task, nodes.get(task), channel, v) for task, channel, v in found.pending_writes or ()]
    return State(
        facts=facts,
        is_latest=latest is not None and latest.checkpoint_id == row.checkpoint_id,
        metadata=dict(mapping(found.metadata)),
        values=values,
        deltas=deltas,
        versions=mapping(found.checkpoint["channel_versions"]),
        pending=tuple(one for one in pending if one.channel not in (_INTERRUPT, _RESUME, _ERROR)),
        interrupts=_interruptions(pending),
        errors={one.task_id: one.value for one in pending if one.channel == _ERROR},
        next=tuple(next_tasks(found.checkpoint)),
    )


def values_of(log: LogAtOneMoment, thread_id: str, checkpoint_ns: str, row: CheckpointRow) -> dict[str, Any]:
    """Give a checkpoint's values by channel, delta channels put together: those that cannot be, are not there.

    The row was read in the same transaction.

    Raises:
        CorruptRecordError: it, or something that it refers to, is damaged.
        DecodingError: the saver's serializer cannot read a value.
    """
    found = log.tuple_of(row, thread_id, checkpoint_ns)
    deltas = {name: delta.value for name, delta in delta_values(log, row, found).items() if delta.how is not None}
    return {**found.checkpoint["channel_values"], **deltas}


def _interruptions(pending: list[PendingWrite]) -> tuple[Interruption, ...]:
    answers: dict[str, list[Any]] = {}
    for write in pending:
        if write.channel == _RESUME:
            given = write.value if isinstance(write.value, list) else [write.value]
            answers.setdefault(write.task_id, []).extend(given)
    return tuple(
        Interruption(
            task_id=write.task_id,
            node=write.node,
            id=getattr(one, "id", None),
            value=getattr(one, "value", one),
            answers=tuple(answers.get(write.task_id, ())),
        )
        for write in pending
        if write.channel == _INTERRUPT
        for one in (write.value if isinstance(write.value, list | tuple) else [write.value])
    )
