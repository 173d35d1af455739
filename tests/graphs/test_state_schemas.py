"""State of each kind that LangGraph takes, read back from the file by a new process with its types."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, NotRequired
from uuid import UUID

import pytest
from langchain_core.documents import Document
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from langgraph_eventlog.saver import EventLogSaver
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

CONFIG: Any = {"configurable": {"thread_id": "t"}}
Reopen = Callable[[], EventLogSaver]


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Item(BaseModel):
    name: str
    price: Decimal = Decimal("1.50")
    colour: Colour = Colour.RED
    parts: list[Item] = Field(default_factory=list)


@dataclass
class Place:
    x: float
    tags: list[str] = field(default_factory=list)


class Typed(TypedDict):
    items: Annotated[list[Item], operator.add]
    place: Place
    count: Annotated[int, operator.add]
    other: NotRequired[dict[str, Any]]


class Pydantic(BaseModel):
    items: Annotated[list[Item], operator.add] = Field(default_factory=list)
    place: Place = Field(default_factory=lambda: Place(0.0))
    count: Annotated[int, operator.add] = 0
    other: dict[str, Any] | None = None


@dataclass
class Data:
    items: Annotated[list[Item], operator.add] = field(default_factory=list)
    place: Place = field(default_factory=lambda: Place(0.0))
    count: Annotated[int, operator.add] = 0
    other: dict[str, Any] | None = None


def look(state: Any, name: str) -> Any:
    return state[name] if isinstance(state, dict) else getattr(state, name)


def app(schema: type, saver: Any) -> Any:
    def add(state: Any) -> dict[str, Any]:
        place = look(state, "place")
        return {
            "items": [Item(name=f"item {look(state, 'count')}", colour=Colour.BLUE, parts=[Item(name="part")])],
            "place": Place(place.x + 0.5, [*place.tags, "moved"]),
            "count": 1,
        }

    def check(state: Any) -> dict[str, Any]:
        answer = interrupt(look(state, "items")[-1])
        return {"other": {"answer": answer, "at": datetime(2026, 1, 2, tzinfo=UTC), "sum": Decimal("0.1")}}

    graph = StateGraph(schema).add_node("add", add).add_node("check", check)
    return graph.add_edge(START, "add").add_edge("add", "check").compile(checkpointer=saver)


@pytest.mark.parametrize("schema", [Typed, Pydantic, Data])
def test_state_comes_back_with_its_types(schema: type, reopen: Reopen, describe: Any) -> None:
    memory = InMemorySaver()
    given = {"items": [Item(name="first")], "place": Place(1.0), "count": 0}
    for saver in (lambda: memory, reopen):
        for turn in range(3):
            app(schema, saver()).invoke(given, CONFIG, durability="sync")
            app(schema, saver()).invoke(Command(resume=f"answer {turn}"), CONFIG, durability="sync")
    found, expected = [describe(app(schema, saver).get_state_history(CONFIG)) for saver in (reopen(), memory)]
    assert found == expected
    values = found[0]["values"]
    assert len(values["items"]) == 6
    assert values["items"][-1] == Item(name="item 2", colour=Colour.BLUE, parts=[Item(name="part")])
    assert [type(v) for v in (values["items"][0], values["items"][0].price, values["place"])] == [Item, Decimal, Place]
    assert values["place"] == Place(1.5, ["moved"])
    assert values["other"] == {"answer": "answer 2", "at": datetime(2026, 1, 2, tzinfo=UTC), "sum": Decimal("0.1")}


class Anything(TypedDict):
    value: Any


VALUES = {
    "set": {1, "two", (3, 4)},
    "frozenset": frozenset({"a"}),
    "tuple": (1, [2, (3,)]),
    "bytes": b"\x00\xff" * 50,
    "date": date(2024, 2, 29),
    "timedelta": timedelta(days=1, microseconds=7),
    "uuid": UUID(int=5),
    "document": Document("text", id="d", metadata={"page": 1}),
    "int keys": {1: "one", 2: {"3": 3}},
    "mixed keys": {"a": 1, 1: "a"},
    "big int": 2**63 - 1,
    "minus zero": -0.0,
    "text": "\x00 \N{SNOWMAN} \N{GRINNING FACE}",
    "none in list": [None, [], {}, ""],
    "true and one": [True, 1, 1.0, False, 0, 0.0],
    "long list": list(range(2000)),
    "nested": {"a": [{"b": [{"c": [1, {"d": None}]}]}]},
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_as_it_would_from_memory(name: str, reopen: Reopen) -> None:
    """After one step that changes it and one that does not, so that it is read through a delta and a reference."""

    def build(saver: Any) -> Any:
        graph = StateGraph(Anything).add_node("wrap", lambda state: {"value": [state["value"], state["value"]]})
        graph.add_node("leave", lambda state: None)
        return graph.add_edge(START, "wrap").add_edge("wrap", "leave").compile(checkpointer=saver)

    memory = InMemorySaver()
    histories = []
    for saver in (lambda: memory, reopen):
        build(saver()).invoke({"value": VALUES[name]}, CONFIG, durability="sync")
        histories.append([s.values for s in build(saver()).get_state_history(CONFIG)])
    expected, found = histories
    assert repr(found) == repr(expected)  # 1 == True == 1.0, and their text is not
    assert len(found) == 4


def test_a_list_that_a_node_changed_in_place_is_stored_as_it_became(reopen: Reopen) -> None:
    """As with the official SQLite saver: the value that was given is the truth, whatever its version says."""

    class Mutable(TypedDict):
        kept: list[Any]
        turn: int

    # LangGraph evaluates the annotations, where local names cannot be seen: these are global ones.
    def change(state: Mutable) -> dict[str, Any]:
        state["kept"].append(state["turn"])
        state["kept"][0]["seen"] = state["turn"]
        return {"turn": state["turn"] + 1}

    def build(saver: Any) -> Any:
        return StateGraph(Mutable).add_node("change", change).add_edge(START, "change").compile(checkpointer=saver)

    saver = reopen()
    build(saver).invoke({"kept": [{"seen": None}], "turn": 1}, CONFIG, durability="sync")
    assert build(reopen()).get_state(CONFIG).values == {"kept": [{"seen": 1}, 1], "turn": 2}
    build(reopen()).invoke({"turn": 5}, CONFIG, durability="sync")
    assert build(reopen()).get_state(CONFIG).values == {"kept": [{"seen": 5}, 1, 5], "turn": 6}


def test_private_state_between_two_nodes_is_there_after_a_breakpoint(reopen: Reopen) -> None:
    def build(saver: Any) -> Any:
        graph = StateGraph(Typed)
        graph.add_node("first", first)
        graph.add_node("second", second)
        return graph.add_edge(START, "first").add_edge("first", "second").compile(checkpointer=saver)

    build(reopen()).invoke({"items": [], "place": Place(0.0), "count": 0}, CONFIG, interrupt_before=["second"])
    assert build(reopen()).get_state(CONFIG).values["secret"] == 42
    assert build(reopen()).invoke(None, CONFIG)["count"] == 42


class Private(TypedDict):
    secret: int


def first(state: Typed) -> Private:
    return {"secret": 42}


def second(state: Private) -> dict[str, Any]:
    return {"count": state["secret"]}
