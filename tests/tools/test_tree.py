"""Drawing trees: from what is drawn, every parent can be told, whatever parents say."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import example, given, settings
from hypothesis import strategies as st
from langgraph_eventlog.tools.looking.tree import Line, draw

IDS = st.sampled_from([f"{n:02}" for n in range(12)])
PARENTS = st.dictionaries(IDS, st.none() | IDS | st.just("not there"), max_size=12)


def read(lines: Iterable[Line]) -> dict[str, str | None]:
    """Give the parents that a drawing shows, as a reader follows its lanes."""
    parents: dict[str, str | None] = {}
    waiting: list[list[str]] = []  # by lane, those whose parent comes next in it
    for line in lines:
        lane = line.graph.count("| ")
        if not line.graph:
            waiting = []
        elif line.id is None:
            assert line.graph == "| " * lane + "|/"
            waiting[lane] += waiting.pop(lane + 1)
            assert len(waiting) == lane + 1
        else:
            assert line.graph == "| " * lane + "* "
            assert len(waiting) in (lane, lane + 1)  # every lane to the left goes on, none to the right does
            parents[line.id] = None
            for one in waiting.pop(lane) if len(waiting) > lane else []:
                parents[one] = line.id
            waiting.append([line.id])
    assert len(waiting) <= 1
    return parents


@settings(max_examples=500, deadline=None)
@given(PARENTS)
@example({"01": "01"})
@example({"01": "02", "02": "01", "03": "01"})
@example({"09": None, "01": "09"})  # ids may sort below their parents'
def test_every_id_is_drawn_once_above_its_parent(given_parents: dict[str, str | None]) -> None:
    lines = list(draw(given_parents))
    drawn = [line.id for line in lines if line.id is not None]
    assert sorted(drawn) == sorted(given_parents)
    cut = {line.id for line in lines if line.is_cut}
    expected = {
        one: parent if parent in given_parents and one not in cut else None for one, parent in given_parents.items()
    }
    assert read(lines) == expected
    assert {line.id for line in lines if line.is_root} == {one for one, parent in expected.items() if parent is None}


@given(PARENTS)
def test_only_cycles_are_cut_once_each_at_their_least_id(given_parents: dict[str, str | None]) -> None:
    cycles = set()
    for one in given_parents:
        path: list[str | None] = [one]
        while (parent := given_parents.get(path[-1] or "")) in given_parents and parent not in path:
            path.append(parent)
        if parent in path:
            cycles.add(min(str(other) for other in path[path.index(parent) :]))
    assert {line.id for line in draw(given_parents) if line.is_cut} == cycles


def test_a_history_without_forks_is_one_lane_however_long() -> None:
    lines = list(draw({f"{n:05}": f"{n - 1:05}" if n else None for n in range(20_000)}))
    assert [line.id for line in lines] == [f"{n:05}" for n in reversed(range(20_000))]
    assert {line.graph for line in lines} == {"* "}


def test_many_forks_of_one_checkpoint_take_two_lanes() -> None:
    lines = list(draw({"0": None, **{f"1{n:03}": "0" for n in range(200)}}))
    assert {line.graph for line in lines} == {"* ", "| * ", "|/"}


def test_a_fork_of_a_fork_stands_in_a_third_lane_and_the_newest_branch_in_the_first() -> None:
    lines = draw({"1": None, "2": "1", "3": "2", "4": "2", "5": "4", "6": "4", "7": "2"})
    assert [line.graph + (line.id or "") for line in lines] == [
        "* 7",
        "| * 6",
        "| | * 5",
        "| |/",
        "| * 4",
        "|/",
        "| * 3",
        "|/",
        "* 2",
        "* 1",
    ]


def test_several_roots_are_trees_with_an_empty_line_between() -> None:
    assert [line.graph + (line.id or "") for line in draw({"1": None, "2": "gone", "3": "1"})] == [
        "* 3",
        "* 1",
        "",
        "* 2",
    ]
