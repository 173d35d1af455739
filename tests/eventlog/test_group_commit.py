"""Group commit: appends that arrive while another commits share a transaction, and nothing else.

No test waits for luck: the write lock is held until everyone who is to be in a batch is in the queue.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import apsw
import pytest
from langgraph_eventlog.eventlog import (
    BaseErasedError,
    ConfigError,
    DeleteThread,
    EventLog,
    Kind,
    LogBusyError,
    LogClosedError,
    LogFullError,
    LogReadOnlyError,
    NewEvent,
    ProjectionError,
    Put,
    PutWrites,
    RecordedEvent,
    Whole,
    Write,
)
from langgraph_eventlog.eventlog.value import Carried
from langgraph_eventlog.projections import Projection
from langgraph_eventlog.saver import EventLogSaver

WAIT_S = 20


def writes(name: str, size: int = 4) -> NewEvent:
    """An event in a thread of its own."""
    return NewEvent(PutWrites("1", name, "", (Write("x", 0, Whole("bytes", os.urandom(size))),)), name)


def put(name: str, value: Any) -> NewEvent:
    nothing = Whole("=", b"\x80")
    return NewEvent(Put("1", None, b"\x80", {"v": value}, nothing, nothing, {}), name)


def queued(log: EventLog) -> int:
    return sum(len(caller.appends) for caller in list(log._group._queue) if not caller.done)


def until(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Callers:
    """Threads that append, each once; what each was told."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.told: dict[str, RecordedEvent | BaseException | None] = {}
        self._threads: list[threading.Thread] = []

    def add(self, name: str, call: Callable[[], RecordedEvent | None]) -> None:
        """Start one, and wait until it is in the queue."""

        def run() -> None:
            try:
                self.told[name] = call()
            except BaseException as e:
                self.told[name] = e

        before = queued(self.log)
        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()
        until(lambda: queued(self.log) == before + 1)

    def append(self, *names: str) -> None:
        for name in names:
            self.add(name, lambda name=name: self.log.append(writes(name)))  # type: ignore[misc]

    def join(self) -> None:
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()

    def errors(self) -> dict[str, type]:
        return {name: type(told) for name, told in self.told.items() if isinstance(told, BaseException)}


@contextlib.contextmanager
def commits(log: EventLog) -> Iterator[list[int]]:
    """Count the COMMITs of what was changed."""
    count = [0]

    def hook() -> bool:
        count[0] += 1
        return False

    with log.database.exclusive() as connection:
        connection.set_commit_hook(hook)
    yield count
    with log.database.exclusive() as connection:
        connection.set_commit_hook(None)


@contextlib.contextmanager
def batch(log: EventLog) -> Iterator[Callers]:
    """Hold the lock while the block lasts; then everyone is told."""
    callers = Callers(log)
    with log.database.write_lock:
        yield callers
    callers.join()


def names_in(log: EventLog) -> list[str]:
    return [str(event.thread_id) for event in log.read()]


NAMES = [f"t{n:02}" for n in range(20)]


def test_appends_that_wait_for_the_lock_are_committed_together(saver: EventLogSaver) -> None:
    log = saver.log
    with commits(log) as count, batch(log) as callers:
        callers.append(*NAMES)
    assert count == [1]
    assert names_in(log) == NAMES  # in the order in which they came
    assert [told.position for told in callers.told.values() if isinstance(told, RecordedEvent)] != []
    for event in log.read():
        told = callers.told[str(event.thread_id)]
        assert isinstance(told, RecordedEvent)
        assert (told.position, told.link, told.stream) == (event.position, event.link, event.stream)


def test_an_append_alone_is_one_transaction(log: EventLog) -> None:
    with commits(log) as count:
        for name in NAMES:
            log.append(writes(name))
    assert count == [len(NAMES)]


def test_an_append_in_a_block_of_its_own_thread_that_has_the_lock_is_done_and_leaves_the_lock_as_it_was(
    log: EventLog,
) -> None:
    with log.database.write_lock:
        with log.database.exclusive():
            log.append(writes("inner"))
            assert log.database.write_lock.owned()
        assert log.database.write_lock.owned()
        log.append(writes("outer"))
        assert log.database.write_lock.owned()
    assert not log.database.write_lock.owned()
    assert names_in(log) == ["inner", "outer"]


@pytest.mark.plain_file("another program opens it")
def test_an_append_alone_that_fails_leaves_the_lock_and_no_transaction(make_saver: Any) -> None:
    fussy = Fussy()
    log = make_saver(projections=[fussy]).log
    for error, told in ((ZeroDivisionError("a bug"), ProjectionError), (SystemExit(3), SystemExit)):
        fussy.errors["bad"] = error
        with pytest.raises(told):
            log.append(writes("bad"))
        assert not log.database.write_lock.owned()
        other = apsw.Connection(log.path)
        other.execute("BEGIN IMMEDIATE; ROLLBACK")  # nobody has the lock of the file
        other.close()
    log.append(writes("good"))
    assert names_in(log) == fussy.seen() == ["good"]


def test_nobody_is_told_before_the_commit(log: EventLog) -> None:
    told_before: list[int] = []
    with batch(log) as callers:
        callers.append(*NAMES)

        def hook() -> bool:
            time.sleep(0.05)  # whoever was told too early would be through
            told_before.append(len(callers.told))
            return False

        log.database.writer().set_commit_hook(hook)
    assert told_before == [0]
    assert len(callers.told) == len(NAMES)
    log.database.writer().set_commit_hook(None)


def test_a_batch_is_bounded_and_the_rest_comes_next(log: EventLog) -> None:
    names = [f"t{n:03}" for n in range(150)]
    with commits(log) as count, batch(log) as callers:
        callers.append(*names)
    assert count == [3]
    assert names_in(log) == names


def test_a_batch_is_bounded_in_bytes(log: EventLog) -> None:
    with commits(log) as count, batch(log) as callers:
        for name in NAMES[:5]:
            callers.add(name, lambda name=name: log.append(writes(name, 4_000_000)))  # type: ignore[misc]
    assert count == [3]
    assert names_in(log) == NAMES[:5]


def test_an_append_whose_base_was_erased_fails_alone(log: EventLog) -> None:
    with commits(log) as count, batch(log) as callers:
        callers.append("a", "b")
        callers.add("bad", lambda: log.append(put("bad", Carried(1_000))))
        callers.append("c")
    assert count == [1]
    assert callers.errors() == {"bad": BaseErasedError}
    assert names_in(log) == ["a", "b", "c"]


def test_a_base_may_be_in_the_same_batch(log: EventLog) -> None:
    with commits(log) as count, batch(log) as callers:
        callers.add("a", lambda: log.append(put("a", Whole("bytes", b"here"))))
        callers.add("b", lambda: log.append(put("b", Carried(1))))
    assert count == [1]
    assert [log.values(event) for event in log.read()] == [{"v": Whole("bytes", b"here")}] * 2


def test_a_decision_that_fails_fails_alone(log: EventLog) -> None:
    def refuse(error: Exception) -> Callable[[apsw.Connection], NewEvent | None]:
        def decide(_: apsw.Connection) -> NewEvent | None:
            raise error

        return decide

    with commits(log) as count, batch(log) as callers:
        callers.append("a")
        callers.add("no", lambda: log.transact(refuse(ConfigError("no"))))
        callers.append("b")
    assert count == [1]
    with commits(log) as count, batch(log) as more:
        more.append("c")
        more.add("other", lambda: log.transact(refuse(ZeroDivisionError("what nobody expects"))))
        more.append("d")
    assert count == [2]  # each again, alone
    assert callers.errors() | more.errors() == {"no": ConfigError, "other": ZeroDivisionError}
    assert names_in(log) == ["a", "b", "c", "d"]


def test_a_decision_reads_what_came_before_it_in_the_batch(saver: EventLogSaver) -> None:
    log = saver.log
    with commits(log) as count, batch(log) as callers:
        callers.add("put", lambda: log.append(put("t", Whole("bytes", b"1"))))
        callers.add("delete", lambda: saver.delete_thread("t"))  # type: ignore[func-returns-value]
        callers.add("nothing", lambda: saver.delete_thread("t"))  # type: ignore[func-returns-value]
    assert callers.errors() == {}
    assert count == [1]
    assert [event.data for event in log.read(kinds=[Kind.DELETE_THREAD])] == [DeleteThread(1, 0)]
    assert saver.get_tuple({"configurable": {"thread_id": "t"}}) is None


class Fussy(Projection):
    """Raises at the events of some threads."""

    name = "fussy"
    schema_version = 1

    def __init__(self) -> None:
        self.errors: dict[str | None, BaseException] = {}
        self.script: Callable[[], None] = lambda: None

    def reset(self) -> None:
        self.db.execute("CREATE TABLE fussy (thread_id TEXT)")

    def apply(self, event: RecordedEvent) -> None:
        self.db.execute("INSERT INTO fussy VALUES (?)", (event.thread_id,))
        self.script()
        if event.thread_id in self.errors:
            raise self.errors[event.thread_id]

    def seen(self) -> list[str]:
        return [thread_id for (thread_id,) in self.query("SELECT thread_id FROM fussy")]


def test_when_the_transaction_fails_each_is_tried_again_alone(make_saver: Any) -> None:
    fussy = Fussy()
    saver = make_saver(projections=[fussy])
    fussy.errors["t07"] = ZeroDivisionError("a bug")
    with commits(saver.log) as count, batch(saver.log) as callers:
        callers.append(*NAMES)
    good = [name for name in NAMES if name != "t07"]
    assert callers.errors() == {"t07": ProjectionError}
    assert names_in(saver.log) == fussy.seen() == good
    assert count == [len(good)]
    # The thread that was rolled back has no key that somebody remembers: another may have taken it.
    del fussy.errors["t07"]
    saver.log.append(writes("t07"))
    assert names_in(saver.log) == [*good, "t07"]
    assert [event.position for event in saver.log.read(thread_id="t07")] == [len(NAMES)]


def test_a_full_disk_fails_all_that_do_not_fit_and_nothing_of_them_is_left(log: EventLog) -> None:
    log.append(writes("before"))
    with log.database.exclusive() as connection:
        pages = connection.pragma("page_count")
        connection.pragma("max_page_count", pages + 4)
    with batch(log) as callers:
        for name in ("large 1", "large 2"):
            callers.add(name, lambda name=name: log.append(writes(name, 100_000)))  # type: ignore[misc]
        callers.append("small")
    assert callers.errors() == {"large 1": LogFullError, "large 2": LogFullError}
    assert names_in(log) == ["before", "small"]
    with log.database.exclusive() as connection:
        connection.pragma("max_page_count", 1_000_000)
    log.append(writes("large 1", 100_000))
    assert names_in(log) == ["before", "small", "large 1"]


def test_a_leader_that_is_interrupted_leaves_the_others_to_the_next(make_saver: Any) -> None:
    fussy = Fussy()
    saver = make_saver(projections=[fussy])
    interrupts = iter([None, KeyboardInterrupt])

    def script() -> None:
        if (interrupt := next(interrupts, None)) is not None:
            raise interrupt

    fussy.script = script
    with batch(saver.log) as callers:
        callers.append(*NAMES)
    [interrupted] = callers.errors()
    assert callers.errors() == {interrupted: KeyboardInterrupt}
    assert names_in(saver.log) == fussy.seen() == [name for name in NAMES if name != interrupted]


def test_a_leader_that_is_interrupted_after_the_commit_tells_the_others(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, interrupts = log._group._finish, iter([KeyboardInterrupt])

    def interrupted(*args: Any) -> None:
        for interrupt in interrupts:
            raise interrupt
        finish(*args)

    monkeypatch.setattr(log._group, "_finish", interrupted)
    with commits(log) as count, batch(log) as callers:
        callers.append(*NAMES)
    assert count == [1]
    assert list(callers.errors().values()) == [KeyboardInterrupt]
    assert names_in(log) == NAMES  # the leader's own, too: once


def test_appends_of_one_connection_follow_what_another_appends_between_them(make_saver: Any) -> None:
    """Whether or not it is told of its commits: what another has committed is seen before anything is appended."""
    one, other = (make_saver(synchronous="NORMAL") for _ in range(2))
    assert one.path == other.path
    committed, told = one.log._group._committed, iter([KeyboardInterrupt])

    def interrupted(*args: Any) -> None:
        for interrupt in told:
            raise interrupt
        committed(*args)

    for n, saver in enumerate([one, one, other, other, one, other, one, one, other, one]):
        if n == 6:
            one.log._group._committed = interrupted
            with pytest.raises(KeyboardInterrupt):
                one.log.append(writes(f"{n}"))
        else:
            saver.log.append(writes(f"{n}"))
        assert [event.thread_id for event in saver.log.read()] == [f"{i}" for i in range(n + 1)]


@pytest.mark.plain_file("another program opens it")
def test_another_process_that_holds_the_lock_makes_all_that_waited_busy(make_saver: Any) -> None:
    log = make_saver(busy_timeout_ms=50).log
    log.database.busy_timeout_ms = 60_000  # of the threads; SQLite's own, for other processes, stays
    other = apsw.Connection(log.path)
    try:
        other.execute("BEGIN IMMEDIATE")
        with batch(log) as callers:
            callers.append(*NAMES)
        assert callers.errors() == dict.fromkeys(NAMES, LogBusyError)
        assert len({id(told) for told in callers.told.values()}) == len(NAMES)  # each has its own
        assert queued(log) == 0
        other.execute("ROLLBACK")
    finally:
        other.close()
    log.append(writes("after"))
    assert names_in(log) == ["after"]


def test_another_thread_that_holds_the_lock_makes_each_withdraw(make_saver: Any) -> None:
    log = make_saver(busy_timeout_ms=300).log
    callers = Callers(log)
    with log.database.exclusive():
        callers.append(*NAMES[:5])
        callers.join()
    assert callers.errors() == dict.fromkeys(NAMES[:5], LogBusyError)
    log.append(writes("after"))
    assert names_in(log) == ["after"]
    assert not log._group._queue  # and holds no record any longer


def test_closing_with_a_queue_tells_everyone(file_saver: EventLogSaver) -> None:
    with batch(file_saver.log) as callers:
        callers.append(*NAMES)
        file_saver.close()
    assert callers.errors() == dict.fromkeys(NAMES, LogClosedError)


def test_a_projection_cannot_append(make_saver: Any) -> None:
    fussy = Fussy()
    saver = make_saver(projections=[fussy])
    log = saver.log

    def script() -> None:
        log.append(writes("nested"))

    fussy.script = script
    with pytest.raises(ProjectionError) as caught:
        log.append(writes("outer"))
    assert isinstance(caught.value.__cause__, ConfigError)
    assert "inside a write transaction" in str(caught.value.__cause__)
    fussy.script = lambda: None
    log.append(writes("after"))
    assert names_in(log) == ["after"]


def test_projections_that_another_process_rebuilt_meanwhile_are_looked_at_first(make_saver: Any) -> None:
    saver, other = make_saver(), make_saver()
    saver.log.append(writes("before"))
    with batch(saver.log) as callers:
        callers.append(*NAMES)
        other.rebuild()
    assert callers.errors() == {}
    assert sorted(names_in(saver.log)) == ["before", *NAMES]


def test_a_log_that_is_read_only_refuses(file_saver: EventLogSaver, make_saver: Any) -> None:
    log = make_saver(file_saver.path, read_only=True).log
    with pytest.raises(LogReadOnlyError):
        log.append(writes("t"))


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
def test_each_threads_appends_are_in_its_order_and_there_once(make_saver: Any, synchronous: str) -> None:
    log = make_saver(synchronous=synchronous).log
    told: dict[int, list[int]] = {}

    def append(n: int) -> None:
        told[n] = [log.append(writes(f"{n} {i}")).position for i in range(30)]

    threads = [threading.Thread(target=append, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    found = {name: position for position, name in enumerate(names_in(log), 1)}
    assert len(found) == log.head().position == 12 * 30
    assert told == {n: [found[f"{n} {i}"] for i in range(30)] for n in range(12)}
    assert all(positions == sorted(positions) for positions in told.values())


PROCESS = """
import sys, threading
from langgraph_eventlog.saver import EventLogSaver
path, name = sys.argv[1:]
with EventLogSaver(path, synchronous="NORMAL") as saver:
    def append(n):
        for i in range(40):
            saver.put_writes(
                {"configurable": {"thread_id": f"{name} {n}", "checkpoint_id": "1"}}, [("x", i)], f"task {i:02}"
            )
    threads = [threading.Thread(target=append, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_two_processes_that_both_group_their_appends_lose_none(make_saver: Any, tmp_path: Path, helpers: Any) -> None:
    path = tmp_path / "agent.db"
    with EventLogSaver(path):
        pass
    processes = [
        threading.Thread(target=helpers.run_python, args=(PROCESS, path, name)) for name in ("first", "second")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found: dict[str | None, list[str]] = {}
    for event in make_saver(path).log.read():
        assert isinstance(event.data, PutWrites)
        found.setdefault(event.thread_id, []).append(event.data.task_id)
    assert found == {
        f"{name} {n}": [f"task {i:02}" for i in range(40)] for name in ("first", "second") for n in range(6)
    }


# From async code.


def config(name: str) -> Any:
    return {"configurable": {"thread_id": name, "checkpoint_ns": "", "checkpoint_id": "1"}}


async def until_queued(log: EventLog, count: int) -> None:
    await anyio.to_thread.run_sync(until, lambda: queued(log) == count)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_that_append_at_once_are_committed_together(saver: EventLogSaver, backend: str) -> None:
    log = saver.log

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            with log.database.write_lock:
                for name in NAMES:
                    tasks.start_soon(saver.aput_writes, config(name), [("x", name)], "task")
                await until_queued(log, len(NAMES))

    with commits(log) as count:
        anyio.run(main, backend=backend)
    assert count == [1]
    assert sorted(names_in(log)) == NAMES


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_one_task_that_is_cancelled_in_the_queue_leaves_the_others(saver: EventLogSaver, backend: str) -> None:
    log = saver.log
    through: list[str] = []

    async def one(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            await saver.aput_writes(config(name), [("x", name)], "task")
            await anyio.lowlevel.checkpoint()
            through.append(name)

    async def main() -> None:
        scopes = {name: anyio.CancelScope() for name in NAMES}
        async with anyio.create_task_group() as tasks:
            with log.database.write_lock:
                for name, scope in scopes.items():
                    tasks.start_soon(one, name, scope)
                await until_queued(log, len(NAMES))
                scopes["t05"].cancel()
                await anyio.lowlevel.checkpoint()
        await saver.aput_writes(config("after"), [("x", 1)], "task")

    anyio.run(main, backend=backend)
    assert sorted(through) == [name for name in NAMES if name != "t05"]
    assert sorted(names_in(log)) == ["after", *NAMES]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_one_task_whose_value_cannot_be_serialised_fails_alone(saver: EventLogSaver, backend: str) -> None:
    errors: dict[str, Exception] = {}

    async def one(name: str) -> None:
        try:
            await saver.aput_writes(config(name), [("x", threading.Lock() if name == "t03" else name)], "task")
        except TypeError as e:
            errors[name] = e

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for name in NAMES:
                tasks.start_soon(one, name)

    anyio.run(main, backend=backend)
    assert list(errors) == ["t03"]
    assert sorted(names_in(saver.log)) == [name for name in NAMES if name != "t03"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_are_each_told_that_the_log_is_closed(file_saver: EventLogSaver, backend: str) -> None:
    log = file_saver.log
    errors: list[type] = []

    async def one(name: str) -> None:
        try:
            await file_saver.aput_writes(config(name), [("x", name)], "task")
        except LogClosedError as e:
            errors.append(type(e))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            with log.database.write_lock:
                for name in NAMES:
                    tasks.start_soon(one, name)
                await until_queued(log, len(NAMES))
                file_saver.close()

    anyio.run(main, backend=backend)
    assert errors == [LogClosedError] * len(NAMES)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_call_that_keeps_its_thread_waiting_does_not_keep_the_others(make_saver: Any, backend: str) -> None:
    """A serializer that waits for something, until after all others are through."""
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    others = threading.Event()

    class Slow(JsonPlusSerializer):
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            if obj == "slow":
                assert others.wait(WAIT_S)
            return super().dumps_typed(obj)

    saver = make_saver(serde=Slow())

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(saver.aput_writes, config("slow"), [("x", "slow")], "task")
            await anyio.sleep(0.05)
            for name in NAMES:
                await saver.aput_writes(config(name), [("x", name)], "task")
            others.set()

    anyio.run(main, backend=backend)
    assert names_in(saver.log) == [*NAMES, "slow"]


def test_a_projection_that_exits_in_a_worker_thread_ends_the_caller_alone(make_saver: Any) -> None:
    fussy = Fussy()
    saver = make_saver(projections=[fussy])
    fussy.errors["t03"] = SystemExit(3)
    errors: dict[str, BaseException] = {}

    async def one(name: str) -> None:
        try:
            await saver.aput_writes(config(name), [("x", name)], "task")
        except SystemExit as e:
            errors[name] = e

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for name in NAMES:
                tasks.start_soon(one, name)

    anyio.run(main)
    assert list(errors) == ["t03"]
    assert sorted(names_in(saver.log)) == sorted(fussy.seen()) == [name for name in NAMES if name != "t03"]
