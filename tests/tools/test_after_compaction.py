"""Every tool on logs that a compaction has been through: it erased what was let go, and stored anew what was kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph_eventlog.eventlog import Kind
from langgraph_eventlog.eventlog.event import RestateWrites, writes_of
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.auditing.state_at import state_at
from langgraph_eventlog.tools.looking.states import load_state
from langgraph_eventlog.tools.moving import transplanting
from langgraph_eventlog.tools.moving.checking import check_provenance
from langgraph_eventlog.tools.moving.extracting import extract
from langgraph_eventlog.tools.moving.merging import merge
from langgraph_eventlog.tools.moving.write_places import WritePlaces

from ..model.moved import compare
from ..model.seeing import config_of
from ..saver.test_similar_writes import edited

THREADS = ("kept", "copy", "fork", "chat")
PATH = "~__pregel_pull, writer"


def put(saver: EventLogSaver, thread: str, n: int, values: dict[str, Any]) -> None:
    versions: dict[str, str | int | float] = dict.fromkeys(values, n + 1)
    checkpoint: Any = {
        "v": 4,
        "ts": f"2026-01-01T00:00:{n:02}+00:00",
        "id": f"{n:04}",
        "channel_values": values,
        "channel_versions": versions,
        "versions_seen": {},
    }
    metadata: Any = {"source": "loop", "step": n, "run_id": f"run {n}", "thread_id": thread}
    saver.put(config_of(thread, "", f"{n - 1:04}" if n else None), checkpoint, metadata, versions)


def write(saver: EventLogSaver, thread: str, n: int, writes: list[tuple[str, Any]], task: str) -> None:
    saver.put_writes(config_of(thread, "", f"{n:04}"), writes, task, PATH)


def fill(saver: EventLogSaver) -> None:
    """Threads whose writes are patches to what goes; several of one task, of which the first or the last counts."""
    saver.register_thread("kept", "first name")
    put(saver, "kept", 0, {"x": 0})
    write(saver, "kept", 0, [("document", edited(1)), ("__resume__", 1)], "task")
    for n in range(1, 4):
        for again in range(3):
            write(saver, "kept", n, [("document", edited(n + again)), ("__resume__", edited(n + again))], "task")
            write(saver, "kept", n, [("document", edited(n)), ("d", again)], f"other {again}")
        put(saver, "kept", n, {"x": n, "same": "the same " * 200})
    saver.copy_thread("kept", "copy")
    saver.fork_thread(config_of("kept", "", "0003"), "fork")
    put(saver, "fork", 4, {"x": 4, "same": "the same " * 200})
    write(saver, "copy", 3, [("document", edited(9)), ("__resume__", "late")], "task")
    chat: list[Any] = []
    for n in range(12):
        written: list[Any] = [HumanMessage(f"{n} {'words ' * 40}", id=f"h{n}"), AIMessage(f"{n}", id=f"a{n}")]
        chat += written
        put(saver, "chat", n, {"messages": [*chat]})
        write(saver, "chat", n, [("messages", written)], "task")
    put(saver, "gone", 0, {"secret": "hunter2"})
    saver.register_thread("kept", "second name")


def let_go(saver: EventLogSaver) -> None:
    saver.delete_for_runs(["run 0"])  # of all threads
    saver.prune(["chat"])
    saver.delete_thread("gone")


@pytest.fixture
def compacted(make_saver: Any, tmp_path: Path, clock: Any) -> EventLogSaver:
    """A log after a compaction: tmp_path / "compacted.db"."""
    saver: EventLogSaver = make_saver(tmp_path / "compacted.db", clock=clock)
    fill(saver)
    let_go(saver)
    report = saver.compact()
    assert report.complete
    assert report.restated > 10
    kinds = {event.kind for event in saver.log.read()}
    assert {Kind.RESTATE, Kind.RESTATE_WRITES, Kind.COMPACTION, Kind.CARRY} <= kinds
    return saver


def restated(saver: EventLogSaver) -> list[RestateWrites]:
    return [event.data for event in saver.log.read(kinds=[Kind.RESTATE_WRITES])]


@pytest.mark.parametrize(
    "threads", [["kept"], ["copy"], ["fork"], ["kept", "copy"], ["copy", "fork", "chat"], list(THREADS)], ids="+".join
)
def test_threads_are_taken_out_and_in_as_they_are(
    compacted: EventLogSaver, make_saver: Any, tmp_path: Path, threads: list[str]
) -> None:
    extract(compacted, tmp_path / "taken.db", threads, check=True)
    taken = make_saver(tmp_path / "taken.db")
    compare(compacted, taken, {name: name for name in threads})
    assert restated(taken)
    # And on: into a log that has others, under other names, after more of it has gone.
    taken.delete_for_runs(["run 1"])
    assert taken.compact().complete
    target = make_saver(tmp_path / "target.db")
    fill(target)
    names = {name: f"new {name}" for name in threads}
    merge(target, taken, rename=names)
    compare(taken, target, names)
    assert [*check_provenance(target, taken)] == []
    assert target.compact().complete
    compare(taken, target, names)


def test_places_of_writes_do_not_change_their_order_when_only_some_are_restated(
    make_saver: Any, tmp_path: Path
) -> None:
    """The last of __resume__ counts, the first of others: between two that were stored anew is one that was not."""
    saver = make_saver()
    put(saver, "t", 0, {"x": 0})
    write(saver, "t", 0, [("document", edited(1)), ("__resume__", edited(1))], "task")
    put(saver, "t", 1, {"x": 1})
    for value in (edited(2), "small", edited(3)):
        write(saver, "t", 1, [("document", value), ("__resume__", value)], "task")
    saver.copy_thread("t", "c")
    write(saver, "c", 1, [("document", "after"), ("__resume__", edited(5))], "task")
    saver.delete_for_runs(["run 0"])
    assert saver.compact().complete
    named = {(data.applied, data.ordinal) for data in restated(saver)}
    assert 0 < len(named) < 7
    for threads in (["t"], ["c"], ["t", "c"]):
        path = tmp_path / f"{'-'.join(threads)}.db"
        extract(saver, path, threads, check=True)
        made = make_saver(path)
        compare(saver, made, {name: name for name in threads})
        for name in threads:
            written = {c: v for _, c, v in made.get_tuple(config_of(name, "", None)).pending_writes}
            assert written["__resume__"] == (edited(3) if name == "t" else edited(5))
            assert written["document"] == edited(2)


def test_a_comparison_finds_restated_writes_that_are_others(
    compacted: EventLogSaver, make_saver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(array: list[Any], *_: Any) -> list[Any]:
        return [*array[:4], "another path", *array[5:]] if isinstance(array[0], int) else array

    real = transplanting._encoded
    monkeypatch.setattr(transplanting, "_encoded", lambda array: real(wrong(array)))
    merge(target := make_saver(tmp_path / "t.db"), compacted, ["kept"])
    monkeypatch.undo()
    found = [finding for finding in check_provenance(target, compacted) if finding.code == "provenance"]
    assert len(found) == len(restated(target)) > 0


def test_a_comparison_finds_restated_writes_in_another_order(
    compacted: EventLogSaver, make_saver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(target := make_saver(tmp_path / "right.db"), compacted, ["kept"])
    assert [*check_provenance(target, compacted)] == []
    monkeypatch.setattr(WritePlaces, "at", lambda _, there, head: (0, 1000 - there[0]))
    merge(target := make_saver(tmp_path / "wrong.db"), compacted, ["kept"])
    assert any("in another order" in finding.message for finding in check_provenance(target, compacted))


def test_the_commands_take_threads_out_and_in(compacted: EventLogSaver, json_of: Any, tmp_path: Path) -> None:
    compacted.close()
    done = json_of("extract", "compacted.db", "taken.db", "copy", "chat", "--check")
    assert done["writes"] > 0
    renames = ("--rename", "copy=copy 2", "--rename", "chat=chat 2")
    assert json_of("merge", "compacted.db", "taken.db", "--check", *renames)["findings"] == []
    for log in ("compacted.db", "taken.db"):
        *found, result = json_of("verify", log, lines=True)
        assert found == []
        assert result["values"]["decoded"] > 0


def test_an_export_says_what_was_restated_and_what_comes_back_is_the_same(
    compacted: EventLogSaver, run: Any, json_of: Any, tmp_path: Path
) -> None:
    expected = restated(compacted)
    compacted.close()
    run("export", "compacted.db", "events.jsonl", "--jsonl")
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    shown = [line["data"] for line in lines if line.get("event") == "restate_writes"]
    assert [(data["applied"], data["ordinal"]) for data in shown] == [(d.applied, d.ordinal) for d in expected]
    assert {w["value"] for data in shown for w in data["writes"] if w["channel"] == "document"} >= {edited(2)}
    assert not any("not_shown" in line.get("data", ()) for line in lines)
    assert {line["kind"] for line in lines if line["type"] == "erased"} >= {Kind.PUT, Kind.PUT_WRITES, Kind.THREAD}
    run(
        "export",
        "compacted.db",
        "redacted.jsonl",
        "--jsonl",
        "--redact",
        "channel:document",
        "--redact",
        "channel:__resume__",
    )
    assert edited(2) not in (tmp_path / "redacted.jsonl").read_text()
    assert json_of("export", "compacted.db", "checkpoints.sqlite")["differences"] == []
    imported = json_of("import", "checkpoints.sqlite", "imported.db")
    assert imported["differences"] == []
    assert imported["checkpoints"] == imported["compared"] > 0
    again = {
        k: v for k, v in json_of("export", "imported.db", "again.sqlite").items() if k in ("checkpoints", "writes")
    }
    assert again == {name: imported["there"][name] for name in again}


def test_an_audit_says_what_a_compaction_did(compacted: EventLogSaver, run: Any, json_of: Any) -> None:
    expected = restated(compacted)
    compacted.close()
    found = json_of("audit", "compacted.db", lines=True)
    kinds = [entry["kind"] for entry in found]
    assert {"erased", "restate", "restate_writes", "compaction", "carry"} <= set(kinds)
    assert not any("problem" in entry for entry in found)
    compactions = [entry["details"] for entry in found if entry["kind"] == "compaction"]
    erased = sum(entry["size"] for entry in found if entry["kind"] == "erased")
    assert sum(last - first + 1 for one in compactions for first, last in one["erased"]) == erased
    assert compactions[-1]["policy"] == {"complete": True}
    writes = [entry for entry in found if entry["kind"] == "restate_writes"]
    assert [(e["details"]["applied"], e["details"]["ordinal"]) for e in writes] == [
        (data.applied, data.ordinal) for data in expected
    ]
    assert all(entry["task_id"] and entry["checkpoint_id"] and "changes" not in entry for entry in writes)
    assert "applied: " in run("audit", "compacted.db", "kept").stdout


def test_a_state_is_whole_from_the_compaction_on_and_says_before_what_it_misses(
    make_saver: Any, tmp_path: Path, json_of: Any, clock: Any
) -> None:
    saver = make_saver(tmp_path / "agent.db", clock=clock)
    saver.register_thread("untouched", "name")
    saver.register_thread("named", "before")
    put(saver, "untouched", 1, {"x": 1})
    fill(saver)
    saver.register_thread("named", "after")
    filled = saver.log.head().position
    let_go(saver)
    before = saver.log.head().position
    wanted = {name: state_at(saver, name, before) for name in (*THREADS, "gone", "named", "untouched")}
    assert saver.compact().complete
    head = saver.log.head().position
    for name, was in wanted.items():
        now = state_at(saver, name, head)
        assert now.incomplete == ()
        assert [n.latest for n in now.namespaces] == [n.latest for n in was.namespaces]
        assert (now.exists, now.name, now.metadata) == (was.exists, was.name, was.metadata)
        if name in ("named", "untouched"):
            continue
        assert state_at(saver, name, filled).incomplete, name
    assert state_at(saver, "untouched", filled).incomplete == ()
    # Nothing is missing but names, of which one was its own.
    assert state_at(saver, "named", filled - 1).incomplete == ((2, 2), (4, 4))
    saver.close()
    assert json_of("audit", "agent.db", "kept", "--at", str(filled))["complete"] is False
    now = json_of("audit", "agent.db", "kept", "--at", str(head))
    assert now["complete"] is True
    assert now["name"] == "second name"


def test_looking_finds_in_restated_writes_what_it_finds_in_others(
    make_saver: Any, json_of: Any, tmp_path: Path
) -> None:
    saver = make_saver(tmp_path / "agent.db")
    fill(saver)
    let_go(saver)
    before = {name: load_state(saver, name) for name in ("kept", "copy")}
    assert saver.compact().complete
    assert [writes_of(data).task_path for data in restated(saver)] == [PATH] * len(restated(saver))  # type: ignore[union-attr]
    for name, was in before.items():
        now = load_state(saver, name)
        assert now.pending == was.pending
        assert {write.node for write in now.pending} == {"writer"}
    saver.close()
    document = json_of("stats", "agent.db")
    assert document["kinds"]["restate_writes"]["events"] > 0
    assert document["channels"]["document"]["writes"] >= 18
    assert document["reclaimable"] == {
        "events": 0, "bytes": 0, "later_events": 0, "later_bytes": 0, "restated_bytes": 0,
    }  # fmt: skip
