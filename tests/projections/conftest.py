"""What the projections' tests share: small checkpoints, a log with every kind of event, the tables as they stand."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langgraph_eventlog.eventlog import (
    Carry,
    Compaction,
    EventLog,
    Import,
    NewEvent,
    Put,
    PutWrites,
    Restate,
    RestateWrites,
)
from langgraph_eventlog.saver import EventLogSaver

TABLES = ("history", "history_recent", "pending_writes", "threads", "metadata_index")


def config(thread: str = "t", id: str | None = None, ns: str = "") -> Any:
    named = {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": id}
    return {"configurable": {k: v for k, v in named.items() if v is not None}}


class Steps:
    """Puts and writes without ceremony."""

    config = staticmethod(config)
    TABLES = TABLES

    @staticmethod
    def put(
        saver: EventLogSaver,
        id: str,
        values: Mapping[str, Any] | None = None,
        *,
        parent: str | None = None,
        thread: str = "t",
        ns: str = "",
        metadata: Mapping[str, Any] | None = None,
        versions: Sequence[str] | None = None,
    ) -> None:
        values = dict(values or {})
        checkpoint: Any = {
            "v": 4,
            "id": id,
            "ts": "2026-01-01T00:00:00+00:00",
            "channel_values": values,
            "channel_versions": dict.fromkeys(values if versions is None else versions, "1"),
            "versions_seen": {},
            "updated_channels": None,
        }
        saver.put(config(thread, parent, ns), checkpoint, dict(metadata or {}), {})  # type: ignore[arg-type]

    @staticmethod
    def write(
        saver: EventLogSaver,
        id: str,
        writes: Sequence[tuple[str, Any]],
        task: str = "task",
        *,
        thread: str = "t",
        ns: str = "",
    ) -> None:
        saver.put_writes(config(thread, id, ns), writes, task)

    def everything(self, saver: EventLogSaver) -> None:
        """Append every kind of event, each in several circumstances."""
        for thread in "abc":
            saver.register_thread(thread, thread.upper(), {"n": thread})
            for n in range(4):
                run = {"run_id": f"r{n % 2}", "step": n, "source": "loop", "thread_id": thread}
                self.put(
                    saver,
                    str(n),
                    {"x": n, "big": ["b"] * 9},
                    parent=str(n - 1) if n else None,
                    thread=thread,
                    metadata=run,
                )
                self.put(saver, f"s{n}", {"y": n}, thread=thread, ns="sub", metadata={"parents": {"": str(n)}})
                self.write(saver, str(n), [("x", n), ("__interrupt__", n)], thread=thread)
        self.write(saver, "9", [("x", "before its checkpoint")], thread="a")
        self.put(saver, "2", {"x": "again"}, thread="a")
        saver.copy_thread("a", "a copy")
        saver.fork_thread(config("b", "2"), "a fork", {"forked": True})
        saver.prune(["a", "nobody"])
        saver.delete_for_runs(["r0", "never"])
        saver.prune(["c"], strategy="delete")
        self.put(saver, "1", thread="c")
        saver.delete_thread("b")
        self.restate(saver, "a copy", hidden=True)
        self.restate(saver, "a fork", hidden=False)
        self.restate_writes(saver, "a copy")
        self.restate_writes(saver, "a")
        saver.log.append(NewEvent(Carry("threads", [["a", 5, 6], ["b", 7, 8], ["not there", 1, 1]])))
        saver.log.append(NewEvent(Carry("someone else's", {"any": "thing"})))
        saver.log.append(NewEvent(Import({"from": "elsewhere"}, ((1, 2),), 1, 1)))
        saver.log.append(NewEvent(Compaction({"keep": "all"}, (), 0)))
        self.put(saver, "5", {"x": 5}, thread="a", metadata={"thread_id": "a"})

    @staticmethod
    def restate(saver: EventLogSaver, thread: str, *, hidden: bool) -> None:
        """Say the thread's latest checkpoint once more."""
        found = saver.get_tuple(config(thread))
        assert found is not None
        id = found.config["configurable"]["checkpoint_id"]
        put = next(e for e in saver.log.read() if isinstance(e.data, Put) and e.data.checkpoint_id == id)
        assert isinstance(put.data, Put)
        saver.log.append(NewEvent(Restate(hidden, put.data), thread))

    @staticmethod
    def restate_writes(saver: EventLogSaver, thread: str) -> None:
        """Say the writes once more of which the first row of the thread's is."""
        with saver.log.database.reading() as connection:
            stream, position, applied, ordinal = connection.execute(
                "SELECT stream, position, applied, ordinal FROM pending_writes JOIN stream USING (stream) "
                "JOIN thread USING (thread) WHERE thread_id = ? ORDER BY 1, 2 LIMIT 1",
                (thread,),
            ).fetchone()
            address = saver.log.keys.address(connection, stream)
        event = next(saver.log.read(after=position - 1, limit=1))
        assert isinstance(event.data, PutWrites)
        assert address is not None
        saver.log.append(NewEvent(RestateWrites(applied, ordinal, event.data), *address))

    @staticmethod
    def erase(saver: EventLogSaver, *positions: int) -> None:
        """Erase events as a compaction does: with their stubs, in the transaction of the event that says so."""
        from langgraph_eventlog.eventlog.integrity import inner_of

        def decide(connection: Any) -> NewEvent:
            for position in positions:
                event = next(saver.log.read(after=position - 1, limit=1))
                assert event is not None
                address = (event.thread_id or "", event.checkpoint_ns or "")
                inner = inner_of(recorded_at=event.recorded_at, address=address, digest=event.digest)
                connection.execute("INSERT INTO erased VALUES (?, ?, ?)", (position, int(event.kind), inner))
                connection.execute("DELETE FROM event WHERE position = ?", (position,))
            return NewEvent(Compaction({}, tuple((p, p) for p in positions), 0))

        saver.log.transact(decide)

    @staticmethod
    def tables(log: EventLog) -> dict[str, list[Any]]:
        """Every row of every built-in projection."""
        with log.database.reading() as connection:
            return {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in TABLES}

    @staticmethod
    def left_over(log: EventLog) -> list[str]:
        """Names of tables and marks that only a rebuild under way has."""
        with log.database.reading() as connection:
            return [
                name
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_schema UNION ALL SELECT name FROM projection"
                )
                if name.endswith(("_rebuild", "_old")) or "under way" in name
            ]

    @staticmethod
    def generation(log: EventLog) -> int:
        with log.database.reading() as connection:
            found: int = connection.execute("SELECT generation FROM meta").fetchone()[0]
        return found

    @staticmethod
    def between(monkeypatch: Any, log: EventLog, do: Any) -> None:
        """Call `do(n)` after the n-th write transaction that the log makes from now on, with no lock held."""
        database, made, inside = log.database, [0], [False]
        original = database.writing

        @contextmanager
        def writing() -> Any:
            with original() as connection:
                yield connection
            if not inside[0]:
                made[0] += 1
                inside[0] = True
                try:
                    do(made[0])
                finally:
                    inside[0] = False

        monkeypatch.setattr(database, "writing", writing)

    @staticmethod
    def elsewhere(path: Path | str, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script in another process, with `saver` open on the log and `put(id)`, as far as it gets."""
        prologue = """
            import os, signal, sys
            from langgraph.checkpoint.base import empty_checkpoint
            from langgraph_eventlog.saver import EventLogSaver
            saver = EventLogSaver(sys.argv[1], synchronous="NORMAL")
            def put(id, thread="t", **values):
                config = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
                saver.put(config, {**empty_checkpoint(), "id": id, "channel_values": values}, {}, {})
        """
        whole = textwrap.dedent(prologue) + textwrap.dedent(script) + "\nsaver.close()\nprint('well')\n"
        return subprocess.run([sys.executable, "-c", whole, str(path)], capture_output=True, text=True, check=False)


@pytest.fixture
def steps() -> Steps:
    return Steps()
