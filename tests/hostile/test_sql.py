"""No text of a caller's, nor one that is stored, reaches SQL: with hostile texts everywhere, the same SQL is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import ConfigError, Kind
from langgraph_eventlog.projections import TokenUsage
from langgraph_eventlog.saver import EventLogSaver

HOSTILE = [
    "'; DROP TABLE event; --",
    '"; DELETE FROM history; --',
    "x') OR '1'='1",
    "' UNION SELECT 'msgpack', x'c7', sql FROM sqlite_schema --",
    "%' ESCAPE '\\",
    "?1 :a @b $c [d] `e`",
    "event",
    "main.event",
    "1 OR 1=1 /*",
    "*/ PRAGMA writable_schema = ON; /*",
    "nul\x00'; DROP TABLE meta; --",
    "\U0001f600'\u202e\"",
    "{table}%s%(x)s@",
]
# Keys of filters and of indexed metadata are letters, digits, "_", "-" and "."; these are the worst of them.
HOSTILE_KEYS = ["--", "SELECT", "a--b", "rowid", "metadata", "checkpoint_id", "0", "_", "-1", "json_extract"]

Name = Callable[[str], str]


@pytest.fixture
def traced() -> Iterator[set[str]]:
    """Every SQL text that is executed on any connection, statements of triggers included."""
    texts: set[str] = set()

    def hook(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: texts.add(event["sql"]), id=texts)

    apsw.connection_hooks.append(hook)
    yield texts
    apsw.connection_hooks.remove(hook)


def everything(folder: Path, name: Name, key: str, tools: Any) -> None:
    """Call everything that takes a text, with texts made by `name`, and `key` as the key of metadata."""
    path = folder / name("file").replace("/", "_").replace("\0", "_")
    tokens = TokenUsage()
    with EventLogSaver(path, indexed_metadata=[key], projections=[tokens]) as saver:
        thread, ns, run = name("thread"), name("ns"), name("run")
        parent = None
        for step in range(3):
            metadata = {"run_id": run, "source": name("source"), "step": step, "n": {key: name("nested")}}
            metadata[key] = name("meta")
            metadata[name("metadata key")] = name("metadata value")
            values = {name("channel"): name("value") * (1 + step), name("list"): [name(f"{i}") for i in range(step)]}
            where = tools.config(thread, parent, ns, metadata={key: name("meta")})
            parent = f"{name('id')} {step}"
            put = saver.put(where, tools.checkpoint(parent, values), metadata, {})  # type: ignore[arg-type]
            writes = [(name("channel"), name("write")), ("__interrupt__", name("interrupt"))]
            saver.put_writes(put, writes, name("task"), name("task path"))
        saver.register_thread(thread, name("thread name"), {key: name("info")})
        for where in (tools.config(thread, None, ns), tools.config(thread, parent, ns)):
            assert saver.get_tuple(where) is not None
            saver.get_delta_channel_history(config=where, channels=[name("channel")])
        assert saver.get_tuple(tools.config(thread, name("no such"), ns)) is None
        # LangGraph takes NULs out of metadata, but not out of what is nested.
        kept = {"meta": name("meta"), "run": run, "source": name("source")}
        kept = {label: text.replace("\0", "") for label, text in kept.items()}
        nested = {f"n.{key}": name("nested")}
        for filter in ({key: kept["meta"]}, {"run_id": kept["run"]}, nested, {"source": kept["source"]}):
            assert len(list(saver.list(None, filter=filter))) == 3
            assert len(list(saver.list({"configurable": {"thread_id": thread}}, filter=filter))) == 3
        assert list(saver.list(None, filter={key: name("another")}, before=tools.config(thread, name("id")))) == []
        assert [t.thread_id for t in saver.threads(metadata={key: name("info")})] == [thread]
        saver.copy_thread(thread, name("copy"))
        saver.fork_thread(tools.config(thread, parent, ns), name("fork"), metadata={key: name("info")})
        assert len(list(saver.log.read(thread_id=thread))) > 0
        tokens.totals(thread)
        saver.rebuild()
        assert list(saver.log.verify()) == []
        saver.prune([name("copy"), name("no such")])
        saver.delete_for_runs([name("other run"), run])
        saver.delete_thread(thread)
        saver.delete_thread(name("no such"))
        assert list(saver.log.verify()) == []
    with EventLogSaver(path, read_only=True, indexed_metadata=[key]) as saver:
        assert saver.get_tuple(tools.config(thread, None, ns)) is None
        kinds = [event.kind for event in saver.log.read()]
        assert kinds.count(Kind.PUT) == 3


def test_hostile_texts_are_no_sql(tmp_path: Path, traced: set[str], tools: Any) -> None:
    for time in ("first", "second"):  # what a process asks only once, it has asked by then
        traced.clear()
        (tmp_path / time).mkdir()
        everything(tmp_path / time, lambda label: f"a{label}", "colour", tools)
    harmless = set(traced)
    assert len(harmless) > 100
    for n, text in enumerate(HOSTILE):
        traced.clear()
        (tmp_path / f"{n}").mkdir()
        everything(tmp_path / f"{n}", lambda label, text=text: text + label, HOSTILE_KEYS[n % len(HOSTILE_KEYS)], tools)  # type: ignore[misc]
        assert traced == harmless, text


def test_what_an_official_saver_made_sql_of_is_refused_or_means_itself(tmp_path: Path, tools: Any) -> None:
    """CVE-2025-67644: keys of filters. The published payloads gave everyone's checkpoints, and with UNION any row."""
    published = [
        "x') OR '1'='1",
        "x') = ? OR 1=1 --",
        "x') UNION SELECT thread_id, checkpoint_ns, checkpoint_id, NULL, 'msgpack', x'c7', '{}' FROM checkpoints --",
        "a') OR EXISTS (SELECT 1 FROM sqlite_master) --",
        "user') IS NOT NULL OR json_extract('{\"a\":1}', '$.a",
    ]
    with EventLogSaver(tmp_path / "agent.db", indexed_metadata=["user"]) as saver:
        for user in ("ann", "bob"):
            saver.put(tools.config(user), tools.checkpoint("1", {}), {"user": user}, {})  # type: ignore[typeddict-unknown-key]
        for payload in published:
            for filter in ({payload: "dummy"}, {"user": "ann", payload: "dummy"}, {f"user.{payload}": "dummy"}):
                with pytest.raises(ConfigError):
                    list(saver.list(None, filter=filter))
                with pytest.raises(ConfigError):
                    list(saver.threads(metadata=filter))
            for filter in ({"user": payload}, {"run_id": payload}, {"user": {payload: payload}}, {"user": [payload]}):
                assert list(saver.list(None, filter=filter)) == []
            assert list(saver.list(tools.config(payload))) == []
            saver.delete_for_runs([payload])
            saver.delete_thread(payload)
            with pytest.raises(ConfigError):
                EventLogSaver(tmp_path / "other.db", indexed_metadata=[payload])
        assert len(list(saver.list(None))) == 2


def test_names_of_projections_are_names(tmp_path: Path) -> None:
    """They become names of tables, so that they are checked letter by letter."""
    for name in ["x; DROP TABLE event", 'x"', "x'", "event", "sqlite_x", "x\x00", "x y", "é", ""]:
        mine = TokenUsage()
        mine.name = name  # type: ignore[misc]
        with pytest.raises(ConfigError):
            EventLogSaver(tmp_path / "agent.db", projections=[mine])
