"""`import`: files of every release of the official SqliteSaver whose files differ (see official/make.py)."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from .official import make
from .official_shop import everything, of, official, threads_of

RELEASES = sorted((Path(__file__).parent / "official").glob("*.db"), key=lambda path: path.stem)


@pytest.fixture(params=RELEASES, ids=lambda path: path.stem)
def release(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints.sqlite"
    shutil.copy(request.param, path)
    return path


def test_the_files_are_what_they_are_said_to_be() -> None:
    found = {}
    for path in RELEASES:
        connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        columns = {row[1] for row in connection.execute("PRAGMA table_info(writes)")}
        tags = {row[0] for row in connection.execute("SELECT DISTINCT type FROM checkpoints")}
        found[path.stem] = ("task_path" in columns, tags)
        connection.close()
    assert found == {
        "1.0.0": (False, {"json"}),
        "1.0.4": (False, {"msgpack"}),
        "2.0.0": (False, {"msgpack"}),
        "2.0.11": (False, {"msgpack"}),
        "3.0.3": (False, {"msgpack"}),
        "3.1.0": (False, {"msgpack"}),
    }


def test_everything_of_the_release_is_imported(json_of: Any, release: Path, make_saver: Any) -> None:
    before = release.read_bytes()
    done = json_of("import", release, "agent.db")
    assert release.read_bytes() == before
    assert done["differences"] == []
    assert done["compared"] == done["checkpoints"] == done["there"]["checkpoints"] >= 24
    assert done["writes"] == done["there"]["writes"] > 0
    assert json_of("import", release, "agent.db")["checkpoints"] == 0
    saver, theirs = make_saver(), official(release)
    threads = list(threads_of(release))
    assert sorted(threads) == ["asked", "async", "chat", "outer", "sends"]
    assert everything(saver, threads) == everything(theirs, threads)
    theirs.conn.close()


def test_graphs_go_on_as_they_would_on_the_official_saver(run: Any, release: Path, make_saver: Any) -> None:
    run("import", release, "agent.db")
    ours, theirs = make_saver(), official(release)
    went_on = []
    for saver in (ours, theirs):
        said = make.chat(saver).invoke({"messages": [HumanMessage("go on", id="go on")]}, of("chat"))
        assert [message.id for message in said["messages"][-2:]] == ["go on", "ai-9"]
        sent = make.sends(saver).invoke(None, of("sends"))
        asked = make.asked(saver).invoke(None, of("asked"))
        assert asked["done"] == ["first", "second"]
        went_on.append((said, sent, asked, make.outer(saver).get_state(of("outer")).values))
    assert went_on[0] == went_on[1]
    theirs.conn.close()
