"""`import`: all that LangGraph's own SqliteSaver holds is in the log afterwards, and the file is what it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command
from langgraph_eventlog.eventlog import Kind
from langgraph_eventlog.eventlog.value import Patch, Whole
from langgraph_eventlog.tools.moving.comparing import compare
from langgraph_eventlog.tools.moving.errors import ConflictError, SourceError
from langgraph_eventlog.tools.moving.importing import import_from, open_source
from langgraph_eventlog.tools.opening import strict_serializer

from .official_shop import chat, everything, of, official, threads_of
from .shop import _note_taker, support

PLACES = "SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints"


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def test_everything_is_imported(json_of: Any, official_shop: Path, tmp_path: Path, make_saver: Any) -> None:
    done = json_of("import", official_shop, "new.db")
    assert done["differences"] == []
    assert done["compared"] == done["checkpoints"] == done["there"]["checkpoints"] > 30
    assert done["writes"] == done["there"]["writes"]
    assert done["source_bytes"] == official_shop.stat().st_size
    saver, theirs = make_saver(tmp_path / "new.db"), official(official_shop)
    threads = list(threads_of(official_shop))
    assert everything(saver, threads) == everything(theirs, threads)
    for thread in threads:
        assert saver.get_tuple(of(thread)) == theirs.get_tuple(of(thread))
    theirs.conn.close()


def test_writes_whose_checkpoint_never_came_are_imported(run: Any, official_shop: Path, make_saver: Any) -> None:
    run("import", official_shop, "agent.db")
    saver = make_saver()
    lost = [event.data for event in saver.log.read(kinds=[Kind.PUT_WRITES]) if event.data.checkpoint_id == "never"]
    assert [(data.task_id, [write.channel for write in data.writes]) for data in lost] == [("task", ["item"])]
    chat_step = {"v": 4, "ts": "", "id": "never", "channel_values": {}, "channel_versions": {}, "versions_seen": {}}
    saver.put(of("order-1"), chat_step, {}, {})
    assert saver.get_tuple(of("order-1", checkpoint_id="never")).pending_writes == [("task", "item", "lost")]


def test_snapshots_of_delta_channels_are_stored_as_what_came_since_the_one_before(
    json_of: Any, tmp_path: Path, make_saver: Any
) -> None:
    path, parent = tmp_path / "snapshots.db", None
    with SqliteSaver.from_conn_string(str(path)) as theirs:
        for n in range(36):
            said = [HumanMessage(hashlib.sha512(f"{i}".encode()).hexdigest(), id=f"{i}") for i in range(n)]
            values = {"d": _DeltaSnapshot(said)} if n and n % 6 == 0 else {}
            checkpoint = {"v": 4, "ts": "", "id": f"{n:03}", "channel_values": values, "channel_versions": {}}
            theirs.put(of("t", checkpoint_id=parent), {**checkpoint, "versions_seen": {}}, {"step": n}, {})
            parent = f"{n:03}"
    assert json_of("import", path, "new.db")["differences"] == []
    saver = make_saver(tmp_path / "new.db")
    stored = [put.channels["d"] for put in (e.data for e in saver.log.read(kinds=[Kind.PUT])) if put.channels]
    assert [type(value) for value in stored] == [Whole, Patch, Patch, Whole, Patch]  # the fourth is a keyframe
    for n in (6, 30):
        value = saver.get_tuple(of("t", checkpoint_id=f"{n:03}")).checkpoint["channel_values"]["d"].value
        assert [message.id for message in value] == [f"{i}" for i in range(n)]


def test_importing_again_appends_nothing(json_of: Any, official_shop: Path, make_saver: Any) -> None:
    json_of("import", official_shop, "agent.db")
    before = make_saver().log.head()
    again = json_of("import", official_shop, "agent.db")
    assert (again["checkpoints"], again["writes"], again["differences"]) == (0, 0, [])
    assert make_saver().log.head() == before


def test_what_is_new_in_the_source_is_added(json_of: Any, run: Any, official_shop: Path, make_saver: Any) -> None:
    run("import", official_shop, "agent.db")
    theirs = official(official_shop)
    support(theirs).invoke({"messages": [HumanMessage("and now?", id="now")], "item": "lamp"}, of("order-1"))
    chat(theirs, "new", 3)
    theirs.conn.close()
    again = json_of("import", official_shop, "agent.db")
    assert again["differences"] == []
    assert again["checkpoints"] == 3 + 6
    assert [m.id for m in make_saver().get_tuple(of("new")).checkpoint["channel_values"]["messages"]] == [
        "m-0",
        "m-1",
        "m-2",
    ]


def test_the_log_says_which_events_came_from_where(run: Any, official_shop: Path, make_saver: Any) -> None:
    run("import", official_shop, "agent.db")
    events = list(make_saver().log.read())
    imports = [event.data for event in events if event.kind == Kind.IMPORT]
    assert {Path(data.source["path"]).name for data in imports} == {official_shop.name}
    assert {data.source["kind"] for data in imports} == {"sqlite"}
    assert len({data.source["run"] for data in imports}) == 1
    named = {n for data in imports for first, last in data.imported for n in range(first, last + 1)}
    puts = {event.position for event in events if event.kind in (Kind.PUT, Kind.PUT_WRITES)}
    assert named == puts
    assert sum(data.checkpoints for data in imports) == sum(event.kind == Kind.PUT for event in events)


def test_threads_were_active_when_their_checkpoints_say(
    run: Any, official_shop: Path, tmp_path: Path, make_saver: Any
) -> None:
    theirs = official(tmp_path / "old.sqlite")
    chat(theirs, "old", 70)
    theirs.conn.close()
    run("import", tmp_path / "old.sqlite", "agent.db")
    saver = make_saver()
    (info,) = saver.threads()
    assert info.created_at == datetime(2025, 3, 1, 10, 0, 0, tzinfo=UTC)
    assert info.last_activity == datetime(2025, 3, 1, 10, 1, 9, tzinfo=UTC)
    assert (info.checkpoints, info.writes) == (70, 69)
    saver.rebuild()
    assert next(saver.threads()) == info


def test_a_long_chat_becomes_small(run: Any, json_of: Any, tmp_path: Path) -> None:
    theirs = official(tmp_path / "long.sqlite")
    chat(theirs, "long", 300)
    theirs.conn.close()
    done = json_of("import", tmp_path / "long.sqlite", "agent.db")
    assert done["differences"] == []
    assert done["source_bytes"] > 30 * (done["bytes_after"] - done["bytes_before"])
    shown = run("import", tmp_path / "long.sqlite", "agent.db").stdout
    assert f"{done['bytes_after']:,} now" in shown
    assert "no difference" in shown


def test_graphs_go_on_where_they_were(run: Any, official_shop: Path, make_saver: Any) -> None:
    run("import", official_shop, "agent.db")
    saver = make_saver()
    graph = support(saver)
    assert graph.get_state(of("order-2")).interrupts[0].value == {"approve": 250}
    done = graph.invoke(Command(resume=199), of("order-2"))
    assert done["ledger"]["refund"] == 199
    notes = _note_taker(saver)
    before = notes.get_state(of("notes")).values["notes"]
    assert len(before) == 16
    assert notes.invoke({"notes": ["one more"]}, of("notes"))["notes"][:17] == [*before, "one more"]


def test_the_source_stays_as_it_is(run: Any, killed_shop: Path, tmp_path: Path, make_saver: Any) -> None:
    folder = killed_shop.parent
    before, times = hashes(folder), {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {"checkpoints.sqlite", "checkpoints.sqlite-wal", "checkpoints.sqlite-shm"} == set(before)
    for path in folder.iterdir():
        path.chmod(0o400)
    folder.chmod(0o500)
    try:
        shown = run("import", killed_shop, tmp_path / "agent.db").stdout
        assert hashes(folder) == before
        assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    finally:
        folder.chmod(0o700)
    assert "no difference" in shown
    # Nearly all of it was in the WAL.
    threads = [info.thread_id for info in make_saver().threads()]
    assert set(threads) == {"order-1", "order-2", "order-3", "planner", "notes"}


def test_a_source_that_is_changed_meanwhile_is_noticed(official_shop: Path, make_saver: Any) -> None:
    serde = strict_serializer()
    saver = make_saver(serde=serde)
    with open_source(official_shop, serde) as source:
        os.utime(official_shop, ns=(1, 1))
        with pytest.raises(SourceError, match="was changed while it was read"):
            import_from(source, saver)
    assert saver.log.head().position == 0


def test_a_source_with_a_hot_journal_is_refused(run: Any, official_shop: Path) -> None:
    Path(f"{official_shop}-journal").write_bytes(bytes.fromhex("d9d505f920a163d7") + bytes(504))
    assert "rollback journal" in run("import", official_shop, "agent.db", code=3).stderr


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (None, "there is no file"),
        ("text", "cannot be read"),
        ("CREATE TABLE other (x)", "is not a file of LangGraph's SqliteSaver"),
        (
            "CREATE TABLE checkpoints (thread_id, thread_ts, parent_ts, checkpoint, metadata); "
            "CREATE TABLE writes (thread_id, thread_ts, task_id, idx, channel, value)",
            "from before langgraph-checkpoint-sqlite 1.0",
        ),
    ],
)
def test_what_is_no_source_is_refused_and_no_log_is_made(run: Any, tmp_path: Path, made: str | None, said: str) -> None:
    path = tmp_path / "source.sqlite"
    if made == "text":
        path.write_text("not a database" * 100)
    elif made is not None:
        connection = sqlite3.connect(path)
        connection.executescript(made)
        connection.close()
    assert said in run("import", path, "agent.db", code=3).stderr
    assert not (tmp_path / "agent.db").exists()


def another(saver: Any) -> None:
    """Put another checkpoint of an id that the chat has."""
    checkpoint = {
        "v": 4,
        "ts": "2025-03-01T10:00:05.000000+00:00",
        "id": f"{5:08}",
        "channel_values": {"messages": ["mine"]},
        "channel_versions": {},
        "versions_seen": {},
    }
    saver.put(of("chat", checkpoint_id=f"{4:08}"), checkpoint, {"source": "loop", "step": 5, "parents": {}}, {})


def test_another_checkpoint_of_the_same_id_stops_the_import_before_anything_is_changed(
    run: Any, json_of: Any, tmp_path: Path, make_saver: Any
) -> None:
    theirs = official(tmp_path / "chat.sqlite")
    chat(theirs, "chat", 10)
    theirs.conn.close()
    saver = make_saver()
    another(saver)
    head = saver.log.head()
    said = run("import", tmp_path / "chat.sqlite", "agent.db", code=2).stderr
    assert "'00000005' of thread 'chat'" in said
    assert "--skip-existing" in said
    assert saver.log.head() == head
    done = json_of("import", tmp_path / "chat.sqlite", "agent.db", "--skip-existing")
    assert (done["skipped"], done["checkpoints"], done["differences"]) == (1, 9, [])
    assert saver.get_tuple(of("chat", checkpoint_id=f"{5:08}")).checkpoint["channel_values"] == {"messages": ["mine"]}
    assert len(saver.get_tuple(of("chat")).checkpoint["channel_values"]["messages"]) == 10


def test_another_write_at_the_same_place_stops_the_import(tmp_path: Path, make_saver: Any) -> None:
    theirs = official(tmp_path / "chat.sqlite")
    chat(theirs, "chat", 4)
    theirs.conn.close()
    serde = strict_serializer()
    saver = make_saver(serde=serde)
    saver.put_writes(of("chat", checkpoint_id=f"{1:08}"), [("messages", "mine")], "task-2", "~path")
    with open_source(tmp_path / "chat.sqlite", serde) as source, pytest.raises(ConflictError, match="task-2"):
        import_from(source, saver)
    assert saver.log.head().position == 1


def test_a_difference_is_told_and_gives_exit_code_1(run: Any, json_of: Any, tmp_path: Path) -> None:
    path = tmp_path / "chat.sqlite"
    theirs = official(path)
    chat(theirs, "chat", 4)
    # The official saver gives the id that is in the blob, whatever the row says.
    theirs.conn.execute(f"UPDATE checkpoints SET checkpoint_id = '{9:08}' WHERE checkpoint_id = '{2:08}'")
    theirs.conn.commit()
    theirs.conn.close()
    assert "its id" in run("import", path, "agent.db", code=1).stdout
    (difference,) = json_of("import", path, "agent.db", code=1)["differences"]
    assert (difference["checkpoint_id"], difference["what"]) == (f"{9:08}", "its id")
    assert json_of("import", path, "agent.db", "--no-compare")["differences"] == []


def test_comparing_tells_what_differs(tmp_path: Path, make_saver: Any) -> None:
    serde = strict_serializer()
    one, other = make_saver(tmp_path / "one.db", serde=serde), make_saver(tmp_path / "other.db", serde=serde)
    for saver in (one, other):
        chat(saver, "same", 3)
    chat(one, "only", 1)
    another(one)
    other.put_writes(of("same", checkpoint_id=f"{2:08}"), [("x", True)], "task", "")
    one.put_writes(of("same", checkpoint_id=f"{2:08}"), [("x", 1)], "task", "")
    places = [("same", "", f"{n:08}") for n in range(3)] + [("only", "", f"{0:08}"), ("chat", "", f"{5:08}")]
    found = [(d.thread_id, d.checkpoint_id, d.what) for d in compare(one, other, places)]
    assert found == [
        ("same", f"{2:08}", "its pending writes"),  # 1 is not True
        ("only", f"{0:08}", "it is not there in one of them"),
        ("chat", f"{5:08}", "it is not there in one of them"),
    ]


def test_ids_that_do_not_grow_and_parents_in_a_circle_are_imported(json_of: Any, tmp_path: Path) -> None:
    theirs = official(tmp_path / "odd.sqlite")
    empty = {"v": 4, "ts": "2025-01-01T00:00:00+00:00", "channel_versions": {}, "versions_seen": {}}
    for own, parent in (("5", "9"), ("9", "7"), ("7", None), ("a", "b"), ("b", "a"), ("c", "c"), ("d", "not there")):
        config = of("odd", **({"checkpoint_id": parent} if parent else {}))
        theirs.put(config, {**empty, "id": own, "channel_values": {"x": [own * 100] * 20}}, {"step": 1}, {})
    theirs.conn.close()
    assert json_of("import", tmp_path / "odd.sqlite", "agent.db")["differences"] == []


EVIL = """
import ormsgpack, sqlite3, sys
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
packed = ormsgpack.packb(["evil", "Evil", "x", None])
ext = ormsgpack.Ext(0, packed)
checkpoint = {"v": 4, "ts": "2025-01-01T00:00:00+00:00", "id": "1", "channel_values": {"x": ext, "l": [ext] * 200},
              "channel_versions": {}, "versions_seen": {}}
connection = sqlite3.connect(sys.argv[1])
connection.execute("INSERT INTO checkpoints VALUES ('evil', '', '1', NULL, 'msgpack', ?, '{}')",
                   (ormsgpack.packb(checkpoint),))
connection.execute("INSERT INTO writes VALUES ('evil', '', '1', 't', '', 0, 'x', 'msgpack', ?)",
                   (ormsgpack.packb(ext),))
connection.execute("INSERT INTO writes VALUES ('evil', '', '1', 't', '', 1, 'y', 'pickle', ?)",
                   (b"cevil\\nEvil\\n.",))
connection.commit()
"""


def test_no_code_that_the_source_names_is_run(run: Any, official_shop: Path, tmp_path: Path, make_saver: Any) -> None:
    (tmp_path / "evil.py").write_text("open('was here', 'w').close()\nEvil = str\n")
    subprocess.run([sys.executable, "-c", EVIL, str(official_shop)], check=True, cwd=tmp_path)
    # The pickle can be read by neither saver: that is told, and what else there is is imported and equal.
    shown = run("import", official_shop, "agent.db", code=1).stdout
    assert shown.count("different:") == 1
    run("import", official_shop, "agent.db", "--no-compare")
    assert not (tmp_path / "was here").exists()
    puts = list(make_saver().log.read(thread_id="evil", kinds=[Kind.PUT]))
    assert {type(value).__name__ for event in puts for value in event.data.channels.values()} == {"Whole", "ListOf"}


def test_a_checkpoint_that_is_a_pickle_is_refused(run: Any, official_shop: Path) -> None:
    connection = sqlite3.connect(official_shop)
    connection.execute("UPDATE checkpoints SET type = 'pickle', checkpoint = x'80' WHERE thread_id = 'planner'")
    connection.commit()
    connection.close()
    said = run("import", official_shop, "agent.db", code=3).stderr
    assert "'pickle'" in said
    assert "without running code" in said


@pytest.mark.plain_file("it looks for the text of a message in the file")
def test_encrypted_values_are_taken_apart_and_stay_encrypted(
    run: Any, json_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_saver: Any
) -> None:
    key = "0123456789abcdef"
    monkeypatch.setenv("LANGGRAPH_AES_KEY", key)
    serde = strict_serializer()
    theirs = official(tmp_path / "secret.sqlite", serde=serde)
    chat(theirs, "secret", 60)
    theirs.conn.close()
    done = json_of("import", tmp_path / "secret.sqlite", "agent.db")
    assert done["differences"] == []
    assert done["source_bytes"] > 4 * done["bytes_after"]
    assert json_of("import", tmp_path / "secret.sqlite", "agent.db")["checkpoints"] == 0
    saver = make_saver(serde=serde)
    assert len(saver.get_tuple(of("secret")).checkpoint["channel_values"]["messages"]) == 60
    assert b"word31" not in (tmp_path / "agent.db").read_bytes()
    monkeypatch.delenv("LANGGRAPH_AES_KEY")
    assert "LANGGRAPH_AES_KEY" in run("import", tmp_path / "secret.sqlite", "other.db", code=3).stderr
    monkeypatch.setenv("LANGGRAPH_AES_KEY", "f" * 16)
    assert "is it the key?" in run("import", tmp_path / "secret.sqlite", "third.db", code=3).stderr


def test_metadata_that_is_no_json_is_told_with_its_place(run: Any, official_shop: Path) -> None:
    connection = sqlite3.connect(official_shop)
    connection.execute("UPDATE checkpoints SET metadata = 'no' WHERE thread_id = 'planner'")
    connection.commit()
    connection.close()
    assert "metadata of checkpoint" in run("import", official_shop, "agent.db", code=3).stderr


def test_json_is_one_document(run: Any, official_shop: Path) -> None:
    assert json.loads(run("import", official_shop, "agent.db", "--json").stdout)["source"]["kind"] == "sqlite"


def test_without_the_official_savers_package_it_is_imported_but_not_compared(
    run: Any, official_shop: Path, tmp_path: Path
) -> None:
    # A package of that name without anything in it.
    shadow = tmp_path / "shadow" / "sitecustomize.py"
    shadow.parent.mkdir()
    shadow.write_text("import sys\nsys.modules['langgraph.checkpoint.sqlite'] = None\n")
    path = os.pathsep.join([str(shadow.parent), os.environ.get("PYTHONPATH", "")])
    said = run("import", official_shop, "agent.db", code=2, PYTHONPATH=path).stderr
    assert "pip install langgraph-checkpoint-sqlite" in said
    assert not (tmp_path / "agent.db").exists()
    assert "Appended" in run("import", official_shop, "agent.db", "--no-compare", PYTHONPATH=path).stdout


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE writes SET type = NULL WHERE rowid = (SELECT min(rowid) FROM writes)",
        "UPDATE checkpoints SET type = NULL WHERE rowid = (SELECT min(rowid) FROM checkpoints)",
        "UPDATE checkpoints SET thread_id = CAST(thread_id AS BLOB) WHERE rowid = (SELECT min(rowid) FROM checkpoints)",
    ],
)
def test_what_the_official_saver_could_not_read_either_is_named(run: Any, official_shop: Path, change: str) -> None:
    with contextlib.closing(sqlite3.connect(official_shop)) as connection, connection:
        connection.execute(change)
    said = run("import", official_shop, "new.db", code=3).stderr
    assert official_shop.name in said
    assert "cannot be imported" in said
