"""FORMAT.md is enough: a reader written from it alone finds in a file what the library finds."""

from __future__ import annotations

import importlib.util
import operator
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from langgraph_eventlog.eventlog import Kind, Put, PutWrites, Restate, Whole
from langgraph_eventlog.eventlog.resolve import complete
from langgraph_eventlog.projections.ids import from_key
from langgraph_eventlog.saver import EventLogSaver
from typing_extensions import TypedDict

pytestmark = pytest.mark.plain_file("the reader has no key")

HERE = Path(__file__).parent
SERDE = JsonPlusSerializer()
CHECKPOINTS = " UNION ALL ".join(
    "SELECT thread_id, checkpoint_ns, checkpoint_id, position, hidden, parent_id "
    f"FROM {table} JOIN stream USING (stream) JOIN thread USING (thread)"
    for table in ("history", "history_recent")
)


@pytest.fixture(scope="module")
def reader() -> ModuleType:
    """independent_reader.py."""
    spec = importlib.util.spec_from_file_location("independent_reader", HERE / "independent_reader.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


def opaque(value: Any) -> Any:
    """What the library gives, as the reader gives it; a dict with its order."""
    if isinstance(value, Whole):
        return value.tag, value.data
    if isinstance(value, dict):
        return [(key, opaque(e)) for key, e in value.items()]
    return [opaque(e) for e in value]


def ordered(value: Any) -> Any:
    return list(value.items()) if isinstance(value, dict) else value


def decoded(reader: ModuleType, value: Any) -> Any:
    """What a serializer makes of a value of the reader's."""
    if isinstance(value, list):
        return [decoded(reader, e) for e in value]
    if isinstance(value, dict):
        return {key: decoded(reader, e) for key, e in value.items()}
    tag, data = value
    return reader.unpack(data) if tag == "=" else SERDE.loads_typed((tag, data))


def revived(value: Any) -> Any:
    """Metadata of the reader's with what needed a serializer."""
    if isinstance(value, tuple):
        return SERDE.loads_typed(value[1:])
    if isinstance(value, dict):
        return {key: revived(e) for key, e in value.items()}
    return [revived(e) for e in value] if isinstance(value, list) else value


def compare(reader: ModuleType, path: Path, make_saver: Any) -> None:
    """Read a file that nobody has open twice, and compare everything that both have found."""
    log = reader.read_log(path)
    saver: EventLogSaver = make_saver(path)
    assert (log.head, log.link) == (saver.log.head().position, saver.log.head().link)
    compare_events(log, saver)
    compare_checkpoints(reader, log, saver)
    threads = {t.thread_id: t for t in saver.threads()}
    assert set(threads) == set(log.threads)
    for thread_id, info in threads.items():
        facts = log.threads[thread_id]
        assert (info.name, info.metadata) == (facts.name, revived(facts.metadata or {}))
        times = [round(at.timestamp() * 1_000_000) for at in (info.created_at, info.last_activity)]
        assert times == [facts.created_at, facts.last_activity]


def compare_events(log: Any, saver: EventLogSaver) -> None:
    events = list(saver.log.read())
    assert [e.position for e in events] == list(log.events)
    for event in events:
        mine = log.events[event.position]
        for name in ("recorded_at", "kind", "thread_id", "checkpoint_ns", "digest", "link"):
            assert getattr(event, name) == getattr(mine, name)
        put = event.data.put if isinstance(event.data, Restate) else event.data
        if isinstance(put, PutWrites):
            theirs = [(w.channel, w.idx, opaque(complete(w.value))) for w in put.writes]
            assert theirs == [(channel, idx, ordered(v)) for channel, idx, v in mine.writes]
        if isinstance(put, Put):
            with saver.log.database.reading() as connection:
                resolver = saver.log.reader.resolver(connection)
                fields = {("versions", ""): resolver.channel_versions(event.position, put)}
                fields["seen", ""] = resolver.versions_seen(event.position, put)
            fields |= {("channels", name): value for name, value in saver.log.values(event).items()}
            assert {name: opaque(v) for name, v in fields.items()} == {n: ordered(v) for n, v in mine.values.items()}


def compare_checkpoints(reader: ModuleType, log: Any, saver: EventLogSaver) -> None:
    with saver.log.database.reading() as connection:
        found = connection.execute(CHECKPOINTS).fetchall()
    rows = [
        (thread_id, ns, from_key(key), *where, None if parent is None else from_key(parent))
        for thread_id, ns, key, *where, parent in found
    ]
    assert sorted(rows) == sorted(
        (*key, c.event.position, int(c.hidden), c.event.put[1]) for key, c in log.checkpoints.items()
    )
    shown = {}
    for one in saver.list(None):
        names = one.config["configurable"]
        shown[names["thread_id"], names["checkpoint_ns"], names["checkpoint_id"]] = one
    assert set(shown) == {key for key, c in log.checkpoints.items() if not c.hidden}
    for thread_id, ns in {key[:2] for key in shown}:
        latest = saver.get_tuple({"configurable": {"thread_id": thread_id, "checkpoint_ns": ns}})
        assert latest is not None
        assert latest.checkpoint["id"] == max(key[2] for key in shown if key[:2] == (thread_id, ns))
    for key, found in shown.items():
        event = log.checkpoints[key].event
        _, parent_id, _, channels, _, _, frame, rest = event.put[:8]
        assert found.checkpoint == {
            **frame,
            **({} if rest is None else decoded(reader, rest[1:])),
            "id": key[2],
            "channel_values": {name: decoded(reader, event.values["channels", name]) for name in channels},
            "channel_versions": decoded(reader, event.values["versions", ""]),
            "versions_seen": decoded(reader, event.values["seen", ""]),
        }
        assert found.metadata == revived(log.checkpoints[key].metadata)
        assert (found.parent_config or {}).get("configurable", {}).get("checkpoint_id") == parent_id
        assert found.pending_writes == [(task, name, decoded(reader, value)) for task, name, value in log.writes(key)]


@pytest.mark.parametrize("name", ["v1.db", "v1-dictionary.db", "v1-similar.db", "v1-compacted.db"])
def test_the_golden_databases_are_read_alike(reader: ModuleType, tmp_path: Path, make_saver: Any, name: str) -> None:
    shutil.copy(HERE.parent / "golden" / name, tmp_path / name)
    compare(reader, tmp_path / name, make_saver)


class State(TypedDict):
    lines: Annotated[list[str], operator.add]
    notes: dict[str, str]
    story: str


def converse(saver: EventLogSaver) -> None:
    """Four runs of a graph, whose state grows and changes a little each time."""

    def think(state: State) -> dict[str, Any]:
        n = len(state["lines"])
        notes = {**state.get("notes", {}), f"note {n}": "to be kept in mind " * 15, "last": str(n)}
        return {"lines": [f"thought {n} " * 10], "notes": notes}

    def tell(state: State) -> dict[str, Any]:
        n = len(state["lines"])
        told = state.get("story") or "".join(f"Once upon time {i} there was {i * i}. " for i in range(80))
        return {"lines": [f"told {n} " * 10], "story": told.replace("there was 9.", f"there was {n}.") + f"And {n}. "}

    builder = StateGraph(State)
    builder.add_node("think", think)
    builder.add_node("tell", tell)
    builder.add_edge(START, "think")
    builder.add_edge("think", "tell")
    builder.add_edge("tell", END)
    graph = builder.compile(checkpointer=saver)
    for thread_id in ("kept", "deleted", "pruned", "a run less"):
        for n in range(4):
            config: Any = {"configurable": {"thread_id": thread_id}, "metadata": {"run_id": f"{thread_id} {n}"}}
            graph.invoke({"lines": [f"question {n} " * 10]}, config)  # type: ignore[arg-type]
    saver.copy_thread("kept", "copied")
    past = list(saver.list({"configurable": {"thread_id": "kept"}}))
    saver.fork_thread(past[5].config, "forked", {"from": "kept"})
    graph.invoke({"lines": ["after the fork"]}, {"configurable": {"thread_id": "forked"}})  # type: ignore[arg-type]
    graph.update_state({"configurable": {"thread_id": "copied"}}, {"story": "another"})
    saver.delete_thread("deleted")
    saver.prune(["pruned"], strategy="keep_latest")
    saver.delete_for_runs(["a run less 2"])
    saver.register_thread("kept", "the one", {"owner": "ann"})


def test_a_graphs_log_is_read_alike(reader: ModuleType, tmp_path: Path, make_saver: Any) -> None:
    path = tmp_path / "agent.db"
    saver = make_saver(path, synchronous="NORMAL")
    converse(saver)
    saver.close()
    log = reader.read_log(path)
    kinds = {kind for event in log.events.values() for kind in event.kinds.values()}
    assert kinds == set(range(7))
    removing = {Kind.COPY, Kind.DELETE_THREAD, Kind.PRUNE, Kind.DELETE_FOR_RUNS}
    assert removing <= {event.kind for event in log.events.values()}
    compare(reader, path, make_saver)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE event SET record = CAST(record || x'00' AS BLOB) WHERE position = 9",
        "UPDATE event SET link = zeroblob(32) WHERE position = 9",
        "UPDATE event SET recorded_at = recorded_at + 1 WHERE position = 9",
        "UPDATE event SET stream = 1 WHERE position = 9",
        "DELETE FROM event WHERE position = 9",
        "DELETE FROM event WHERE position = (SELECT head FROM meta)",
        "UPDATE erased SET kind = 3 - kind WHERE position = 17",
        "UPDATE meta SET link = zeroblob(32)",
    ],
)
def test_it_refuses_a_log_that_was_tampered_with(reader: ModuleType, tmp_path: Path, helpers: Any, damage: str) -> None:
    """So that its agreeing with the library says something."""
    path = tmp_path / "v1.db"
    shutil.copy(HERE.parent / "golden" / "v1.db", path)
    reader.read_log(path)
    with helpers.without_triggers(path) as connection:
        connection.execute(damage)
    with pytest.raises(reader.FormatError):
        reader.read_log(path)
