"""Locks, closing and fork(): readers never wait, writers wait so long, a child gets its own connections."""

from __future__ import annotations

import gc
import multiprocessing
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import (
    EncodingError,
    EventLog,
    LogBusyError,
    LogClosedError,
    LogReadOnlyError,
    NewEvent,
    RecordTooLargeError,
    Thread,
)
from langgraph_eventlog.eventlog import record as record_codec
from langgraph_eventlog.saver import EventLogSaver

HOLDER = """
import sys, apsw
connection = apsw.Connection(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""


@pytest.fixture
def locked(filled: EventLogSaver) -> Iterator[EventLogSaver]:
    """A saver on a file whose write lock another process holds."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, filled.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    yield filled
    holder.communicate("\n", timeout=30)
    assert holder.returncode == 0


@pytest.mark.plain_file("another program opens it")
def test_a_writer_gives_up_after_the_timeout_and_changes_nothing(locked: EventLogSaver, make_saver: Any) -> None:
    head = locked.log.head()
    before = list(locked.log.read())
    hasty = make_saver(locked.path, busy_timeout_ms=20)  # opening what is there only reads
    with pytest.raises(LogBusyError) as caught:
        hasty.register_thread("t", "name")
    assert (caught.value.path, caught.value.waited_ms) == (locked.path, 20)
    assert "20 ms" in str(caught.value)
    with EventLog(locked.path, read_only=True) as reader:
        assert reader.head() == head
        assert list(reader.read()) == before


@pytest.mark.plain_file("another program opens it")
def test_reading_goes_on_while_another_process_writes(locked: EventLogSaver) -> None:
    assert locked.get_tuple({"configurable": {"thread_id": "a"}}) is not None
    assert len(list(locked.list(None))) > 3
    assert len(list(locked.log.read())) == locked.log.head().position
    assert len(list(locked.threads())) > 3
    assert list(locked.log.verify()) == []
    with EventLogSaver(locked.path, read_only=True) as reader:
        assert reader.log.head() == locked.log.head()


def test_an_append_waits_for_its_turn(filled: EventLogSaver, make_saver: Any) -> None:
    """Another thread of this process holds the lock, of this saver's connection or of another's."""
    hasty = make_saver(filled.path, busy_timeout_ms=20)
    with filled.log.database.writing():
        with pytest.raises(LogBusyError) as caught:
            hasty.register_thread("t", "name")
        assert caught.value.waited_ms == 20
        failed: list[BaseException] = []

        def append() -> None:
            try:
                hasty.register_thread("t", "name")
            except BaseException as e:
                failed.append(e)

        thread = threading.Thread(target=append)
        thread.start()
        thread.join()
        assert [type(e) for e in failed] == [LogBusyError]
    hasty.register_thread("t", "name")
    assert filled.log.head() == hasty.log.head()


def test_threads_of_one_log_wait_for_each_other_up_to_the_timeout(make_saver: Any) -> None:
    saver = make_saver(busy_timeout_ms=20)
    failed: list[BaseException] = []

    def append() -> None:
        try:
            saver.register_thread("t", "name")
        except BaseException as e:
            failed.append(e)

    with saver.log.database.writing():
        thread = threading.Thread(target=append)
        thread.start()
        thread.join()
    assert [type(e) for e in failed] == [LogBusyError]
    assert saver.log.head().position == 0


def test_a_reader_keeps_its_snapshot_and_nobody_waits(filled: EventLogSaver) -> None:
    head = filled.log.head()
    with filled.log.database.reading() as connection:
        assert filled.log.reader.head(connection) == head
        filled.register_thread("meanwhile", "name")
        assert filled.log.reader.head(connection) == head
    assert filled.log.head().position == head.position + 1


def test_a_writing_block_that_raises_is_rolled_back(filled: EventLogSaver) -> None:
    head = filled.log.head()
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), filled.log.database.writing() as connection:  # noqa: PT012  the block is what is tested
            connection.execute("DELETE FROM threads")
            raise error
    assert filled.log.head() == head
    assert list(filled.log.verify()) == []


def test_a_reading_connection_cannot_change_the_file(filled: EventLogSaver) -> None:
    with (
        pytest.raises(LogReadOnlyError),
        filled.log.database.reading() as other,
    ):
        other.execute("DELETE FROM threads")


# Closing.


def test_closing_is_once_for_all_and_again_is_nothing(make_saver: Any, tmp_path: Path) -> None:
    saver = make_saver()
    saver.register_thread("t")
    clone = saver.with_allowlist([])
    clone.close()
    saver.close()
    assert saver.log.closed
    for use in (
        lambda: saver.register_thread("x"),
        lambda: saver.get_tuple({"configurable": {"thread_id": "t"}}),
        lambda: saver.list(None),
        lambda: clone.threads(),
        saver.setup,
        saver.rebuild,
        saver.log.head,
        lambda: saver.log.append(NewEvent(Thread(None, {}), "t")),
        lambda: saver.delete_thread("t"),
    ):
        with pytest.raises(LogClosedError):
            use()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["agent.db"]  # the WAL is folded in, and gone
    assert "closed" in repr(saver.log)


def test_a_read_that_is_under_way_ends_well_when_the_log_is_closed(filled: EventLogSaver) -> None:
    with filled.log.database.reading() as connection:
        filled.close()
        assert connection.execute("SELECT count(*) FROM event").fetchall()[0][0] > 0
    with pytest.raises(apsw.ConnectionClosedError):
        connection.execute("SELECT 1")


def test_a_log_that_was_forgotten_is_named_in_a_warning(tmp_path: Path) -> None:
    log: EventLog | None = EventLog(tmp_path / "agent.db")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del log
        gc.collect()
    assert [w.category for w in caught] == [ResourceWarning]
    assert "agent.db" in str(caught[0].message)


def test_a_log_that_could_not_be_opened_leaves_no_warning_behind(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(Exception, match="folder"):
            EventLog(tmp_path)
        with pytest.raises(ValueError, match="synchronous"):
            EventLog(tmp_path / "agent.db", synchronous="no")
        gc.collect()
    assert caught == []


# What cannot be appended.


def test_what_cannot_be_serialised_appends_nothing(file_saver: EventLogSaver, golden: Any) -> None:
    golden.put(file_saver, "t", "c1")
    head = file_saver.log.head()
    for call in (
        lambda: golden.put(file_saver, "t", "c2", "c1", bad=object()),
        lambda: file_saver.put_writes(golden.config("t", "c1"), [("ok", 1), ("bad", {"deep": [object()]})], "task"),
        lambda: file_saver.register_thread("t", None, {"bad": object()}),
        lambda: file_saver.put(golden.config("new", None), golden.checkpoint("c1"), {"bad": object()}, {}),
    ):
        with pytest.raises(EncodingError):
            call()
    assert file_saver.log.head() == head
    with pytest.raises(EncodingError) as caught:
        file_saver.put_writes(golden.config("t", "c1"), [("bad", {"deep": [object()]})], "task")
    assert caught.value.channel == "bad"
    assert [t.thread_id for t in file_saver.threads()] == ["t"]


def test_a_record_that_is_too_large_appends_nothing(
    file_saver: EventLogSaver, golden: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden.put(file_saver, "t", "c1")
    head = file_saver.log.head()
    monkeypatch.setattr(record_codec, "MAX_BODY_BYTES", 1000)
    for call in (
        lambda: golden.put(file_saver, "new", "c2", large="x" * 1000),
        lambda: file_saver.put_writes(golden.config("t", "c1"), [("x", b"x" * 1000)], "task"),
        lambda: file_saver.register_thread("new", "x" * 1000),
    ):
        with pytest.raises(RecordTooLargeError) as caught:
            call()
        assert caught.value.limit == 1000
        assert caught.value.size > 1000
    assert file_saver.log.head() == head
    assert list(file_saver.log.read(thread_id="new")) == []
    golden.put(file_saver, "new", "c2")
    assert file_saver.log.head().position == head.position + 1


def test_a_log_with_projections_is_not_appended_to_without_them(filled: EventLogSaver) -> None:
    with EventLog(filled.path) as bare, pytest.raises(LogReadOnlyError):
        bare.append(NewEvent(Thread(None, {}), "t"))


# fork(). In processes of their own: pytest's has threads.

FORK = """
import os, sys
from langgraph_eventlog.eventlog import LogClosedError
from langgraph_eventlog.saver import EventLogSaver

def wait(child):
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status

def forked(work):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return child

def names(saver):
    return [t.thread_id for t in saver.threads()][::-1]
"""


def test_parent_and_child_both_go_on_with_a_log_open_at_fork(make_saver: Any, tmp_path: Path, helpers: Any) -> None:
    code = (
        FORK
        + """
saver = EventLogSaver(sys.argv[1])
saver.register_thread("before", "name")
reading = saver.log.read()
next(reading)

heard, say = os.pipe()

def child():
    # The parent appends nothing before it has heard that the child has looked.
    assert names(saver) == ["before"]
    os.write(say, b".")
    for i in range(20):
        saver.register_thread(f"child {i}", "name")
        saver.log.head()
    wait(forked(lambda: saver.register_thread("grandchild", "name")))
    saver.close()

pid = forked(child)
os.close(say)
os.read(heard, 1)  # or the end of the pipe, if the child failed
for i in range(20):
    saver.register_thread(f"parent {i}", "name")
    saver.log.head()
wait(pid)
assert len(names(saver)) == 42, names(saver)
saver.register_thread("after", "name")
list(reading)
assert list(saver.log.verify()) == []
saver.close()
forked(lambda: None)
"""
    )
    helpers.run_python(code, tmp_path / "agent.db")
    saver = make_saver(tmp_path / "agent.db")
    assert len(list(saver.threads())) == 43


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="what is open is looked up in /proc")
def test_a_child_inherits_no_connection(make_saver: Any, tmp_path: Path, helpers: Any) -> None:
    """It would inherit SQLite's belief in locks that only the parent holds."""
    code = (
        FORK
        + """
def opened():
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink("/proc/self/fd/" + fd)
        except FileNotFoundError:  # the one that listed them
            continue
        found += [name] if name.startswith(os.path.realpath(sys.argv[1])) else []
    return found

saver = EventLogSaver(sys.argv[1])
saver.register_thread("before", "name")
with saver.log.database.reading():
    assert saver.log.head().position == 1  # a second reader
assert len(opened()) >= 3, opened()

def child():
    assert opened() == []
    assert names(saver) == ["before"]
    assert opened()

wait(forked(child))
assert opened() == []
assert names(saver) == ["before"]
saver.close()
"""
    )
    helpers.run_python(code, tmp_path / "agent.db")
    make_saver(tmp_path / "agent.db")


def test_private_logs_after_fork(helpers: Any) -> None:
    """In memory: each goes on with its own copy. In a temporary file: it is the parent's, the child is told so."""
    code = (
        FORK
        + """
memory, temporary = EventLogSaver(":memory:"), EventLogSaver("")
for saver in (memory, temporary):
    saver.register_thread("before", "name")

def child():
    memory.register_thread("child", "name")
    assert names(memory) == ["before", "child"]
    assert list(memory.log.verify()) == []
    for use in (lambda: names(temporary), lambda: temporary.register_thread("child"), temporary.log.head):
        try:
            use()
        except LogClosedError as e:
            assert "fork" in str(e), e
        else:
            raise AssertionError
    temporary.close()

wait(forked(child))
for saver in (memory, temporary):
    assert names(saver) == ["before"]
    saver.register_thread("after", "name")
    assert names(saver) == ["before", "after"]
    assert list(saver.log.verify()) == []
    saver.close()
"""
    )
    helpers.run_python(code)


def test_a_fork_while_threads_read_and_append(make_saver: Any, tmp_path: Path, helpers: Any) -> None:
    code = (
        FORK
        + """
import threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
saver = EventLogSaver(sys.argv[1], synchronous="NORMAL")
stop = threading.Event()

def append(name):
    n = 0
    while not stop.is_set() and n < 500:
        n += 1
        saver.register_thread(f"{name} {n}", "name")
        list(saver.log.read(after=n, limit=3))

threads = [threading.Thread(target=append, args=(f"thread {i}",)) for i in range(2)]
for thread in threads:
    thread.start()
for i in range(5):
    wait(forked(lambda: saver.register_thread(f"child {i}", "name")))
stop.set()
for thread in threads:
    thread.join()
assert sum(name.startswith("child") for name in names(saver)) == 5
saver.close()
"""
    )
    helpers.run_python(code, tmp_path / "agent.db")
    make_saver(tmp_path / "agent.db")


def test_a_fork_while_appends_wait_in_the_queue(make_saver: Any, tmp_path: Path, helpers: Any) -> None:
    code = (
        FORK
        + """
import threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
saver = EventLogSaver(sys.argv[1], synchronous="NORMAL")
threads = [threading.Thread(target=saver.register_thread, args=(f"thread {i}", "name")) for i in range(8)]
with saver.log.database.write_lock:
    for thread in threads:
        thread.start()
    while len(saver.log._group._queue) < len(threads):
        time.sleep(0.001)
    wait(forked(lambda: saver.register_thread("child", "name")))
    assert names(saver) == ["child"], names(saver)
for thread in threads:
    thread.join()
assert sorted(names(saver)) == ["child", *(f"thread {i}" for i in range(8))], names(saver)
saver.close()
"""
    )
    helpers.run_python(code, tmp_path / "agent.db")
    make_saver(tmp_path / "agent.db")


def test_multiprocessing_with_fork(make_saver: Any, tmp_path: Path, helpers: Any) -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork here")
    code = """
import multiprocessing, sys
from langgraph_eventlog.saver import EventLogSaver
saver = EventLogSaver(sys.argv[1])
saver.register_thread("before", "name")

def work(i):
    saver.register_thread(f"worker {i}", "name")
    return saver.log.head().position > 1

with multiprocessing.get_context("fork").Pool(3) as pool:
    assert all(pool.map(work, range(9)))
assert len(list(saver.threads())) == 10
saver.close()
"""
    helpers.run_python(code, tmp_path / "agent.db")
    saver = make_saver(tmp_path / "agent.db")
    assert saver.log.head().position == 10
