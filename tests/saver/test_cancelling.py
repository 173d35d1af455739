"""Cancelling an async call: when it is through, the event is in or it is not, and nothing comes after.

Of asyncio (task.cancel(), wait_for(), timeout(), the end of the loop) and of anyio, on asyncio and trio. The call is
stopped in its worker thread, at a gate that opens only when the cancellation has been asked for and every task has
had its turn: a call that did not wait for its thread would be through before.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog import EncodingError, Kind
from langgraph_eventlog.saver import EventLogSaver

STOP = b"stop here"
TURNS = 20
CALLS = [
    ("aput", "encoding"),
    ("aput", "appending"),
    ("aput_writes", "encoding"),
    ("aput_writes", "appending"),
    ("adelete_thread", "appending"),
]
KINDS = {"aput": Kind.PUT, "aput_writes": Kind.PUT_WRITES, "adelete_thread": Kind.DELETE_THREAD}
# What the worker thread does of each: steps, or a call.
DONE = {"aput": "_put", "aput_writes": "_put_writes", "adelete_thread": "delete_thread"}


class Gate(JsonPlusSerializer):
    """Stops a worker thread: where it serialises STOP, or where it asks for the time, in its write transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.where = ""  # stops nobody
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.finished = threading.Event()
        self.error: Exception | None = None
        self.now = 1_767_225_600_000_000

    def stop(self, where: str) -> None:
        if where == self.where:
            self.where = ""
            self.reached.set()
            assert self.opened.wait(60)
            if self.error is not None:
                raise self.error

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        if obj == STOP:
            self.stop("encoding")
        return super().dumps_typed(obj)

    def clock(self) -> int:
        self.stop("appending")
        self.now += 1
        return self.now

    def close_for(self, saver: EventLogSaver, method: str, where: str) -> None:
        """Stop the next call of this method, and note when its thread is through."""
        self.where = where
        own = getattr(saver, DONE[method])

        @contextlib.contextmanager
        def noting() -> Iterator[None]:
            try:
                yield
            finally:
                delattr(saver, DONE[method])  # the class's own again
                self.finished.set()

        def steps(*args: Any) -> Any:
            with noting():
                return (yield from own(*args))

        def call(*args: Any) -> Any:
            with noting():
                return own(*args)

        setattr(saver, DONE[method], call if method == "adelete_thread" else steps)


def config(id: str | None = None) -> Any:
    named = {"thread_id": "t", "checkpoint_ns": ""}
    return {"configurable": named if id is None else {**named, "checkpoint_id": id}}


def checkpoint(id: str, value: Any) -> Any:
    values = {"v": value, "w": value}
    return {"v": 4, "id": id, "ts": "", "channel_values": values, "channel_versions": {}, "versions_seen": {}}


async def call(saver: EventLogSaver, method: str) -> None:
    if method == "aput":
        await saver.aput(config("1"), checkpoint("2", STOP), {}, {})
    elif method == "aput_writes":
        await saver.aput_writes(config("1"), [("x", STOP), ("y", STOP)], "task")
    else:
        await saver.adelete_thread("t")


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture(params=["file", "memory"])
def gated(request: pytest.FixtureRequest, make_saver: Any, gate: Gate) -> EventLogSaver:
    """A saver that stops at the gate, with one checkpoint of one thread."""
    path = None if request.param == "file" else ":memory:"
    saver: EventLogSaver = make_saver(path, serde=gate, clock=gate.clock, synchronous="NORMAL")
    saver.put(config(), checkpoint("1", "before"), {}, {})
    return saver


async def turns(sleep: Callable[[float], Awaitable[None]]) -> None:
    """Let every other task have its turn, more often than any of them needs."""
    for _ in range(TURNS):
        await sleep(0)


async def until(seen: Callable[[], Any], sleep: Callable[[float], Awaitable[None]]) -> None:
    while not seen():
        await sleep(0.001)


async def check(saver: EventLogSaver, gate: Gate, method: str) -> None:
    """What holds when a cancelled call is through."""
    assert gate.finished.is_set(), "the worker thread is still at it"
    events = list(saver.log.read(after=1))
    assert [event.kind for event in events] in ([], [KINDS[method]])
    found = await saver.aget_tuple(config("1"))
    second = await saver.aget_tuple(config("2"))
    if method == "adelete_thread":
        assert (found is None) == bool(events)
    else:
        assert found is not None
    if method == "aput_writes":
        assert found is not None
        assert (found.pending_writes or []) == ([("task", "x", STOP), ("task", "y", STOP)] if events else [])
    if method == "aput":
        assert (second is None) == (not events)
        assert second is None or second.checkpoint["channel_values"] == {"v": STOP, "w": STOP}
    else:
        assert second is None
    # A deletion that follows stays in force, and the saver goes on as if nothing had been.
    await saver.adelete_thread("t")
    head = await saver.log.ahead()
    assert [one async for one in saver.alist(None)] == []
    await saver.aput(config(), checkpoint("3", "after"), {}, {})
    await saver.aput_writes(config("3"), [("x", STOP)], "task")
    [only] = [one async for one in saver.alist(None)]
    assert only.checkpoint["channel_values"] == {"v": "after", "w": "after"}
    assert only.pending_writes == [("task", "x", STOP)]
    assert saver.log.head().position == head.position + 2


async def by_cancel(saver: EventLogSaver, gate: Gate, method: str, times: int) -> None:
    task = asyncio.create_task(call(saver, method))
    await until(gate.reached.is_set, asyncio.sleep)
    for _ in range(times):
        task.cancel()
        await turns(asyncio.sleep)
    if not task.done():
        gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def by_cancel_from_the_gate_on(saver: EventLogSaver, gate: Gate, method: str) -> None:
    """Cancel while the gate opens, too: at every turn until the task is through."""
    task = asyncio.create_task(call(saver, method))
    await until(gate.reached.is_set, asyncio.sleep)
    gate.opened.set()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()


async def opening(gate: Gate, cancelled: Callable[[], Any], sleep: Callable[[float], Awaitable[None]]) -> None:
    """Open the gate, when the cancellation has been asked for and everybody has had a chance to act on it."""
    await until(gate.reached.is_set, sleep)
    await until(cancelled, sleep)
    await turns(sleep)
    gate.opened.set()


async def by_wait_for(saver: EventLogSaver, gate: Gate, method: str) -> None:
    tasks: list[Any] = []

    async def waiting() -> None:
        tasks.append(asyncio.current_task())
        await call(saver, method)

    opener = asyncio.create_task(opening(gate, lambda: tasks and tasks[0].cancelling(), asyncio.sleep))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting(), 0.02)
    finished = gate.finished.is_set()
    gate.opened.set()
    await opener
    assert finished


async def by_timeout(saver: EventLogSaver, gate: Gate, method: str) -> None:
    timeout = asyncio.timeout(None)

    async def expire() -> None:
        await until(gate.reached.is_set, asyncio.sleep)
        timeout.reschedule(asyncio.get_running_loop().time())
        await opening(gate, timeout.expired, asyncio.sleep)

    opener = asyncio.create_task(expire())
    with pytest.raises(TimeoutError):
        async with timeout:
            await call(saver, method)
    finished = gate.finished.is_set()
    gate.opened.set()
    await opener
    assert finished


ASYNCIO: dict[str, Callable[[EventLogSaver, Gate, str], Awaitable[None]]] = {
    "cancel()": lambda saver, gate, method: by_cancel(saver, gate, method, 1),
    "three times cancel()": lambda saver, gate, method: by_cancel(saver, gate, method, 3),
    "cancel() until it is through": by_cancel_from_the_gate_on,
    "wait_for()": by_wait_for,
    "timeout()": by_timeout,
}


@pytest.mark.parametrize("how", ASYNCIO)
@pytest.mark.parametrize(("method", "where"), CALLS)
def test_what_asyncio_cancels_is_wholly_in_or_out_when_it_is_through(
    gated: EventLogSaver, gate: Gate, method: str, where: str, how: str
) -> None:
    async def main() -> None:
        gate.close_for(gated, method, where)
        try:
            await ASYNCIO[how](gated, gate, method)
        finally:
            gate.opened.set()
        await check(gated, gate, method)

    asyncio.run(main())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(("method", "where"), CALLS)
def test_what_anyio_cancels_is_wholly_in_or_out_when_it_is_through(
    gated: EventLogSaver, gate: Gate, method: str, where: str, backend: str
) -> None:
    async def main() -> None:
        gate.close_for(gated, method, where)
        scopes: list[anyio.CancelScope] = []
        async with anyio.create_task_group() as group:
            group.start_soon(opening, gate, lambda: scopes and scopes[0].cancel_called, anyio.sleep)
            with anyio.move_on_after(0.02) as scope:
                scopes.append(scope)
                await call(gated, method)
            finished = gate.finished.is_set()
            gate.opened.set()
        assert finished
        await check(gated, gate, method)

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_call_is_finished_when_the_task_group_that_is_cancelled_is(
    gated: EventLogSaver, gate: Gate, backend: str
) -> None:
    async def main() -> None:
        gate.close_for(gated, "aput", "encoding")
        async with anyio.create_task_group() as group:
            group.start_soon(call, gated, "aput")
            await until(gate.reached.is_set, anyio.sleep)
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await turns(anyio.sleep)
                gate.opened.set()
        await check(gated, gate, "aput")

    anyio.run(main, backend=backend)


@pytest.mark.parametrize(("method", "where"), CALLS)
def test_a_call_is_finished_when_the_event_loop_that_ends_with_it_has_ended(
    gated: EventLogSaver, gate: Gate, method: str, where: str
) -> None:
    """asyncio.run() cancels what is left, and waits for it."""

    async def open_when_cancelled() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await turns(asyncio.sleep)
            gate.opened.set()

    async def main() -> list[Any]:
        gate.close_for(gated, method, where)
        tasks = [asyncio.create_task(call(gated, method)), asyncio.create_task(open_when_cancelled())]
        await until(gate.reached.is_set, asyncio.sleep)
        return tasks

    tasks = asyncio.run(main())
    finished = gate.finished.wait(0)
    assert gate.finished.wait(60)
    assert finished
    assert tasks[0].cancelled()
    asyncio.run(check(gated, gate, method))


def test_a_task_that_is_cancelled_before_its_first_turn_changes_nothing(gated: EventLogSaver) -> None:
    async def main() -> None:
        head = gated.log.head()
        for method in KINDS:
            task = asyncio.create_task(call(gated, method))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert gated.log.head() == head

    asyncio.run(main())


def test_many_calls_cancelled_at_any_moment_leave_nothing_half_done(gated: EventLogSaver) -> None:
    """Each is cancelled after another number of turns; what is in is read back, and what is out stays out."""

    async def one(n: int) -> None:
        put = asyncio.create_task(gated.aput(config(), checkpoint(f"n{n:02}", n), {}, {}))
        for _ in range(n % 8):
            await asyncio.sleep(0)
        put.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await put

    async def main() -> None:
        await asyncio.gather(*(one(n) for n in range(48)))
        head = gated.log.head()
        found = {t.checkpoint["id"]: t.checkpoint["channel_values"] for t in gated.list(config())}
        assert len(found) == head.position  # each event is one of them
        assert found == {"1": {"v": "before", "w": "before"}} | {
            id: {"v": int(id[1:]), "w": int(id[1:])} for id in found if id != "1"
        }
        await gated.adelete_thread("t")
        assert gated.log.head().position == head.position + 1

    asyncio.run(main())
    assert list(gated.list(None)) == []


def test_an_error_of_a_call_that_was_cancelled_is_not_left_lying_about(gated: EventLogSaver, gate: Gate) -> None:
    """asyncio would report it some time later, as never retrieved, to nobody in particular."""
    reported: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        gate.error = EncodingError("not to be serialised", channel="v")
        gate.close_for(gated, "aput", "encoding")
        await by_cancel(gated, gate, "aput", 2)
        gc.collect()
        gate.error = None
        await check(gated, gate, "aput")

    asyncio.run(main())
    gc.collect()
    assert reported == []
