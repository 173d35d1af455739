"""KeyboardInterrupt at each place where Python lets one come: the log is whole, and goes on, for every thread.

It comes when a call of a Python function has just begun, or any call into C has just ended: there a profiler is asked.
"""

from __future__ import annotations

import gc
import sys
import threading
from types import FrameType
from typing import Any

import pytest
from langgraph_eventlog.eventlog import EventLog, NewEvent, ProjectionError, PutWrites, RecordedEvent, Whole, Write
from langgraph_eventlog.eventlog.appender import prepare
from langgraph_eventlog.eventlog.group_commit import Append, _Caller
from langgraph_eventlog.projections import Projection

WAIT_S = 20
MAX_PLACES = 400


class Fussy(Projection):
    """Raises at the events of one thread."""

    name = "fussy"
    schema_version = 1

    def reset(self) -> None:
        self.db.execute("CREATE TABLE fussy (thread_id TEXT)")

    def apply(self, event: RecordedEvent) -> None:
        if event.thread_id == "bad":
            raise ZeroDivisionError("a bug")


class Alarm(Exception):
    """What the handler of a signal may raise just as well."""


class Interrupt:
    """Raises at the place of this number; None: nowhere, and counts them."""

    def __init__(self, at: int | None, error: type[BaseException] = KeyboardInterrupt) -> None:
        self._at = at
        self._error = error
        self.places = 0

    def __call__(self, frame: FrameType, what: str, argument: Any) -> None:
        if what not in ("call", "c_return") or argument is sys.setprofile:
            return
        self.places += 1
        if self._at is not None and self.places > self._at:
            sys.setprofile(None)
            del argument  # a traceback would hold it, and with it a statement that has not ended
            raise self._error


def event(name: str) -> NewEvent:
    return NewEvent(PutWrites("1", name, "", (Write("x", 0, Whole("bytes", b"value")),)), name)


def append_interrupted(log: EventLog, name: str, at: int | None, error: type[BaseException] = KeyboardInterrupt) -> int:
    interrupt = Interrupt(at, error)
    gc.disable()  # in a finalizer it would come to nobody
    try:
        sys.setprofile(interrupt)
        try:
            log.append(event(name))
        finally:
            sys.setprofile(None)
    except (error, ProjectionError):  # that, if it came in a projection
        pass
    finally:
        gc.enable()
    return interrupt.places


def append_elsewhere(log: EventLog, name: str) -> None:
    thread = threading.Thread(target=log.append, args=(event(name),), daemon=True)
    thread.start()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def places(log: EventLog, prepare_queue: Any) -> range:
    """Give the places of one append: all, or of very many some that are spread over all."""
    prepare_queue("count")
    count = append_interrupted(log, "own count", None)
    assert count > 50
    return range(0, count, 1 + count // MAX_PLACES)


def check(log: EventLog, names: list[str]) -> None:
    """Each of these is there, once."""
    found = [str(event.thread_id) for event in log.read()]
    assert len(set(found)) == len(found)
    assert set(names) <= set(found)


def test_an_append_alone_that_is_interrupted_leaves_nothing_behind(make_saver: Any) -> None:
    log = make_saver(synchronous="NORMAL", busy_timeout_ms=WAIT_S * 1000).log
    after = []
    for place in places(log, lambda _: None):
        append_interrupted(log, f"own {place}", place)
        assert not log.database.write_lock.owned()
        after.append(f"after {place}")
        append_elsewhere(log, after[-1])
    check(log, after)


@pytest.mark.parametrize("error", [KeyboardInterrupt, Alarm])
def test_a_leader_that_is_interrupted_does_what_others_queued_once_or_leaves_it_to_the_next(
    make_saver: Any, error: type[BaseException]
) -> None:
    log = make_saver(synchronous="NORMAL", projections=[Fussy()]).log
    group, callers = log._group, []

    def queue(name: object) -> None:
        """Three threads' work, of which the second's has the batch rolled back: then each is done alone."""
        for own in (f"first {name}", "bad", f"third {name}"):
            callers.append((own, _Caller([Append(prepare(event(own)))])))
            group._queue.append(callers[-1][1])

    for place in places(log, queue):
        queue(place)
        append_interrupted(log, f"own {place}", place, error)
        there = [str(event.thread_id) for event in log.read(after=max(0, log.head().position - 3))]
        for own, caller in callers[-3:]:
            if caller.done and own != "bad" and not caller.appends[0].failed:
                assert own in there  # nobody is told before
        append_elsewhere(log, f"after {place}")
        while not callers[-1][1].done:
            append_elsewhere(log, f"after {place}, once more")
    assert all(caller.done for _, caller in callers)
    check(log, [own for own, caller in callers if not caller.appends[0].failed])
    if error is KeyboardInterrupt:
        assert not any(caller.appends[0].failed for own, caller in callers if own != "bad")
