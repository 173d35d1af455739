"""The contract's tests run through a Twin: one way to call a saver's sync methods and its async ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, Checkpoint, CheckpointTuple
from langgraph_eventlog.saver import EventLogSaver, snapshot


class Twin:
    """Calls the sync methods of a saver, or with a runner the async ones, and makes small checkpoints.

    Ids are short strings ("1", "2"): the contract compares them as strings, and tests are easier to read so.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any], runner: asyncio.Runner | None = None) -> None:
        self.saver: Any = saver
        self.runner = runner

    def on(self, saver: BaseCheckpointSaver[Any]) -> Twin:
        """The same twin of another saver."""
        return Twin(saver, self.runner)

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method, or its async twin."""
        if self.runner is None:
            return getattr(self.saver, method)(*args, **options)
        return self.runner.run(getattr(self.saver, f"a{method}")(*args, **options))

    @staticmethod
    def config(thread: Any = "t", id: str | None = None, ns: str | None = "") -> RunnableConfig:
        named = {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": id}
        return {"configurable": {k: v for k, v in named.items() if v is not None}}

    @staticmethod
    def checkpoint(id: str, values: Mapping[str, Any], versions: Mapping[str, Any]) -> Checkpoint:
        return {
            "v": 4,
            "id": id,
            "ts": "2026-01-01T00:00:00+00:00",
            "channel_values": dict(values),
            "channel_versions": dict(versions),
            "versions_seen": {},
            "updated_channels": None,
        }

    def put(
        self,
        id: str,
        values: Mapping[str, Any] | None = None,
        *,
        parent: str | None = None,
        thread: Any = "t",
        ns: str = "",
        metadata: Mapping[str, Any] | None = None,
        versions: Mapping[str, Any] | None = None,
        new_versions: Mapping[str, Any] | None = None,
    ) -> RunnableConfig:
        """Put a checkpoint; each value has a version of its own, unless versions are given."""
        values = values or {}
        versions = dict.fromkeys(values, id) if versions is None else versions
        checkpoint = self.checkpoint(id, values, versions)
        new_versions = versions if new_versions is None else new_versions
        return self.call("put", self.config(thread, parent, ns), checkpoint, dict(metadata or {}), dict(new_versions))

    def write(
        self,
        id: str,
        writes: Sequence[tuple[str, Any]],
        task: str = "task",
        path: str = "",
        *,
        thread: Any = "t",
        ns: str = "",
    ) -> None:
        self.call("put_writes", self.config(thread, id, ns), writes, task, path)

    def get(self, id: str | None = None, *, thread: Any = "t", ns: str = "") -> CheckpointTuple | None:
        return self.call("get_tuple", self.config(thread, id, ns))

    def the(self, id: str | None = None, *, thread: Any = "t", ns: str = "") -> CheckpointTuple:
        """Get a checkpoint that has to be there."""
        found = self.get(id, thread=thread, ns=ns)
        assert found is not None
        return found

    def values(self, id: str | None = None, *, thread: Any = "t", ns: str = "") -> dict[str, Any]:
        return self.the(id, thread=thread, ns=ns).checkpoint["channel_values"]

    def writes(self, id: str | None = None, *, thread: Any = "t", ns: str = "") -> list[tuple[str, str, Any]]:
        return list(self.the(id, thread=thread, ns=ns).pending_writes or [])

    def list(self, config: RunnableConfig | None = None, **options: Any) -> list[CheckpointTuple]:
        if self.runner is None:
            return list(self.saver.list(config, **options))

        async def collect() -> list[CheckpointTuple]:
            return [found async for found in self.saver.alist(config, **options)]

        return self.runner.run(collect())

    def ids(self, config: RunnableConfig | None = None, **options: Any) -> list[str]:
        """The ids that `list` gives, in its order."""
        return [found.config["configurable"]["checkpoint_id"] for found in self.list(config, **options)]

    def history(self, id: str | None, channels: Sequence[str], *, thread: Any = "t", ns: str = "") -> dict[str, Any]:
        return self.call("get_delta_channel_history", config=self.config(thread, id, ns), channels=channels)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for a whole test."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=["sync", "async"])
def twin_of(request: pytest.FixtureRequest) -> Any:
    """Make a Twin of a saver: sync and async."""
    if request.param == "sync":
        return Twin
    runner = request.getfixturevalue("runner")
    return lambda saver: Twin(saver, runner)


# NORMAL: what an fsync guarantees is tested elsewhere, and here it would only cost time. In memory the async half is
# the harder one: its worker threads share one connection.
@pytest.fixture(params=["file, sync", "file, async", "memory, async"])
def twin(request: pytest.FixtureRequest, make_saver: Any) -> Twin:
    """A saver's sync methods, and its async ones; on a file, and in memory."""
    where, half = request.param.split(", ")
    saver = make_saver(synchronous="NORMAL") if where == "file" else make_saver(":memory:")
    return Twin(saver, request.getfixturevalue("runner") if half == "async" else None)


@pytest.fixture
def file_twin(make_saver: Any, twin_of: Any) -> Twin:
    """A saver's sync methods, and its async ones, on a file."""
    return twin_of(make_saver(synchronous="NORMAL"))


@pytest.fixture
def sync_twin(make_saver: Any) -> Twin:
    """A saver's sync methods, on a file."""
    saver: EventLogSaver = make_saver(synchronous="NORMAL")
    return Twin(saver)


@pytest.fixture(params=["with witnesses", "without"])
def witnesses(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a put knows of a list's objects: as where a compiler was there at installation, and as where none was."""
    if request.param == "without":
        monkeypatch.setattr(snapshot, "NO_OBJECTS", None)
    elif snapshot.NO_OBJECTS is None:
        pytest.skip("the module in C was not compiled")
