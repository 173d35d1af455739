"""What a saver does of its own: erasing what was deleted, and following a retention policy. Nothing here sleeps."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph_eventlog.eventlog import ConfigError, Kind
from langgraph_eventlog.saver import EventLogSaver, Retention
from langgraph_eventlog.saver.compaction import upkeep

SECRET = "the marker of what is to go"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_DELAY_S", 0.01)


def put(saver: EventLogSaver, thread_id: str, **values: Any) -> Any:
    found = saver.get_tuple({"configurable": {"thread_id": thread_id}})
    config = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}} if found is None else found.config
    return saver.put(config, {**empty_checkpoint(), "channel_values": values}, {"source": "loop", "step": 1}, {})


def wait_for(saver: EventLogSaver, kind: Kind) -> Any:
    with saver.log.subscribe(kinds=[kind]) as events:
        return next(events)


def wait_until_left(saver: EventLogSaver, count: int) -> None:
    """Wait until so many events are left: on a machine that has much else to do, erasing takes several transactions."""
    with saver.log.subscribe(kinds=[Kind.COMPACTION]) as compactions:
        while len(positions(saver)) > count:
            next(compactions)


def positions(saver: EventLogSaver) -> list[int]:
    return [event.position for event in saver.log.read(kinds=[Kind.PUT, Kind.PUT_WRITES])]


@pytest.mark.parametrize("how", ["delete_thread", "prune", "delete_for_runs"])
def test_what_was_deleted_is_erased_soon_after_without_being_asked(make_saver: Any, how: str) -> None:
    saver = make_saver(erase_deleted=True)
    config = put(saver, "t", text=SECRET)
    put(saver, "t", text="another")
    put(saver, "stays", text=SECRET)
    config["configurable"]["run_id"] = "r"
    saver.put(config, {**empty_checkpoint(), "channel_values": {"text": "of a run"}}, {"run_id": "r"}, {})
    assert positions(saver) == [1, 2, 3, 4]
    if how == "delete_thread":
        saver.delete_thread("t")
    elif how == "prune":
        saver.prune(["t"])
    else:
        saver.delete_for_runs(["r"])
    left = {"delete_thread": [3], "prune": [3, 4], "delete_for_runs": [1, 2, 3]}[how]
    wait_until_left(saver, len(left))
    assert positions(saver) == left
    assert list(saver.log.verify()) == []


def test_erase_deleted_false_leaves_it_to_compact(make_saver: Any) -> None:
    saver = make_saver(erase_deleted=False)
    put(saver, "t", text=SECRET)
    saver.delete_thread("t")
    assert saver._core.upkeep._background._thread is None
    assert positions(saver) == [1]
    saver.compact()
    assert positions(saver) == []


def test_deleting_what_is_not_there_wakes_nobody(make_saver: Any) -> None:
    saver = make_saver(erase_deleted=True)
    saver.delete_thread("nobody")
    saver.prune(["nobody"])
    saver.delete_for_runs(["none"])
    assert saver._core.upkeep._background._thread is None


def test_a_retention_policy_is_followed_while_the_saver_is_put_to(make_saver: Any) -> None:
    saver = make_saver(retention=Retention(keep_last=2))
    for n in range(6):
        put(saver, "t", text=f"{SECRET} {n}")
    event = wait_for(saver, Kind.COMPACTION)
    assert event.data.policy["keep_last"] == 2
    left = [one.checkpoint["channel_values"]["text"] for one in saver.list({"configurable": {"thread_id": "t"}})]
    assert left[0] == f"{SECRET} 5"  # the last two, and what was put after it had looked
    put(saver, "t", text="goes on")
    assert saver.get_tuple({"configurable": {"thread_id": "t"}}).checkpoint["channel_values"]["text"] == "goes on"


def test_a_policy_that_keeps_everything_wakes_nobody(make_saver: Any) -> None:
    saver = make_saver(retention=Retention())
    put(saver, "t", text="x")
    assert saver._core.upkeep._background._thread is None


def test_a_log_in_memory_is_kept_up_too(make_saver: Any) -> None:
    saver = make_saver(":memory:", erase_deleted=True)
    put(saver, "t", text=SECRET)
    saver.delete_thread("t")
    wait_until_left(saver, 0)
    assert positions(saver) == []


def test_closing_ends_it_and_what_is_left_can_be_done_later(make_saver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_DELAY_S", 3_600.0)
    saver = make_saver(erase_deleted=True)
    put(saver, "t", text=SECRET)
    saver.delete_thread("t")
    thread = saver._core.upkeep._background._thread
    assert thread is not None
    saver.close()
    assert not thread.is_alive()
    again = make_saver()
    assert positions(again) == [1]
    again.compact()
    assert positions(again) == []


def test_puts_go_on_meanwhile(make_saver: Any) -> None:
    saver = make_saver(erase_deleted=True, retention=Retention(keep_last=3))
    saver.delete_thread("begin")

    def work(name: str) -> None:
        for n in range(40):
            put(saver, name, messages=[f"{name} {m}" for m in range(n + 1)])
            if n % 10 == 9:
                saver.prune([name])

    workers = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for n in range(3):
        found = saver.get_tuple({"configurable": {"thread_id": f"t{n}"}})
        assert found.checkpoint["channel_values"]["messages"] == [f"t{n} {m}" for m in range(40)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_begins_its_own(make_saver: Any) -> None:
    saver = make_saver(erase_deleted=True)
    put(saver, "t", text=SECRET)
    saver.delete_thread("t")
    wait_for(saver, Kind.COMPACTION)
    put(saver, "u", text=SECRET)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            saver.delete_thread("u")
            with saver.log.subscribe(saver.log.head().position - 1, kinds=[Kind.COMPACTION]) as events:
                next(events)
            code = 0 if positions(saver) == [] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_what_is_no_policy_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="retention is a Retention"):
        EventLogSaver(tmp_path / "agent.db", retention={"keep_last": 1})  # type: ignore[arg-type]
