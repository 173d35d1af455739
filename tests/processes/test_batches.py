"""Group commit when the file fails under it, and when serializers do what they like."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import apsw
import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog import EncodingError, EventLog, LogFullError, LogIOError, RecordTooLargeError
from langgraph_eventlog.eventlog import record as record_codec
from langgraph_eventlog.saver import EventLogSaver

from .children import aput, config, put, threads_of, write

BACKENDS = ["asyncio", "trio"]
NAMES = [f"t{n}" for n in range(12)]
WAIT_S = 30


def together(log: EventLog, calls: dict[str, Callable[[], Any]]) -> dict[str, BaseException]:
    """Make the calls, each in a thread, so that one batch holds them all; give what they raised."""
    raised: dict[str, BaseException] = {}

    def run(name: str) -> None:
        try:
            calls[name]()
        except BaseException as e:
            raised[name] = e

    threads = [threading.Thread(target=run, args=(name,)) for name in calls]
    with log.database.write_lock:
        for thread in threads:
            thread.start()
        while len(log._group._queue) + len(raised) < len(threads):
            time.sleep(0.001)
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    return raised


def puts(saver: EventLogSaver) -> dict[str, Callable[[], Any]]:
    return {name: lambda name=name: put(saver, name, x=name) for name in NAMES}  # type: ignore[misc]


@contextlib.contextmanager
def failing_commits(log: EventLog, fails: Callable[[int], Exception | None]) -> Iterator[list[int]]:
    """Have the n-th COMMIT fail, and be rolled back."""
    count = [0]

    def hook() -> bool:
        count[0] += 1
        if (error := fails(count[0])) is not None:
            raise error
        return False

    with log.database.exclusive() as connection:
        connection.set_commit_hook(hook)
    try:
        yield count
    finally:
        with log.database.exclusive() as connection:
            connection.set_commit_hook(None)


@contextlib.contextmanager
def failing_inserts(log: EventLog, fails: Callable[[int], Exception | None]) -> Iterator[None]:
    """Have the INSERT of an event at this stream fail."""

    def function(stream: int) -> None:
        if (error := fails(stream)) is not None:
            raise error

    with log.database.exclusive() as connection:
        connection.create_scalar_function("failing", function, 1)
        connection.execute(
            "CREATE TEMP TRIGGER failing BEFORE INSERT ON main.event BEGIN SELECT failing(NEW.stream); END"
        )
    try:
        yield
    finally:
        with log.database.exclusive() as connection:
            connection.execute("DROP TRIGGER temp.failing")


def test_a_commit_that_fails_once_is_nobodys_error(file_saver: EventLogSaver) -> None:
    log = file_saver.log
    with failing_commits(log, lambda n: apsw.IOError("disk I/O error") if n == 1 else None) as count:
        assert together(log, puts(file_saver)) == {}
    assert count == [1 + len(NAMES)]  # each again, alone
    assert sorted(threads_of(file_saver)) == sorted(NAMES)


def test_commits_that_fail_again_are_the_errors_of_those_who_were_in_them(file_saver: EventLogSaver) -> None:
    log = file_saver.log
    errors = {3: apsw.FullError("full"), 7: apsw.IOError("disk I/O error")}
    with failing_commits(log, lambda n: apsw.IOError("disk I/O error") if n == 1 else errors.get(n)):
        raised = together(log, puts(file_saver))
    assert sorted(type(e).__name__ for e in raised.values()) == ["LogFullError", "LogIOError"]
    assert sorted(threads_of(file_saver)) == sorted(set(NAMES) - set(raised))
    for name in raised:
        put(file_saver, name, x=name)
    assert sorted(threads_of(file_saver)) == sorted(NAMES)


def test_a_disk_that_fails_every_commit_fails_everybody_and_the_saver_goes_on_afterwards(
    file_saver: EventLogSaver,
) -> None:
    log = file_saver.log
    with failing_commits(log, lambda _: apsw.FullError("full")):
        raised = together(log, puts(file_saver))
        assert file_saver.get_tuple(config("t1")) is None
    assert {type(e) for e in raised.values()} == {LogFullError}
    assert len({id(e) for e in raised.values()}) == len(raised) == len(NAMES)  # each has its own
    assert threads_of(file_saver) == []
    assert together(log, puts(file_saver)) == {}
    assert sorted(threads_of(file_saver)) == sorted(NAMES)


def test_an_insert_that_fails_fails_alone(file_saver: EventLogSaver) -> None:
    log = file_saver.log
    for name in NAMES:
        put(file_saver, name, x=0)  # its stream, from 1 on, in this order
    bad = {NAMES.index(name) + 1 for name in ("t2", "t9")}
    calls = {name: lambda name=name: write(file_saver, name, "task") for name in NAMES}  # type: ignore[misc]
    with failing_inserts(log, lambda stream: apsw.IOError("disk I/O error") if stream in bad else None):
        raised = together(log, calls)
    assert {name: type(e) for name, e in raised.items()} == {"t2": LogIOError, "t9": LogIOError}
    assert sorted(threads_of(file_saver)) == sorted([*NAMES, *(set(NAMES) - {"t2", "t9"})])


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_many_tasks_those_that_cannot_be_appended_fail_alone(
    file_saver: EventLogSaver, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too large, one that cannot be serialised, and one whose INSERT fails, among others in the same batch."""
    monkeypatch.setattr(record_codec, "MAX_BODY_BYTES", 2_000)
    put(file_saver, "t4", x=0)
    values: dict[str, Any] = {"t2": "x" * 3_000, "t3": threading.Lock()}
    raised: dict[str, BaseException] = {}

    async def one(name: str) -> None:
        try:
            await aput(file_saver, name, "2", x=values.get(name, name))
        except Exception as e:
            raised[name] = e

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for name in NAMES:
                tasks.start_soon(one, name)

    with failing_inserts(file_saver.log, lambda stream: apsw.IOError("disk I/O error") if stream == 1 else None):
        anyio.run(main, backend=backend)
    kinds = {name: type(e) for name, e in raised.items()}
    assert kinds == {"t2": RecordTooLargeError, "t3": EncodingError, "t4": LogIOError}
    assert sorted(threads_of(file_saver)[1:]) == sorted(set(NAMES) - set(raised))


def test_when_a_caller_is_told_others_can_read_it(file_saver: EventLogSaver) -> None:
    """From another connection, which knows nothing of this one: what was committed, and nothing else."""
    missing: list[str] = []

    def put_and_look(name: str) -> None:
        with contextlib.closing(apsw.Connection(file_saver.path)) as other:
            for n in range(10):
                put(file_saver, f"{name} {n}", x=n)
                sql = "SELECT 1 FROM event JOIN stream USING (stream) JOIN thread USING (thread) WHERE thread_id = ?"
                if other.execute(sql, (f"{name} {n}",)).fetchall() != [(1,)]:
                    missing.append(f"{name} {n}")

    assert together(file_saver.log, {name: lambda name=name: put_and_look(name) for name in NAMES}) == {}  # type: ignore[misc]
    assert missing == []
    assert len(threads_of(file_saver)) == 10 * len(NAMES)


# Serializers.

caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="nobody")


class Noting(JsonPlusSerializer):
    """Notes for whom it serialises what, by what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.dumped: set[tuple[str, str]] = set()
        self.loaded: set[tuple[str, str]] = set()

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        if isinstance(obj, str) and obj.startswith("of "):
            self.dumped.add((obj, caller.get()))
        return super().dumps_typed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        found = super().loads_typed(data)
        if isinstance(found, str) and found.startswith("of "):
            self.loaded.add((found, caller.get()))
        return found


@pytest.mark.parametrize("how", ["threads", *BACKENDS])
def test_serializers_see_the_callers_context_whoever_does_the_work(make_saver: Any, how: str) -> None:
    serde = Noting()
    saver: EventLogSaver = make_saver(serde=serde, memory_bytes=0)

    async def one(name: str) -> None:
        caller.set(name)
        await aput(saver, name, x=f"of {name}")
        await saver.aput_writes(config(name, "1"), [("x", f"of {name}")], "task")
        assert await saver.aget_tuple(config(name)) is not None
        assert [found.checkpoint["id"] async for found in saver.alist(config(name))] == ["1"]

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for name in NAMES:
                tasks.start_soon(one, name)

    def in_thread(name: str) -> None:
        caller.set(name)
        put(saver, name, x=f"of {name}")
        write(saver, name, "task", f"of {name}")
        assert saver.get_tuple(config(name)) is not None
        assert len(list(saver.list(config(name)))) == 1

    if how == "threads":
        assert together(saver.log, {name: lambda name=name: in_thread(name) for name in NAMES}) == {}  # type: ignore[misc]
    else:
        anyio.run(main, backend=how)
    assert serde.dumped == serde.loaded == {(f"of {name}", name) for name in NAMES}


class CallingBack(JsonPlusSerializer):
    """Puts and gets while it is asked to serialise, once for each value that asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.saver: EventLogSaver
        self._busy = threading.local()

    def call_back(self, what: str, value: str) -> None:
        if getattr(self._busy, "yes", False):
            return
        self._busy.yes = True
        try:
            put(self.saver, f"{what} {value}", x=1)
            assert self.saver.get_tuple(config(f"{what} {value}")) is not None
            assert len(list(self.saver.list(config(f"{what} {value}")))) == 1
            if value == "call t0":  # from an event loop of its own, too
                writes = self.saver.aput_writes(config(f"{what} {value}", "1"), [("x", 1)], "task")
                contextvars.Context().run(asyncio.run, writes)
        finally:
            self._busy.yes = False

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        if isinstance(obj, str) and obj.startswith("call "):
            self.call_back("dumping", obj)
        return super().dumps_typed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        found = super().loads_typed(data)
        if isinstance(found, str) and found.startswith("call "):
            self.call_back("loading", found)
        return found


@pytest.mark.parametrize("where", ["file", "memory"])
@pytest.mark.parametrize("how", ["threads", *BACKENDS])
def test_a_serializer_may_call_the_saver(make_saver: Any, where: str, how: str) -> None:
    """From more callers at once than there are worker threads."""
    serde = CallingBack()
    saver: EventLogSaver = make_saver(None if where == "file" else ":memory:", serde=serde, busy_timeout_ms=20_000)
    serde.saver = saver
    names = [f"t{n}" for n in range(40)]
    through = threading.Event()
    failed: list[BaseException] = []

    async def one(name: str) -> None:
        await aput(saver, name, x=f"call {name}")
        await saver.aput_writes(config(name, "1"), [("x", f"call {name}")], "task")
        found = await saver.aget_tuple(config(name))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"x": f"call {name}"}
        assert [one.checkpoint["id"] async for one in saver.alist(config(name))] == ["1"]

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(one, name)

    def in_thread(name: str) -> None:
        put(saver, name, x=f"call {name}")
        write(saver, name, "task", f"call {name}")
        found = saver.get_tuple(config(name))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"x": f"call {name}"}
        assert len(list(saver.list(config(name)))) == 1

    def all_of_them() -> None:
        try:
            if how == "threads":
                calls = {name: lambda name=name: in_thread(name) for name in names[:10]}  # type: ignore[misc]
                assert together(saver.log, calls) == {}
            else:
                anyio.run(main, backend=how)
        except BaseException as e:
            failed.append(e)
        finally:
            through.set()

    threading.Thread(target=all_of_them, daemon=True).start()
    assert through.wait(WAIT_S), "a deadlock"
    assert failed == []


def test_a_saver_that_is_forgotten_with_a_queue_does_what_is_in_it(tmp_path: Any) -> None:
    """The threads that wait hold it; when they are through, it says that it was not closed, and closes itself."""
    path = tmp_path / "agent.db"

    def begin() -> list[threading.Thread]:
        saver = EventLogSaver(path)
        threads = [threading.Thread(target=put, args=(saver, name)) for name in NAMES]
        with saver.log.database.write_lock:
            for thread in threads:
                thread.start()
            while len(saver.log._group._queue) < len(threads):
                time.sleep(0.001)
        return threads

    with pytest.warns(ResourceWarning, match="was not closed"):  # noqa: PT031  the threads are what holds it
        for thread in begin():
            thread.join(WAIT_S)
            assert not thread.is_alive()
        del thread
        gc.collect()
    with EventLogSaver(path) as again:
        assert sorted(threads_of(again)) == sorted(NAMES)
        assert list(again.log.verify()) == []
