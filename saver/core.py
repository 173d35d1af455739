"""What a saver and its clones share: the log, the projections, and the memory of what was put."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import apsw

from ..eventlog.errors import ConfigError
from ..eventlog.log import EventLog
from ..projections.builtin import BuiltIn
from ..projections.history import CheckpointRow
from ..projections.projector import Projector
from .compaction.retention import Retention
from .compaction.upkeep import Upkeep
from .config import Address
from .decoding import Gatherer
from .memory import Memory

__all__ = ["Core"]


class Core:
    """One open log. Cloning a saver shares it; closing any of them closes it for all."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: str,
        busy_timeout_ms: int,
        read_only: bool,
        projections: Sequence[Any],
        indexed_metadata: Sequence[str],
        clock: Callable[[], int] | None,
        memory_bytes: int,
        key: str | bytes | None,
        retention: Retention | None,
        erase_deleted: bool,
    ) -> None:
        if not isinstance(memory_bytes, int) or memory_bytes < 0:
            raise ConfigError(f"memory_bytes is a whole number, 0 or more, not {memory_bytes!r}")
        self.projector = Projector(projections, indexed_metadata=indexed_metadata)
        self.memory = Memory(memory_bytes)
        self.log = EventLog(
            path,
            synchronous=synchronous,
            busy_timeout_ms=busy_timeout_ms,
            read_only=read_only,
            follower=self.projector,
            clock=clock,
            key=key,
        )
        self.log.database.in_child.append(self.memory.renew)
        try:
            self.upkeep = Upkeep(self, retention, erase_deleted=erase_deleted)
        except BaseException:
            self.log.close()
            raise

    def close(self) -> None:
        """Close the log, and end what is done in the background before."""
        self.upkeep.close()
        self.log.close()

    def gatherer(self, connection: apsw.Connection, memory: Memory) -> Gatherer:
        """Give what reads checkpoints on a reading connection, and remembers what it read."""
        # Within a write to a private database nothing may be remembered: it may be rolled back, and other events stand
        # at those positions then.
        uncommitted = self.log.database.private and connection.in_transaction
        return Gatherer(self.log, self.views, connection, Memory(0) if uncommitted else memory)

    def find(self, connection: apsw.Connection, address: Address) -> CheckpointRow | None:
        """Find the checkpoint that an address names, or the latest of its thread and namespace."""
        keys = self.log.keys.find(connection, address.thread_id, address.namespace)
        if keys is None:
            return None
        if address.checkpoint_id is None:
            return self.views.history.latest(connection, keys[1])
        return self.views.history.one(connection, keys[1], address.checkpoint_id)

    @property
    def views(self) -> BuiltIn:
        """The projections, to read from."""
        return self.projector.views
