"""The contract's trap 12: delta-channel history.

Two oracles: the walk that BaseCheckpointSaver does by itself (one get_tuple for each ancestor), and langgraph's
InMemorySaver.
"""

from __future__ import annotations

import random
from itertools import chain
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import _DeltaSnapshot

CHANNELS = ["a", "b", "c"]


def by_the_base(twin: Any, id: str, channels: list[str]) -> Any:
    """What inheriting the method would give."""
    config = twin.config("t", id)
    if twin.runner is None:
        return BaseCheckpointSaver.get_delta_channel_history(twin.saver, config=config, channels=channels)
    walk = BaseCheckpointSaver.aget_delta_channel_history(twin.saver, config=config, channels=channels)
    return twin.runner.run(walk)


def test_both_twins_are_our_own() -> None:
    """Inheriting them would walk one get_tuple per ancestor."""
    from langgraph_eventlog.saver import EventLogSaver

    for name in ("get_delta_channel_history", "aget_delta_channel_history"):
        assert getattr(EventLogSaver, name) is not getattr(BaseCheckpointSaver, name)


def test_the_targets_own_writes_are_left_out(twin: Any) -> None:
    twin.put("1")
    twin.write("1", [("d", "at the parent")])
    twin.put("2", parent="1")
    twin.write("2", [("d", "at the target")])
    assert twin.history("2", ["d"]) == {"d": {"writes": [("task", "d", "at the parent")]}}


def test_the_seeds_ancestors_own_writes_are_included_and_older_ones_are_not(twin: Any) -> None:
    twin.put("1")
    twin.write("1", [("d", "before the seed")])
    twin.put("2", {"d": _DeltaSnapshot([1, 2])}, parent="1")
    twin.write("2", [("d", "at the seed")])
    twin.put("3", parent="2")
    twin.write("3", [("d", "after the seed")])
    twin.put("4", parent="3")
    found = twin.history("4", ["d"])["d"]
    assert found["writes"] == [("task", "d", "at the seed"), ("task", "d", "after the seed")]
    assert found["seed"] == _DeltaSnapshot([1, 2])
    assert isinstance(found["seed"], _DeltaSnapshot)


def test_the_targets_own_value_is_no_seed(twin: Any) -> None:
    twin.put("1", {"d": "old"})
    twin.put("2", {"d": "own"}, parent="1")
    assert twin.history("2", ["d"]) == {"d": {"writes": [], "seed": "old"}}


def test_without_a_seed_there_is_no_seed_key(twin: Any) -> None:
    twin.put("1")
    twin.put("2", parent="1")
    assert twin.history("2", ["d"]) == {"d": {"writes": []}}
    assert twin.history("1", ["d"]) == {"d": {"writes": []}}


@pytest.mark.parametrize("plain", [[1], [], None, 0, "", {"k": 1}], ids=repr)
def test_a_plain_value_is_a_seed_even_if_it_is_empty_or_none(twin: Any, plain: Any) -> None:
    twin.put("1", {"d": "older"})
    twin.put("2", {"d": plain}, parent="1")
    twin.put("3", parent="2")
    assert twin.history("3", ["d"]) == {"d": {"writes": [], "seed": plain}}


def test_a_seed_that_is_stored_by_reference_is_found(twin: Any) -> None:
    twin.put("1", {"d": [1]})
    twin.put("2", {"d": [1]}, parent="1", versions={"d": "1"}, new_versions={})
    twin.put("3", parent="2")
    twin.write("1", [("d", "too old")])
    twin.write("2", [("d", "at the seed")])
    assert twin.history("3", ["d"])["d"] == {"writes": [("task", "d", "at the seed")], "seed": [1]}


def test_only_parents_are_followed(twin: Any) -> None:
    for id, parent in [("1", None), ("2", "1"), ("3", "1"), ("4", "2"), ("5", "3")]:
        twin.put(id, parent=parent)
        twin.write(id, [("d", id)])
    assert [w[2] for w in twin.history("4", ["d"])["d"]["writes"]] == ["1", "2"]
    assert [w[2] for w in twin.history("5", ["d"])["d"]["writes"]] == ["1", "3"]


def test_namespaces_and_threads_are_kept_apart(twin: Any) -> None:
    for thread, ns in [("t", ""), ("t", "child"), ("u", "")]:
        twin.put("1", thread=thread, ns=ns)
        twin.write("1", [("d", thread + ns)], thread=thread, ns=ns)
        twin.put("2", parent="1", thread=thread, ns=ns)
    assert twin.history("2", ["d"])["d"]["writes"][0][2] == "t"
    assert twin.history("2", ["d"], ns="child")["d"]["writes"][0][2] == "tchild"
    assert twin.history("2", ["d"], thread="u")["d"]["writes"][0][2] == "u"


def test_writes_within_a_checkpoint_come_in_their_order(twin: Any) -> None:
    twin.put("1")
    twin.write("1", [("d", "p2 0"), ("other", 0), ("d", "p2 2")], task="a", path="p2")
    twin.write("1", [("d", "p1")], task="z", path="p1")
    twin.write("1", [("d", None)], task="m")
    twin.write("1", [("d", "ignored")], task="m")
    twin.put("2", parent="1")
    assert [w[2] for w in twin.history("2", ["d"])["d"]["writes"]] == [None, "p1", "p2 0", "p2 2"]


def test_every_channel_ends_at_its_own_seed(twin: Any) -> None:
    twin.put("1", {"a": "a1"})
    twin.put("2", {"b": "b2"}, parent="1")
    twin.put("3", parent="2")
    for id in ("1", "2", "3"):
        twin.write(id, [(channel, f"{channel}{id}") for channel in CHANNELS])
    twin.put("4", parent="3")
    found = twin.history("4", CHANNELS)
    assert list(found) == CHANNELS
    assert [found[c].get("seed", "none") for c in CHANNELS] == ["a1", "b2", "none"]
    assert [[w[2] for w in found[c]["writes"]] for c in CHANNELS] == [
        ["a1", "a2", "a3"],
        ["b2", "b3"],
        ["c1", "c2", "c3"],
    ]


def test_no_channels_give_an_empty_mapping(twin: Any) -> None:
    twin.put("1")
    assert twin.history("1", []) == {}


def test_without_an_id_the_latest_is_meant(twin: Any) -> None:
    twin.put("1")
    twin.write("1", [("d", 1)])
    twin.put("2", parent="1")
    assert twin.history(None, ["d"]) == twin.history("2", ["d"])


def test_writes_whose_checkpoint_never_came_do_not_count(twin: Any) -> None:
    """The walk ends at a parent that is not there, as the base's does."""
    twin.write("1", [("d", "nobody's")])
    twin.put("2", parent="1")
    assert twin.history("2", ["d"]) == {"d": {"writes": []}} == by_the_base(twin, "2", ["d"])


def random_chain(twins: list[Any], rng: random.Random, length: int, *, second_puts: bool) -> list[str]:
    """Do the same to each twin: forks, ids below their parents', seeds, and writes, some before their checkpoint."""
    ids = [f"{n:02}" for n in rng.sample(range(100), k=length)]
    there: list[str] = []
    versions: dict[str, dict[str, str]] = {}
    for n, id in enumerate(ids):
        parent = rng.choice(there) if there and rng.random() < 0.4 else there[-1] if there else None
        again = second_puts and bool(there) and rng.random() < 0.15
        id = rng.choice(there) if again else id
        values = {c: rng.choice([[n], _DeltaSnapshot([n]), None]) for c in CHANNELS if rng.random() < 0.15}
        versions[id] = {**versions.get(parent or "", {}), **{c: f"{n:04}.{c}" for c in CHANNELS}}
        batches = [
            (
                [(rng.choice([*CHANNELS, "z"]), f"{id}-{n}-{i}-{k}") for k in range(rng.randint(1, 3))],
                f"task{rng.randrange(3)}",
            )
            for i in range(rng.randint(0, 3))
        ]
        early = rng.random() < 0.3
        for twin in twins:
            for writes, task in batches if early else ():
                twin.write(id, writes, task=task, path=f"p{task[-1:]}" if task != "task0" else "")
            twin.put(id, values, parent=parent, versions=versions[id])
            for writes, task in () if early else batches:
                twin.write(id, writes, task=task, path=f"p{task[-1:]}" if task != "task0" else "")
        if not again:
            there.append(id)
    return there


@pytest.mark.parametrize("seed", range(6))
def test_random_chains_give_what_the_base_and_the_in_memory_saver_give(twin: Any, seed: int) -> None:
    rng = random.Random(seed)
    memory = twin.on(InMemorySaver())
    ids = random_chain([twin, memory], rng, 25, second_puts=False)
    for id in ids:
        found = twin.history(id, [*CHANNELS, "z", "never"])
        assert found == by_the_base(twin, id, [*CHANNELS, "z", "never"])
        assert found == memory.history(id, [*CHANNELS, "z", "never"])
        assert twin.history(id, ["b"]) == {"b": found["b"]}


@pytest.mark.parametrize("seed", range(100, 103))
def test_random_chains_with_second_puts_are_walked_once_around_a_cycle(sync_twin: Any, seed: int) -> None:
    """The base's own walk would not end."""
    for id in random_chain([sync_twin], random.Random(seed), 25, second_puts=True):
        for channel in CHANNELS:
            assert sync_twin.history(id, [channel])[channel] == walk(sync_twin, id, channel)


def walk(twin: Any, id: str, channel: str) -> dict[str, Any]:
    """The base's walk, but no checkpoint twice."""
    batches: list[list[Any]] = []
    seen = {id}
    parent = twin.the(id).parent_config
    while parent is not None and (id := parent["configurable"]["checkpoint_id"]) not in seen:
        seen.add(id)
        ancestor = twin.the(id)
        batches.insert(0, [write for write in ancestor.pending_writes if write[1] == channel])
        if channel in ancestor.checkpoint["channel_values"]:
            return {"writes": [*chain.from_iterable(batches)], "seed": ancestor.checkpoint["channel_values"][channel]}
        parent = ancestor.parent_config
    return {"writes": [*chain.from_iterable(batches)]}


def test_a_long_chain_is_walked(sync_twin: Any) -> None:
    parent = None
    for n in range(300):
        sync_twin.put(f"{n:03}", parent=parent)
        sync_twin.write(f"{n:03}", [("d", n)])
        parent = f"{n:03}"
    assert [w[2] for w in sync_twin.history(None, ["d"])["d"]["writes"]] == list(range(299))
