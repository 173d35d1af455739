"""verify() finds every change of a value, and every row missing, added or in another's place, in every table."""

from __future__ import annotations

import random
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import LogDamagedError
from langgraph_eventlog.projections.rebuild import TABLES

# meta.id can only be 1. meta.generation says when programs look again at the projections: any value is right. An index
# that is complete, but said not to be, is not used.
NOT_CHECKED = {("meta", "id"), ("meta", "generation"), ("metadata_index_key", "complete")}
LOG = {
    "event": ("position", "recorded_at", "kind", "stream", "record", "digest", "link"),
    "erased": ("position", "kind", "inner"),
    "meta": ("head", "link", "log_id", "created_at"),
    "thread": ("thread", "thread_id"),
    "stream": ("stream", "thread", "checkpoint_ns"),
    "projection": ("name", "schema_version", "progress"),
}
HISTORY = (
    *("stream", "checkpoint_id", "position", "applied", "parent_id", "run_id", "source", "step"),
    *("hidden", "bytes", "metadata"),
)
PROJECTIONS = {
    "history": HISTORY,
    "history_recent": HISTORY,
    "pending_writes": ("stream", "checkpoint_id", "applied", "ordinal", "position", "writes", "bytes"),
    "threads": ("thread", "created_at", "last_activity", "checkpoints", "writes", "bytes", "name", "metadata"),
    "metadata_index": ("name", "value", "checkpoint_id", "stream"),
}
DECLARED = {"metadata_index_key": ("name",)}
ALL = {**LOG, **PROJECTIONS, **DECLARED}
KEYS = {
    "event": "position",
    "erased": "position",
    "meta": "id",
    "thread": "thread",
    "stream": "stream",
    "projection": "name",
    "history": "stream, checkpoint_id",
    "history_recent": "stream, checkpoint_id",
    "pending_writes": "stream, checkpoint_id, applied, ordinal",
    "threads": "thread",
    "metadata_index": "name, value, checkpoint_id, stream",
    "metadata_index_key": "name",
}


def changed(value: Any, column: str) -> Any:
    if column in ("kind", "hidden"):
        return {1: 2, 2: 1, 0: 1}.get(value, 1) if column == "kind" else 1 - value
    if isinstance(value, bytes):
        return value[:-1] + bytes([value[-1] ^ 1]) if value else b"\0"
    if isinstance(value, str):
        return value + "x"
    return 7 if value is None else value + 1000


def where(table: str, row: dict[str, Any]) -> tuple[str, list[Any]]:
    keys = KEYS[table].split(", ")
    return " AND ".join(f"{key} IS ?" for key in keys), [row[key] for key in keys]


def rows_of(connection: apsw.Connection, table: str) -> list[dict[str, Any]]:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    return [
        dict(zip(columns, row, strict=True))
        for row in connection.execute(f"SELECT * FROM {table} ORDER BY {KEYS[table]}")
    ]


def events_of(connection: apsw.Connection, table: str, row: dict[str, Any]) -> set[int]:
    """The positions at which a change of this row must be found: the first event that the row is about."""
    if table == "event":
        return {row["position"]}
    if table == "erased":  # a stub has no link of its own: it is the next event's that is wrong
        rows = connection.execute("SELECT min(position) FROM event WHERE position > ?", (row["position"],))
        return {row["position"]} | {p for (p,) in rows}
    sql = {"thread": "stream IN (SELECT stream FROM stream WHERE thread = ?)", "stream": "stream = ?"}.get(table)
    if sql is None:
        return set()
    return {p for (p,) in connection.execute(f"SELECT min(position) FROM event WHERE {sql}", (row[table],)) if p}


def check(saver: Any, table: str, what: str, expected: set[int]) -> None:
    findings = list(saver.log.verify())
    assert findings, f"{table}: {what} was not found"
    if expected:
        assert expected & {f.position for f in findings}, (what, [str(f) for f in findings])
    if table in PROJECTIONS:
        assert {f.code for f in findings} == {"projection"}, what
    assert all(str(f) and f.message for f in findings)


def test_these_are_all_tables_and_columns(erased_log: Any, helpers: Any) -> None:
    assert set(PROJECTIONS) == set(TABLES)
    with helpers.raw(erased_log.path) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        assert tables == set(ALL)
        for table, columns in ALL.items():
            there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            assert {c for c in there if (table, c) not in NOT_CHECKED} == set(columns)
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] > 0


@pytest.mark.parametrize(("table", "column"), [(t, c) for t, columns in ALL.items() for c in columns])
def test_a_changed_value_is_found(erased_log: Any, make_saver: Any, helpers: Any, table: str, column: str) -> None:
    """The first, a middle and the last row; each is put back before the next."""
    make_saver.damaged(erased_log.path)
    with helpers.raw(erased_log.path) as connection:
        rows = rows_of(connection, table)
    tried = 0
    for row in {id(r): r for r in (rows[0], rows[len(rows) // 2], rows[-1])}.values():
        clause, key = where(table, row)
        with helpers.without_triggers(erased_log.path) as connection:
            expected = events_of(connection, table, row)
            try:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? WHERE {clause}", (changed(row[column], column), *key)
                )
            except apsw.ConstraintError:
                continue  # a UNIQUE or a CHECK is in the way: it cannot be
        tried += 1
        check(erased_log, table, f"{column} of {key}", expected)
        new = {**row, column: changed(row[column], column)}
        clause, key = where(table, new)
        with helpers.without_triggers(erased_log.path) as connection:
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {clause}", (row[column], *key))
    assert tried
    assert list(erased_log.log.verify()) == []


@pytest.mark.parametrize("table", list(ALL))
def test_a_missing_row_is_found(erased_log: Any, make_saver: Any, helpers: Any, table: str) -> None:
    make_saver.damaged(erased_log.path)
    with helpers.raw(erased_log.path) as connection:
        rows = rows_of(connection, table)
    for row in {id(r): r for r in (rows[0], rows[len(rows) // 2], rows[-1])}.values():
        clause, key = where(table, row)
        with helpers.without_triggers(erased_log.path) as connection:
            expected = events_of(connection, table, row)
            connection.execute(f"DELETE FROM {table} WHERE {clause}", key)
        if table == "event" and row is rows[-1]:
            expected = {row["position"], row["position"] - 1}  # what is there is before the head that is claimed
        check(erased_log, table, f"row {key} deleted", expected)
        with helpers.without_triggers(erased_log.path) as connection:
            connection.execute(
                f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values())
            )
    assert list(erased_log.log.verify()) == []


@pytest.mark.parametrize("table", [t for t in ALL if t not in ("meta", "projection", *DECLARED)])
def test_an_added_row_is_found(filled: Any, make_saver: Any, helpers: Any, table: str) -> None:
    """Not in `projection`: a user's own has a row there, too. A second one in `meta` cannot be.

    A declared key that is added is one that is added: its index is found wanting.
    """
    make_saver.damaged(filled.path)
    with helpers.without_triggers(filled.path) as connection:
        if table == "erased":
            row = {"position": 3, "kind": 1, "inner": bytes(32)}
        else:
            row = rows_of(connection, table)[-1]
            key = "stream" if table == "metadata_index" else KEYS[table].split(", ")[0]
            row[key] += 1
            if table == "thread":
                row["thread_id"] = "added"
            if table == "stream":
                row["checkpoint_ns"] = "added"
            if table in ("threads", "history", "history_recent", "pending_writes"):
                row[KEYS[table].split(", ")[0]] = 999
        connection.execute(
            f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values())
        )
    check(filled, table, "row added", {row["position"]} if table in ("event", "erased") else set())


@pytest.mark.parametrize("position", [0, -1, -(2**63), 2**63 - 1])
def test_an_event_or_stub_outside_of_the_log_is_found(
    filled: Any, make_saver: Any, helpers: Any, position: int
) -> None:
    make_saver.damaged(filled.path)
    for table, values in (("event", "?, 0, 1, 1, x'', zeroblob(32), zeroblob(32)"), ("erased", "?, 1, zeroblob(32)")):
        with helpers.without_triggers(filled.path) as connection:
            connection.execute(f"INSERT INTO {table} VALUES ({values})", (position,))
        check(filled, table, f"added at {position}", {position})
        with helpers.without_triggers(filled.path) as connection:
            connection.execute(f"DELETE FROM {table} WHERE position = ?", (position,))
    assert list(filled.log.verify()) == []


@pytest.mark.parametrize("table", ["event", "thread", "stream", "history", "pending_writes", "threads"])
def test_swapped_rows_are_found(filled: Any, make_saver: Any, helpers: Any, table: str) -> None:
    """All but the key (of `stream` and `history`: its last part) changes places."""
    make_saver.damaged(filled.path)
    with helpers.without_triggers(filled.path) as connection:
        one, two = rows_of(connection, table)[:2]
        names = [name for name in one if name != KEYS[table].split(", ")[0]]
        expected = events_of(connection, table, one) | events_of(connection, table, two)
        clause_one, key_one = where(table, one)
        clause_two, key_two = where(table, two)
        connection.execute(f"DELETE FROM {table} WHERE ({clause_one}) OR ({clause_two})", key_one + key_two)
        for key, other in ((one, two), (two, one)):
            row = {**key, **{name: other[name] for name in names}}
            if table == "history" and one["stream"] == two["stream"]:
                row = {**other, "checkpoint_id": key["checkpoint_id"]}
            if table == "pending_writes" and one["stream"] == two["stream"]:
                row = {**key, "position": other["position"], "bytes": other["bytes"], "writes": other["writes"]}
            connection.execute(
                f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values())
            )
    check(filled, table, "two rows swapped", expected)


def test_a_flipped_byte_of_any_record_is_found_at_its_position(filled: Any, make_saver: Any, helpers: Any) -> None:
    make_saver.damaged(filled.path)
    chance = random.Random(7)
    with helpers.without_triggers(filled.path) as connection:
        records = connection.execute("SELECT position, record FROM event").fetchall()
        for position, record in records:
            at = chance.randrange(len(record))
            flipped = record[:at] + bytes([record[at] ^ (1 << chance.randrange(8))]) + record[at + 1 :]
            connection.execute("UPDATE event SET record = ? WHERE position = ?", (flipped, position))
    found = {f.position for f in filled.log.verify() if f.code == "digest"}
    assert found == {position for position, _ in records}


def test_a_record_whose_digest_was_mended_is_found_by_its_link(filled: Any, make_saver: Any, helpers: Any) -> None:
    make_saver.damaged(filled.path)
    for position in (1, 5, 12):
        with helpers.without_triggers(filled.path) as connection:
            ((old, digest),) = connection.execute(
                "SELECT record, digest FROM event WHERE position = ?", (position,)
            ).fetchall()
            ((other, other_digest),) = connection.execute(
                "SELECT record, digest FROM event WHERE position = 22"
            ).fetchall()
            assert other != old
            set_record = "UPDATE event SET record = ?, digest = ? WHERE position = ?"
            connection.execute(set_record, (other, other_digest, position))
        assert ("link", position) in {(f.code, f.position) for f in filled.log.verify()}
        with helpers.without_triggers(filled.path) as connection:
            connection.execute(set_record, (old, digest, position))


def test_text_that_is_not_utf8_is_a_finding_not_an_exception(filled: Any, make_saver: Any, helpers: Any) -> None:
    make_saver.damaged(filled.path)
    for table, column, key, damage in (
        ("thread", "thread_id", "thread", "CAST(x'ff61' AS TEXT)"),
        ("stream", "checkpoint_ns", "stream", "CAST(x'ff61' AS TEXT)"),
        ("threads", "name", "thread", "CAST(x'ff61' AS TEXT)"),
        ("history", "checkpoint_id", "stream", "x'00ff61'"),
        ("metadata_index", "checkpoint_id", "stream", "x''"),
    ):
        with helpers.without_triggers(filled.path) as connection:
            ((old,),) = connection.execute(f"SELECT {column} FROM {table} WHERE {key} = 1 LIMIT 1").fetchall()
            connection.execute(f"UPDATE {table} SET {column} = {damage} WHERE {key} = 1 AND {column} = ?", (old,))
        assert list(filled.log.verify()), table
        with helpers.without_triggers(filled.path) as connection:
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = 1 AND {column} = {damage}", (old,))
    assert list(filled.log.verify()) == []


def test_an_id_that_cannot_be_read_is_an_error_when_it_is_met(filled: Any, make_saver: Any, helpers: Any) -> None:
    make_saver.damaged(filled.path)
    with helpers.without_triggers(filled.path) as connection:
        connection.execute("UPDATE history SET parent_id = x'00ff61' WHERE parent_id IS NOT NULL")
    with pytest.raises(LogDamagedError, match="verify"):
        list(filled.list(None))


TAMPERED = {
    "a trigger dropped": ["DROP TRIGGER event_never_changes"],
    "a trigger emptied": [
        "DROP TRIGGER event_never_changes",
        "CREATE TRIGGER event_never_changes BEFORE UPDATE ON event WHEN 0 BEGIN SELECT 1; END",
    ],
    "an extra trigger": ["CREATE TRIGGER spy AFTER INSERT ON event BEGIN DELETE FROM threads; END"],
    "an extra trigger on a projection": ["CREATE TRIGGER spy AFTER INSERT ON threads BEGIN SELECT 1; END"],
    "an extra index": ["CREATE UNIQUE INDEX event_more ON event (recorded_at)"],
    "the index dropped": ["DROP INDEX event_stream"],
    "a view": ["CREATE VIEW spy AS SELECT 1"],
    "another version": ["PRAGMA user_version = 0"],
    "another application": ["PRAGMA application_id = 5"],
    "a projection's table altered": ["ALTER TABLE history ADD COLUMN more ANY"],
    "a projection's table dropped": ["DROP TABLE threads"],
}


@pytest.mark.parametrize("what", list(TAMPERED))
def test_a_changed_schema_is_found(filled: Any, make_saver: Any, helpers: Any, what: str) -> None:
    make_saver.damaged(filled.path)
    with helpers.raw(filled.path) as connection:
        for sql in TAMPERED[what]:
            connection.execute(sql)
    codes = {f.code for f in filled.log.verify()}
    assert codes & {"schema", "projection"}
