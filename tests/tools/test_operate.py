"""`rebuild`, `copy-thread`, `delete-thread`, `prune`: what they do and refuse, and that graphs go on meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import ConfigError, ThreadExistsError
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.moving.threads import copy_thread, delete_threads, prune_threads, threads_there


def threads_of(json_of: Any, path: Path) -> dict[str, dict[str, Any]]:
    return {thread["thread_id"]: thread for thread in json_of("threads", path, lines=True)}


def head_of(path: Path) -> int:
    with EventLogSaver(path, read_only=True) as saver:
        return saver.log.head().position


def messages_of(path: Path, thread_id: str) -> list[Any]:
    with EventLogSaver(path, read_only=True) as saver:
        found = saver.get_tuple({"configurable": {"thread_id": thread_id}})
        return [] if found is None else [m.content for m in found.checkpoint["channel_values"]["messages"]]


def test_rebuild_mends_tables_and_leaves_the_events(run: Any, json_of: Any, shop: Path) -> None:
    before, anchor = threads_of(json_of, shop), run("anchor", shop).stdout.strip()
    with apsw.Connection(str(shop)) as connection:
        connection.execute("DELETE FROM history; DELETE FROM history_recent")
        connection.execute("UPDATE threads SET name = 'somebody', checkpoints = 0")
    connection.close()
    run("verify", shop, code=1)
    done = json_of("rebuild", shop)
    assert f"{done['head']['position']}:{done['head']['link']}" == anchor
    assert threads_of(json_of, shop) == before
    run("verify", shop, "--anchor", anchor)


def test_rebuild_tells_how_far_it_is(file_saver: EventLogSaver) -> None:
    for n in range(1200):
        file_saver.register_thread(f"thread {n}")
    told: list[tuple[int, int]] = []
    file_saver.rebuild(progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[0][0] < 1200
    assert told[-1] == (1200, 1200)


def test_copying_a_thread_copies_its_history(run: Any, json_of: Any, shop: Path) -> None:
    done = json_of("copy-thread", shop, "order-1", "order-1-copy")
    threads = threads_of(json_of, shop)
    assert threads["order-1-copy"]["checkpoints"] == threads["order-1"]["checkpoints"]
    assert done["source"] == "order-1"
    assert done["copied"]["thread_id"] == "order-1-copy"
    assert done["copied"]["checkpoints"] == threads["order-1"]["checkpoints"]
    assert messages_of(shop, "order-1-copy") == messages_of(shop, "order-1") != []
    assert "already" in run("copy-thread", shop, "order-1", "order-1-copy", code=2).stderr
    run("verify", shop)


def test_deleting_asks_and_says_that_bytes_go_later(run: Any, json_of: Any, shop: Path) -> None:
    before = head_of(shop)
    for answer in ("n\n", ""):
        refused = run("delete-thread", shop, "order-1", "order-2", code=2, stdin=answer).stderr
        assert "order-2" in refused
        assert "not confirmed" in refused
    assert head_of(shop) == before
    shown = run("delete-thread", shop, "order-1", stdin="y\n").stdout
    assert "until it is compacted" in shown
    done = json_of("delete-thread", shop, "order-2", "order-3", "order-2", "--yes")
    assert [thread["thread_id"] for thread in done["deleted"]] == ["order-2", "order-3"]
    assert all(thread["checkpoints"] and thread["bytes"] for thread in done["deleted"])
    left = threads_of(json_of, shop)
    assert {"order-1", "order-2", "order-3"}.isdisjoint(left)
    assert messages_of(shop, "order-3-again") != []  # what was copied from it stays whole
    assert head_of(shop) == before + 3
    run("verify", shop)


def test_pruning_keeps_the_latest_or_nothing(run: Any, json_of: Any, shop: Path) -> None:
    kept = messages_of(shop, "order-1")
    done = json_of("prune", shop, "order-1", "planner")
    assert done["strategy"] == "keep_latest"
    assert [t["after"]["thread_id"] for t in done["pruned"]] == ["order-1", "planner"]
    assert done["pruned"][0]["before"]["checkpoints"] > done["pruned"][0]["after"]["checkpoints"] == 1
    assert messages_of(shop, "order-1") == kept
    assert "0 checkpoints removed, 1 kept" in run("prune", shop, "order-1", "--keep-latest").stdout
    run("prune", shop, "order-1", "--delete", code=2, stdin="n\n")
    assert json_of("prune", shop, "order-1", "--delete", "--yes")["pruned"][0]["after"] is None
    assert "order-1" not in threads_of(json_of, shop)
    run("verify", shop)


@pytest.mark.parametrize(
    "arguments",
    [
        ("copy-thread", "agent.db", "nobody", "new"),
        ("copy-thread", "agent.db", "order-1", "order-1"),
        ("delete-thread", "agent.db", "order-1", "nobody", "--yes"),
        ("delete-thread", "agent.db", "gone", "--yes"),
        ("prune", "agent.db", "order-1", "nobody"),
        ("prune", "agent.db", "order-1", "nobody", "--delete", "--yes"),
    ],
)
def test_a_thread_that_is_not_there_is_an_error_and_nothing_is_changed(
    run: Any, shop: Path, arguments: tuple[str, ...]
) -> None:
    before = head_of(shop)
    error = run(*arguments, code=2).stderr
    assert error.startswith("error: ")
    assert head_of(shop) == before


@pytest.mark.parametrize(
    "arguments", [("rebuild",), ("copy-thread", "a", "b"), ("delete-thread", "a", "--yes"), ("prune", "a")]
)
def test_no_log_is_made_where_there_is_none(run: Any, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    verb, *rest = arguments
    assert "there is no log" in run(verb, "none.db", *rest, code=3).stderr
    assert list(tmp_path.iterdir()) == []


def test_all_of_them_work_while_graphs_go_on(run: Any, json_of: Any, busy_shop: Path) -> None:
    before = head_of(busy_shop)
    run("rebuild", busy_shop)
    run("copy-thread", busy_shop, "order-1", "copy")
    run("prune", busy_shop, "copy", "long")
    run("delete-thread", busy_shop, "copy", "--yes")
    run("verify", busy_shop)
    assert "copy" not in threads_of(json_of, busy_shop)
    assert head_of(busy_shop) > before + 10  # they did


def test_ids_and_names_do_nothing_to_a_terminal(run: Any, make_saver: Any, tmp_path: Path) -> None:
    hostile = "\x1b[31mred\u202e[bold]"
    saver = make_saver(tmp_path / "hostile.db")
    for n in range(2):
        saver.register_thread(f"{hostile}{n}")
    asked = run("delete-thread", saver.path, f"{hostile}0", code=2, stdin="n\n")
    done = run("delete-thread", saver.path, f"{hostile}0", f"{hostile}1", "--yes")
    for shown in (asked.stderr, done.stdout):
        assert "red" in shown
        assert "\x1b" not in shown
        assert "\u202e" not in shown


def test_the_same_from_a_program(saver: EventLogSaver) -> None:
    config = {"configurable": {"thread_id": "one", "checkpoint_ns": ""}}
    checkpoint: Any = {
        "v": 4,
        "id": "c1",
        "ts": "",
        "channel_values": {"x": 1},
        "channel_versions": {},
        "versions_seen": {},
    }
    saver.put(config, checkpoint, {}, {})
    saver.register_thread("empty")
    made = copy_thread(saver, "one", "two")
    assert (made.thread_id, made.checkpoints) == ("two", 1)
    with pytest.raises(ThreadExistsError):
        copy_thread(saver, "one", "two")
    with pytest.raises(ConfigError, match="nothing to copy"):
        copy_thread(saver, "empty", "three")
    assert [info.thread_id for info in threads_there(saver, ["two", "one", "two"])] == ["two", "one"]
    with pytest.raises(ConfigError, match="'nine', 'ten'"):
        threads_there(saver, ["one", "nine", "ten"])
    (pruned,) = prune_threads(saver, ["two"], strategy="delete")
    assert (pruned.before.checkpoints, pruned.after) == (1, None)
    assert [info.thread_id for info in delete_threads(saver, ["one", "empty"])] == ["one", "empty"]
    assert saver.thread("one") is None
    assert list(saver.threads()) == []
