"""What a saver and its clones share: the log, the projections, and what is known for reuse."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from ..eventlog.log import EventLog
from ..projections.builtin import BuiltIn
from ..projections.projector import Projector
from .reuse import Reuse

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
    ) -> None:
        self.projector = Projector(projections, indexed_metadata=indexed_metadata)
        self.reuse = Reuse()
        self.log = EventLog(
            path,
            synchronous=synchronous,
            busy_timeout_ms=busy_timeout_ms,
            read_only=read_only,
            follower=self.projector,
            clock=clock,
        )
        self.log.database.in_child.append(self.reuse.renew)

    @property
    def views(self) -> BuiltIn:
        """The projections, to read from."""
        return self.projector.views
