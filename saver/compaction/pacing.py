"""How long a compaction holds the write lock, and how long it leaves it to others.

Who waits for the lock in another process looks for it every 0.2 to 2 ms (`connection.BusyHandler`): so a pause of 2 ms
lets one in. While others append, the lock is held for much less, and left alone for longer: what they wait at worst is
one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...eventlog.erasing import Erasure

__all__ = ["Pace"]

_PAUSE_S = 0.002
# What a transaction may erase while nobody else appends; its COMMIT takes about as long again.
_ALONE_S = 0.005
_ALONE_BYTES = 4 * 1024 * 1024
# And while others do: as long as a COMMIT takes, which with an fsync is most of a transaction, whatever is in it.
_CROWDED_S = 0.0005
_MOST_CROWDED_S = 0.002
_CROWDED_RECORDS = 64
_CROWDED_BYTES = 256 * 1024
# Who has appended lately will again.
_LATELY_S = 0.5
# After so many transactions the WAL may have grown too large.
_FOLD_EVERY = 64
_PAGES_ALONE = 256
_PAGES_CROWDED = 32


class Pace:
    """Measures transactions, says how much each may do, and waits after it.

    Args:
        clock: seconds, of any beginning.
        sleep: waits for so many seconds.

    Attributes:
        transactions: how many there have been.
        longest_hold_s: the longest that one held the write lock, COMMIT included.
        longest_wait_s: the longest that one waited for it.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.clock = clock
        self.sleep = sleep
        self.transactions = 0
        self.longest_hold_s = 0.0
        self.longest_wait_s = 0.0
        self._began = 0.0
        self._worked_until: float | None = None
        self._commit_s = 0.0  # what the last COMMIT took
        self._others_at: float | None = None

    def saw_others(self) -> None:
        """Take note that somebody else has appended."""
        self._others_at = self.clock()

    @property
    def is_crowded(self) -> bool:
        """Whether somebody else has appended lately."""
        return self._others_at is not None and self.clock() - self._others_at < _LATELY_S

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A block that waits for the write lock, calls `begun` once it has it, and lets go of it; then a pause."""
        asked = self._began = self.clock()
        self._worked_until = None
        try:
            yield
        finally:
            ended = self.clock()
            held = ended - self._began
            if self._worked_until is not None:
                self._commit_s = ended - self._worked_until
            self.transactions += 1
            self.longest_wait_s = max(self.longest_wait_s, self._began - asked)
            self.longest_hold_s = max(self.longest_hold_s, held)
        self.sleep(max(2 * held, _PAUSE_S) if self.is_crowded else _PAUSE_S)

    def begun(self) -> None:
        """Take note that the write lock is there; again, if the transaction had to be begun again."""
        self._began = self.clock()

    def enough(self, erasure: Erasure) -> bool:
        """Tell whether the transaction at hand has erased as much as it may."""
        self._worked_until = self.clock()
        took = self._worked_until - self._began
        if self.is_crowded:
            records = len(erasure.positions)
            return took >= self._crowded_s or records >= _CROWDED_RECORDS or erasure.size >= _CROWDED_BYTES
        return took >= _ALONE_S or erasure.size >= _ALONE_BYTES

    @property
    def _crowded_s(self) -> float:
        return max(_CROWDED_S, min(self._commit_s, _MOST_CROWDED_S))

    def is_time_to_fold(self) -> bool:
        """Tell whether there have been so many transactions that the WAL is worth a look."""
        return self.transactions % _FOLD_EVERY == 0

    @property
    def pages(self) -> int:
        """How many pages a transaction may give back."""
        return _PAGES_CROWDED if self.is_crowded else _PAGES_ALONE
