"""`merge`: the threads of another log into a log."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from langgraph_eventlog.eventlog import ConfigError, Kind, ThreadExistsError
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.moving import merging
from langgraph_eventlog.tools.moving.checking import check_provenance
from langgraph_eventlog.tools.moving.extracting import delete_extracted, extract
from langgraph_eventlog.tools.moving.merging import merge
from langgraph_eventlog.tools.moving.provenance import origins

from ..model.moved import compare
from ..model.seeing import config_of

DELTAS = ["notes", "messages"]


def listed(saver: EventLogSaver) -> set[str]:
    return {info.thread_id for info in saver.threads()}


def same(thread_ids: Any) -> dict[str, str]:
    return {thread_id: thread_id for thread_id in thread_ids}


@pytest.fixture
def other(shop_once: Path, tmp_path: Path) -> Path:
    """Another shop's log."""
    path = tmp_path / "other.db"
    shutil.copy(shop_once, path)
    return path


def test_all_threads_come_in(json_of: Any, other: Path, tmp_path: Path, make_saver: Any) -> None:
    target, source = make_saver(tmp_path / "mine.db", indexed_metadata=["mine"]), make_saver(other)
    target.register_thread("mine")
    document = json_of("merge", "mine.db", other, "--check")
    assert document["findings"] == []
    assert listed(target) == listed(source) | {"mine"}
    compare(source, target, same(listed(source)), DELTAS)
    assert document["events"] >= sum(info.checkpoints for info in source.threads())
    again = json_of("merge", "mine.db", other)
    assert (again["threads"], again["already"], again["events"]) == ({}, document["threads"], 0)
    assert again["head"] == document["head"] == str(target.log.head())


def test_a_log_in_use_takes_them_in(run: Any, busy_shop: Path, other: Path, make_saver: Any) -> None:
    new = {thread: f"other {thread}" for thread in ("order-3", "order-3-again", "notes", "long")}
    options = [f"--rename={old}={name}" for old, name in new.items()]
    run("merge", busy_shop, other, *new, *options, "--check")
    compare(make_saver(other), make_saver(busy_shop), new, DELTAS)


def test_a_thread_that_is_there_is_an_error_and_nothing_is_changed(run: Any, shop: Path, other: Path) -> None:
    with EventLogSaver(shop, read_only=True) as saver:
        before = saver.log.head()
    assert "'notes' has checkpoints already" in run("merge", shop, other, "notes", code=2).stderr
    run("merge", "none.db", other, code=3)
    assert not (shop.parent / "none.db").exists()
    with EventLogSaver(shop) as target, EventLogSaver(other, read_only=True) as source:
        for threads, rename in (
            (["planner", "notes"], {"planner": "new"}),
            (["planner"], {"planner": "notes"}),
            (["nobody"], {}),
        ):
            with pytest.raises(ConfigError):
                merge(target, source, threads, rename=rename)
        with pytest.raises(ConfigError, match="into itself"):
            merge(target, target)
        assert target.log.head() == before


def test_what_was_deleted_comes_back_from_another_log(shop: Path, other: Path, make_saver: Any) -> None:
    """Of a backup, too: it is the same log, and still another file."""
    target, source = make_saver(shop), make_saver(other)
    target.delete_thread("order-2")
    assert merge(target, source, ["order-2"]).threads == same(["order-2"])
    compare(source, target, same(["order-2"]))
    target.delete_thread("order-2")
    target.register_thread("order-2", "anew")
    with pytest.raises(ThreadExistsError):
        merge(target, source, ["order-2"])


def test_a_thread_that_has_gone_on_since_is_not_taken_for_the_same(make_saver: Any, tmp_path: Path) -> None:
    source, target = make_saver(), make_saver(tmp_path / "target.db")
    source.put_writes(config_of("a", "", "0"), [("x", 1)], "t")
    merge(target, source)
    target.put_writes(config_of("a", "", "0"), [("x", 2)], "here")
    assert merge(target, source).already == same(["a"])
    source.put_writes(config_of("a", "", "0"), [("x", 3)], "there")
    with pytest.raises(ThreadExistsError):
        merge(target, source)


def test_a_thread_that_compaction_has_stored_anew_since_is_the_same(
    make_saver: Any, other: Path, tmp_path: Path
) -> None:
    source, target = make_saver(other), make_saver(tmp_path / "target.db")
    taken = dict(merge(target, source).threads)
    extracted = extract(source, tmp_path / "out.db", list(taken))
    source.prune(["long", "notes"])  # what is kept of them refers to what goes
    source.compact()
    anew = source.log.read(after=extracted.anchor.position, kinds=[Kind.RESTATE, Kind.RESTATE_WRITES])
    assert taken.keys() & {event.thread_id for event in anew}
    assert merge(target, source).already == taken
    assert delete_extracted(source, extracted) == []


def test_there_and_back_again(file_saver: EventLogSaver, make_saver: Any, tmp_path: Path) -> None:
    for n in range(3):
        file_saver.put_writes(config_of("a", "", "0"), [("x", n)], "t")
    extract(file_saver, tmp_path / "out.db", ["a"])
    file_saver.delete_thread("a")
    out = make_saver(tmp_path / "out.db")
    out.put_writes(config_of("a", "", "0"), [("x", 9)], "there")
    merge(file_saver, out)
    compare(out, file_saver, same(["a"]))
    assert [*check_provenance(file_saver, out)] == []


def test_threads_that_were_copied_from_each_other_come_together(
    file_saver: EventLogSaver, make_saver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "_MAX_EVENTS", 1)
    for name in ("a", "x", "y"):
        file_saver.put_writes(config_of(name, "", "0"), [("x", name * 100)], "t")
    file_saver.copy_thread("a", "b")
    file_saver.delete_thread("a")
    file_saver.copy_thread("b", "c")
    file_saver.copy_thread("c", "a")
    target = make_saver(tmp_path / "target.db")
    merged = merge(target, file_saver)
    compare(file_saver, target, same(["a", "b", "c", "x", "y"]))
    assert merged.transactions == 3
    assert sum(event.kind == 2 for event in target.log.read()) == 3  # nothing is stored twice


def test_nobody_sees_half_a_thread(make_saver: Any, tmp_path: Path) -> None:
    source, target = make_saver(), make_saver(tmp_path / "target.db")
    for name in ("a", "b"):
        for n in range(1500):
            source.put_writes(config_of(name, "", "0"), [("x", n)], f"{n}")
    seen: set[int] = set()
    stop = threading.Event()

    def look() -> None:
        with EventLogSaver(tmp_path / "target.db", read_only=True) as reader:
            while not stop.is_set():
                seen.update(info.writes for info in reader.threads())

    looking = threading.Thread(target=look)
    looking.start()
    merge(target, source)
    stop.set()
    looking.join()
    assert seen <= {1500}


def test_a_kill_anywhere_loses_and_doubles_nothing(other: Path, tmp_path: Path, make_saver: Any) -> None:
    rng = random.Random(7)
    path = tmp_path / "mine.db"
    with EventLogSaver(path) as target:
        target.register_thread("mine")
    with EventLogSaver(other) as source:
        for n in range(30):
            source.copy_thread("notes" if n % 10 else "long", f"copy {n}")
            source.delete_thread(f"copy {n - 1}") if n % 7 == 0 else None
            source.put_writes(config_of(f"alone {n}", "", "0"), [("x", n)], "t")
    command = [sys.executable, "-m", "langgraph_eventlog.tools", "merge", str(path), str(other)]
    counts = []
    for _ in range(6):
        with EventLogSaver(path, read_only=True) as before:
            head = before.log.head().position
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while process.poll() is None and not has_grown(path, head):
            pass
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with EventLogSaver(path) as target:
            assert [*target.log.verify()] == []
            counts.append(len(listed(target)))
    assert counts == sorted(counts)
    subprocess.run(command, check=True, stdout=subprocess.PIPE)
    target, source = make_saver(path), make_saver(other)
    assert listed(target) == listed(source) | {"mine"}
    compare(source, target, same(listed(source)), DELTAS)
    assert [*check_provenance(target, source)] == []
    with target.log.database.reading() as connection:
        told = [thread_id for origin in origins(target.log, connection) for thread_id in origin.ids]
    assert sorted(told) == sorted(listed(source))  # each once


def has_grown(path: Path, head: int) -> bool:
    with EventLogSaver(path, read_only=True) as saver:
        return saver.log.head().position > head
