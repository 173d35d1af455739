"""Restating: what is kept, but refers to what is to go, is stored once more without it, while everybody goes on.

Stream by stream, parents before children. Each step reads and encodes some rows in a read transaction, and then appends
them in a short write transaction, in which each row must still be what was read. That transaction adds 1 to the file's
generation: so every writer, of this process and others, notices before it appends the next time, and refers to nothing
any more that it knew of before. What was put in the meantime, and refers to what goes, is restated in turn; at last,
if a writer is so quick that there is always some, under the lock.

What is killed in between leaves a valid log: what has been restated is not affected any more, the rest is as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import apsw

from ...eventlog.errors import BaseErasedError
from ...eventlog.sql import the_row
from ...projections.history import CheckpointRow
from ...projections.pending_writes import WritesRow
from ...projections.rebuild import NEXT_GENERATION
from ..core import Core
from .affected import AffectedRows, Fate, Place
from .reencoding import Encoded, Encoder

__all__ = ["Paced", "Restated", "restate_affected"]

_META = "SELECT head, generation FROM meta"
# How often a stream is gone through for what was put meanwhile, before that is done under the lock.
_ROUNDS = 4
# What may be done under the lock: of a writer that is as quick as this, only small checkpoints are left.
_MOST_UNDER_LOCK = 8
_MAX_BYTES_UNDER_LOCK = 256 * 1024
# A transaction is to take about so long, without its commit.
_AIM_S = 0.0007
_MOST_AT_ONCE = 64
_MAX_BYTES_AT_ONCE = 256 * 1024
_MAX_ENCODING_S = 0.05
# How often rows are encoded again because others have restated, or rebuilt, meanwhile.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Restated:
    """What restating came to.

    Attributes:
        checkpoints: how many rows of checkpoints have been restated.
        writes: how many rows of writes have been.
        bytes: of the records that this has added.
        left: how many rows still refer to what goes: they changed in the meantime.
        transactions: how many write transactions it took.
        longest_hold_us: microseconds, at most, for which one of them held the write lock.
    """

    checkpoints: int = 0
    writes: int = 0
    bytes: int = 0
    left: int = 0
    transactions: int = 0
    longest_hold_us: int = 0


class Paced(Protocol):
    """Measures write transactions, and waits after them."""

    def transaction(self) -> AbstractContextManager[None]:
        """Give a block in which there is one."""

    def begun(self) -> None:
        """Take note that it has the write lock; again, if it had to be begun again."""


def restate_affected(
    core: Core,
    *,
    is_affected: Callable[[int], bool],
    goes: Callable[[int], bool],
    upto: int,
    thorough: bool = True,
    pace: Paced | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Restated:
    """Restate every checkpoint, and all writes, that are there and refer to what is to go.

    Args:
        core: of the log.
        is_affected: whether the event at a position, which a row points at, names as a base what goes, directly or not.
        goes: whether the event at a position is to be erased.
        upto: both are asked of positions up to this only; what was appended later is judged by what it refers to.
        thorough: False: only streams that are read from a good deal of what goes, compared with what they have: so that
            one that loses a little at a time is not stored anew each time.
        pace: waits between write transactions; None: they follow one another.
        clock: seconds, from any beginning.

    Rows that change meanwhile may be left: go through the log again. Memory that is needed grows with the longest
    stream's rows, and with the copied records that are restated, not with the log.

    Raises:
        CorruptRecordError: what is to be restated cannot be read. What has been restated before it stays so.
        LogBusyError, LogReadOnlyError, LogFullError, LogIOError, LogClosedError: likewise.
    """
    fate = Fate(is_affected, goes, upto)
    rows = AffectedRows(core, fate)
    work = _Work(core, fate, rows, pace, clock)
    for stream in rows.streams():
        if thorough or rows.is_worth_it(stream):
            work.restate(stream)
    return work.result()


class _Work:
    """One call of `restate_affected`."""

    def __init__(
        self, core: Core, fate: Fate, rows: AffectedRows, pace: Paced | None, clock: Callable[[], float]
    ) -> None:
        self._core = core
        self._fate = fate
        self._rows = rows
        self._pace = pace
        self._clock = clock
        self._restated: dict[int, int] = {}
        self._checkpoints = self._writes = self._bytes = self._left = self._transactions = 0
        self._longest_s = 0.0
        self._at_once = 4

    def result(self) -> Restated:
        """Give what it came to."""
        longest_us = round(self._longest_s * 1e6)
        return Restated(self._checkpoints, self._writes, self._bytes, self._left, self._transactions, longest_us)

    def restate(self, stream: int) -> None:
        """Restate what is affected in a stream, and what is put there meanwhile and is, too."""
        log = self._core.log
        with log.database.reading() as connection:
            head = log.reader.head(connection).position
            address = log.keys.address(connection, stream)
        assert address is not None
        places = self._rows.of(stream)
        for _ in range(_ROUNDS):
            places = self._some(stream, address, places)
            with log.database.reading() as connection:
                places += self._rows.put_since(connection, stream, head)
                head = log.reader.head(connection).position
            if not places:
                return
        self._left += self._under_lock(stream, address, places, head)

    # Some at a time: encoded outside of the lock, and appended in one short transaction.

    def _some(self, stream: int, address: tuple[str, str], places: Sequence[Place]) -> list[Place]:
        """Restate rows, in their order; give those that have changed while that was done."""
        left: list[Place] = []
        first = tries = 0
        encoder, expected = None, -1
        while first < len(places):
            with self._core.log.database.reading() as connection:
                generation = the_row(connection, _META)[1]
                if encoder is None or generation != expected:  # another has restated what this one knows, perhaps
                    encoder = Encoder(self._core, self._fate, address, self._restated)
                encoder.begin(connection)
                batch = self._encode(stream, encoder, connection, places[first:])
            done = self._append([encoded for _, encoded in batch if encoded is not None], encoder, generation)
            expected = generation + bool(done)
            tries = tries + 1 if done is None else 0
            if done is None and tries < _TRIES:
                continue  # what they were encoded against may have been restated by another
            left += [place for place, encoded in batch if encoded is not None and encoded.at not in (done or {})]
            first += len(batch)
        return left

    def _encode(
        self, stream: int, encoder: Encoder, connection: apsw.Connection, places: Iterable[Place]
    ) -> list[tuple[Place, Encoded | None]]:
        """Encode the first of some rows again, at least one; None stands for one that need not be."""
        batch: list[tuple[Place, Encoded | None]] = []
        size, until = 0, self._clock() + _MAX_ENCODING_S
        for place in places:
            row = self._rows.row(connection, stream, place)
            encoded = None if row is None else encoder.encode(row)
            if encoded is not None:
                size += len(encoded.record)
                # Under the lock, a large record is not to be hashed: it is encoded again, alone.
                if batch and size > _MAX_BYTES_AT_ONCE:
                    break
            batch.append((place, encoded))
            if len(batch) >= self._at_once or size > _MAX_BYTES_AT_ONCE or self._clock() > until:
                break
        return batch

    def _append(self, batch: Sequence[Encoded], encoder: Encoder, generation: int) -> dict[int, int] | None:
        """Append what is still of use; give where it stands, or None if the generation has changed since."""
        if not batch:
            return {}
        at: dict[int, int] = {}
        is_current = True
        size = 0
        began = ended = 0.0

        def decide(connection: apsw.Connection) -> None:
            nonlocal is_current, size, began, ended
            began, size = self._began(), 0
            at.clear()
            is_current = the_row(connection, _META)[1] == generation
            for encoded in batch if is_current else ():
                size += self._append_one(connection, encoded, at)
            if at:
                connection.execute(NEXT_GENERATION)
            ended = self._clock()

        self._transact(decide)
        if not is_current:
            return None
        for encoded in batch:
            if encoded.at in at:
                encoder.appended(encoded, at)
                self._count(encoded, at[encoded.at])
        self._bytes += size
        self._after_transaction(began, ended - began, len(batch))
        return at

    def _transact(self, decide: Callable[[apsw.Connection], None]) -> None:
        with nullcontext() if self._pace is None else self._pace.transaction():
            self._core.log.transact(decide)

    def _began(self) -> float:
        if self._pace is not None:
            self._pace.begun()
        return self._clock()

    def _append_one(self, connection: apsw.Connection, encoded: Encoded, at: dict[int, int]) -> int:
        """Append one restate, if its row is what it was, and what it refers to is there; give the record's bytes."""
        row, views = encoded.row, self._core.views
        now: CheckpointRow | WritesRow | None
        if isinstance(row, CheckpointRow):
            now = views.history.one(connection, row.stream, row.checkpoint_id)
        else:
            now = views.pending_writes.one(connection, row.stream, row.checkpoint_id, row.applied, row.ordinal)
        prepared = encoded.prepared(at) if now == row else None
        if prepared is None:
            return 0
        try:
            recorded = self._core.log.append_within(connection, prepared)
        except BaseErasedError:
            return 0  # by another that compacts
        at[encoded.at] = recorded.position
        return recorded.size

    def _count(self, encoded: Encoded, position: int) -> None:
        is_checkpoint = isinstance(encoded.row, CheckpointRow)
        self._checkpoints += is_checkpoint
        self._writes += not is_checkpoint
        if is_checkpoint and encoded.row.position in self._rows.copied:
            self._restated.setdefault(encoded.row.position, position)

    def _after_transaction(self, began: float, worked_s: float, count: int) -> None:
        held_s = self._clock() - began
        self._transactions += 1
        self._longest_s = max(self._longest_s, held_s)
        fitting = int(count * _AIM_S / worked_s) if worked_s > 0 else _MOST_AT_ONCE
        self._at_once = max(1, min(fitting, 2 * self._at_once, _MOST_AT_ONCE))

    # What a quick writer leaves.

    def _under_lock(self, stream: int, address: tuple[str, str], places: Sequence[Place], head: int) -> int:
        """Restate a few small checkpoints while nobody can put another; give how many rows are left."""
        done: list[tuple[Encoded, int]] = []
        left = size = 0
        began = ended = 0.0

        def decide(connection: apsw.Connection) -> None:
            nonlocal left, size, began, ended
            began, size = self._began(), 0
            done.clear()
            there = [*places, *self._rows.put_since(connection, stream, head)]
            rows = [row for row in (self._rows.row(connection, stream, place) for place in there) if row is not None]
            if len(rows) > _MOST_UNDER_LOCK or sum(row.size for row in rows) > _MAX_BYTES_UNDER_LOCK:
                left = len(rows)
                return
            encoder = Encoder(self._core, self._fate, address, self._restated)
            at: dict[int, int] = {}
            for row in rows:
                encoder.begin(connection, is_writing=True)
                encoded = encoder.encode(row)
                size += self._append_one(connection, encoded, at)
                if encoded.at in at:
                    done.append((encoded, at[encoded.at]))
            left = len(rows) - len(done)
            if done:
                connection.execute(NEXT_GENERATION)
            ended = self._clock()

        self._transact(decide)
        for encoded, position in done:
            self._count(encoded, position)
        self._bytes += size
        if done:
            self._after_transaction(began, ended - began, len(done))
        return left
