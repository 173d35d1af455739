"""What the log asks of whoever keeps tables in step with it: the projections, which it does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

import apsw

from .event import RecordedEvent
from .finding import Finding

if TYPE_CHECKING:
    from .log import EventLog

__all__ = ["Follower"]


class Follower(Protocol):
    """Keeps tables that are derived from the log."""

    def attach(self, log: EventLog) -> int:
        """Bring the tables up to date, when the log is opened and whenever its generation has changed.

        Give the generation.
        """
        ...

    def apply(self, connection: apsw.Connection, event: RecordedEvent) -> None:
        """Take in an event in the transaction that appends it. Raising rolls the append back."""
        ...

    def verify(self, log: EventLog, progress: Callable[[int, int], None]) -> Iterator[Finding]:
        """Yield every difference between the tables and what the log says they should be.

        `progress` is told up to which position that has been checked, and up to which it will be.
        """
        ...
