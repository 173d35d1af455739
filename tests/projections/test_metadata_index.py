"""The index of declared metadata keys: always what history says, whoever declared them, and whoever appends."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langgraph_eventlog.eventlog import EventLog, LogDamagedError, Whole
from langgraph_eventlog.eventlog.plain import pack, unpack
from langgraph_eventlog.projections import declaring, metadata_index
from langgraph_eventlog.projections import rebuild as rebuild_module
from langgraph_eventlog.projections.ids import from_key, to_key
from langgraph_eventlog.projections.metadata import OTHER, field, index_key, run_key
from langgraph_eventlog.saver import EventLogSaver

Make = Callable[..., EventLogSaver]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there already takes many transactions to take in."""
    for module in (declaring, metadata_index, rebuild_module):
        monkeypatch.setattr(module, "_BATCH", 3)


def rows(saver: EventLogSaver) -> set[Any]:
    """(name, value, thread, namespace, id) of all that is indexed."""
    sql = (
        "SELECT name, value, thread_id, checkpoint_ns, checkpoint_id "
        "FROM metadata_index JOIN stream USING (stream) JOIN thread USING (thread)"
    )
    with saver.log.database.reading() as connection:
        return {(*row, from_key(key)) for *row, key in connection.execute(sql)}


def expected(saver: EventLogSaver, *names: str) -> set[Any]:
    """The same from what is listed (nothing is hidden in these logs)."""
    return {
        (name, found.metadata[name], *(found.config["configurable"][k] for k in ("thread_id", "checkpoint_ns")), id_)
        for found in saver.list(None)
        for id_ in [found.config["configurable"]["checkpoint_id"]]
        for name in names
        if name in found.metadata
    }


def declared(saver: EventLogSaver) -> dict[str, int]:
    with saver.log.database.reading() as connection:
        return dict(connection.execute("SELECT name, complete FROM metadata_index_key").fetchall())


def fill(saver: EventLogSaver, steps: Any, count: int = 10, thread: str = "t") -> None:
    for n in range(count):
        steps.put(saver, f"{n:02}", thread=thread, metadata={"user": f"u{n % 3}", "n": n, "run_id": f"r{n % 4}"})


NUMBERS = [0, 1, True, -1, 1.0, -0.0, 0.1, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, 2**63, -(2**63), float(2**63)]
NUMBERS += [2**64, float(2**64), 10**400, math.inf, -math.inf, math.nan, 1e300, int(1e300), 2**63 + 1, -(2**63) - 1]
TEXTS = ["", "1", "a", "A", "a\0", "a\0b", "\ud800", "\ud800a", "\udfff", "é", "e\u0301", "\U0001f600", "x" * 256]
TEXTS += ["x" * 257, "x" * 300, "x" * 255 + "\ud800" + "y", "x" * 256 + "\ud800"]
values = st.one_of(
    st.sampled_from([*NUMBERS, *TEXTS]), st.integers(), st.floats(), st.booleans(), st.text(st.characters(), max_size=3)
)


@given(values, values)
@example(2**63, float(2**63))
@example(int(1e300), 1e300)
@example(10**400, math.inf)
@example(True, 1.0)
def test_what_python_calls_equal_has_one_key_for_sqlite(one: Any, other: Any) -> None:
    keys = [index_key(value) for value in (one, other)]
    if None in keys:
        assert any(value != value for value in (one, other))  # NaN, which is equal to nothing
        return
    with apsw.Connection(":memory:") as connection:
        connection.execute("CREATE TABLE t (k ANY NOT NULL, PRIMARY KEY (k)) STRICT, WITHOUT ROWID")
        connection.execute("INSERT INTO t VALUES (?)", (keys[0],))
        found = connection.execute("SELECT 1 FROM t WHERE k = ?", (keys[1],)).fetchone() is not None
    connection.close()
    assert found or one != other
    if isinstance(one, str) != isinstance(other, str):
        assert not found
    assert OTHER not in keys


@given(values)
def test_a_value_comes_out_of_the_record_with_the_key_that_it_went_in_with(value: Any) -> None:
    assert index_key(unpack(pack(value))) == index_key(value)


def test_what_is_not_plain_has_no_key_or_the_one_of_all_such() -> None:
    assert [index_key(value) for value in (None, [], {}, b"", b"a", math.nan)] == [None] * 6
    assert index_key(Whole("msgpack", b"x")) == OTHER
    assert field({"a": Whole("msgpack", b"x")}, "a.b.c") == Whole("msgpack", b"x")
    assert field({"a": {"b": 1}, "a.b": 2}, "a.b") == 2
    assert field({"a": {"b": {"c": 3}}}, "a.b.c") == 3
    assert [field({"a": {"b": 1}}, name) for name in ("b", "a.c", "a.b.c", ".", "a.", "")] == [None] * 6
    runs = ["r", 3, True, "a\0", "\ud800", 1.5, None, [1], Whole("msgpack", b"x"), "x" * 999]
    assert [run_key({"run_id": run}) for run in runs] == [
        *(to_key(run) for run in ("r", "3", "True", "a\0")),
        *[None] * 4,
        OTHER,
        to_key("x" * 999),
    ]


def test_only_declared_keys_with_values_are_there(make_saver: Make, steps: Any) -> None:
    saver = make_saver(indexed_metadata=["user", "deep.er"])
    for n, metadata in enumerate(
        [
            {"user": "ann", "other": 1},
            {"user": 2.5, "deep": {"er": True}},
            {"user": None, "deep": {"er": [1]}},
            {"user": UUID(int=7), "deep.er": "top"},
            {"user": {"a": 1}},
            {},
        ]
    ):
        steps.put(saver, str(n), metadata=metadata)
    assert rows(saver) == {
        ("user", "ann", "t", "", "0"),
        ("user", 2.5, "t", "", "1"),
        ("deep.er", 1, "t", "", "1"),
        ("user", OTHER, "t", "", "3"),
        ("deep.er", "top", "t", "", "3"),
    }


def test_it_follows_everything_that_happens_to_checkpoints(make_saver: Make, steps: Any) -> None:
    """And is compared with a rebuild at the end."""
    saver = make_saver(indexed_metadata=["user", "n", "thread_id"])
    fill(saver, steps)
    steps.put(saver, "05", metadata={"user": "again"})
    assert rows(saver) == expected(saver, "user", "n")
    steps.put(saver, "10", parent="09", metadata={"thread_id": "t", "user": "ann"})
    saver.copy_thread("t", "u")
    assert rows(saver) == expected(saver, "user", "n", "thread_id")
    assert {(row[1], row[2]) for row in rows(saver) if row[0] == "thread_id"} == {("t", "t"), ("u", "u")}
    saver.delete_for_runs(["r1"])
    saver.prune(["u"])
    assert rows(saver) == expected(saver, "user", "n", "thread_id") != set()
    saver.delete_thread("t")
    assert (
        rows(saver)
        == expected(saver, "user", "n", "thread_id")
        == {
            ("thread_id", "u", "u", "", "10"),
            ("user", "ann", "u", "", "10"),
        }
    )
    before = rows(saver)
    saver.rebuild()
    assert rows(saver) == before


@pytest.mark.usefixtures("small_batches")
def test_declaring_a_key_takes_in_what_is_there(make_saver: Make, steps: Any) -> None:
    with make_saver() as saver:
        fill(saver, steps)
    saver = make_saver(indexed_metadata=["user"])
    assert rows(saver) == expected(saver, "user")
    assert declared(saver) == {"user": 1}
    again = make_saver(indexed_metadata=["n", "user"])
    assert rows(again) == expected(again, "user", "n")
    assert declared(again) == {"user": 1, "n": 1}


def test_what_is_declared_costs_no_transaction_more_and_stays(make_saver: Make, steps: Any) -> None:
    counts = []
    for names in ([], ["user", "n"], ["n"], []):
        with make_saver(indexed_metadata=names) as saver:
            fill(saver, steps)
            assert rows(saver) == (set() if names == [] and not counts else expected(saver, "user", "n"))
            counts.append(steps.generation(saver.log))
    assert counts == [1, 2, 2, 2]


def test_who_does_not_declare_a_key_keeps_its_index_nevertheless(make_saver: Make, steps: Any) -> None:
    """In this process and in another; open before it was declared, or after."""
    early = make_saver(synchronous="NORMAL")
    fill(early, steps, 2)
    saver = make_saver(synchronous="NORMAL", indexed_metadata=["user", "n"])
    fill(early, steps, 3, "early")
    early.copy_thread("t", "copied")
    early.delete_thread("t")
    done = steps.elsewhere(
        saver.path,
        """
        config = {"configurable": {"thread_id": "elsewhere", "checkpoint_ns": ""}}
        saver.put(config, {**empty_checkpoint(), "id": "1"}, {"user": "x", "n": 1.5}, {})
        """,
    )
    assert done.stdout == "well\n", done.stderr
    assert rows(saver) == expected(saver, "user", "n")
    assert ("n", 1.5, "elsewhere", "", "1") in rows(saver)


@pytest.mark.usefixtures("small_batches")
def test_others_append_while_a_key_is_being_taken_in(
    make_saver: Make, steps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New ids, ids that are there, deletions; before the key is complete, listings do not use it."""
    other = make_saver(synchronous="NORMAL")
    fill(other, steps, 20)
    seen = []
    original = metadata_index.MetadataIndex.take_in

    def take_in(self: Any, connection: Any, names: Any, above: Any, limit: int) -> Any:
        seen.append(above)
        return original(self, connection, names, above, limit)

    def meanwhile(n: int) -> None:
        if 1 <= n <= 4:
            assert declared(other) == {"user": 0}
            fill(other, steps, 1, f"new {n}")
            steps.put(other, f"{2 * n:02}", metadata={"user": "replaced"})
            steps.put(other, f"{20 - n}", metadata={})
            assert len(list(other.list(None, filter={"user": "replaced"}))) == n
        if n == 4:
            other.delete_for_runs(["r1"])

    attach = EventLog._attach

    def attach_and_more(log: EventLog) -> Any:
        if not seen:
            steps.between(monkeypatch, log, lambda n: meanwhile(n - 1))  # the first is that which looks at the tables
        return attach(log)

    monkeypatch.setattr(metadata_index.MetadataIndex, "take_in", take_in)
    monkeypatch.setattr(EventLog, "_attach", attach_and_more)
    saver = make_saver(synchronous="NORMAL", indexed_metadata=["user"])
    assert len(seen) > 5
    assert declared(saver) == {"user": 1}
    assert rows(saver) == expected(saver, "user")


@pytest.mark.parametrize("when", [1, 3])
def test_a_kill_while_a_key_is_being_taken_in_does_no_harm(make_saver: Make, steps: Any, when: int) -> None:
    with make_saver(synchronous="NORMAL") as saver:
        fill(saver, steps)
        fill(saver, steps, thread="a")
    script = """
        from langgraph_eventlog.projections import declaring, metadata_index
        declaring._BATCH = 3
        index, original, taken = metadata_index.MetadataIndex, metadata_index.MetadataIndex.take_in, []
        def take_in(*arguments):
            taken.append(arguments)
            if len(taken) > WHEN:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)
        index.take_in = take_in
        EventLogSaver(saver.path, indexed_metadata=["user"])
    """
    done = steps.elsewhere(saver.path, script.replace("WHEN", str(when)))
    assert (done.returncode, done.stdout) == (-9, ""), done.stderr
    saver = make_saver(synchronous="NORMAL")
    assert declared(saver) == {"user": 0}
    assert rows(saver) < expected(saver, "user")
    assert list(saver.log.verify()) == []
    fill(saver, steps, thread="later")
    assert len(list(saver.list(None, filter={"user": "u1"}))) == 9
    saver.delete_thread("t")
    again = make_saver(synchronous="NORMAL", indexed_metadata=["user"])
    assert declared(again) == {"user": 1}
    assert rows(again) == expected(again, "user")


@pytest.mark.usefixtures("small_batches")
def test_a_key_declared_while_the_tables_are_rebuilt_is_in_the_new_ones(
    make_saver: Make, steps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = make_saver(synchronous="NORMAL", indexed_metadata=["n"])
    fill(saver, steps)
    with monkeypatch.context() as patched:
        steps.between(
            patched,
            saver.log,
            lambda n: make_saver(synchronous="NORMAL", indexed_metadata=["user"]) if n == 2 else None,
        )
        saver.rebuild()
    assert declared(saver) == {"n": 1, "user": 1}
    assert rows(saver) == expected(saver, "user", "n")
    fill(saver, steps, thread="after")
    assert rows(saver) == expected(saver, "user", "n")


@pytest.mark.usefixtures("small_batches")
def test_a_rebuild_while_a_key_is_being_taken_in_leaves_it_whole(
    make_saver: Make, steps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_saver(synchronous="NORMAL")
    fill(other, steps)
    taken: list[Any] = []
    writing = type(other.log.database).writing

    @contextmanager
    def and_then(database: Any) -> Any:
        with writing(database) as connection:
            yield connection
        if database is not other.log.database:
            taken.append(database)
            if len(taken) == 3:
                assert declared(other) == {"user": 0}
                other.rebuild()

    monkeypatch.setattr(type(other.log.database), "writing", and_then)
    saver = make_saver(synchronous="NORMAL", indexed_metadata=["user"])
    assert steps.generation(saver.log) == 3
    assert declared(saver) == {"user": 1}
    assert rows(saver) == expected(saver, "user")


def test_verify_finds_what_is_not_as_declared(make_saver: Make, steps: Any) -> None:
    """A row that is missing, one too many, a key that is forgotten, a table that is another."""
    saver = make_saver(indexed_metadata=["user"])
    fill(saver, steps, 3)
    make_saver.damaged(saver.path)  # type: ignore[attr-defined]
    for damage, mend in [
        (
            "DELETE FROM metadata_index WHERE value = 'u1'",
            f"INSERT INTO metadata_index VALUES ('user', 'u1', x'{to_key('01').hex()}', 1)",
        ),
        (
            "UPDATE metadata_index SET value = 'x' WHERE value = 'u1'",
            "UPDATE metadata_index SET value = 'u1' WHERE value = 'x'",
        ),
        ("DELETE FROM metadata_index_key", "INSERT INTO metadata_index_key VALUES ('user', 1)"),
        ("INSERT INTO metadata_index_key VALUES ('n', 1)", "DELETE FROM metadata_index_key WHERE name = 'n'"),
        ("ALTER TABLE metadata_index_key ADD COLUMN x ANY", "ALTER TABLE metadata_index_key DROP COLUMN x"),
    ]:
        for sql, sound in ((damage, False), (mend, True)):
            with saver.log.database.writing() as connection:
                connection.execute(sql)
            found = list(saver.log.verify())
            assert (found == []) == sound, sql
            assert sound or any("metadata_index" in str(finding) for finding in found)


def test_a_read_only_saver_uses_the_keys_that_are_there(make_saver: Make, steps: Any) -> None:
    with make_saver(indexed_metadata=["user"]) as saver:
        fill(saver, steps)
        generation = steps.generation(saver.log)
    reader = make_saver(read_only=True, indexed_metadata=["user", "n"])
    assert declared(reader) == {"user": 1}
    assert [len(list(reader.list(None, filter=f))) for f in ({"user": "u1"}, {"n": 3})] == [3, 1]
    assert steps.generation(reader.log) == generation


@pytest.mark.parametrize("table", ["history", "history_recent"])
def test_damaged_metadata_is_named_and_a_rebuild_mends_it(
    make_saver: Make, steps: Any, settle: Callable[[EventLogSaver], None], table: str
) -> None:
    with make_saver() as saver:
        fill(saver, steps, 3)
        if table == "history":
            settle(saver)
        with saver.log.database.writing() as connection:
            connection.execute(f"UPDATE {table} SET metadata = x'c1' WHERE checkpoint_id = ?", (to_key("01"),))
            assert connection.changes()
    with pytest.raises(LogDamagedError, match=r"'01'.*rebuild"):
        EventLogSaver(saver.path, indexed_metadata=["user"])
    with make_saver() as saver:
        saver.rebuild()
    again = make_saver(indexed_metadata=["user"])
    assert rows(again) == expected(again, "user")
