"""A set of positions as bits says what a set of numbers would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from langgraph_eventlog.eventlog.positions import Positions, merged

POSITIONS = st.integers(0, 200)
RANGES = st.lists(st.tuples(POSITIONS, POSITIONS), max_size=8)
LASTS = st.sampled_from([None, 0, 1, 7, 8, 9, 63, 150])


@given(LASTS, st.lists(st.integers(-3, 200)), RANGES, st.lists(st.integers(-3, 250)), RANGES, st.integers(-3, 300))
def test_it_holds_what_was_put_in_and_not_taken_out(
    last: int | None,
    added: list[int],
    removed: list[tuple[int, int]],
    discarded: list[int],
    asked: list[tuple[int, int]],
    below: int,
) -> None:
    positions, model = Positions(last), {p for p in added if p >= 0 and (last is None or p <= last)}
    for position in added:
        positions.add(position)
    for first, end in removed:
        positions.remove(first, end)
        model -= set(range(first, end + 1))
    for position in discarded:
        positions.discard(position)
        model.discard(position)
    assert list(positions) == sorted(model)
    assert [p for p in range(-9, 300) if p in positions] == sorted(model)
    assert (len(positions), bool(positions), positions.least()) == (len(model), bool(model), min(model, default=None))
    assert list(positions.below(below)) == sorted((p for p in model if p < below), reverse=True)
    for first, end in asked:
        missing = [p for p in range(first, end + 1) if p not in model]
        assert positions.first_missing(first, end) == (missing[0] if missing else None)


def test_what_is_taken_out_further_down_is_not_walked_past() -> None:
    positions = Positions(100)
    for position in (5, 40, 41, 90):
        positions.add(position)
    walked = []
    for position in positions.below(101):
        walked.append(position)
        positions.discard(40)
    assert walked == [90, 41, 5]


@given(RANGES)
def test_merged_ranges_hold_the_same_positions_in_order_and_apart(ranges: list[tuple[int, int]]) -> None:
    found = merged(ranges)
    assert {p for a, b in found for p in range(a, b + 1)} == {p for a, b in ranges for p in range(a, b + 1)}
    assert all(a <= b for a, b in found)
    assert all(found[i][1] + 1 < found[i + 1][0] for i in range(len(found) - 1))


def test_a_range_far_beyond_what_was_added_costs_nothing() -> None:
    positions = Positions()
    positions.add(3)
    assert positions.first_missing(1, 2**62) == 1
    positions.remove(1, 2**62)
    assert list(positions) == []


def test_a_long_range_that_is_there_is_found_whole() -> None:
    positions = Positions()
    for position in range(5, 100_000):
        positions.add(position)
    assert positions.first_missing(5, 99_999) is None
    assert positions.first_missing(5, 10**12) == 100_000
