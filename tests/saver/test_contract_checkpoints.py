"""The contract's traps 3, 4 and 6: parents, the latest, and what configs name."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from langgraph_eventlog.eventlog.errors import ConfigError

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


def id_of(config: Any) -> str | None:
    return None if config is None else config["configurable"]["checkpoint_id"]


# 3. Parents.


def test_the_parent_is_the_one_in_the_config_not_the_newest(twin: Any) -> None:
    for id in ("1", "2", "3"):
        twin.put(id)
    twin.put("4", parent="1")
    assert twin.the("4").parent_config == twin.config("t", "1")
    assert twin.the("3").parent_config is None


def test_forks_have_the_same_parent(twin: Any) -> None:
    twin.put("1")
    for id in ("2", "3", "4"):
        twin.put(id, parent="1")
    assert [id_of(found.parent_config) for found in twin.list(twin.config("t"))] == ["1", "1", "1", None]


def test_a_parent_that_is_not_there_is_named_all_the_same(twin: Any) -> None:
    twin.put("2", parent="1")
    assert twin.the("2").parent_config == twin.config("t", "1")
    assert twin.get("1") is None


def test_a_child_may_be_put_before_its_parent(twin: Any) -> None:
    twin.put("2", {"v": "child"}, parent="1")
    twin.put("1", {"v": "parent"})
    assert twin.values("2") == {"v": "child"}
    assert twin.values("1") == {"v": "parent"}


def test_parents_stay_within_their_namespace(twin: Any) -> None:
    twin.put("1")
    twin.put("1", ns="child:1")
    twin.put("2", parent="1", ns="child:1")
    assert twin.the("2", ns="child:1").parent_config == twin.config("t", "1", "child:1")


def test_putting_an_id_again_replaces_what_is_read_back(twin: Any) -> None:
    twin.put("1", {"v": 1, "gone": 1}, metadata={"step": 1})
    twin.put("2", {"v": 2}, parent="1", metadata={"step": 2})
    twin.put("1", {"v": 3}, parent="2", metadata={"step": 3})
    found = twin.the("1")
    assert found.checkpoint["channel_values"] == {"v": 3}
    assert (found.metadata, id_of(found.parent_config)) == ({"step": 3}, "2")
    assert twin.values("2") == {"v": 2}
    assert twin.ids(twin.config("t")) == ["2", "1"]


@pytest.mark.parametrize("length", [1, 2, 5])
def test_every_walk_along_a_cycle_of_parents_ends(twin: Any, length: int) -> None:
    ids = [str(n) for n in range(1, length + 1)]
    for id in ids:
        twin.put(id)
    for n, id in enumerate(ids):
        twin.put(id, {"v": id}, parent=ids[n - 1], metadata={"run_id": "r"})
        twin.write(id, [("delta", id)])
    assert twin.history(ids[0], ["delta"])["delta"]["writes"] == [("task", "delta", id) for id in ids[1:]]
    assert twin.ids(twin.config("t")) == ids[::-1]
    twin.call("copy_thread", "t", "copy")
    twin.call("prune", ["copy"])
    assert twin.ids(twin.config("copy")) == [ids[-1]]
    twin.put("9", {"v": 9}, parent=ids[0], versions={"v": 9, "delta": 9})
    twin.call("delete_for_runs", ["r"])
    assert twin.ids(twin.config("t")) == ["9"]
    expected = [("task", "delta", id) for id in [*ids[1:], ids[0]]]
    assert twin.history("9", ["delta"])["delta"]["writes"] == expected
    twin.call("prune", ["t"])
    assert twin.history("9", ["delta"])["delta"]["writes"] == expected


# 4. The latest.


def test_the_latest_is_the_greatest_id_not_the_last_put(twin: Any) -> None:
    for id in ("2", "3", "1"):
        twin.put(id, {"v": id})
    assert twin.values() == {"v": "3"}


def test_ids_are_compared_as_strings(twin: Any) -> None:
    for id in ("9", "10", "Z", "a", "é"):
        twin.put(id)
    assert twin.ids(twin.config("t")) == ["é", "a", "Z", "9", "10"]
    assert id_of(twin.the().config) == "é"


def test_ids_beyond_the_basic_plane_sort_like_python_strings(twin: Any) -> None:
    ids = ["\uffff", "\U00010000", "z", "\x00", "z\x00a"]
    for id in ids:
        twin.put(id)
    assert twin.ids(twin.config("t")) == sorted(ids, reverse=True)
    assert id_of(twin.the().config) == max(ids)


def test_an_id_may_sort_below_its_parents(twin: Any) -> None:
    twin.put("5", {"v": "root"})
    twin.put("3", {"v": "child"}, parent="5")
    twin.put("4", {"v": "grandchild"}, parent="3")
    assert twin.values() == {"v": "root"}
    assert id_of(twin.the("4").parent_config) == "3"
    twin.write("5", [("d", "from 5")])
    twin.write("3", [("d", "from 3")])
    assert [w[2] for w in twin.history("4", ["d"])["d"]["writes"]] == ["from 5", "from 3"]


def test_an_empty_checkpoint_id_means_the_latest(twin: Any) -> None:
    for id in ("2", "3", "1"):
        twin.put(id)
    assert id_of(twin.the("").config) == "3"
    assert twin.ids(twin.config("t", "")) == ["3", "2", "1"]
    twin.put("4", parent="")
    assert twin.the("4").parent_config is None
    twin.write("3", [("d", 1)])
    twin.put("5", parent="3")
    assert twin.history("", ["d"])["d"]["writes"] == [("task", "d", 1)]


def test_each_namespace_has_its_own_latest(twin: Any) -> None:
    twin.put("9", ns="child:1")
    twin.put("1")
    assert id_of(twin.the().config) == "1"
    assert twin.the(ns="child:1").config == twin.config("t", "9", "child:1")
    assert twin.get(ns="child:2") is None


def test_the_latest_is_found_again_after_the_greatest_id_was_deleted(twin: Any) -> None:
    twin.put("3", metadata={"run_id": "r"})
    twin.put("1")
    twin.put("2")
    twin.call("delete_for_runs", ["r"])
    assert id_of(twin.the().config) == "2"


# 6. Configs.


def test_put_gives_the_config_that_names_the_checkpoint(twin: Any) -> None:
    assert twin.put("1", ns="child:1") == twin.config("t", "1", "child:1")
    assert twin.put("2", parent="1", thread=7) == {
        "configurable": {"thread_id": 7, "checkpoint_ns": "", "checkpoint_id": "2"}
    }


def test_put_leaves_the_callers_config_as_it_was(twin: Any) -> None:
    config = {**twin.config("t", "0"), "metadata": {"m": 1}}
    before = {"configurable": dict(config["configurable"]), "metadata": {"m": 1}}
    returned = twin.call("put", config, twin.checkpoint("1", {}, {}), {}, {})
    returned["configurable"]["thread_id"] = "another"
    assert config == before


def test_a_missing_namespace_is_the_empty_one(twin: Any) -> None:
    bare = {"configurable": {"thread_id": "t"}}
    config = twin.call("put", bare, twin.checkpoint("1", {"v": 1}, {}), {}, {})
    assert config == twin.config("t", "1", "")
    assert twin.call("get_tuple", bare).config == config
    twin.call("put_writes", {"configurable": {"thread_id": "t", "checkpoint_id": "1"}}, [("x", 1)], "task")
    assert twin.writes("1") == [("task", "x", 1)]


def test_a_namespace_of_none_is_the_empty_one(twin: Any) -> None:
    config = {"configurable": {"thread_id": "t", "checkpoint_ns": None}}
    twin.call("put", config, twin.checkpoint("1", {}, {}), {}, {})
    assert twin.call("get_tuple", config).config == twin.config("t", "1", "")


def test_unknown_threads_namespaces_and_ids_give_nothing(twin: Any) -> None:
    twin.put("1")
    assert twin.get("2") is None
    assert twin.get(thread="u") is None
    assert twin.get(ns="child:1") is None
    assert twin.ids(twin.config("u")) == []
    assert twin.history("1", ["x"], thread="u") == {"x": {"writes": []}}
    assert twin.call("get", twin.config("u")) is None


def test_get_gives_the_checkpoint_of_the_tuple(twin: Any) -> None:
    twin.put("1", {"v": 1})
    assert twin.call("get", twin.config("t")) == twin.the("1").checkpoint


@pytest.mark.parametrize(
    ("put_as", "read_as"),
    [(1, "1"), ("1", 1), (UUID, str(UUID)), (str(UUID), UUID), (UUID, UUID), (1, 1), (0, "0")],
    ids=repr,
)
def test_thread_ids_compare_as_text_in_every_method(twin: Any, put_as: Any, read_as: Any) -> None:
    twin.put("1", {"v": 1}, thread=put_as, metadata={"run_id": "r1"})
    twin.write("1", [("x", 1)], thread=read_as)
    twin.put("2", {"v": 1}, parent="1", thread=read_as)
    assert twin.values(thread=read_as) == {"v": 1}
    assert twin.writes("1", thread=put_as) == [("task", "x", 1)]
    assert twin.ids(twin.config(read_as)) == ["2", "1"]
    assert twin.history("2", ["x"], thread=read_as)["x"]["writes"] == [("task", "x", 1)]
    twin.call("copy_thread", read_as, "copy")
    assert twin.ids(twin.config("copy")) == ["2", "1"]
    twin.call("prune", [read_as])
    assert twin.ids(twin.config(put_as)) == ["2"]
    twin.call("delete_thread", read_as)
    assert twin.get(thread=put_as) is None
    twin.call("copy_thread", "copy", read_as)
    assert twin.ids(twin.config(put_as)) == ["2", "1"]


def test_run_ids_compare_as_text(twin: Any) -> None:
    for n, (stored, asked) in enumerate([(7, "7"), ("8", 8), (str(UUID), UUID)]):
        twin.put("1", thread=n, metadata={"run_id": stored})
        twin.call("delete_for_runs", [asked])
        assert twin.get(thread=n) is None


def test_configs_that_are_read_back_repeat_the_thread_id_as_it_was_given(twin: Any) -> None:
    twin.put("1", thread=7)
    twin.put("2", parent="1", thread="7")
    for given in (7, "7"):
        found = twin.the("2", thread=given)
        assert found.config == twin.config(given, "2")
        assert found.parent_config == twin.config(given, "1")
        assert [f.config for f in twin.list(twin.config(given))] == [twin.config(given, id) for id in ("2", "1")]


def test_ids_with_nuls_quotes_and_wildcards_are_just_ids(twin: Any) -> None:
    strange = ["a", "a\x00", "a\x00b", "a'; DROP TABLE event; --", "%", "_", "*", "é", "e\u0301", "A", " a"]
    for n, id in enumerate(strange):
        twin.put(id, {"v": n}, thread=id, ns=id)
        twin.write(id, [(id, n)], task=id, path=id, thread=id, ns=id)
    for n, id in enumerate(strange):
        assert twin.values(thread=id, ns=id) == {"v": n}
        assert twin.writes(id, thread=id, ns=id) == [(id, id, n)]
        assert twin.ids(twin.config(id, ns=None)) == [id]


CONFIGS_WITHOUT_THREAD: list[Any] = [
    {},
    {"configurable": {}},
    {"configurable": None},
    {"configurable": {"checkpoint_id": "1", "checkpoint_ns": ""}},
    {"configurable": {"thread_id": None, "checkpoint_id": "1"}},
]


@pytest.mark.parametrize("config", CONFIGS_WITHOUT_THREAD, ids=repr)
def test_a_missing_thread_id_is_a_clear_error_in_every_method(twin: Any, config: Any) -> None:
    def error() -> Any:
        return pytest.raises(ConfigError, match="thread_id")

    with error():
        twin.call("put", config, twin.checkpoint("1", {}, {}), {}, {})
    with error():
        twin.call("put_writes", config, [("x", 1)], "task")
    with error():
        twin.call("put_writes", config, [], "task")
    with error():
        twin.call("get_tuple", config)
    with error():
        twin.call("get", config)
    with error():
        twin.list(config)
    with error():
        twin.call("get_delta_channel_history", config=config, channels=["x"])
    with error():
        twin.call("fork_thread", config, "u")
    assert twin.ids() == []


@pytest.mark.parametrize("key", ["thread_id", "checkpoint_ns", "checkpoint_id"])
def test_an_id_that_no_database_can_hold_is_a_clear_error(twin: Any, key: str) -> None:
    named = {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "1", key: "lone \ud800 surrogate"}
    config = {"configurable": named}
    with pytest.raises(ConfigError, match=f"{key}.*surrogate"):
        twin.call("put_writes", config, [("x", 1)], "task")
    with pytest.raises(ConfigError, match=f"{key}.*surrogate"):
        twin.call("get_tuple", config)


def test_a_checkpoint_without_an_id_is_a_clear_error(twin: Any) -> None:
    checkpoint = twin.checkpoint("1", {}, {})
    del checkpoint["id"]
    with pytest.raises(ConfigError, match="no id"):
        twin.call("put", twin.config("t"), checkpoint, {}, {})
