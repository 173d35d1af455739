"""What a check of a log has covered, and what of that its anchors prove."""

from __future__ import annotations

from collections.abc import Callable

from .event import Head
from .positions import merged

__all__ = ["Coverage", "Told"]

Told = Callable[[str, int, int], None]


class Coverage:
    """Give one to `EventLog.verify`: it is told how far that is, and says afterwards what it comes to.

    Args:
        told: called with a part of the check ("chain", "projections", ...), how much of it is done, and its total.

    Attributes:
        log_id: of the log.
        head: the event up to which the chain has been followed, with the link that it came to there; None before that.
        events: how many were looked at.
        erased: how many stubs, which stand for erased events.
        held: the anchors that are of this log, in order.
    """

    def __init__(self, told: Told | None = None) -> None:
        self.log_id = b""
        self.head: Head | None = None
        self.events = 0
        self.erased = 0
        self.held: list[Head] = []
        self._proved: list[tuple[int, int]] = []
        self._told = told

    def tell(self, what: str, done: int, total: int) -> None:
        """Tell how far a part of the check is."""
        if self._told is not None:
            self._told(what, done, total)

    def hold(self, anchor: Head, *, unbroken_after: int) -> None:
        """Note that an anchor holds, and after which position the chain leads up to it without a break."""
        self.held.append(anchor)
        self._proved.append((unbroken_after + 1, anchor.position))

    @property
    def proved(self) -> list[tuple[int, int]]:
        """Positions, as (first, last) ranges, that an anchor proves to be what they were when it was taken.

        But for those that a finding names. Of an erased event it is proved that it was there and what kind it was of.
        """
        return merged(self._proved)

    @property
    def unproved(self) -> list[tuple[int, int]]:
        """The other positions up to the head: whatever is wrong with them, a recomputed chain would hide."""
        others, after = [], 0
        for first, last in self.proved:
            others.append((after + 1, first - 1))
            after = last
        return merged([*others, (after + 1, 0 if self.head is None else self.head.position)])
