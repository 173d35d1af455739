"""Background work: when it is done, how much of it, and how it ends. Time is set, and nothing sleeps."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langgraph_eventlog.eventlog.errors import ConfigError, LogBusyError, LogClosedError
from langgraph_eventlog.saver.compaction.background import Background, Budget

TIMEOUT_S = 30


class World:
    """A clock that is set, and a wait that lets the test say when it ends."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._condition = threading.Condition()
        self._waiting: float | None = None
        self._turn = 0
        self.background: Background | None = None

    def clock(self) -> float:
        return self.now

    def wait(self, event: threading.Event, timeout_s: float) -> None:
        with self._condition:
            self._waiting = timeout_s
            turn = self._turn
            self._condition.notify_all()
            ended = self._condition.wait_for(
                lambda: self._turn != turn or (self.background is not None and self.background._closed), TIMEOUT_S
            )
            assert ended

    def settled(self) -> float | None:
        """Wait until the thread waits, and give for how long it is going to; None: until it has ended."""
        deadline = time.monotonic() + TIMEOUT_S
        with self._condition:
            while self._waiting is None and self.background is not None and self.background._thread is not None:
                self._condition.wait(0.001)  # that it has ended, nobody tells
                assert time.monotonic() < deadline
            return self._waiting

    def look(self) -> float | None:
        """Let the thread look at the time, and at whether it was woken; give what it then waits for."""
        self.settled()
        self.turn()
        return self.settled()

    def turn(self) -> None:
        with self._condition:
            self._turn += 1
            self._waiting = None
            self._condition.notify_all()

    def ends(self) -> None:
        with self._condition:
            self._condition.notify_all()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make(world: World) -> Iterator[Callable[..., Background]]:
    made: list[Background] = []

    def make(task: Callable[[Budget], None], **options: Any) -> Background:
        background = Background(task, **{"delay_s": 5.0, "clock": world.clock, "wait": world.wait, **options})
        world.background = background
        made.append(background)
        return background

    yield make
    for background in made:
        background._closed = True
        world.ends()
        assert background.close(TIMEOUT_S)


def test_no_thread_begins_before_it_is_woken(make: Any, world: World) -> None:
    before = threading.active_count()
    background = make(lambda budget: None)
    assert threading.active_count() == before
    background.wake()
    world.settled()
    assert background._thread is not None
    assert background._thread.daemon


def test_the_task_runs_once_when_it_has_been_quiet(make: Any, world: World) -> None:
    ran: list[float] = []
    background = make(lambda budget: ran.append(world.now))
    for _ in range(4):
        background.wake()
        world.now += 3
    assert world.look() == 2.0
    assert ran == []
    world.now += 2
    assert world.look() is None
    assert ran == [1_014.0]


def test_while_there_is_nothing_to_do_nothing_is_kept_alive(make: Any, world: World) -> None:
    ran: list[float] = []
    background = make(lambda budget: ran.append(world.now))
    for turn in range(1, 4):
        background.wake()
        world.now += 5
        assert world.look() is None
        assert background._thread is None
        assert len(ran) == turn


def test_wakes_that_never_end_delay_it_to_ten_times_the_delay_at_most(make: Any, world: World) -> None:
    ran: list[float] = []
    background = make(lambda budget: ran.append(world.now))
    for _ in range(60):
        background.wake()
        world.look()
        world.now += 1
    assert ran == [1_050.0]


def test_what_happens_while_it_runs_is_seen_to_by_another_run(make: Any, world: World) -> None:
    ran: list[float] = []

    def task(budget: Budget) -> None:
        ran.append(world.now)
        if len(ran) == 1:
            background.wake()

    background = make(task)
    background.wake()
    world.now += 5
    assert world.look() == 5.0
    world.now += 5
    assert world.look() is None
    assert ran == [1_005.0, 1_010.0]


def test_a_task_that_runs_out_of_budget_goes_on_when_there_is_some_again(make: Any, world: World) -> None:
    left, done = [25], []

    def task(budget: Budget) -> None:
        while left[0] and budget.take(10):
            left[0] -= 1
            done.append(world.now)

    background = make(task, bytes_per_minute=100, transactions_per_minute=1_000)
    background.wake()
    world.now += 5
    assert world.look() == 60.0
    assert len(done) == 10
    world.now += 60
    assert world.look() == 60.0
    assert len(done) == 20
    world.now += 60
    assert world.look() is None
    assert len(done) == 25


def test_the_budget_is_of_bytes_and_of_transactions(world: World) -> None:
    budget = Budget(100, 3, clock=world.clock)
    assert [budget.take(1) for _ in range(4)] == [True, True, True, False]
    world.now += 20
    assert [budget.take(1) for _ in range(2)] == [True, False]
    world.now += 600
    assert [budget.take(60), budget.take(60)] == [True, False]  # no more than a minute's is saved up
    world.now += 60
    assert [budget.take(1_000), budget.take(1)] == [True, False]  # and is paid for afterwards
    world.now += 60 * 9
    assert not budget.take(1)
    world.now += 60
    assert budget.take(1)


def test_a_failing_task_is_reported_once_and_tried_again(
    make: Any, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    fails, ran = [True], []

    def task(budget: Budget) -> None:
        ran.append(world.now)
        if fails[0]:
            raise ValueError("a reason")

    background = make(task, retry_s=30.0)
    with caplog.at_level(logging.WARNING):
        background.wake()
        world.now += 5
        for _ in range(3):
            assert world.look() == 30.0
            world.now += 30
        assert len(caplog.records) == 1
        assert "a reason" in caplog.text
        fails[0] = False
        assert world.look() is None
        fails[0] = True
        background.wake()
        world.now += 5
        assert world.look() == 30.0
        assert len(caplog.records) == 2
    assert len(ran) == 5


def test_a_busy_log_is_tried_again_and_not_reported(make: Any, world: World, caplog: pytest.LogCaptureFixture) -> None:
    ran: list[float] = []

    def task(budget: Budget) -> None:
        ran.append(world.now)
        if len(ran) == 1:
            raise LogBusyError("busy", path="", waited_ms=1)

    background = make(task, retry_s=30.0)
    background.wake()
    world.now += 5
    assert world.look() == 30.0
    world.now += 30
    assert world.look() is None
    assert (len(ran), caplog.records) == (2, [])


def test_a_task_that_finds_the_log_closed_is_not_called_again(make: Any, world: World) -> None:
    ran: list[float] = []

    def task(budget: Budget) -> None:
        ran.append(world.now)
        raise LogClosedError("closed")

    background = make(task)
    background.wake()
    thread = background._thread
    assert world.settled() == 5.0
    world.now += 5
    world.turn()
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()
    background.wake()
    assert ran == [1_005.0]


def test_close_stops_a_task_at_its_next_transaction_and_waits_for_it() -> None:
    began, going_on, took = threading.Event(), threading.Event(), []

    def task(budget: Budget) -> None:
        began.set()
        assert going_on.wait(TIMEOUT_S)
        took.append(budget.take())

    background = Background(task, delay_s=1e-9)
    background.wake()
    assert began.wait(TIMEOUT_S)
    assert not background.close(timeout_s=0)  # it is under way
    going_on.set()
    assert background.close(TIMEOUT_S)
    assert took == [False]
    assert background.close()
    background.wake()
    assert background._thread is None or not background._thread.is_alive()


def test_closing_from_the_task_itself_or_before_it_was_woken_does_not_wait() -> None:
    closed, done = list[bool](), threading.Event()

    def task(budget: Budget) -> None:
        closed.append(background.close())
        done.set()

    background = Background(task, delay_s=1e-9)
    background.wake()
    assert done.wait(TIMEOUT_S)
    assert closed == [True]
    assert background.close(TIMEOUT_S)
    assert Background(lambda budget: None, delay_s=1).close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
def test_a_child_has_no_thread_until_it_wakes_one_of_its_own() -> None:
    script = """
import os, threading, warnings
from langgraph_eventlog.saver.compaction.background import Background
warnings.simplefilter("ignore", DeprecationWarning)
ran = threading.Event()
background = Background(lambda budget: ran.set(), delay_s=1e-9)
background.wake()
assert ran.wait(30)
ran.clear()
child = os.fork()
if not child:
    assert threading.active_count() == 1
    background.wake()
    os._exit(0 if ran.wait(30) and background.close(30) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
child = os.fork()
if not child:
    os._exit(0 if background.close(0) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert background.close(30)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_it_never_keeps_the_interpreter_alive() -> None:
    script = """
import threading
from langgraph_eventlog.saver.compaction.background import Background
began = threading.Event()
def task(budget):
    began.set()
    threading.Event().wait()
background = Background(task, delay_s=1e-9)
background.wake()
assert began.wait(30)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@pytest.mark.parametrize(
    "wrong", [{"delay_s": 0}, {"retry_s": -1}, {"bytes_per_minute": 0}, {"transactions_per_minute": 0}]
)
def test_a_wait_or_a_budget_of_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Background(lambda budget: None, **{"delay_s": 1, **wrong})
