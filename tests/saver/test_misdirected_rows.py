"""A projection's row that points at another record than its own is found when it is read, not served as state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langgraph_eventlog.eventlog import CorruptRecordError, Kind, LogDamagedError
from langgraph_eventlog.projections.ids import to_key
from langgraph_eventlog.saver import EventLogSaver

OTHERS = {
    "another checkpoint of the stream": ("t", "", "2"),
    "the same id in another namespace": ("t", "child", "1"),
    "the same id in another thread": ("u", "", "1"),
}
KINDS = {"history": Kind.PUT, "pending_writes": Kind.PUT_WRITES}


@pytest.fixture
def misdirect(file_twin: Any, make_saver: Any, settle: Callable[[EventLogSaver], None]) -> Callable[..., int]:
    """Fill a log, and let the rows of checkpoint "1" point elsewhere; gives where to."""
    for thread, ns, id in (("t", "", "1"), *OTHERS.values()):
        file_twin.put(id, {"x": [thread, ns, id]}, thread=thread, ns=ns, parent="0")
        file_twin.write(id, [("x", [thread, ns, id])], thread=thread, ns=ns)
    saver: EventLogSaver = file_twin.saver
    make_saver.damaged(saver.path)

    def misdirected(table: str, thread: str, ns: str, id: str, *, kind: Kind | None = None) -> int:
        (position,) = (
            e.position
            for e in saver.log.read(thread_id=thread, kinds=[kind or KINDS[table]])
            if e.checkpoint_ns == ns and e.data.checkpoint_id == id  # type: ignore[union-attr]
        )
        own = "SELECT stream FROM stream JOIN thread USING (thread) WHERE thread_id = 't' AND checkpoint_ns = ''"
        settle(saver)
        with saver.log.database.writing() as connection:
            # As if it had been put there, not copied: what is copied stands in another stream by right.
            where = f"WHERE checkpoint_id = ? AND stream = ({own})"
            connection.execute(
                f"UPDATE {table} SET position = ?, applied = ? {where}", (position, position, to_key("1"))
            )
            assert connection.changes() == 1
        return position

    return misdirected


@pytest.mark.parametrize("table", list(KINDS))
@pytest.mark.parametrize("other", list(OTHERS))
def test_a_row_that_points_at_anothers_record_is_an_error(
    file_twin: Any, misdirect: Callable[..., int], table: str, other: str
) -> None:
    assert file_twin.values("1") == {"x": ["t", "", "1"]}
    position = misdirect(table, *OTHERS[other])
    for read in (lambda: file_twin.get("1"), lambda: file_twin.list(file_twin.config())):
        with pytest.raises(CorruptRecordError, match=r"checkpoint '1'.*rebuild") as caught:
            read()
        assert (caught.value.position, caught.value.path) == (position, file_twin.saver.path)
    for thread, ns, id in OTHERS.values():
        assert file_twin.values(id, thread=thread, ns=ns) == {"x": [thread, ns, id]}


@pytest.mark.parametrize("table", list(KINDS))
def test_a_row_that_points_at_a_record_of_another_kind_is_an_error(
    file_twin: Any, misdirect: Callable[..., int], table: str
) -> None:
    wrong = Kind.PUT if table == "pending_writes" else Kind.PUT_WRITES
    position = misdirect(table, "t", "", "1", kind=wrong)
    with pytest.raises(CorruptRecordError) as caught:
        file_twin.get("1")
    assert caught.value.position == position


@pytest.mark.usefixtures("misdirect")
@pytest.mark.parametrize("table", list(KINDS))
def test_a_copys_row_that_points_at_another_checkpoints_record_is_an_error(file_twin: Any, table: str) -> None:
    """What was copied may stand in any stream, but under its own id only."""
    file_twin.call("copy_thread", "t", "copied")
    with file_twin.saver.log.database.writing() as connection:
        own = "SELECT stream FROM stream JOIN thread USING (thread) WHERE thread_id = 'copied' AND checkpoint_ns = ''"
        other = f"SELECT position FROM {table} WHERE checkpoint_id = ?"
        connection.execute(
            f"UPDATE {table} SET position = ({other}) WHERE checkpoint_id = ? AND stream = ({own})",
            (to_key("2"), to_key("1")),
        )
    assert file_twin.values("2", thread="copied") == {"x": ["t", "", "2"]}
    with pytest.raises(CorruptRecordError, match="checkpoint '1'"):
        file_twin.get("1", thread="copied")


@pytest.mark.parametrize("table", list(KINDS))
def test_a_rebuild_mends_it(file_twin: Any, misdirect: Callable[..., int], table: str) -> None:
    misdirect(table, *OTHERS["the same id in another thread"])
    with pytest.raises(CorruptRecordError):
        file_twin.get("1")
    file_twin.call("rebuild")
    assert file_twin.values("1") == {"x": ["t", "", "1"]}
    assert file_twin.writes("1") == [("task", "x", ["t", "", "1"])]
    assert list(file_twin.saver.log.verify()) == []


def test_a_put_after_a_damaged_parent_is_stored_in_full(
    file_twin: Any, misdirect: Callable[..., int], make_saver: Any
) -> None:
    """The graph has its state in memory: it can go on, whatever became of the file."""
    misdirect("history", *OTHERS["the same id in another thread"])
    with make_saver(path=file_twin.saver.path) as other:
        twin = file_twin.on(other)
        twin.put("3", {"x": ["t", "", "1"]}, parent="1")
        assert twin.values("3") == {"x": ["t", "", "1"]}
        with pytest.raises(CorruptRecordError):
            twin.get("1")


def test_metadata_that_is_damaged_is_an_error_that_says_so_and_a_rebuild_mends_it(
    file_twin: Any, make_saver: Any
) -> None:
    """No digest is over a projection's rows."""
    file_twin.put("1", {"x": 1}, metadata={"step": 1, "user": "me"})
    whole = file_twin.the("1")
    saver: EventLogSaver = file_twin.saver
    with saver.log.database.writing() as connection:
        connection.execute("UPDATE history_recent SET metadata = CAST(x'c1' || metadata AS BLOB)")
    for read in (lambda: file_twin.the("1"), file_twin.ids, lambda: file_twin.ids(filter={"user": "me"})):
        with pytest.raises(LogDamagedError, match="rebuild"):
            read()
    file_twin.call("rebuild")
    assert file_twin.the("1") == whole
