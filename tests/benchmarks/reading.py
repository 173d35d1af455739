"""Works that read: the latest checkpoint, warm and in a new process; lists; a few among many."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from material import Thread, chat, thread_config
from measure import Opened, Run, timed
from peers import Peer
from writing import apply

__all__ = ["CHILD", "child", "few_of_many", "fill", "in_turns", "reads_of_a_chat"]

CHILD = Path(__file__).with_name("child.py")


def in_turns(peers: Opened, repetitions: int, call: Callable[[Peer], Any]) -> dict[str, float]:
    """Give each peer's median of the seconds that a call takes."""
    seconds = defaultdict(list)
    for n in range(repetitions):
        for peer in peers.turns(n):
            seconds[peer.name].append(timed(call, peer)[1])
    return {name: statistics.median(values) for name, values in seconds.items()}


def _check_alike(found: list[Any]) -> None:
    """Check that the peers have done the same work: what they read is equal."""
    if any(one != found[0] for one in found[1:]):
        raise RuntimeError("The savers do not give the same: the figures would compare different things.")


def _count(saver: Any, config: Any) -> int:
    return sum(1 for _ in saver.list(config))


def reads_of_a_chat(run: Run) -> None:
    """Measure reading a chat: its latest checkpoint, warm and cold, and the list of them all."""
    steps = run.sizes.chat
    warm = run.figure(f"get_tuple of the latest, {steps} messages: warm", "us", 1.0)
    cold = run.figure("the same in a new process, with opening", "us", 0.8)
    everything = run.figure(f"list, all {steps} checkpoints", "ms", 2.5)
    for number in run.rounds():
        thread = Thread(number)
        config = thread_config(thread.thread_id)
        with run.peers("NORMAL") as peers:
            for count, step in enumerate(run.track(chat(thread, steps), steps, "a chat to read")):
                for peer in peers.turns(count):
                    apply(peer, thread, step)
            _check_alike([peer.saver.get_tuple(config).checkpoint["channel_values"] for peer in peers.all])
            for name, value in in_turns(peers, run.sizes.reads, lambda peer, c=config: peer.saver.get_tuple(c)).items():
                run.add(warm, name, value * 1e6)
            for peer in run.track(peers.turns(number), len(peers.all), "list of all"):
                found, seconds = timed(_count, peer.saver, config)
                assert found == steps
                run.add(everything, peer.name, seconds * 1e3)
            peers.close()
            files = [peer for peer in peers.all if peer.path is not None]
            reads = defaultdict(list)
            for n in run.track(range(run.sizes.cold), run.sizes.cold, "cold reads"):
                for peer in files[n % 2 :] + files[: n % 2]:
                    seconds = child("cold", peer.name, str(peer.path), thread.thread_id)
                    reads[peer.name].append(seconds)
            for name, values in reads.items():
                run.add(cold, name, statistics.median(values) * 1e6)


def child(*arguments: str) -> Any:
    """Run child.py in a new process; give what it found."""
    done = subprocess.run([sys.executable, CHILD, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def fill(run: Run, peers: Opened, checkpoints: int, label: str, first: int = 0) -> list[Thread]:
    """Put so many checkpoints, in threads of 8 steps; give the threads."""
    threads = [Thread(7, n) for n in range(first // 8, (first + checkpoints + 7) // 8)]
    for n, thread in enumerate(run.track(threads, len(threads), label)):
        for peer in peers.turns(n):
            peer.config = None
        for step in chat(thread, min(8, checkpoints - 8 * n)):
            for peer in peers.turns(n):
                apply(peer, thread, step)
    return threads


def few_of_many(run: Run) -> None:
    """Measure finding a few checkpoints among many."""
    many = run.sizes.many
    newest = run.figure(f"list(None, limit=20) among {many:,} checkpoints", "us", 10.0)
    of_run = run.figure("list(None, filter={'run_id': ...}) among them", "us", 15.0)
    with run.peers("NORMAL") as peers:  # filled once: what is looked for is another in each round
        threads = fill(run, peers, many, f"{many:,} checkpoints")
        for number in run.rounds():
            wanted = {"run_id": threads[(number + 1) * len(threads) // 5].run_id}
            for figure, options in ((newest, {"limit": 20}), (of_run, {"filter": wanted})):
                call = lambda peer, options=options: list(peer.saver.list(None, **options))  # noqa: E731
                # In memory, threads are gone through one after the other: those 20 are others.
                alike = [peer for peer in peers.all if peer.name != "memory"]
                _check_alike([[found.config for found in call(peer)] for peer in alike])
                for name, value in in_turns(peers, max(2, run.sizes.reads // 3), call).items():
                    run.add(figure, name, value * 1e6)
