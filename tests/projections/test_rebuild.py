"""rebuild(): the same tables as live updating, while everyone goes on; a kill at any moment does no harm."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import CorruptRecordError, LogBusyError
from langgraph_eventlog.projections import rebuild as rebuild_module
from langgraph_eventlog.saver import EventLogSaver


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild of a small log takes many transactions."""
    monkeypatch.setattr(rebuild_module, "_BATCH", 8)


@pytest.mark.parametrize("path", [None, ":memory:"])
def test_a_rebuild_gives_the_same_tables(make_saver: Callable[..., EventLogSaver], steps: Any, path: Any) -> None:
    saver = make_saver(path, indexed_metadata=("thread_id", "parents."))
    steps.everything(saver)
    assert all(steps.tables(saver.log).values())
    before, head, generation = steps.tables(saver.log), saver.log.head(), steps.generation(saver.log)
    for n in (1, 2):
        saver.rebuild()
        assert steps.tables(saver.log) == before
        assert steps.generation(saver.log) == generation + n
    assert saver.log.head() == head
    assert steps.left_over(saver.log) == []
    steps.put(saver, "after")


def test_a_rebuild_of_an_empty_log(saver: EventLogSaver, steps: Any) -> None:
    saver.rebuild()
    assert steps.tables(saver.log) == {name: [] for name in steps.TABLES}
    steps.put(saver, "1")


@pytest.mark.parametrize("batch", [1, 7, 10_000])
def test_it_does_not_depend_on_the_size_of_its_batches(
    make_saver: Callable[..., EventLogSaver], steps: Any, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    saver = make_saver(":memory:")
    steps.everything(saver)
    before = steps.tables(saver.log)
    monkeypatch.setattr(rebuild_module, "_BATCH", batch)
    saver.rebuild()
    assert steps.tables(saver.log) == before


def test_it_mends_what_is_wrong(saver: EventLogSaver, steps: Any) -> None:
    """Tables that are empty, or gone."""
    steps.everything(saver)
    before = steps.tables(saver.log)
    with saver.log.database.writing() as connection:
        connection.execute("DROP TABLE history")
        connection.execute("DELETE FROM threads")
        connection.execute("UPDATE pending_writes SET checkpoint_id = x'007a'")
    saver.rebuild()
    assert steps.tables(saver.log) == before


@pytest.mark.usefixtures("small_batches")
def test_appends_of_another_thread_meanwhile_are_not_lost(
    make_saver: Callable[..., EventLogSaver], steps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each of its transactions: reads go on, too."""
    saver = make_saver(synchronous="NORMAL")
    steps.everything(saver)
    before, done = saver.log.head().position, []

    def append(n: int) -> None:
        def work() -> None:
            steps.put(saver, f"{n:03}", {"x": n}, thread="during")
            saver.register_thread("during", str(n))
            found = saver.get_tuple(steps.config("during"))
            assert found is not None
            done.append(found.checkpoint["channel_values"]["x"])

        if n <= 20:  # two appends for each batch of eight: it gets to the end
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

    with monkeypatch.context() as patched:
        steps.between(patched, saver.log, append)
        saver.rebuild()
    assert done == list(range(1, len(done) + 1))
    assert len(done) >= before // 8
    assert saver.log.head().position == before + 2 * len(done)
    assert [c.checkpoint["channel_values"]["x"] for c in saver.list(steps.config("during"))] == done[::-1]
    assert list(saver.log.verify()) == []


@pytest.mark.usefixtures("small_batches")
def test_appends_of_another_process_meanwhile_are_not_lost(
    make_saver: Callable[..., EventLogSaver], steps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = make_saver(synchronous="NORMAL")
    steps.everything(saver)

    def append(n: int) -> None:
        if n == 3:
            done = steps.elsewhere(saver.path, "for n in range(20): put(f'{n:02}', thread='elsewhere')")
            assert done.stdout == "well\n", done.stderr

    with monkeypatch.context() as patched:
        steps.between(patched, saver.log, append)
        saver.rebuild()
    assert len(list(saver.list(steps.config("elsewhere")))) == 20
    assert list(saver.log.verify()) == []


def test_other_open_savers_notice_and_go_on(make_saver: Callable[..., EventLogSaver], steps: Any) -> None:
    """They look again before they append: old and new tables never mix."""
    one, two = make_saver(synchronous="NORMAL"), make_saver(synchronous="NORMAL")
    steps.put(two, "1", {"x": 1})
    for n in range(2, 6):
        one.rebuild()
        assert two.get_tuple(steps.config()) is not None
        steps.put(two, str(n), {"x": 1}, parent=str(n - 1))
        steps.put(one, f"{n}a", {"x": 1}, parent=str(n))
        two.delete_thread("nobody")
    assert len(list(one.list(None))) == len(list(two.list(None))) == 9
    assert two.log._generation == one.log._generation == steps.generation(one.log)


@pytest.mark.parametrize("when", [1, 3, "before the last drop"])
def test_a_kill_leaves_a_working_log_and_the_next_rebuild_clears_up(
    make_saver: Callable[..., EventLogSaver], steps: Any, when: Any
) -> None:
    with make_saver(synchronous="NORMAL") as saver:
        steps.everything(saver)
        before = steps.tables(saver.log)
    script = """
        from contextlib import contextmanager
        from langgraph_eventlog.projections import rebuild
        rebuild._BATCH = 8
        database, made, original = saver.log.database, 0, saver.log.database.writing
        @contextmanager
        def writing():
            global made
            with original() as connection:
                yield connection
            made += 1
            swapped = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'history_old'").fetchone()
            if made == WHEN or WHEN == "before the last drop" and swapped:
                os.kill(os.getpid(), signal.SIGKILL)
        database.writing = writing
        saver.rebuild()
    """
    done = steps.elsewhere(saver.path, script.replace("WHEN", repr(when)))
    assert (done.returncode, done.stdout) == (-9, ""), done.stderr
    saver = make_saver(synchronous="NORMAL")
    assert steps.left_over(saver.log) != []
    assert list(saver.log.verify()) == []
    assert steps.tables(saver.log) == before
    steps.put(saver, "after the kill")
    before = steps.tables(saver.log)
    saver.rebuild()
    assert steps.left_over(saver.log) == []
    assert steps.tables(saver.log) == before


@pytest.mark.usefixtures("small_batches")
def test_of_two_rebuilds_at_once_the_later_one_wins(
    make_saver: Callable[..., EventLogSaver], steps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one says so; the tables are right whichever it was."""
    one, two = make_saver(synchronous="NORMAL"), make_saver(synchronous="NORMAL")
    steps.everything(one)
    before = steps.tables(one.log)
    with monkeypatch.context() as patched:
        steps.between(patched, one.log, lambda n: two.rebuild() if n == 3 else None)
        with pytest.raises(LogBusyError, match="another rebuild"):
            one.rebuild()
    assert steps.tables(one.log) == before
    assert steps.left_over(one.log) == []
    steps.put(one, "1")
    steps.put(two, "2")


@pytest.mark.usefixtures("small_batches")
def test_many_rebuilds_beside_appends_leave_the_right_tables(
    make_saver: Callable[..., EventLogSaver], steps: Any
) -> None:
    savers = [make_saver(synchronous="NORMAL") for _ in range(3)]
    steps.everything(savers[0])
    unexpected: list[BaseException] = []
    finished = []

    def rebuild(saver: EventLogSaver) -> None:
        try:
            saver.rebuild()
            finished.append(saver)
        except LogBusyError:
            pass  # another rebuild took over
        except BaseException as e:
            unexpected.append(e)

    def append() -> None:
        try:
            for n in range(20):
                steps.put(savers[0], f"{n:02}", {"x": n}, thread="beside")
        except BaseException as e:
            unexpected.append(e)

    threads = [threading.Thread(target=rebuild, args=(saver,)) for saver in savers]
    threads.append(threading.Thread(target=append))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert unexpected == []
    assert finished != []
    assert len(list(savers[1].list(steps.config("beside")))) == 20
    savers[2].rebuild()
    assert steps.left_over(savers[2].log) == []


def test_a_damaged_event_stops_it_and_the_old_tables_stay(make_saver: Callable[..., EventLogSaver], steps: Any) -> None:
    with make_saver() as saver:
        for n in range(5):
            steps.put(saver, str(n), {"x": n})
        before = steps.tables(saver.log)
    make_saver.damaged(saver.path)  # type: ignore[attr-defined]
    with closing(apsw.Connection(saver.path)) as connection:
        (trigger,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'event_never_changes'").fetchone()
        connection.execute("DROP TRIGGER event_never_changes")
        connection.execute("UPDATE event SET record = zeroblob(50) WHERE position = 3")
        connection.execute(trigger)
    saver = make_saver()
    with pytest.raises(CorruptRecordError) as raised:
        saver.rebuild()
    assert raised.value.position == 3
    assert steps.tables(saver.log) == before
    steps.put(saver, "5")
    assert len(saver.get_tuple(steps.config(id="4")).checkpoint["channel_values"]) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["history", "sqlite_autoindex_history_2", "pending_writes"])
def test_after_the_page_that_names_others_was_lost_a_rebuild_leaves_none_behind(
    make_saver: Callable[..., EventLogSaver], steps: Any, name: str
) -> None:
    with make_saver(synchronous="NORMAL") as saver:
        for n in range(200):
            steps.put(saver, f"{n:06}", {"x": n})
            steps.write(saver, f"{n:06}", [("x", n)])
        before = steps.tables(saver.log)
    with closing(apsw.Connection(saver.path)) as connection:
        (pages,) = connection.execute("SELECT count(*) FROM dbstat WHERE name = ?", (name,)).fetchone()
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
        size = connection.pragma("page_size")
    assert pages > 3
    with Path(saver.path).open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\x0a" + bytes(4) + size.to_bytes(2, "big") + bytes(size - 7))  # as if nothing had ever been in it
    saver = make_saver()
    saver.rebuild()
    assert steps.tables(saver.log) == before
    assert list(saver.verify()) == []


def test_after_an_erasure_a_rebuild_gives_the_same_tables(
    make_saver: Callable[..., EventLogSaver], steps: Any, settle: Callable[[EventLogSaver], None]
) -> None:
    """Deleting effects are recorded, never rules: what a prune removed stays removed though what it went by is gone."""
    saver = make_saver(clock=lambda: 1)
    for id in "123":
        steps.put(saver, id, {"x": id}, parent=str(int(id) - 1), metadata={"run_id": id})
        steps.write(saver, id, [("x", 1)])
    saver.fork_thread(steps.config(id="3"), "u")
    saver.prune(["t"])
    saver.delete_for_runs(["3"])
    steps.put(saver, "4", thread="t")
    settle(saver)
    before = steps.tables(saver.log)
    steps.erase(saver, 5, 6)
    saver.rebuild()
    assert steps.tables(saver.log) == before
