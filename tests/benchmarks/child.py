"""What is measured in a new process, of which JSON is printed.

    cold PEER PATH THREAD_ID
    memory FOLDER THREADS
    putting FOLDER: puts until its standard input ends; prints a line when it begins
    compacting FOLDER KEEP_LAST
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import langchain_core.messages  # noqa: F401  imports are not what is measured
from langgraph_eventlog.saver import Retention
from material import Thread, chat, thread_config
from peers import open_peer
from putting import put_until


def cold(name: str, path: str, thread_id: str) -> float:
    """Give the seconds of opening a file and reading the latest checkpoint."""
    start = time.perf_counter_ns()
    with open_peer(name, Path(path).parent, "FULL") as peer:
        found = peer.saver.get_tuple(thread_config(thread_id))
        seconds = (time.perf_counter_ns() - start) / 1e9
    assert found is not None
    return seconds


def resident() -> float:
    """Give this process's resident memory in MB; its peak where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * 4096 / 1e6
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def memory(path: str, threads: int) -> list[float]:
    """Give resident memory after a tenth of the threads, and after all of them."""
    found = []
    with open_peer("ours", Path(path), "NORMAL") as peer:
        for n in range(threads):
            thread, config = Thread(1, n), None
            for step in chat(thread, 4):
                config = peer.saver.put(
                    config or thread_config(thread.thread_id), step.checkpoint, step.metadata, step.new_versions
                )
            if n + 1 in (max(1, threads // 10), threads):
                found.append(resident())
    return found


def putting(path: str) -> list[list[float]]:
    """Put chats until standard input ends; give when each put began, and its seconds."""
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    with open_peer("ours", Path(path), "FULL") as peer:
        return [list(one) for one in put_until(peer.saver, stop, lambda: print("begun", flush=True))]


def compacting(path: str, keep_last: int) -> list[float]:
    """Compact; give when that began, when it ended, and the longest that it kept others from appending, in seconds."""
    with open_peer("ours", Path(path), "FULL") as peer:
        began = time.perf_counter()
        report = peer.saver.compact(Retention(keep_last=keep_last))
        return [began, time.perf_counter(), report.longest_hold_ms / 1e3]


_WHAT = {
    "cold": cold,
    "memory": lambda path, threads: memory(path, int(threads)),
    "putting": putting,
    "compacting": lambda path, keep_last: compacting(path, int(keep_last)),
}

if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    print(json.dumps(_WHAT[what](*arguments)))
