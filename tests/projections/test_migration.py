"""A new version of a built-in projection: files are rebuilt when opened, and the older version leaves them alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langgraph_eventlog.eventlog import LogDamagedError, LogOpenError, NewerFormatError
from langgraph_eventlog.projections.history import History
from langgraph_eventlog.projections.latest import Latest
from langgraph_eventlog.projections.metadata_index import MetadataIndex
from langgraph_eventlog.projections.pending_writes import PendingWrites
from langgraph_eventlog.projections.table import Table
from langgraph_eventlog.projections.threads import Threads
from langgraph_eventlog.saver import EventLogSaver

pytestmark = pytest.mark.parametrize("table", [Latest, History, PendingWrites, Threads, MetadataIndex])


def make_newer(monkeypatch: pytest.MonkeyPatch, table: type[Table]) -> None:
    """The next version has one more column."""
    monkeypatch.setattr(table, "schema_version", table.schema_version + 1)
    monkeypatch.setattr(table, "ddl", table.ddl.replace("(\n", "(\n  extra INTEGER NOT NULL DEFAULT 7,\n", 1))


def extras(saver: EventLogSaver, table: type[Table]) -> set[Any]:
    with saver.log.database.reading() as connection:
        return set(connection.execute(f"SELECT extra FROM {table.name}").fetchall())


# monkeypatch comes first in each signature: the log is verified before the older version is back.


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


def test_an_empty_file_of_the_older_version_is_rebuilt_as_well(
    monkeypatch: pytest.MonkeyPatch, make_saver: Callable[..., EventLogSaver], steps: Any, table: type[Table]
) -> None:
    """A program that only set it up."""
    make_saver(indexed_metadata=["a"]).close()
    make_newer(monkeypatch, table)
    saver = make_saver()
    steps.put(saver, "1", metadata={"a": 1})
    steps.write(saver, "1", [("x", 1)])
    assert extras(saver, table) == {(7,)}


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
