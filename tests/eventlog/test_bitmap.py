"""Sets of positions do what sets do."""

from __future__ import annotations

import random

import pytest
from langgraph_eventlog.eventlog.bitmap import Positions


@pytest.mark.parametrize("seed", range(20))
def test_it_is_a_set_that_can_be_walked_downwards(seed: int) -> None:
    chance = random.Random(seed)
    last = chance.choice([0, 1, 7, 8, 9, 63, 500])
    positions, truth = Positions(last), set[int]()
    for _ in range(chance.choice([0, 3, 200])):
        position = chance.randrange(-3, last + 4)
        if chance.random() < 0.7:
            positions.add(position)
            truth |= {position} if 0 <= position <= last else set()
        else:
            positions.discard(position)
            truth.discard(position)
    assert [position for position in range(-5, last + 9) if position in positions] == sorted(truth)
    assert (len(positions), bool(positions), positions.least()) == (len(truth), bool(truth), min(truth, default=None))
    for below in (-1, 0, 1, last // 2, last, last + 1, last + 50):
        assert list(positions.below(below)) == sorted((p for p in truth if p < below), reverse=True)


def test_what_is_taken_out_further_down_is_not_walked_past() -> None:
    positions = Positions(100)
    for position in (5, 40, 41, 90):
        positions.add(position)
    walked = []
    for position in positions.below(101):
        walked.append(position)
        positions.discard(40)
    assert walked == [90, 41, 5]
