"""`import`: all that LangGraph's own PostgresSaver holds, from a real server."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from langchain_core.messages import HumanMessage
from langgraph.types import Command
from langgraph_eventlog.eventlog import Kind

from .official_shop import chat, everything, make_official_shop, of
from .shop import support

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: the extra `postgres`")
pytest.importorskip("langgraph.checkpoint.postgres", reason="langgraph-checkpoint-postgres is not installed")
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The connection string of a server: of PyPI's pgserver, or of Debian's postgresql."""
    if importlib.util.find_spec("pgserver") is not None:
        import pgserver

        # Short: the path of a socket may have a hundred characters.
        with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
            started = pgserver.get_server(folder)
            try:
                yield started.get_uri()
            finally:
                started.cleanup()
        return
    if not PROGRAMS or os.geteuid() == 0:
        pytest.skip("neither pgserver nor (as another user than root) Debian's postgresql is there")
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        data = Path(folder, "data")
        subprocess.run([PROGRAMS[-1] / "initdb", "-D", data, "-A", "trust", "-U", "postgres"], check=True)
        control = [PROGRAMS[-1] / "pg_ctl", "-D", data, "-w"]
        subprocess.run(
            [*control, "-o", f"-k {folder} -c listen_addresses=''", "-l", f"{folder}/log", "start"], check=True
        )
        try:
            yield f"postgresql://postgres@/postgres?host={quote(folder)}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True)


@pytest.fixture
def database(server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A new database on the server."""
    name = re.sub(r"\W", "_", request.node.name).lower()[:60]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def theirs(database: str) -> Iterator[Any]:
    from langgraph.checkpoint.postgres import PostgresSaver

    with PostgresSaver.from_conn_string(database) as saver:
        saver.setup()
        yield saver


def contents(database: str) -> list[Any]:
    with psycopg.connect(database) as connection:
        return [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4").fetchall()
            for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
        ]


def test_everything_is_imported(json_of: Any, database: str, theirs: Any, make_saver: Any) -> None:
    make_official_shop(theirs)
    before = contents(database)
    done = json_of("import", database, "agent.db")
    assert done["differences"] == []
    assert done["compared"] == done["checkpoints"] == done["there"]["checkpoints"] > 30
    assert done["writes"] == done["there"]["writes"]
    assert contents(database) == before
    assert json_of("import", database, "agent.db")["checkpoints"] == 0
    saver = make_saver()
    threads = ["order-1", "order-2", "order-3", "planner", "notes"]
    assert everything(saver, threads) == everything(theirs, threads)
    done = support(saver).invoke(Command(resume=199), of("order-2"))
    assert done["ledger"]["refund"] == 199
    imports = [event.data.source for event in saver.log.read(kinds=[Kind.IMPORT])]
    assert {source["kind"] for source in imports} == {"postgres"}
    assert {source["database"] for source in imports} == {psycopg.conninfo.conninfo_to_dict(database)["dbname"]}


def test_what_async_postgres_saver_made_is_imported(json_of: Any, database: str, theirs: Any) -> None:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

    async def go() -> None:
        async with AsyncPostgresSaver.from_conn_string(database) as saver:
            ask = {"messages": [HumanMessage("hello", id="hello")], "item": "lamp"}
            await support(saver).ainvoke(ask, of("async"))

    asyncio.run(go())
    done = json_of("import", database, "agent.db")
    assert (done["differences"], done["checkpoints"]) == ([], done["there"]["checkpoints"])


def test_a_long_chat_becomes_small(json_of: Any, database: str, theirs: Any, make_saver: Any) -> None:
    chat(theirs, "long", 100)
    done = json_of("import", database, "agent.db")
    assert done["differences"] == []
    assert make_saver().get_tuple(of("long")).checkpoint["channel_values"]["messages"][99].id == "m-99"
    stored = sum(event.size for event in make_saver().log.read(kinds=[Kind.PUT, Kind.PUT_WRITES]))
    assert stored * 10 < sum(len(row[5] or b"") for row in contents(database)[1])


def test_databases_of_old_releases_are_imported(json_of: Any, database: str, theirs: Any, make_saver: Any) -> None:
    """What stands in them: no task_path, no blob is null, checkpoints of format 1 whose tasks the parent has sent."""
    chat(theirs, "old", 4)
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{v}', '1')")
        connection.execute(
            "UPDATE checkpoints SET checkpoint = checkpoint || jsonb_build_object('pending_sends', '[]'::jsonb)"
        )
        sent = theirs.serde.dumps_typed({"node": "work", "arg": [1]})
        for idx in range(2):
            connection.execute(
                "INSERT INTO checkpoint_writes "
                "(thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob) "
                "VALUES ('old', '', %s, 'sender', %s, '__pregel_tasks', %s, %s)",
                (f"{2:08}", idx, *sent),
            )
        connection.execute("ALTER TABLE checkpoint_blobs ALTER COLUMN blob SET NOT NULL")
    expected = everything(theirs, ["old"])
    assert (
        expected["old", "", f"{3:08}"].checkpoint["channel_values"]["__pregel_tasks"]
        == [{"node": "work", "arg": [1]}] * 2
    )
    done = json_of("import", database, "agent.db")
    assert done["differences"] == []
    assert everything(make_saver(), ["old"]) == expected
    with psycopg.connect(database) as connection:
        connection.execute("ALTER TABLE checkpoint_writes DROP COLUMN task_path")
    assert json_of("import", database, "other.db", "--no-compare")["writes"] == done["writes"]


def test_a_database_without_the_savers_tables_is_refused(run: Any, database: str, tmp_path: Path) -> None:
    assert "it has no tables of that" in run("import", database, "agent.db", code=3).stderr
    assert not (tmp_path / "agent.db").exists()


def test_a_shallow_savers_database_is_refused(run: Any, database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE checkpoints (thread_id TEXT, checkpoint_ns TEXT, checkpoint JSONB)")
        connection.execute(
            "CREATE TABLE checkpoint_blobs (thread_id TEXT, checkpoint_ns TEXT, channel TEXT, blob BYTEA)"
        )
        connection.execute("CREATE TABLE checkpoint_writes (thread_id TEXT, checkpoint_id TEXT)")
    assert "ShallowPostgresSaver" in run("import", database, "agent.db", code=3).stderr


@pytest.mark.plain_file("it looks for the password in the file")
def test_the_password_is_nowhere(run: Any, server: str, database: str, theirs: Any, tmp_path: Path) -> None:
    chat(theirs, "one", 1)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute("CREATE ROLE reader LOGIN PASSWORD 'hunter2'")
    with psycopg.connect(database) as connection:
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    as_reader = database.replace("//postgres:", "//reader:hunter2").replace("//postgres@", "//reader:hunter2@")
    shown = run("import", as_reader, "agent.db")  # and reading is all that it may
    assert "hunter2" not in shown.stdout + shown.stderr
    assert b"hunter2" not in (tmp_path / "agent.db").read_bytes()
    assert "reader" not in json.dumps(shown.stdout)
    with psycopg.connect(database) as connection:
        connection.execute("DROP OWNED BY reader")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP ROLE reader")


def test_what_cannot_be_connected_to_is_said_without_its_password(run: Any) -> None:
    for dsn in ("postgresql://me:hunter2@127.0.0.1:1/x", "postgresql://me:hunter2%zz@127.0.0.1/x"):
        said = run("import", dsn, "agent.db", code=3).stderr
        assert "hunter2" not in said
        assert "connect" in said
