"""The tree of a thread's checkpoints, drawn beside its events: which lane each is in, and where a lane begins."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Lanes", "Placed"]


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a checkpoint is drawn.

    Attributes:
        lane: its lane, 0 and up.
        parent: the lane of its parent; None: it has none that is on the page.
        is_fork: whether another checkpoint followed its parent before.
    """

    lane: int
    parent: int | None
    is_fork: bool


@dataclass(slots=True)
class Lanes:
    """Hands out lanes to the checkpoints of a thread, in the order of the log.

    A checkpoint goes on in its parent's lane; if another one did that before, or it has no parent, it begins one.
    """

    _lane_of: dict[tuple[str, str], int] = field(default_factory=dict)
    _followed: set[tuple[str, str]] = field(default_factory=set)
    _count: int = 0

    def place(self, checkpoint_ns: str, checkpoint_id: str, parent_id: str | None) -> Placed:
        """Place a checkpoint. One that was put again stays where it was."""
        parent_key = None if parent_id is None else (checkpoint_ns, parent_id)
        parent = None if parent_key is None else self._lane_of.get(parent_key)
        is_fork = parent_key in self._followed
        key = checkpoint_ns, checkpoint_id
        if key in self._lane_of:
            return Placed(self._lane_of[key], parent, is_fork=False)
        if parent is None or is_fork:
            lane = self._count
            self._count += 1
        else:
            lane = parent
        self._lane_of[key] = lane
        if parent_key is not None:
            self._followed.add(parent_key)
        return Placed(lane, parent, is_fork)
