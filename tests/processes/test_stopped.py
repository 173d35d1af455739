"""A process that stops in the middle of its transaction: others are told clearly, read on, and go on when it does."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langgraph_eventlog.eventlog import LogBusyError
from langgraph_eventlog.saver import EventLogSaver

from .children import Child, aput, config, put, threads_of, write

# Asks for the time within its transaction; there it stops itself.
STOPPING = """
import itertools, os, signal
from langgraph_eventlog.saver import EventLogSaver

stop = False

def clock(tick=itertools.count(1_767_225_600_000_000)):
    if stop:
        os.kill(os.getpid(), signal.SIGSTOP)
    return next(tick)

with EventLogSaver(sys.argv[1], clock=clock) as saver:
    put(saver, "before", x=1)
    stop = True
    put(saver, "stopped", x=1)
    stop = False
    say("through")
    put(saver, "after", x=1)
"""

READING = """
import os, signal
from langgraph_eventlog.saver import EventLogSaver
with EventLogSaver(sys.argv[1]) as saver:
    with saver.log.database.reading() as connection:
        count = connection.execute("SELECT count(*) FROM event").fetchall()
        os.kill(os.getpid(), signal.SIGSTOP)
        assert connection.execute("SELECT count(*) FROM event").fetchall() == count
    put(saver, "reader", x=1)
"""


CALLS = {
    "put": lambda saver: put(saver, "t", x=1),
    "put_writes": lambda saver: write(saver, "before", "task"),
    "delete_thread": lambda saver: saver.delete_thread("before"),
    "copy_thread": lambda saver: saver.copy_thread("before", "copy"),
    "prune": lambda saver: saver.prune(["before"], strategy="delete"),
    "register_thread": lambda saver: saver.register_thread("t", "name"),
    "rebuild": lambda saver: saver.rebuild(),
    "aput": lambda saver: asyncio.run(aput(saver, "t", x=1)),
    "adelete_thread": lambda saver: asyncio.run(saver.adelete_thread("before")),
}


def check_told(e: LogBusyError, path: str) -> None:
    assert (e.path, e.waited_ms) == (path, 60)
    for part in (path, "60 ms", "nothing was changed", "stopped or stuck", "longer busy_timeout_ms"):
        assert part in str(e)


def test_every_call_that_changes_something_says_who_is_waited_for_and_what_to_do(
    make_saver: Any, tmp_path: Any
) -> None:
    path = str(tmp_path / "agent.db")
    saver, patient = make_saver(path, busy_timeout_ms=60), make_saver(path)
    with Child(STOPPING, path) as child:
        child.wait_until_stopped()
        head = saver.log.head()
        assert head.position == 1
        for call in CALLS.values():
            with pytest.raises(LogBusyError) as caught:
                call(saver)
            check_told(caught.value, path)
        # Meanwhile, whoever reads does not even notice.
        assert saver.get_tuple(config("before")) is not None
        assert saver.get_tuple(config("stopped")) is None
        assert [found.config["configurable"]["thread_id"] for found in saver.list(None)] == ["before"]
        assert [info.thread_id for info in saver.threads()] == ["before"]
        assert list(saver.log.verify()) == []
        for read_only in (True, False):
            with EventLogSaver(path, busy_timeout_ms=60, read_only=read_only) as another:
                assert another.log.head() == head
        # And who waits is let in when it goes on.
        names = [f"waiting {n}" for n in range(8)]
        waiting = [threading.Thread(target=put, args=(patient, name), kwargs={"x": 1}) for name in names]
        for thread in waiting:
            thread.start()
        child.go_on()
        assert child.hear() == "through"
        for thread in waiting:
            thread.join(60)
    put(saver, "at last", x=1)
    assert threads_of(saver)[:2] == ["before", "stopped"]
    assert sorted(threads_of(saver)[2:]) == sorted(["after", "at last", *names])


def test_killed_where_it_stopped_it_leaves_nothing_and_the_lock_is_free(make_saver: Any, tmp_path: Any) -> None:
    path = str(tmp_path / "agent.db")
    saver = make_saver(path, busy_timeout_ms=60)
    with Child(STOPPING, path) as child:
        child.wait_until_stopped()
        with pytest.raises(LogBusyError):
            put(saver, "t", x=1)
        child.kill()
    put(saver, "t", x=1)
    assert threads_of(saver) == ["before", "t"]


def test_a_process_that_stops_while_it_reads_keeps_nobody_waiting(make_saver: Any, tmp_path: Any) -> None:
    path = str(tmp_path / "agent.db")
    saver = make_saver(path, busy_timeout_ms=60)
    put(saver, "before", x=1)
    with Child(READING, path) as child:
        child.wait_until_stopped()
        for n in range(50):
            put(saver, f"{n}", x=n)
        saver.rebuild()
        put(saver, "rebuilt", x=1)
        child.go_on()
    assert threads_of(saver) == ["before", *map(str, range(50)), "rebuilt", "reader"]
