"""What was put last stands in `history_recent` until it settles in `history`; nobody who reads can tell."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import Carry, Compaction, Import, LogDamagedError, NewEvent
from langgraph_eventlog.projections import Projection
from langgraph_eventlog.projections.ids import from_key, to_key
from langgraph_eventlog.projections.recent import SETTLED_EVERY
from langgraph_eventlog.saver import EventLogSaver

Make = Callable[..., EventLogSaver]
Settle = Callable[[EventLogSaver], None]
TABLES = ("history", "history_recent")


def ids(saver: EventLogSaver, table: str) -> list[str]:
    with saver.log.database.reading() as connection:
        return [from_key(key) for (key,) in connection.execute(f"SELECT checkpoint_id FROM {table} ORDER BY position")]


def put(saver: EventLogSaver, steps: Any, n: int, **more: Any) -> None:
    """The n-th of four threads, each with a namespace, in lines of descent."""
    place = {"thread": "abcd"[n % 4], "ns": "sub" if n % 8 > 5 else ""}
    parent = f"{n - 8:03}" if n >= 8 else None
    steps.put(
        saver,
        f"{n:03}",
        {"x": n},
        parent=parent,
        metadata={"run_id": f"r{n // 9}", "step": n // 5, "source": ("loop", "input")[n % 2], "user": f"u{n % 3}"},
        **{**place, **more},
    )


def everything_read(saver: EventLogSaver, steps: Any) -> list[Any]:
    """What each way of reading gives."""
    every = list(saver.list(None))
    filters: list[dict[str, Any]] = [
        *({"run_id": f"r{n}"} for n in range(9)),
        *({"step": n} for n in range(0, 16, 3)),
        *({"source": source} for source in ("loop", "input")),
        *({"user": f"u{n}"} for n in range(3)),
        {"run_id": "r5", "source": "loop", "user": "u1"},
        {"other": 1},
    ]
    found: list[Any] = [every, *(list(saver.list(None, filter=one)) for one in filters)]
    for thread in "abcd":
        for ns in ("", "sub"):
            config = steps.config(thread, ns=ns)
            found += [saver.get_tuple(config), list(saver.list(config)), list(saver.list(config, limit=2))]
            found += [list(saver.list(config, filter=one)) for one in filters]
        found.append(list(saver.list({"configurable": {"thread_id": thread}})))
    for tuple_ in every:
        found.append(saver.get_tuple(tuple_.config))
        found.append(saver.get_delta_channel_history(config=tuple_.config, channels=["x", "y"]))
    for n in range(0, len(every), 7):
        found += [list(saver.list(None, before=every[n].config, limit=limit)) for limit in (1, 5, None)]
    return [*found, list(saver.threads()), [saver.thread(thread) for thread in "abcde"]]


def test_a_new_checkpoint_is_in_one_of_both_and_every_64th_event_settles_those_before_it(
    make_saver: Make, steps: Any
) -> None:
    saver = make_saver(":memory:")
    for n in range(SETTLED_EVERY * 2 + 3):
        put(saver, steps, n)
        position = n + 1
        settled = position // SETTLED_EVERY * SETTLED_EVERY
        names = [f"{n:03}" for n in range(position)]
        assert (ids(saver, "history"), ids(saver, "history_recent")) == (
            names[: max(settled - 1, 0)],
            names[max(settled - 1, 0) :],
        )


def test_writes_and_what_is_said_of_a_thread_settle_nothing_but_at_their_64th_position(
    make_saver: Make, steps: Any
) -> None:
    saver = make_saver(":memory:")
    steps.put(saver, "1")
    for n in range(SETTLED_EVERY - 2):
        if n % 2:
            steps.write(saver, "1", [("x", n)], f"task {n}")
        else:
            saver.register_thread("t", f"name {n}")
        assert (ids(saver, "history"), ids(saver, "history_recent")) == ([], ["1"])
    steps.write(saver, "1", [("x", 0)], "the 64th")
    assert (ids(saver, "history"), ids(saver, "history_recent")) == (["1"], [])


OTHERS: dict[str, Callable[[EventLogSaver, Any], Any]] = {
    "a put again": lambda saver, steps: steps.put(saver, "2", {"x": "again"}),
    "delete_thread": lambda saver, steps: saver.delete_thread("t"),
    "delete_for_runs": lambda saver, steps: saver.delete_for_runs(["r"]),
    "prune": lambda saver, steps: saver.prune(["t"]),
    "prune, deleting": lambda saver, steps: saver.prune(["t"], strategy="delete"),
    "copy_thread": lambda saver, steps: saver.copy_thread("t", "copy"),
    "fork_thread": lambda saver, steps: saver.fork_thread(steps.config("t", "2"), "fork"),
    "restate": lambda saver, steps: steps.restate(saver, "t", hidden=True),
    "restate_writes": lambda saver, steps: steps.restate_writes(saver, "t"),
    "carry": lambda saver, steps: saver.log.append(NewEvent(Carry("threads", [["t", 1, 2]]))),
    "import": lambda saver, steps: saver.log.append(NewEvent(Import({}, (), 0, 0))),
    "compaction": lambda saver, steps: saver.log.append(NewEvent(Compaction({}, (), 0))),
}


@pytest.mark.parametrize("settled", [False, True], ids=["in history_recent", "in history"])
@pytest.mark.parametrize("name", OTHERS)
def test_whatever_else_changes_rows_or_erases_settles_first(
    make_saver: Make, steps: Any, settle: Settle, tmp_path: Path, name: str, settled: bool
) -> None:
    """And comes to the same, wherever the rows were."""
    found = []
    for path in ("one.db", "other.db"):
        saver = make_saver(path=tmp_path / path, indexed_metadata=["user"])
        for n, id in enumerate("123"):
            run = {"run_id": "r"} if id == "2" else {"user": "u"}
            steps.put(saver, id, {"x": id}, parent=str(n) if n else None, metadata=run)
            steps.write(saver, id, [("x", id)])
        if settled or path == "other.db":
            settle(saver)
            assert ids(saver, "history_recent") == []
        OTHERS[name](saver, steps)
        assert ids(saver, "history_recent") == []
        saver.log.append(NewEvent(Carry("threads", [["t", 1, 2], ["copy", 1, 2], ["fork", 1, 2]])))
        tables = steps.tables(saver.log)
        places = {position: n for n, position in enumerate(sorted({row[2] for row in tables["history"]}))}
        rows = [(*row[:2], places[row[2]], *row[4:]) for row in tables["history"]]
        found.append((rows, tables["threads"], tables["metadata_index"]))
    assert found[0] == found[1]


@pytest.mark.parametrize("table", TABLES)
def test_an_id_put_again_replaces_the_one_row_there_is_of_it(
    make_saver: Make, steps: Any, settle: Settle, table: str
) -> None:
    saver = make_saver()
    for id in "123":
        steps.put(saver, id, {"x": id}, metadata={"run_id": "old"})
    if table == "history":
        settle(saver)
    assert ids(saver, table) == ["1", "2", "3"]
    for again in ("once", "twice"):
        steps.put(saver, "2", {"x": again}, metadata={"run_id": again})
        found = saver.get_tuple(steps.config("t", "2"))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"x": again}
        assert [t.config["configurable"]["checkpoint_id"] for t in saver.list(None)] == ["3", "2", "1"]
        assert len(list(saver.list(None, filter={"run_id": again}))) == 1
        assert [len(list(saver.list(None, filter={"run_id": "old"}))), len(ids(saver, "history_recent"))] == [2, 0]
    info = saver.thread("t")
    assert info is not None
    assert info.checkpoints == 3
    assert list(saver.log.verify()) == []


@pytest.mark.parametrize("settled", [0, 1, 37, 72], ids=lambda n: f"{n} settled")
def test_what_is_read_is_the_same_wherever_it_stands(
    make_saver: Make, steps: Any, settle: Settle, settled: int
) -> None:
    """Latest, by id, listed in every way, ancestors, threads."""
    saver = make_saver(indexed_metadata=["user"])
    for n in range(settled):
        put(saver, steps, n)
        settle(saver)
    for n in range(settled, settled + 40):
        put(saver, steps, n)
    before = everything_read(saver, steps)
    assert (len(ids(saver, "history")), len(ids(saver, "history_recent"))) == (settled, 40)
    settle(saver)
    assert ids(saver, "history_recent") == []
    assert everything_read(saver, steps) == before


def test_the_greatest_id_is_the_latest_in_whichever_of_both_it_is(make_saver: Make, steps: Any, settle: Settle) -> None:
    for order in (["1", "9"], ["9", "1"]):
        saver = make_saver(":memory:")
        steps.put(saver, order[0])
        settle(saver)
        steps.put(saver, order[1])
        assert (ids(saver, "history"), ids(saver, "history_recent")) == (order[:1], order[1:])
        for found in (saver.get_tuple(steps.config()), next(saver.list(None)), next(saver.list(steps.config()))):
            assert found is not None
            assert found.config["configurable"]["checkpoint_id"] == "9"
        info = saver.thread("t")
        assert info is not None
        assert info.latest_checkpoint_id == "9"


@pytest.mark.parametrize("first", ["children", "parents", "the elder half", "the younger half", "all", "none"])
@pytest.mark.parametrize("root", [None, "not there", "30"], ids=["a root", "a root that is gone", "a circle"])
def test_ancestors_are_found_in_whichever_of_both_each_is(
    make_saver: Make, steps: Any, settle: Settle, first: str, root: str | None
) -> None:
    saver = make_saver()
    names = [f"{n:02}" for n in range(40)]
    settled = {
        "children": names[1::2],
        "parents": names[::2],
        "the elder half": names[:20],
        "the younger half": names[20:],
        "all": names,
        "none": [],
    }[first]
    others = [id for id in names if id not in settled]
    for some in (settled, others):
        settle(saver)
        for id in some:
            steps.put(saver, id, {"x": id}, parent=root if id == "00" else f"{int(id) - 1:02}")
    if first == "all":
        settle(saver)
    assert (ids(saver, "history"), ids(saver, "history_recent")) == (settled, others)
    history = saver._core.views.history
    with saver.log.database.reading() as connection:
        for start in (39, 38, 20, 19, 1, 0):
            row = history.one(connection, 1, names[start])
            assert row is not None
            found = [ancestor.checkpoint_id for ancestor in history.ancestors(connection, row)]
            circle = names[start + 1 : 31] if root == "30" and start < 30 else []
            assert found == [*reversed(names[:start]), *reversed(circle)]


def test_where_a_row_stands_does_not_depend_on_who_appends(make_saver: Make, steps: Any) -> None:
    """Two processes' puts in turns stand as one's."""
    one, other = make_saver(), make_saver()
    alone = make_saver(":memory:")
    for n in range(SETTLED_EVERY + 20):
        put(one if n % 3 else other, steps, n)
        put(alone, steps, n)
        if n == SETTLED_EVERY + 10:
            for saver in (other, alone):
                saver.prune(["a"])
    done = steps.elsewhere(one.path, "for n in range(7): put(f'x{n}')")
    assert done.returncode == 0, done.stderr
    for n in range(7):
        steps.put(alone, f"x{n}")
    for table in TABLES:
        assert ids(one, table) == ids(other, table) == ids(alone, table) != []


def test_a_put_that_fails_moves_nothing(make_saver: Make, steps: Any) -> None:
    class Failing(Projection):
        name = "failing"
        schema_version = 1

        def reset(self) -> None:
            pass

        def apply(self, event: Any) -> None:
            if event.position == SETTLED_EVERY and fails:
                raise ValueError

    fails = True
    saver = make_saver(projections=[Failing()])
    for n in range(SETTLED_EVERY - 1):
        put(saver, steps, n)
    before = steps.tables(saver.log)
    assert len(before["history_recent"]) == SETTLED_EVERY - 1
    with pytest.raises(Exception, match="failing"):
        put(saver, steps, 99)
    assert steps.tables(saver.log) == before
    fails = False
    put(saver, steps, 99)
    assert (len(ids(saver, "history")), ids(saver, "history_recent")) == (SETTLED_EVERY - 1, ["099"])


def test_a_process_that_is_killed_while_it_appends_leaves_what_the_log_says(
    make_saver: Make, steps: Any, tmp_path: Path
) -> None:
    """At the put that settles, within its transaction and right after."""
    for n, when in enumerate(("before", "after")):
        path = tmp_path / f"{when}.db"
        done = steps.elsewhere(
            path,
            f"""
from langgraph_eventlog.projections.recent import Recent
original = Recent.settle
def settle(self, connection):
    if {n}:
        original(self, connection)
    os.kill(os.getpid(), signal.SIGKILL)
Recent.settle = settle
for n in range({SETTLED_EVERY}):
    put(f"{{n:03}}")
""",
        )
        assert done.returncode == -9, done.stderr
        saver = make_saver(path=path)
        assert saver.log.head().position == SETTLED_EVERY - 1
        assert (ids(saver, "history"), len(ids(saver, "history_recent"))) == ([], SETTLED_EVERY - 1)
        steps.put(saver, "later")
        assert len(ids(saver, "history")) == SETTLED_EVERY - 1


def test_a_rebuild_after_an_erasure_puts_each_row_where_it_was(make_saver: Make, steps: Any) -> None:
    """The events at which rows settled may be gone."""
    saver = make_saver()
    for n in range(SETTLED_EVERY + 30):
        put(saver, steps, n, thread="gone" if SETTLED_EVERY - 9 < n < SETTLED_EVERY + 9 else "abcd"[n % 4])
    saver.delete_thread("gone")
    gone = [event.position for event in saver.log.read(thread_id="gone") if event.kind == 1]
    assert SETTLED_EVERY in gone
    steps.erase(saver, *gone)
    for n in range(200, 209):
        put(saver, steps, n)
    before = steps.tables(saver.log)
    assert len(before["history_recent"]) == 9
    assert list(saver.log.verify()) == []
    saver.rebuild()
    assert steps.tables(saver.log) == before


def test_read_only_sees_both(make_saver: Make, steps: Any) -> None:
    with make_saver(indexed_metadata=["user"]) as saver:
        for n in range(SETTLED_EVERY + 30):
            put(saver, steps, n)
        expected = everything_read(saver, steps)
        assert ids(saver, "history")
        assert ids(saver, "history_recent")
    assert everything_read(make_saver(read_only=True), steps) == expected


def test_a_key_that_is_declared_later_takes_in_both_and_moves_nothing(make_saver: Make, steps: Any) -> None:
    with make_saver() as saver:
        for n in range(SETTLED_EVERY + 30):
            put(saver, steps, n)
        before = steps.tables(saver.log)
    saver = make_saver(indexed_metadata=["user"])
    after = steps.tables(saver.log)
    assert [after[table] for table in TABLES] == [before[table] for table in TABLES]
    assert len(after["metadata_index"]) == SETTLED_EVERY + 30


MOVE = "INSERT INTO {} SELECT * FROM {} WHERE checkpoint_id = ?1"
DAMAGE = {
    "missing": "DELETE FROM {} WHERE checkpoint_id = ?1",
    "all missing": "DELETE FROM {} WHERE ?1 IS NOT NULL",
    "another position": "UPDATE {} SET position = position + 1 WHERE checkpoint_id = ?1",
    "another parent": "UPDATE {} SET parent_id = x'0078' WHERE checkpoint_id = ?1",
    "hidden": "UPDATE {} SET hidden = 1 WHERE checkpoint_id = ?1",
    "of another run": "UPDATE {} SET run_id = x'0078' WHERE checkpoint_id = ?1",
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("damage", [*DAMAGE, "in both", "in the other"])
def test_a_row_that_is_not_as_the_log_has_it_is_found_in_either_and_a_rebuild_mends_it(
    make_saver: Make, steps: Any, table: str, damage: str
) -> None:
    with make_saver() as saver:
        for n in range(SETTLED_EVERY + 30):
            put(saver, steps, n)
        before = steps.tables(saver.log)
    victim = to_key("010" if table == "history" else f"{SETTLED_EVERY + 10:03}")
    (other,) = {*TABLES} - {table}
    with contextlib.closing(apsw.Connection(saver.path)) as connection:
        if damage in DAMAGE:
            connection.execute(DAMAGE[damage].format(table), (victim,))
        else:
            connection.execute(MOVE.format(other, table), (victim,))
        if damage == "in the other":
            connection.execute(DAMAGE["missing"].format(table), (victim,))
    with EventLogSaver(saver.path) as damaged:
        findings = [finding.message for finding in damaged.log.verify()]
    wrong = {"in both": {other}, "in the other": {table, other}}.get(damage, {table})
    assert {message.split(":")[0] for message in findings} == wrong
    # Where one is missing, each of those after it is another than is expected there.
    assert "UPDATE" not in DAMAGE.get(damage, "") or all(from_key(victim) in message for message in findings)
    saver = make_saver()
    saver.rebuild()
    assert steps.tables(saver.log) == before


def test_a_row_that_is_in_both_keeps_nobody_from_appending(make_saver: Make, steps: Any) -> None:
    saver = make_saver()
    for n in range(9):
        put(saver, steps, n)
    with saver.log.database.writing() as connection:
        connection.execute("INSERT INTO history SELECT * FROM history_recent")
    for n in range(9, SETTLED_EVERY + 9):
        put(saver, steps, n)
    assert len(list(saver.list(None))) == SETTLED_EVERY + 9
    assert list(saver.log.verify()) == []  # what has settled is as it should be


def test_a_file_of_before_is_rebuilt_when_it_is_opened(make_saver: Make, steps: Any) -> None:
    with make_saver() as saver:
        for n in range(SETTLED_EVERY + 30):
            put(saver, steps, n)
        before, found = steps.tables(saver.log), everything_read(saver, steps)
    with contextlib.closing(apsw.Connection(saver.path)) as connection:
        connection.execute("INSERT INTO history SELECT * FROM history_recent; DROP TABLE history_recent")
        connection.execute("DELETE FROM projection WHERE name = 'history_recent'")
        connection.execute("UPDATE projection SET schema_version = 3 WHERE name = 'history'")
    with pytest.raises(LogDamagedError, match="open it once for writing"):
        EventLogSaver(saver.path, read_only=True)
    saver = make_saver()
    assert steps.tables(saver.log) == before
    assert everything_read(saver, steps) == found


def test_a_users_projection_cannot_have_its_name(make_saver: Make) -> None:
    class Recent(Projection):
        name = "history_recent"

        def reset(self) -> None: ...

        def apply(self, event: Any) -> None: ...

    with pytest.raises(ValueError, match="mistaken"):
        make_saver(projections=[Recent()])
