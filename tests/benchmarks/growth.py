"""How our own cost grows: with the length of a chat, with the number of checkpoints, with the number of threads."""

from __future__ import annotations

import statistics

from langgraph_eventlog.eventlog import Kind
from material import Thread, chat, thread_config
from measure import Run
from reading import child, fill, in_turns
from writing import apply

__all__ = ["chat_growth", "look_up_growth", "memory_growth"]


def chat_growth(run: Run) -> None:
    """Measure a long chat: what a late step adds and costs, compared with an early one."""
    steps = run.sizes.growth
    window = steps // 20
    early, late = slice(window, 2 * window), slice(steps - window, steps)
    label = f"chat of {steps:,} steps"
    added = run.figure(f"{label}: bytes of its last {window} steps / of an early {window}", "x", 1.2, better="limit")
    file = run.figure(f"{label}: file / file at half of it", "x", 2.3, better="limit")
    slower = run.figure(f"{label}: put latency added by each known message", "us", 0.5, better="limit")
    thread, putting, half = Thread(11), [], 0
    with run.peers("NORMAL", ["ours"]) as peers:
        (peer,) = peers.all
        for count, step in enumerate(run.track(chat(thread, steps), steps, label)):
            putting.append(apply(peer, thread, step)[1])
            if count + 1 == steps // 2:
                half = peer.size_now() or 0
        # The median: keyframes, of which there are few, are apart.
        sizes = [event.size for event in peer.saver.log.read(kinds=[Kind.PUT])]
        run.add(added, "ours", statistics.median(sizes[late]) / statistics.median(sizes[early]))
        run.add(file, "ours", (peer.size_now() or 0) / half)
        more = statistics.median(putting[late]) - statistics.median(putting[early])
        run.add(slower, "ours", more * 1e6 / (late.start - early.start))


def look_up_growth(run: Run) -> None:
    """Measure look-ups among few checkpoints and among many."""
    few, many = run.sizes.look_up
    label = f"among {many:,} checkpoints / among {few:,}"
    latest = run.figure(f"get_tuple {label}", "x", 2.0, better="limit")
    newest = run.figure(f"list(None, limit=20) {label}", "x", 2.0, better="limit")
    of_run = run.figure(f"list(None, filter={{'run_id': ...}}) {label}", "x", 2.0, better="limit")
    with run.peers("NORMAL", ["ours"]) as peers:
        found: list[list[float]] = []
        for first, count in ((0, few), (few // 8 * 8, many - few)):
            thread = fill(run, peers, count, f"{first + count:,} checkpoints", first)[-1]
            calls = (
                lambda peer, thread=thread: peer.saver.get_tuple(thread_config(thread.thread_id)),
                lambda peer: list(peer.saver.list(None, limit=20)),
                lambda peer, thread=thread: list(peer.saver.list(None, filter={"run_id": thread.run_id})),
            )
            repetitions = max(2, run.sizes.reads // 2)
            found.append([in_turns(peers, repetitions, call)["ours"] for call in calls])
        for figure, early, late in zip((latest, newest, of_run), *found, strict=True):
            run.add(figure, "ours", late / early)


def memory_growth(run: Run) -> None:
    """Measure a process that runs many threads: what it holds more after all than after a tenth of them."""
    threads = run.sizes.memory_threads
    figure = run.figure(f"memory after {threads:,} threads - after a tenth of them", "MB", 64.0, better="limit")
    with run.new_folder() as folder:
        for _ in run.track([None], 1, f"{threads:,} threads"):
            early, late = child("memory", str(folder), str(threads))
        run.add(figure, "ours", late - early)
