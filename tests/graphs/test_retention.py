"""Retention and real graphs: what is interrupted goes on, what is remembered stays, and time travel works.

Annotations are not postponed here: LangGraph evaluates them, and cannot see a local `frequency`.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt
from langgraph_eventlog.saver import EventLogSaver, Retention
from langgraph_eventlog.saver.compaction.retaining import RetentionReport, apply_retention
from typing_extensions import TypedDict

Reopen = Callable[[], EventLogSaver]
CONFIG: Any = {"configurable": {"thread_id": "t"}}
SHALLOW = Retention(keep_last=1)
NOW = 1_900_000_000_000_000


class State(TypedDict):
    said: Annotated[list[str], operator.add]


class Latest(TypedDict):
    """What a subgraph returns is all that it has got: added to the parent's, that doubles with every turn."""

    said: list[str]


def retain(saver: EventLogSaver, policy: Retention = SHALLOW) -> RetentionReport:
    report = apply_retention(saver.log, saver._core.views, policy, now=NOW)
    head = saver.log.head()
    assert apply_retention(saver.log, saver._core.views, policy, now=NOW) == RetentionReport()
    assert saver.log.head() == head
    return report


def namespaces(saver: EventLogSaver) -> dict[str, int]:
    """How many checkpoints are listed of each namespace, without tasks' ids."""
    counts: dict[str, int] = {}
    for one in saver.list(CONFIG):
        parts = one.config["configurable"]["checkpoint_ns"].split("|")
        name = "|".join(part.partition(":")[0] for part in parts)
        counts[name] = counts.get(name, 0) + 1
    return counts


def says(ran: list[str], name: str, *, asks: bool = False) -> Callable[[Any], dict[str, Any]]:
    def work(state: Any) -> dict[str, Any]:
        ran.append(name)
        return {"said": [interrupt(f"{name}?") if asks else name]}

    return work


def chain(*nodes: tuple[str, Any], state: type = State, **options: Any) -> Any:
    graph = StateGraph(state)
    for before, (name, node) in zip([START, *[name for name, _ in nodes]], nodes, strict=False):
        graph.add_node(name, node).add_edge(before, name)
    return graph.compile(**options)


# Interrupts.


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_finished_tools_of_an_interrupted_step_are_not_executed_again(reopen: Reopen, durability: Any) -> None:
    ran: list[str] = []

    def app(saver: Any) -> Any:
        graph = StateGraph(State).add_node("plan", says(ran, "plan")).add_edge(START, "plan")
        for name in ("search", "pay", "mail"):
            graph.add_node(name, says(ran, name, asks=name == "pay")).add_edge("plan", name)
        graph.add_node("end", says(ran, "end")).add_edge(["search", "pay", "mail"], "end")
        return graph.compile(checkpointer=saver)

    for turn in range(3):
        app(reopen()).invoke({"said": [f"turn {turn}"]}, CONFIG, durability=durability)
        if turn < 2:
            app(reopen()).invoke(Command(resume="yes"), CONFIG, durability=durability)
    before = app(reopen()).get_state(CONFIG)
    retain(reopen())
    assert namespaces(reopen()) == {"": 1}
    after = app(reopen()).get_state(CONFIG)
    assert (after.values, after.next, after.tasks, after.interrupts) == (
        before.values,
        before.next,
        before.tasks,
        before.interrupts,
    )
    ran.clear()
    final = app(reopen()).invoke(Command(resume="yes"), CONFIG, durability=durability)
    assert ran == ["pay", "end"]
    assert (final["said"][-5], {*final["said"][-4:-1]}, final["said"][-1]) == ("plan", {"search", "yes", "mail"}, "end")


def nested(saver: Any, ran: list[str], memory: Any = None) -> Any:
    """outer -> inner -> innermost, which asks. With `memory` True, inner is a subgraph that remembers."""
    innermost = chain(("look", says(ran, "look")), ("ask", says(ran, "ask", asks=True)), ("after", says(ran, "after")))
    inner = chain(("first", says(ran, "first")), ("deep", innermost), checkpointer=memory)
    return chain(("before", says(ran, "before")), ("inner", inner), ("done", says(ran, "done")), checkpointer=saver)


def asked_twice(reopen: Reopen, memory: Any, durability: Any) -> InMemorySaver:
    """Have `nested` ask, be answered, and ask again; give a saver in memory where the same happened."""
    reference = InMemorySaver()
    for saver in (lambda: reference, reopen):
        for turn in range(2):
            nested(saver(), [], memory).invoke({"said": [f"turn {turn}"]}, CONFIG, durability=durability)
            if turn == 0:
                nested(saver(), [], memory).invoke(Command(resume="that"), CONFIG, durability=durability)
    return reference


def resumes_as(reference: InMemorySaver, reopen: Reopen, memory: Any, durability: Any) -> None:
    """Check that the second question, once answered, leads to where it leads in `reference`."""
    ran: list[str] = []
    final = nested(reopen(), ran, memory).invoke(Command(resume="that"), CONFIG, durability=durability)
    assert ran == ["ask", "after", "done"]
    assert final == nested(reference, [], memory).invoke(Command(resume="that"), CONFIG, durability=durability)


@pytest.mark.parametrize("memory", [None, True])
@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_an_interrupt_two_subgraphs_down_resumes_where_it_was(reopen: Reopen, memory: Any, durability: Any) -> None:
    reference = asked_twice(reopen, memory, durability)
    retain(reopen())
    assert namespaces(reopen())[""] == 1
    resumes_as(reference, reopen, memory, durability)


def test_a_subgraph_that_remembers_goes_on_inside_though_the_graph_has_been_updated_since(reopen: Reopen) -> None:
    """update_state makes another root checkpoint; the subgraph still waits where it was, in a subgraph of its own."""
    ran: list[str] = []
    for is_retained in (False, True):
        reopen().delete_thread("t")
        nested(reopen(), ran, True).invoke({"said": ["given"]}, CONFIG)
        nested(reopen(), ran, True).update_state(CONFIG, {"said": ["slipped in"]}, as_node="before")
        if is_retained:
            assert retain(reopen()).checkpoints_removed > 0
            assert namespaces(reopen())[""] == 1
        ran.clear()
        nested(reopen(), ran, True).invoke(Command(resume="that"), CONFIG)
        assert ran == ["ask", "after", "done"]


def test_parallel_subgraphs_of_which_some_wait_go_on_alone(reopen: Reopen) -> None:
    ran: list[str] = []

    def app(saver: Any) -> Any:
        def work(state: Any) -> dict[str, Any]:
            ran.append(f"work {state['n']}")
            return {"said": [f"{state['n']}"]}

        def maybe(state: Any) -> dict[str, Any]:
            ran.append(f"maybe {state['n']}")
            return {"said": [interrupt("?") if state["n"] == 1 else "none"]}

        class Job(TypedDict):
            n: int
            said: Annotated[list[str], operator.add]

        job = StateGraph(Job).add_node("work", work).add_node("maybe", maybe)
        job.add_edge(START, "work").add_edge("work", "maybe")
        graph = StateGraph(State).add_node("plan", says(ran, "plan")).add_node("job", job.compile())
        graph.add_edge(START, "plan")
        graph.add_conditional_edges("plan", lambda _: [Send("job", {"n": n, "said": []}) for n in range(3)], ["job"])
        return graph.compile(checkpointer=saver)

    app(reopen()).invoke({"said": []}, CONFIG)
    retain(reopen())
    ran.clear()
    final = app(reopen()).invoke(Command(resume="yes"), CONFIG)
    assert ran == ["maybe 1"]
    assert final["said"] == ["plan", "0", "none", "1", "yes", "2", "none"]


def test_a_functional_workflow_goes_on_with_what_its_tasks_gave_and_remembers(reopen: Reopen) -> None:
    ran: list[str] = []

    def app(saver: Any) -> Any:
        @task
        def work(n: int) -> int:
            ran.append(f"work {n}")
            return n * 2

        @entrypoint(checkpointer=saver)
        def workflow(n: int, *, previous: Any = None) -> Any:
            given = [work(n).result(), work(n + 1).result()]
            answer = interrupt("?")
            return entrypoint.final(value=[*given, answer, previous], save=sum(given) + (previous or 0))

        return workflow

    for n in (1, 10, 100):
        app(reopen()).invoke(n, CONFIG)
        retain(reopen())
        assert namespaces(reopen()) == {"": 1}
        ran.clear()
        final = app(reopen()).invoke(Command(resume="yes"), CONFIG)
        assert ran == []
        retain(reopen())
    assert final == [200, 202, "yes", 6 + 42]


# Memory.


class Count(TypedDict):
    turns: Annotated[int, operator.add]


def counting(saver: Any, where: str) -> Any:
    """A counter that remembers, as a node, invoked in one, or in a subgraph that forgets."""
    counter = StateGraph(Count).add_node("count", lambda _: {"turns": 1}).add_edge(START, "count")
    remembering = counter.compile(checkpointer=True)

    def ask(state: State) -> dict[str, Any]:
        return {"said": [str(remembering.invoke({"turns": 0})["turns"])]}

    def tell(state: Any) -> dict[str, Any]:
        return {"said": [str(state["turns"])]}

    if where == "node":

        class Both(TypedDict):
            turns: int
            said: Annotated[list[str], operator.add]

        graph = StateGraph(Both).add_node("counter", remembering).add_node("tell", tell)
        return graph.add_edge(START, "counter").add_edge("counter", "tell").compile(checkpointer=saver)
    node = chain(("ask", ask)) if where == "deep" else ask
    return chain(("before", says([], "before")), ("node", node), checkpointer=saver)


@pytest.mark.parametrize("durability", ["sync", "exit"])
@pytest.mark.parametrize("where", ["node", "invoked", "deep"])
def test_subgraphs_that_remember_do_so_with_only_the_last_checkpoint_kept(
    reopen: Reopen, where: str, durability: Any
) -> None:
    given: Any = {"said": [], **({"turns": 0} if where == "node" else {})}
    reference = InMemorySaver()
    for _ in range(5):
        expected = counting(reference, where).invoke(given, CONFIG, durability=durability)
        final = counting(reopen(), where).invoke(given, CONFIG, durability=durability)
        assert final["said"] == expected["said"]
        retain(reopen())
        left = namespaces(reopen())
        assert left.pop("") == 1
        # Of memories the latest, and the one from before the kept checkpoint, for time travel to it.
        assert all(count <= 2 for count in left.values())
    assert final["said"][-1] == "5"


@pytest.mark.parametrize("where", ["node", "invoked", "deep"])
@pytest.mark.parametrize("update", [False, True])
def test_time_travel_to_what_is_kept_finds_memories_as_they_were(reopen: Reopen, where: str, update: bool) -> None:
    given: Any = {"said": [], **({"turns": 0} if where == "node" else {})}
    # The last but one turn's beginning and all since then.
    policy = Retention(keep_last=7)
    for place in range(7):
        finals = []
        for is_retained in (False, True):
            reopen().delete_thread("t")
            for _ in range(4):
                counting(reopen(), where).invoke(given, CONFIG, durability="sync")
            app = counting(reopen(), where)
            config = list(app.get_state_history(CONFIG))[place].config
            if update:
                config = app.update_state(config, {"said": ["updated"]}, as_node="__start__")
            if is_retained:
                # The update alone is kept, not what it was made from.
                retain(reopen(), SHALLOW if update else policy)
            finals.append(counting(reopen(), where).invoke(None, config)["said"])
        assert finals[0] == finals[1]


# Histories.


@pytest.mark.parametrize("keep", [1, 3, 8])
def test_the_history_of_what_is_kept_is_what_it_was(reopen: Reopen, keep: int) -> None:
    ran: list[str] = []

    def app() -> Any:
        inner = chain(("first", says(ran, "first")), ("second", says(ran, "second")))
        return chain(("before", says(ran, "before")), ("inner", inner), checkpointer=reopen())

    for turn in range(3):
        app().invoke({"said": [f"turn {turn}"]}, CONFIG, durability="sync")
    # A branch from an old checkpoint, and one that goes nowhere.
    history = list(app().get_state_history(CONFIG))
    fork = app().update_state(history[5].config, {"said": ["forked"]}, as_node="before")
    app().invoke(None, fork, durability="sync")
    app().update_state(history[7].config, {"said": ["nowhere"]}, as_node="inner")
    before = list(app().get_state_history(CONFIG))
    inner_before = {s.config["configurable"]["checkpoint_ns"]: s for s in reopen().list(CONFIG)}
    assert len(inner_before) == 5
    retain(reopen(), Retention(keep_last=keep))
    assert list(app().get_state_history(CONFIG)) == before[:keep]
    for snapshot in before[:keep]:
        assert app().get_state(snapshot.config) == snapshot
    kept = {s.config["configurable"]["checkpoint_id"] for s in before[:keep]}
    for one in reopen().list(CONFIG):
        ns = one.config["configurable"]["checkpoint_ns"]
        assert ns == "" or one.metadata["parents"][""] in kept


def test_twenty_turns_with_a_subgraph_leave_the_namespaces_of_the_last_alone(reopen: Reopen) -> None:
    ran: list[str] = []
    for turn in range(20):
        inner = chain(("first", says(ran, "first")), ("second", says(ran, "second")), state=Latest)
        app = chain(("inner", inner), ("end", says(ran, "end")), state=Latest, checkpointer=reopen())
        app.invoke({"said": [f"turn {turn}"]}, CONFIG, durability="sync")
    assert namespaces(reopen()) == {"": 80, "inner": 80}
    retain(reopen(), Retention(keep_last=4))
    assert namespaces(reopen()) == {"": 4, "inner": 4}
    retain(reopen())
    assert namespaces(reopen()) == {"": 1}


def test_a_checkpoint_that_is_kept_can_be_run_from_again(reopen: Reopen) -> None:
    ran: list[str] = []
    for _ in range(3):
        nested(reopen(), ran).invoke({"said": []}, CONFIG, durability="sync")
        nested(reopen(), ran).invoke(Command(resume="that"), CONFIG, durability="sync")
    retain(reopen(), Retention(keep_last=3))
    [waiting] = [s for s in nested(reopen(), ran).get_state_history(CONFIG) if s.next == ("inner",)]
    ran.clear()
    nested(reopen(), ran).invoke(None, waiting.config)
    assert ran == ["first", "look", "ask"]


# Delta channels.


def joined(state: list[str], writes: Sequence[list[str]]) -> list[str]:
    return [*state, *(item for write in writes for item in write)]


def delta_app(saver: Any, frequency: int, asking: bool = False) -> Any:
    """A delta channel in the graph, and in a subgraph that remembers."""

    class Delta(TypedDict):
        log: Annotated[list[str], DeltaChannel(joined, snapshot_frequency=frequency)]
        rare: Annotated[list[str], DeltaChannel(joined, snapshot_frequency=frequency)]

    class Inner(TypedDict):
        own: Annotated[list[str], DeltaChannel(joined, snapshot_frequency=frequency)]

    inner = StateGraph(Inner).add_node("note", lambda state: {"own": [f"note {len(state['own'])}"]})
    notes = inner.add_edge(START, "note").compile(checkpointer=True)

    def left(state: Delta) -> dict[str, Any]:
        return {"log": [notes.invoke({"own": []})["own"][-1]]}

    def right(state: Delta) -> dict[str, Any]:
        return {"log": [f"right {interrupt('?') if asking else ''}"]}

    def end(state: Delta) -> dict[str, Any]:
        return {"log": [f"end of {len(state['log'])}, {len(state['rare'])} rare"]}

    graph = StateGraph(Delta).add_node("left", left).add_node("right", right).add_node("end", end)
    graph.add_edge(START, "left").add_edge(START, "right").add_edge(["left", "right"], "end")
    return graph.compile(checkpointer=saver)


@pytest.mark.parametrize("frequency", [1, 3, 100])
@pytest.mark.parametrize("policy", [SHALLOW, Retention(keep_last=5)])
@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_delta_channels_are_rebuilt_after_retention_at_every_turn(
    reopen: Reopen, frequency: int, policy: Retention, durability: Any
) -> None:
    reference = InMemorySaver()
    hidden = 0
    for turn in range(6):
        given = {"log": [f"turn {turn}"], **({"rare": [f"rare {turn}"]} if turn % 4 == 0 else {})}
        for saver in (reference, reopen()):
            delta_app(saver, frequency, True).invoke(given, CONFIG, durability=durability)
        hidden += retain(reopen(), policy).checkpoints_hidden
        finals = [
            delta_app(saver, frequency, True).invoke(Command(resume="this"), CONFIG, durability=durability)
            for saver in (reference, reopen())
        ]
        assert finals[0] == finals[1]
        before = list(delta_app(reopen(), frequency).get_state_history(CONFIG))
        hidden += retain(reopen(), policy).checkpoints_hidden
        saver = reopen()
        saver.rebuild()
        assert list(delta_app(saver, frequency).get_state_history(CONFIG)) == before[: policy.keep_last]
    assert finals[0]["log"].count("note 5") == 1
    assert hidden > 0 or frequency == 1


# While graphs run.


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("frequency", [3, 100])
def test_a_graph_during_whose_every_step_retention_is_applied_does_what_it_does_without(
    reopen: Reopen, durability: Any, frequency: int
) -> None:
    class Delta(TypedDict):
        said: Annotated[list[str], operator.add]
        log: Annotated[list[str], DeltaChannel(joined, snapshot_frequency=frequency)]

    def app(saver: Any) -> Any:
        def node(name: str, asks: bool = False) -> Callable[[Any], dict[str, Any]]:
            def work(state: Any) -> dict[str, Any]:
                if isinstance(saver, EventLogSaver):
                    apply_retention(saver.log, saver._core.views, SHALLOW, now=NOW)
                answer = interrupt("?") if asks else ""
                return {"said": [f"{name} {len(state['said'])} {answer}"], "log": [f"{name} {len(state['log'])}"]}

            return work

        def graph(*nodes: tuple[str, Any], **options: Any) -> Any:
            made = StateGraph(Delta)
            for before, (name, work) in zip([START, *[name for name, _ in nodes]], nodes, strict=False):
                made.add_node(name, work).add_edge(before, name)
            return made.compile(**options)

        remembering = graph(("c", node("c")), ("d", node("d", asks=True)), checkpointer=True)
        return graph(
            ("a", node("a")),
            ("forgetting", graph(("b", node("b")), ("b2", node("b2")))),
            ("remembering", remembering),
            ("e", node("e")),
            checkpointer=saver,
        )

    reference = InMemorySaver()
    for turn in range(3):
        given: Any
        for given in ({"said": [f"turn {turn}"], "log": [f"turn {turn}"]}, Command(resume="yes")):
            finals = [app(saver).invoke(given, CONFIG, durability=durability) for saver in (reference, reopen())]
            for final in finals:
                final.pop("__interrupt__", None)  # whose ids are made of tasks'
            assert finals[0] == finals[1]
    retain(reopen())
    assert namespaces(reopen())[""] == 1
    assert app(reopen()).get_state(CONFIG).values == finals[0]
