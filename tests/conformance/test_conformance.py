"""The official conformance suite, with every capability, through both halves of the saver."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.report import CapabilityReport
from langgraph_eventlog.saver import EventLogSaver

ALL_EIGHT = {
    "put",
    "put_writes",
    "get_tuple",
    "list",
    "delete_thread",
    "delete_for_runs",
    "copy_thread",
    "prune",
}


class SyncAsAsync(BaseCheckpointSaver[str]):
    """Answers the suite's async calls with the saver's sync methods, called right in the event loop."""

    def __init__(self, saver: EventLogSaver) -> None:
        super().__init__(serde=saver.serde)
        self._saver = saver

    def get_next_version(self, current: str | None, channel: None) -> str:
        return self._saver.get_next_version(current, channel)

    async def aput(self, *args: Any) -> RunnableConfig:
        return self._saver.put(*args)

    async def aput_writes(self, *args: Any, **options: Any) -> None:
        self._saver.put_writes(*args, **options)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self._saver.get_tuple(config)

    async def alist(self, config: RunnableConfig | None, **options: Any) -> AsyncIterator[CheckpointTuple]:
        for found in self._saver.list(config, **options):
            yield found

    async def adelete_thread(self, thread_id: str) -> None:
        self._saver.delete_thread(thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        self._saver.delete_for_runs(run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        self._saver.copy_thread(source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        self._saver.prune(thread_ids, strategy=strategy)


def run_suite(savers: Callable[[], AsyncGenerator[BaseCheckpointSaver[Any], None]], backend: str) -> CapabilityReport:
    registered = checkpointer_test(name="EventLogSaver")(savers)
    return anyio.run(validate, registered, backend=backend)


def assert_all_pass(report: CapabilityReport) -> None:
    assert set(report.results) == ALL_EIGHT
    for capability, result in report.results.items():
        assert result.failures == [], capability
        assert (result.detected, result.passed, result.tests_failed, result.tests_skipped) == (True, True, 0, 0), (
            capability
        )
        assert result.tests_passed > 0, capability
    assert report.conformance_level() == "FULL"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("where", ["file", ":memory:"])
@pytest.mark.parametrize("half", ["async", "sync"])
def test_all_eight_capabilities_pass(make_saver: Any, tmp_path: Path, half: str, where: str, backend: str) -> None:
    numbers = count()

    async def savers() -> AsyncGenerator[BaseCheckpointSaver[Any], None]:
        path = where if where == ":memory:" else tmp_path / f"{next(numbers)}.db"
        saver = make_saver(path, synchronous="NORMAL")
        yield saver if half == "async" else SyncAsAsync(saver)

    assert_all_pass(run_suite(savers, backend))


def test_the_suite_would_notice_a_saver_that_loses_writes(make_saver: Any) -> None:
    """The gate can close: what it reports of a broken saver does not pass ours."""

    class Forgetful(SyncAsAsync):
        async def aput_writes(self, *args: Any, **options: Any) -> None:
            pass

    async def savers() -> AsyncGenerator[BaseCheckpointSaver[Any], None]:
        yield Forgetful(make_saver(":memory:"))

    report = run_suite(savers, "asyncio")
    assert report.results["put_writes"].passed is False
    with pytest.raises(AssertionError):
        assert_all_pass(report)
