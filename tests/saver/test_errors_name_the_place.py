"""A value that cannot be stored is named by channel and path; nothing is appended, nothing of the state is quoted."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from langchain_core.messages import AIMessage
from langgraph_eventlog.eventlog import ConfigError, EncodingError, EventLogError
from langgraph_eventlog.saver import EventLogSaver
from pydantic import BaseModel, ConfigDict

LOCK = threading.Lock()
SECRET = "hunter2"


@dataclasses.dataclass
class Box:
    label: str
    content: Any


@dataclasses.dataclass(slots=True)
class SlottedBox:
    content: Any


class Model(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="allow")

    label: str = SECRET
    content: Any = None


class Thing:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __repr__(self) -> str:
        return f"Thing({SECRET})"


class Slotted:
    __slots__ = ("content",)

    def __init__(self, content: Any) -> None:
        self.content = content


class SlottedChild(Slotted):
    __slots__ = "more"


class Pair(NamedTuple):
    first: Any
    second: Any


class Hostile:
    """Fails at whatever is asked of it."""

    def __repr__(self) -> str:
        raise RuntimeError(SECRET)

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return object.__getattribute__(self, name)
        raise RuntimeError(SECRET)


def cyclic() -> list[Any]:
    found: list[Any] = [SECRET]
    found.append(found)
    return found


def deep() -> Any:
    found: Any = LOCK
    for _ in range(20):
        found = [found]
    return found


THING = "tests.saver.test_errors_name_the_place.Thing"

# What is put, the path that the error names, and how the type that it names ends.
CASES: dict[str, tuple[Any, str, str]] = {
    "itself": (LOCK, "", "lock"),
    "dict": ({"a": SECRET, "b": {"c_d": LOCK}}, "['b']['c_d']", "lock"),
    "dict, no name": ({"b": {"c d": LOCK}}, "['b'][<builtins.str>]", "lock"),
    "int key": ({1: {2.5: LOCK}}, "[1][2.5]", "lock"),
    "list": ([SECRET, [1, LOCK]], "[1][1]", "lock"),
    "tuple": ((SECRET, (LOCK,)), "[1][0]", "lock"),
    "named tuple": ({"p": Pair(1, LOCK)}, "['p'][1]", "lock"),
    "dataclass": (Box(SECRET, [LOCK]), ".content[0]", "lock"),
    "slotted dataclass": ([SlottedBox({"a": LOCK})], "[0].content['a']", "lock"),
    "pydantic": ({"m": Model(content={"z": LOCK})}, "['m'].content['z']", "lock"),
    "pydantic nested": (Model(content=[Model(content=LOCK)]), ".content[0].content", "lock"),
    "message": (
        [AIMessage(SECRET), AIMessage("b", additional_kwargs={"k": LOCK})],
        "[1].additional_kwargs['k']",
        "lock",
    ),
    "object": ({"t": Thing(label=SECRET)}, "['t']", "Thing"),
    "object attribute": (Thing(label=SECRET, inner=Thing(lock=LOCK)), ".inner.lock", "lock"),
    "slots": ([Slotted(LOCK)], "[0].content", "lock"),
    "inherited slots": ([SlottedChild(LOCK)], "[0].content", "lock"),
    "key": ({"a": {Thing(label=SECRET): 1}}, "['a'][<THING>] (the key)", "Thing"),
    "below an odd key": ({(SECRET, 1): LOCK}, "[<builtins.tuple>]", "lock"),
    "generator": ({"g": (n for n in [SECRET])}, "['g']", "generator"),
    "lambda": ({"f": lambda: SECRET}, "['f']", "function"),
    "too large an integer": ({"n": [2**64]}, "['n'][0]", "int"),
    "cycle": ({"c": cyclic()}, "['c']", "list"),
    "deep": (deep(), "[0]" * 20, "lock"),
    "hostile": ({"h": Hostile()}, "['h']", "Hostile"),
}


@pytest.fixture
def twin(make_saver: Callable[..., EventLogSaver], twin_of: Any) -> Any:
    twin = twin_of(make_saver(":memory:"))
    twin.put("1", {"x": 1})
    return twin


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Any, str, str]:
    value, path, kind = CASES[request.param]
    return value, path.replace("THING", f"{Thing.__module__}.Thing"), kind


def refused(twin: Any, call: Callable[[], Any]) -> EncodingError:
    """Give the EncodingError, having checked that nothing was appended and nothing is quoted."""
    before = twin.saver.log.head()
    with pytest.raises(EncodingError) as raised:
        call()
    assert twin.saver.log.head() == before
    assert SECRET not in str(raised.value)
    assert "Nothing was appended" in str(raised.value)
    assert isinstance(raised.value, EventLogError)
    assert isinstance(raised.value, TypeError)
    return raised.value


def test_put_names_channel_and_path(twin: Any, case: tuple[Any, str, str]) -> None:
    value, path, kind = case
    e = refused(twin, lambda: twin.put("2", {"good": SECRET, "odd": value}, parent="1"))
    assert (e.channel, e.path_in_value) == ("odd", path)
    assert f"odd{path} cannot be serialised: it is a " in str(e)
    assert f"{kind} (" in str(e)
    assert twin.get("2") is None


def test_put_writes_names_channel_and_path(twin: Any, case: tuple[Any, str, str]) -> None:
    value, path, _ = case
    e = refused(twin, lambda: twin.write("1", [("good", SECRET), ("odd", value)]))
    assert (e.channel, e.path_in_value) == ("odd", path)
    assert twin.writes("1") == []


METADATA: dict[str, tuple[dict[Any, Any], str]] = {
    "field": ({"a": SECRET, "k": LOCK}, "['k']"),
    "nested": ({"a": {"b": [SECRET, {"c": LOCK}]}}, "['a']['b'][1]['c']"),
    "inside an object": ({"a": Box(SECRET, [LOCK])}, "['a'].content[0]"),
    "tuple key": ({"a": {(SECRET, 1): 2}}, "['a'][<builtins.tuple>] (the key)"),
    "object key": ({"a": [{UUID(int=1): 2}]}, "['a'][0][<uuid.UUID>] (the key)"),
    "cycle": ({"c": cyclic()}, "['c']"),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_names_the_path(twin: Any, name: str) -> None:
    """A key that would not come back as it is, is refused as well."""
    metadata, path = METADATA[name]
    e = refused(twin, lambda: twin.put("2", {"x": 1}, metadata=metadata))
    assert (e.channel, e.path_in_value) == ("metadata", path)
    assert f"metadata{path}" in str(e)


@pytest.mark.parametrize("name", METADATA)
def test_a_threads_metadata_names_the_path(twin: Any, name: str) -> None:
    metadata, path = METADATA[name]
    for call in (
        lambda: twin.call("register_thread", "t", "name", metadata),
        lambda: twin.call("register_thread", "new", None, metadata),
        lambda: twin.call("fork_thread", twin.config(), "fork", metadata),
    ):
        e = refused(twin, call)
        assert (e.channel, e.path_in_value) == ("metadata", path)
    assert [info.name for info in twin.saver.threads()] == [None]


def test_odd_metadata_that_can_be_stored_comes_back(twin: Any) -> None:
    metadata = {
        "u": UUID(int=1),
        "d": {"n": 2**70, 3: "int", 2.5: None, True: "t", None: 0},
        "t": (1, [2]),
        "b": b"\xff",
    }
    twin.put("2", {"x": 1}, metadata=metadata)
    twin.call("register_thread", "t", None, metadata)
    expected = {**metadata, "t": [1, [2]]}
    assert twin.the("2").metadata == expected
    (info,) = twin.saver.threads()
    assert info.metadata == expected


def test_a_field_of_the_checkpoint_is_named(twin: Any) -> None:
    checkpoint = {**twin.checkpoint("2", {}, {}), "pending_sends": [LOCK]}
    e = refused(twin, lambda: twin.call("put", twin.config(), checkpoint, {}, {}))
    assert (e.channel, e.path_in_value) == ("checkpoint", "['pending_sends'][0]")
    checkpoint = {**twin.checkpoint("2", {}, {"a": LOCK})}
    e = refused(twin, lambda: twin.call("put", twin.config(), checkpoint, {}, {}))
    assert (e.channel, e.path_in_value) == ("channel_versions", "['a']")


@pytest.mark.parametrize("channel", [1, None, ("a secret",)])
def test_a_channel_that_is_no_str_is_refused_and_not_quoted(twin: Any, channel: Any) -> None:
    """It would be a record that no reader takes. With arguments mixed up, it is a value."""
    before = twin.saver.log.head()
    with pytest.raises(EncodingError, match="is not called by a str") as put:
        twin.put("2", {channel: 1})
    with pytest.raises(EncodingError, match="is not called by a str") as written:
        twin.write("1", [("x", 1), (channel, 1)])
    assert not any("secret" in f"{e.value} {e.value.channel}" for e in (put, written))
    assert twin.saver.log.head() == before


def test_after_an_error_the_saver_goes_on(twin: Any) -> None:
    """What was remembered of the parent is what was committed."""
    refused(twin, lambda: twin.put("2", {"x": 1, "odd": LOCK}, parent="1"))
    twin.put("2", {"x": 1, "odd": 2}, parent="1")
    assert twin.values("2") == {"x": 1, "odd": 2}


@pytest.mark.parametrize("config", [{}, None, {"configurable": {}}, {"configurable": {"thread_id": None}}])
def test_a_config_without_a_thread_is_a_config_error(twin: Any, config: Any) -> None:
    before = twin.saver.log.head()
    with pytest.raises(ConfigError, match="thread_id"):
        twin.call("put", config, twin.checkpoint("2", {}, {}), {}, {})
    with pytest.raises(ConfigError, match="thread_id"):
        twin.call("put_writes", config, [("x", 1)], "task")
    assert twin.saver.log.head() == before


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_an_id_that_no_column_takes_is_a_config_error(twin: Any, text: str) -> None:
    before = twin.saver.log.head()
    for call in (
        lambda: twin.put("2", thread=text),
        lambda: twin.put("2", ns=text),
        lambda: twin.put(text),
        lambda: twin.put("2", parent=text),
        lambda: twin.write(text, [("x", 1)]),
        lambda: twin.call("register_thread", text),
        lambda: twin.call("register_thread", "t", text),
        lambda: twin.call("fork_thread", twin.config(), text),
        lambda: twin.call("copy_thread", "t", text),
    ):
        with pytest.raises(ConfigError, match="lone surrogate"):
            call()
    assert twin.saver.log.head() == before
