"""A new version of a built-in projection: files are rebuilt when opened, and the older version leaves them alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import LogDamagedError, LogOpenError, NewerFormatError
from langgraph_eventlog.projections.history import History
from langgraph_eventlog.projections.metadata_index import MetadataIndex
from langgraph_eventlog.projections.pending_writes import PendingWrites
from langgraph_eventlog.projections.recent import Recent
from langgraph_eventlog.projections.table import Table
from langgraph_eventlog.projections.threads import Threads
from langgraph_eventlog.saver import EventLogSaver

each_table = pytest.mark.parametrize("table", [History, Recent, PendingWrites, Threads, MetadataIndex])


def make_newer(monkeypatch: pytest.MonkeyPatch, table: type[Table]) -> None:
    """The next version has one more column."""
    monkeypatch.setattr(table, "schema_version", table.schema_version + 1)
    monkeypatch.setattr(table, "ddl", table.ddl.replace("(\n", "(\n  extra INTEGER NOT NULL DEFAULT 7,\n", 1))


def extras(saver: EventLogSaver, table: type[Table]) -> set[Any]:
    with saver.log.database.reading() as connection:
        return set(connection.execute(f"SELECT extra FROM {table.name}").fetchall())


# monkeypatch comes first in each signature: the log is verified before the older version is back.


@each_table
def test_a_file_of_the_older_version_is_rebuilt_when_it_is_opened(
    monkeypatch: pytest.MonkeyPatch, make_saver: Callable[..., EventLogSaver], steps: Any, table: type[Table]
) -> None:
    with make_saver(synchronous="NORMAL", indexed_metadata=["thread_id"]) as saver:
        steps.everything(saver)
        head, generation = saver.log.head(), steps.generation(saver.log)
        found = list(saver.list(None))
    make_newer(monkeypatch, table)
    saver = make_saver(synchronous="NORMAL")
    assert extras(saver, table) == {(7,)}
    assert (saver.log.head(), steps.generation(saver.log)) == (head, generation + 1)
    assert list(saver.list(None)) == found
    assert steps.left_over(saver.log) == []
    steps.put(saver, "after")
    with make_saver() as again:
        assert steps.generation(again.log) == generation + 1


@each_table
def test_an_empty_file_of_the_older_version_is_rebuilt_as_well(
    monkeypatch: pytest.MonkeyPatch,
    make_saver: Callable[..., EventLogSaver],
    steps: Any,
    settle: Callable[[EventLogSaver], None],
    table: type[Table],
) -> None:
    """A program that only set it up."""
    make_saver(indexed_metadata=["a"]).close()
    make_newer(monkeypatch, table)
    saver = make_saver()
    steps.put(saver, "1", metadata={"a": 1})
    steps.write(saver, "1", [("x", 1)])
    if table is History:
        settle(saver)
    assert extras(saver, table) == {(7,)}


@each_table
def test_the_older_version_refuses_the_newer_file(
    monkeypatch: pytest.MonkeyPatch, make_saver: Callable[..., EventLogSaver], steps: Any, table: type[Table]
) -> None:
    """Reading and writing alike, and leaves it as it is."""
    version = table.schema_version
    with monkeypatch.context() as newer:
        make_newer(newer, table)
        with make_saver() as saver:
            steps.put(saver, "1")
        make_saver.damaged(saver.path)  # type: ignore[attr-defined]  # as the older version sees it
    for read_only in (False, True):
        with pytest.raises(NewerFormatError, match="upgrade") as raised:
            EventLogSaver(saver.path, read_only=read_only)
        assert isinstance(raised.value, LogOpenError)
        assert (raised.value.found, raised.value.supported, raised.value.path) == (version + 1, version, saver.path)
        assert table.name in str(raised.value)
    with monkeypatch.context() as newer:
        make_newer(newer, table)
        with EventLogSaver(saver.path) as again:
            assert list(again.log.verify()) == []


@each_table
def test_a_running_program_of_the_older_version_stops_appending(
    monkeypatch: pytest.MonkeyPatch, make_saver: Callable[..., EventLogSaver], steps: Any, table: type[Table]
) -> None:
    """Its rows would be of the old shape: it is told, and nothing is appended."""
    running = make_saver()
    steps.put(running, "1")
    with monkeypatch.context() as newer:
        make_newer(newer, table)
        with make_saver() as saver:
            steps.put(saver, "2", parent="1")
            head = saver.log.head()
    make_saver.damaged(running.path)  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(NewerFormatError):
            steps.put(running, "3", parent="1")
        with pytest.raises(NewerFormatError):
            running.delete_thread("t")
    assert running.log.head() == head


@each_table
def test_read_only_does_not_rebuild_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, make_saver: Callable[..., EventLogSaver], steps: Any, table: type[Table]
) -> None:
    with make_saver() as saver:
        steps.put(saver, "1")
    make_newer(monkeypatch, table)
    with pytest.raises(LogDamagedError, match="open it once for writing"):
        EventLogSaver(saver.path, read_only=True)
    make_saver().close()
    assert make_saver(read_only=True).get_tuple(steps.config()) is not None


def test_a_table_that_an_earlier_version_had_besides_is_gone_after_the_rebuild(
    make_saver: Callable[..., EventLogSaver], steps: Any
) -> None:
    """The latest checkpoint of each stream had one, and it may have been rebuilt when that version was killed."""
    with make_saver() as saver:
        for id in ("1", "3", "2"):
            steps.put(saver, id)
        found = list(saver.list(None))
    with contextlib.closing(apsw.Connection(saver.path)) as connection:
        for suffix in ("", "_rebuild", "_old"):
            connection.execute(f"CREATE TABLE latest{suffix} (stream INTEGER PRIMARY KEY, checkpoint_id BLOB) STRICT")
        connection.execute("INSERT INTO projection (name, schema_version) VALUES ('latest', 2)")
        connection.execute("UPDATE projection SET schema_version = 2 WHERE name = 'history'")
    saver = make_saver()
    assert list(saver.list(None)) == found
    latest = saver.get_tuple(steps.config())
    assert latest is not None
    assert latest.checkpoint["id"] == "3"
    with saver.log.database.reading() as connection:
        assert connection.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'latest%'").fetchall() == []
        assert connection.execute("SELECT name FROM projection WHERE name = 'latest'").fetchall() == []
