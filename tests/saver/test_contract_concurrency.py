"""The contract's traps 13 and 14: one saver in event loops and threads of all kinds at once.

And saying so when it was not closed.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from langgraph_eventlog.eventlog.errors import LogClosedError
from langgraph_eventlog.saver import EventLogSaver

BACKENDS = ["asyncio", "trio"]


def config(thread: str, id: str | None = None) -> Any:
    named = {"thread_id": thread, "checkpoint_ns": ""}
    return {"configurable": named if id is None else {**named, "checkpoint_id": id}}


def checkpoint(id: str, **values: Any) -> Any:
    return {"v": 4, "id": id, "ts": "", "channel_values": values, "channel_versions": {}, "versions_seen": {}}


def ids_of(tuples: Any) -> list[str]:
    return [found.config["configurable"]["checkpoint_id"] for found in tuples]


# 13. Sync inside async.


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_sync_method_answers_inside_a_running_event_loop(saver: EventLogSaver, backend: str) -> None:
    async def main() -> None:
        saver.setup()
        saver.put(config("t"), checkpoint("1", v=1), {"run_id": "r1"}, {})
        saver.put_writes(config("t", "1"), [("x", 1)], "task")
        saver.put(config("t", "1"), checkpoint("2", v=2), {}, {})
        found = saver.get_tuple(config("t"))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"v": 2}
        assert saver.get(config("t")) == found.checkpoint
        assert ids_of(saver.list(None)) == ["2", "1"]
        history = saver.get_delta_channel_history(config=config("t"), channels=["x"])
        assert history["x"]["writes"] == [("task", "x", 1)]
        saver.copy_thread("t", "u")
        saver.delete_for_runs(["r1"])
        saver.prune(["t"])
        assert ids_of(saver.list(config("t"))) == ["2"]
        saver.delete_thread("t")
        saver.rebuild()
        assert ids_of(saver.list(None)) == ["2"]
        saver.close()

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sync_and_async_calls_may_alternate_in_one_loop(saver: EventLogSaver, backend: str) -> None:
    async def main() -> list[str]:
        parent = None
        for n in range(20):
            arguments = (config("t", parent), checkpoint(f"{n:02}", v=n), {}, {})
            given = saver.put(*arguments) if n % 2 else await saver.aput(*arguments)
            parent = given["configurable"]["checkpoint_id"]
            assert saver.get_tuple(config("t")) == await saver.aget_tuple(config("t"))
        listing = saver.alist(None)
        mixed = ids_of([await anext(listing), *saver.list(None, limit=2)])
        await listing.aclose()
        assert mixed == ["19", "19", "18"]
        return ids_of([found async for found in saver.alist(None)])

    assert anyio.run(main, backend=backend) == [f"{n:02}" for n in reversed(range(20))]


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_tasks_of_one_loop_may_call_at_once(saver: EventLogSaver, backend: str) -> None:
    """More than there are worker threads."""

    async def one(n: int) -> None:
        await saver.aput(config(f"t{n}"), checkpoint("1", v=n), {}, {})
        await saver.aput_writes(config(f"t{n}", "1"), [("x", n)], "task")
        found = await saver.aget_tuple(config(f"t{n}"))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"v": n}
        assert found.pending_writes == [("task", "x", n)]

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for n in range(50):
                group.start_soon(one, n)

    anyio.run(main, backend=backend)
    assert len(list(saver.list(None))) == 50


@pytest.mark.parametrize("backend", BACKENDS)
def test_async_with_closes(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        async with EventLogSaver.from_conn_string(str(tmp_path / "a.db")) as saver:
            await saver.asetup()
            await saver.aput(config("t"), checkpoint("1"), {}, {})
        with pytest.raises(LogClosedError):
            await saver.aget_tuple(config("t"))
        await saver.aclose()

    anyio.run(main, backend=backend)


# 14. Threads.


def in_threads(functions: list[Callable[[], None]]) -> None:
    """Run all at once, from one starting line; raise what they raise."""
    line = threading.Barrier(len(functions))

    def start(function: Callable[[], None]) -> None:
        line.wait()
        function()

    with ThreadPoolExecutor(len(functions)) as pool:
        for future in [pool.submit(start, function) for function in functions]:
            future.result()


def test_threads_may_put_write_and_read_at_once(saver: EventLogSaver) -> None:
    def work(n: int) -> None:
        parent = None
        for step in range(15):
            id = f"{step:02}"
            saver.put(config(f"t{n}", parent), checkpoint(id, v=[n, step], same="same"), {"step": step}, {})
            saver.put_writes(config(f"t{n}", id), [("x", step)], "task")
            found = saver.get_tuple(config(f"t{n}"))
            assert found is not None
            assert found.checkpoint["channel_values"] == {"v": [n, step], "same": "same"}
            assert ids_of(saver.list(config(f"t{n}"), limit=1)) == [id]
            parent = id

    in_threads([lambda n=n: work(n) for n in range(6)])
    for n in range(6):
        tuples = list(saver.list(config(f"t{n}")))
        assert [found.checkpoint["channel_values"]["v"] for found in tuples] == [[n, s] for s in reversed(range(15))]
        assert [found.pending_writes for found in tuples] == [[("task", "x", s)] for s in reversed(range(15))]


def test_threads_may_write_to_one_checkpoint_at_once(saver: EventLogSaver) -> None:
    """As the tasks of one step do; who is first at an index is anyone's guess, but it is one of them, for good."""
    saver.put(config("t"), checkpoint("1"), {}, {})

    def work(n: int) -> None:
        for k in range(10):
            saver.put_writes(config("t", "1"), [("own", k)], f"task {n}.{k}", "p")
            saver.put_writes(config("t", "1"), [("shared", n)], f"shared {k}", "q")

    in_threads([lambda n=n: work(n) for n in range(6)])
    found = saver.get_tuple(config("t"))
    assert found is not None
    assert found.pending_writes is not None
    own = [write for write in found.pending_writes if write[1] == "own"]
    shared = [write for write in found.pending_writes if write[1] == "shared"]
    assert own == sorted((f"task {n}.{k}", "own", k) for n in range(6) for k in range(10))
    assert [task for task, _, _ in shared] == [f"shared {k}" for k in range(10)]
    assert {value for _, _, value in shared} <= set(range(6))
    assert saver.get_tuple(config("t")) == found


def test_a_child_may_be_put_while_its_parent_is_being_put(saver: EventLogSaver) -> None:
    """durability="async": both hold the same large value; either may be first."""
    value = {"k": ["long " * 100] * 20}
    for n in range(15):
        in_threads(
            [
                lambda n=n: saver.put(config("t", f"{n:02} a"), checkpoint(f"{n:02} b", v=value), {}, {}),
                lambda n=n: saver.put(config("t"), checkpoint(f"{n:02} a", v=value), {}, {}),
            ]
        )
    assert len(list(saver.list(None))) == 30
    assert all(found.checkpoint["channel_values"] == {"v": value} for found in saver.list(None))


def test_several_event_loops_and_threads_may_use_one_saver_at_once(saver: EventLogSaver) -> None:
    async def in_loop(name: str) -> None:
        async def chain(thread: str) -> None:
            parent = None
            for n in range(8):
                given = await saver.aput(config(thread, parent), checkpoint(str(n), v=n), {}, {})
                parent = given["configurable"]["checkpoint_id"]
                await saver.aput_writes(given, [("x", n)], "task")
            history = await saver.aget_delta_channel_history(config=config(thread), channels=["x"])
            assert [write[2] for write in history["x"]["writes"]] == list(range(7))

        async with anyio.create_task_group() as group:
            for n in range(4):
                group.start_soon(chain, f"{name}.{n}")

    def in_thread() -> None:
        for n in range(8):
            saver.put(config("thread", str(n - 1) if n else None), checkpoint(str(n), v=n), {}, {})

    loops = [("asyncio", "a"), ("asyncio", "b"), ("trio", "c")]
    in_threads([*(lambda b=b, name=name: anyio.run(in_loop, name, backend=b) for b, name in loops), in_thread])
    for thread in ["thread", *(f"{name}.{n}" for _, name in loops for n in range(4))]:
        assert ids_of(saver.list(config(thread))) == [str(n) for n in reversed(range(8))]


def test_a_loop_that_has_ended_leaves_the_saver_usable_in_the_next(saver: EventLogSaver) -> None:
    for n, backend in enumerate(BACKENDS * 2):
        anyio.run(saver.aput, config("t"), checkpoint(str(n)), {}, {}, backend=backend)
    assert ids_of(saver.list(None)) == ["3", "2", "1", "0"]


def test_a_list_may_be_read_on_in_another_thread(saver: EventLogSaver) -> None:
    for n in range(40):
        saver.put(config("t"), checkpoint(f"{n:02}"), {}, {})
    listing = saver.list(None)
    seen = ids_of([next(listing)])
    with ThreadPoolExecutor(1) as pool:
        for _ in range(20):
            seen += ids_of([pool.submit(next, listing).result()])
    seen += ids_of(listing)
    assert seen == [f"{n:02}" for n in reversed(range(40))]


# Closing.


def forget(holder: list[Any]) -> None:
    holder.clear()
    gc.collect()


@pytest.mark.parametrize("where", ["file", ":memory:"])
def test_a_saver_that_is_forgotten_says_so(tmp_path: Path, where: str) -> None:
    path = ":memory:" if where == ":memory:" else tmp_path / "forgotten.db"
    saver = EventLogSaver(path)
    saver.put(config("t"), checkpoint("1", v=1), {}, {})
    holder = [saver]
    del saver
    with pytest.warns(ResourceWarning, match=r"was not closed.*close\(\)"):
        forget(holder)
    if where == "file":
        with EventLogSaver(path) as again:
            assert ids_of(again.list(None)) == ["1"]
            assert list(again.log.verify()) == []


def test_forgetting_a_clone_says_nothing_and_closes_nothing(saver: EventLogSaver) -> None:
    """ResourceWarnings are errors in this suite."""
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    saver.serde = JsonPlusSerializer(allowed_msgpack_modules=None)
    clone = saver.with_allowlist([("a", "B")])
    assert clone is not saver
    del clone
    gc.collect()
    saver.put(config("t"), checkpoint("1"), {}, {})
    assert ids_of(saver.list(None)) == ["1"]


def test_closing_twice_is_no_error_and_using_a_closed_saver_is_a_clear_one(saver: EventLogSaver) -> None:
    saver.put(config("t"), checkpoint("1"), {}, {})
    listing = saver.list(None)
    saver.close()
    saver.close()
    for use in (
        lambda: saver.get_tuple(config("t")),
        lambda: saver.put(config("t"), checkpoint("2"), {}, {}),
        lambda: saver.put_writes(config("t", "1"), [("x", 1)], "task"),
        lambda: saver.list(None),
        lambda: next(listing),
        lambda: saver.delete_thread("t"),
        lambda: saver.delete_for_runs(["r"]),
        lambda: saver.prune(["t"]),
        lambda: saver.copy_thread("t", "u"),
        lambda: saver.get_delta_channel_history(config=config("t"), channels=["x"]),
        saver.setup,
        saver.rebuild,
    ):
        with pytest.raises(LogClosedError, match="closed"):
            use()
