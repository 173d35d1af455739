"""What an official saver stored is taken apart by bytes: it decodes to the same, and is as small as what is put."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph_eventlog.eventlog import Kind, Whole
from langgraph_eventlog.saver.decoder import Decoder
from langgraph_eventlog.saver.serialised import value_of_piece
from langgraph_eventlog.tools.moving.errors import SourceError
from langgraph_eventlog.tools.moving.importing import import_from, open_source
from langgraph_eventlog.tools.moving.source import SourceKey, parents_first
from langgraph_eventlog.tools.moving.taking_apart import microseconds, take_checkpoint_apart, value_of_json
from langgraph_eventlog.tools.opening import strict_serializer

from .official_shop import chat, of, official

SERDE = JsonPlusSerializer()
VALUES = {
    "none": None,
    "bytes": b"raw",
    "some bytes": b"x" * 300,
    "many bytes": b"x" * 70_000,
    "text": "é\U0001f600\0",
    "numbers": [1, True, 1.0, -0.0, 2**63, -(2**63)],
    "nested": {"a": {"b": [{}, [], ()]}},  # a tuple is read as a list by every saver
    "messages": [HumanMessage(f"{n} " * 50, id=str(n)) for n in range(30)],
    "set": {1, 2},
    "keys": {1: "one", "two": 2},
    "snapshot": _DeltaSnapshot([1, 2]),
}


def apart(blob: Whole) -> Any:
    return take_checkpoint_apart(SERDE, blob, checkpoint_id="1", parent_id=None, metadata=b"\x80")


def test_each_value_is_what_it_was() -> None:
    checkpoint = {
        "v": 4,
        "ts": "2025-01-01T00:00:00+00:00",
        "id": "1",
        "channel_values": VALUES,
        "channel_versions": {"a": "1", "b": 2, "c": 1.5},
        "versions_seen": {"node": {"a": "1"}},
        "updated_channels": ["a"],
        "pending_sends": [HumanMessage("sent", id="s")],
    }
    blob = SERDE.dumps_typed(checkpoint)
    taken, expected = apart(Whole(*blob)), SERDE.loads_typed(blob)
    decoder = Decoder(SERDE, None)
    decoded = {name: decoder.value(value) for name, value in taken.channels.items()}
    assert decoded == expected["channel_values"]
    assert [type(value) for value in decoded["numbers"]] == [int, bool, float, float, int, int]
    assert list(decoded) == list(VALUES)
    assert taken.frame == {"v": 4, "ts": "2025-01-01T00:00:00+00:00", "updated_channels": ["a"]}
    assert taken.channel_versions == checkpoint["channel_versions"]
    assert decoder.value(taken.rest) == {"pending_sends": [HumanMessage("sent", id="s")]}
    # As the serializer gives each by itself: so the next step of the thread finds what has not changed.
    assert all(taken.channels[name] == Whole(*SERDE.dumps_typed(VALUES[name])) for name in VALUES)


@pytest.mark.parametrize("value", [None, b"", b"x" * 255, b"x" * 256, b"x" * 65_536, "", 0, []])
def test_a_part_is_given_as_the_serializer_gives_it_alone(value: Any) -> None:
    packed = SERDE.dumps_typed([value])[1]
    assert value_of_piece(packed[1:]) == Whole(*SERDE.dumps_typed(value))


def test_json_of_the_first_releases_decodes_to_the_same() -> None:
    message = {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "HumanMessage"]}
    values = {
        "messages": [{**message, "kwargs": {"content": f"hi {n} " * 30, "id": str(n)}} for n in range(5)],
        "one": {**message, "kwargs": {"content": "hi"}},
        "plain": {"a": [1, 2.5, None, True, "\u00e9"]},
        "large": 2**70,
        "torn": "\ud800",
        "none": None,
    }
    blob = json.dumps({"v": 1, "id": "1", "channel_values": values, "pending_sends": [values["one"]]}).encode()
    expected = SERDE.loads_typed(("json", blob))
    taken, decoder = apart(Whole("json", blob)), Decoder(SERDE, None)
    assert {name: decoder.value(value) for name, value in taken.channels.items()} == expected["channel_values"]
    assert len(taken.channels["messages"]) == 5  # apart: a list that grows costs what it grows by
    assert decoder.value(taken.rest) == {"pending_sends": expected["pending_sends"]}
    assert value_of_json({"a": 1}) == Whole(*SERDE.dumps_typed({"a": 1}))


@pytest.mark.parametrize(
    "blob",
    [
        Whole("msgpack", b"\x93\x01\x02\x03"),
        Whole("msgpack", b"\x81\xa1"),
        Whole("msgpack", b"\x81\x01\x02"),
        Whole("msgpack", SERDE.dumps_typed({"channel_values": [1]})[1]),
        Whole("msgpack", b"\x81\xc7\x01\x05\x00\x01"),
        Whole("json", b"[1]"),
        Whole("json", b"{"),
        Whole("json", b'{"channel_values": 3}'),
        Whole("pickle", b"\x80"),
        Whole("msgpack+aes", b"x"),
        Whole("None", b""),
    ],
)
def test_what_is_no_checkpoint_is_refused_by_its_id(blob: Whole) -> None:
    with pytest.raises(SourceError, match="checkpoint '1'"):
        apart(blob)


def test_parents_come_before_children_and_circles_end() -> None:
    keys = [
        SourceKey("", "1", "3"),
        SourceKey("", "2", "1"),
        SourceKey("", "3", None),
        SourceKey("", "4", "5"),
        SourceKey("", "5", "4"),
        SourceKey("", "6", "6"),
        SourceKey("", "7", "gone"),
        SourceKey("sub", "3", "7"),
    ]
    ordered = list(parents_first(keys))
    assert sorted(ordered) == sorted(keys)
    assert [key.checkpoint_id for key in ordered if key.checkpoint_ns == ""] == ["3", "1", "2", "5", "4", "6", "7"]


@pytest.mark.parametrize(
    ("ts", "at"),
    [
        ("1970-01-01T00:00:01.000002+00:00", 1_000_002),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:01", 1_000_000),
        ("1969-01-01T00:00:00+00:00", None),
        ("yesterday", None),
        (None, None),
    ],
)
def test_the_time_of_a_checkpoint_is_read(ts: Any, at: int | None) -> None:
    assert microseconds(ts) == at


def documents(saver: Any) -> None:
    """Write a document again and again, each time with one sentence changed."""
    sentences = [f"Sentence {n} says {n * n} things about {n % 7} matters." for n in range(300)]
    parent: dict[str, Any] = {}
    for step in range(20):
        sentences[step * 7] = f"It was changed in step {step}."
        text = " ".join(sentences)
        if parent:
            saver.put_writes(of("docs", **parent), [("doc", {"text": text, "step": step})], f"task-{step}")
        checkpoint = {
            "v": 4,
            "ts": "2025-03-01T10:00:00+00:00",
            "id": f"{step:08}",
            "channel_values": {"doc": {"text": text, "step": step}},
            "channel_versions": {"doc": f"{step:032}.0"},
            "versions_seen": {},
        }
        saver.put(of("docs", **parent), checkpoint, {"source": "loop", "step": step}, {})
        parent = {"checkpoint_id": checkpoint["id"]}


@pytest.mark.parametrize("work", [lambda saver: chat(saver, "chat", 120), documents], ids=["chat", "documents"])
def test_what_is_imported_is_about_as_small_as_what_is_put(tmp_path: Path, make_saver: Any, work: Any) -> None:
    theirs, ours = official(tmp_path / "official.sqlite"), make_saver(tmp_path / "ours.db")
    work(theirs)
    work(ours)
    theirs.conn.close()
    serde = strict_serializer()
    imported = make_saver(tmp_path / "imported.db", serde=serde)
    with open_source(tmp_path / "official.sqlite", serde) as source:
        assert import_from(source, imported).differences == []

    def size(saver: Any) -> int:
        return sum(event.size for event in saver.log.read(kinds=[Kind.PUT, Kind.PUT_WRITES]))

    assert size(imported) <= 1.1 * size(ours)
