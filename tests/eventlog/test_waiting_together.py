"""What calls that are done together must not do to each other: make wait, hide, or keep."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import apsw
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog import (
    BaseErasedError,
    LogBusyError,
    LogClosedError,
    NewEvent,
    Put,
    RecordedEvent,
    Whole,
)
from langgraph_eventlog.eventlog.appender import prepare
from langgraph_eventlog.eventlog.group_commit import Append, GenerationChangedError, _Caller
from langgraph_eventlog.eventlog.value import Carried
from langgraph_eventlog.projections import Projection
from langgraph_eventlog.saver import EventLogSaver

WAIT_S = 10


def config(name: str, id: str | None = "1") -> RunnableConfig:
    named = {"thread_id": name, "checkpoint_ns": ""}
    return {"configurable": named if id is None else {**named, "checkpoint_id": id}}


def checkpoint(id: str) -> Any:
    return {"v": 4, "id": id, "ts": "", "channel_values": {}, "channel_versions": {}, "versions_seen": {}}


def put(name: str, value: Any) -> NewEvent:
    nothing = Whole("=", b"\x80")
    return NewEvent(Put("1", None, b"\x80", {"v": value}, nothing, nothing, {}), name)


def until(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_what_is_erased_in_a_batch_cannot_be_referred_to_later_in_it(file_saver: EventLogSaver, helpers: Any) -> None:
    log = file_saver.log
    for name in ("erased", "kept"):
        log.append(put(name, Whole("bytes", name.encode())))
    file_saver.delete_thread("erased")
    decides: list[Any] = []
    transact, log.transact = log.transact, decides.append  # type: ignore[method-assign]
    helpers.erase(file_saver, [1])
    log.transact = transact  # type: ignore[method-assign]
    appends = [Append(decide=decides[0]), *(Append(prepare(put(f"of {base}", Carried(base)))) for base in (1, 2))]
    log._append_all(appends)
    assert appends[0].result() is not None
    with pytest.raises(BaseErasedError):
        appends[1].result()
    assert appends[2].result() is not None
    assert [event.thread_id for event in log.read(after=4)] == ["of 2"]


def test_threads_that_find_the_projections_changed_look_at_them_once(
    make_saver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one appends is in the index of the new key, while the other has only begun to look."""
    saver = make_saver()
    saver.put(config("t", None), checkpoint("1"), {}, {})
    make_saver(indexed_metadata=["colour"])
    both, put_one, entered = threading.Barrier(2), threading.Event(), []
    run, ensure = saver.log._group.run, saver._core.projector._ensure_builtin
    second = threading.Event()

    def run_and_meet(appends: Any) -> None:
        try:
            run(appends)
        except GenerationChangedError:
            both.wait(WAIT_S)
            raise

    def stopping(*args: Any) -> int:
        entered.append(threading.current_thread())
        if len(entered) == 1:
            second.wait(0.5)
        else:
            second.set()
            put_one.wait(WAIT_S)
        return ensure(*args)  # type: ignore[no-any-return]

    monkeypatch.setattr(saver.log._group, "run", run_and_meet)
    monkeypatch.setattr(saver._core.projector, "_ensure_builtin", stopping)

    def append(name: str) -> None:
        saver.put(config(name, None), checkpoint("2"), {"colour": "red"}, {})
        put_one.set()

    threads = [threading.Thread(target=append, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * WAIT_S)
    assert len(entered) == 1
    found = [t.config["configurable"]["thread_id"] for t in saver.list(None, filter={"colour": "red"})]
    assert sorted(found) == ["a", "b"]


@pytest.mark.plain_file("another program opens it")
def test_calls_that_are_done_together_wait_once_for_another_process(make_saver: Any) -> None:
    log = make_saver(busy_timeout_ms=30).log
    begun = []

    def noting(_: Any, sql: str, __: Any) -> bool:
        begun.append(sql)
        return True

    with log.database.exclusive() as connection:
        connection.exec_trace = noting
    other = apsw.Connection(log.path)
    try:
        other.execute("BEGIN IMMEDIATE")
        appends = [Append(prepare(put(name, Whole("bytes", b"")))) for name in "abc"]
        log._append_all(appends)
    finally:
        other.close()
    assert begun == ["BEGIN IMMEDIATE"]
    for append in appends:
        with pytest.raises(LogBusyError):
            append.result()


def test_one_that_withdraws_when_it_is_its_turn_passes_the_turn_on(make_saver: Any) -> None:
    log = make_saver(busy_timeout_ms=0).log
    group = log._group
    first, second = (_Caller([Append(prepare(put(name, Whole("bytes", b""))))]) for name in "ab")
    for caller in (first, second):
        caller.wake = threading.Lock()
        caller.wake.acquire()
        group._queue.append(caller)
    group._wake_next()
    group._wait(first, first.wake, 0.0)  # its time is up at the same moment
    assert first.done
    assert not second.wake.locked()
    group._withdraw(second)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_call_that_is_ready_does_not_wait_for_the_serializer_of_the_next(make_saver: Any, backend: str) -> None:
    told = threading.Event()
    begun, go_on = threading.Event(), threading.Event()
    failed: list[str] = []

    class Waiting(JsonPlusSerializer):
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            if obj == "first":
                begun.set()
                assert go_on.wait(WAIT_S)
            if obj == "slow" and not told.wait(WAIT_S):
                failed.append("nobody was told")
            return super().dumps_typed(obj)

    saver = make_saver(serde=Waiting())

    async def quick() -> None:
        await saver.aput_writes(config("quick"), [("x", "quick")], "task")
        await anyio.sleep(0.1)  # several looks at a call that takes long
        told.set()

    async def main() -> None:
        if backend == "asyncio":
            asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(str(context)))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(saver.aput_writes, config("first"), [("x", "first")], "task")
            await anyio.to_thread.run_sync(begun.wait, WAIT_S)
            tasks.start_soon(quick)
            tasks.start_soon(saver.aput_writes, config("slow"), [("x", "slow")], "task")
            await anyio.lowlevel.checkpoint()
            go_on.set()

    anyio.run(main, backend=backend)
    assert failed == []
    assert sorted(str(event.thread_id) for event in saver.log.read()) == ["first", "quick", "slow"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_event_loop_that_has_ended_is_not_kept_nor_are_its_threads(file_saver: EventLogSaver, backend: str) -> None:
    loops: list[Any] = []
    before = threading.active_count()

    async def main(n: int) -> None:
        if backend == "asyncio":
            loops.append(weakref.ref(asyncio.get_running_loop()))
        async with anyio.create_task_group() as tasks:
            for i in range(4):
                tasks.start_soon(file_saver.aput_writes, config(f"{n} {i}"), [("x", i)], "task")

    for n in range(3):
        anyio.run(main, n, backend=backend)
    gc.collect()
    assert [loop for loop in loops if loop() is not None] == []
    if backend == "asyncio":
        until(lambda: threading.active_count() <= before)


def test_a_projection_that_closes_the_saver_gets_nobody_but_a_closed_log(make_saver: Any) -> None:
    class Closing(Projection):
        name = "closing"

        def reset(self) -> None:
            self.db.execute("CREATE TABLE closing (position INTEGER)")

        def apply(self, event: RecordedEvent) -> None:
            saver.close()

    saver = make_saver(projections=[Closing()])
    for name in "ab":
        with pytest.raises(LogClosedError):
            saver.log.append(put(name, Whole("bytes", b"")))
    with EventLogSaver(saver.path) as again:
        assert list(again.log.read()) == []
