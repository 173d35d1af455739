"""Makes v1.db, the golden database of format version 1: run it only when there is none of a version yet.

    python tests/golden/make.py tests/golden/v1.db

It is kept in the repository, never made again: what it holds must stay readable for ever. `fill` is used by tests, too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from langgraph_eventlog.saver import EventLogSaver

EMPTY: dict = {}


def config(thread_id: str, checkpoint_id: str | None = None, checkpoint_ns: str = "") -> dict:
    given = {"thread_id": thread_id, "checkpoint_ns": checkpoint_ns}
    return {"configurable": given if checkpoint_id is None else {**given, "checkpoint_id": checkpoint_id}}


def checkpoint(checkpoint_id: str, **values: object) -> dict:
    return {
        "v": 4,
        "id": checkpoint_id,
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": values,
        "channel_versions": dict.fromkeys(values, "1.0"),
        "versions_seen": {"agent": {"messages": "1.0"}},
        "updated_channels": sorted(values),
    }


def put(
    saver: EventLogSaver, thread_id: str, checkpoint_id: str, parent: str | None = None, *, ns: str = "", **rest: object
) -> None:
    """Put a checkpoint whose `big` is as its parent's, so that it is stored by reference."""
    values = {"messages": [f"hello {checkpoint_id}"], "big": "x" * 300, **rest}
    metadata = {"source": "loop", "step": int(checkpoint_id[1:]), "run_id": f"{thread_id}-{checkpoint_id}"}
    saver.put(config(thread_id, parent, ns), checkpoint(checkpoint_id, **values), metadata, EMPTY)


def fill(saver: EventLogSaver) -> None:
    """Append every kind of event that the saver can make, and every form of value."""
    put(saver, "a", "c1", zero="nul\0", none=None)
    saver.put_writes(config("a", "c1"), [("messages", "one"), ("__error__", "bad"), ("none", None)], "task-1", "path-1")
    put(saver, "a", "c2", "c1")
    saver.put_writes(config("a", "c2"), [("messages", "two")], "task-2")
    put(saver, "a", "c3", "c2", data=b"\x00\xff", pair=(1, 2), kept={"k": {1, 2}})
    put(saver, "a", "c1", ns="child:1", sub=1)
    saver.register_thread(
        "a", "first", {"owner": "ann", "tags": ["x", "y"], "note": "\ud800 lone\0", "big": -(2**100), "set": {1}}
    )
    saver.copy_thread("a", "copied")
    saver.fork_thread(config("a", "c2"), "forked", {"from": "a"})
    put(saver, "runs", "c1")
    put(saver, "runs", "c2", "c1")
    saver.delete_for_runs(["runs-c1"])
    put(saver, "pruned", "c3")
    put(saver, "pruned", "c4", "c3")
    saver.put_writes(config("pruned", "c4"), [("__interrupt__", ["ask"]), ("__resume__", "yes")], "task-3", "path-2")
    saver.prune(["pruned"], strategy="keep_latest")
    put(saver, "gone", "c1")
    saver.put_writes(config("gone", "c1"), [("messages", "three")], "task-4")
    saver.delete_thread("gone")
    put(saver, "gone too", "c1")
    saver.prune(["gone too"], strategy="delete")
    put(saver, "last \U0001f600", "c9")
    saver.put_writes(config("last \U0001f600", "c9"), [("messages", "four")], "task-5")


def ticking() -> Callable[[], int]:
    now = 1_767_225_600_000_000

    def tick() -> int:
        nonlocal now
        now += 1_000_000
        return now

    return tick


def main(path: Path) -> None:
    if path.exists():
        raise SystemExit(f"{path} is there already: a golden database is made once")
    with mock.patch("os.urandom", lambda n: bytes(range(n))), EventLogSaver(path, clock=ticking()) as saver:
        fill(saver)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
