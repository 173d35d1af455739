"""What the graph tests share: reopening the saver in the middle, and describing histories to compare two runs by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from langgraph.types import StateSnapshot
from langgraph_eventlog.saver import EventLogSaver


@pytest.fixture
def anyio_backend() -> str:
    """LangGraph's own event loop is asyncio; what trio can do is tested by itself."""
    return "asyncio"


@pytest.fixture
def reopen(make_saver: Any) -> Callable[[], EventLogSaver]:
    """Open a saver, closing the one before: whatever it knows, it read from the file."""
    current: list[EventLogSaver] = []

    def reopened() -> EventLogSaver:
        while current:
            current.pop().close()
        current.append(make_saver())
        return current[-1]

    return reopened


def _task(task: Any) -> dict[str, Any]:
    return {
        "name": task.name,
        "path": task.path,
        "error": task.error,
        "interrupts": [i.value for i in task.interrupts],
        "result": task.result,
        # A subgraph's state is a config that names a namespace with a task's id in it, or a snapshot.
        "state": describe([task.state])[0] if isinstance(task.state, StateSnapshot) else task.state is not None,
    }


def describe(history: Iterable[StateSnapshot]) -> list[dict[str, Any]]:
    """Describe snapshots without what differs between any two runs, ids and times. A parent is named by its place."""
    snapshots = list(history)
    place = {s.config["configurable"]["checkpoint_id"]: i for i, s in enumerate(snapshots)}
    described = []
    for s in snapshots:
        parent = (s.parent_config or {}).get("configurable", {}).get("checkpoint_id")
        described.append(
            {
                "values": s.values,
                "next": s.next,
                "metadata": {k: v for k, v in (s.metadata or {}).items() if k != "parents"},
                "parent": None if parent is None else place.get(parent, "elsewhere"),
                "tasks": [_task(task) for task in s.tasks],
                "interrupts": [i.value for i in s.interrupts],
            }
        )
    return described


@pytest.fixture(name="describe")
def describe_fixture() -> Callable[[Iterable[StateSnapshot]], list[dict[str, Any]]]:
    """Describe snapshots so that two runs can be compared."""
    return describe
