"""The saver's async half: each method does what its sync twin does, in a worker thread. No SQL, no logic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)

from ..eventlog.aio import AsyncClosing, iterate, run
from ..eventlog.coverage import Coverage
from ..eventlog.event import Head
from ..eventlog.finding import Finding
from ..eventlog.log import EventLog
from ..eventlog.steps import Steps

__all__ = ["AsyncTwins"]


class AsyncTwins(AsyncClosing):
    """Async twins of the saver's methods, for asyncio and trio. Cancelling one waits until its sync twin is done.

    An event is in, or it is not.
    """

    if TYPE_CHECKING:

        def get(self, config: RunnableConfig) -> Checkpoint | None: ...
        def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None: ...
        def list(
            self,
            config: RunnableConfig | None,
            *,
            filter: dict[str, Any] | None = None,
            before: RunnableConfig | None = None,
            limit: int | None = None,
        ) -> Iterator[CheckpointTuple]: ...
        @property
        def log(self) -> EventLog: ...
        def _put(
            self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata
        ) -> Steps[RunnableConfig]: ...
        def _put_writes(
            self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
        ) -> Steps[None]: ...
        def delete_thread(self, thread_id: str) -> None: ...
        def delete_for_runs(self, run_ids: Sequence[str]) -> None: ...
        def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None: ...
        def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None: ...
        def get_delta_channel_history(
            self, *, config: RunnableConfig, channels: Sequence[str]
        ) -> Mapping[str, DeltaChannelHistory]: ...
        def rebuild(
            self, projection: str | None = None, *, progress: Callable[[int, int], None] | None = None
        ) -> None: ...
        def verify(
            self,
            *,
            anchor: Head | None = None,
            anchors: Collection[Head] = (),
            quick: bool = False,
            coverage: Coverage | None = None,
        ) -> Iterator[Finding]: ...
        def setup(self) -> None: ...

    async def aget(self, config: RunnableConfig) -> Checkpoint | None:
        """Async `get`."""
        return await run(self.get, config)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Async `get_tuple`."""
        return await run(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Async `list`."""
        async for found in iterate(self.list(config, filter=filter, before=before, limit=limit)):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Async `put`."""
        return await self.log.aperform(self._put(config, checkpoint, metadata))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Async `put_writes`."""
        await self.log.aperform(self._put_writes(config, writes, task_id, task_path))

    async def adelete_thread(self, thread_id: str) -> None:
        """Async `delete_thread`."""
        await run(self.delete_thread, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Async `delete_for_runs`."""
        await run(self.delete_for_runs, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Async `copy_thread`."""
        await run(self.copy_thread, source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Async `prune`."""
        await run(partial(self.prune, thread_ids, strategy=strategy))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Async `get_delta_channel_history`."""
        return await run(partial(self.get_delta_channel_history, config=config, channels=channels))

    async def arebuild(
        self, projection: str | None = None, *, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Async `rebuild`; the progress is told in a worker thread."""
        await run(partial(self.rebuild, projection, progress=progress))

    async def averify(
        self,
        *,
        anchor: Head | None = None,
        anchors: Collection[Head] = (),
        quick: bool = False,
        coverage: Coverage | None = None,
    ) -> AsyncIterator[Finding]:
        """Async `verify`; the coverage is told in a worker thread."""
        async for finding in iterate(self.verify(anchor=anchor, anchors=anchors, quick=quick, coverage=coverage)):
            yield finding

    async def asetup(self) -> None:
        """Async `setup`."""
        await run(self.setup)
