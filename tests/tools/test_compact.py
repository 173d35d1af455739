"""`compact`: what was removed is erased, a policy followed, the space given back, and the log verifies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
from langgraph_eventlog.eventlog import Head, Kind
from langgraph_eventlog.saver import EventLogSaver

MARKER = b"hunter2"


def states(path: Path) -> dict[str, Any]:
    with EventLogSaver(path, read_only=True) as saver:
        return {one.config["configurable"]["checkpoint_id"]: one.checkpoint for one in saver.list(None)}


def test_a_dry_run_says_what_would_go_and_changes_nothing(json_of: Any, run: Any, shop: Path) -> None:
    before = shop.read_bytes()
    said = json_of("compact", shop, "--dry-run", "--keep-last", "2")
    assert said["dry_run"]
    assert said["checkpoints_removed"] > 0
    assert shop.read_bytes() == before
    assert "would be erased" in run("compact", shop, "--dry-run").stdout
    done = json_of("compact", shop, "--keep-last", "2")
    assert done["events_erased"] == said["events_erased"]
    assert (done["checkpoints_removed"], done["threads_removed"]) == (said["checkpoints_removed"], 0)


def test_what_was_deleted_is_gone_from_the_file_and_all_else_reads_as_before(
    json_of: Any, run: Any, shop: Path
) -> None:
    anchor = run("anchor", shop).stdout.strip()
    before = states(shop)
    done = json_of("compact", shop, "--vacuum")
    assert done["complete"]
    assert done["pages_with_remains"] == 0
    assert done["file_bytes_after"] < done["file_bytes_before"]
    assert states(shop) == before
    run("verify", shop, "--anchor", anchor)
    with EventLogSaver(shop, read_only=True) as saver:
        log = saver.log
        assert Head.parse(anchor).position < log.head().position
        assert not any(event.thread_id == "gone" and event.kind is Kind.PUT for event in log.read())
    files = [path for path in shop.parent.iterdir() if path.name.startswith(shop.name)]
    assert not any(MARKER in path.read_bytes() for path in files)
    run("rebuild", shop)
    assert states(shop) == before


def test_a_policy_keeps_the_last_and_exempt_threads(json_of: Any, shop: Path) -> None:
    json_of("compact", shop, "--keep-last", "1", "--exempt", "hold=true")
    with EventLogSaver(shop, read_only=True) as saver:
        count = {info.thread_id: info.checkpoints for info in saver.threads()}
    assert count["order-1"] > 1  # its metadata says hold: true
    assert count["order-3"] == count["long"] == 1
    # An interrupted thread waits on.
    assert json_of("show", shop, "order-2")["interrupts"]


def test_idle_threads_go_whole(json_of: Any, shop: Path) -> None:
    done = json_of("compact", shop, "--idle-longer-than", "1d", "--exempt", "hold=true")
    assert done["threads_removed"] > 0
    assert [thread["thread_id"] for thread in json_of("threads", shop, lines=True)] == ["order-1"]


def test_it_works_on_a_log_in_use(json_of: Any, run: Any, busy_shop: Path) -> None:
    done = json_of("compact", busy_shop, "--keep-last", "3")
    assert done["checkpoints_removed"] > 0
    run("verify", busy_shop)


def test_what_makes_no_sense_is_refused_and_changes_nothing(run: Any, shop: Path) -> None:
    before = shop.read_bytes()
    assert "keep_last" in run("compact", shop, "--keep-last", "0", code=2).stderr
    assert "no age" in run("compact", shop, "--keep-newer-than", "soon", code=2).stderr
    assert "--exempt" in run("compact", shop, "--exempt", "hold=true", code=2).stderr
    assert shop.read_bytes() == before


def test_a_second_time_there_is_nothing_to_do(json_of: Any, shop: Path) -> None:
    json_of("compact", shop)
    with EventLogSaver(shop, read_only=True) as saver:
        head = saver.log.head()
    again = json_of("compact", shop)
    assert again["events_erased"] == {}
    with EventLogSaver(shop, read_only=True) as saver:
        assert saver.log.head() == head


def test_what_is_left_to_do_is_exit_code_1(json_of: Any, run: Any, shop: Path) -> None:
    reader = apsw.Connection(str(shop))
    try:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchall()
        assert json_of("compact", shop, code=1)["complete"] is False
        assert "Not complete" in run("compact", shop, code=1).stdout
        run("compact", shop, "--dry-run")
    finally:
        reader.close()
    assert json_of("compact", shop)["complete"]


def test_copies_in_pages_are_spoken_of_only_where_something_was_erased(run: Any, json_of: Any, tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    with EventLogSaver(path, erase_deleted=False) as saver:
        for n in range(300):
            saver.register_thread(f"thread {n * 7919 % 300}", name="x" * 300)
    assert "unused parts" not in run("compact", path).stdout
    with EventLogSaver(path, erase_deleted=False) as saver:
        for n in range(0, 300, 3):
            saver.delete_thread(f"thread {n}")
    said, pages = run("compact", path).stdout, json_of("compact", path)["pages_with_remains"]
    assert pages
    assert f"{pages:,} pages have copies of records in unused parts, mostly of kept ones: --vacuum" in said


def test_a_log_whose_tables_have_to_be_made_anew_can_be_compacted_and_rebuilt(run: Any, shop: Path) -> None:
    before = states(shop)
    for verb in ("compact", "rebuild"):
        with apsw.Connection(str(shop)) as connection:
            connection.execute("DELETE FROM projection")
        connection.close()
        run("threads", shop, code=3)
        run(verb, shop)
        assert states(shop) == before
    run("verify", shop)
