"""Work in the background: a thread of its own, which waits until it is quiet, and does little at a time."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

from ...eventlog.errors import ConfigError, LogBusyError, LogClosedError

__all__ = ["Background", "Budget"]

_logger = logging.getLogger(__name__)
_MINUTE_S = 60.0
# So many times as long as the task took, it is not called again: so it takes a small part of a processor, however much
# there is to look at.
_REST = 20
# So long close() waits for a transaction that is under way.
_JOIN_S = 10.0


class Waiting(Protocol):
    """Waits, as `threading.Event.wait` does, until a time has passed or the event is set."""

    def __call__(self, event: threading.Event, timeout_s: float) -> None:
        """Wait."""


def _wait(event: threading.Event, timeout_s: float) -> None:
    event.wait(timeout_s)


class Budget:
    """What may be done, per minute: a bucket of bytes and one of transactions, which fill up again as time passes.

    The task asks before each piece of work, and ends when it is told to; it is called again once there is budget.

    Args:
        bytes_per_minute: how many; also the most that is saved up.
        transactions_per_minute: how many; also the most that is saved up.
        clock: gives seconds that only go on.
        is_stopped: tells whether nothing may be done any more.

    Attributes:
        refused: whether something has been refused since it was last set to False.
    """

    def __init__(
        self,
        bytes_per_minute: int,
        transactions_per_minute: int,
        *,
        clock: Callable[[], float],
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._most = (float(bytes_per_minute), float(transactions_per_minute))
        self._left = self._most
        self._clock = clock
        self._filled_at = clock()
        self._is_stopped = is_stopped
        self.refused = False

    def take(self, size: int = 0) -> bool:
        """Take one transaction of so many bytes; False: stop here, and go on when called again.

        One that is larger than a minute's bytes is granted when the bucket is full, and paid for afterwards.
        """
        self._fill()
        size_left, transactions_left = self._left
        if self._is_stopped() or transactions_left < 1 or size_left < min(float(size), self._most[0]):
            self.refused = True
            return False
        self._left = (size_left - size, transactions_left - 1)
        return True

    def seconds_until_full(self) -> float:
        """Give how long it takes until all of a minute's budget is there again."""
        self._fill()
        return max(_MINUTE_S * (1 - left / most) for left, most in zip(self._left, self._most, strict=True))

    def _fill(self) -> None:
        now = self._clock()
        share = max(0.0, now - self._filled_at) / _MINUTE_S
        self._filled_at = now
        size, transactions = (min(most, left + most * share) for left, most in zip(self._left, self._most, strict=True))
        self._left = (size, transactions)


class Background:
    """Calls a task some time after it was last woken, in a daemon thread that there is only while it is awake.

    So an idle one keeps nothing alive, neither the interpreter nor the log that its task is about.

    Wakes are taken together: as long as they come, less than `delay_s` apart, the task waits, but not longer than ten
    times that; then it is left alone for twenty times as long as it took. Whatever happens while it runs is seen to by
    another run. A task that fails is reported, once until it succeeds again, by a warning of this module's logger; it
    is tried again later, and so is one that finds the log busy, which is not reported. A task that finds the log closed
    is not called again.

    After fork() the child has no thread, and begins one of its own when it wakes it.

    Args:
        task: does what there is to do, as far as the budget goes.
        delay_s: how long it has to be quiet.
        retry_s: after how long a task that failed is tried again.
        bytes_per_minute: what the budget grants.
        transactions_per_minute: what the budget grants.
        clock: gives seconds that only go on.
        wait: waits for an event or until a time has passed.

    Raises:
        ConfigError: a duration or a budget is not above 0.
    """

    def __init__(
        self,
        task: Callable[[Budget], None],
        *,
        delay_s: float,
        retry_s: float = 60.0,
        bytes_per_minute: int = 64 * 1024 * 1024,
        transactions_per_minute: int = 3_000,
        clock: Callable[[], float] = time.monotonic,
        wait: Waiting = _wait,
    ) -> None:
        for name, value in (
            ("delay_s", delay_s),
            ("retry_s", retry_s),
            ("bytes_per_minute", bytes_per_minute),
            ("transactions_per_minute", transactions_per_minute),
        ):
            if not value > 0:
                raise ConfigError(f"{name} is above 0, not {value!r}")
        self._task = task
        self._delay_s, self._retry_s = delay_s, retry_s
        self._limits = (bytes_per_minute, transactions_per_minute)
        self._clock, self._wait = clock, wait
        self._closed = False
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a child: the thread and its locks stayed behind."""
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        # When it was woken first and last since the task last began; None: it was not.
        self._woken: tuple[float, float] | None = None
        self._not_before = 0.0
        self._is_reported = False
        self._budget = Budget(*self._limits, clock=self._clock, is_stopped=lambda: self._closed)

    def wake(self) -> None:
        """Say that there is, or may be, something to do. Costs next to nothing, and never raises."""
        if self._closed:
            return
        if self._pid != os.getpid():
            self.renew()
        now = self._clock()
        with self._lock:
            self._woken = (now if self._woken is None else self._woken[0], now)
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._run, name="langgraph-eventlog background", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no thread can be had, or the interpreter is ending: another time
                    return
                self._thread = thread

    def close(self, timeout_s: float = _JOIN_S) -> bool:
        """End the thread after the transaction that is under way; tell whether it has ended in time.

        Closing again, from the task itself, or in a child that has none, does nothing.
        """
        self._closed = True
        self._closing.set()
        thread = self._thread
        if thread is None or self._pid != os.getpid() or thread is threading.current_thread():
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def _run(self) -> None:
        while not self._closed:
            left_s = self._seconds_left()
            if left_s is None:
                return
            if left_s > 0:
                self._wait(self._closing, left_s)
            else:
                self._work()

    def _seconds_left(self) -> float | None:
        """Give how long it is until the task is due; None: it was not woken, and the thread is not the one any more."""
        with self._lock:
            if self._woken is None:
                self._thread = None
                return None
            first, last = self._woken
            due = max(min(last + self._delay_s, first + 10 * self._delay_s), self._not_before)
        return due - self._clock()

    def _work(self) -> None:
        """Call the task, and see to it that it is called again if that is needed."""
        with self._lock:
            self._woken = None
        began = self._clock()
        self._budget.refused = False
        again_s = None
        try:
            self._task(self._budget)
            self._is_reported = False
            if self._budget.refused:
                again_s = self._budget.seconds_until_full()
        except LogClosedError:
            self._closed = True
        except LogBusyError:
            again_s = self._retry_s
        except Exception:
            again_s = self._retry_s
            if not self._is_reported and not self._closed:
                self._is_reported = True
                _logger.warning("work in the background failed, and is tried again later", exc_info=True)
        now = self._clock()
        with self._lock:
            self._not_before = now + max(_REST * (now - began), again_s or 0.0)
            if again_s is not None:
                self._woken = self._woken or (now, now)
