"""What a user projection may run: whatever it likes on its own tables, and reads; nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langgraph_eventlog.eventlog import LogClosedError, ProjectionError, RecordedEvent
from langgraph_eventlog.projections import Projection
from langgraph_eventlog.saver import EventLogSaver


class Scripted(Projection):
    """Runs whatever a test says, once it says so."""

    name = "scripted"
    schema_version = 1

    def __init__(self, *scripts: str, at_reset: tuple[str, ...] = ()) -> None:
        self.scripts = scripts
        self.at_reset = at_reset

    def reset(self) -> None:
        self.db.execute("CREATE TABLE scripted (n)")
        for sql in self.at_reset:
            self.db.execute(sql)

    def apply(self, event: RecordedEvent) -> None:
        self.db.execute("INSERT INTO scripted VALUES (?)", (event.position,))
        for sql in self.scripts:
            self.db.execute(sql)


FORBIDDEN = [
    "DELETE FROM event",
    "INSERT INTO history SELECT * FROM history",
    "UPDATE meta SET head = 0",
    "UPDATE projection SET progress = 0",
    "DROP TABLE threads",
    "CREATE TABLE other (x)",
    "CREATE TEMP TABLE scripted_t (x)",
    "CREATE TRIGGER scripted_t AFTER INSERT ON scripted BEGIN DELETE FROM threads; END",
    "CREATE VIEW scripted_v AS SELECT 1",
    "CREATE INDEX scripted_i ON event (kind)",
    "ALTER TABLE scripted RENAME TO other",
    "ALTER TABLE threads ADD COLUMN x",
    "PRAGMA user_version = 99",
    "PRAGMA synchronous = OFF",
    "ATTACH ':memory:' AS other",
    "INSERT INTO scripted VALUES (1); DELETE FROM threads",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT x",
    "VACUUM",
    "ANALYZE",
    "UPDATE sqlite_schema SET sql = '' WHERE name = 'event'",
    "WITH x AS (SELECT 1) DELETE FROM threads",
    "CREATE VIRTUAL TABLE scripted_v USING fts5(x)",
    "INSERT INTO scripted SELECT load_extension('x')",
]


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_it_can_change_its_own_tables_only(make_saver: Callable[..., EventLogSaver], steps: Any, sql: str) -> None:
    scripted = Scripted()
    saver = make_saver(":memory:", projections=[scripted])
    steps.put(saver, "1", {"x": 1})
    before = (saver.log.head(), steps.tables(saver.log))
    scripted.scripts = (sql,)
    for _ in range(2):
        with pytest.raises(ProjectionError):
            steps.put(saver, "2", {"x": 2})
    with pytest.raises(ProjectionError):
        scripted.query(sql)
    assert (saver.log.head(), steps.tables(saver.log)) == before
    assert scripted.query("SELECT * FROM scripted") == [(1,)]
    assert list(saver.log.verify()) == []
    with pytest.raises(ProjectionError):
        EventLogSaver(":memory:", projections=[Scripted(at_reset=(sql,))])


ALLOWED = [
    "CREATE TABLE scripted_more AS SELECT position FROM event",
    "CREATE INDEX any_name ON scripted (n)",
    "DELETE FROM scripted WHERE n = 0",
    "INSERT OR REPLACE INTO scripted (n) SELECT count(*) FROM history AS h JOIN stream USING (stream)",
    "UPDATE scripted SET n = n + 1 WHERE n < 0 RETURNING n",
    "WITH RECURSIVE x (n) AS (VALUES (1) UNION SELECT n + 1 FROM x WHERE n < 3) INSERT INTO scripted SELECT n FROM x",
    "SELECT json_extract('{\"a\": 1}', '$.a'), changes()",
    "DROP TABLE scripted",
    "INSERT INTO scripted VALUES (1); ",
    "CREATE TABLE scripted_keyed (a TEXT PRIMARY KEY, b INTEGER UNIQUE) WITHOUT ROWID",
]


@pytest.mark.parametrize("sql", ALLOWED)
def test_it_can_change_them_at_will_and_read_everything(
    make_saver: Callable[..., EventLogSaver], steps: Any, sql: str
) -> None:
    scripted = Scripted(sql)
    saver = make_saver(":memory:", projections=[scripted])
    steps.put(saver, "1", {"x": 1})
    assert scripted.progress().position == 1


@pytest.mark.parametrize("path", [None, ":memory:"])
def test_outside_of_apply_it_only_reads(make_saver: Callable[..., EventLogSaver], steps: Any, path: Any) -> None:
    scripted = Scripted()
    saver = make_saver(path, projections=[scripted])
    steps.put(saver, "1")
    with pytest.raises(ProjectionError, match="query"):
        scripted.db.execute("DELETE FROM scripted")
    for sql in (
        "DELETE FROM scripted",
        "DROP TABLE threads",
        "PRAGMA query_only = OFF",
        "SELECT 1; DELETE FROM scripted",
    ):
        with pytest.raises(ProjectionError, match="reads"):
            scripted.query(sql)
    assert scripted.query("SELECT n + :one FROM scripted", {"one": 1}) == [(2,)]
    saver.close()
    for call in (lambda: scripted.query("SELECT 1"), scripted.progress):
        with pytest.raises(LogClosedError):
            call()


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT no_such_column FROM scripted", "SELECT * FROM no_such_table"])
def test_a_wrong_query_is_not_taken_for_damage(make_saver: Callable[..., EventLogSaver], sql: str) -> None:
    scripted = Scripted()
    make_saver(":memory:", projections=[scripted])
    with pytest.raises(ProjectionError, match=r"no such|syntax"):
        scripted.query(sql)
    assert scripted.query("SELECT * FROM scripted") == []
