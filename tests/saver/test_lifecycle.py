"""Opening, using and closing a saver: every way in which programs do it."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
import trio
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph_eventlog.eventlog import ConfigError, LogClosedError, LogOpenError, LogReadOnlyError
from langgraph_eventlog.saver import EventLogSaver


class State(TypedDict):
    n: int


def graph(saver: BaseCheckpointSaver[Any]) -> Any:
    builder = StateGraph(State)
    builder.add_node("add", lambda state: {"n": state["n"] + 1})
    builder.add_edge(START, "add")
    builder.add_edge("add", END)
    return builder.compile(checkpointer=saver)


def config() -> Any:
    return {"configurable": {"thread_id": "t"}}


def ran(path: str | Path) -> bool:
    """Tell whether a graph has run there, reading the file with a saver of its own."""
    with EventLogSaver(path, read_only=True) as saver:
        assert list(saver.log.verify()) == []
        found = saver.get_tuple(config())
    return found is not None and found.checkpoint["channel_values"]["n"] == 2


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "agent.db")


@pytest.mark.parametrize("make", [EventLogSaver, EventLogSaver.from_conn_string])
def test_with(path: str, make: Callable[..., EventLogSaver]) -> None:
    with make(path) as saver:
        assert graph(saver).invoke({"n": 1}, config()) == {"n": 2}
    assert saver.log.closed
    assert ran(path)


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
@pytest.mark.parametrize("make", [EventLogSaver, EventLogSaver.from_conn_string])
def test_async_with(path: str, make: Callable[..., EventLogSaver], run: Any) -> None:
    async def use() -> EventLogSaver:
        async with make(path) as saver:
            await saver.asetup()
            if run is asyncio.run:  # LangGraph itself runs on asyncio only
                assert await graph(saver).ainvoke({"n": 1}, config()) == {"n": 2}
            else:
                assert await saver.aget_tuple(config()) is None
        return saver

    assert run(use).log.closed if run is trio.run else asyncio.run(use()).log.closed
    assert ran(path) is (run is asyncio.run)


@pytest.mark.parametrize("make", [EventLogSaver, EventLogSaver.from_conn_string])
def test_plain_with_close(path: str, make: Callable[..., EventLogSaver]) -> None:
    saver = make(path)
    saver.setup()
    graph(saver).invoke({"n": 1}, config())
    saver.close()
    assert ran(path)


@pytest.mark.parametrize("make", [EventLogSaver, EventLogSaver.from_conn_string])
def test_plain_with_aclose(path: str, make: Callable[..., EventLogSaver]) -> None:
    """Opened outside of any event loop, used in two."""
    saver = make(path)
    asyncio.run(graph(saver).ainvoke({"n": 1}, config()))
    asyncio.run(saver.aclose())
    assert ran(path)


def test_sync_calls_inside_of_an_event_loop_are_answered(path: str) -> None:
    async def use() -> None:
        async with EventLogSaver(path) as saver:
            graph(saver).invoke({"n": 1}, config())
            assert len(list(saver.list(config()))) == len([found async for found in saver.alist(config())]) == 3

    asyncio.run(use())


def test_one_saver_serves_several_event_loops_and_threads_at_once(path: str) -> None:
    with EventLogSaver(path, synchronous="NORMAL") as saver:
        compiled, results = graph(saver), []

        def use(n: int) -> None:
            on = {"configurable": {"thread_id": f"t{n}"}}
            results.append(asyncio.run(compiled.ainvoke({"n": n}, on)) if n % 2 else compiled.invoke({"n": n}, on))

        threads = [threading.Thread(target=use, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(result["n"] for result in results) == [1, 2, 3, 4, 5, 6]
        assert list(saver.log.verify()) == []


def test_it_is_a_checkpointer(file_saver: EventLogSaver) -> None:
    assert isinstance(file_saver, BaseCheckpointSaver)
    assert repr(file_saver) == f"<EventLogSaver {file_saver.path!r}>"
    file_saver.close()
    assert repr(file_saver) == f"<EventLogSaver {file_saver.path!r} closed>"


def test_an_exception_in_the_block_closes_and_goes_on(path: str) -> None:
    with pytest.raises(KeyError), EventLogSaver(path) as saver:
        raise KeyError("mine")
    assert saver.log.closed

    async def use() -> EventLogSaver:
        with pytest.raises(KeyError):
            async with EventLogSaver(path) as saver:
                raise KeyError("mine")
        return saver

    assert asyncio.run(use()).log.closed


def sync_calls(twin: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    at = twin.config(id="1")
    checkpoint = twin.checkpoint("2", {"x": 1}, {"x": "1"})
    yield "get", lambda: twin.call("get", at)
    yield "get_tuple", lambda: twin.call("get_tuple", at)
    yield "list", lambda: twin.list(at)
    yield "history", lambda: twin.history("1", ["x"])
    yield "put", lambda: twin.call("put", at, checkpoint, {}, {})
    yield "put_writes", lambda: twin.call("put_writes", at, [("x", 1)], "task")
    yield "delete_thread", lambda: twin.call("delete_thread", "t")
    yield "delete_for_runs", lambda: twin.call("delete_for_runs", ["r"])
    yield "prune", lambda: twin.call("prune", ["t"])
    yield "copy_thread", lambda: twin.call("copy_thread", "t", "u")
    yield "fork_thread", lambda: twin.call("fork_thread", at, "u")
    yield "register_thread", lambda: twin.call("register_thread", "t", "n")
    yield "rebuild", lambda: twin.call("rebuild")
    yield "setup", lambda: twin.call("setup")
    yield "threads", lambda: list(twin.saver.threads())
    yield "verify", lambda: list(twin.saver.verify())
    yield "log.head", lambda: twin.saver.log.head()
    yield "log.read", lambda: list(twin.saver.log.read())
    yield "log.verify", lambda: list(twin.saver.log.verify())


CHANGES = {
    *("put", "put_writes", "delete_thread", "delete_for_runs", "prune", "copy_thread", "fork_thread"),
    *("register_thread", "rebuild"),
}


@pytest.mark.parametrize("target", ["file", ":memory:", ""])
def test_after_close_everything_raises_log_closed_error(
    make_saver: Callable[..., EventLogSaver], twin_of: Any, target: str
) -> None:
    """Closing again, from either twin, does nothing."""
    twin = twin_of(make_saver(None if target == "file" else target))
    twin.put("1", {"x": 1})
    for _ in range(2):
        twin.call("close")
        twin.saver.close()
    for name, call in sync_calls(twin):
        with pytest.raises(LogClosedError):
            pytest.fail(f"{name} gave {call()!r}")


def test_list_and_threads_say_at_once_that_the_saver_is_closed(make_saver: Callable[..., EventLogSaver]) -> None:
    """Not at the first item, which may be far from the mistake."""
    saver = make_saver()
    saver.close()
    for call in (lambda: saver.list(None), saver.threads, saver.log.read):
        with pytest.raises(LogClosedError):
            call()


def test_closing_while_a_list_is_being_read_ends_it_with_an_error(
    make_saver: Callable[..., EventLogSaver], twin_of: Any
) -> None:
    twin = twin_of(make_saver())
    for n in range(30):
        twin.put(f"{n:02}")
    listing = twin.saver.list(None)
    next(listing)
    twin.saver.close()
    with pytest.raises(LogClosedError):
        list(listing)


def test_several_threads_may_close_at_once(make_saver: Callable[..., EventLogSaver]) -> None:
    saver = make_saver()
    threads = [threading.Thread(target=saver.close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert saver.log.closed


def forget(path: str) -> None:
    EventLogSaver(path)
    gc.collect()


def test_a_saver_that_was_not_closed_is_a_resource_warning(path: str) -> None:
    with pytest.warns(ResourceWarning, match=r"agent\.db.*was not closed"):
        forget(path)
    assert not os.path.exists(path + "-wal")  # it has been closed, all the same


def test_neither_a_closed_saver_nor_one_that_failed_to_open_warns(path: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        EventLogSaver(path).close()
        with pytest.raises(ConfigError):
            EventLogSaver(path, synchronous="OFF")  # type: ignore[arg-type]
        with pytest.raises(LogOpenError):
            EventLogSaver(os.path.dirname(path))
        gc.collect()
    assert [str(warning.message) for warning in caught if warning.category is ResourceWarning] == []


def test_a_clone_outlives_the_original(path: str) -> None:
    """with_allowlist shares the log: it is not closed while a clone is in use."""
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    original = EventLogSaver(path, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    clone = original.with_allowlist([("mine", "Thing")])
    assert clone is not original
    del original
    gc.collect()
    assert graph(clone).invoke({"n": 1}, config()) == {"n": 2}
    clone.close()
    assert ran(path)


def test_read_only_reads_and_refuses_changes(make_saver: Callable[..., EventLogSaver], twin_of: Any) -> None:
    writer = twin_of(make_saver())
    writer.put("1", {"x": [1]}, metadata={"run_id": "r"})
    writer.write("1", [("x", 2)])
    twin = writer.on(make_saver(read_only=True))
    head = writer.saver.log.head()
    for name, call in sync_calls(twin):
        if name in CHANGES:
            with pytest.raises(LogReadOnlyError):
                pytest.fail(f"{name} gave {call()!r}")
        else:
            call()
    assert writer.saver.log.head() == twin.saver.log.head() == head
    assert (twin.values("1"), twin.writes("1")) == ({"x": [1]}, [("task", "x", 2)])
    writer.put("2", {"x": [2]}, parent="1")
    assert twin.values() == {"x": [2]}
    writer.saver.close()
    assert twin.values() == {"x": [2]}


def test_read_only_never_makes_anything(tmp_path: Path) -> None:
    with pytest.raises(LogOpenError, match="read_only"):
        EventLogSaver(tmp_path / "sub" / "agent.db", read_only=True)
    (tmp_path / "empty.db").touch()
    with pytest.raises(LogOpenError, match="read_only"):
        EventLogSaver(tmp_path / "empty.db", read_only=True)
    assert [p.name for p in tmp_path.iterdir()] == ["empty.db"]


@pytest.mark.parametrize("private", [":memory:", ""])
def test_a_private_log_cannot_be_read_only(private: str) -> None:
    """There would be nothing to read, for ever."""
    with pytest.raises((ConfigError, LogOpenError, LogReadOnlyError)):
        EventLogSaver(private, read_only=True)


@pytest.mark.parametrize(("synchronous", "pragma"), [("FULL", 2), ("NORMAL", 1), (None, 2)])
def test_synchronous_is_what_sqlite_is_told(
    make_saver: Callable[..., EventLogSaver], synchronous: str | None, pragma: int
) -> None:
    """FULL unless it is said otherwise: an acknowledged put survives power loss."""
    saver = make_saver(**({} if synchronous is None else {"synchronous": synchronous}))
    with saver.log.database.exclusive() as connection:
        assert connection.pragma("synchronous") == pragma
        assert connection.pragma("journal_mode") == "wal"


@pytest.mark.parametrize(
    "options",
    [
        {"synchronous": "OFF"},
        {"synchronous": "full"},
        {"synchronous": None},
        {"busy_timeout_ms": -1},
        {"path": b"agent.db"},
        {"path": None},
        {"path": 3},
        {"path": "a\0b"},
        {"path": "a\udc80"},
    ],
)
def test_bad_arguments_are_config_errors_and_make_nothing(
    tmp_path: Path, monkeypatch: Any, options: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    for make in (EventLogSaver, EventLogSaver.from_conn_string):
        path = options.get("path", "agent.db")
        rest = {name: value for name, value in options.items() if name != "path"}
        with pytest.raises(ConfigError) as raised:
            make(path, **rest)
        assert isinstance(raised.value, ValueError)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_option_is_a_type_error(path: str) -> None:
    with pytest.raises(TypeError, match="sync_mode"):
        EventLogSaver.from_conn_string(path, sync_mode="FULL")


def test_setup_can_be_called_any_number_of_times(twin: Any) -> None:
    twin.put("1", {"x": 1})
    for _ in range(3):
        twin.call("setup")
    assert twin.values() == {"x": 1}
    assert twin.saver.log.head().position == 1


def test_a_relative_path_is_one_file_wherever_the_program_goes(
    tmp_path: Path, monkeypatch: Any, make_saver: Any, twin_of: Any
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    twin = twin_of(make_saver("data/logs/agent.db"))
    assert twin.saver.path == str(tmp_path / "data" / "logs" / "agent.db")
    monkeypatch.chdir(tmp_path / "elsewhere")
    twin.put("1", {"x": 1})
    twin.call("rebuild")
    assert twin.values() == {"x": 1}
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_path_object_and_a_home_folder_work(tmp_path: Path, monkeypatch: Any, make_saver: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert make_saver(tmp_path / "a b" / "ü#?%.db").path == str(tmp_path / "a b" / "ü#?%.db")
    assert make_saver(Path("~") / "c.db").path == str(tmp_path / "c.db")


@pytest.mark.parametrize("private", [":memory:", ""])
def test_private_logs_are_apart_and_end_with_close(
    tmp_path: Path, monkeypatch: Any, make_saver: Any, twin_of: Any, private: str
) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = twin_of(make_saver(private)), twin_of(make_saver(private))
    one.put("1", {"x": 1})
    assert two.get() is None
    assert one.saver.path == private
    assert list(tmp_path.iterdir()) == []


def test_closing_folds_the_wal_into_the_file(make_saver: Any, twin_of: Any, tmp_path: Path) -> None:
    twin = twin_of(make_saver())
    twin.put("1", {"x": 1})
    twin.saver.close()
    assert [p.name for p in tmp_path.iterdir()] == ["agent.db"]
    assert twin.on(make_saver()).values() == {"x": 1}


@pytest.mark.parametrize("run", [lambda f: asyncio.run(f()), trio.run])
def test_async_generators_can_be_left_half_way(make_saver: Any, twin_of: Any, run: Any) -> None:
    twin = twin_of(make_saver())
    for n in range(30):
        twin.put(f"{n:02}", thread=str(n))

    async def first(items: AsyncIterator[Any]) -> Any:
        async for item in items:
            await items.aclose()  # type: ignore[attr-defined]
            return item
        return None

    async def use() -> None:
        saver = twin.saver
        assert (await first(saver.alist(None))).checkpoint["id"] == "29"
        assert (await first(saver.athreads())).thread_id == "29"
        await saver.aput(twin.config(), twin.checkpoint("99", {}, {}), {}, {})

    run(use)
    assert twin.ids()[0] == "99"
