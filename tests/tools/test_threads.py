"""`threads`: what threads there are, newest activity first."""

from __future__ import annotations

from pathlib import Path
from typing import Any


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
