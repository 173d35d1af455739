"""Which checkpoints cannot be read because something is damaged: each is read as `get_tuple` would, but not decoded.

So the list is exact by construction, whatever ties a checkpoint to what is damaged: a difference, a slice, a patch, a
carried value, a copy. Memory grows with the damaged checkpoints of one stream, not with the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import apsw

from ..eventlog.errors import CorruptRecordError, LogDamagedError
from ..eventlog.finding import Finding
from ..projections.history import CheckpointRow
from ..projections.reachability import version_names
from .core import Core
from .decoding import Gatherer
from .delta_history import delta_channel_history
from .memory import Memory
from .removing import may_be_delta

__all__ = ["CheckpointFinding", "affected_checkpoints"]

_PAGE = 64
# Not the saver's own memory: what it has read before it need not read again, but another saver must.
_MEMORY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CheckpointFinding(Finding):
    """A checkpoint that cannot be read. Its code is "checkpoint", its position the event that is why, if one is.

    Attributes:
        thread_id: its thread.
        checkpoint_ns: its namespace.
        checkpoint_id: its id.
        channels: () if it cannot be read itself, by `get_tuple`. Otherwise it can, and of these channels, which have a
            version but no value in it, `get_delta_channel_history` cannot be read: if they are delta channels, which
            only the graph knows, their values are lost.
    """

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str
    channels: tuple[str, ...] = ()


def affected_checkpoints(core: Core) -> Iterator[CheckpointFinding]:
    """Yield every checkpoint, hidden ones too, that cannot be read: by namespace, those of one by their ids.

    Reads in pages, with no transaction held between them.
    """
    memory = Memory(_MEMORY_BYTES)
    stream, unreadable = 0, set[str]()
    for row, finding in _walk(core, memory, _unreadable):
        if row.stream != stream:
            yield from _affected_channels(core, memory, stream, unreadable)
            stream, unreadable = row.stream, set()
        if finding is not None:
            unreadable.add(row.checkpoint_id)
            yield finding
    yield from _affected_channels(core, memory, stream, unreadable)


def _affected_channels(core: Core, memory: Memory, stream: int, unreadable: set[str]) -> Iterator[CheckpointFinding]:
    """Yield the checkpoints of a stream that can be read, but whose ancestors cannot, as far as they are needed."""
    if not unreadable:
        return
    for row, finding in _walk(core, memory, _lost_channels, after=(stream, None)):
        if row.stream != stream:
            return
        if finding is not None and row.checkpoint_id not in unreadable:
            yield finding


Check = Callable[[Core, apsw.Connection, Gatherer, CheckpointRow], CheckpointFinding | None]


def _walk(
    core: Core, memory: Memory, check: Check, *, after: tuple[int, str | None] = (0, None)
) -> Iterator[tuple[CheckpointRow, CheckpointFinding | None]]:
    """Yield checkpoints in order, each with what a check finds, in the transaction that has found the checkpoint."""
    while True:
        with core.log.database.reading() as connection:
            rows = core.views.history.page_in_order(connection, after, _PAGE)
            gatherer = core.gatherer(connection, memory)
            checked = [(row, check(core, connection, gatherer, row)) for row in rows]
        yield from checked
        if len(rows) < _PAGE:
            return
        after = (rows[-1].stream, rows[-1].checkpoint_id)


def _unreadable(
    core: Core, connection: apsw.Connection, gatherer: Gatherer, row: CheckpointRow
) -> CheckpointFinding | None:
    try:
        with core.log.database.translating():
            gatherer.gather(row)
    except LogDamagedError as e:
        return _finding(core, connection, row, e)
    return None


def _lost_channels(
    core: Core, connection: apsw.Connection, gatherer: Gatherer, row: CheckpointRow
) -> CheckpointFinding | None:
    try:
        with core.log.database.translating():
            gathered = gatherer.gather(row)
    except LogDamagedError:
        return None  # found already
    versioned = version_names(gathered.channel_versions) or set()
    candidates = sorted(filter(may_be_delta, versioned.difference(gathered.channels)))

    def failure(channels: Sequence[str]) -> LogDamagedError | None:
        try:
            with core.log.database.translating():
                delta_channel_history(gatherer, core.views.history.generations(connection, row), channels)
        except LogDamagedError as e:
            return e
        return None

    why = failure(candidates) if candidates else None  # all in one walk: mostly, nothing is wrong
    if why is None:
        return None
    lost = tuple(channel for channel in candidates if failure((channel,)) is not None)
    return _finding(core, connection, row, why, lost)


def _finding(
    core: Core, connection: apsw.Connection, row: CheckpointRow, why: LogDamagedError, channels: tuple[str, ...] = ()
) -> CheckpointFinding:
    thread_id, checkpoint_ns = core.log.keys.address(connection, row.stream) or ("", "")
    place = f"checkpoint {row.checkpoint_id!r} of thread {thread_id!r}, namespace {checkpoint_ns!r},"
    what = f"what {list(channels)} of {place} are rebuilt from, if they are delta channels," if channels else place
    position, reason = (why.position, why.reason) if isinstance(why, CorruptRecordError) else (None, str(why))
    return CheckpointFinding(
        "checkpoint",
        position,
        f"{what} cannot be read: {reason}",
        thread_id,
        checkpoint_ns,
        row.checkpoint_id,
        channels,
    )
