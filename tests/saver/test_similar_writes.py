"""Put_writes that are like earlier ones take what has changed, and are read as what was written."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph_eventlog.eventlog import PutWrites
from langgraph_eventlog.eventlog.record import base_of_patch
from langgraph_eventlog.saver import EventLogSaver

from .test_slices import config, erase, put

Make = Callable[..., EventLogSaver]
pytestmark = pytest.mark.plain_file("Python's own sqlite3 reads the records")

TEXT = "".join(f"Sentence {n} says {n * n}. " for n in range(600))


def edited(n: int) -> str:
    return TEXT.replace(f"Sentence {n} says", f"Line {n} tells")


def records(path: Any) -> dict[int, bytes]:
    """The records of put_writes, by position; of a log that is closed."""
    connection = sqlite3.connect(path)
    found = dict(connection.execute("SELECT position, record FROM event WHERE kind = 2"))
    connection.close()
    return found


def bases(path: Any) -> list[int | None]:
    return [base_of_patch(record) for record in records(path).values()]


def write(
    saver: EventLogSaver, n: int, value: Any, *, task: str = "task", thread: str = "t", channel: str = "x"
) -> None:
    saver.put_writes(config("1", thread), [(channel, value), ("branch:to:next", None)], f"{task} {n}")


def written(saver: EventLogSaver, thread: str = "t") -> list[Any]:
    found = saver.get_tuple(config("1", thread))
    assert found is not None
    return [value for _, channel, value in found.pending_writes or [] if channel == "x"]


@pytest.mark.parametrize(
    "make",
    [lambda n: edited(n), lambda n: {"a.txt": edited(n)}, lambda n: edited(n).encode()],
    ids=["text", "dict", "bytes"],
)
def test_a_document_written_again_takes_what_has_changed(make_saver: Make, make: Any) -> None:
    saver = make_saver()
    put(saver, "1", None, {})
    for n in range(6):
        write(saver, n, make(n))
    expected = [make(n) for n in range(6)]
    assert written(saver) == expected
    events = [event.data for event in saver.log.read() if isinstance(event.data, PutWrites)]
    assert len(events) == 6
    assert [finding for finding in saver.log.verify() if finding.code != "anchor"] == []
    saver.close()
    found = list(records(saver.path).values())
    assert bases(saver.path) == [None, 2, 2, 2, 2, 2]  # all to the first: none to a patch
    assert sum(map(len, found[1:])) < len(found[0]) / 2
    with make_saver(path=saver.path) as again:
        assert written(again) == expected
        write(again, 6, make(6))  # which knows of none that is similar
        write(again, 7, make(7))
        assert written(again) == [*expected, make(6), make(7)]


@pytest.mark.parametrize(
    "other",
    [
        {"channel": "y"},
        {"thread": "u"},
        {"value": {"b.txt": TEXT}},
        {"value": "".join(random.Random(2).choices("abcdefghij ", k=9_000))},
        {"value": "short"},
        {"value": [AIMessage(TEXT)]},
    ],
    ids=["another channel", "another thread", "other keys", "another text", "a short one", "messages"],
)
def test_what_is_not_alike_is_stored_in_full(make_saver: Make, other: dict[str, Any]) -> None:
    saver = make_saver()
    put(saver, "1", None, {})
    put(saver, "1", None, {}, thread="u")
    write(saver, 0, {"a.txt": TEXT})
    write(saver, 1, TEXT)
    write(saver, 2, other.pop("value", TEXT), **other)
    saver.close()
    assert bases(saver.path) == [None] * 3


def test_where_everything_has_changed_the_next_is_a_patch_to_that(make_saver: Make) -> None:
    saver = make_saver()
    put(saver, "1", None, {})
    values = [edited(1), edited(2), TEXT.upper()[::-1], TEXT.upper()[::-1].replace("1", "2", 3)]
    for n, value in enumerate(values):
        write(saver, n, value)
    assert written(saver) == values
    saver.close()
    assert bases(saver.path) == [None, 2, None, 4]


def test_a_put_refers_to_what_was_written_as_a_patch(make_saver: Make) -> None:
    """The element is a slice of the writes' data, which is put together from two records."""
    saver = make_saver()
    state: dict[str, Any] = {f"{n}.txt": f"{n} {TEXT}" for n in range(5)}
    put(saver, "0", None, {"x": state})
    for n in range(1, 6):
        new = {"2.txt": f"2 {edited(n)}"}
        saver.put_writes(config(f"{n - 1}"), [("x", new)], "task")
        state = {**state, **new}
        put(saver, f"{n}", f"{n - 1}", {"x": state})
    with EventLogSaver(saver.path) as fresh:
        for one in (saver, fresh):
            found = one.get_tuple(config("5"))
            assert found is not None
            assert found.checkpoint["channel_values"] == {"x": state}
    saver.close()
    assert [base is not None for base in bases(saver.path)] == [False, True, True, True, True]
    events = [event for event in make_saver(path=saver.path).log.read() if event.position > 1]
    assert all(event.size < 500 for event in events[1:])


def test_encrypted_writes_are_never_patches(make_saver: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGGRAPH_AES_KEY", "0123456789abcdef")
    pytest.importorskip("Crypto")
    saver = make_saver(serde=EncryptedSerializer.from_pycryptodome_aes())
    put(saver, "1", None, {})
    for n in range(3):
        write(saver, n, edited(n))
    saver.close()
    assert bases(saver.path) == [None] * 3


def test_what_a_patch_would_be_to_is_gone_then_it_is_stored_in_full(make_saver: Make) -> None:
    saver = make_saver()
    put(saver, "1", None, {})
    put(saver, "1", None, {}, thread="u")
    write(saver, 0, edited(0))
    saver.delete_thread("t")
    put(saver, "1", None, {})
    erase(saver, 3)
    write(saver, 1, edited(1))
    assert written(saver) == [edited(1)]
    saver.close()
    assert bases(saver.path) == [None]


def test_without_memory_nothing_is_a_patch(make_saver: Make) -> None:
    saver = make_saver(memory_bytes=0)
    put(saver, "1", None, {})
    for n in range(3):
        write(saver, n, edited(n))
    assert written(saver) == [edited(n) for n in range(3)]
    saver.close()
    assert bases(saver.path) == [None] * 3


def test_a_copied_thread_reads_its_patches(make_saver: Make) -> None:
    saver = make_saver()
    put(saver, "1", None, {})
    for n in range(3):
        write(saver, n, edited(n))
    saver.copy_thread("t", "copy")
    saver.delete_thread("t")
    saver.rebuild()
    assert written(saver, "copy") == [edited(n) for n in range(3)]


def test_patches_are_read_in_a_list_as_they_are_alone(make_saver: Make) -> None:
    saver = make_saver()
    for n in range(20):
        put(saver, str(n), None if n == 0 else str(n - 1), {})
        saver.put_writes(config(str(n)), [("x", edited(n)), ("messages", [AIMessage(edited(n), id=str(n))])], "task")
    listed = {found.config["configurable"]["checkpoint_id"]: found.pending_writes for found in saver.list(None)}
    assert listed == {
        str(n): [("task", "x", edited(n)), ("task", "messages", [AIMessage(edited(n), id=str(n))])] for n in range(20)
    }
    saver.close()
    assert any(base is not None for base in bases(saver.path))
