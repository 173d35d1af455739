"""Whether a log holds of a checkpoint what another saver does: by serialised bytes, and by values if these differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apsw
from langgraph.checkpoint.serde.base import SerializerProtocol

from ..eventlog.errors import DecodingError
from ..eventlog.plain import pack, unpack
from ..eventlog.resolve import complete
from ..eventlog.value import PLAIN_TAG, Value, Whole
from .core import Core
from .decoder import Decoder
from .decoding import Gatherer
from .intake import Taken
from .memory import Memory
from .pieces import MSGPACK, cut
from .serialised import SerialisedCheckpoint, SerialisedValue, cipher_of

__all__ = ["Agreement"]


class Agreement:
    """Compares what another saver holds with what one log does, within one read transaction.

    Args:
        core: the log and its projections.
        serde: reads the log's values, if their bytes are others.
        connection: in a read transaction.
        memory: what has been read before.
    """

    def __init__(self, core: Core, serde: SerializerProtocol, connection: apsw.Connection, memory: Memory) -> None:
        self._core = core
        self._serde = serde
        self._connection = connection
        self._gatherer: Gatherer = core.gatherer(connection, memory)

    def has_some(self, thread_id: str, checkpoint_ns: str, checkpoint_id: str) -> bool:
        """Tell whether there is a checkpoint of this id, or a write at it."""
        found = self._core.log.keys.find(self._connection, thread_id, checkpoint_ns)
        if found is None:
            return False
        if self._core.views.history.one(self._connection, found[1], checkpoint_id) is not None:
            return True
        return bool(self._core.views.pending_writes.of(self._connection, found[1], checkpoint_id))

    def differs(self, taken: Taken) -> str | None:
        """Say what of a checkpoint, or of its writes, is there and is something else; None: nothing is."""
        found = self._core.log.keys.find(self._connection, taken.thread_id, taken.checkpoint_ns)
        if found is None:
            return None
        row = self._core.views.history.one(self._connection, found[1], taken.checkpoint_id)
        if row is not None and taken.checkpoint is not None:
            gathered = self._gatherer.gather(row)
            put, given = gathered.put, taken.checkpoint
            if row.parent_id != given.parent_id:
                return "its parent"
            if row.metadata != given.metadata and unpack(row.metadata) != unpack(given.metadata):
                return "its metadata"
            if dict(put.frame) != dict(given.frame) or not self._same_rest(put.rest, given.rest):
                return "its fields"
            if not self._same_field(gathered.channel_versions, given.channel_versions):
                return "its channel_versions"
            if not self._same_field(gathered.versions_seen, given.versions_seen):
                return "its versions_seen"
            channel = self._channel_that_differs(gathered.channels, given)
            if channel is not None:
                return f"its channel {channel!r}"
        return self._write_that_differs(found[1], taken)

    def is_complete(self, taken: Taken) -> bool:
        """Tell whether the checkpoint and all of its writes are there."""
        found = self._core.log.keys.find(self._connection, taken.thread_id, taken.checkpoint_ns)
        if found is None:
            return False
        if taken.checkpoint is not None:
            row = self._core.views.history.one(self._connection, found[1], taken.checkpoint_id)
            if row is None:
                return False
        there = self._writes(found[1], taken.checkpoint_id)
        return all((data.task_id, write.idx) in there for data in taken.writes for write in data.writes)

    def _channel_that_differs(self, stored: Mapping[str, Value], given: SerialisedCheckpoint) -> str | None:
        for channel in [*stored, *given.channels]:
            if channel not in stored or channel not in given.channels:
                return channel
            if not self._same(stored[channel], given.channels[channel]):
                return channel
        return None

    def _writes(self, stream: int, checkpoint_id: str) -> dict[tuple[str, int], tuple[str, str, Value]]:
        rows = self._core.views.pending_writes.of(self._connection, stream, checkpoint_id)
        return {
            (write.task_id, write.idx): (write.task_path, write.channel, complete(write.value))
            for write in self._gatherer.effective(rows)
        }

    def _write_that_differs(self, stream: int, taken: Taken) -> str | None:
        there = self._writes(stream, taken.checkpoint_id) if taken.writes else {}
        for data in taken.writes:
            for write in data.writes:
                found = there.get((data.task_id, write.idx))
                if found is None:
                    continue
                assert isinstance(write.value, Whole)
                if found[:2] != (data.task_path, write.channel) or not self._same(found[2], write.value):
                    return f"write {write.idx} of task {data.task_id!r}"
        return None

    def _same(self, stored: Value, given: SerialisedValue) -> bool:
        if stored == given or self._pieces(stored) == self._pieces(given):
            return True
        decoder = Decoder(self._serde, None)
        try:
            return bool(decoder.value(stored) == decoder.value(given))
        except DecodingError:
            return False

    def _same_field(self, stored: Value, given: Any) -> bool:
        if isinstance(given, Whole):
            return self._same(stored, given)
        return pack(Decoder(self._serde, None).value(stored)) == pack(given)

    def _same_rest(self, stored: Whole | None, given: Whole | None) -> bool:
        if stored is None or given is None:
            return stored is given
        return self._same(stored, given)

    def _pieces(self, value: Value) -> Any:
        """Give the bytes that a value consists of, in one way whether it is stored by its elements or not."""
        if isinstance(value, tuple):
            return [self._plain(element) for element in value]
        if isinstance(value, dict):
            return {key: self._plain(element) for key, element in value.items()}
        tag, data = self._plain(value)
        if tag == MSGPACK and data:
            if data[0] & 0xF0 == 0x90 or data[0] in (0xDC, 0xDD):
                return [(MSGPACK, piece) for piece in cut(data) or ()]
            if data[0] & 0xF0 == 0x80 or data[0] in (0xDE, 0xDF):
                items = cut(data, pairs=True) or []
                keys = (_key_of(piece) for piece in items[::2])
                return {key: (MSGPACK, piece) for key, piece in zip(keys, items[1::2], strict=True)}
        return tag, data

    def _plain(self, whole: Whole) -> tuple[str, bytes]:
        """Give a value without its encryption."""
        cipher = cipher_of(self._serde)
        if cipher is None or "+" not in whole.tag or whole.tag == PLAIN_TAG:
            return whole.tag, whole.data
        tag, name = whole.tag.split("+", 1)
        return tag, cipher.decrypt(name, whole.data)


def _key_of(piece: bytes) -> Any:
    try:
        return unpack(piece)
    except ValueError:
        return piece
