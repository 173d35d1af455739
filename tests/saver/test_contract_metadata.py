"""The contract's traps 9 and 10: metadata, strings that are hard to store, and versions."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from langgraph.checkpoint.base import get_checkpoint_metadata

NASTY = [
    "a\x00b",
    "\x00",
    "lone \ud800",
    "\udfff",
    "\ud83d\ude00 as two halves",
    "pair \U0001f600",
    "\ufeff",
    "\u202e",
    "",
]


# 9. Metadata.


def test_metadata_of_the_config_and_its_scalars_are_merged_in(twin: Any) -> None:
    config = {
        "configurable": {
            "thread_id": "t",
            "checkpoint_ns": "",
            "user": "u",
            "n": 1,
            "flag": True,
            "ratio": 0.5,
            "step": "not this one",
            "__private": "no",
            "not a scalar": {"a": 1},
            "langgraph_node": "no",
        },
        "metadata": {"tag": "x", "source": "not this one", "nul": "a\x00b"},
    }
    metadata = {"source": "loop", "step": 3, "parents": {"": "0"}}
    twin.call("put", config, twin.checkpoint("1", {}, {}), metadata, {})
    expected = {"source": "loop", "step": 3, "parents": {"": "0"}}
    expected |= {"user": "u", "n": 1, "flag": True, "ratio": 0.5, "tag": "x", "nul": "ab"}
    assert twin.the("1").metadata == expected == get_checkpoint_metadata(config, metadata)
    assert [found.metadata for found in twin.list(None)] == [expected]
    assert metadata == {"source": "loop", "step": 3, "parents": {"": "0"}}


def test_nested_metadata_comes_back(twin: Any) -> None:
    metadata = {"a": [1, 2.5, None, True, "é", {"b": {}}], "big": 2**80, "bytes": b"\x00\xff", "": "empty key"}
    twin.put("1", metadata=metadata)
    assert twin.the("1").metadata == metadata


def test_objects_in_metadata_come_back(twin: Any) -> None:
    """What plain data cannot hold goes through the serializer."""
    metadata = {"id": uuid.UUID(int=7), "at": datetime(2026, 1, 1, tzinfo=UTC), "nested": {"ids": [uuid.UUID(int=8)]}}
    twin.put("1", metadata=metadata)
    assert twin.the("1").metadata == metadata
    assert twin.ids(filter={"nested.ids": [uuid.UUID(int=8)]}) == ["1"]


@pytest.mark.parametrize("nasty", NASTY, ids=ascii)
def test_nuls_and_lone_surrogates_never_make_a_put_fail(twin: Any, nasty: str) -> None:
    metadata = {"top": nasty, "nested": {"list": [nasty]}, f"key {nasty}": 1, "run_id": nasty}
    config = {"configurable": {"thread_id": "t", "scalar": nasty}, "metadata": {"tag": nasty}}
    checkpoint = {
        **twin.checkpoint("1", {f"c {nasty}": nasty, "d": {"k": [nasty]}}, {f"c {nasty}": nasty}),
        "ts": nasty,
    }
    twin.call("put", config, checkpoint, metadata, {})
    found = twin.the("1")
    assert found.metadata == get_checkpoint_metadata(config, metadata)
    assert found.checkpoint["channel_versions"] == {f"c {nasty}": nasty}
    assert found.checkpoint["ts"] == nasty
    # The serializer may replace what is not Unicode in a value. In the keys of a dict it refuses it.
    loads = twin.saver.serde.loads_typed(twin.saver.serde.dumps_typed({"v": nasty}))["v"]
    assert found.checkpoint["channel_values"] == {f"c {nasty}": loads, "d": {"k": [loads]}}
    twin.put("2", {"d": {"k": [nasty]}}, parent="1")
    assert twin.values("2") == {"d": {"k": [loads]}}


@pytest.mark.parametrize("nasty", NASTY, ids=ascii)
def test_nuls_and_lone_surrogates_never_make_put_writes_fail(twin: Any, nasty: str) -> None:
    twin.put("1")
    twin.write("1", [(f"c {nasty}", nasty)], task=f"task {nasty}", path=f"~path {nasty}")
    twin.write("1", [("d", 1)], task="other", path="a")
    loads = twin.saver.serde.loads_typed(twin.saver.serde.dumps_typed(nasty))
    assert twin.writes("1") == [("other", "d", 1), (f"task {nasty}", f"c {nasty}", loads)]
    twin.put("2", parent="1")
    assert twin.history("2", [f"c {nasty}"])[f"c {nasty}"]["writes"] == [(f"task {nasty}", f"c {nasty}", loads)]


def test_strings_that_are_hard_to_store_survive_a_copy_a_deletion_and_a_rebuild(twin: Any) -> None:
    for n, nasty in enumerate(NASTY):
        twin.put(str(n), {"v": 1}, metadata={"nested": [nasty], "run_id": nasty})
        twin.write(str(n), [("x", n)], task=nasty, path=nasty)
    twin.call("copy_thread", "t", "copy")
    before = [found.metadata["nested"] for found in twin.list(twin.config("copy"))]
    twin.call("delete_thread", "t")
    twin.call("rebuild")
    assert [found.metadata["nested"] for found in twin.list(None)] == before == [[nasty] for nasty in reversed(NASTY)]


# 10. Versions.


def test_versions_sort_as_strings(saver: Any) -> None:
    version = None
    versions = []
    for _ in range(1100):
        version = saver.get_next_version(version, None)
        versions.append(version)
    assert versions == sorted(versions)
    assert all(isinstance(version, str) for version in versions)
    assert versions[0] > ""


def test_versions_of_forks_differ(saver: Any) -> None:
    version = saver.get_next_version(None, None)
    assert len({saver.get_next_version(version, None) for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "current", [1, 41, "41", f"{41:032}.{0.5:016}", f"{41:032}", 41.5, 10**20, "7.1e-05"], ids=repr
)
def test_versions_go_on_from_those_of_other_savers(saver: Any, current: Any) -> None:
    number = int(str(current).split(".", maxsplit=1)[0])
    after = saver.get_next_version(current, None)
    assert int(after.split(".")[0]) == number + 1
    assert after > saver.get_next_version(number - 1, None)
    assert saver.get_next_version(after, None) > after


@pytest.mark.parametrize("version", [1, 1.5, "1", f"{1:032}.{0.25:016}"], ids=repr)
def test_versions_come_back_as_they_were_put(twin: Any, version: Any) -> None:
    twin.put("1", {"v": 1}, versions={"v": version, "w": version})
    found = twin.the("1").checkpoint["channel_versions"]
    assert found == {"v": version, "w": version}
    assert type(found["v"]) is type(version)
