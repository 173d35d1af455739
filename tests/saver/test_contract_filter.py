"""The contract's trap 8: metadata filters."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph_eventlog.eventlog.errors import ConfigError


def put_all(twin: Any, *metadata: dict[str, Any]) -> None:
    """Put one checkpoint for each metadata: "0", "1", and so on."""
    for n, each in enumerate(metadata):
        twin.put(str(n), metadata=each)


def found(twin: Any, filter: dict[str, Any] | None, **options: Any) -> list[str]:
    """The same through a thread's list and through all threads'."""
    ids = twin.ids(twin.config("t"), filter=filter, **options)
    assert twin.ids(None, filter=filter, **options) == ids
    return ids[::-1]


def test_every_key_must_match(twin: Any) -> None:
    put_all(twin, {"source": "loop", "step": 1}, {"source": "loop", "step": 2}, {"source": "input", "step": 1})
    assert found(twin, {"source": "loop"}) == ["0", "1"]
    assert found(twin, {"source": "loop", "step": 1}) == ["0"]
    assert found(twin, {"source": "loop", "step": 3}) == []
    assert found(twin, {"source": "loop", "other": "x"}) == []


@pytest.mark.parametrize("filter", [None, {}], ids=repr)
def test_an_empty_filter_matches_everything(twin: Any, filter: Any) -> None:
    put_all(twin, {"a": 1}, {})
    assert found(twin, filter) == ["0", "1"]


def test_dots_reach_into_nested_metadata(twin: Any) -> None:
    put_all(twin, {"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, {"a": {"b": 1}}, {"a": 1}, {})
    assert found(twin, {"a.b.c": 1}) == ["0"]
    assert found(twin, {"a.b": 1}) == ["2"]
    assert found(twin, {"a.b": {"c": 2}}) == ["1"]
    assert found(twin, {"a.b.c": None}) == ["2", "3", "4"]


@pytest.mark.parametrize("key", ["with-hyphen", "2nd", "007", "under_score", "Upper", "-", "a-1_b"])
def test_hyphens_digits_and_the_like_are_fine_in_keys(twin: Any, key: str) -> None:
    put_all(twin, {key: 1, "n": {key: 1}}, {key: 2, "n": {key: 2}}, {"n": {}})
    assert found(twin, {key: 1}) == ["0"]
    assert found(twin, {f"n.{key}": 2}) == ["1"]


@pytest.mark.parametrize(
    "key",
    [
        "it's",
        'say "x"',
        "a b",
        "a;b",
        "a)",
        "$.a",
        "a[0]",
        "a' OR '1'='1",
        "",
        "a\x00",
        "a\n",
        "é",
        "a/*",
        "\ud800",
        1,
        None,
    ],
    ids=ascii,
)
def test_quotes_and_the_like_in_keys_are_a_value_error(twin: Any, key: Any) -> None:
    put_all(twin, {"a": 1})
    with pytest.raises(ValueError, match="filter key"):
        twin.list(twin.config("t"), filter={key: 1})
    with pytest.raises(ConfigError):
        twin.list(None, filter={"a": 1, key: 1}, limit=1)
    assert found(twin, {"a": 1}) == ["0"]


@pytest.mark.parametrize(
    "value", ["' OR 1=1 --", '"', "%", "_", "*", "a\x00b", "\ud800", "é", "'); DELETE FROM event; --"]
)
def test_values_are_values_whatever_they_look_like(twin: Any, value: str) -> None:
    nested = {"v": value}  # nested: NULs at the top level are taken out by LangGraph's own get_checkpoint_metadata
    put_all(twin, {"n": nested}, {"n": {"v": "x"}}, {})
    assert found(twin, {"n.v": value}) == ["0"]
    assert found(twin, {"n": nested}) == ["0"]


def test_none_matches_null_and_absent(twin: Any) -> None:
    put_all(twin, {"a": None}, {}, {"a": 0}, {"a": ""}, {"a": False}, {"a": {}}, {"a": "None"})
    assert found(twin, {"a": None}) == ["0", "1"]


@pytest.mark.parametrize(
    ("wanted", "others"),
    [
        (1, ["1", 2, None, [1]]),
        ("1", [1, 1.5, "1.0", "01", None]),
        (None, ["null", 0, "", False]),
        ("true", [True, "True"]),
        (True, ["true", "1", 0]),
        ([], [None, {}, "[]"]),
        ({}, [None, [], "{}"]),
        (1.5, ["1.5", 1]),
        (2**70, [str(2**70), 2**70 + 1]),
        (-1, [1, "-1"]),
    ],
    ids=repr,
)
def test_values_compare_as_values_not_as_text(twin: Any, wanted: Any, others: list[Any]) -> None:
    put_all(twin, {"a": wanted}, *({"a": other} for other in others))
    assert found(twin, {"a": wanted}) == ["0"]


def test_dicts_compare_whatever_their_key_order(twin: Any) -> None:
    put_all(twin, {"a": {"x": 1, "y": {"p": 1, "q": 2}}}, {"a": {"x": 1, "y": {"p": 1}}}, {"a": {"x": 1}})
    assert found(twin, {"a": {"y": {"q": 2, "p": 1}, "x": 1}}) == ["0"]
    assert found(twin, {"a": {"x": 1}}) == ["2"]


def test_lists_compare_in_their_order_and_like_tuples(twin: Any) -> None:
    put_all(twin, {"a": [1, 2]}, {"a": [2, 1]}, {"a": [1, 2, 3]}, {"a": (1, 2)}, {"a": [1, [2]]})
    assert found(twin, {"a": [1, 2]}) == ["0", "3"]
    assert found(twin, {"a": (1, 2)}) == ["0", "3"]
    assert found(twin, {"a": [1, (2,)]}) == ["4"]


def test_what_config_merged_into_metadata_can_be_filtered_by(twin: Any) -> None:
    config = {"configurable": {"thread_id": "t", "user-id": "u1", "n": 3}, "metadata": {"tag": "x"}}
    twin.call("put", config, twin.checkpoint("1", {}, {}), {"step": 1}, {})
    twin.put("2", metadata={"step": 1})
    assert found(twin, {"user-id": "u1", "n": 3, "tag": "x", "step": 1}) == ["1"]


def test_a_filter_combines_with_config_before_and_limit(twin: Any) -> None:
    for n in range(40):
        twin.put(f"{n:02}", thread=f"t{n % 2}", ns="" if n % 4 < 2 else "child", metadata={"third": n % 3})
    expected = [f"{n:02}" for n in reversed(range(40)) if n % 2 == 0 and n % 4 == 0 and n % 3 == 1 and n < 30]
    options = {"filter": {"third": 1}, "before": twin.config("t1", "30")}
    assert twin.ids(twin.config("t0"), **options) == expected
    assert twin.ids(twin.config("t0"), **options, limit=2) == expected[:2]
    assert twin.ids(twin.config("t0", expected[0]), **options) == expected[:1]
    assert twin.ids(twin.config("t0", "02", ns=None), **options) == []


def test_a_filter_matches_what_is_read_back_after_a_second_put(twin: Any) -> None:
    put_all(twin, {"a": 1})
    put_all(twin, {"a": 2})
    assert found(twin, {"a": 1}) == []
    assert found(twin, {"a": 2}) == ["0"]
