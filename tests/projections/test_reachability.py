"""needed_ancestors: which ancestors must stay for a checkpoint's delta channels; maybe too many, never too few."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langgraph_eventlog.projections.reachability import needed_ancestors
from langgraph_eventlog.saver import EventLogSaver


@pytest.fixture
def saver(make_saver: Callable[..., EventLogSaver]) -> EventLogSaver:
    return make_saver(":memory:")


def needed(saver: EventLogSaver, id: str, *, ruled_out: str = "") -> list[str]:
    views, log = saver._core.views, saver.log
    with log.database.reading() as connection:
        keys = log.keys.find(connection, "t", "")
        assert keys is not None
        row = views.history.one(connection, keys[1], id)
        assert row is not None
        found = needed_ancestors(
            views, log.reader, connection, row, may_be_delta=lambda name: name not in ruled_out.split()
        )
    return [ancestor.checkpoint_id for ancestor in found]


def chain(saver: EventLogSaver, steps: Any, *states: tuple[dict[str, Any], str, str]) -> None:
    """Checkpoints 1, 2, 3 ...: (values, channels that have a version, channels written at it)."""
    for n, (values, versions, written) in enumerate(states, 1):
        steps.put(saver, str(n), values, parent=str(n - 1) if n > 1 else None, versions=versions.split())
        if written:
            steps.write(saver, str(n), [(channel, n) for channel in written.split()])


def test_plain_channels_need_no_ancestor(saver: EventLogSaver, steps: Any) -> None:
    chain(saver, steps, ({"x": 1}, "x", "x"), ({"x": 2}, "x", "x"), ({"x": 3}, "x", ""))
    assert [needed(saver, id) for id in "123"] == [[], [], []]


def test_a_delta_channel_needs_all_up_to_its_snapshot(saver: EventLogSaver, steps: Any) -> None:
    """Also those between that wrote nothing to it: they are the way."""
    chain(
        saver,
        steps,
        ({"d": "older"}, "d", "d"),
        ({"d": "snapshot"}, "d", "d"),
        ({}, "d", ""),
        ({"x": 1}, "d x", "d"),
        ({"x": 1}, "d x", ""),
    )
    assert needed(saver, "5") == ["4", "3", "2"]
    assert needed(saver, "3") == ["2"]
    assert needed(saver, "2") == []


def test_without_a_snapshot_it_goes_back_to_the_first_write(saver: EventLogSaver, steps: Any) -> None:
    chain(saver, steps, ({}, "", ""), ({}, "d", "d"), ({}, "d", ""), ({}, "d", "d"), ({}, "d", ""))
    assert needed(saver, "5") == ["4", "3", "2"]


def test_a_channel_that_was_never_written_needs_nothing(saver: EventLogSaver, steps: Any) -> None:
    """It has a version, but neither a value nor a write anywhere: it is empty."""
    chain(saver, steps, ({"x": 1}, "d x", "x"), ({"x": 2}, "d x", "x"), ({"x": 3}, "d x", ""))
    assert needed(saver, "3") == []


def test_each_channel_goes_back_to_its_own_snapshot(saver: EventLogSaver, steps: Any) -> None:
    chain(
        saver,
        steps,
        ({"a": 1}, "a b", ""),
        ({"b": 1}, "a b", "a"),
        ({}, "a b", "b"),
        ({}, "a b", ""),
    )
    assert needed(saver, "4") == ["3", "2", "1"]
    assert needed(saver, "4", ruled_out="a") == ["3", "2"]
    assert needed(saver, "4", ruled_out="b") == ["3", "2", "1"]
    assert needed(saver, "4", ruled_out="a b") == []


def test_only_channels_with_a_version_count(saver: EventLogSaver, steps: Any) -> None:
    """A write to a channel that the checkpoint does not know of is not needed by it."""
    chain(saver, steps, ({"gone": 1}, "gone", "gone"), ({"x": 1}, "x", "gone"), ({"x": 1}, "x", ""))
    assert needed(saver, "3") == []


@pytest.mark.parametrize("values", [{}, {"x": 1}])
def test_without_versions_anything_may_be_needed(saver: EventLogSaver, steps: Any, values: dict[str, Any]) -> None:
    """A checkpoint that does not say which channels it has: whatever was written or held before may be one."""
    chain(saver, steps, ({"d": 1}, "", ""), ({}, "", "d"), ({"x": 1}, "", "x"), (values, "", ""))
    assert needed(saver, "4") == ["3", "2", "1"]


def test_a_snapshot_of_none_is_a_snapshot(saver: EventLogSaver, steps: Any) -> None:
    chain(saver, steps, ({"d": 0}, "d", "d"), ({"d": None}, "d", "d"), ({}, "d", ""))
    assert needed(saver, "3") == ["2"]


def test_hidden_ancestors_are_the_way_and_removed_ones_its_end(saver: EventLogSaver, steps: Any) -> None:
    chain(saver, steps, ({"d": 1}, "d", "d"), ({}, "d", "d"), ({}, "d", "d"), ({}, "d", ""))
    saver.prune(["t"])
    assert [c.checkpoint["id"] for c in saver.list(steps.config())] == ["4"]
    assert needed(saver, "4") == ["3", "2", "1"]
    steps.put(saver, "5", versions=["d"], parent="never there")
    assert needed(saver, "5") == []


def test_a_cycle_of_parents_ends(saver: EventLogSaver, steps: Any) -> None:
    steps.put(saver, "1", parent="2", versions=["d"])
    steps.put(saver, "2", parent="1", versions=["d"])
    steps.write(saver, "1", [("d", 1)])
    steps.write(saver, "2", [("d", 2)])
    assert needed(saver, "2") == ["1"]
    assert needed(saver, "1") == ["2"]


def test_a_fork_follows_its_own_parents(saver: EventLogSaver, steps: Any) -> None:
    chain(saver, steps, ({"d": 1}, "d", "d"), ({}, "d", "d"), ({}, "d", "d"))
    steps.put(saver, "2b", parent="1", versions=["d"])
    assert needed(saver, "2b") == ["1"]


def test_values_stored_by_reference_count_as_values(saver: EventLogSaver, steps: Any) -> None:
    chain(saver, steps, ({"d": "same"}, "d", "d"), ({"d": "same"}, "d", "d"), ({}, "d", ""))
    assert needed(saver, "3") == ["2"]
