"""Delta-channel history: what a checkpoint's ancestors wrote, back to the nearest one that holds a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from langgraph.checkpoint.base import DeltaChannelHistory

from ..eventlog.value import Value
from ..projections.history import CheckpointRow
from ..projections.pending_writes import EffectiveWrite, WritesRow
from .decoder import Decoder
from .decoding import Gatherer, build_write

__all__ = ["StoredHistory", "delta_channel_history"]


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """Per channel, the writes from the oldest to the newest, and the seed if there is one: not decoded yet."""

    writes: dict[str, list[EffectiveWrite]]
    seeds: dict[str, Value]

    def decoded(self, decoder: Decoder) -> dict[str, DeltaChannelHistory]:
        """Decode it."""
        result: dict[str, DeltaChannelHistory] = {}
        for channel, writes in self.writes.items():
            entry: DeltaChannelHistory = {"writes": [build_write(decoder, write) for write in writes]}
            if channel in self.seeds:
                entry["seed"] = decoder.value(self.seeds[channel])
            result[channel] = entry
        return result


def delta_channel_history(
    gatherer: Gatherer, generations: Iterable[Sequence[CheckpointRow]], channels: Sequence[str]
) -> StoredHistory:
    """Walk ancestors, the nearest first, until every channel has its seed.

    The seed's own writes come after it, so they count.
    """
    newest_first: dict[str, list[list[EffectiveWrite]]] = {channel: [] for channel in channels}
    seeds: dict[str, Value] = {}
    wanted = set(channels)
    for row, rows_of_writes in _with_writes(gatherer, generations):
        written = gatherer.effective(rows_of_writes)
        if written:
            for channel in wanted:
                newest_first[channel].append([write for write in written if write.channel == channel])
        if found := gatherer.channels_of(row, wanted):
            seeds |= found
            wanted -= found.keys()
            if not wanted:
                break
    writes = {
        channel: [write for batch in reversed(batches) for write in batch] for channel, batches in newest_first.items()
    }
    return StoredHistory(writes, seeds)


def _with_writes(
    gatherer: Gatherer, generations: Iterable[Sequence[CheckpointRow]]
) -> Iterator[tuple[CheckpointRow, list[WritesRow]]]:
    for rows in generations:
        writes = gatherer.writes_at(rows)
        for row in rows:
            yield row, writes(row)
