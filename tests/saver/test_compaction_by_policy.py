"""Compaction that follows a policy: the dry run says what then happens, and no byte is left of what was let go."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from langgraph_eventlog.eventlog import Kind
from langgraph_eventlog.saver import EventLogSaver, Retention

from ..graphs.test_compaction_by_policy import FORESEEN, compact, needless
from .test_compaction import BIG, bases, bytes_of, config, everything, fill, put
from .test_restating import chat_of

pytestmark = pytest.mark.slow

POLICIES = [
    Retention(keep_last=1),
    Retention(keep_last=3),
    Retention(keep_newer_than=timedelta(seconds=30)),
    Retention(idle_longer_than=timedelta(seconds=8)),
    Retention(keep_last=2, idle_longer_than=timedelta(seconds=6), exempt={"mail": "mail of run"}),
]


@pytest.mark.parametrize("thorough", [True, False])
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_what_a_policy_lets_go_is_what_the_dry_run_said(make_saver: Any, policy: Retention, thorough: bool) -> None:
    now = itertools.count(1_767_225_600_000_000, 1_000_000)
    is_filled = False

    def clock() -> int:
        """Goes on by a second at each look, and then stands still: what is idle at first is so at last."""
        return next(now) if not is_filled else stopped_at

    saver = make_saver(clock=clock)
    fill(saver)
    stopped_at, is_filled = next(now), True
    report = compact(saver, policy, thorough=thorough)
    assert report.checkpoints_removed > 0
    assert not thorough or needless(saver) == set()
    before = everything(saver)
    saver.rebuild()
    assert everything(saver) == before


@pytest.mark.parametrize("seed", range(6))
def test_dry_runs_are_right_about_logs_of_copies_and_forks(make_saver: Any, seed: int) -> None:
    chance = random.Random(seed)
    saver = make_saver()
    chat_of(saver, 14)
    for n in range(4):
        source = chance.choice(["t", *(f"copy {i}" for i in range(n))])
        if chance.random() < 0.5:
            saver.copy_thread(source, f"copy {n}")
        else:
            saver.fork_thread(config(source), f"copy {n}")
        if chance.random() < 0.5:
            chat_of(saver, 6, f"copy {n}")
    restated = 0
    for n in (9, 6, 3, 1):
        if chance.random() < 0.5:
            saver.delete_thread(chance.choice(["t", "copy 0", "copy 1"]))
        restated += compact(saver, Retention(keep_last=n), thorough=chance.random() < 0.5).restated
    assert restated > 0


def test_a_log_that_is_open_for_reading_only_can_be_asked(make_saver: Any) -> None:
    saver = make_saver()
    fill(saver)
    reading = make_saver(read_only=True)
    dry = reading.compact(Retention(keep_last=1), dry_run=True)
    reading.close()
    report = saver.compact(Retention(keep_last=1))
    assert {name: getattr(dry, name) for name in FORESEEN} == {name: getattr(report, name) for name in FORESEEN}


def test_what_went_with_the_newest_event_is_counted_too(make_saver: Any, clock: Callable[[], int]) -> None:
    """It cannot go before there is a newer one, which is the one that says what the policy lets go."""
    saver = make_saver(clock=clock)
    saver.register_thread("other")
    put(saver, "1", {"n": 1}, thread="old")
    saver.copy_thread("old", "newest")
    for _ in range(100):
        clock()
    report = compact(saver, Retention(idle_longer_than=timedelta(seconds=50)))
    assert report.threads_removed == 3
    assert report.events_erased == {Kind.PUT: 1, Kind.COPY: 1, Kind.THREAD: 1}
    assert list(saver.threads()) == []


def large(saver: EventLogSaver, secret: bytes) -> None:
    """Put a document with a secret in its middle, and then one without, which is stored as what differs from it."""
    around = [os.urandom(2000), os.urandom(2000)]
    put(saver, "1", {"document": [around[0], b"SECRET" + secret, around[1]], "same": BIG})
    saver.put_writes(config("t", "1"), [("document", b"SECRET" + secret)], "task")
    put(saver, "2", {"document": around, "same": BIG}, parent="1")
    assert bases(saver, saver.log.head().position) != ()


@pytest.mark.plain_file("the marker is looked for in the file")
def test_no_byte_is_left_of_what_was_only_the_base_of_what_is_kept(make_saver: Any) -> None:
    saver = make_saver()
    large(saver, os.urandom(40))
    put(saver, "1", {"n": 1}, thread="kept")
    before = saver.get_tuple(config("t", "2"))
    assert b"SECRET" in bytes_of(saver)
    report = compact(saver, Retention(keep_last=1), vacuum=True)
    assert report.restated == 1
    assert b"SECRET" not in bytes_of(saver)
    after = saver.get_tuple(config("t", "2"))
    assert before is not None
    assert after is not None
    assert after.checkpoint == before.checkpoint
    saver.close()
    assert b"SECRET" not in bytes_of(saver)


@pytest.mark.plain_file("the marker is looked for in the file")
def test_what_is_not_worth_it_stays_until_that_is_asked_for(make_saver: Any) -> None:
    saver = make_saver()
    large(saver, os.urandom(40))
    for n in range(3, 9):  # so that what is kept is much larger than what goes
        put(saver, str(n), {"document": [os.urandom(3000)], "same": BIG}, parent=str(n - 1))
    policy = Retention(keep_last=7)
    report = compact(saver, policy, thorough=False, vacuum=True)
    assert (report.checkpoints_removed, report.restated, report.complete) == (1, 0, True)
    assert b"SECRET" in bytes_of(saver)
    assert not saver.compact(policy, dry_run=True).complete
    assert compact(saver, policy, vacuum=True).restated > 0
    assert b"SECRET" not in bytes_of(saver)
    assert needless(saver) == set()


@pytest.mark.plain_file("the marker is looked for in the file")
def test_exempt_threads_stay_as_they_are_and_of_idle_ones_nothing_is_left(
    make_saver: Any, clock: Callable[[], int]
) -> None:
    saver = make_saver(clock=clock)
    for thread in ("HELD", "IDLE"):
        saver.register_thread(thread, f"{thread} name", {"hold": thread == "HELD", "mail": f"{thread} mail"})
        for n in range(5):
            values = {"said": [f"{thread} {i}" for i in range(n)]}
            put(saver, str(n), values, parent=str(n - 1) if n else None, thread=thread)
            saver.put_writes(config(thread, str(n)), [("said", f"{thread} write")], "task")
    for _ in range(1000):
        clock()
    put(saver, "0", {"n": 0}, thread="active")
    held = [repr(one) for one in saver.list(config("HELD"))]
    policy = Retention(keep_last=1, idle_longer_than=timedelta(seconds=500), exempt={"hold": True})
    report = compact(saver, policy, vacuum=True)
    assert (report.threads_removed, report.checkpoints_removed) == (1, 5)
    assert [info.thread_id for info in saver.threads()] == ["active", "HELD"]
    assert [repr(one) for one in saver.list(config("HELD"))] == held
    assert len(held) == 5
    found = bytes_of(saver)
    assert b"HELD mail" in found
    assert b"IDLE mail" not in found
    assert b"IDLE name" not in found
    assert b"IDLE write" not in found


def test_a_policy_that_lets_nothing_go_is_no_event(saver: EventLogSaver) -> None:
    put(saver, "1", {"n": 1})
    put(saver, "2", {"n": 2}, parent="1")
    head = saver.log.head()
    for policy in (Retention(), Retention(keep_last=2), Retention(idle_longer_than=timedelta(days=400_000))):
        report = saver.compact(policy)
        assert (report.complete, report.checkpoints_removed, report.transactions) == (True, 0, 0)
    assert saver.log.head() == head
