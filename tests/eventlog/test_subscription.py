"""Following the log: every event once, in order, from wherever it is appended, until either end is closed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from typing import Any

import anyio
import pytest
from langgraph_eventlog.eventlog import ConfigError, CorruptRecordError, Kind, LogClosedError
from langgraph_eventlog.saver import EventLogSaver

APPENDER = """
import sys
from langgraph_eventlog.saver import EventLogSaver
with EventLogSaver(sys.argv[1]) as saver:
    for i in range(int(sys.argv[2])):
        saver.register_thread(f"far {i}", "name")
"""


class _Announcing(threading.Condition):
    """Says, with its lock held, that someone is about to wait."""

    def __init__(self, lock: Any, waiting: threading.Event) -> None:
        super().__init__(lock)
        self._waiting = waiting

    def wait(self, timeout: float | None = None) -> bool:
        self._waiting.set()
        return super().wait(timeout)


def take(subscription: Any, count: int) -> list[int]:
    return [next(subscription).position for _ in range(count)]


def test_what_is_there_comes_first_and_then_what_is_appended(filled: EventLogSaver) -> None:
    head = filled.log.head().position
    with filled.log.subscribe() as subscription:
        assert take(subscription, head) == list(range(1, head + 1))
        for i in range(3):
            filled.register_thread(f"new {i}")
            assert next(subscription).thread_id == f"new {i}"
        assert subscription.position == head + 3
        assert "agent" in repr(subscription) or "filled" in repr(subscription)


def test_it_begins_after_a_position(filled: EventLogSaver) -> None:
    head = filled.log.head().position
    with filled.log.subscribe(head - 2) as subscription:
        assert take(subscription, 2) == [head - 1, head]
    with filled.log.subscribe(head + 1) as subscription:
        filled.register_thread("passed over")
        filled.register_thread("seen")
        assert next(subscription).thread_id == "seen"


def test_filters_pass_over_what_is_not_asked_for(filled: EventLogSaver) -> None:
    log = filled.log
    for options in (
        {"thread_id": "pruned"},
        {"kinds": [Kind.PRUNE]},
        {"thread_id": "gone too", "kinds": {Kind.PRUNE, Kind.COPY}},
    ):
        expected = [e.position for e in log.read(**options)]  # type: ignore[arg-type]
        assert expected
        with log.subscribe(**options) as subscription:  # type: ignore[arg-type]
            assert take(subscription, len(expected)) == expected


def test_a_filter_sees_past_long_stretches_of_other_events(make_saver: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    for i in range(200):
        saver.register_thread("noise", f"name {i}")
    saver.register_thread("signal")
    with saver.log.subscribe(thread_id="signal") as subscription:
        assert next(subscription).position == 201
        saver.register_thread("noise", "again")
        saver.register_thread("signal", "again")
        assert next(subscription).position == 203


def test_events_of_another_process_arrive(filled: EventLogSaver) -> None:
    head = filled.log.head().position
    with filled.log.subscribe(head, poll_interval_ms=5) as subscription:
        process = subprocess.Popen([sys.executable, "-c", APPENDER, filled.path, "5"])
        assert [next(subscription).thread_id for _ in range(5)] == [f"far {i}" for i in range(5)]
        assert process.wait(timeout=60) == 0


def test_an_append_of_this_process_wakes_whoever_waits(
    file_saver: EventLogSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a poll interval of an hour, it would otherwise come too late for the join."""
    appended, got = file_saver.log.appended, list[str | None]()
    waiting = threading.Event()
    monkeypatch.setattr(appended, "_changed", _Announcing(appended._lock, waiting))
    with file_saver.log.subscribe(poll_interval_ms=3_600_000) as subscription:
        thread = threading.Thread(target=lambda: got.append(next(subscription).thread_id), daemon=True)
        thread.start()
        assert waiting.wait(timeout=60)
        # The lock is given up by waiting: whoever gets it now finds the waiter asleep.
        file_saver.register_thread("t")
        thread.join(timeout=60)
        assert got == ["t"]


@pytest.mark.parametrize("closed", ["subscription", "log"])
def test_closing_from_another_thread_ends_it(file_saver: EventLogSaver, closed: str) -> None:
    subscription = file_saver.log.subscribe(poll_interval_ms=3_600_000)
    got: list[str | None] = []
    first = threading.Event()

    def follow() -> None:
        for event in subscription:
            got.append(event.thread_id)
            first.set()
        got.append("ended")

    thread = threading.Thread(target=follow)
    thread.start()
    file_saver.register_thread("t")
    assert first.wait(timeout=60)
    (subscription if closed == "subscription" else file_saver).close()
    thread.join(timeout=60)
    assert got == ["t", "ended"]
    assert next(subscription, "over") == "over"


def test_a_closed_subscription_gives_nothing_that_it_has_already_read(filled: EventLogSaver) -> None:
    with filled.log.subscribe() as subscription:
        next(subscription)
    assert list(subscription) == []
    assert subscription.position == 1


def test_several_follow_one_log_each_at_its_own_pace(filled: EventLogSaver) -> None:
    one, two = filled.log.subscribe(), filled.log.subscribe()
    assert take(one, 5) == [1, 2, 3, 4, 5]
    assert take(two, 2) == [1, 2]
    assert take(one, 2) == [6, 7]
    one.close()
    assert take(two, 3) == [3, 4, 5]
    two.close()


def test_waiting_holds_no_transaction(file_saver: EventLogSaver) -> None:
    """So that the WAL can be folded, and started anew, while someone follows."""
    with file_saver.log.subscribe() as subscription:
        file_saver.register_thread("t")
        next(subscription)
        with file_saver.log.database.exclusive() as connection:
            connection.pragma("wal_checkpoint(TRUNCATE)")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0]
        assert busy == 0


def test_a_damaged_event_is_said_and_can_be_passed_over(filled: EventLogSaver, make_saver: Any, helpers: Any) -> None:
    make_saver.damaged(filled.path)
    with helpers.without_triggers(filled.path) as connection:
        connection.execute("UPDATE event SET record = x'00' WHERE position = 3")
    with filled.log.subscribe(2) as subscription, pytest.raises(CorruptRecordError) as caught:
        next(subscription)
    assert caught.value.position == 3
    with filled.log.subscribe(3) as subscription:
        assert next(subscription).position == 4


def test_options_are_checked_and_a_closed_log_is_not_followed(filled: EventLogSaver) -> None:
    with pytest.raises(ConfigError):
        filled.log.subscribe(poll_interval_ms=0)
    filled.close()
    with contextlib.suppress(LogClosedError):
        assert list(filled.log.subscribe()) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async_following(filled: EventLogSaver, backend: str) -> None:
    head = filled.log.head().position

    async def use() -> None:
        async with filled.log.subscribe(head - 3, poll_interval_ms=1) as subscription:
            got = [(await anext(subscription)).position for _ in range(3)]
            assert got == [head - 2, head - 1, head]
            async with anyio.create_task_group() as tasks:

                async def append() -> None:
                    for i in range(4):
                        await filled.aregister_thread(f"new {i}", "name")

                tasks.start_soon(append)
                assert [(await anext(subscription)).thread_id for _ in range(4)] == [f"new {i}" for i in range(4)]
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)
        async with filled.log.subscribe(kinds=[Kind.COPY], poll_interval_ms=1) as copies:
            assert [(await anext(copies)).thread_id for _ in range(2)] == ["copied", "forked"]
            with anyio.move_on_after(0.02) as scope:
                await anext(copies)
            assert scope.cancelled_caught
            await filled.acopy_thread("a", "copied again")
            assert (await anext(copies)).thread_id == "copied again"

    anyio.run(use, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async_following_sees_the_events_of_another_process(filled: EventLogSaver, backend: str) -> None:
    """They come after the first look, at which there was nothing."""
    head = filled.log.head().position
    looked = threading.Event()

    async def use() -> None:
        async with filled.log.subscribe(head, poll_interval_ms=1) as subscription:
            with anyio.move_on_after(0.01) as scope:
                await anext(subscription)
            assert scope.cancelled_caught
            looked.set()
            with anyio.fail_after(60):
                assert [(await anext(subscription)).thread_id for _ in range(3)] == [f"far {i}" for i in range(3)]

    def append() -> None:
        assert looked.wait(timeout=60)
        subprocess.run([sys.executable, "-c", APPENDER, filled.path, "3"], check=True, timeout=60)

    thread = threading.Thread(target=append)
    thread.start()
    try:
        anyio.run(use, backend=backend)
    finally:
        looked.set()
        thread.join()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async_following_ends_with_the_log(file_saver: EventLogSaver, backend: str) -> None:
    async def use() -> None:
        got = []

        async def follow() -> None:
            async for event in file_saver.log.subscribe(poll_interval_ms=1):
                got.append(event.position)
                await file_saver.aclose()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            # Not register_thread, which reads after it has appended: the log may be closed by then.
            await file_saver.aput_writes({"configurable": {"thread_id": "t", "checkpoint_id": "1"}}, [("x", 1)], "task")
        assert got == [1]

    anyio.run(use, backend=backend)
