"""What a saver and its clones share: the log, the projections, and the memory of what was put."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from ..eventlog.errors import ConfigError
from ..eventlog.log import EventLog
from ..projections.builtin import BuiltIn
from ..projections.projector import Projector
from .known import KnownCheckpoints

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
        clock: Callable[[], int] | None,
        memory_bytes: int,
    ) -> None:
        if not isinstance(memory_bytes, int) or memory_bytes < 0:
            raise ConfigError(f"memory_bytes is a whole number, 0 or more, not {memory_bytes!r}")
        self.projector = Projector(projections)
        self.known = KnownCheckpoints(memory_bytes)
        self.log = EventLog(
            path,
            synchronous=synchronous,
            busy_timeout_ms=busy_timeout_ms,
            read_only=read_only,
            follower=self.projector,
            clock=clock,
        )
        self.log.database.in_child.append(self.known.renew)

    @property
    def views(self) -> BuiltIn:
        """The projections, to read from."""
        return self.projector.views
