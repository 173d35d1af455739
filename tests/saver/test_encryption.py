"""EncryptedSerializer: no value can be read without the key, and unchanged values are still stored once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog import Carried, EventLog, Put, Whole, record
from langgraph_eventlog.saver import EventLogSaver

KEY = b"0123456789abcdef"
SECRET = "correct horse battery staple"


def encrypted(key: bytes = KEY) -> EncryptedSerializer:
    return EncryptedSerializer.from_pycryptodome_aes(key=key)


def bodies(log: EventLog) -> bytes:
    """Every record, decompressed."""
    with log.database.reading() as connection:
        records = connection.execute("SELECT record FROM event ORDER BY position").fetchall()
    return b"".join(record.decode(stored)[1] for (stored,) in records)


def channels(log: EventLog, position: int) -> dict[str, Any]:
    (event,) = log.read(after=position - 1, limit=1)
    assert isinstance(event.data, Put)
    return dict(event.data.channels)


def secret_log(twin: Any) -> None:
    twin.put("1", {"x": {"a": SECRET}, "b": SECRET.encode(), "c": [SECRET] * 50})
    twin.write("1", [("x", SECRET), ("__interrupt__", {"ask": SECRET})])
    twin.put("2", {"x": {"a": SECRET}, "b": SECRET.encode(), "c": [SECRET] * 51}, parent="1")


def test_encrypted_values_come_back(make_saver: Callable[..., EventLogSaver], twin_of: Any) -> None:
    twin = twin_of(make_saver(serde=encrypted()))
    secret_log(twin)
    twin.saver.close()
    twin = twin.on(make_saver(serde=encrypted()))
    assert twin.values("1") == {"x": {"a": SECRET}, "b": SECRET.encode(), "c": [SECRET] * 50}
    assert twin.values("2")["c"] == [SECRET] * 51
    assert twin.writes("1") == [("task", "__interrupt__", {"ask": SECRET}), ("task", "x", SECRET)]


@pytest.mark.plain_file("it looks at the bytes")
@pytest.mark.parametrize("is_encrypted", [True, False])
def test_no_plaintext_of_a_value_is_in_the_file(
    make_saver: Callable[..., EventLogSaver], twin_of: Any, tmp_path: Path, is_encrypted: bool
) -> None:
    """Neither in a record, nor in the bytes of the file and its WAL.

    Without encryption it is there: the search finds what there is.
    """
    saver = make_saver(serde=encrypted() if is_encrypted else None)
    twin = twin_of(saver)
    secret_log(twin)
    # Without encryption, so short that it is stored as it is: compressed text cannot be searched for.
    twin.write("2", [("x", SECRET)])
    # A field of the checkpoint that has no place of its own goes through the serializer, too.
    config = twin.config(id="2")
    checkpoint = {**twin.checkpoint("3", {"x": SECRET}, {"x": "3"}), "pending_sends": [SECRET]}
    twin.call("put", config, checkpoint, {"step": 1}, {})
    assert twin.get("3").checkpoint["pending_sends"] == [SECRET]
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("agent.db*"))
    assert len(list(tmp_path.glob("agent.db-wal"))) == 1
    assert (SECRET.encode() in bodies(saver.log)) is not is_encrypted
    assert (SECRET.encode() in raw) is not is_encrypted
    assert b"step" in raw


def test_unchanged_values_are_carried_under_encryption(make_saver: Callable[..., EventLogSaver], twin_of: Any) -> None:
    """A cipher gives other bytes each time: what is compared is what went into it."""
    twin = twin_of(make_saver(serde=encrypted()))
    log = twin.saver.log
    twin.put("1", {"x": [SECRET], "n": None, "b": b"", "y": 1})
    twin.put("2", {"x": [SECRET], "n": None, "b": b"", "y": 2}, parent="1")
    twin.put("3", {"x": [SECRET], "n": b"", "b": None, "y": 1}, parent="2")
    assert channels(log, 2) == {"x": Carried(1), "n": Carried(1), "b": Carried(1), "y": channels(log, 2)["y"]}
    third = channels(log, 3)
    assert third["x"] == Carried(1)
    assert all(isinstance(third[name], Whole) for name in "nby")
    assert twin.values("3") == {"x": [SECRET], "n": b"", "b": None, "y": 1}


@pytest.mark.parametrize("reopened", [False, True])
def test_switching_to_encryption_stores_everything_anew(
    make_saver: Callable[..., EventLogSaver], twin_of: Any, reopened: bool
) -> None:
    """A reference to plaintext would keep it alive, and readable, for ever. Old checkpoints stay readable."""
    twin = twin_of(make_saver())
    values = {"x": {"a": SECRET}, "n": None, "b": SECRET.encode()}
    twin.put("1", values)
    if reopened:
        twin.saver.close()
        twin = twin.on(make_saver())
    twin.saver.serde = encrypted()
    twin.put("2", values, parent="1")
    twin.put("3", values, parent="2")
    stored = channels(twin.saver.log, 2)
    assert {name: value.tag for name, value in stored.items()} == {
        "x": "msgpack+aes",
        "n": "null+aes",
        "b": "bytes+aes",
    }
    assert set(channels(twin.saver.log, 3).values()) == {Carried(2)}
    assert twin.values("1") == twin.values("2") == twin.values("3") == values


def test_switching_the_encryption_off_stores_everything_anew(
    make_saver: Callable[..., EventLogSaver], twin_of: Any
) -> None:
    twin = twin_of(make_saver(serde=encrypted()))
    twin.put("1", {"x": SECRET})
    cipher = twin.saver.serde
    twin.saver.serde = JsonPlusSerializer()
    twin.put("2", {"x": SECRET}, parent="1")
    assert channels(twin.saver.log, 2)["x"].tag == "msgpack"
    twin.saver.serde = cipher
    assert twin.values("1") == twin.values("2") == {"x": SECRET}


def test_another_key_carries_nothing_over(make_saver: Callable[..., EventLogSaver], twin_of: Any) -> None:
    twin = twin_of(make_saver(serde=encrypted()))
    twin.put("1", {"x": SECRET})
    twin.saver.serde = encrypted(KEY[::-1])
    twin.put("2", {"x": SECRET}, parent="1")
    assert isinstance(channels(twin.saver.log, 2)["x"], Whole)
    assert twin.values("2") == {"x": SECRET}


def test_a_new_process_reads_and_goes_on(make_saver: Callable[..., EventLogSaver], twin_of: Any) -> None:
    """It cannot tell that a value is unchanged without decrypting it, so it stores it once more."""
    twin = twin_of(make_saver(serde=encrypted()))
    twin.put("1", {"x": [SECRET]})
    twin.saver.close()
    twin = twin.on(make_saver(serde=encrypted()))
    twin.put("2", {"x": [SECRET]}, parent="1")
    twin.put("3", {"x": [SECRET]}, parent="2")
    assert channels(twin.saver.log, 3)["x"].base in (1, 2)
    assert twin.values("3") == {"x": [SECRET]}


class Shouting(EncryptedSerializer):
    """Does more than encrypt."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return super().dumps_typed(obj.upper() if isinstance(obj, str) else obj)


def test_a_subclass_that_does_more_is_taken_as_it_is(make_saver: Callable[..., EventLogSaver], twin_of: Any) -> None:
    twin = twin_of(make_saver(serde=Shouting(encrypted().cipher)))
    twin.put("1", {"x": "loud"})
    twin.put("2", {"x": "loud"}, parent="1")
    assert twin.values("1") == twin.values("2") == {"x": "LOUD"}
    assert b"LOUD" not in bodies(twin.saver.log)
