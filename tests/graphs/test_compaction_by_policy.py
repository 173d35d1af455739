"""Compaction that follows a policy, and real graphs: they go on as without, from files that hold no more than it says.

Annotations are not postponed here: LangGraph evaluates them.
"""

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from langgraph_eventlog.eventlog import Kind
from langgraph_eventlog.eventlog.record import read_bases
from langgraph_eventlog.saver import CompactionReport, EventLogSaver, Retention

from .test_retention import (
    CONFIG,
    SHALLOW,
    Reopen,
    asked_twice,
    chain,
    counting,
    delta_app,
    namespaces,
    nested,
    resumes_as,
    says,
)

FORESEEN = (
    "threads_removed",
    "checkpoints_removed",
    "checkpoints_hidden",
    "events_erased",
    "bytes_erased",
    "restated",
    "rounds",
)


def compact(saver: EventLogSaver, policy: Retention, **options: Any) -> CompactionReport:
    """Compact, as the dry run says, so that doing it again does nothing."""
    head = saver.log.head()
    dry = saver.compact(policy, dry_run=True, **options)
    assert saver.log.head() == head
    report = saver.compact(policy, **options)
    assert {name: getattr(dry, name) for name in FORESEEN} == {name: getattr(report, name) for name in FORESEEN}
    assert report.complete
    said: list[Any] = [event.data for event in saver.log.read(after=head.position, kinds=[Kind.COMPACTION])]
    assert all(policy.as_plain().items() <= data.policy.items() for data in said)
    assert bool(said) == (saver.log.head() != head) == (not dry.complete)
    head = saver.log.head()
    again = saver.compact(policy, **options)
    assert (again.complete, again.events_erased, again.restated) == (True, {}, 0)
    assert (again.threads_removed, again.checkpoints_removed) == (0, 0)
    assert saver.log.head() == head
    assert list(saver.verify()) == []
    return report


def needless(saver: EventLogSaver) -> set[int]:
    """The events with values that no row points at, and what kept ones refer to that is not kept."""
    with saver.log.database.reading() as connection:
        rows = connection.execute(
            "SELECT position FROM history UNION SELECT position FROM history_recent "
            "UNION SELECT position FROM pending_writes"
        ).fetchall()
        records = connection.execute("SELECT position, record FROM event WHERE kind IN (1, 2, 11, 12)").fetchall()
    live = {position for (position,) in rows}
    return ({position for position, _ in records} | {b for _, record in records for b in read_bases(record)}) - live


@pytest.mark.parametrize("thorough", [True, False])
@pytest.mark.parametrize("frequency", [3, 100])
@pytest.mark.parametrize("policy", [SHALLOW, Retention(keep_last=5)], ids=["keep 1", "keep 5"])
def test_delta_channels_go_on_from_what_is_left_at_every_turn(
    reopen: Reopen, frequency: int, policy: Retention, thorough: bool
) -> None:
    reference = InMemorySaver()
    erased = hidden = 0
    for turn in range(5):
        given: Any
        for given in ({"log": [f"turn {turn}"], "rare": [f"rare {turn}"][turn % 2 :]}, Command(resume="this")):
            finals = [
                delta_app(saver, frequency, True).invoke(given, CONFIG, durability="sync")
                for saver in (reference, reopen())
            ]
            assert finals[0]["log"] == finals[1]["log"]
            before = list(delta_app(reopen(), frequency, True).get_state_history(CONFIG))
            report = compact(reopen(), policy, thorough=thorough)
            erased += sum(report.events_erased.values())
            hidden += report.checkpoints_hidden
            saver = reopen()
            assert not thorough or needless(saver) == set()
            for _ in range(2):
                after = list(delta_app(saver, frequency, True).get_state_history(CONFIG))
                assert after == before[: policy.keep_last]
                saver.rebuild()
    # Without a snapshot, all that was ever written is needed.
    assert (erased if frequency == 3 else hidden) > 0


@pytest.mark.parametrize("memory", [None, True])
@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_an_interrupt_two_subgraphs_down_resumes_from_what_is_left(
    reopen: Reopen, memory: Any, durability: Any
) -> None:
    reference = asked_twice(reopen, memory, durability)
    before = nested(reopen(), [], memory).get_state(CONFIG, subgraphs=True)
    assert compact(reopen(), SHALLOW).checkpoints_removed > 0
    assert namespaces(reopen())[""] == 1
    assert needless(reopen()) == set()
    assert nested(reopen(), [], memory).get_state(CONFIG, subgraphs=True) == before
    resumes_as(reference, reopen, memory, durability)


@pytest.mark.parametrize("where", ["node", "invoked", "deep"])
def test_subgraphs_that_remember_do_so_from_what_is_left(reopen: Reopen, where: str) -> None:
    given: Any = {"said": [], **({"turns": 0} if where == "node" else {})}
    for turn in range(4):
        final = counting(reopen(), where).invoke(given, CONFIG, durability="sync")
        assert final["said"][-1] == str(turn + 1)
        compact(reopen(), SHALLOW)
        assert needless(reopen()) == set()
    assert namespaces(reopen()).pop("") == 1


def test_history_and_time_travel_of_what_is_kept_are_what_they_were(reopen: Reopen) -> None:
    ran: list[str] = []

    def app() -> Any:
        inner = chain(("first", says(ran, "first")), ("second", says(ran, "second")))
        return chain(("before", says(ran, "before")), ("inner", inner), checkpointer=reopen())

    for turn in range(4):
        app().invoke({"said": [f"turn {turn} " * 20]}, CONFIG, durability="sync")
    reopen().copy_thread("t", "copy")
    before = list(app().get_state_history(CONFIG))
    copied = [one.checkpoint for one in reopen().list({"configurable": {"thread_id": "copy"}})]
    report = compact(reopen(), Retention(keep_last=6))
    assert report.restated > 0
    assert list(app().get_state_history(CONFIG)) == before[:6]
    left = [one.checkpoint for one in reopen().list({"configurable": {"thread_id": "copy"}})]
    assert left
    assert all(checkpoint in copied for checkpoint in left)
    assert needless(reopen()) == set()
    ran.clear()
    [waiting] = [snapshot for snapshot in before[:6] if snapshot.next == ("inner",) and snapshot in before[:4]]
    app().invoke(None, waiting.config)
    assert ran == ["first", "second"]
