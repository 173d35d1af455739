"""Compaction beside other processes: they put, copy, delete meanwhile; two compact at once; one of them is killed."""

from __future__ import annotations

from typing import Any

import pytest

from .children import Child, put

STEP_BY_STEP = """
import itertools
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.saver.compaction.compacting import Compactor
from langgraph_eventlog.saver.compaction.pacing import Pace
pace = Pace(clock=itertools.count(0, 0.001).__next__, sleep=lambda _: None)  # as many events a transaction, always
with EventLogSaver(sys.argv[1], synchronous="NORMAL") as saver:
    say("open")
    hear()
    Compactor(saver._core, between=lambda what: (say(what), hear()), pace=pace).run()
"""

COMPACT = """
import os
from langgraph_eventlog.saver import EventLogSaver
with EventLogSaver(sys.argv[1], synchronous="NORMAL") as saver:
    say("open")
    erased = 0
    while not os.path.exists(sys.argv[2]):
        erased += sum(saver.compact().events_erased.values())
    say(str(erased))
"""

WORK = """
import itertools, random
from langgraph_eventlog.saver import EventLogSaver
chance = random.Random(int(sys.argv[2]))
name = f"worker {sys.argv[2]}"
big = {n: f"{name} {n} " * 60 for n in range(9)}
with EventLogSaver(sys.argv[1], synchronous="NORMAL") as saver:
    say("open")
    hear()
    latest = {}
    for n in range(int(sys.argv[3])):
        thread = f"{name} {chance.randrange(3)}"
        id, before = f"{n:05}", latest.get(thread, (None, {}))
        values = {**before[1], f"k{chance.randrange(4)}": big[chance.randrange(9)], "n": n}
        put(saver, thread, id, before[0], **values)  # which may have been deleted: its values are remembered
        saver.put_writes(config(thread, id), [("x", big[chance.randrange(9)])], f"task {n}")
        latest[thread] = id, values
        if n % 7 == 3:
            saver.delete_thread(thread)
        elif n % 7 == 5:
            saver.delete_thread(f"copy of {thread}")
            saver.copy_thread(thread, f"copy of {thread}")
        elif n % 11 == 0:
            saver.prune([thread])
        found = saver.get_tuple(config(thread))
        assert n % 7 == 3 or found.checkpoint["channel_values"] == values, (n, found)
    for thread, (id, values) in latest.items():
        found = saver.get_tuple(config(thread))
        assert found is None or found.checkpoint["channel_values"] == values
say("done")
"""


def test_others_put_copy_and_delete_while_two_compact(make_saver: Any, tmp_path: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    put(saver, "there", "1", x="y")
    anchor = saver.log.head()
    stop = tmp_path / "stop"
    with (
        Child(COMPACT, saver.path, stop) as first,
        Child(COMPACT, saver.path, stop) as second,
        Child(WORK, saver.path, 1, 120) as worker,
        Child(WORK, saver.path, 2, 120) as another,
    ):
        for child in (first, second, worker, another):
            assert child.hear() == "open"
        worker.say("go")
        another.say("go")
        assert worker.hear() == another.hear() == "done"
        stop.touch()
        erased = int(first.hear()) + int(second.hear())
    report = saver.compact()
    assert erased + sum(report.events_erased.values()) > 100
    assert list(saver.verify(anchor=anchor)) == []
    before = [repr(found) for found in saver.list(None)]
    saver.rebuild()
    assert [repr(found) for found in saver.list(None)] == before
    assert saver.compact(dry_run=True).events_erased == {}


@pytest.mark.parametrize("at", [0, 1, 2, 3, 5])
def test_one_that_is_killed_leaves_a_log_that_is_whole(make_saver: Any, at: int) -> None:
    saver = make_saver(synchronous="NORMAL")
    for n in range(300):
        put(saver, f"t{n % 3}", str(n), None, big=f"{n} " * 400)
    saver.delete_thread("t1")
    saver.delete_thread("t2")
    before, anchor = [repr(found) for found in saver.list(None)], saver.log.head()
    with Child(STEP_BY_STEP, saver.path) as child:
        assert child.hear() == "open"
        child.say("go")
        for _ in range(at):
            assert child.hear() in ("carried", "erased", "freed")
            child.say("go on")
        child.kill()
    assert [repr(found) for found in saver.list(None)] == before
    assert list(saver.verify(anchor=anchor)) == []
    with saver.log.database.reading() as connection:
        gone = connection.execute("SELECT count(*) FROM erased").fetchall()[0][0]
    report = saver.compact()
    assert gone + sum(report.events_erased.values()) == 200
    assert report.complete
    assert list(saver.verify(anchor=anchor)) == []
