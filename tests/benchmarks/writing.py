"""Works that put: a chat, many short threads, documents that are edited, many tasks at once."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections import defaultdict
from typing import Any

from material import Step, Thread, chat, documents, edited, thread_config
from measure import Run, timed
from peers import Peer, open_async

__all__ = ["apply", "documents_edited", "many_tasks", "one_chat", "short_threads"]


def apply(peer: Peer, thread: Thread, step: Step) -> tuple[float, float]:
    """Do a step as LangGraph does it; give the seconds of put_writes and of put."""
    config = thread_config(thread.thread_id) if peer.config is None else peer.config
    writing = 0.0
    if peer.config is not None:  # the first checkpoint has no parent to write at
        _, writing = timed(peer.saver.put_writes, config, step.writes, step.task_id)
    peer.config, putting = timed(peer.saver.put, config, step.checkpoint, step.metadata, step.new_versions)
    return writing, putting


def one_chat(run: Run) -> None:
    """Measure a chat of one message a step: put, put_writes, and the files."""
    steps, last = run.sizes.chat, max(1, min(50, run.sizes.chat // 4))
    for synchronous, floors in (("FULL", (2.5, 4.5, 0.8)), ("NORMAL", (4.0, 5.5, 0.6))):
        label = f"{steps}-step chat, {synchronous}"
        put = run.figure(f"{label}: put, median", "us", floors[0])
        put_last = run.figure(f"{label}: put, median of the last {last}", "us", floors[1])
        put_writes = run.figure(f"{label}: put_writes, median", "us", floors[2])
        # The files are alike whatever `synchronous` is: they are shown once.
        file = run.figure(f"{label}: file", "kB", 80.0) if synchronous == "FULL" else None
        for number in run.rounds():
            thread = Thread(number)
            writing, putting = defaultdict(list), defaultdict(list)
            with run.peers(synchronous) as peers:
                for count, step in enumerate(run.track(chat(thread, steps), steps, label)):
                    for peer in peers.turns(count):
                        seconds = apply(peer, thread, step)
                        writing[peer.name].append(seconds[0])
                        putting[peer.name].append(seconds[1])
                        _draw(run, peer, count, seconds[1], drawn=synchronous == "FULL" and number == 0)
                peers.close()
                for peer in peers.all:
                    run.add(put, peer.name, statistics.median(putting[peer.name]) * 1e6)
                    run.add(put_last, peer.name, statistics.median(putting[peer.name][-last:]) * 1e6)
                    run.add(put_writes, peer.name, statistics.median(writing[peer.name][1:]) * 1e6)
                    if file is not None:
                        run.add(file, peer.name, _kilobytes(peer))


def _draw(run: Run, peer: Peer, count: int, putting: float, *, drawn: bool) -> None:
    if not drawn:
        return
    run.put_curve.setdefault(peer.name, []).append((count + 1, putting * 1e6))
    if count % max(1, run.sizes.chat // 50) == 0 or count + 1 == run.sizes.chat:
        size = peer.size_now()
        if size is not None:
            run.size_curve.setdefault(peer.name, []).append((count + 1, size / 1e6))


def _kilobytes(peer: Peer) -> float | None:
    size = peer.size_closed()
    return None if size is None else size / 1e3


def short_threads(run: Run) -> None:
    """Measure many threads of a few steps each, whose steps come in turn, as those of many users do."""
    threads, steps = run.sizes.threads, run.sizes.thread_steps
    for synchronous, floor in (("FULL", 0.9), ("NORMAL", 0.7)):
        label = f"{threads} threads x {steps} steps, {synchronous}"
        pairs = run.figure(f"{label}: put and put_writes", "pairs/s", floor, better="more")
        file = run.figure(f"{label}: file", "kB", 2.5) if synchronous == "FULL" else None
        for number in run.rounds():
            made = [Thread(number, n) for n in range(threads)]
            chats = [chat(thread, steps) for thread in made]
            configs: dict[tuple[str, int], Any] = {}
            seconds: defaultdict[str, float] = defaultdict(float)
            with run.peers(synchronous) as peers:
                work = itertools.product(range(steps), range(threads))
                for count, (_, n) in enumerate(run.track(work, steps * threads, label)):
                    step = next(chats[n])
                    for peer in peers.turns(count):
                        peer.config = configs.get((peer.name, n))
                        seconds[peer.name] += sum(apply(peer, made[n], step))
                        configs[peer.name, n] = peer.config
                peers.close()
                for peer in peers.all:
                    run.add(pairs, peer.name, steps * threads / seconds[peer.name])
                    if file is not None:
                        run.add(file, peer.name, _kilobytes(peer))


def documents_edited(run: Run) -> None:
    """Measure a state of documents, one of which is edited in its middle at each step."""
    count, edits = run.sizes.documents, run.sizes.edits
    label = f"{count} documents of {run.sizes.document_bytes // 1000} kB, {edits} edits"
    put = run.figure(f"{label}: put, median", "us", 2.5)
    file = run.figure(f"{label}: file", "kB", 50.0)
    for number in run.rounds():
        thread, state = Thread(number), documents(count, run.sizes.document_bytes)
        putting = defaultdict(list)
        with run.peers("FULL") as peers:
            for n in run.track(range(edits), edits, label):
                name = f"chapter-{n * 7 % count}.txt"
                state = {**state, name: edited(state[name], thread)}
                step = thread.step("documents", {name: state[name]}, state)
                for peer in peers.turns(n):
                    putting[peer.name].append(apply(peer, thread, step)[1])
            peers.close()
            for peer in peers.all:
                run.add(put, peer.name, statistics.median(putting[peer.name]) * 1e6)
                run.add(file, peer.name, _kilobytes(peer))


def many_tasks(run: Run) -> None:
    """Measure asyncio tasks that put at the same time, each to a thread of its own."""
    tasks, steps = run.sizes.tasks, run.sizes.task_steps
    label = f"{tasks} asyncio tasks x {steps} steps, FULL"
    pairs = run.figure(f"{label}: aput and aput_writes", "pairs/s", 4.0, against="AsyncSqliteSaver", better="more")
    names = ["ours", "sqlite", "memory"]
    for number in run.rounds():
        for name in run.track(names[number % 3 :] + names[: number % 3], 3, label):
            made = [Thread(number, n) for n in range(tasks)]
            work = [(thread, list(chat(thread, steps + 1))) for thread in made]
            with run.new_folder() as folder:
                seconds = asyncio.run(_put_at_once(name, folder, work))
            run.add(pairs, name, tasks * steps / seconds)


async def _put_at_once(name: str, folder: Any, work: list[tuple[Thread, list[Step]]]) -> float:
    configs: dict[str, Any] = {}

    async def one(saver: Any, thread: Thread, steps: list[Step]) -> None:
        config = configs[thread.thread_id]
        for step in steps[1:]:
            await saver.aput_writes(config, step.writes, step.task_id)
            config = await saver.aput(config, step.checkpoint, step.metadata, step.new_versions)

    async with open_async(name, folder, "FULL") as peer:
        for thread, (first, *_) in work:  # there is no parent to write at yet
            config = thread_config(thread.thread_id)
            configs[thread.thread_id] = await peer.saver.aput(
                config, first.checkpoint, first.metadata, first.new_versions
            )
        start = time.perf_counter_ns()
        await asyncio.gather(*(one(peer.saver, thread, steps) for thread, steps in work))
        return (time.perf_counter_ns() - start) / 1e9
