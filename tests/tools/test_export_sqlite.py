"""`export FILE TARGET`: LangGraph's own SqliteSaver reads all that the log holds, and goes on with it."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command
from langgraph_eventlog.eventlog import EventLogError
from langgraph_eventlog.tools.moving.errors import ExportError
from langgraph_eventlog.tools.moving.exporting import export_to_sqlite
from langgraph_eventlog.tools.moving.walking import Selection
from langgraph_eventlog.tools.opening import strict_serializer

from .official_shop import chat, everything, make_official_shop, of, official
from .shop import _note_taker, _planner, support

CHECKPOINTS = "SELECT * FROM checkpoints ORDER BY 1, 2, 3"
WRITES = """
SELECT thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, value FROM writes ORDER BY 1, 2, 3, 4, 5"""


def rows(path: Path, sql: str) -> list[Any]:
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_everything_is_exported(json_of: Any, shop: Path, tmp_path: Path, make_saver: Any) -> None:
    done = json_of("export", shop, "out.sqlite")
    assert done["differences"] == []
    assert done["compared"] == done["checkpoints"] > 30
    assert done["bytes"] == (tmp_path / "out.sqlite").stat().st_size
    assert stat.S_IMODE((tmp_path / "out.sqlite").stat().st_mode) == 0o600
    ours, theirs = make_saver(), official(tmp_path / "out.sqlite")
    threads = [info.thread_id for info in ours.threads()]
    assert "order-3-again" in threads
    assert everything(theirs, threads) == everything(ours, threads)
    for thread in threads:
        assert theirs.get_tuple(of(thread)) == ours.get_tuple(of(thread))
    theirs.conn.close()


@pytest.fixture
def going_on(make_saver: Any) -> Path:
    """A log whose threads are in the midst of things: one is interrupted and waits."""
    saver = make_saver()
    make_official_shop(saver)
    return Path(saver.path)


def test_the_official_saver_goes_on(run: Any, going_on: Path, tmp_path: Path) -> None:
    run("export", going_on, "out.sqlite")
    theirs = official(tmp_path / "out.sqlite")
    graph = support(theirs)
    assert graph.get_state(of("order-2")).interrupts[0].value == {"approve": 250}
    assert graph.invoke(Command(resume=199), of("order-2"))["ledger"]["refund"] == 199
    again = graph.invoke({"messages": [HumanMessage("how much?", id="again")], "item": "desk"}, of("order-1"))
    assert len(again["messages"]) == 3 * 4
    assert _planner(theirs).invoke({"steps": ["go"]}, of("planner"))["steps"][-1] == "check"
    notes = _note_taker(theirs)
    assert notes.invoke({"notes": ["one more"]}, of("notes"))["notes"][-2:] == ["one more", "note 17"]
    theirs.conn.close()


def test_the_official_async_saver_goes_on(run: Any, going_on: Path, tmp_path: Path) -> None:
    run("export", going_on, "out.sqlite")

    async def go() -> None:
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "out.sqlite")) as theirs:
            graph, notes = support(theirs), _note_taker(theirs)
            done = await graph.ainvoke(Command(resume=199), of("order-2"))
            assert done["ledger"]["refund"] == 199
            assert len((await notes.aget_state(of("notes"))).values["notes"]) == 16
            assert len([one async for one in theirs.alist(of("order-1"))]) == 12

    asyncio.run(go())


def test_there_and_back_every_byte_is_the_same(run: Any, official_shop: Path, tmp_path: Path) -> None:
    run("import", official_shop, "agent.db")
    run("export", "agent.db", "back.sqlite")
    assert rows(tmp_path / "back.sqlite", CHECKPOINTS) == rows(official_shop, CHECKPOINTS)
    assert rows(tmp_path / "back.sqlite", WRITES) == rows(official_shop, WRITES)


def test_the_schema_is_that_of_the_official_saver(run: Any, official_shop: Path, shop: Path, tmp_path: Path) -> None:
    run("export", shop, "out.sqlite")
    columns = "SELECT m.name, p.* FROM sqlite_schema AS m, pragma_table_info(m.name) AS p WHERE m.type = 'table'"
    assert rows(tmp_path / "out.sqlite", columns) == rows(official_shop, columns)
    assert (tmp_path / "out.sqlite").read_bytes()[18:20] == b"\2\2"  # WAL, as that saver has it


def test_what_delta_channels_need_of_pruned_threads_is_exported(tmp_path: Path, make_saver: Any) -> None:
    saver = make_saver(serde=strict_serializer())
    notes = _note_taker(saver)
    for n in range(4):
        notes.invoke({"notes": [f"remember {n}"]}, of("notes"))
    expected = notes.get_state(of("notes")).values
    saver.prune(["notes"])
    assert len(list(saver.list(of("notes")))) == 1
    done = export_to_sqlite(saver, tmp_path / "out.sqlite")
    assert done.checkpoints > 1
    assert done.differences == []
    theirs = official(tmp_path / "out.sqlite")
    assert _note_taker(theirs).get_state(of("notes")).values == expected
    theirs.conn.close()


def test_one_thread_or_a_range_of_events(json_of: Any, run: Any, shop: Path, tmp_path: Path, make_saver: Any) -> None:
    assert json_of("export", shop, "one.sqlite", "--thread", "planner")["threads"] == 1
    assert {row[0] for row in rows(tmp_path / "one.sqlite", CHECKPOINTS)} == {"planner"}
    saver = make_saver()
    middle = saver.log.head().position // 2
    json_of("export", shop, "first.sqlite", "--to", str(middle))
    json_of("export", shop, "rest.sqlite", "--from", str(middle + 1))
    run("export", shop, "all.sqlite")
    for sql in (CHECKPOINTS, WRITES):
        first, rest = rows(tmp_path / "first.sqlite", sql), rows(tmp_path / "rest.sqlite", sql)
        assert first
        assert rest
        assert sorted(map(repr, first + rest)) == sorted(map(repr, rows(tmp_path / "all.sqlite", sql)))
    assert "no thread 'none'" in run("export", shop, "none.sqlite", "--thread", "none", code=2).stderr
    assert "--from 3 is after --to 2" in run("export", shop, "x.sqlite", "--from", "3", "--to", "2", code=2).stderr


def test_a_log_in_use_is_exported(json_of: Any, busy_shop: Path) -> None:
    assert json_of("export", busy_shop, "out.sqlite")["differences"] == []


def test_what_is_put_and_deleted_while_files_are_compared_is_no_difference(tmp_path: Path, make_saver: Any) -> None:
    saver = make_saver(serde=strict_serializer())
    for thread in ("goes on", "goes away"):
        _planner(saver).invoke({"steps": ["go"]}, of(thread))
    before = everything(saver, ["goes on", "goes away"])

    def meanwhile(what: str, done: int, total: int) -> None:
        if what == "comparing" and done == 1:
            latest = saver.get_tuple(of("goes on"))
            saver.put_writes(latest.config, [("steps", ["one more"])], "a task")
            saver.delete_thread("goes away")

    done = export_to_sqlite(saver, tmp_path / "out.sqlite", progress=meanwhile)
    assert done.differences == []
    assert done.compared == done.checkpoints == len(before)
    assert saver.get_tuple(of("goes away")) is None
    theirs = official(tmp_path / "out.sqlite")
    assert everything(theirs, ["goes on", "goes away"]) == before
    theirs.conn.close()


def test_what_is_there_is_never_overwritten(run: Any, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    for more in ([], ["--jsonl"]):
        assert "is there already" in run("export", shop, "mine", *more, code=2).stderr
    assert (tmp_path / "mine").read_text() == "precious"
    assert not list(tmp_path.glob("*.partial"))


def test_encrypted_values_stay_encrypted(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_saver: Any
) -> None:
    monkeypatch.setenv("LANGGRAPH_AES_KEY", "0123456789abcdef")
    serde = strict_serializer()
    chat(make_saver(serde=serde), "secret", 30)
    run("export", "agent.db", "out.sqlite")
    assert b"word31" not in (tmp_path / "out.sqlite").read_bytes()
    assert {row[4] for row in rows(tmp_path / "out.sqlite", CHECKPOINTS)} == {"msgpack+aes"}
    theirs = official(tmp_path / "out.sqlite", serde=serde)
    assert len(theirs.get_tuple(of("secret")).checkpoint["channel_values"]["messages"]) == 30
    theirs.conn.close()
    monkeypatch.delenv("LANGGRAPH_AES_KEY")
    assert "cannot be exported" in run("export", "agent.db", "no.sqlite", code=3).stderr
    assert not (tmp_path / "no.sqlite").exists()


class Odd:
    """What only a pickle can hold."""

    def __eq__(self, other: object) -> bool:
        return type(other) is Odd

    __hash__ = None  # type: ignore[assignment]


def test_what_has_to_be_decoded_is_refused_unless_it_may_be(tmp_path: Path, make_saver: Any) -> None:
    saver = make_saver(serde=JsonPlusSerializer(pickle_fallback=True))
    checkpoint = {"v": 4, "ts": "2025-01-01T00:00:00+00:00", "id": "1", "channel_versions": {}, "versions_seen": {}}
    values = {"odd": Odd(), "none": None, "bytes": b"raw", "text": "x"}
    saver.put(of("odd"), {**checkpoint, "channel_values": values}, {"step": 1, "raw": b"x"}, {})
    done = export_to_sqlite(saver, tmp_path / "out.sqlite", comparing=False)
    theirs = official(tmp_path / "out.sqlite", serde=saver.serde)
    assert theirs.get_tuple(of("odd")).checkpoint["channel_values"] == values
    assert theirs.get_tuple(of("odd")).metadata == {"step": 1, "raw": {"base64": "eA=="}}
    theirs.conn.close()
    assert done.checkpoints == 1
    saver.serde = strict_serializer()
    with pytest.raises(ExportError, match="checkpoint '1' of thread 'odd'"):
        export_to_sqlite(saver, tmp_path / "no.sqlite")
    assert not (tmp_path / "no.sqlite").exists()
    assert issubclass(ExportError, EventLogError)


def test_an_export_of_nothing_is_an_empty_file_of_the_official_saver(tmp_path: Path, make_saver: Any) -> None:
    done = export_to_sqlite(make_saver(), tmp_path / "out.sqlite", selection=Selection())
    assert (done.threads, done.checkpoints, done.writes) == (0, 0, 0)
    theirs = official(tmp_path / "out.sqlite")
    assert list(theirs.list(None)) == []
    theirs.conn.close()


def test_a_file_for_another_saver_does_not_go_to_standard_output(run: Any, shop: Path, tmp_path: Path) -> None:
    assert "--jsonl" in run("export", shop, "-", code=2).stderr
    assert not (tmp_path / "-").exists()
