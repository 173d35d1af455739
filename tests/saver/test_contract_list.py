"""The contract's trap 7: list."""

from __future__ import annotations

import asyncio
from typing import Any

import apsw
import pytest
from langgraph_eventlog.saver import EventLogSaver

MANY = 150  # more than several pages, which grow from 8 to 64


def ids_of(tuples: Any) -> list[str]:
    return [found.config["configurable"]["checkpoint_id"] for found in tuples]


def places_of(tuples: Any) -> list[tuple[str, str, str]]:
    keys = ("checkpoint_id", "thread_id", "checkpoint_ns")
    return [tuple(found.config["configurable"][key] for key in keys) for found in tuples]


@pytest.fixture
def filled(twin: Any) -> Any:
    """Two threads; one with two namespaces more. Ids go up across all of them."""
    twin.put("1", thread="a")
    twin.put("2", thread="b")
    twin.put("3", thread="a", ns="child:1")
    twin.put("4", thread="a", parent="1")
    twin.put("5", thread="a", ns="child:2")
    twin.put("6", thread="b", parent="2")
    twin.put("7", thread="a", ns="child:1", parent="3")
    return twin


def test_no_config_lists_all_threads_and_namespaces_newest_first(filled: Any) -> None:
    assert filled.ids(None) == ["7", "6", "5", "4", "3", "2", "1"]


def test_a_config_without_namespace_lists_all_namespaces_newest_first(filled: Any) -> None:
    assert filled.ids(filled.config("a", ns=None)) == ["7", "5", "4", "3", "1"]
    assert filled.ids(filled.config("b", ns=None)) == ["6", "2"]


def test_a_namespace_in_the_config_narrows_to_it(filled: Any) -> None:
    assert filled.ids(filled.config("a", ns="")) == ["4", "1"]
    assert filled.ids(filled.config("a", ns="child:1")) == ["7", "3"]
    assert filled.ids(filled.config("a", ns="child:3")) == []


def test_a_checkpoint_id_in_the_config_narrows_to_it(filled: Any) -> None:
    assert filled.ids(filled.config("a", "4")) == ["4"]
    assert filled.ids(filled.config("a", "3", ns=None)) == ["3"]
    assert filled.ids(filled.config("a", "3", ns="")) == []
    assert filled.ids(filled.config("b", "4", ns=None)) == []


def test_a_checkpoint_id_is_found_in_every_namespace_that_has_it(twin: Any) -> None:
    for ns in ("", "child:1", "child:2"):
        twin.put("1", ns=ns)
    found = places_of(twin.list(twin.config("t", "1", ns=None)))
    assert sorted(found) == [("1", "t", ""), ("1", "t", "child:1"), ("1", "t", "child:2")]
    assert len(twin.list(twin.config("t", "1", ns=None), limit=2)) == 2


def test_ids_put_in_any_order_are_listed_by_id(twin: Any) -> None:
    for id in ("05", "09", "01", "07", "03"):
        twin.put(id, thread=int(id) % 4)
    assert twin.ids(None) == ["09", "07", "05", "03", "01"]


def test_before_is_strict(filled: Any) -> None:
    assert filled.ids(filled.config("a", ns=None), before=filled.config("a", "5")) == ["4", "3", "1"]
    assert filled.ids(None, before=filled.config("a", "1")) == []


def test_before_applies_across_threads_and_namespaces(filled: Any) -> None:
    assert filled.ids(None, before=filled.config("a", "4")) == ["3", "2", "1"]
    assert filled.ids(filled.config("b"), before=filled.config("a", "4")) == ["2"]
    assert filled.ids(None, before=filled.config("a", "5", ns="child:2")) == ["4", "3", "2", "1"]


def test_before_takes_ids_that_are_not_there(filled: Any) -> None:
    assert filled.ids(None, before=filled.config("nobody", "35")) == ["3", "2", "1"]
    assert filled.ids(None, before={"configurable": {"checkpoint_id": "3"}}) == ["2", "1"]


def test_before_leaves_out_every_namespace_of_the_same_id(twin: Any) -> None:
    for ns in ("", "child:1"):
        twin.put("1", ns=ns)
        twin.put("2", ns=ns)
    assert twin.ids(None, before=twin.config("t", "2")) == ["1", "1"]
    assert twin.ids(twin.config("t", "2"), before=twin.config("t", "2")) == []
    assert twin.ids(twin.config("t", "1"), before=twin.config("t", "2")) == ["1"]


@pytest.mark.parametrize(
    "before",
    [None, {}, {"configurable": {}}, {"configurable": {"thread_id": "a"}}, {"configurable": {"checkpoint_id": ""}}],
    ids=repr,
)
def test_before_without_an_id_is_ignored(filled: Any, before: Any) -> None:
    assert filled.ids(filled.config("a"), before=before) == ["4", "1"]


def test_limit_bounds_what_is_listed(filled: Any) -> None:
    for config in (None, filled.config("a", ns=None), filled.config("a")):
        everything = filled.ids(config)
        for limit in range(len(everything) + 3):
            assert filled.ids(config, limit=limit) == everything[:limit]


def test_a_limit_of_0_gives_nothing(filled: Any) -> None:
    for config in (None, filled.config("a"), filled.config("a", "4")):
        assert filled.ids(config, limit=0) == []


def test_a_negative_limit_is_a_value_error(filled: Any) -> None:
    with pytest.raises(ValueError, match="limit"):
        filled.list(None, limit=-1)
    with pytest.raises(ValueError, match="limit"):
        filled.list(filled.config("a"), limit=-7, before=filled.config("a", "3"))


def test_limit_counts_after_the_filter(twin: Any) -> None:
    for n in range(MANY):
        twin.put(f"{n:03}", metadata={"odd": n % 2 == 1})
    assert twin.ids(twin.config("t"), filter={"odd": True}, limit=3) == ["149", "147", "145"]
    assert twin.ids(None, filter={"odd": True}, before=twin.config("t", "004"), limit=3) == ["003", "001"]


def test_each_tuple_has_its_writes_its_parent_and_its_own_config(filled: Any) -> None:
    filled.write("4", [("x", "at 4")], thread="a")
    filled.write("3", [("x", "at 3")], thread="a", ns="child:1")
    for found in filled.list(None):
        named = found.config["configurable"]
        direct = filled.the(named["checkpoint_id"], thread=named["thread_id"], ns=named["checkpoint_ns"])
        assert found == direct
    by_id = dict(zip(filled.ids(None), filled.list(None), strict=True))
    assert by_id["4"].pending_writes == [("task", "x", "at 4")]
    assert by_id["4"].parent_config == filled.config("a", "1")
    assert by_id["3"].pending_writes == [("task", "x", "at 3")]
    assert by_id["7"].parent_config == filled.config("a", "3", "child:1")
    assert by_id["1"].parent_config is None


def test_a_long_list_is_complete_and_in_order_whatever_the_pages(twin: Any) -> None:
    """Equal ids across streams must not be lost where a page ends."""
    for n in range(MANY):
        twin.put(f"{n // 10:02}", {"n": n}, thread=f"t{n % 2}", ns=f"ns{n % 10}")
    found = places_of(twin.list(None))
    assert len(set(found)) == MANY
    assert [place[0] for place in found] == sorted((place[0] for place in found), reverse=True)
    of_thread = places_of(twin.list(twin.config("t1", ns=None)))
    assert of_thread == [place for place in found if place[1] == "t1"]
    for limit in (1, 7, 8, 9, 24, 25, MANY - 1):
        assert places_of(twin.list(None, limit=limit)) == found[:limit]


def test_list_is_an_iterator(sync_twin: Any) -> None:
    sync_twin.put("1")
    found = sync_twin.saver.list(None)
    assert iter(found) is found
    assert next(found).config == sync_twin.config("t", "1")
    with pytest.raises(StopIteration):
        next(found)


# The consumer.


def fill(saver: EventLogSaver, twin: Any) -> list[str]:
    for n in range(MANY):
        twin.on(saver).put(f"{n:03}", {"n": n})
    return [f"{n:03}" for n in reversed(range(MANY))]


@pytest.mark.parametrize("taken", [1, 8, 9, 30])
def test_a_consumer_that_stops_half_way_blocks_nobody(twin: Any, taken: int) -> None:
    fill(twin.saver, twin)
    iterator = twin.saver.list(None)
    for _ in range(taken):
        next(iterator)
    twin.put("999", {"v": "put while the iterator is open"})
    twin.call("delete_thread", "t")
    assert twin.ids() == []
    iterator.close()
    twin.put("1")
    assert twin.ids() == ["1"]


@pytest.mark.plain_file("another program opens it")
def test_a_suspended_list_holds_no_read_transaction(sync_twin: Any) -> None:
    """Else the WAL could not be folded in, and would grow while somebody is looking."""
    fill(sync_twin.saver, sync_twin)
    iterator = sync_twin.saver.list(None)
    next(iterator)
    sync_twin.put("999")
    other = apsw.Connection(sync_twin.saver.path)
    busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    other.close()
    assert busy == 0
    assert len(list(iterator)) == MANY - 1


def test_an_async_consumer_may_stop_half_way(make_saver: Any, twin_of: Any, runner: asyncio.Runner) -> None:
    saver = make_saver(synchronous="NORMAL")
    expected = fill(saver, twin_of(saver))

    async def main() -> None:
        listing = saver.alist(None)
        taken = [ids_of([await anext(listing)])[0] for _ in range(20)]
        assert taken == expected[:20]
        await saver.aput({"configurable": {"thread_id": "u"}}, {"id": "1", "channel_values": {}}, {}, {})
        assert ids_of([found async for found in saver.alist(None, limit=2)]) == expected[:2]
        await listing.aclose()
        async for found in saver.alist(None):
            assert ids_of([found]) == expected[:1]
            break

    runner.run(main())


def test_putting_while_iterating_ends_and_loses_nothing(twin: Any) -> None:
    """Newer ids are not seen, older ones may be; everything that was there is, once."""
    expected = fill(twin.saver, twin)
    seen = []
    for n, found in enumerate(twin.saver.list(twin.config("t"))):
        seen += ids_of([found])
        twin.put(f"newer {n:03}", parent=seen[-1])
        twin.write(seen[-1], [("x", n)])
    assert seen == expected
    assert len(twin.ids(twin.config("t"))) == 2 * MANY


def test_putting_in_an_async_loop_over_the_list_ends_and_loses_nothing(
    make_saver: Any, twin_of: Any, runner: asyncio.Runner
) -> None:
    saver = make_saver(":memory:")
    expected = fill(saver, twin_of(saver))

    async def main() -> list[str]:
        seen = []
        async for found in saver.alist(None):
            seen += ids_of([found])
            config = {"configurable": {"thread_id": "t", "checkpoint_id": seen[-1]}}
            await saver.aput(config, {"id": f"newer {seen[-1]}", "channel_values": {}}, {}, {})
            await saver.aput_writes(config, [("x", 1)], "task")
        return seen

    assert runner.run(main()) == expected


def test_deleting_while_iterating_breaks_nothing(twin: Any) -> None:
    expected = fill(twin.saver, twin)
    seen = []
    for found in twin.saver.list(None):
        if not seen:
            twin.call("delete_thread", "t")
        seen += ids_of([found])
        assert found.checkpoint["channel_values"] == {"n": int(seen[-1])}
    assert seen == expected[: len(seen)]
    assert len(seen) < MANY


def test_two_lists_may_be_read_in_turns(twin: Any) -> None:
    expected = fill(twin.saver, twin)
    first, second = twin.saver.list(None), twin.saver.list(twin.config("t"))
    pairs = list(zip(first, second, strict=True))
    assert ids_of(a for a, _ in pairs) == ids_of(b for _, b in pairs) == expected
