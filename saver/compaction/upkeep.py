"""What a saver does of its own in the background: erasing what was deleted, and following a retention policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...eventlog.errors import ConfigError
from .background import Background, Budget
from .retention import Retention

if TYPE_CHECKING:
    from ..core import Core

__all__ = ["Upkeep"]

_DELAY_S = 5.0


class Upkeep:
    """Compacts some seconds after something was deleted, or put if there is a policy; a little at a time.

    A program that ends before leaves that to the next that deletes something, or compacts.

    Args:
        core: the log and its projections.
        retention: the policy; None: only what was removed is erased.
        erase_deleted: whether what was removed explicitly is erased without being asked.

    Raises:
        ConfigError: `retention` is something else.
    """

    def __init__(self, core: Core, retention: Retention | None, *, erase_deleted: bool) -> None:
        if retention is not None and not isinstance(retention, Retention):
            raise ConfigError(f"retention is a Retention, not {retention!r}")
        self._core = core
        self._policy = None if retention is None or retention.keeps_everything else retention
        self._erases = erase_deleted
        # Deleted explicitly since this was last done to the end.
        self._deleted = False
        self._background = Background(self._work, delay_s=_DELAY_S)
        self._wakes = self._policy is not None and not core.log.database.read_only
        core.log.database.in_child.append(self._background.renew)

    def removed(self) -> None:
        """Say that something was deleted or pruned."""
        if self._erases:
            self._deleted = True
            self._background.wake()

    def put(self) -> None:
        """Say that a checkpoint was put."""
        if self._wakes:
            self._background.wake()

    def close(self) -> bool:
        """End the work after the transaction at hand; tell whether it has ended in time."""
        return self._background.close()

    def _work(self, budget: Budget) -> None:
        from .compacting import Compactor  # which imports nearly everything

        deleted, self._deleted = self._deleted, False
        spent, refused = 0, not budget.take()

        def stopped() -> bool:
            return refused

        def between(_: str) -> None:
            nonlocal spent, refused
            size = compactor.bytes_erased
            refused = refused or not budget.take(size - spent)
            spent = size

        # Nobody reads its report.
        compactor = Compactor(
            self._core, self._policy, thorough=deleted, look_for_remains=False, between=between, stopped=stopped
        )
        done = False
        try:
            if not refused:
                done = compactor.run().complete
        finally:
            self._deleted |= deleted and not done
