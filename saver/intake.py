"""Taking over what other savers have stored: whole batches of checkpoints and writes, each in one transaction.

With what it appends, each transaction says where that came from, and when the threads were really active: so there is
no moment at which that is not known, wherever the process is killed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import apsw
from langgraph.checkpoint.serde.base import SerializerProtocol

from ..eventlog.errors import BaseErasedError, CorruptRecordError, LogDamagedError
from ..eventlog.event import Carry, Import, NewEvent, PutWrites, RecordedEvent
from ..eventlog.value import Whole
from .config import Address
from .core import Core
from .known import Key, Known, KnownCheckpoints
from .memory import Memory
from .seeds import serialised_snapshots_alone, with_seeds
from .serialised import SerialisedCheckpoint, encode_serialised, likeness_of_serialised
from .similar import SimilarWrites

__all__ = ["Intake", "Taken", "TakenOver"]

_KNOWN_BYTES = 64 * 1024 * 1024
_SIMILAR_BYTES = 8 * 1024 * 1024


class Taken(NamedTuple):
    """A checkpoint with its writes, as another saver stored them.

    Attributes:
        thread_id: its thread.
        checkpoint_ns: its namespace.
        checkpoint_id: its id.
        checkpoint: None: there are only writes, whose checkpoint is not there.
        writes: one for each task; values are Whole.
        active_at: when its thread was active, UTC microseconds; None: it is not known.
    """

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str
    checkpoint: SerialisedCheckpoint | None
    writes: tuple[PutWrites, ...]
    active_at: int | None


class TakenOver(NamedTuple):
    """What one transaction has appended."""

    checkpoints: int = 0
    writes: int = 0


class Intake:
    """Appends to one log what another saver holds. Not for use from several threads at once.

    Args:
        core: the log and its projections.
        serde: JsonPlusSerializer, or one that encrypts what that makes, if values that are not encrypted are to be.
    """

    def __init__(self, core: Core, serde: SerializerProtocol) -> None:
        self._core = core
        self._serde = serde
        self._renew()

    def _renew(self) -> None:
        self._known = KnownCheckpoints(_KNOWN_BYTES)
        self._similar = SimilarWrites(_SIMILAR_BYTES)

    def append(self, batch: Sequence[Taken], source: Mapping[str, Any]) -> TakenOver:
        """Append what is not there yet, parents before children, in one transaction: all of it, or nothing.

        A checkpoint that is there stays as it is, and so does a write.

        Args:
            batch: what to append, in this order.
            source: plain data that says where it came from.

        Raises:
            EventLogError: nothing was appended.
        """
        done = TakenOver()
        tries = 0

        def decide(connection: apsw.Connection) -> NewEvent | None:
            nonlocal done, tries
            tries += 1
            if tries > 1:
                self._renew()  # what is known of the batch is of events that were rolled back
            transaction = _Transaction(self._core, self._serde, self._known, self._similar, connection)
            for taken in batch:
                transaction.take(taken)
            done = transaction.done
            return transaction.finish(source)

        try:
            self._core.log.transact(decide)
        except BaseException:
            self._renew()
            raise
        return done


class _Transaction:
    """One try at a batch."""

    def __init__(
        self,
        core: Core,
        serde: SerializerProtocol,
        known: KnownCheckpoints,
        similar: SimilarWrites,
        connection: apsw.Connection,
    ) -> None:
        self._core = core
        self._serde = serde
        self._known = known
        self._similar = similar
        self._connection = connection
        self._positions: list[int] = []
        # Of each thread: when it began and was last active, apart from what this appends.
        self._active: dict[str, tuple[int, int] | None] = {}
        self.done = TakenOver()

    def take(self, taken: Taken) -> None:
        """Append what is not there of a checkpoint and its writes."""
        self._look_at(taken)
        stream = self._stream(taken)
        there = stream is not None and self._views.history.one(self._connection, stream, taken.checkpoint_id)
        if taken.checkpoint is not None and not there:
            self._put(taken, taken.checkpoint)
            self.done = self.done._replace(checkpoints=self.done.checkpoints + 1)
        written = self._written(stream, taken.checkpoint_id)
        for data in taken.writes:
            new = tuple(write for write in data.writes if (data.task_id, write.idx) not in written)
            if new:
                self._put_writes(taken, data._replace(writes=new))
                self.done = self.done._replace(writes=self.done.writes + len(new))

    @property
    def _views(self) -> Any:
        return self._core.views

    def _stream(self, taken: Taken) -> int | None:
        found = self._core.log.keys.find(self._connection, taken.thread_id, taken.checkpoint_ns)
        return None if found is None else found[1]

    def _written(self, stream: int | None, checkpoint_id: str) -> set[tuple[str, int]]:
        """Give the writes that are there: (task_id, idx)."""
        rows = [] if stream is None else self._views.pending_writes.of(self._connection, stream, checkpoint_id)
        if not rows:
            return set()
        gatherer = self._core.gatherer(self._connection, Memory(0))
        return {(write.task_id, write.idx) for write in gatherer.effective(rows)}

    def _put(self, taken: Taken, checkpoint: SerialisedCheckpoint) -> None:
        address = Address(taken.thread_id, taken.checkpoint_ns, None, taken.thread_id)
        known = self._known_parent(taken, checkpoint.parent_id)
        if known is not None:
            known = self._with_seeds(known, taken, checkpoint)
        encoded = encode_serialised(self._serde, address, checkpoint, known=known)
        try:
            recorded = self._append(encoded.event)
        except BaseErasedError:
            encoded = encode_serialised(self._serde, address, checkpoint, known=None)
            recorded = self._append(encoded.event)
        self._known.remember(_key(taken, taken.checkpoint_id), encoded.known(recorded.position))

    def _known_parent(self, taken: Taken, parent_id: str | None) -> Known | None:
        if parent_id is None:
            return None
        key = _key(taken, parent_id)
        known = self._known.get(key, self._serde)
        if known is not None:
            return known
        stream = self._stream(taken)
        row = None if stream is None else self._views.history.one(self._connection, stream, parent_id)
        if row is None:
            return None
        try:
            known = self._core.gatherer(self._connection, Memory(0)).known(row, self._serde)
        except CorruptRecordError:
            return None  # it is stored in full, then
        self._known.remember(key, known)
        return known

    def _with_seeds(self, known: Known, taken: Taken, checkpoint: SerialisedCheckpoint) -> Known:
        """Add what the snapshots of delta channels, if it has some, can be compared with."""
        whole = {name: value for name, value in checkpoint.channels.items() if isinstance(value, Whole)}
        alone = serialised_snapshots_alone(whole, known)
        stream = self._stream(taken) if alone else None
        if stream is None or checkpoint.parent_id is None:
            return known
        history = self._views.history
        try:
            row = history.one(self._connection, stream, checkpoint.parent_id)
            if row is None:
                return known
            gatherer = self._core.gatherer(self._connection, Memory(0))
            ancestors = history.ancestors(self._connection, row)
            return with_seeds(known, ancestors, alone, gatherer.known_channels)
        except LogDamagedError:
            return known

    def _put_writes(self, taken: Taken, data: PutWrites) -> None:
        event = NewEvent(data, taken.thread_id, taken.checkpoint_ns)
        like = likeness_of_serialised(event)
        if like is not None:
            event = event._replace(similar=self._similar.find(like))
        try:
            recorded = self._append(event)
        except BaseErasedError:
            event = event._replace(similar=None)
            recorded = self._append(event)
        if like is not None:
            self._similar.remember(like, event, recorded)
        self._known.remember_written(_key(taken, data.checkpoint_id), self._serde, data, recorded.position)

    def _append(self, event: NewEvent) -> RecordedEvent:
        recorded = self._core.log.append_within(self._connection, event)
        self._positions.append(recorded.position)
        return recorded

    def _look_at(self, taken: Taken) -> None:
        """Take in when a thread was active, before anything is appended to it."""
        if taken.thread_id not in self._active:
            thread = self._core.log.keys.find_thread(self._connection, taken.thread_id)
            row = None if thread is None else self._views.threads.one(self._connection, thread)
            self._active[taken.thread_id] = None if row is None else (row.created_at, row.last_activity)
        at, before = taken.active_at, self._active[taken.thread_id]
        if at is not None:
            first, last = before or (at, at)
            self._active[taken.thread_id] = (min(first, at), max(last, at))

    def finish(self, source: Mapping[str, Any]) -> NewEvent | None:
        """Append when the threads were active; give the event that says what has been imported."""
        if not self._positions:
            return None
        facts = [[thread_id, *active] for thread_id, active in self._active.items() if active is not None]
        if facts:
            self._core.log.append_within(self._connection, NewEvent(Carry("threads", facts)))
        return NewEvent(Import(source, _ranges(self._positions), *self.done))


def _key(taken: Taken, checkpoint_id: str) -> Key:
    return taken.thread_id, taken.checkpoint_ns, checkpoint_id


def _ranges(positions: Sequence[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for position in positions:
        if ranges and ranges[-1][1] + 1 == position:
            ranges[-1] = (ranges[-1][0], position)
        else:
            ranges.append((position, position))
    return tuple(ranges)
