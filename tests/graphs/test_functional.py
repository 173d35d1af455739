"""The functional API: entrypoints and tasks, whose results are writes in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt
from langgraph_eventlog.saver import EventLogSaver

CONFIG: Any = {"configurable": {"thread_id": "t"}}
Reopen = Callable[[], EventLogSaver]


@pytest.fixture
def ran() -> list[str]:
    return []


def essay(saver: Any, ran: list[str]) -> Any:
    """Ten tasks at once, then one that asks, then one after it."""

    @task
    def draft(number: int) -> dict[str, Any]:
        ran.append(f"draft {number}")
        return {"number": number, "text": "x" * number}

    @task
    def review(drafts: list[dict[str, Any]]) -> str:
        ran.append("review")
        return f"{interrupt({'drafts': len(drafts)})} of {sum(len(d['text']) for d in drafts)}"

    @task
    def publish(text: str) -> str:
        ran.append("publish")
        return text.upper()

    @entrypoint(checkpointer=saver)
    def write(topic: str, *, previous: Any = None) -> Any:
        drafts = [future.result() for future in [draft(n) for n in range(10)]]
        reviewed = review(drafts).result()
        published = publish(f"{topic}: {reviewed}").result()
        editions = [*(previous or []), published]
        return entrypoint.final(value=published, save=editions)

    return write


@pytest.mark.parametrize("prune", [False, True])
def test_tasks_that_finished_before_an_interrupt_do_not_run_again(reopen: Reopen, ran: list[str], prune: bool) -> None:
    stopped = essay(reopen(), ran).invoke("cats", CONFIG)
    assert [i.value for i in stopped["__interrupt__"]] == [{"drafts": 10}]
    assert sorted(ran) == [*(f"draft {n}" for n in range(10)), "review"]
    saver = reopen()
    if prune:
        saver.prune(["t"])
    ran.clear()
    assert essay(reopen(), ran).invoke(Command(resume="fine"), CONFIG) == "CATS: FINE OF 45"
    assert ran == ["review", "publish"]


def test_previous_is_what_the_run_before_saved(reopen: Reopen, ran: list[str]) -> None:
    for topic in ("cats", "dogs", "owls"):
        essay(reopen(), ran).invoke(topic, CONFIG)
        reopen().prune(["t"])
        essay(reopen(), ran).invoke(Command(resume=f"on {topic}"), CONFIG)
    saved = essay(reopen(), ran).get_state(CONFIG).values
    assert saved == "OWLS: ON OWLS OF 45"

    @entrypoint(checkpointer=reopen())
    def read(_: Any, *, previous: Any = None) -> Any:
        return entrypoint.final(value=previous, save=previous)

    assert read.invoke("go", CONFIG) == ["CATS: ON CATS OF 45", "DOGS: ON DOGS OF 45", "OWLS: ON OWLS OF 45"]


def test_an_entrypoint_has_the_history_it_has_in_memory(reopen: Reopen, ran: list[str], describe: Any) -> None:
    memory = InMemorySaver()
    for saver in (lambda: memory, reopen):
        for turn in ("cats", Command(resume="fine"), "dogs", Command(resume="bad")):
            essay(saver(), ran).invoke(turn, CONFIG, durability="sync")
    found, expected = [describe(essay(saver, ran).get_state_history(CONFIG)) for saver in (reopen(), memory)]
    for snapshot in (*found, *expected):
        snapshot["tasks"].sort(key=repr)  # the calls of tasks run in parallel
    assert found == expected


def test_a_task_that_failed_runs_again_and_the_others_do_not(reopen: Reopen, ran: list[str]) -> None:
    failing = [True]

    def build(saver: Any) -> Any:
        @task
        def steady(number: int) -> int:
            ran.append(f"steady {number}")
            return number * number

        @task
        def shaky(number: int) -> int:
            ran.append("shaky")
            if failing and failing.pop():
                raise TimeoutError("upstream")
            return -number

        @entrypoint(checkpointer=saver)
        def work(numbers: list[int]) -> int:
            squares = [steady(n).result() for n in numbers]
            return shaky(sum(squares)).result()

        return work

    with pytest.raises(TimeoutError):
        build(reopen()).invoke([1, 2, 3], CONFIG)
    ran.clear()
    assert build(reopen()).invoke(None, CONFIG) == -14
    assert ran == ["shaky"]


@pytest.mark.anyio
async def test_an_async_entrypoint_resumes_after_a_reopen(reopen: Reopen, ran: list[str]) -> None:
    def build(saver: Any) -> Any:
        @task
        async def fetch(number: int) -> int:
            ran.append(f"fetch {number}")
            return number

        @entrypoint(checkpointer=saver)
        async def gather(numbers: list[int], *, previous: int | None = None) -> int:
            total = sum([await fetch(n) for n in numbers])
            return (previous or 0) + total * interrupt("times?")

        return gather

    assert "__interrupt__" in await build(reopen()).ainvoke([1, 2, 3], CONFIG)
    assert await build(reopen()).ainvoke(Command(resume=10), CONFIG) == 60
    assert ran == ["fetch 1", "fetch 2", "fetch 3"]
    await build(reopen()).ainvoke([4], CONFIG)
    assert await build(reopen()).ainvoke(Command(resume=1), CONFIG) == 64
