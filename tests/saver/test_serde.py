"""What the serializer gives back is what the saver gives back: nothing added, nothing lost."""

from __future__ import annotations

import dataclasses
import os
import re
import struct
import subprocess
import sys
import textwrap
from collections import deque
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path, PosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.store.base import Item
from langgraph.types import Command, Interrupt, Send
from langgraph_eventlog.eventlog import EncodingError, Put, Whole
from langgraph_eventlog.saver import EventLogSaver
from pydantic import BaseModel, ConfigDict


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int
    y: list[int]


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    inner: Point


class Inner(BaseModel):
    tags: list[str]


class Outer(BaseModel):
    model_config = ConfigDict(extra="allow")

    inner: Inner
    when: datetime


MESSAGES = {
    "human": HumanMessage("hello \x00 \U0001f600", id="h1", name="ann"),
    "human blocks": HumanMessage([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "b"}}]),
    "system": SystemMessage("be brief"),
    "ai": AIMessage(
        "calling",
        id="a1",
        tool_calls=[{"name": "search", "args": {"q": "x", "n": 1}, "id": "c1", "type": "tool_call"}],
        invalid_tool_calls=[{"name": "s", "args": "{", "id": "c2", "error": "bad", "type": "invalid_tool_call"}],
        usage_metadata={
            "input_tokens": 3,
            "output_tokens": 4,
            "total_tokens": 7,
            "input_token_details": {"cache_read": 1},
        },
        response_metadata={"model": "m", "logprobs": None},
        additional_kwargs={"k": [1, 2.5, None]},
    ),
    "ai chunk": AIMessageChunk("part", id="a2"),
    "tool": ToolMessage("42", tool_call_id="c1", artifact={"raw": [1, 2]}, status="error", name="search"),
    "function": FunctionMessage("1", name="f"),
    "chat": ChatMessage("hi", role="critic"),
    "remove": RemoveMessage(id="h1"),
    "document": Document("text", metadata={"page": 3}, id="d1"),
}
ARRAYS = {
    "array C": np.arange(6, dtype=np.float32).reshape(2, 3),
    "array F": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "array strided": np.arange(20)[::3],
    "array transposed": np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
    "array empty": np.zeros((0, 3), dtype=np.int8),
    "array scalar": np.array(7.5),
    "array bool": np.array([[True], [False]]),
    "array big-endian": np.array([1, 2], dtype=">i4"),
}
STANDARD = {
    "datetime naive": datetime(2026, 1, 2, 3, 4, 5, 678),
    "datetime utc": datetime(2026, 1, 2, tzinfo=UTC),
    "datetime offset": datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    "datetime zone": datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")),
    "date": date(1, 1, 1),
    "time": time(23, 59, 59, 999_999, tzinfo=UTC),
    "timedelta": timedelta(days=-3, microseconds=1),
    "zone": ZoneInfo("UTC"),
    "set": {1, 2, 3},
    "set empty": set(),
    "frozenset": frozenset({"a", "b"}),
    "deque": deque([1, 2], maxlen=5),
    "decimal": Decimal("1.10"),
    "decimal nan": Decimal("-0E-5"),
    "enum": Colour.RED,
    "int enum": Level.HIGH,
    "uuid": UUID(int=2**127 + 5),
    "path": Path("/a/b"),
    "path relative": PosixPath("x/../y"),
    "pattern": re.compile(r"a+(?P<n>b)", re.IGNORECASE | re.DOTALL),
    "ipv4": ip_address("10.0.0.1"),
    "ipv6 interface": ip_interface("2001:db8::1/64"),
    "network": ip_network("10.0.0.0/8"),
    "bytes": b"\x00\xff",
    "bytes empty": b"",
    "bytearray": bytearray(b"\x80abc"),
    "none": None,
    "true": True,
    "max int": 2**64 - 1,
    "min int": -(2**63),
    "nan": float("nan"),
    "inf": float("-inf"),
    "minus zero": -0.0,
    "subnormal": 5e-324,
    "str": "a\x00\u2028\U0010ffff",
    "tuple": (1, ("a", None)),
    "keys": {1: "a", "1": "b", 2.5: None, False: 0, None: 1},
    "order": {"z": 1, "a": 2},
}
GRAPH = {
    "send": Send("node", {"x": [1]}),
    "interrupt": Interrupt(value={"ask": ["?"]}, id="i1"),
    "command": Command(update={"a": 1}, goto="n", resume="yes"),
    "item": Item(
        value={"v": 1},
        key="k",
        namespace=("a", "b"),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        updated_at=datetime(2026, 1, 2, tzinfo=UTC),
    ),
    "dataclass": Point(1, [2]),
    "frozen slots": Frozen("n", Point(0, [])),
    "pydantic": Outer(inner=Inner(tags=["a"]), when=datetime(2026, 1, 1, tzinfo=UTC), more={"b": 1}),
    "deep": {"a": [{"b": (Point(1, [2]), {"c": Inner(tags=[])})}]},
}
VALUES: dict[str, Any] = {**MESSAGES, **ARRAYS, **STANDARD, **GRAPH}


def same(a: Any, b: Any) -> bool:
    """The same type and content; NaN is NaN, and 0.0 is not -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        flags = a.flags.f_contiguous == b.flags.f_contiguous
        return a.dtype == b.dtype and a.shape == b.shape and flags and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(p, q) for p, q in zip(a.items(), b.items(), strict=True))
    if isinstance(a, list | tuple | deque):
        return len(a) == len(b) and all(same(p, q) for p, q in zip(a, b, strict=True))
    if isinstance(a, Decimal):
        return str(a) == str(b)
    return bool(a == b)


def as_serde_makes_it(value: Any) -> Any:
    serde = JsonPlusSerializer()
    return serde.loads_typed(serde.dumps_typed(value))


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_as_the_serializer_makes_it(make_saver: Any, name: str, twin_of: Any) -> None:
    """In a channel, inside of a list and dict, as a write, and as a write of LangGraph's own."""
    twin, value = twin_of(make_saver(":memory:")), VALUES[name]
    twin.put("1", {"x": value, "y": [{"z": value}]})
    twin.write("1", [("x", value), ("__error__", [value])])
    expected = as_serde_makes_it(value)
    found = twin.values("1")
    assert same(found["x"], expected)
    assert same(found["y"], [{"z": as_serde_makes_it([value])[0]}])
    assert all(
        same(got, want)
        for (_, _, got), want in zip(twin.writes("1"), [as_serde_makes_it([value]), expected], strict=True)
    )


def test_all_values_at_once_come_back_from_the_file(make_saver: Callable[..., EventLogSaver], twin_of: Any) -> None:
    twin = twin_of(make_saver())
    twin.put("1", VALUES)
    twin.write("1", list(VALUES.items()))
    twin.put("2", VALUES, parent="1")
    twin.saver.close()
    twin = twin.on(make_saver())
    for id in "12":
        found = twin.values(id)
        assert list(found) == list(VALUES)
        assert [name for name in VALUES if not same(found[name], as_serde_makes_it(VALUES[name]))] == []
    written = {channel: value for _, channel, value in twin.writes("1")}
    assert [name for name in VALUES if not same(written[name], as_serde_makes_it(VALUES[name]))] == []


@pytest.mark.parametrize("name", ["ai", "pydantic", "frozen slots", "enum", "array F", "pattern", "command"])
def test_the_comparison_is_with_real_objects(name: str) -> None:
    """Were these types not reconstructed, the tests above would compare what has been lost on both sides."""
    assert same(as_serde_makes_it(VALUES[name]), VALUES[name])


def test_what_comes_back_is_new_each_time(sync_twin: Any) -> None:
    value = {"a": [Point(1, [2])]}
    sync_twin.put("1", {"x": value})
    first = sync_twin.values("1")["x"]
    first["a"][0].y.append(3)
    value["a"].clear()
    assert sync_twin.values("1")["x"] == {"a": [Point(1, [2])]}


def test_a_bytearray_may_change_after_the_call(sync_twin: Any) -> None:
    value = bytearray(b"before")
    sync_twin.put("1", {"x": value})
    sync_twin.write("1", [("x", value)])
    value[:] = b"after!"
    assert sync_twin.values("1")["x"] == b"before"
    assert sync_twin.writes("1")[0][2] == b"before"


def test_pickle_fallback_stores_what_msgpack_cannot(make_saver: Callable[..., EventLogSaver], twin_of: Any) -> None:
    twin = twin_of(make_saver(serde=JsonPlusSerializer(pickle_fallback=True)))
    twin.put("1", {"x": 1 + 2j, "y": {"z": range(3)}, "w": 1})
    twin.write("1", [("x", 3j)])
    twin.put("2", {"x": 1 + 2j, "y": {"z": range(4)}, "w": 1}, parent="1")
    assert twin.values("1") == {"x": 1 + 2j, "y": {"z": range(3)}, "w": 1}
    assert twin.values("2")["y"] == {"z": range(4)}
    assert twin.writes("1") == [("task", "x", 3j)]
    tags = {name: value.tag for name, value in twin.saver.log.values(next(twin.saver.log.read())).items()}
    assert tags == {"x": "pickle", "y": "pickle", "w": "msgpack"}


def test_without_pickle_fallback_such_a_value_is_an_encoding_error(sync_twin: Any) -> None:
    with pytest.raises(EncodingError, match="x"):
        sync_twin.put("1", {"x": 1 + 2j})


class Reversing:
    """A serializer of the old kind: dumps and loads, without a type tag."""

    def dumps(self, obj: Any) -> bytes:
        return repr(obj).encode()[::-1]

    def loads(self, data: bytes) -> Any:
        return eval(data[::-1])


def test_an_untyped_serde_works(make_saver: Callable[..., EventLogSaver], twin_of: Any) -> None:
    twin = twin_of(make_saver(serde=Reversing()))
    twin.put("1", {"x": {1, 2}, "y": [1 + 2j]})
    twin.write("1", [("x", ...)])
    twin.put("2", {"x": {1, 2}, "y": []}, parent="1")
    assert twin.values("2") == {"x": {1, 2}, "y": []}
    assert twin.writes("1") == [("task", "x", ...)]
    put = next(twin.saver.log.read()).data
    assert isinstance(put, Put)
    assert put.channels["y"] == Whole("list", repr([1 + 2j]).encode()[::-1])


class Marking(JsonPlusSerializer):
    """Tags what it makes, and reads nothing else."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        tag, data = super().dumps_typed(obj)
        return f"mine-{tag}", data

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        return super().loads_typed((data[0].removeprefix("mine-"), data[1]))


def test_a_serde_replaced_after_construction_is_used_from_then_on(twin: Any) -> None:
    """Nothing is carried over from the old one, and what the old one stored is still there."""
    twin.put("1", {"x": [1, 2], "y": None})
    twin.saver.serde = Marking()
    twin.put("2", {"x": [1, 2], "y": None}, parent="1")
    twin.put("3", {"x": [1, 2], "y": None}, parent="2")
    twin.write("3", [("x", "w")])
    second, third = (event.data for event in twin.saver.log.read(after=1, limit=2))
    assert isinstance(second, Put)
    assert isinstance(third, Put)
    assert {name: value.tag for name, value in second.channels.items()} == {"x": "mine-msgpack", "y": "mine-null"}
    assert {value.base for value in third.channels.values()} == {2}
    assert twin.values("1") == twin.values("2") == twin.values("3") == {"x": [1, 2], "y": None}
    assert twin.writes("3") == [("task", "x", "w")]


STRICT = """
    import dataclasses, sys
    from langgraph_eventlog.saver import EventLogSaver
    from shapes import Shape, Other

    config = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "1"}}
    plain = {"side": 2}
    with EventLogSaver(sys.argv[1]) as saver:
        def x(of): return of.get_tuple(config).checkpoint["channel_values"]
        def w(of): return [value for _, _, value in of.get_tuple(config).pending_writes]
        assert x(saver) == {"x": plain, "y": plain}, x(saver)
        assert w(saver) == [plain, plain]
        one = saver.with_allowlist([("shapes", "Shape")])
        two = saver.with_allowlist([("shapes", "Other")])
        for _ in range(2):
            assert x(one) == {"x": Shape(2), "y": plain} and w(one) == [Shape(2), plain]
            assert x(two) == {"x": plain, "y": Other(2)} and w(two) == [plain, Other(2)]
            assert x(saver) == {"x": plain, "y": plain}
        assert x(one)["x"] is not x(one)["x"]
        values = {"x": Shape(2), "y": Other(2)}
        for id, of in (("2", one), ("3", two), ("4", saver)):
            checkpoint = {**of.get_tuple(config).checkpoint, "id": id, "channel_values": values}
            of.put(config, checkpoint, {}, {})
        config["configurable"]["checkpoint_id"] = "4"
        assert x(one) == {"x": Shape(2), "y": plain}
        assert list(saver.log.verify()) == []
        one.close()
        assert saver.log.closed and two.log.closed
    print("well")
"""


def test_strict_msgpack_gives_plain_data_and_an_allowlist_admits_types(tmp_path: Path, make_saver: Any) -> None:
    """Clones with different allowlists over one file never get objects of each other's."""
    (tmp_path / "shapes.py").write_text(
        "import dataclasses\n"
        "@dataclasses.dataclass\nclass Shape:\n    side: int\n"
        "@dataclasses.dataclass\nclass Other:\n    side: int\n"
    )
    write = """
        import sys
        from langgraph.checkpoint.base import empty_checkpoint
        from langgraph_eventlog.saver import EventLogSaver
        from shapes import Shape, Other
        config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        with EventLogSaver(sys.argv[1]) as saver:
            values = {"x": Shape(2), "y": Other(2)}
            put = saver.put(config, {**empty_checkpoint(), "id": "1", "channel_values": values}, {}, {})
            saver.put_writes(put, list(values.items()), "task")
        print("well")
    """
    for script, strict in ((write, "false"), (STRICT, "true")):
        done = subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", "-c", textwrap.dedent(script), str(tmp_path / "agent.db")],
            env={
                **os.environ,
                "LANGGRAPH_STRICT_MSGPACK": strict,
                "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "well\n", done.stderr
    make_saver().close()
