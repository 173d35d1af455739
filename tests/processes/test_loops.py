"""Free use from asyncio and trio: loops in several threads, closed in the middle, and calls cancelled at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from langgraph_eventlog.eventlog import DeleteThread, Put, PutWrites, RecordedEvent
from langgraph_eventlog.saver import EventLogSaver

from .children import aput, config, threads_of

BACKENDS = ["asyncio", "trio"]
WAIT_S = 60


def in_threads(functions: list[Callable[[], None]]) -> None:
    failed: list[BaseException] = []

    def run(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=run, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert failed == []


async def appending(
    saver: EventLogSaver, name: str, told: dict[str, int], count: int | None = None, *, lists: bool = True
) -> None:
    """Append, read and list; `told` says of how many it was told that they are in."""
    n = 0
    while count is None or n < count:
        await aput(saver, name, f"{n:06}", f"{n - 1:06}" if n else None, x=n)
        n += 1
        told[name] = n
        found = await saver.aget_tuple(config(name))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"x": n - 1}
        if not lists:  # an async generator cannot be closed without its loop
            continue
        async with contextlib.aclosing(saver.alist(config(name))) as listing:  # type: ignore[type-var]
            assert (await anext(listing)).checkpoint["id"] == f"{n - 1:06}"


def stopped_loop(saver: EventLogSaver, name: str, told: dict[str, int], after_s: float) -> None:
    """An event loop that is stopped and closed with everything that is under way in it."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: None)  # tasks that were destroyed while pending
    tasks = [loop.create_task(appending(saver, f"{name} {n}", told, lists=False)) for n in range(5)]
    loop.call_later(after_s, loop.stop)
    loop.run_forever()
    loop.close()
    for task in tasks:
        task.get_coro().close()  # type: ignore[union-attr]


def ended_loop(saver: EventLogSaver, name: str, told: dict[str, int], after_s: float, backend: str) -> None:
    """One that is left by an error, as by Ctrl-C."""

    class LeaveError(Exception):
        pass

    async def leave() -> None:
        await anyio.sleep(after_s)
        raise LeaveError

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for n in range(5):
                tasks.start_soon(appending, saver, f"{name} {n}", told)
            tasks.start_soon(leave)

    with contextlib.suppress(ExceptionGroup):
        anyio.run(main, backend=backend)


@pytest.mark.parametrize("where", ["file", "memory"])
def test_loops_that_are_closed_in_the_middle_leave_the_others_and_the_saver_usable(make_saver: Any, where: str) -> None:
    saver: EventLogSaver = make_saver(None if where == "file" else ":memory:")
    told: dict[str, int] = {}
    chance = random.Random(4)

    def lasting(name: str, backend: str) -> Callable[[], None]:
        return lambda: anyio.run(appending, saver, name, told, 30, backend=backend)

    def short(n: int) -> Callable[[], None]:
        after_s = chance.uniform(0, 0.1)
        if n % 3 == 0:
            return lambda: stopped_loop(saver, f"stopped{n}", told, after_s)
        return lambda: ended_loop(saver, f"ended{n}", told, after_s, BACKENDS[n % 3 - 1])

    loops = [lasting(f"lasting {n}", BACKENDS[n % 2]) for n in range(4)]
    in_threads([*loops, *(short(n) for n in range(9))])
    # Whoever was told of an event finds it; of the others, at most the one that was under way is there.
    there: dict[str, int] = {}
    for name in threads_of(saver):
        there[name] = there.get(name, 0) + 1
    assert all(told.get(name, 0) <= count <= told.get(name, 0) + 1 for name, count in there.items())
    assert told.keys() <= there.keys()
    assert [there[f"lasting {n}"] for n in range(4)] == [30] * 4
    # Their threads have ended what they had: nothing comes in afterwards.
    for backend in BACKENDS:
        anyio.run(appending, saver, f"afterwards {backend}", told, 3, backend=backend)


MOMENTS = 120


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(2))
def test_calls_cancelled_at_any_moment_are_in_or_out_and_the_saver_goes_on(
    make_saver: Any, backend: str, seed: int
) -> None:
    """Each after another time, several under way at once: by a scope's deadline, from outside, and both again."""
    saver: EventLogSaver = make_saver()
    chance = random.Random(seed)
    returned: set[str] = set()
    ended: set[str] = set()

    async def call(name: str, kind: int) -> None:
        if kind == 0:
            await aput(saver, name, x=[name] * 20, y=name)
        elif kind == 1:
            await saver.aput_writes(config(name, "1"), [("x", name), ("y", [name] * 20)], "task")
        elif kind == 2:
            await aput(saver, f"deleted {name}", x=1)
            await saver.adelete_thread(f"deleted {name}")
        else:
            await saver.aget_tuple(config(name))
            _ = [found async for found in saver.alist(None, limit=5)]
            return
        returned.add(name)

    async def one(n: int, kind: int, delay_s: float, after_s: float, outer_s: float) -> None:
        await anyio.sleep(delay_s)
        with anyio.move_on_after(outer_s), anyio.move_on_after(after_s):
            await call(f"n{n}", kind)
        ended.add(f"n{n}")

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for n in range(MOMENTS):
                delay_s = n // 6 * 0.003
                tasks.start_soon(
                    one, n, chance.randrange(4), delay_s, chance.uniform(0, 0.012), chance.uniform(0, 0.02)
                )
        head = saver.log.head()
        await aput(saver, "afterwards", x=1)
        assert saver.log.head().position == head.position + 1  # nothing came in between

    anyio.run(main, backend=backend)
    assert len(ended) == MOMENTS
    found: dict[str, list[RecordedEvent]] = {}
    for event in saver.log.read():
        found.setdefault(str(event.thread_id), []).append(event)
    assert returned <= {name.removeprefix("deleted ") for name in found}
    assert found.pop("afterwards")
    for name, events in found.items():
        match [event.data for event in events]:
            case [Put()] if name.startswith("deleted "):
                assert name.removeprefix("deleted ") not in returned
            case [Put(), DeleteThread()]:
                assert saver.get_tuple(config(name)) is None
            case [Put()]:
                there = saver.get_tuple(config(name))
                assert there is not None
                assert there.checkpoint["channel_values"] == {"x": [name] * 20, "y": name}
            case [PutWrites() as data]:
                assert [write.channel for write in data.writes] == ["x", "y"]
            case other:
                pytest.fail(f"{name} has {other}")
