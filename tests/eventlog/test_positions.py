"""A set of positions as bits says what a set of numbers would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from langgraph_eventlog.eventlog.positions import PositionSet, merged

POSITIONS = st.integers(1, 200)
RANGES = st.lists(st.tuples(POSITIONS, POSITIONS), max_size=8)


@given(st.sets(POSITIONS), RANGES, RANGES)
def test_it_holds_what_was_added_and_not_removed(
    added: set[int], removed: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    positions, model = PositionSet(), set(added)
    for position in added:
        positions.add(position)
    for first, last in removed:
        positions.remove(first, last)
        model -= set(range(first, last + 1))
    assert list(positions) == sorted(model)
    assert [p for p in range(-9, 300) if p in positions] == sorted(model)
    for first, last in asked:
        missing = [p for p in range(first, last + 1) if p not in model]
        assert positions.first_missing(first, last) == (missing[0] if missing else None)


@given(RANGES)
def test_merged_ranges_hold_the_same_positions_in_order_and_apart(ranges: list[tuple[int, int]]) -> None:
    found = merged(ranges)
    assert {p for a, b in found for p in range(a, b + 1)} == {p for a, b in ranges for p in range(a, b + 1)}
    assert all(a <= b for a, b in found)
    assert all(found[i][1] + 1 < found[i + 1][0] for i in range(len(found) - 1))


def test_a_range_far_beyond_what_was_added_costs_nothing() -> None:
    positions = PositionSet()
    positions.add(3)
    assert positions.first_missing(1, 2**62) == 1
    positions.remove(1, 2**62)
    assert list(positions) == []


def test_a_long_range_that_is_there_is_found_whole() -> None:
    positions = PositionSet()
    for position in range(5, 100_000):
        positions.add(position)
    assert positions.first_missing(5, 99_999) is None
    assert positions.first_missing(5, 10**12) == 100_000
