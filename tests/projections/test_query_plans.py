"""No statement of the projections reads more than it gives: each searches an index, and none sorts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw
import apsw.ext
import pytest
from langgraph_eventlog.projections.history import INDEXED, History
from langgraph_eventlog.projections.metadata_index import MetadataIndex
from langgraph_eventlog.projections.pending_writes import PendingWrites
from langgraph_eventlog.projections.recent import Recent
from langgraph_eventlog.projections.table import Table
from langgraph_eventlog.projections.threads import Threads
from langgraph_eventlog.saver import EventLogSaver

STATEMENTS = {
    f"{table.__name__}.{name.lstrip('_').lower()}": sql
    for table in (History, Recent, PendingWrites, Threads, MetadataIndex)
    for name, sql in vars(table).items()
    if name.isupper() and isinstance(sql, str) and not name.startswith("_FROM")
}
# What pages newest first is read straight off this index, or off the primary key.
PAGES = {
    "History.latest": "h USING PRIMARY KEY (stream=?)",
    "History.page_of_stream": "h USING PRIMARY KEY (stream=? AND checkpoint_id<?)",
    "History.page_of_stream_like": "h USING PRIMARY KEY (stream=? AND checkpoint_id<?)",
    "History.page_of_all": "h USING INDEX sqlite_autoindex_history_2 ((checkpoint_id,stream)<(?,?))",
    "History.page_by_run_id": "h USING INDEX sqlite_autoindex_history_3 (run_id=? AND (checkpoint_id,stream)<(?,?))",
    "History.page_by_source": "h USING INDEX sqlite_autoindex_history_4 (source=? AND (checkpoint_id,stream)<(?,?))",
    "History.page_by_step": "h USING INDEX sqlite_autoindex_history_5 (step=? AND (checkpoint_id,stream)<(?,?))",
    "History.down_from": "h USING PRIMARY KEY (stream=? AND checkpoint_id<?)",
    "History.lineage": "h USING PRIMARY KEY (stream=? AND checkpoint_id=?)",
    "History.of_run": "h USING INDEX sqlite_autoindex_history_3 (run_id=?)",
    "MetadataIndex.page": "m USING PRIMARY KEY (name=? AND value=? AND (checkpoint_id,stream)<(?,?))",
    "MetadataIndex.history": "h USING PRIMARY KEY ((stream,checkpoint_id)>(?,?))",
}
# What was put last has no index: there are few of it, and they are read through, sorted, and merged with the rest.
RECENT = {"History.of_run", "History.page_of_all", *(f"History.page_by_{c}" for c in INDEXED), "MetadataIndex.page"}
# Parts of a query that are no tables.
NO_TABLE = ("SCAN CONSTANT ROW", "SCAN (subquery")
# Threads are paged by their last activity, without an index: there are as many rows as threads, and each append would
# move one; they are counted for whoever goes through all of them. The declared keys are few. A lineage goes through the
# ancestors that it has found itself.
SCANS = {
    *("Threads.page", "Threads.count", "MetadataIndex.declared", "History.lineage", "History.count_all"),
    *("Recent.count", "Recent.take_in", "Recent.replace"),
}


@pytest.fixture
def plan_of(make_saver: Callable[..., EventLogSaver], steps: Any) -> Callable[[str], list[str]]:
    saver = make_saver(":memory:", indexed_metadata=["thread_id"])
    steps.everything(saver)

    def plan(sql: str) -> list[str]:
        with saver.log.database.reading() as connection:
            sql = sql.replace("@", "")
            bindings = (None,) * apsw.ext.query_info(connection, sql).bindings_count
            return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)]

    return plan


@pytest.mark.parametrize("name", STATEMENTS)
def test_it_searches_and_does_not_sort(plan_of: Callable[[str], list[str]], name: str) -> None:
    plan = plan_of(STATEMENTS[name])
    if name not in SCANS:
        assert [line for line in plan if "SCAN" in line and not line.startswith(NO_TABLE)] == (
            ["SCAN r"] if name in RECENT else []
        )
        sorts = [n for n, line in enumerate(plan) if "TEMP B-TREE" in line]
        assert sorts == ([len(plan) - 1] if name in RECENT else [])  # of the last part, what was put last
    if name in PAGES:
        searches = [line for line in plan if line.startswith("SEARCH")]
        assert searches[0] == f"SEARCH {PAGES[name]}"
        # Of each table one way in; of an index's own table, from what was put last, another.
        ways = {line for line in searches if not (name in RECENT and line == searches[-1])}
        assert len({line.split()[1] for line in ways}) == len(ways)
        if "h USING PRIMARY KEY" in PAGES[name]:
            assert "SEARCH r" + PAGES[name].removeprefix("h") in searches


def test_all_statements_are_looked_at() -> None:
    assert len(STATEMENTS) > 30
    assert set(PAGES) | SCANS <= set(STATEMENTS)
    assert all(issubclass(table, Table) for table in (History, MetadataIndex))
