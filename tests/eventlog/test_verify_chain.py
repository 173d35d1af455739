"""The chain: what an attacker can do with the file, what an erasure may do, and what an anchor proves."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph_eventlog.eventlog import (
    Carry,
    Compaction,
    CopiedStream,
    Copy,
    Head,
    Kind,
    NewEvent,
    Put,
    Removal,
    Thread,
    Whole,
)
from langgraph_eventlog.eventlog import event as events
from langgraph_eventlog.eventlog.body import bases_of, encode_body, kind_of
from langgraph_eventlog.eventlog.integrity import inner_of
from langgraph_eventlog.eventlog.plain import pack
from langgraph_eventlog.eventlog.record import encode

EMPTY = Whole("=", pack({}))


def record_of(data: Any) -> bytes:
    bases = bases_of(data)
    return encode(encode_body(data, bases), bases)


def found(log: Any, **options: Any) -> set[tuple[str, int | None]]:
    return {(f.code, f.position) for f in log.verify(**options)}


def forge(saver: Any, helpers: Any, position: int, data: Any) -> None:
    """Put another record in an event's place, and recompute the whole chain."""
    with helpers.without_triggers(saver.path) as connection:
        values = (record_of(data), int(kind_of(data)), position)
        connection.execute("UPDATE event SET record = ?, kind = ? WHERE position = ?", values)
        helpers.recompute(connection)


def test_a_chain_recomputed_by_an_attacker_is_found_only_with_an_anchor(
    filled: Any, make_saver: Any, helpers: Any
) -> None:
    anchors = [Head(e.position, e.link) for e in filled.log.read()]
    make_saver.damaged(filled.path)
    forge(filled, helpers, 7, Thread("another name", {}))
    filled.rebuild()
    assert found(filled.log) == set()
    for anchor in anchors:
        expected = {("anchor", anchor.position)} if anchor.position >= 7 else set()
        assert found(filled.log, anchor=anchor) == expected


def test_a_tail_that_was_cut_off_is_found_only_with_an_anchor(filled: Any, make_saver: Any, helpers: Any) -> None:
    anchors = [Head(e.position, e.link) for e in filled.log.read()]
    make_saver.damaged(filled.path)
    with helpers.without_triggers(filled.path) as connection:
        connection.execute("DELETE FROM event WHERE position > 20")
        connection.execute(
            "DELETE FROM stream WHERE stream NOT IN (SELECT stream FROM event WHERE stream IS NOT NULL) AND thread > 6"
        )
        connection.execute("DELETE FROM thread WHERE thread NOT IN (SELECT thread FROM stream)")
        helpers.recompute(connection)
    filled.rebuild()
    assert found(filled.log) == set()
    assert found(filled.log, anchor=anchors[19]) == set()
    assert found(filled.log, anchor=anchors[20]) == {("anchor", 21)}
    assert found(filled.log, anchor=anchors[-1]) == {("anchor", len(anchors))}


def test_a_tail_cut_off_without_more_ado_is_found(filled: Any, make_saver: Any, helpers: Any) -> None:
    make_saver.damaged(filled.path)
    with helpers.without_triggers(filled.path) as connection:
        connection.execute("DELETE FROM event WHERE position > 20")
    assert ("gap", 21) in found(filled.log)


def test_an_anchor_at_zero_tells_one_log_from_another(make_saver: Any, tmp_path: Any) -> None:
    one, two = make_saver(tmp_path / "1.db"), make_saver(tmp_path / "2.db")
    birth, other = one.log.head(), two.log.head()
    assert birth.position == other.position == 0
    one.register_thread("t")
    assert found(one.log, anchor=birth) == set()
    assert found(one.log, anchor=other) == {("anchor", 0)}
    assert found(one.log, anchor=Head(9, bytes(32))) == {("anchor", 9)}
    assert found(one.log, anchor=Head.parse(str(one.log.head()))) == set()
    assert found(two.log, anchor=birth) == {("anchor", 0)}


def test_an_anchor_goes_on_holding_when_the_log_grows_or_is_erased_from(erased_log: Any) -> None:
    heads = [Head(e.position, e.link) for e in erased_log.log.read()]
    erased_log.register_thread("more")
    for head in heads:
        assert found(erased_log.log, anchor=head) == set()


def test_an_erased_event_cannot_be_an_anchor_of_another_chain(filled: Any, helpers: Any) -> None:
    """An anchor taken at an event that was erased since still holds: the chain is recomputed through the hole."""
    anchor = next(Head(e.position, e.link) for e in filled.log.read(thread_id="gone"))
    helpers.erase(filled, [anchor.position])
    assert found(filled.log, anchor=anchor) == set()
    assert found(filled.log, anchor=Head(anchor.position, bytes(32))) == {("anchor", anchor.position)}


def test_a_declared_erasure_verifies_and_changes_nothing_that_is_read(erased_log: Any) -> None:
    assert found(erased_log.log) == set()
    positions = [e.position for e in erased_log.log.read()]
    assert 17 not in positions
    assert 18 not in positions
    before = [(t.config, t.checkpoint, t.pending_writes) for t in erased_log.list(None)]
    erased_log.rebuild()
    assert [(t.config, t.checkpoint, t.pending_writes) for t in erased_log.list(None)] == before


def test_a_stub_without_a_compaction_event_is_found(filled: Any, make_saver: Any, helpers: Any) -> None:
    make_saver.damaged(filled.path)
    helpers.erase(filled, [17, 18], declared=False)
    assert found(filled.log) == {("erased", 17), ("erased", 18)}


def test_a_compaction_event_declares_only_what_is_before_it(filled: Any, make_saver: Any, helpers: Any) -> None:
    """Otherwise one declaration would cover everything that is taken away later."""
    make_saver.damaged(filled.path)
    head = filled.log.head().position
    filled.log.append(NewEvent(Compaction({}, ((1, 10**6), (-(2**63), 2**63 - 1)), 0)))
    thread = filled.put(
        {"configurable": {"thread_id": "later", "checkpoint_ns": ""}}, {"id": "c1", "channel_values": {}}, {}, {}
    )
    filled.delete_thread("later")
    assert thread["configurable"]["checkpoint_id"] == "c1"
    assert found(filled.log) == {("erased", head + 1)}  # it declares what was never erased
    helpers.erase(filled, [head + 2], declared=False)
    assert ("erased", head + 2) in found(filled.log)


@pytest.mark.parametrize("kind", [1, 2])
def test_a_removal_that_was_suppressed_is_found(filled: Any, make_saver: Any, helpers: Any, kind: int) -> None:
    """Taking a delete_thread away would bring back what it deleted: its leaf says its kind, and no stub can."""
    make_saver.damaged(filled.path)
    (removal,) = filled.log.read(kinds=[Kind.DELETE_THREAD])
    with helpers.without_triggers(filled.path) as connection:
        connection.execute("DELETE FROM event WHERE position = ?", (removal.position,))
    assert ("gap", removal.position) in found(filled.log)
    inner = inner_of(recorded_at=removal.recorded_at, address=("gone", ""), digest=removal.digest)
    with helpers.without_triggers(filled.path) as connection:
        connection.execute("INSERT INTO erased VALUES (?, ?, ?)", (removal.position, kind, inner))
    codes = found(filled.log)
    assert ("erased", removal.position) in codes
    assert ("link", removal.position + 1) in codes


def test_a_stub_beside_its_event_is_found(filled: Any, make_saver: Any, helpers: Any) -> None:
    make_saver.damaged(filled.path)
    with helpers.raw(filled.path) as connection:
        connection.execute("INSERT INTO erased VALUES (17, 1, zeroblob(32))")
    assert ("gap", 17) in found(filled.log)


def test_erasing_what_others_refer_to_is_found(filled: Any, make_saver: Any, helpers: Any) -> None:
    """Event 3 holds "big" by reference to event 1."""
    make_saver.damaged(filled.path)
    helpers.erase(filled, [1])
    assert ("base", 3) in found(filled.log)


def put_of(**changes: Any) -> Put:
    values: dict[str, Any] = {
        "checkpoint_id": "c1",
        "parent_id": None,
        "metadata": pack({}),
        "channels": {},
        "channel_versions": EMPTY,
        "versions_seen": EMPTY,
        "frame": {},
        "rest": None,
        **changes,
    }
    return Put(**values)


HOSTILE: dict[str, Any] = {
    "metadata that is nothing": put_of(metadata=b""),
    "metadata that is no map": put_of(metadata=pack([1])),
    "metadata that is garbage": put_of(metadata=b"\xc1\xff"),
    "a checkpoint id that cannot be stored": put_of(checkpoint_id="\ud800"),
    "a parent id that cannot be stored": put_of(parent_id="\ud800"),
    "facts that are none": Carry("threads", 5),
    "facts of other shapes": Carry("threads", [["a", "b", "c"], []]),
    "facts beyond integers": Carry("threads", [["a", 2**70, 0]]),
    "facts of nobody": Carry("threads", [["\ud800", 1, 2]]),
    "a copy of nothing": Copy("copy", "a", None, (CopiedStream("", (("c1", 5000, False),), (("c1", -1),)),)),
    "a copy of what is no put": Copy("copy", "a", None, (CopiedStream("", (("c1", 2, False),), (("c1", 1),)),)),
    "a copy of the future": Copy("copy", "a", None, (CopiedStream("", (), (("c9", 23),)),)),
    "a copy into a namespace that cannot be": Copy("copy", "a", None, (CopiedStream("\ud800", (), ()),)),
    "a removal from nowhere": events.DeleteForRuns(("r",), (Removal("\ud800", "", ("c",)),)),
    "a prune of nobody": events.Prune("x", ("\ud800",), ()),
    "a name that cannot be stored": Thread("\ud800", {}),
}


@pytest.mark.parametrize("what", list(HOSTILE))
def test_records_that_no_saver_writes_are_findings_not_exceptions(
    filled: Any, make_saver: Any, helpers: Any, what: str
) -> None:
    """The chain is consistent, the record well formed, and what it says is not possible."""
    make_saver.damaged(filled.path)
    forge(filled, helpers, 22, HOSTILE[what])
    findings = list(filled.log.verify())
    assert findings
    assert all(f.position in (None, 22) for f in findings)


@pytest.mark.parametrize(
    ("at", "copied"),
    [
        (8, CopiedStream("", (("c1", 10, False),), ())),
        (8, CopiedStream("", (), (("c4", 15),))),
        (22, CopiedStream("", (), (("c9", 23),))),
    ],
)
def test_what_is_copied_comes_before_the_copy(
    filled: Any, make_saver: Any, helpers: Any, at: int, copied: CopiedStream
) -> None:
    """What it names is there, and of the right kind: only that it comes later is wrong."""
    make_saver.damaged(filled.path)
    kinds = {e.position: e.kind for e in filled.log.read()}
    assert {kinds[p] for _, p, _ in copied.checkpoints} <= {Kind.PUT}
    assert {kinds[p] for _, p in copied.writes} <= {Kind.PUT_WRITES}
    forge(filled, helpers, at, Copy("copy", "a", None, (copied,)))
    assert ("base", at) in found(filled.log)


def test_verifying_runs_beside_appends(filled: Any) -> None:
    """Findings are about the log as it was when it began; what comes after is not taken for damage."""
    checking = filled.log.verify()
    filled.register_thread("meanwhile")
    assert list(checking) == []
    filled.register_thread("meanwhile", "again")
    assert found(filled.log) == set()


def test_a_log_longer_than_a_batch_verifies_through_its_holes(make_saver: Any, helpers: Any, golden: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    for i in range(300):
        saver.register_thread("t", f"name {i}")
    for i in range(280):
        saver.put_writes(golden.config("w", "c1"), [("x", i)], f"task-{i}")
    saver.prune(["w"], strategy="delete")
    positions = [e.position for e in saver.log.read(kinds=[Kind.PUT_WRITES])]
    helpers.erase(saver, positions)
    assert found(saver.log) == set()
    with helpers.without_triggers(saver.path) as connection:
        connection.execute("UPDATE event SET recorded_at = recorded_at + 1 WHERE position = 257")
        connection.execute("DELETE FROM erased WHERE position IN (400, 401, 402)")
    make_saver.damaged(saver.path)
    codes = found(saver.log)
    assert ("link", 257) in codes
    assert ("gap", 400) in codes
