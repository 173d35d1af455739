"""What comes along when threads are taken from one log into another, and what does not."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.base import CipherProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph_eventlog.eventlog import Kind, LogDamagedError
from langgraph_eventlog.eventlog import record as record_codec
from langgraph_eventlog.eventlog.appender import PreparedEvent
from langgraph_eventlog.eventlog.body import unpack_body
from langgraph_eventlog.eventlog.event import Carry, CopiedStream, Copy, Import, NewEvent, Thread
from langgraph_eventlog.eventlog.integrity import digest_of
from langgraph_eventlog.eventlog.plain import pack
from langgraph_eventlog.eventlog.value import DictOf, Whole
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.moving import telling
from langgraph_eventlog.tools.moving.checking import check_provenance
from langgraph_eventlog.tools.moving.extracting import extract
from langgraph_eventlog.tools.moving.merging import merge
from langgraph_eventlog.tools.moving.provenance import origins

from ..model.moved import compare, events_of, values_in
from ..model.seeing import config_of

support = runpy.run_path(str(Path(__file__).with_name("shop.py")))["support"]
EMPTY: Any = {"v": 4, "ts": "2026-01-01", "channel_versions": {}, "versions_seen": {}}


def talk(saver: EventLogSaver, thread: str, *said: str, item: str = "lamp") -> None:
    graph = support(saver)
    for words in said:
        messages = [HumanMessage(f"{words} {'and so on ' * 30}", id=f"{thread} {words}")]
        graph.invoke({"messages": messages, "item": item}, config_of(thread, None, None))


def put(saver: EventLogSaver, thread: str, checkpoint_id: str, parent: str | None, values: Any, ns: str = "") -> None:
    checkpoint = {**EMPTY, "id": checkpoint_id, "channel_values": values}
    saver.put(config_of(thread, ns, parent), checkpoint, {"thread_id": thread}, {})  # type: ignore[typeddict-unknown-key]


@pytest.fixture
def taken(make_saver: Any, tmp_path: Path) -> Callable[..., EventLogSaver]:
    """Take threads out, check, and open what came of it."""

    def take(source: EventLogSaver, *threads: str, **options: Any) -> EventLogSaver:
        path = tmp_path / f"taken{len([*tmp_path.iterdir()])}.db"
        names = extract(source, path, threads, check=True, **options).threads
        made: EventLogSaver = make_saver(path, serde=source.serde)
        compare(source, made, names, deltas=["messages", "text"])
        return made

    return take


def test_a_thread_comes_with_every_event_and_its_time(file_saver: EventLogSaver, taken: Any) -> None:
    talk(file_saver, "a", "one", "two")
    talk(file_saver, "b", "other")
    file_saver.register_thread("a", "A", {"tenant": "x"})
    file_saver.prune(["a", "b"])
    file_saver.delete_thread("a")
    talk(file_saver, "a", "three")
    file_saver.delete_for_runs(["no such run"])
    made = taken(file_saver, "a")
    assert events_of(made, "a") == events_of(file_saver, "a")
    (prune,) = made.log.read(kinds=[Kind.PRUNE])
    assert {removal.thread_id for removal in prune.data.removals} == {"a"}


def test_what_goes_on_from_a_fork_is_whole_without_the_thread_that_it_is_from(
    file_saver: EventLogSaver, taken: Any
) -> None:
    talk(file_saver, "a", *map(str, range(6)))
    file_saver.prune(["a"])  # what the latest refers to is there, but no checkpoint any more
    file_saver.fork_thread(config_of("a", "", None), "b", {"why": "try"})
    talk(file_saver, "b", "goes on", "and on")
    file_saver.copy_thread("b", "c")
    talk(file_saver, "a", "the secret of a")
    talk(file_saver, "c", "c goes on")
    made = taken(file_saver, "b", "c")
    copies = [*made.log.read(kinds=[Kind.COPY])]
    assert [event.thread_id for event in copies] == ["b", "c"]
    assert [len(event.data.streams) for event in copies] == [0, 1]  # the first's became events, the second is one still
    assert b"secret of a" not in values_in(made)
    assert b"secret of a" in values_in(file_saver)
    taken(file_saver, "c")
    taken(file_saver, "a", "c")


def test_each_value_that_a_fork_shares_is_stored_in_full_once(file_saver: EventLogSaver, taken: Any) -> None:
    text = "".join(chr(0x4E00 + i * i % 20_000) for i in range(30_000))
    values: dict[str, Any] = {"large": text, "list": [text[:5000], *map(str, range(300))], "dict": {"k": text[::-1]}}
    put(file_saver, "a", "0", None, values)
    put(file_saver, "a", "1", "0", values)
    file_saver.prune(["a"])
    file_saver.copy_thread("a", "b")
    for n in range(1, 20):
        changed = {**values, "list": [*values["list"], *"x" * n], "dict": {**values["dict"], "n": n}, "n": n}
        put(file_saver, "b", f"{n + 1:03}", "1" if n == 1 else f"{n:03}", changed)
    made = taken(file_saver, "b")
    sizes = [sum(event.size for event in saver.log.read()) for saver in (made, file_saver)]
    assert sizes[0] < 1.3 * sizes[1]


def test_versions_that_a_fork_shares_are_whole(file_saver: EventLogSaver, taken: Any) -> None:
    """With many channels, they are stored as what differs from the parent's."""
    versions = {f"channel {n}": f"{n:032}.{n:016}" for n in range(80)}
    for n in range(12):
        thread = "a" if n < 6 else "b"
        if n == 6:
            file_saver.prune(["a"])
            file_saver.fork_thread(config_of("a", "", "5"), "b")
        versions = {**versions, f"channel {n}": f"{n + 1:032}.0"}
        seen = {"node": versions, "other": {f"channel {n}": f"{n:032}"}}
        checkpoint = {
            **EMPTY,
            "id": f"{n:x}",
            "channel_values": {},
            "channel_versions": versions,
            "versions_seen": seen,
        }
        file_saver.put(config_of(thread, "", f"{n - 1:x}" if n else None), checkpoint, {}, {})  # type: ignore[arg-type]
    referring = [event for event in file_saver.log.read() if not isinstance(stored_versions(event), DictOf | Whole)]
    assert len(referring) > 4
    made = taken(file_saver, "b")
    assert any(not isinstance(stored_versions(event), DictOf | Whole) for event in made.log.read(kinds=[Kind.PUT]))


def stored_versions(event: Any) -> Any:
    return event.data.channel_versions if event.kind == Kind.PUT else Whole("", b"")


def test_writes_that_are_patches_to_others_stay_so_or_become_whole(file_saver: EventLogSaver, taken: Any) -> None:
    text = "".join(chr(0x4E00 + i * i % 20_000) for i in range(5_000))
    for n in range(4):
        put(file_saver, "a", f"{n}", None, {})
        file_saver.put_writes(config_of("a", "", f"{n}"), [("doc", f"{n} {text}")], "t")
    assert sum(patches(file_saver)) == 3
    assert sum(patches(taken(file_saver, "a"))) == 3
    # A fork has the writes of the latest alone, and not those which they are a patch to.
    file_saver.fork_thread(config_of("a", "", "3"), "b")
    made = taken(file_saver, "b")
    assert patches(made) == [False]
    # All of them go along with a copy.
    file_saver.copy_thread("a", "c")
    assert sum(patches(taken(file_saver, "c"))) == 3


def patches(saver: EventLogSaver) -> list[bool]:
    with saver.log.database.reading() as connection:
        rows, _ = saver.log.reader.page(connection, 0, 1000)
    return [record_codec.base_of_patch(row[4]) is not None for row in rows if row[2] == Kind.PUT_WRITES]


def test_the_order_of_writes_stays_where_only_some_of_them_were_anothers(file_saver: EventLogSaver, taken: Any) -> None:
    """The first of them that is written at a place stays, and the last that is written for __resume__."""
    for thread in ("a", "b"):
        put(file_saver, thread, "0", None, {})
        for task, value in (("t", f"{thread} 1"), ("t", f"{thread} 2")):
            file_saver.put_writes(config_of(thread, "", "0"), [("x", value), ("__resume__", value)], task)
    positions = {name: [event.position for event in file_saver.log.read(thread_id=name)] for name in ("a", "b")}
    mixed = tuple(("0", positions[name][n]) for name, n in (("b", 1), ("a", 2), ("b", 2), ("a", 1)))
    streams = (CopiedStream("", (("0", positions["b"][0], False),), mixed),)
    file_saver.log.append(NewEvent(Copy("copy", "b", None, streams), "c"))
    for threads in (["c"], ["a", "c"], ["b", "c"], ["a", "b", "c"]):
        taken(file_saver, *threads)


def test_what_was_erased_is_not_there_and_times_stay(file_saver: EventLogSaver, taken: Any, clock: Any) -> None:
    talk(file_saver, "a", *map(str, range(3)))
    file_saver.fork_thread(config_of("a", "", None), "b")
    file_saver.prune(["a", "b"])
    assert file_saver.compact().events_erased
    made = taken(file_saver, "a", "b")
    ((_, kinds),) = {("", tuple(e.kind for e in made.log.read(kinds=[Kind.CARRY, Kind.COMPACTION])))}
    assert Kind.CARRY in kinds
    assert Kind.COMPACTION not in kinds
    with made.log.database.reading() as connection:
        (origin,) = origins(made.log, connection)
        data = made.log.reader.data(connection, origin.position)
    assert data is not None
    assert isinstance(data[1], Import)
    assert data[1].source["erased"] > 0


def test_elements_that_a_later_version_added_stay(file_saver: EventLogSaver, make_saver: Any, tmp_path: Path) -> None:
    """Of every kind that is encoded again, with new bases and without."""
    talk(file_saver, "a", "one", "two")
    file_saver.fork_thread(config_of("a", "", None), "b")
    file_saver.register_thread("a", "name")
    file_saver.prune(["a", "b"])
    file_saver.delete_for_runs(["none"])
    with file_saver.log.database.reading() as connection:
        rows, _ = file_saver.log.reader.page(connection, 0, 1000)
        opened = [(row, file_saver.log.reader.opened(row)) for row in rows]
    later = make_saver(tmp_path / "later.db")

    def decide(connection: Any) -> None:
        for row, record in opened:
            array = [*record.array, {"later": row[0]}]
            encoded = record_codec.encode(pack(array), record.bases)
            new = NewEvent(record.data(), row[8], row[9] or "")
            prepared = PreparedEvent(new, Kind(row[2]), encoded, digest_of(encoded), frozenset(record.bases))
            later.log.append_within(connection, prepared, recorded_at=row[1])

    later.log.transact(decide)
    added = dict(added_in(later))
    assert set(added) == {Kind.PUT, Kind.PUT_WRITES, Kind.COPY, Kind.THREAD, Kind.PRUNE}
    for n, (threads, rename) in enumerate([(["a", "b"], {}), (["b"], {}), (["a"], {"a": "new"})]):
        extract(later, tmp_path / f"{n}.db", threads, rename=rename, check=True)
        found = dict(added_in(make_saver(tmp_path / f"{n}.db")))
        assert {kind for kind, here in found.items() if here} == set(found) - {Kind.IMPORT, Kind.CARRY}


def added_in(saver: EventLogSaver) -> list[tuple[Kind, bool]]:
    with saver.log.database.reading() as connection:
        rows, _ = saver.log.reader.page(connection, 0, 1000)
        opened = [saver.log.reader.opened(row) for row in rows]
    return [(o.kind, isinstance(o.array[-1], dict) and "later" in o.array[-1]) for o in opened]


def test_a_thread_under_another_id_names_itself_so(file_saver: EventLogSaver, taken: Any) -> None:
    talk(file_saver, "a", "one")
    put(file_saver, "a", "zz", None, {"x": 1}, ns="sub")
    file_saver.copy_thread("a", "b")
    made = taken(file_saver, "a", "b", rename={"a": "b", "b": "a"})
    assert {one.metadata["thread_id"] for one in made.list(config_of("b", "sub", None))} == {"b"}
    assert {one.metadata["thread_id"] for one in made.list(config_of("a", "sub", None))} == {"a"}
    (copy,) = made.log.read(kinds=[Kind.COPY])
    assert (copy.thread_id, copy.data.source_thread_id) == ("a", "b")


def test_values_under_another_serializer_and_key_are_not_looked_into(make_saver: Any, taken: Any) -> None:
    class Cipher(CipherProtocol):
        key = Fernet(Fernet.generate_key())

        def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
            return "fernet", self.key.encrypt(plaintext)

        def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
            return self.key.decrypt(ciphertext)

    source = make_saver(serde=EncryptedSerializer(Cipher()))
    talk(source, "a", "one", "two")
    source.prune(["a"])  # with the writes of which its encrypted messages are slices
    source.fork_thread(config_of("a", "", None), "b")
    talk(source, "b", "three")
    made = taken(source, "b")
    assert b"and so on" not in values_in(made)


def test_import_events_come_along_narrowed_and_say_where_it_all_began(
    file_saver: EventLogSaver, make_saver: Any, tmp_path: Path
) -> None:
    talk(file_saver, "a", "one")
    talk(file_saver, "b", "two")
    first = [event.position for event in file_saver.log.read(thread_id="b")]
    file_saver.log.append(NewEvent(Import({"program": "x"}, ((1, first[-1]),), 9, 9)))
    second, third = make_saver(tmp_path / "2.db"), make_saver(tmp_path / "3.db")
    second.register_thread("other")
    merge(second, file_saver)
    merge(third, second, ["b"])
    with third.log.database.reading() as connection:
        found = origins(third.log, connection)
    through = [origin for origin in found if origin.through]
    assert [origin.ids for origin in through] == [{"b": "b"}]
    assert len(found) == 2
    events = [e for e in third.log.read(thread_id="b") if e.thread_id == "b"]
    assert [through[0].moved.there(event.position) for event in events] == first
    imports = [event.data for event in third.log.read(kinds=[Kind.IMPORT])]
    assert [data.source.get("program") for data in imports] == ["x", None, None]
    puts = sum(event.kind == Kind.PUT for event in events)
    assert [data.checkpoints for data in imports] == [puts] * 3
    assert [*check_provenance(third, second)] == []


def test_more_runs_of_positions_than_one_import_event_tells_of(
    file_saver: EventLogSaver, taken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "_MAX_RANGES", 2)
    for n in range(10):
        put(file_saver, "ab"[n % 2], str(n), None, {"n": n})
    made = taken(file_saver, "a")
    with made.log.database.reading() as connection:
        found = origins(made.log, connection)
    assert len(found) == 3
    assert [len(origin.ids) for origin in found] == [0, 0, 1]


def test_facts_of_users_projections_do_not_come_along(file_saver: EventLogSaver, taken: Any) -> None:
    talk(file_saver, "a", "one")
    file_saver.log.append(NewEvent(Carry("token_usage", {"a": 1})))
    file_saver.log.append(NewEvent(Carry("threads", [["a", 5, 6], ["b", 7, 8]])))
    made = taken(file_saver, "a")
    assert [event.data.facts for event in made.log.read(kinds=[Kind.CARRY])] == [[["a", 5, 6]]]


def test_a_comparison_finds_what_is_not_what_it_was(file_saver: EventLogSaver, make_saver: Any, tmp_path: Path) -> None:
    put(file_saver, "a", "0", None, {"x": 1})
    file_saver.put_writes(config_of("a", "", "0"), [("x", 2)], "t")
    file_saver.register_thread("a", "name")
    put(file_saver, "a", "1", "0", {"x": 1})
    merge(target := make_saver(tmp_path / "t.db"), file_saver)
    good = [*target.log.read()]
    data = good[-1].data
    assert isinstance(data, Import)
    forged = make_saver(tmp_path / "forged.db")
    put(forged, "a", "0", None, {"x": 1})
    forged.put_writes(config_of("a", "", "0"), [("x", 3)], "t")
    forged.log.append(NewEvent(Thread("other", {}), "a"))
    source = {**data.source, "moved": [[1, 3, 1]]}
    forged.log.append(NewEvent(Import(source, ((1, 3),), 1, 1)))
    found = [*check_provenance(forged, file_saver)]
    assert [finding.position for finding in found] == [1, 2, 3, None]  # times, and what they say; and one is not there
    # Another log in the source's place.
    head = str(file_saver.log.head()).replace(":", ":00", 1)[:-2]
    forged.log.append(NewEvent(Import({**source, "anchor": head}, ((1, 3),), 1, 1)))
    assert any(finding.code == "anchor" for finding in check_provenance(forged, file_saver))


def test_a_damaged_event_is_named_and_nothing_is_made(
    file_saver: EventLogSaver, make_saver: Any, tmp_path: Path
) -> None:
    talk(file_saver, "a", "one")
    talk(file_saver, "b", "two")
    position = next(event.position for event in file_saver.log.read(thread_id="b"))
    with file_saver.log.database.exclusive() as connection:
        connection.execute("DROP TRIGGER event_never_changes")
        connection.execute("UPDATE event SET record = x'00' WHERE position = ?", (position,))
    make_saver.damaged(file_saver.path)
    with pytest.raises(LogDamagedError, match=f"event {position} "):
        extract(file_saver, tmp_path / "t.db", ["a", "b"])
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("agent.db")] == []
    target = make_saver(tmp_path / "m.db")
    merge(target, file_saver, ["a"])
    before = target.log.head()
    with pytest.raises(LogDamagedError, match=f"event {position} "):
        merge(target, file_saver, ["b"])
    assert target.log.head() == before


def test_bodies_are_the_same_bytes_where_nothing_in_them_changes(file_saver: EventLogSaver, taken: Any) -> None:
    talk(file_saver, "other", "zero")
    talk(file_saver, "a", "one", "two")
    made = taken(file_saver, "a")
    old, new = ([*bodies(saver, "a")] for saver in (file_saver, made))
    assert old == new


def bodies(saver: EventLogSaver, thread: str) -> Any:
    with saver.log.database.reading() as connection:
        rows, _ = saver.log.reader.page(connection, 0, 1000)
        for row in rows:
            if row[8] == thread and record_codec.base_of_patch(row[4]) is None:
                bases, body = record_codec.decode(row[4])
                assert unpack_body(row[2], body, bases)
                yield body
