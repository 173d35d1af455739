"""`history`: the tree of a thread's checkpoints, and the facts of each."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import apsw
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from langgraph_eventlog.eventlog.errors import ConfigError
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.looking import histories
from langgraph_eventlog.tools.looking.facts import CheckpointFacts
from langgraph_eventlog.tools.looking.histories import history
from langgraph_eventlog.tools.looking.tree import Line
from langgraph_eventlog.tools.verbs.history import command

from .conftest import delete_and_compact, prune_and_compact


def facts_of(saver: EventLogSaver, thread_id: str, **options: Any) -> list[CheckpointFacts]:
    return [line.facts for line in history(saver, thread_id, **options) if line.facts is not None]


class Steps(TypedDict):
    steps: Annotated[list[str], operator.add]


def fan(saver: EventLogSaver) -> Any:
    """Give a graph that sends to a node several times."""
    builder = StateGraph(Steps)
    builder.add_node("plan", lambda state: {"steps": ["plan"]})
    builder.add_node("work", lambda state: {"steps": [f"work {len(state['steps'])}"]})
    builder.add_edge(START, "plan")
    builder.add_conditional_edges(
        "plan", lambda state: [Send("work", {"steps": ["x"] * n}) for n in range(2)], ["work"]
    )
    builder.add_edge("work", END)
    return builder.compile(checkpointer=saver)


def config_of(thread_id: str, run_id: str | None = None) -> Any:
    return {"configurable": {"thread_id": thread_id, **({"run_id": run_id} if run_id else {})}}


@pytest.fixture
def forked(make_saver: Callable[..., EventLogSaver], clock: Callable[[], int]) -> EventLogSaver:
    """A log with a thread `t` of one run, forked from its middle."""
    saver = make_saver(clock=clock)
    graph = fan(saver)
    graph.invoke({"steps": ["go"]}, config_of("t", "first"))
    middle = list(graph.get_state_history(config_of("t")))[1]
    graph.invoke(None, middle.config)
    return saver


def test_the_command_draws_a_thread_newest_first_with_who_ran_and_what_changed(run: Any, shop: Path) -> None:
    shown = run("history", shop, "order-2", code=0).stdout.splitlines()
    assert [line.split()[2] for line in shown[1:]] == [str(step) for step in range(9, -2, -1)]
    assert all(line.startswith("* ") for line in shown[1:])
    assert "refund (1)" in shown[1]  # interrupted: its write is stored here
    assert "messages +" in shown[1]
    assert "run 2 of order-2" in shown[1]
    assert "2026-01-01" in shown[1]


def test_the_command_gives_the_facts_as_json_lines_of_each_namespace(json_of: Any, shop: Path) -> None:
    lines = json_of("history", shop, "planner", lines=True)
    by_namespace = {ns: [line for line in lines if line["checkpoint_ns"] == ns] for ns in ("", "plan")}
    assert [line["checkpoint_ns"] for line in lines] == [""] * len(by_namespace[""]) + ["plan"] * len(
        by_namespace["plan"]
    )
    assert [line["nodes"] for line in by_namespace["plan"]][:3] == [["check"], ["think"], ["__start__"]]
    assert set(lines[0]) == set(CheckpointFacts.__slots__)
    assert lines == [*json_of("history", shop, "planner", "--namespace", "", lines=True), *by_namespace["plan"]]
    assert json_of("history", shop, "planner", "--namespace", "plan", "-n", "2", lines=True) == by_namespace["plan"][:2]


def test_a_log_that_another_process_appends_to_can_be_looked_at(json_of: Any, busy_shop: Path) -> None:
    assert json_of("history", busy_shop, "busy-0", "--limit", "5", lines=True)


def test_a_thread_or_namespace_that_is_not_there_is_an_error_that_names_those_that_are(run: Any, shop: Path) -> None:
    assert "'order-1'" in run("history", shop, "orders", code=2).stderr
    assert "'plan'" in run("history", shop, "planner", "--namespace", "x", code=2).stderr
    assert "'gone'" in run("history", shop, "gone", code=2).stderr


def test_forks_are_several_children_and_drawn_beside_each_other(forked: EventLogSaver) -> None:
    lines = list(history(forked, "t"))
    found = {line.facts.checkpoint_id: line.facts for line in lines if line.facts is not None}
    assert "|/" in [line.line.graph for line in lines]
    forks = [facts for facts in found.values() if len(facts.children) > 1]
    assert len(forks) == 1
    assert {found[child].source for child in forks[0].children} == {"loop", "fork"}
    assert [len(facts.children) for facts in found.values()].count(0) == 2
    assert {child for facts in found.values() for child in facts.children} == {
        facts.checkpoint_id for facts in found.values() if facts.parent_id is not None
    }


def test_nodes_that_were_sent_to_are_told_as_those_that_edges_start(make_saver: Any) -> None:
    saver = make_saver(":memory:")
    graph = fan(saver)
    for turn in range(2):  # a node that is sent to sees no version: the second time tells
        graph.invoke({"steps": ["go"]}, config_of("t", f"run {turn}"))
    facts = facts_of(saver, "t")
    assert [one.nodes for one in facts] == 2 * [("work",), ("plan",), ("__start__",), ()]
    assert [one.wrote for one in facts] == 2 * [(), ("work",), ("plan",), ("__start__",)]
    assert [one.writes for one in facts][:2] == [0, 2]


def test_growth_is_that_of_the_values_and_adds_up(forked: EventLogSaver) -> None:
    facts = {one.checkpoint_id: one for one in facts_of(forked, "t")}
    for one in facts.values():
        before = facts[one.parent_id].state_bytes if one.parent_id else 0
        assert before is not None
        assert one.state_bytes == before + sum(one.changes.values())
    assert all(one.changes.get("steps", 1) > 0 for one in facts.values())
    assert all(one.bytes > 0 and one.recorded_at is not None and one.time for one in facts.values())


def test_what_was_pruned_but_is_kept_is_shown_only_on_demand(run: Any, shop: Path) -> None:
    with EventLogSaver(shop) as saver:
        before = {one.checkpoint_id for one in facts_of(saver, "notes")}
        saver.prune(["notes"])
        [latest] = facts_of(saver, "notes")
        assert latest.parent == "hidden"
        every = facts_of(saver, "notes", hidden=True)
    assert [one.hidden for one in every] == [False] + [True] * (len(every) - 1)
    assert len(every) > 1
    assert {one.checkpoint_id for one in every} <= before
    assert every[-1].parent == "missing"
    assert len(run("history", shop, "notes").stdout.splitlines()) == 2
    shown = run("history", shop, "notes", "--all").stdout.splitlines()
    assert len(shown) == 1 + len(every)
    assert "removed, kept for others" in shown[2]
    assert "was removed" in shown[-1]


def test_a_branch_hangs_on_the_nearest_ancestor_that_is_shown(make_saver: Any) -> None:
    saver = make_saver(":memory:")
    graph = fan(saver)
    graph.invoke({"steps": ["go"]}, config_of("t", "first"))
    graph.invoke({"steps": ["go"]}, config_of("t", "second"))
    graph.invoke({"steps": ["go"]}, config_of("t", "third"))
    saver.delete_for_runs(["second"])
    lines = list(history(saver, "t"))
    facts = [line.facts for line in lines if line.facts is not None]
    assert {one.run_id for one in facts} == {"first", "third"}
    third = [one for one in facts if one.run_id == "third"][-1]
    assert third.parent in ("hidden", "missing")


def test_a_put_again_that_makes_a_cycle_of_parents_ends(make_saver: Any) -> None:
    saver = make_saver(":memory:")
    for one, parent in (("1", None), ("2", "1"), ("3", "2"), ("1", "3")):
        config: Any = {
            "configurable": {"thread_id": "t", "checkpoint_ns": "", **({"checkpoint_id": parent} if parent else {})}
        }
        saver.put(config, {**empty_checkpoint(), "id": one, "channel_values": {"c": one}}, {"step": int(one)}, {})
    lines = list(history(saver, "t"))
    assert [line.line.id for line in lines] == ["3", "2", "1"]
    assert [line.line.is_cut for line in lines] == [False, False, True]
    assert [line.facts.parent for line in lines if line.facts] == ["there"] * 3


def test_a_limit_is_of_checkpoints_not_of_lines(forked: EventLogSaver) -> None:
    every = facts_of(forked, "t")
    for limit in (0, 1, 3, len(every), len(every) + 1):
        assert facts_of(forked, "t", limit=limit) == every[:limit]
    with pytest.raises(ConfigError):
        list(history(forked, "t", limit=-1))


def test_pages_give_the_same_as_each_checkpoint_for_itself(make_saver: Any) -> None:
    saver = make_saver(":memory:")
    graph = fan(saver)
    for turn in range(40):
        graph.invoke({"steps": ["go"]}, config_of("t", f"run {turn}"))
    every = facts_of(saver, "t")
    assert len(every) == 160
    for place in (0, 63, 64, 65, 130, 159):
        assert facts_of(saver, "t", limit=place + 1)[-1] == every[place]


@pytest.mark.parametrize("change", [prune_and_compact, delete_and_compact])
@pytest.mark.parametrize("thread_id", ["order-1", "notes"])
def test_what_is_stored_anew_or_removed_while_a_history_is_read_is_not_called_damaged(
    interleaved: Any, thread_id: str, change: Any
) -> None:
    quiet, *found = interleaved(lambda saver: list(history(saver, thread_id)), lambda saver: change(saver, thread_id))
    assert len(found) > 1
    latest, lines = quiet[0].facts, [one.line for one in quiet]
    for seen in found:
        if isinstance(seen, ConfigError):
            assert change is delete_and_compact
            continue
        facts = [one.facts for one in seen if one.facts is not None]
        assert [one.damage for one in facts] == [None] * len(facts)
        assert [one.checkpoint_id for one in facts] == ([] if change is delete_and_compact else [latest.checkpoint_id])
        if change is prune_and_compact:
            assert facts[0].state_bytes == latest.state_bytes
            assert facts[0].parent == ("hidden" if thread_id == "notes" else "missing")
        assert [one.line for one in seen] in (lines, [Line("* ", latest.checkpoint_id, is_root=True)])


def test_a_checkpoint_that_is_removed_while_it_is_being_drawn_is_said_to_be(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = histories.draw

    def pruned_when_drawn(parents: Any) -> Any:
        with EventLogSaver(shop, erase_deleted=False) as other:
            prune_and_compact(other, "order-1")
        return draw(parents)

    monkeypatch.setattr(histories, "draw", pruned_when_drawn)
    command(shop, "order-1")
    _, first, *others = capsys.readouterr().out.splitlines()
    assert "removed meanwhile" not in first
    assert len(others) == 11
    assert [line.split(maxsplit=1) for line in others] == [["*", "removed meanwhile"]] * 11


@pytest.mark.plain_file("a record is damaged on purpose")
def test_a_damaged_checkpoint_is_told_and_the_others_are_shown(run: Any, shop: Path) -> None:
    with EventLogSaver(shop) as saver:
        facts = facts_of(saver, "order-1")
    damaged = facts[3]
    connection = apsw.Connection(str(shop))
    (trigger,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'event_never_changes'").fetchone()
    connection.execute("DROP TRIGGER event_never_changes")
    connection.execute("UPDATE event SET record = zeroblob(length(record)) WHERE position = ?", (damaged.position,))
    connection.execute(trigger)
    connection.close()
    with EventLogSaver(shop, read_only=True) as saver:
        found = facts_of(saver, "order-1")
    assert [one.checkpoint_id for one in found] == [one.checkpoint_id for one in facts]
    assert found[3].damage is not None
    assert found[3].state_bytes is None
    assert (found[3].step, found[3].run_id) == (damaged.step, damaged.run_id)  # the projection knows
    assert found[-1] == facts[-1]  # it needs nothing of what is damaged
    assert "DAMAGED" in run("history", shop, "order-1").stdout
