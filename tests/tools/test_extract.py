"""`extract`: threads into a log file of their own."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langgraph_eventlog.eventlog import ConfigError, LogBusyError
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.moving.extracting import delete_extracted, extract

from ..model.moved import compare
from ..model.seeing import config_of

DELTAS = ["notes", "messages"]


def listed(saver: EventLogSaver) -> set[str]:
    return {info.thread_id for info in saver.threads()}


def others(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("agent.db"))


def test_threads_are_there_what_they_were(json_of: Any, shop: Path, tmp_path: Path, make_saver: Any) -> None:
    threads = ["order-3", "order-3-again", "planner", "notes", "long", "gone"]
    document = json_of("extract", shop, "new.db", *threads, "--check")
    target, source = make_saver(tmp_path / "new.db"), make_saver(shop)
    assert listed(target) == set(threads) - {"gone"}
    compare(source, target, {thread: thread for thread in threads}, DELTAS)
    assert document["threads"] == {thread: thread for thread in threads}
    assert document["anchor"] == str(source.log.head())
    assert document["head"] == str(target.log.head())
    assert document["checkpoints"] >= sum(info.checkpoints for info in target.threads())
    # What has been deleted has left its history, and goes along when it is named.
    assert any(event.thread_id == "gone" for event in target.log.read())
    # And graphs go on with it.
    target.fork_thread(config_of("order-3", "", None), "fork")


def test_a_log_in_use_is_taken_from(run: Any, busy_shop: Path, tmp_path: Path, make_saver: Any) -> None:
    run("extract", busy_shop, "new.db", "--all", "--check")
    target, source = make_saver(tmp_path / "new.db"), make_saver(busy_shop)
    still = {thread: thread for thread in ("order-1", "order-2", "order-3", "notes", "long")}
    assert {*still, "busy-0"} <= listed(target)
    compare(source, target, still, DELTAS)


def test_threads_are_chosen_by_their_metadata(run: Any, shop: Path, tmp_path: Path, make_saver: Any) -> None:
    run("extract", shop, "new.db", "--where", "customer=c2")
    assert listed(make_saver(tmp_path / "new.db")) == {"order-2"}
    run("extract", shop, "true.db", "planner", "--where", "hold=true")
    assert listed(make_saver(tmp_path / "true.db")) == {"order-1", "planner"}
    run("extract", shop, "both.db", "--where", "hold=true", "--where", "customer=c2", code=2)


def test_a_thread_gets_another_id(run: Any, shop: Path, tmp_path: Path, make_saver: Any) -> None:
    run("extract", shop, "new.db", "order-1", "order-2", "--rename", "order-1=a=b")
    compare(make_saver(shop), make_saver(tmp_path / "new.db"), {"order-1": "a=b", "order-2": "order-2"})


def test_what_makes_no_sense_changes_nothing(run: Any, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    run("extract", shop, "new.db", code=2)
    run("extract", shop, "new.db", "--where", "customer", code=2)
    run("extract", shop, "there", "order-1", code=2)
    run("extract", shop, "there", "order-1", "--force", code=3)
    run("extract", shop, "there/new.db", "order-1", code=3)
    with EventLogSaver(shop, read_only=True) as source:
        for threads, options in (
            (["nobody"], {}),
            ([], {"where": {"customer": "nobody"}}),
            (["order-1"], {"rename": {"order-2": "x"}}),
            (["order-1", "order-2"], {"rename": {"order-1": "order-2"}}),
        ):
            with pytest.raises(ConfigError):
                extract(source, tmp_path / "new.db", threads, **options)  # type: ignore[arg-type]
    assert others(tmp_path) == ["there"]
    assert (tmp_path / "there").read_text() == "mine"


def test_a_log_that_is_there_is_replaced_when_asked_and_not_in_use(
    run: Any, shop: Path, tmp_path: Path, make_saver: Any
) -> None:
    path = tmp_path / "new.db"
    run("extract", shop, "new.db", "order-1")
    with EventLogSaver(path):
        assert "is open" in run("extract", shop, "new.db", "order-2", "--force", code=3).stderr
    run("extract", shop, "new.db", "order-2", "--force")
    assert others(tmp_path) == ["new.db"]
    assert listed(make_saver(path)) == {"order-2"}


def test_what_is_taken_out_is_deleted_when_asked(json_of: Any, shop: Path, tmp_path: Path, make_saver: Any) -> None:
    with EventLogSaver(shop, read_only=True) as before:
        everything = listed(before)
    document = json_of("extract", shop, "new.db", "order-3", "long", "--delete")
    assert document["deleted"] == ["order-3", "long"]
    source = make_saver(shop)
    assert listed(source) == everything - {"order-3", "long"}
    assert listed(make_saver(tmp_path / "new.db")) == {"order-3", "long"}
    fork = [*source.list(config_of("order-3-again", None, None))]
    assert fork  # stays whole


def test_a_thread_that_has_gone_on_is_not_deleted(make_saver: Any, tmp_path: Path) -> None:
    source = make_saver()
    for thread in ("a", "b"):
        source.put_writes(config_of(thread, "", "0"), [("x", 1)], "t")
    extracted = extract(source, tmp_path / "new.db", ["a", "b"])
    source.put_writes(config_of("b", "", "0"), [("x", 2)], "u")
    assert delete_extracted(source, extracted) == ["b"]
    assert listed(source) == {"b"}


def test_metadata_keys_are_indexed_there_too(make_saver: Any, tmp_path: Path) -> None:
    source = make_saver(indexed_metadata=["tenant", "a.b"])
    source.register_thread("a")
    extract(source, tmp_path / "new.db", ["a"])
    assert make_saver(tmp_path / "new.db")._core.views.metadata_index.names == {"tenant": True, "a.b": True}


def test_the_new_log_is_for_its_owner_and_in_one_file(run: Any, shop: Path, tmp_path: Path) -> None:
    run("extract", shop, "folder/new.db", "order-1")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["new.db"]
    assert (tmp_path / "folder" / "new.db").stat().st_mode & 0o777 == 0o600


def test_a_private_log_is_no_target(file_saver: EventLogSaver) -> None:
    file_saver.register_thread("a")
    for path in (":memory:", ""):
        with pytest.raises(ConfigError):
            extract(file_saver, path, ["a"])


def test_the_log_itself_is_no_target(file_saver: EventLogSaver) -> None:
    file_saver.register_thread("a")
    before = file_saver.log.head()
    with pytest.raises(LogBusyError):
        extract(file_saver, file_saver.path, ["a"], force=True)
    assert file_saver.log.head() == before


def test_a_kill_leaves_nothing_under_the_targets_name(shop: Path, tmp_path: Path, make_saver: Any) -> None:
    rng = random.Random(5)
    command = [sys.executable, "-m", "langgraph_eventlog.tools", "extract", str(shop), "new.db", "--all"]
    whole = subprocess.run([*command, "--json"], cwd=tmp_path, check=True, capture_output=True)
    assert whole.stdout
    os.unlink(tmp_path / "new.db")
    ended = 0
    for n in range(5):
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE)
        try:
            # From when it has begun to write, at any time.
            while process.poll() is None and not (begun := [*tmp_path.glob(".new.db.*/log")]):
                pass
            if n and begun:
                process.wait(rng.random() * 0.3)
        except subprocess.TimeoutExpired:
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if (tmp_path / "new.db").exists():  # then all of it is there
            ended += 1
            with EventLogSaver(tmp_path / "new.db") as saver:
                assert [*saver.log.verify()] == []
                assert len(listed(saver)) == 7
            os.unlink(tmp_path / "new.db")
        for left in tmp_path.glob(".new.db.*"):
            shutil.rmtree(left)
    assert ended < 5
    with sqlite3.connect(shop) as connection:
        assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
    connection.close()
