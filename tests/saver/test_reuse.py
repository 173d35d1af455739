"""A value is stored again only if it has changed: otherwise the log refers to the event that holds it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph_eventlog.eventlog import Carried, ConfigError, EventLog, Put, Whole
from langgraph_eventlog.saver import EventLogSaver

BIG = {"text": ["unchanged"] * 100}


def stored(log: EventLog, position: int) -> dict[str, int | None]:
    """For each channel of the put at a position, the event that it refers to; None if it is stored there."""
    (event,) = log.read(after=position - 1, limit=1)
    assert isinstance(event.data, Put)
    return {name: value.base if isinstance(value, Carried) else None for name, value in event.data.channels.items()}


@pytest.fixture(params=["warm", "cold"])
def again(request: pytest.FixtureRequest, make_saver: Callable[..., EventLogSaver]) -> Callable[[Any], Any]:
    """Go on with the same saver, or with one that knows only what is in the file."""

    def go_on(twin: Any) -> Any:
        if request.param == "warm":
            return twin
        twin.saver.close()
        return twin.on(make_saver(synchronous="NORMAL"))

    return go_on


@pytest.mark.parametrize("new_versions", [{}, {"x": "9"}, {"x": "9", "y": "9", "gone": "9"}])
def test_an_unchanged_value_is_carried_whatever_the_versions_say(
    file_twin: Any, again: Callable[[Any], Any], new_versions: dict[str, Any]
) -> None:
    twin = file_twin
    twin.put("1", {"x": BIG, "y": 1}, versions={"x": "1", "y": "1"})
    twin = again(twin)
    twin.put("2", {"x": BIG, "y": 2}, parent="1", versions={"x": "9", "y": "1"}, new_versions=new_versions)
    assert stored(twin.saver.log, 2) == {"x": 1, "y": None}
    assert twin.values("2") == {"x": BIG, "y": 2}
    assert twin.the("2").checkpoint["channel_versions"] == {"x": "9", "y": "1"}


def test_a_value_changed_in_place_is_stored_anew_though_its_version_is_the_same(
    file_twin: Any, again: Callable[[Any], Any]
) -> None:
    twin, value = file_twin, {"m": [AIMessage("a", id="1")], "n": [0]}
    twin.put("1", {"x": value, "y": value["n"]}, versions={"x": "1", "y": "1"})
    twin = again(twin)
    value["m"][0].additional_kwargs["k"] = 1
    twin.put("2", {"x": value, "y": value["n"]}, parent="1", versions={"x": "1", "y": "1"}, new_versions={})
    assert stored(twin.saver.log, 2) == {"x": None, "y": 1}
    assert twin.values("2")["x"]["m"][0].additional_kwargs == {"k": 1}
    assert twin.values("1")["x"]["m"][0].additional_kwargs == {}


def test_references_never_chain(file_twin: Any, again: Callable[[Any], Any]) -> None:
    """Each names the event that holds the value, however long ago that was."""
    twin = file_twin
    twin.put("1", {"x": BIG, "y": 1})
    for n in range(2, 7):
        twin = again(twin)
        twin.put(str(n), {"x": BIG, "y": n // 2}, parent=str(n - 1))
    assert [stored(twin.saver.log, n)["x"] for n in range(2, 7)] == [1] * 5
    assert [stored(twin.saver.log, n)["y"] for n in range(2, 7)] == [1, 1, None, 4, None]
    assert twin.values("6") == {"x": BIG, "y": 3}


def test_only_the_parents_values_are_referred_to(file_twin: Any, again: Callable[[Any], Any]) -> None:
    """A fork goes on from the checkpoint that its config names, not from the newest."""
    twin = file_twin
    twin.put("1", {"x": "a"})
    twin.put("2", {"x": "b"}, parent="1")
    twin = again(twin)
    twin.put("3", {"x": "b"}, parent="1")
    twin.put("4", {"x": "a"}, parent="1")
    twin.put("5", {"y": "a"}, parent="1")
    assert [stored(twin.saver.log, n) for n in (3, 4, 5)] == [{"x": None}, {"x": 1}, {"y": None}]


def test_without_a_parent_in_the_config_everything_is_stored(file_twin: Any, again: Callable[[Any], Any]) -> None:
    twin = file_twin
    twin.put("1", {"x": BIG})
    twin = again(twin)
    twin.put("2", {"x": BIG})
    twin.put("3", {"x": BIG}, parent="never there")
    twin.put("4", {"x": BIG}, parent="1", thread="other")
    twin.put("5", {"x": BIG}, parent="1", ns="other")
    assert {stored(twin.saver.log, n)["x"] for n in (2, 3, 4, 5)} == {None}
    assert twin.the("3").parent_config == twin.config(id="never there")


def test_a_parent_put_again_is_referred_to_as_it_is_now(file_twin: Any, again: Callable[[Any], Any]) -> None:
    twin = file_twin
    twin.put("1", {"x": "old", "y": "same"})
    twin.put("1", {"x": "new", "y": "same"})
    twin = again(twin)
    twin.put("2", {"x": "new", "y": "same"}, parent="1")
    twin.put("3", {"x": "old", "y": "same"}, parent="1")
    assert stored(twin.saver.log, 3) == {"x": 2, "y": 2}
    assert stored(twin.saver.log, 4) == {"x": None, "y": 2}
    assert [twin.values(n)["x"] for n in "123"] == ["new", "new", "old"]


def test_a_checkpoint_that_is_its_own_parent_is_stored_right(file_twin: Any, again: Callable[[Any], Any]) -> None:
    twin = file_twin
    twin.put("1", {"x": BIG, "y": 1})
    for y in (2, 2, 3):
        twin = again(twin)
        twin.put("1", {"x": BIG, "y": y}, parent="1")
    assert [stored(twin.saver.log, n) for n in (2, 3, 4)] == [
        {"x": 1, "y": None},
        {"x": 1, "y": 2},
        {"x": 1, "y": None},
    ]
    assert twin.values("1") == {"x": BIG, "y": 3}


@pytest.mark.parametrize("how", ["delete_thread", "prune", "delete_for_runs"])
def test_a_put_onto_a_deleted_parent_is_whole_and_readable(
    file_twin: Any, again: Callable[[Any], Any], how: str
) -> None:
    twin = file_twin
    twin.put("1", {"x": BIG, "y": 1}, metadata={"run_id": "r"})
    if how == "delete_thread":
        twin.call(how, "t")
    elif how == "prune":
        twin.call(how, ["t"], strategy="delete")
    else:
        twin.call(how, ["r"])
    twin = again(twin)
    twin.put("2", {"x": BIG, "y": 2}, parent="1")
    twin.put("3", {"x": BIG, "y": 2}, parent="2")
    assert twin.values("2") == twin.values("3") == {"x": BIG, "y": 2}
    assert twin.get("1") is None


def test_a_fork_refers_to_what_the_original_stores(file_twin: Any, again: Callable[[Any], Any]) -> None:
    twin = file_twin
    twin.put("1", {"x": BIG})
    twin.call("fork_thread", twin.config(), "u")
    twin = again(twin)
    twin.put("2", {"x": BIG}, parent="1", thread="u")
    assert stored(twin.saver.log, 3) == {"x": 1}
    twin.call("delete_thread", "t")
    assert twin.values("2", thread="u") == twin.values("1", thread="u") == {"x": BIG}


def test_two_savers_alternating_on_one_thread_store_what_was_put(
    make_saver: Callable[..., EventLogSaver], twin_of: Any
) -> None:
    """Each remembers what it put itself; what the other put in between, it reads."""
    twins = [twin_of(make_saver(synchronous="NORMAL")) for _ in range(2)]
    twins[0].put("00", {"x": BIG, "y": 0, "z": "a"})
    for n in range(1, 12):
        # Every third step takes z back to what this saver may still remember.
        twins[n % 2].put(f"{n:02}", {"x": BIG, "y": n, "z": "ab"[n % 3 == 0]}, parent=f"{n - 1:02}")
    for twin in twins:
        assert [twin.values(f"{n:02}") for n in range(1, 12)] == [
            {"x": BIG, "y": n, "z": "ab"[n % 3 == 0]} for n in range(1, 12)
        ]
    assert {stored(twins[0].saver.log, n)["x"] for n in range(2, 13)} == {1}


def test_a_parent_replaced_by_another_saver_is_not_mistaken_for_the_one_remembered(
    make_saver: Callable[..., EventLogSaver], twin_of: Any
) -> None:
    one, two = (twin_of(make_saver(synchronous="NORMAL")) for _ in range(2))
    one.put("1", {"x": "first"})
    two.put("1", {"x": "second"})
    one.put("2", {"x": "first"}, parent="1")
    one.put("3", {"x": "second"}, parent="1")
    assert two.values("2") == {"x": "first"}
    assert two.values("3") == {"x": "second"}


LOOKALIKES: dict[str, tuple[Any, Any]] = {
    "1 and True": (1, True),
    "1 and 1.0": ([1], [1.0]),
    "True and 1.0": ({"a": True}, {"a": 1.0}),
    "zeros": (0.0, -0.0),
    "empty str and bytes": ("", b""),
    "empty str and bytes inside": ([""], [b""]),
    "bytes and bytearray": (b"a", bytearray(b"a")),
    "None and False": (None, False),
    "dict order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "dict order inside": ([{"a": 1, "b": 2}], [{"b": 2, "a": 1}]),
    "list and set": ([1], {1}),
    "set and frozenset": ({1}, frozenset({1})),
    "int and str key": ({1: 0}, {"1": 0}),
    "messages": (AIMessage("a", id="1"), AIMessage("a", id="1", name="n")),
    "metadata": (AIMessage("a"), AIMessage("a", response_metadata={"x": False})),
}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_only_looks_alike_is_stored_anew(
    sync_twin: Any, make_saver: Callable[..., EventLogSaver], name: str
) -> None:
    """Back and forth, warm and cold: a reference is to the same bytes, whatever Python's == says."""
    one, two = LOOKALIKES[name]
    twin = sync_twin
    twin.put("1", {"x": one})
    twin.put("2", {"x": two}, parent="1")
    twin.put("3", {"x": one}, parent="2")
    twin.saver.close()
    twin = twin.on(make_saver())
    twin.put("4", {"x": two}, parent="3")
    assert [stored(twin.saver.log, n)["x"] for n in (2, 3, 4)] == [None, None, None]
    assert [repr(twin.values(n)["x"]) for n in "1234"] == [repr(one), repr(two), repr(one), repr(two)]


def test_a_set_comes_back_equal_in_whatever_order_it_was_written(sync_twin: Any) -> None:
    """Equal sets may iterate differently: stored anew or carried, the value is right."""
    values = [{0, 8, 16}, {16, 8, 0}, {8, 0, 16, 24} - {24}]
    for n, value in enumerate(values, 1):
        sync_twin.put(str(n), {"x": value}, parent=str(n - 1) if n > 1 else None)
    assert [sync_twin.values(str(n))["x"] for n in (1, 2, 3)] == values


def test_writes_are_whole(sync_twin: Any) -> None:
    sync_twin.put("1", {"x": BIG})
    sync_twin.write("1", [("x", BIG)])
    (event,) = sync_twin.saver.log.read(after=1)
    assert isinstance(event.data.writes[0].value, Whole)


def test_threads_that_share_a_saver_carry_only_what_is_theirs(sync_twin: Any) -> None:
    """Eight threads, each on a thread_id of its own with the same checkpoint ids."""
    twin = sync_twin
    failures: list[BaseException] = []

    def chat(name: int) -> None:
        try:
            for n in range(10):
                values = {"x": [name, "big"] * 50, "y": [name] * (n // 2)}
                twin.put(f"{n:02}", values, parent=f"{n - 1:02}" if n else None, thread=str(name))
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=chat, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for name in range(8):
        for n in range(10):
            assert twin.values(f"{n:02}", thread=str(name)) == {"x": [name, "big"] * 50, "y": [name] * (n // 2)}
    whole = [e for e in twin.saver.log.read() if isinstance(e.data.channels["x"], Whole)]
    assert len(whole) == 8


def test_what_is_remembered_is_bounded(make_saver: Callable[..., EventLogSaver], twin_of: Any) -> None:
    """The least recently used is forgotten, and read again when it is needed."""
    twin = twin_of(make_saver(synchronous="NORMAL", memory_bytes=20_000))
    memory = twin.saver._core.memory.known
    for n in range(30):
        twin.put("1", {"x": BIG, "y": n}, thread=str(n))
        assert memory.used_bytes <= 20_000
    assert 1 < len(memory._known) < 30
    for n in range(30):
        twin.put("2", {"x": BIG, "y": n}, parent="1", thread=str(n))
    assert [stored(twin.saver.log, 31 + n) for n in range(30)] == [{"x": n + 1, "y": n + 1} for n in range(30)]


def test_without_memory_the_parent_is_read_from_the_log(make_saver: Callable[..., EventLogSaver], twin_of: Any) -> None:
    twin = twin_of(make_saver(memory_bytes=0))
    twin.put("1", {"x": BIG, "y": 1})
    twin.put("2", {"x": BIG, "y": 2}, parent="1")
    assert stored(twin.saver.log, 2) == {"x": 1, "y": None}
    assert twin.saver._core.memory.known.used_bytes == 0


@pytest.mark.parametrize("wrong", [-1, 1.5, None, "64"])
def test_what_is_no_number_of_bytes_is_an_error(tmp_path: Any, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="memory_bytes"):
        EventLogSaver(tmp_path / "a.db", memory_bytes=wrong)
    assert not (tmp_path / "a.db").exists()
