"""`threads`: what threads there are, newest activity first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.arguments import metadata_filter


def test_threads_are_listed_newest_first(run: Any, json_of: Any, shop: Path) -> None:
    listed = [thread["thread_id"] for thread in json_of("threads", shop, lines=True)]
    assert listed[0] == "long"
    assert set(listed) == {"long", "notes", "planner", "order-1", "order-2", "order-3", "order-3-again"}
    shown = run("threads", shop).stdout
    assert "Order 1" in shown
    assert "\x1b" not in shown  # colours are for terminals


def test_a_log_that_is_not_there_is_not_made(run: Any, tmp_path: Path) -> None:
    assert "there is no log at" in run("threads", tmp_path / "none.db", code=3).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_log_in_use_can_be_looked_at(json_of: Any, busy_shop: Path) -> None:
    assert any(thread["thread_id"] == "busy-0" for thread in json_of("threads", busy_shop, lines=True))


def test_a_thread_is_one_line_of_json_with_the_documented_fields(json_of: Any, shop: Path) -> None:
    [thread] = json_of("threads", shop, "--where", "customer=c2", lines=True)
    with EventLogSaver(shop, read_only=True) as saver:
        [info] = saver.threads(metadata={"customer": "c2"})
    page = (Path(__file__).parents[2] / "tools" / "docs" / "look.md").read_text(encoding="utf-8")
    assert all(f"`{field}`" in page for field in thread)
    assert thread.pop("created_at") == info.created_at.isoformat()
    assert thread.pop("last_activity") == info.last_activity.isoformat()
    assert thread == {field: getattr(info, field) for field in thread}
    assert thread["latest_step"] == 9


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (["customer=c1"], ["order-1"]),
        (["hold=true"], ["order-1"]),
        (["hold=false"], ["order-3", "order-2"]),
        (["hold=false", "customer=c3"], ["order-3"]),
        (["customer=c1", "hold=false"], []),
        (['customer="c1"'], ["order-1"]),
        (["why=try again"], ["order-3-again"]),
    ],
)
def test_threads_are_found_by_their_metadata(where: list[str], expected: list[str], shop: Path) -> None:
    with EventLogSaver(shop, read_only=True) as saver:
        found = [info.thread_id for info in saver.threads(metadata=metadata_filter(where))]
    assert found == expected


def test_what_is_json_is_a_value_and_anything_else_is_text() -> None:
    given = ["a=1", "b=true", "c=null", 'd="1"', "e=one=two", "f=", "g=NaN", "h=[1, 2]", "i=" + "[" * 100_000]
    assert metadata_filter(given) == {
        "a": 1, "b": True, "c": None, "d": "1", "e": "one=two", "f": "", "g": "NaN", "h": [1, 2], "i": "[" * 100_000,
    }  # fmt: skip


@pytest.mark.parametrize("where", [["customer"], ["=c1"], ["a=1", "a=2"], ["a b=1"]])
def test_a_filter_that_is_none_is_an_error_of_usage(where: list[str], run: Any, shop: Path) -> None:
    run("threads", shop, *(part for one in where for part in ("--where", one)), code=2)


def test_more_threads_than_are_shown_are_said_to_be_there(run: Any, shop: Path) -> None:
    assert "more than 2" in run("threads", shop, "-n", "2").stdout
    assert "more than" not in run("threads", shop, "-n", "7").stdout
