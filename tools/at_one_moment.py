"""Reading a log as a saver does, but all of it within one read transaction, so that what is read belongs together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apsw
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple, DeltaChannelHistory

from ..projections.history import CheckpointRow
from ..saver import EventLogSaver
from ..saver.config import Address
from ..saver.decoding import build
from ..saver.delta_history import delta_channel_history

__all__ = ["LogAtOneMoment"]


class LogAtOneMoment:
    """Reads a log as it was when a read transaction began: whoever uses the log goes on meanwhile.

    Args:
        saver: on the log; its serde decodes.
        reading: the connection that the transaction is on; this is of use as long as that lasts.
    """

    def __init__(self, saver: EventLogSaver, reading: apsw.Connection) -> None:
        self._core, self._serde, self._reading = saver._core, saver.serde, reading

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Do what `EventLogSaver.get_tuple` does."""
        address = Address.of(config)
        row = self._core.find(self._reading, address)
        return None if row is None else self.tuple_of(row, address.given_thread_id, address.namespace)

    def tuple_of(self, row: CheckpointRow, thread_id: str, checkpoint_ns: str) -> CheckpointTuple:
        """Give the checkpoint of a row, which was read in this transaction.

        Raises:
            CorruptRecordError: it, or something that it refers to, is damaged.
        """
        gathered = self._core.gatherer(self._reading, self._core.memory).gather(row)
        return build(self._core.memory.decoder(self._serde), gathered, thread_id, checkpoint_ns)

    def delta_histories(self, row: CheckpointRow, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        """Do what `EventLogSaver.get_delta_channel_history` does, for the checkpoint of a row of this transaction.

        Raises:
            CorruptRecordError: something that its ancestors hold is damaged.
        """
        gatherer = self._core.gatherer(self._reading, self._core.memory)
        generations = self._core.views.history.generations(self._reading, row)
        found = delta_channel_history(gatherer, generations, channels)
        return found.decoded(self._core.memory.decoder(self._serde))
