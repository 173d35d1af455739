"""Large values and many of them, long and odd ids: they work, or are a clear error, in memory that is bounded.

EVENTLOG_TORTURE=1 runs all that can be done with a value of 100 MB, and more kinds of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from langgraph_eventlog.eventlog import ConfigError, EncodingError, RecordTooLargeError, sql
from langgraph_eventlog.saver import EventLogSaver, listing

torture = pytest.mark.skipif(not os.environ.get("EVENTLOG_TORTURE"), reason="EVENTLOG_TORTURE=1 runs it")
Opened = Callable[..., EventLogSaver]
LENGTH = 10_000

# Prints the most memory that was ever used, in units of the value's own bytes, after each step.
LARGE = """
import os, resource, sys
sys.path.insert(0, sys.argv[1])
import conftest
from langgraph_eventlog.saver import EventLogSaver

BYTES = 100_000_000
kind, steps = sys.argv[3], sys.argv[4].split()

def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

value = {
    "random bytes": lambda: os.urandom(BYTES),
    "bytes": lambda: b"The quick brown fox " * (BYTES // 20),
    "text": lambda: "The quick brown fox " * (BYTES // 20),
    "random text": lambda: os.urandom(BYTES // 2).hex(),
    "list": lambda: [os.urandom(1000) for _ in range(BYTES // 1000)],
}[kind]()
tail = ["x"] if kind == "list" else b"x" if "bytes" in kind else "x"
changed = value[:-1] + tail
before = used()
where = conftest.config("t")
with EventLogSaver(sys.argv[2], synchronous="NORMAL") as saver:
    def put(id, value):
        return saver.put(conftest.config("t", f"{int(id) - 1}"), conftest.checkpoint(id, {"v": value}), {}, {})
    def get(id, expected):
        found = saver.get_tuple(conftest.config("t", id))
        assert found.checkpoint["channel_values"]["v"] == expected
    done = {
        "put": lambda: put("1", value),
        "again": lambda: put("2", value),
        "changed": lambda: put("3", changed),
        "write": lambda: saver.put_writes(conftest.config("t", "1"), [("v", value)], "task"),
        "get": lambda: get("1", value),
        "get-changed": lambda: get("3", changed),
        "list": lambda: [len(found.checkpoint["channel_values"]["v"]) for found in saver.list(None)],
        "rebuild": saver.rebuild,
        "verify": lambda: [None for finding in saver.log.verify() if sys.exit(str(finding))],
    }
    for step in steps:
        done[step]()
        print(step, round((used() - before) / BYTES, 2), flush=True)
"""


def most_memory(tools: Any, path: Any, kind: str, steps: str) -> dict[str, float]:
    folder = os.path.dirname(os.path.abspath(__file__))
    printed = tools.run_python(LARGE, folder, path, kind, steps).stdout
    return {step: float(times) for step, times in (line.split() for line in printed.splitlines())}


@pytest.mark.slow
def test_a_value_of_100_mb_takes_a_few_times_its_size(tmp_path: Any, tools: Any) -> None:
    """Its serialised bytes, the body, the record and SQLite's copy; reading, these and the object."""
    used = most_memory(tools, tmp_path / "agent.db", "bytes", "put again changed get-changed")
    assert list(used) == ["put", "again", "changed", "get-changed"]
    assert used["put"] < 4.5
    assert used["get-changed"] < 7


@torture
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["random bytes", "bytes", "random text", "text", "list"])
def test_whatever_is_done_with_100_mb_takes_a_few_times_its_size(tmp_path: Any, tools: Any, kind: str) -> None:
    steps = "put again changed write get get-changed list rebuild verify"
    used = most_memory(tools, tmp_path / "agent.db", kind, steps)
    assert len(used) == 9
    assert used["put"] < 6
    assert used["get-changed"] < 8
    assert used["verify"] < 11


# Prints the most memory that is used, in units of one value's bytes.
MANY = """
import os, sys, threading
sys.path.insert(0, sys.argv[1])
import conftest
from langgraph_eventlog.saver import EventLogSaver

BYTES, COUNT = 17_000_000, 8
path, step = sys.argv[2:]
if step == "put":
    with EventLogSaver(path, synchronous="NORMAL") as saver:
        for n in range(COUNT):
            value = {"v": os.urandom(BYTES)}
            saver.put(conftest.config("t"), conftest.checkpoint(str(n), value), {"step": n}, {})
    sys.exit()

def used():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

def counted(found):
    assert sum(1 for _ in found) == COUNT

with EventLogSaver(path, synchronous="NORMAL", memory_bytes=0) as saver:
    before = used()
    {
        "verify": lambda: [None for finding in saver.verify() if sys.exit(str(finding))],
        "rebuild": saver.rebuild,
        "read": lambda: counted(saver.log.read()),
        "list": lambda: counted(saver.list(None)),
        "list a thread": lambda: counted(saver.list({"configurable": {"thread_id": "t"}})),
        "list a limit": lambda: counted(saver.list(conftest.config("t"), limit=COUNT)),
    }[step]()
    print((used() - before) / BYTES)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="asks Linux for the most memory ever used")
def test_going_through_many_large_values_takes_a_few_times_the_size_of_one(tmp_path: Any, tools: Any) -> None:
    folder, path = os.path.dirname(os.path.abspath(__file__)), tmp_path / "agent.db"
    tools.run_python(MANY, folder, path, "put")
    used = {
        step: float(tools.run_python(MANY, folder, path, step).stdout)
        for step in ("verify", "rebuild", "read", "list", "list a thread", "list a limit")
    }
    assert all(times < 7 for times in used.values()), used


def test_pages_that_end_with_a_large_record_lose_nothing(
    make_saver: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = make_saver()
    for n in range(30):
        where = tools.config(f"t{n % 2}", ns=f"ns{n % 3}")
        put = saver.put(where, tools.checkpoint(f"{n:02}", {"v": n}), {"step": n % 4}, {})
        saver.put_writes(put, [("v", n)], "task")
    namespace = tools.config("t1", ns="ns1")
    thread = {"configurable": {"thread_id": "t1"}}

    def everything() -> list[Any]:
        return [
            list(saver.log.read()),
            list(saver.log.read(thread_id="t1", limit=7)),
            *(list(saver.list(where)) for where in (None, namespace, thread)),
            *(list(saver.list(where, limit=4)) for where in (None, namespace, thread)),
            *(list(saver.list(where, filter={"step": 1})) for where in (None, namespace, thread)),
            list(saver.verify()),
        ]

    whole = everything()
    for size in (1, 500):
        monkeypatch.setattr(sql, "MAX_BYTES_A_PAGE", size)
        monkeypatch.setattr(listing, "MAX_BYTES_A_PAGE", size)
        assert everything() == whole
        saver.rebuild()
        assert everything() == whole


def test_what_is_larger_than_a_record_is_an_error_and_nothing_is_appended(
    make_saver: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langgraph_eventlog.eventlog import record

    saver = make_saver()
    monkeypatch.setattr(record, "MAX_BODY_BYTES", 100_000)
    for value in (b"x" * 100_001, "x" * 100_001, ["x" * 1000] * 101, {f"{n}": "x" * 1000 for n in range(101)}):
        with pytest.raises(RecordTooLargeError) as caught:
            saver.put(tools.config("t"), tools.checkpoint("1", {"v": value}), {}, {})
        assert caught.value.limit == 100_000 < caught.value.size
        with pytest.raises(RecordTooLargeError):
            saver.put_writes(tools.config("t", "1"), [("v", value)], "task")
    assert saver.log.head().position == 0
    saver.put(tools.config("t"), tools.checkpoint("1", {"v": b"x" * 90_000}), {}, {})


def test_lists_of_100_000_elements(make_saver: Any, tools: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    lists: dict[str, list[Any]] = {
        "numbers": list(range(100_000)),
        "texts": [f"element {n}" for n in range(100_000)],
        "dicts": [{"n": n} for n in range(100_000)],
    }
    saver.put(tools.config("t"), tools.checkpoint("1", lists), {}, {})
    for elements in lists.values():
        elements.append(elements.pop(50_000))
    saver.put(tools.config("t", "1"), tools.checkpoint("2", lists), {}, {})
    found = saver.get_tuple(tools.config("t", "2"))
    assert found.checkpoint["channel_values"] == lists


def test_a_thousand_channels(make_saver: Any, tools: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    channels = {f"channel {n}": {"n": n, "text": f"value {n}"} for n in range(1000)}
    parent = None
    for step in range(10):
        channels[f"channel {step}"] = {"changed": step}
        saver.put(tools.config("t", parent), tools.checkpoint(f"{step}", channels), {}, {})
        parent = f"{step}"
    saver.put_writes(tools.config("t", parent), list(channels.items()), "task")
    found = saver.get_tuple(tools.config("t"))
    assert found.checkpoint["channel_values"] == channels
    assert {channel: value for _, channel, value in found.pending_writes} == channels
    sizes = [event.size for event in saver.log.read()]
    assert sorted(sizes[1:10])[5] < sizes[0] / 2  # the others are keyframes of the versions, of which all change


def test_thousands_of_namespaces(make_saver: Any, tools: Any) -> None:
    saver = make_saver(synchronous="NORMAL")
    count = 10_000 if os.environ.get("EVENTLOG_TORTURE") else 2_000
    for n in range(count):
        saver.put(tools.config("t", None, f"node:{n}"), tools.checkpoint(f"{n:05}", {"v": n}), {"step": n}, {})
    assert saver.get_tuple(tools.config("t", None, "node:77")).checkpoint["channel_values"] == {"v": 77}
    newest = saver.list({"configurable": {"thread_id": "t"}}, limit=3)
    assert [found.config["configurable"]["checkpoint_ns"] for found in newest] == [
        f"node:{n}" for n in (count - 1, count - 2, count - 3)
    ]
    (thread,) = saver.threads()
    assert thread.checkpoints == count
    saver.prune(["t"])
    saver.delete_thread("t")
    assert list(saver.threads()) == []


# Ids and texts.

PLANES = [chr(plane * 0x10000 + 0x61) for plane in range(17)]
TEXTS = {
    "empty": "",
    "long": "x" * LENGTH,
    "long, of four bytes each": "\U0001f600" * (LENGTH // 4),
    "NUL": "a\x00b",
    "only NUL": "\x00",
    "planes": "".join(PLANES),
    "noncharacters": "\ufffe\uffff\ufdd0\U0001fffe\U0010ffff",
    "controls": "".join(map(chr, range(32))) + "\x7f\x85\u2028\u2029\u200b\ufeff",
    "marks": "e\u0301\u0301\u202e\u2066\u0600",
    "spaces": " \t\n ",
    "not normalised": "\u00e9 e\u0301 \ufb01",
    "separators": "a:b|c/d\\e",
}


@pytest.mark.parametrize("name", TEXTS)
def test_every_text_can_be_an_id_a_name_and_a_value(make_saver: Any, name: str, tools: Any) -> None:
    """As it is, and distinct from those that look like it."""
    text = TEXTS[name]
    saver = make_saver(synchronous="NORMAL", indexed_metadata=["key"])
    for thread in (text, text + "x", "x"):
        id = text or "1"
        values = {text: text, "list": [text, {text: text}], f"{text}2": text.encode()}
        metadata = {"nested": {text: text}, "key": text, "run_id": text}
        put = saver.put(tools.config(thread, "parent", text), tools.checkpoint(id, values), metadata, {})
        assert put["configurable"] == {"thread_id": thread, "checkpoint_ns": text, "checkpoint_id": id}
        saver.put_writes(put, [(text, text)], text, text)
        saver.register_thread(thread, text or None, {"nested": {text: text}})
        for where in (put, tools.config(thread, None, text)):
            found = saver.get_tuple(where)
            assert found.checkpoint["channel_values"] == values
            assert found.pending_writes == [(text, text, text)]
            assert found.metadata["nested"] == {text: text}
            assert found.config == put
        assert [each.config for each in saver.list(tools.config(thread, None, text))] == [put]
    assert {t.thread_id for t in saver.threads()} == {text, text + "x", "x"}
    assert len(list(saver.list(None, filter={"key": text.replace("\x00", "")}))) == len({text, text + "x", "x"})
    saver.delete_thread(text)
    assert {t.thread_id for t in saver.threads()} == {text + "x", "x"} - {text}


SURROGATE = "a\ud800b"


def test_a_lone_surrogate_in_an_id_is_a_clear_error(make_saver: Any, tools: Any) -> None:
    saver = make_saver()
    empty = tools.checkpoint("1", {})
    for call in (
        lambda: saver.put(tools.config(SURROGATE), empty, {}, {}),
        lambda: saver.put(tools.config("t", None, SURROGATE), empty, {}, {}),
        lambda: saver.put(tools.config("t", SURROGATE), empty, {}, {}),
        lambda: saver.put(tools.config("t"), tools.checkpoint(SURROGATE, {}), {}, {}),
        lambda: saver.get_tuple(tools.config(SURROGATE)),
        lambda: saver.list(tools.config(SURROGATE)),
        lambda: saver.put_writes(tools.config(SURROGATE, "1"), [("v", 1)], "task"),
        lambda: saver.register_thread("t", SURROGATE),
        lambda: saver.delete_thread(SURROGATE),
        lambda: saver.delete_for_runs([SURROGATE]),
        lambda: saver.prune([SURROGATE]),
        lambda: saver.copy_thread("t", SURROGATE),
    ):
        with pytest.raises(ConfigError, match="lone surrogate"):
            call()
    assert saver.log.head().position == 0


def test_lone_surrogates_elsewhere_come_back_or_are_a_clear_error(make_saver: Any, tools: Any) -> None:
    """What a serializer replaces, it replaces for the official savers as well."""
    saver = make_saver()
    saver.put(tools.config("t"), tools.checkpoint("1", {"v": SURROGATE, SURROGATE: 1}), {"n": {"v": SURROGATE}}, {})
    saver.put_writes(tools.config("t", "1"), [(SURROGATE, SURROGATE)], SURROGATE, SURROGATE)
    found = saver.get_tuple(tools.config("t"))
    assert found.checkpoint["channel_values"] == {
        "v": saver.serde.loads_typed(saver.serde.dumps_typed(SURROGATE)),
        SURROGATE: 1,
    }
    assert found.metadata["n"] == {"v": SURROGATE}
    assert found.pending_writes[0][:2] == (SURROGATE, SURROGATE)
    with pytest.raises(EncodingError, match="channel 'v'"):
        saver.put(tools.config("t"), tools.checkpoint("2", {"v": {SURROGATE: 1}}), {}, {})


def test_an_empty_checkpoint_id_is_a_clear_error(make_saver: Any, tools: Any) -> None:
    saver = make_saver()
    with pytest.raises(ConfigError, match="no id"):
        saver.put(tools.config("t"), tools.checkpoint("", {}), {}, {})
    with pytest.raises(ConfigError, match="checkpoint_id"):
        saver.put_writes(tools.config("t", ""), [("v", 1)], "task")


def test_values_as_deep_as_they_can_be_are_stored_or_refused(make_saver: Any, tools: Any) -> None:
    saver = make_saver()
    for depth in (10, 100, 400, 1000, 3000):
        value: Any = "the end"
        for _ in range(depth):
            value = [value]
        values, metadata = {"v": value}, {"n": {"v": value}}
        for given, described in ((values, {}), ({}, metadata)):
            try:
                saver.put(tools.config(f"{depth}"), tools.checkpoint("1", given), described, {})
            except EncodingError:
                continue
            found = saver.get_tuple(tools.config(f"{depth}"))
            at, levels = found.checkpoint["channel_values"].get("v") or found.metadata["n"]["v"], 0
            while isinstance(at, list):
                at, levels = at[0], levels + 1
            assert (at, levels) == ("the end", depth)
        value = None
    assert saver.get_tuple(tools.config("100")) is not None


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"k": inner}], ids=["lists", "dicts"])
def test_metadata_of_a_caller_with_a_shallow_stack_is_there_for_one_with_a_deep_one(
    make_saver: Any, tools: Any, wrap: Callable[[Any], Any]
) -> None:
    saver, deep = make_saver(), None
    for _ in range(900):
        deep = wrap(deep)
    where = saver.put(tools.config("t"), tools.checkpoint("1", {}), {"k": deep}, {})
    saver.register_thread("t", "name", {"k": deep})

    def calling(frames: int, call: Callable[[], Any]) -> Any:
        return call() if frames == 0 else calling(frames - 1, call)

    assert calling(300, lambda: saver.get_tuple(where)) is not None
    assert calling(300, lambda: len(list(saver.list(None)))) == 1
    assert calling(300, lambda: len(list(saver.threads()))) == 1


def test_a_filter_that_is_too_deep_is_a_clear_error(make_saver: Any, tools: Any) -> None:
    saver, deep = make_saver(), None
    saver.put(tools.config("t"), tools.checkpoint("1", {}), {"k": 1}, {})
    for _ in range(3_000):
        deep = [deep]
    with pytest.raises(ConfigError, match="too deeply"):
        list(saver.list(None, filter={"k": deep}))
