"""`audit --at`: a thread as it was, also what has been deleted or pruned since; and what is not complete says so."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph_eventlog.eventlog import Compaction, NewEvent
from langgraph_eventlog.eventlog.errors import ConfigError
from langgraph_eventlog.eventlog.integrity import inner_of
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.auditing import state_at as at
from langgraph_eventlog.tools.auditing.erasures import maybe_of_thread
from langgraph_eventlog.tools.auditing.replay import replay
from langgraph_eventlog.tools.auditing.state_at import position_at, state_at
from langgraph_eventlog.tools.opening import open_log

SHOP = runpy.run_path(str(Path(__file__).with_name("shop.py")))


def config_of(thread: str, ns: str = "") -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ns}}


def looked_at(saver: EventLogSaver, thread: str) -> Any:
    """Give what a thread is now, as the saver itself gives it."""
    listed = list(saver.list({"configurable": {"thread_id": thread}}))
    latest: dict[str, Any] = {}
    for found in listed:
        ns = found.config["configurable"]["checkpoint_ns"]
        latest.setdefault(ns, found)
    count = {ns: sum(found.config["configurable"]["checkpoint_ns"] == ns for found in listed) for ns in latest}
    [info] = [info for info in saver.threads() if info.thread_id == thread] or [None]
    return latest, count, None if info is None else (info.name, info.metadata)


def as_then(saver: EventLogSaver, thread: str, at: int | datetime) -> Any:
    state = state_at(saver, thread, at)
    assert state.incomplete == ()
    latest = {namespace.checkpoint_ns: namespace.latest for namespace in state.namespaces}
    count = {namespace.checkpoint_ns: namespace.checkpoints for namespace in state.namespaces}
    is_listed = bool(state.namespaces) or state.name is not None or bool(state.metadata)
    return latest, count, (state.name, dict(state.metadata)) if is_listed else None


def story(saver: EventLogSaver) -> Iterator[None]:
    """Do what threads go through, and stop after each step."""
    graph, planner, notes = SHOP["support"](saver), SHOP["_planner"](saver), SHOP["_note_taker"](saver)
    run = SHOP["_of"]

    def ask(thread: str, item: str, text: str) -> None:
        graph.invoke({"messages": [HumanMessage(text, id=f"{thread}.{text}")], "item": item}, run(thread))

    yield saver.register_thread("a", name="First", metadata={"n": 1}) and None
    yield ask("a", "lamp", "how much?")
    yield ask("a", "desk", "please refund it")  # interrupted: it has pending writes
    middle = list(graph.get_state_history(run("a")))[3]
    yield saver.fork_thread(middle.config, "b", metadata={"fork": True}) and None
    yield graph.invoke(None, run("b")) and None
    for _ in range(2):
        yield planner.invoke({"steps": ["go"]}, run("planner")) and None
    for n in range(7):
        yield notes.invoke({"notes": [f"note {n}"]}, run("notes")) and None
    yield saver.register_thread("a", name="Renamed", metadata={"n": 2}) and None
    yield saver.copy_thread("planner", "planner-2")
    yield saver.prune(["planner", "notes"])
    yield saver.delete_for_runs(["run of a"])
    yield ask("a", "chair", "and this?")
    yield saver.delete_thread("a")
    yield ask("a", "lamp", "once more")
    yield saver.prune(["b", "planner-2"], strategy="delete")


THREADS = ("a", "b", "planner", "planner-2", "notes")


@pytest.mark.parametrize("place", ["file", ":memory:"])
def test_a_thread_is_as_it_was_at_every_moment_whatever_became_of_it(make_saver: Any, clock: Any, place: str) -> None:
    saver = make_saver(None if place == "file" else place, clock=clock)
    moments = []
    for _ in story(saver):
        position = saver.log.head().position
        moments.append((position, {thread: looked_at(saver, thread) for thread in THREADS}))
    assert len(moments) > 20
    for position, threads in moments:
        for thread, was in threads.items():
            assert as_then(saver, thread, position) == was, (position, thread)
    # The tables of the file are as they were: verified by the fixture, and read here.
    assert looked_at(saver, "a") == moments[-1][1]["a"]


def test_a_time_is_the_last_event_recorded_by_then(make_saver: Any, clock: Any) -> None:
    saver = make_saver(":memory:", clock=clock)
    for n in range(5):
        saver.register_thread("t", name=f"name {n}")
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    times = [entry.recorded_at for entry in replay(saver)]
    assert all(time is not None and time > begin for time in times)
    assert position_at(saver.log, begin) == 0
    for n, time in enumerate(times, start=1):
        assert time is not None
        assert position_at(saver.log, time) == n
        assert position_at(saver.log, time - timedelta(microseconds=1)) == n - 1
        assert state_at(saver, "t", time).name == f"name {n - 1}"
    assert not state_at(saver, "t", begin).exists
    assert not state_at(saver, "never", 3).exists


def test_a_position_that_is_not_there_is_refused(make_saver: Any) -> None:
    saver = make_saver(":memory:")
    saver.register_thread("t")
    for position in (-1, 2):
        with pytest.raises(ConfigError, match="there is no position"):
            state_at(saver, "t", position)


def test_a_delta_channel_says_what_it_was_rebuilt_from(make_saver: Any) -> None:
    saver = make_saver(":memory:")
    notes = SHOP["_note_taker"](saver)
    for n in range(3):
        notes.invoke({"notes": [f"remember {n}"]}, SHOP["_of"]("notes"))
        position = saver.log.head().position
    saver.delete_thread("notes")
    [namespace] = state_at(saver, "notes", position).namespaces
    rebuilt = namespace.rebuilt["notes"]
    held = [*(rebuilt["seed"].value if "seed" in rebuilt else ()), *(n for w in rebuilt["writes"] for n in w[2])]
    assert held == ["remember 0", "note 1", "remember 1", "note 3", "remember 2", "note 5"]


def erase(saver: EventLogSaver, positions: list[int]) -> None:
    """Erase events as FORMAT.md says, stubs first, in the transaction of the compaction event that declares it."""

    def decide(connection: Any) -> NewEvent:
        for position in sorted(positions, reverse=True):
            event = next(saver.log.read(after=position - 1, limit=1))
            address = (event.thread_id, event.checkpoint_ns)
            inner = inner_of(recorded_at=event.recorded_at, address=address, digest=event.digest)
            connection.execute("INSERT INTO erased VALUES (?, ?, ?)", (position, int(event.kind), inner))
            connection.execute("DELETE FROM event WHERE position = ?", (position,))
        return NewEvent(Compaction({}, tuple((p, p) for p in sorted(positions)), 1))

    saver.log.transact(decide)


def put(saver: EventLogSaver, thread: str, **values: Any) -> int:
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = values
    saver.put(config_of(thread), checkpoint, {"source": "loop", "step": 1}, {})
    return saver.log.head().position


def test_what_was_erased_before_makes_it_incomplete_and_what_was_erased_elsewhere_does_not(make_saver: Any) -> None:
    saver = make_saver()
    first = put(saver, "gone", x=1)
    other = put(saver, "other", x=1)
    second = put(saver, "gone", x=2)
    saver.delete_thread("gone")
    deleted = saver.log.head().position
    put(saver, "gone", x=3)
    later = put(saver, "later", x=1)
    erase(saver, [first, second])
    head = saver.log.head().position

    assert state_at(saver, "gone", first).incomplete == ((first, first),)
    assert state_at(saver, "gone", deleted).incomplete == ((first, first), (second, second))
    assert state_at(saver, "gone", head - 1).incomplete == ((first, first), (second, second))
    assert state_at(saver, "gone", head).incomplete == ()  # what was erased by then was needed no more
    assert state_at(saver, "gone", first).namespaces == ()
    # Nothing of these was ever let go: what was erased was others'.
    for thread, position in (("other", other), ("later", later)):
        state = state_at(saver, thread, head)
        assert state.incomplete == ()
        assert state.namespaces[0].latest.checkpoint["channel_values"] == {"x": 1}
        with saver.log.database.reading() as connection:
            assert maybe_of_thread(saver.log, connection, thread, position) == ()


def test_a_copy_of_what_was_erased_is_incomplete(make_saver: Any) -> None:
    saver = make_saver()
    first = put(saver, "source", x=1)
    saver.copy_thread("source", "target")
    copied = saver.log.head().position
    put(saver, "elsewhere", x=1)
    saver.delete_thread("source")
    saver.delete_thread("target")
    assert state_at(saver, "target", copied).namespaces[0].latest.checkpoint["channel_values"] == {"x": 1}
    erase(saver, [first])
    state = state_at(saver, "target", copied)
    assert (state.namespaces, state.incomplete) == ((), ((first, first),))


def test_a_replay_names_the_events_that_are_not_there_any_more(make_saver: Any) -> None:
    saver = make_saver()
    positions = [put(saver, "gone", x=n) for n in range(4)]
    saver.delete_thread("gone")
    erase(saver, positions[:3])
    found = list(replay(saver))
    kinds = [(entry.position, entry.kind, entry.size, entry.problem) for entry in found]
    assert kinds[0] == (1, "erased", 3, None)
    assert found[0].details == {"positions": [1, 3]}
    assert [entry.kind for entry in found[1:]] == ["put", "delete_thread", "compaction"]
    assert found[-1].details["erased"] == [[1, 1], [2, 2], [3, 3]]
    # What an erased event was about, nobody knows any more.
    assert [entry.kind for entry in replay(saver, "gone")] == ["put", "delete_thread"]
    # Its parent is not there: what it changed cannot be told, and it says so.
    assert found[1].details == {}
    assert [change.how for change in found[1].changes] == ["new"]


def test_the_command_shows_a_deleted_thread_as_it_was(run: Any, json_of: Any, shop: Path) -> None:
    [deleted] = json_of("audit", shop, "gone", "--kind", "delete_thread", lines=True)
    before = str(deleted["position"] - 1)
    shown = run("audit", shop, "gone", "--at", before).stdout
    assert "human: my password is hunter2" in shown
    assert "incomplete" not in shown
    state = json_of("audit", shop, "gone", "--at", before)
    assert (state["exists"], state["complete"]) == (True, True)
    [namespace] = state["namespaces"]
    assert namespace["values"]["messages"][0]["content"] == "my password is hunter2"
    assert namespace["metadata"]["run_id"] == "run of gone"
    assert "there was no such thread" in run("audit", shop, "gone", "--at", str(deleted["position"])).stdout
    assert "there is no position" in run("audit", shop, "gone", "--at", "999999", code=2).stderr


def test_the_command_takes_a_time_and_shows_what_is_pending(json_of: Any, run: Any, shop: Path) -> None:
    events = json_of("audit", shop, "order-2", lines=True)
    state = json_of("audit", shop, "order-2", "--at", events[-1]["recorded_at"])
    assert state["position"] == events[-1]["position"]
    [pending] = state["namespaces"][0]["pending_writes"]
    assert pending["channel"] == "__interrupt__"
    assert pending["value"][0]["value"] == {"approve": 250}
    assert "__interrupt__ <- " in run("audit", shop, "order-2", "--at", events[-1]["recorded_at"]).stdout
    assert json_of("audit", shop, "order-2", "--at", "2025-12-31")["exists"] is False


def test_the_command_says_what_is_incomplete(make_saver: Any, run: Any, json_of: Any, tmp_path: Path) -> None:
    with make_saver(tmp_path / "erased.db") as saver:
        positions = [put(saver, "gone", x=n) for n in range(3)]
        saver.delete_thread("gone")
        erase(saver, positions[:2])
    assert "1 to 2 have been erased" in run("audit", tmp_path / "erased.db", "gone", "--at", "3").stdout
    assert json_of("audit", tmp_path / "erased.db", "gone", "--at", "3")["incomplete"] == [[1, 2]]
    assert "events 1 to 2 have been erased" in run("audit", tmp_path / "erased.db").stdout


@pytest.mark.parametrize("before", [True, False])
def test_a_state_is_of_one_moment_though_its_thread_is_erased_meanwhile(
    shop: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    replayed = at._replay

    def erase() -> None:
        with EventLogSaver(shop, erase_deleted=False) as other:
            other.delete_thread("notes")
            other.compact()

    def erasing(*arguments: Any) -> None:
        if before:
            erase()
        replayed(*arguments)
        if not before:
            erase()

    with open_log(shop) as log:
        position = max(event.position for event in log.log.read(thread_id="notes"))
        whole = state_at(log, "notes", position)
        with monkeypatch.context() as patched:
            patched.setattr(at, "_replay", erasing)
            assert state_at(log, "notes", position) == whole
        assert whole.namespaces
        assert state_at(log, "notes", position).incomplete
