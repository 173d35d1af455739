"""What each kind of event does to the built-in projections (FORMAT.md section 4).

Each log is compared with its rebuild when its test ends: what is tested here holds live and rebuilt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langgraph_eventlog.eventlog import (
    Carry,
    CopiedStream,
    Copy,
    Kind,
    NewEvent,
    Prune,
    PutWrites,
    Removal,
    Whole,
    Write,
)
from langgraph_eventlog.projections.ids import to_key
from langgraph_eventlog.projections.pending_writes import effective
from langgraph_eventlog.saver import EventLogSaver


def shown(saver: EventLogSaver, thread: str = "t", ns: str = "") -> list[str]:
    found = saver.list({"configurable": {"thread_id": thread, "checkpoint_ns": ns}})
    return [tuple_.checkpoint["id"] for tuple_ in found]


def latest(saver: EventLogSaver, thread: str = "t") -> str | None:
    found = saver.get_tuple({"configurable": {"thread_id": thread}})
    return None if found is None else found.checkpoint["id"]


def info(saver: EventLogSaver, thread: str = "t") -> Any:
    return next((i for i in saver.threads() if i.thread_id == thread), None)


def append(saver: EventLogSaver, data: Any, thread: str | None = None) -> None:
    saver.log.append(NewEvent(data, thread))


@pytest.mark.parametrize("path", [None, ":memory:"])
def test_every_kind_of_event_gives_the_same_live_and_rebuilt(
    make_saver: Callable[..., EventLogSaver], steps: Any, path: Any
) -> None:
    saver = make_saver(path, indexed_metadata=["thread_id", "parents."])
    steps.everything(saver)
    assert {event.kind for event in saver.log.read()} == set(Kind)
    assert list(saver.log.verify()) == []
    assert all(steps.tables(saver.log).values())


def test_every_event_by_itself_leaves_the_projections_as_a_rebuild_makes_them(
    make_saver: Callable[..., EventLogSaver], monkeypatch: Any, steps: Any
) -> None:
    """Not only the last: a difference may be mended by later events."""
    saver, found = make_saver(":memory:"), []
    apply = saver._core.projector.apply

    def applied(connection: Any, event: Any) -> None:
        apply(connection, event)
        if event.kind not in (Kind.PUT, Kind.PUT_WRITES) or event.position % 16 == 0:
            due.append(event.position)

    due: list[int] = []
    monkeypatch.setattr(saver._core.projector, "apply", applied)
    notify = saver.log.appended.notify

    def after() -> None:
        notify()
        while due:
            due.pop()
            found.extend(saver.log.verify())

    monkeypatch.setattr(saver.log.appended, "notify", after)
    steps.everything(saver)
    assert found == []


def test_a_put_replaces_and_shows_and_keeps_the_writes(saver: EventLogSaver, steps: Any) -> None:
    steps.put(saver, "1", {"x": 1})
    steps.write(saver, "1", [("x", "w")])
    steps.put(saver, "2", {"x": 2}, parent="1")
    append(saver, Prune("keep_latest", (), (Removal("t", "", (), ("1",)),)))
    assert (shown(saver), info(saver).checkpoints) == (["2"], 1)
    steps.put(saver, "1", {"x": 3}, metadata={"new": True})
    assert (shown(saver), info(saver).checkpoints, info(saver).writes) == (["2", "1"], 2, 1)
    found = saver.get_tuple(steps.config(id="1"))
    assert found is not None
    assert (found.checkpoint["channel_values"], found.metadata) == ({"x": 3}, {"new": True})
    assert found.pending_writes == [("task", "x", "w")]
    assert found.parent_config is None


def test_hiding_and_removing_the_latest_brings_back_the_one_before(saver: EventLogSaver, steps: Any) -> None:
    for id in "1234":
        steps.put(saver, id)
    append(saver, Prune("keep_latest", (), (Removal("t", "", ("4",), ("3",)),)))
    assert (latest(saver), shown(saver), info(saver).checkpoints) == ("2", ["2", "1"], 2)
    append(saver, Prune("keep_latest", (), (Removal("t", "", (), ("1", "2")),)))
    assert (latest(saver), shown(saver), info(saver)) == (None, [], None)


def test_removing_twice_or_what_is_not_there_counts_once(saver: EventLogSaver, steps: Any) -> None:
    steps.put(saver, "1")
    steps.put(saver, "2")
    steps.write(saver, "1", [("x", 1)])
    removal = Removal("t", "", ("1", "never"), ("nor this",))
    append(
        saver,
        Prune(
            "keep_latest", ("nobody",), (removal, removal, Removal("nobody", "", ("1",)), Removal("t", "no", ("1",)))
        ),
    )
    append(saver, Prune("keep_latest", (), (removal,)))
    assert (info(saver).checkpoints, info(saver).writes, shown(saver)) == (1, 0, ["2"])


def test_writes_without_a_checkpoint_are_removed_with_its_id(saver: EventLogSaver, steps: Any) -> None:
    steps.write(saver, "1", [("x", 1)])
    append(saver, Prune("keep_latest", (), (Removal("t", "", ("1",)),)))
    assert (steps.tables(saver.log)["pending_writes"], info(saver)) == ([], None)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_restate_changes_the_bytes_and_nothing_else(make_saver: Any, clock: Any, steps: Any, hidden: bool) -> None:
    """It is no activity of its thread."""
    saver = make_saver(clock=clock)
    steps.put(saver, "1", {"x": 1}, metadata={"step": 1})
    before = info(saver)
    steps.put(saver, "1", {"x": 1}, thread="other")
    steps.restate(saver, "t", hidden=hidden)
    if hidden:
        assert (shown(saver), info(saver)) == ([], None)
        return
    after = info(saver)
    assert (after.last_activity, after.checkpoints, after.metadata) == (before.last_activity, 1, before.metadata)
    assert steps.tables(saver.log)["history"][0][2] == 3


def test_a_carry_replaces_when_a_thread_began_and_was_active(saver: EventLogSaver, steps: Any) -> None:
    """A thread that is not there any more begins with it; one that never was is passed over."""
    steps.put(saver, "1")
    steps.put(saver, "1", thread="gone")
    saver.delete_thread("gone")
    append(saver, Carry("threads", [["t", 1_000_000, 2_000_000], ["gone", 3, 4], ["never", 5, 6]]))
    append(saver, Carry("token_usage", {"t": 1}))
    found = info(saver)
    assert (found.created_at.timestamp(), found.last_activity.timestamp(), found.checkpoints) == (1, 2, 1)
    assert [row[1:3] for row in steps.tables(saver.log)["threads"]] == [(1_000_000, 2_000_000), (3, 4)]
    steps.put(saver, "2")
    assert info(saver).created_at.timestamp() == 1


def test_a_copy_names_its_own_thread_in_metadata(saver: EventLogSaver, steps: Any) -> None:
    steps.put(saver, "1", metadata={"thread_id": "t", "other": "t"})
    steps.put(saver, "2", metadata={"thread_id": "someone else"})
    saver.copy_thread("t", "u")
    found = {c.checkpoint["id"]: c.metadata for c in saver.list(steps.config("u"))}
    assert found == {"1": {"thread_id": "u", "other": "t"}, "2": {"thread_id": "someone else"}}


def test_a_copy_passes_over_what_has_been_erased_since(make_saver: Any, steps: Any) -> None:
    """It could be erased only because it was removed from the copy as well: live and rebuilt agree."""
    saver = make_saver(clock=iter(range(1, 100)).__next__)
    steps.put(saver, "1", {"x": 1})
    steps.write(saver, "1", [("x", 1)])
    steps.put(saver, "2", {"x": 2}, parent="1")
    saver.copy_thread("t", "u")
    saver.prune(["t", "u"])
    append(saver, Carry("threads", [["t", 2, 4]]))
    steps.erase(saver, 1, 2)
    before = steps.tables(saver.log)
    saver.rebuild()
    assert steps.tables(saver.log) == before
    assert (shown(saver, "t"), shown(saver, "u")) == (["2"], ["2"])


def test_copies_of_copies_outlive_their_sources(saver: EventLogSaver, steps: Any) -> None:
    steps.put(saver, "1", {"x": 1})
    steps.write(saver, "1", [("x", "w")])
    saver.copy_thread("t", "u")
    saver.copy_thread("u", "v")
    saver.delete_thread("t")
    saver.delete_thread("u")
    found = saver.get_tuple(steps.config("v"))
    assert found is not None
    assert (found.checkpoint["channel_values"], found.pending_writes) == ({"x": 1}, [("task", "x", "w")])


def test_a_copied_checkpoint_may_be_hidden(saver: EventLogSaver, steps: Any) -> None:
    steps.put(saver, "1")
    steps.put(saver, "2", parent="1")
    append(saver, Copy("copy", "t", None, (CopiedStream("", (("1", 1, True), ("2", 2, False)), ()),)), "u")
    assert (shown(saver, "u"), info(saver, "u").checkpoints) == (["2"], 1)
    append(saver, Copy("copy", "t", None, (CopiedStream("", (("1", 1, False),), ()),), {"a": 1}), "u")
    assert (shown(saver, "u"), info(saver, "u").metadata) == (["2", "1"], {"a": 1})


def test_run_ids_that_are_no_text_are_not_looked_up(saver: EventLogSaver, steps: Any) -> None:
    """Odd metadata never makes a put fail."""
    for n, run_id in enumerate(["r", 7, None, ["r"], {"r": 1}, "lone \ud800", "nul \x00", "", 2**70, 1.5]):
        steps.put(saver, str(n), metadata={"run_id": run_id})
    saver.delete_for_runs(["r", "7", ""])
    assert shown(saver) == ["9", "8", "6", "5", "4", "3", "2"]


def test_writes_in_the_order_of_path_task_and_index() -> None:
    """A special channel's write replaces, any other keeps the first; also within one event."""

    def event(task: str, path: str, *writes: tuple[str, int, bytes]) -> PutWrites:
        return PutWrites("1", task, path, tuple(Write(c, i, Whole("", v)) for c, i, v in writes))

    found = effective(
        [
            event("b", "", ("x", 0, b"first"), ("__error__", -1, b"old"), ("x", 0, b"within")),
            event("a", "~", ("x", 0, b"last path")),
            event("b", "~late", ("x", 0, b"late"), ("__error__", -1, b"new"), ("y", 1, b"added")),
            event("B", "", ("x", 0, b"upper")),
        ]
    )
    assert [(w.task_path, w.task_id, w.idx, w.value.data) for w in found] == [
        ("", "B", 0, b"upper"),
        ("", "b", 0, b"first"),
        ("~", "a", 0, b"last path"),
        ("~late", "b", -1, b"new"),
        ("~late", "b", 1, b"added"),
    ]


def test_verify_finds_each_row_that_is_not_as_it_should_be(make_saver: Any, steps: Any, tmp_path: Any) -> None:
    saver = make_saver()
    steps.everything(saver)
    make_saver.damaged(saver.path)
    damage = {
        "history": f"UPDATE history SET parent_id = x'0078' WHERE checkpoint_id = x'{to_key('1').hex()}'",
        "history_recent": "UPDATE history_recent SET hidden = 1",
        "pending_writes": "UPDATE pending_writes SET writes = writes + 1",
        "threads": "UPDATE threads SET bytes = 0",
    }
    for table, sql in damage.items():
        with saver.log.database.writing() as connection:
            connection.execute(sql)
        findings = list(saver.log.verify())
        assert {finding.code for finding in findings} == {"projection"}
        assert {finding.message.split(":")[0] for finding in findings} == {table}
        assert table != "history" or "'1')" in findings[0].message
        saver.rebuild()
        assert list(saver.log.verify()) == []
