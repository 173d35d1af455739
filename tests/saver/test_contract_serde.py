"""The contract's trap 11: serializers may be replaced, and clones share the file but no decoded object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog import PutWrites
from langgraph_eventlog.eventlog.errors import LogClosedError

SECRET = "a secret that nobody may read " * 3


@dataclass
class Note:
    """A type that a strict serializer does not know."""

    text: str
    tags: list[str] = field(default_factory=list)


ALLOW_NOTE = [(Note.__module__, Note.__qualname__)]


class Reversing(JsonPlusSerializer):
    """Its bytes mean something else under the same type tag; it counts how often it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.dumps = self.loads = 0

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        self.dumps += 1
        tag, data = super().dumps_typed(obj)
        return tag, data[::-1]

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        self.loads += 1
        return super().loads_typed((data[0], data[1][::-1]))


def encrypted(key: bytes = b"0123456789abcdef") -> EncryptedSerializer:
    return EncryptedSerializer.from_pycryptodome_aes(key=key)


def stored_bytes(saver: Any) -> list[bytes]:
    """Every value's bytes as the log holds them, put by put, and write by write."""
    found = []
    for event in saver.log.read():
        if isinstance(event.data, PutWrites):
            found += [write.value.data for write in event.data.writes]
        elif event.kind.name == "PUT":
            found += [whole.data for whole in saver.log.values(event).values()]
    return found


def test_what_is_put_after_encryption_was_switched_on_is_not_there_in_plain(twin: Any) -> None:
    """Not by reference to the parent's plaintext either."""
    twin.put("1", {"v": SECRET})
    assert any(SECRET.encode() in data for data in stored_bytes(twin.saver))
    plain_head = twin.saver.log.head().position
    twin.saver.serde = encrypted()
    twin.put("2", {"v": SECRET}, parent="1")
    twin.write("2", [("x", SECRET)])
    twin.put("3", {"v": SECRET}, parent="2")
    for event in twin.saver.log.read(after=plain_head):
        if event.kind.name == "PUT":
            stored = twin.saver.log.values(event)["v"]
            assert SECRET.encode() not in stored.data
            assert stored.tag.endswith("+aes")
    assert sum(SECRET.encode() in data for data in stored_bytes(twin.saver)) == 1
    for id in ("1", "2", "3"):
        assert twin.values(id) == {"v": SECRET}
    assert twin.writes("2") == [("task", "x", SECRET)]


def test_what_is_put_after_encryption_was_switched_off_needs_no_key(twin: Any) -> None:
    twin.saver.serde = encrypted()
    twin.put("1", {"v": SECRET})
    twin.saver.serde = JsonPlusSerializer()
    twin.put("2", {"v": SECRET}, parent="1")
    assert twin.values("2") == {"v": SECRET}


def test_a_new_key_does_not_reuse_what_the_old_one_made(twin: Any) -> None:
    twin.saver.serde = encrypted(b"0" * 16)
    twin.put("1", {"v": SECRET})
    twin.saver.serde = encrypted(b"1" * 16)
    twin.put("2", {"v": SECRET}, parent="1")
    assert twin.values("2") == {"v": SECRET}
    with pytest.raises(Exception, match=r".+"):
        twin.get("1")
    twin.saver.serde = encrypted(b"0" * 16)
    assert twin.values("1") == {"v": SECRET}


def test_a_replaced_serializer_is_the_only_one_in_use(twin: Any) -> None:
    old, new = Reversing(), Reversing()
    twin.saver.serde = old
    twin.put("1", {"v": SECRET, "w": [1]})
    twin.write("1", [("v", 1)])
    twin.put("2", {"v": SECRET, "w": [1]}, parent="1")
    used = (old.dumps, old.loads)
    twin.saver.serde = new
    twin.put("3", {"v": SECRET, "w": [1, 2]}, parent="2", metadata={"o": {1, 2}})
    twin.write("3", [("v", 2)])
    twin.put("4", {"v": SECRET, "w": [1, 2]}, parent="3")
    twin.get("1")
    twin.list(None, filter={"a": 1})
    twin.history("4", ["v"])
    assert (old.dumps, old.loads) == used
    assert new.dumps > 0
    assert new.loads > 0


def test_equal_bytes_under_another_serializer_are_read_as_that_one_reads_them(twin: Any) -> None:
    """A text and its mirror image: the same bytes and type tag say different things under the two serializers."""
    forth, back = "abcdefgh", "hgfedcba"
    twin.saver.serde = JsonPlusSerializer()
    twin.put("1", {"v": forth.encode()})
    twin.saver.serde = Reversing()
    twin.put("2", {"v": back.encode()}, parent="1")
    twin.put("3", {"v": forth.encode()}, parent="2")
    assert twin.values("2") == {"v": back.encode()}
    assert twin.values("3") == {"v": forth.encode()}
    twin.saver.serde = JsonPlusSerializer()
    assert twin.values("1") == {"v": forth.encode()}


def test_a_given_serde_is_used_from_the_start(make_saver: Any, twin_of: Any) -> None:
    twin = twin_of(make_saver(":memory:", serde=encrypted()))
    twin.put("1", {"v": SECRET})
    twin.write("1", [("x", SECRET)])
    assert len(stored_bytes(twin.saver)) == 2
    assert all(SECRET.encode() not in data for data in stored_bytes(twin.saver))
    assert twin.values("1") == {"v": SECRET}


# with_allowlist.


def strict(twin: Any) -> Any:
    twin.saver.serde = JsonPlusSerializer(allowed_msgpack_modules=None)
    return twin


def test_a_clone_shares_the_file(twin: Any) -> None:
    clone = strict(twin).on(twin.saver.with_allowlist(ALLOW_NOTE))
    assert clone.saver is not twin.saver
    assert (clone.saver.path, clone.saver.log) == (twin.saver.path, twin.saver.log)
    twin.put("1", {"v": 1})
    clone.put("2", {"v": 2}, parent="1")
    assert clone.values("1") == {"v": 1}
    assert twin.values() == {"v": 2}


def test_clones_share_no_decoded_object(twin: Any) -> None:
    """What one allowlist lets through must never reach a saver with another, whoever reads first and however often."""
    clone = strict(twin).on(twin.saver.with_allowlist(ALLOW_NOTE))
    note = Note("n", ["t"])
    for putter, id, parent in ((clone, "1", None), (twin, "2", "1"), (clone, "3", "2")):
        putter.put(id, {"v": note, "list": [note]}, parent=parent)
        putter.write(id, [("x", note)])
    for _ in range(2):
        for id in ("1", "2", "3"):
            for reader, allowed in ((twin, False), (clone, True)):
                values = reader.values(id)
                seen = [values["v"], values["list"][0], reader.writes(id)[0][2]]
                assert [isinstance(value, Note) for value in seen] == [allowed] * 3
    for reader, allowed in ((clone, True), (twin, False)):
        assert [isinstance(f.checkpoint["channel_values"]["v"], Note) for f in reader.list(None)] == [allowed] * 3
        assert isinstance(reader.history("3", ["v"])["v"]["seed"], Note) is allowed
    mine, other = clone.values("1")["v"], clone.values("1")["v"]
    mine.tags.append("changed")
    assert other == note == clone.values("1")["v"]


def test_replacing_a_clones_serializer_leaves_the_others(twin: Any) -> None:
    clone = strict(twin).on(twin.saver.with_allowlist(ALLOW_NOTE))
    clone.saver.serde = encrypted()
    clone.put("1", {"v": SECRET})
    twin.put("2", {"v": SECRET}, parent="1")
    assert twin.values("2") == {"v": SECRET}
    assert clone.values("1") == {"v": SECRET}


@pytest.mark.parametrize("closes", ["original", "clone"])
def test_closing_is_once_for_all(twin: Any, closes: str) -> None:
    clone = strict(twin).on(twin.saver.with_allowlist(ALLOW_NOTE))
    clone_of_clone = clone.on(clone.saver.with_allowlist([("another", "Type")]))
    twin.put("1")
    first, *others = (twin, clone, clone_of_clone) if closes == "original" else (clone_of_clone, twin, clone)
    first.call("close")
    for each in (first, *others):
        with pytest.raises(LogClosedError):
            each.get("1")
        with pytest.raises(LogClosedError):
            each.put("2")
        with pytest.raises(LogClosedError):
            each.list(None)
        each.call("close")
        assert "closed" in repr(each.saver)


def test_an_allowlist_that_adds_nothing_gives_the_saver_itself(saver: Any) -> None:
    saver.serde = JsonPlusSerializer(allowed_msgpack_modules=ALLOW_NOTE)
    assert saver.with_allowlist(ALLOW_NOTE) is saver
