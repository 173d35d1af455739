"""Makes a golden database of format version 1: run it only when the format has something that none of them holds.

    python tests/golden/make.py everything tests/golden/v1.db
    python tests/golden/make.py similar tests/golden/v1-similar.db
    python tests/golden/make.py compacted tests/golden/v1-compacted.db

They are kept in the repository, never made again: what they hold must stay readable for ever. v1.db is from before
there were dictionaries; v1-dictionary.db has the same events, the small ones compressed with dictionary 1;
v1-similar.db has put_writes that are patches to earlier ones, and puts that refer to them; v1-compacted.db has
checkpoints and writes that were stored anew, and has been compacted: of every kind that is ever erased, something is.
Tests use `fill` and the others, too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import apsw
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog import (
    Carry,
    Compaction,
    Import,
    Kind,
    NewEvent,
    Put,
    PutWrites,
    Restate,
    RestateWrites,
    Whole,
    Write,
    appender,
)
from langgraph_eventlog.eventlog.event import writes_of
from langgraph_eventlog.eventlog.integrity import inner_of
from langgraph_eventlog.eventlog.plain import pack
from langgraph_eventlog.eventlog.record import decode
from langgraph_eventlog.eventlog.value import Carried, DictOf, Edit, ListOf, Slice, Splice
from langgraph_eventlog.saver import EventLogSaver

EMPTY: dict = {}


def config(thread_id: str, checkpoint_id: str | None = None, checkpoint_ns: str = "") -> dict:
    given = {"thread_id": thread_id, "checkpoint_ns": checkpoint_ns}
    return {"configurable": given if checkpoint_id is None else {**given, "checkpoint_id": checkpoint_id}}


def checkpoint(checkpoint_id: str, **values: object) -> dict:
    return {
        "v": 4,
        "id": checkpoint_id,
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": values,
        "channel_versions": dict.fromkeys(values, "1.0"),
        "versions_seen": {"agent": {"messages": "1.0"}},
        "updated_channels": sorted(values),
    }


def put(
    saver: EventLogSaver, thread_id: str, checkpoint_id: str, parent: str | None = None, *, ns: str = "", **rest: object
) -> None:
    """Put a checkpoint whose `big` is as its parent's, so that it is stored by reference."""
    values = {"messages": [f"hello {checkpoint_id}"], "big": "x" * 300, **rest}
    metadata = {"source": "loop", "step": int(checkpoint_id[1:]), "run_id": f"{thread_id}-{checkpoint_id}"}
    saver.put(config(thread_id, parent, ns), checkpoint(checkpoint_id, **values), metadata, EMPTY)


def fill(saver: EventLogSaver) -> None:
    """Append every kind of event that the saver makes by itself."""
    put(saver, "a", "c1", zero="nul\0", none=None)
    saver.put_writes(config("a", "c1"), [("messages", "one"), ("__error__", "bad"), ("none", None)], "task-1", "path-1")
    put(saver, "a", "c2", "c1")
    saver.put_writes(config("a", "c2"), [("messages", "two")], "task-2")
    put(saver, "a", "c3", "c2", data=b"\x00\xff", pair=(1, 2), kept={"k": {1, 2}})
    put(saver, "a", "c1", ns="child:1", sub=1)
    saver.register_thread(
        "a", "first", {"owner": "ann", "tags": ["x", "y"], "note": "\ud800 lone\0", "big": -(2**100), "set": {1}}
    )
    saver.copy_thread("a", "copied")
    saver.fork_thread(config("a", "c2"), "forked", {"from": "a"})
    put(saver, "runs", "c1")
    put(saver, "runs", "c2", "c1")
    saver.delete_for_runs(["runs-c1"])
    put(saver, "pruned", "c3")
    put(saver, "pruned", "c4", "c3")
    saver.put_writes(config("pruned", "c4"), [("__interrupt__", ["ask"]), ("__resume__", "yes")], "task-3", "path-2")
    saver.prune(["pruned"], strategy="keep_latest")
    put(saver, "gone", "c1")
    saver.put_writes(config("gone", "c1"), [("messages", "three")], "task-4")
    saver.delete_thread("gone")
    put(saver, "gone too", "c1")
    saver.prune(["gone too"], strategy="delete")
    put(saver, "last \U0001f600", "c9")
    saver.put_writes(config("last \U0001f600", "c9"), [("messages", "four")], "task-5")


def fill_differences(saver: EventLogSaver) -> None:
    """Append values of every kind: large ones that change as the saver's, slices by hand."""
    story = "".join(f"Sentence {i} says that {i} times {i} is {i * i}. " for i in range(100))
    messages = [f"message {i}: " + "abc " * 10 for i in range(30)]
    profile = {f"key {i}": f"fact {i}: " + "def " * 10 for i in range(30)}

    def step(n: int, **changed: object) -> None:
        values = {"messages": messages, "profile": profile, "story": story, **changed}
        many = {
            **checkpoint(f"d{n}", **values),
            "channel_versions": {f"channel {i}": f"{n // 2}.{i}" for i in range(99)},
        }
        many["channel_versions"]["messages"] = f"{n}.0"
        saver.put(config("values", f"d{n - 1}" if n > 1 else None), many, {"source": "loop", "step": n}, EMPTY)

    step(1)
    messages = [*messages[:10], "another tenth", *messages[11:], "one more"]
    profile = {"first of all": "new", **profile, "key 3": "changed"}
    del profile["key 5"]
    story = story.replace("Sentence 50 ", "Sentence fifty ")
    step(2)
    story += "The end."
    step(3)
    messages = [*messages, "the last"]
    profile = {**profile, "last of all": "new"}
    story = "It was so: " + story
    step(4)
    step(5, messages="a text", profile=list(profile))
    _fill_slices(saver)


def _fill_slices(saver: EventLogSaver) -> None:
    def dumped(value: object) -> Whole:
        return Whole(*JsonPlusSerializer().dumps_typed(value))

    texts = ["hello", "world", "and so on"]
    batch = (
        Write("other", 0, dumped("passed over")),
        Write("messages", 1, dumped(texts)),
        Write("list", 2, ListOf((dumped("one"), dumped(2)))),
        Write("dict", 3, DictOf((("one", dumped(1)), ("two", dumped("2"))))),
    )
    writes = saver.log.append(NewEvent(PutWrites("s1", "task-6", "path-3", batch), "slices")).position
    tag, data = batch[1].value.tag, batch[1].value.data

    def piece(text: str) -> Slice:
        packed = dumped(text).data
        return Slice(tag, writes, 1, data.index(packed), len(packed))

    def append(checkpoint_id: str, parent_id: str | None, channels: dict[str, Any]) -> int:
        empty = Whole("=", pack({}))
        put = Put(checkpoint_id, parent_id, pack({"source": "loop", "step": 1}), channels, empty, empty, {"v": 4})
        return saver.log.append(NewEvent(put, "slices")).position

    listed = ListOf((piece("hello"), dumped("between"), piece("world")))
    first = append("s1", None, {"messages": listed, "profile": DictOf((("a", piece("hello")), ("b", dumped("whole"))))})
    spliced = Splice(first, 1, (piece("and so on"), dumped("new")), 1)
    second = append("s2", "s1", {"messages": spliced, "profile": Edit(first, (("a", piece("world")),), ("b",))})
    append("s3", "s2", {"messages": Carried(second), "profile": Edit(second, (("z", dumped("z")),), (), (1, 0))})


def fill_erased(saver: EventLogSaver) -> None:
    """Append what retention and import make: restated checkpoints, facts carried on, and real erasures."""
    put(saver, "lost", "c1")
    saver.copy_thread("lost", "copied and lost")
    saver.delete_thread("lost")
    saver.delete_thread("copied and lost")
    messages = [f"message {i}: " + "ghi " * 20 for i in range(20)]
    for n in (1, 2, 3):
        put(saver, "restated", f"c{n}", f"c{n - 1}" if n > 1 else None, messages=messages[: 17 + n])
    _restate(saver, "restated", "c3", hidden=False)
    saver.prune(["restated"], strategy="keep_latest")
    _erase(saver, {"gone", "gone too", "lost", "restated"})
    put(saver, "hidden", "c1")
    named = {"source": "loop", "step": 2, "thread_id": "hidden"}
    saver.put(config("hidden", "c1"), checkpoint("c2", big="x" * 300), named, EMPTY)
    _restate(saver, "hidden", "c1", hidden=True)
    saver.copy_thread("hidden", "copied, one hidden")
    saver.copy_thread("copied, one hidden", "copied twice")
    head = saver.log.head().position
    put(saver, "imported", "c1")
    saver.put_writes(config("imported", "c1"), [("messages", "five")], "task-7")
    imported = ((head + 1, head + 2),)
    saver.log.append(NewEvent(Import({"program": "another", "file": "old.db"}, imported, checkpoints=1, writes=1)))


def _restate(saver: EventLogSaver, thread_id: str, checkpoint_id: str, *, hidden: bool) -> None:
    """Append a checkpoint anew, its channels by themselves instead of as differences."""
    found = saver.log.read(thread_id=thread_id, kinds=[Kind.PUT])
    event = next(e for e in found if isinstance(e.data, Put) and e.data.checkpoint_id == checkpoint_id)
    assert isinstance(event.data, Put)
    channels: dict[str, Any] = {}
    for name, value in saver.log.values(event).items():
        match value:
            case tuple():
                channels[name] = ListOf(value)
            case dict():
                channels[name] = DictOf(tuple(value.items()))
            case _:
                channels[name] = value
    own = event.data._replace(channels=channels)
    saver.log.append(NewEvent(Restate(hidden, own), thread_id))


def _erase(saver: EventLogSaver, threads: set[str]) -> None:
    """Erase what may be of these threads, as FORMAT.md section 6 says, in one transaction."""

    def decide(connection: apsw.Connection) -> NewEvent:
        tables = ("history", "history_recent", "pending_writes")
        pointed = [f"SELECT position FROM {table}" for table in tables] + ["SELECT head FROM meta"]
        needed = {position for (position,) in connection.execute(" UNION ".join(pointed))}
        erased, size = [], 0
        for event in sorted(saver.log.read(), key=lambda e: -e.position):
            if (
                event.kind in (Kind.PUT, Kind.PUT_WRITES)
                and event.thread_id in threads
                and event.position not in needed
            ):
                address = (event.thread_id, event.checkpoint_ns or "")
                inner = inner_of(recorded_at=event.recorded_at, address=address, digest=event.digest)
                connection.execute("INSERT INTO erased VALUES (?, ?, ?)", (event.position, int(event.kind), inner))
                connection.execute("DELETE FROM event WHERE position = ?", (event.position,))
                erased.append(event.position)
                size += event.size
            else:
                record = connection.execute("SELECT record FROM event WHERE position = ?", (event.position,)).fetchone()
                needed |= set(decode(record[0])[0])
        facts = "SELECT t.thread_id, a.created_at, a.last_activity FROM threads AS a JOIN thread AS t USING (thread)"
        carry = appender.prepare(NewEvent(Carry("threads", [list(row) for row in connection.execute(facts)])))
        recorded = appender.append(
            connection, carry, head=saver.log.reader.head(connection), keys=saver.log.keys, clock=saver.log._clock
        )
        saver._core.projector.apply(connection, recorded)
        return NewEvent(Compaction({"keep": "what is reachable"}, _ranges(sorted(erased)), size))

    saver.log.transact(decide)


def _ranges(positions: list[int]) -> tuple[tuple[int, int], ...]:
    ends = [a for a, b in pairwise(positions) if b != a + 1] + [positions[-1]]
    starts = [positions[0]] + [b for a, b in pairwise(positions) if b != a + 1]
    return tuple(zip(starts, ends, strict=True))


def fill_everything(saver: EventLogSaver) -> None:
    """Append every kind of event, and every kind of value."""
    fill(saver)
    fill_differences(saver)
    fill_erased(saver)


def story(n: int) -> str:
    """A text of some length, of which two differ by a word."""
    told = "".join(f"Once upon time {i} there was {i * i}. " for i in range(200))
    return told.replace(f"upon time {n} ", f"upon hour {n} ")


def fill_similar(saver: EventLogSaver) -> None:
    """Append documents that are written again and again, each time a little changed."""
    state = {f"{n}.txt": f"{n}: {story(n)}" for n in range(4)}
    saver.put(config("documents"), checkpoint("00", files=dict(state)), {"step": 0}, EMPTY)
    for n in range(1, 8):
        new = {"2.txt": f"2: {story(n * 7)}"}
        saver.put_writes(config("documents", f"{n - 1:02}"), [("files", new)], f"task {n}")
        state |= new
        saver.put(config("documents", f"{n - 1:02}"), checkpoint(f"{n:02}", files=dict(state)), {"step": n}, EMPTY)


def fill_restated(saver: EventLogSaver) -> None:
    """Append writes, and a checkpoint, stored anew, also of copies; twice, so that nothing needs the first any more."""
    for n in (1, 2):
        put(saver, "anew", f"c{n}", f"c{n - 1}" if n > 1 else None, messages=["one", "two", f"message {n} " * 20])
        saver.put_writes(config("anew", f"c{n}"), [("messages", f"six {n}"), ("__interrupt__", "?")], f"task-{n}", "p")
    saver.copy_thread("anew", "copied before")
    for thread_id in ("anew", "copied before") * 2:
        _restate_writes(saver, thread_id)
    for _ in range(2):
        _restate(saver, "anew", "c2", hidden=False)
    saver.copy_thread("anew", "copied after")


def _restate_writes(saver: EventLogSaver, thread_id: str) -> None:
    """Append the writes at a thread's first checkpoint anew, in their place."""
    with saver.log.database.reading() as connection:
        row = connection.execute(
            "SELECT position, applied, ordinal FROM pending_writes JOIN stream USING (stream) JOIN thread "
            "USING (thread) WHERE thread_id = ? AND checkpoint_ns = '' ORDER BY checkpoint_id LIMIT 1",
            (thread_id,),
        )
        position, applied, ordinal = row.fetchall()[0]
    writes = writes_of(next(saver.log.read(after=position - 1, limit=1)).data)
    assert writes is not None
    saver.log.append(NewEvent(RestateWrites(applied, ordinal, writes), thread_id))


def fill_compacted(saver: EventLogSaver) -> None:
    """Append what compaction erases of each kind, and let it do that."""
    fill_restated(saver)
    put(saver, "deleted", "c1")
    saver.put_writes(config("deleted", "c1"), [("messages", "seven")], "task-8")
    saver.register_thread("deleted", "a name", {"owner": "ann"})
    saver.copy_thread("deleted", "copied and deleted")
    saver.delete_thread("deleted")
    saver.prune(["copied and deleted"], strategy="delete")
    for n in (1, 2):
        saver.log.append(NewEvent(Carry("someone's projection", {"total": n})))
    saver.compact()
    put(saver, "afterwards", "c1")


FILLS = {"everything": fill_everything, "similar": fill_similar, "compacted": fill_compacted}


def ticking() -> Callable[[], int]:
    now = 1_767_225_600_000_000

    def tick() -> int:
        nonlocal now
        now += 1_000_000
        return now

    return tick


def main(what: str, path: Path) -> None:
    if path.exists():
        raise SystemExit(f"{path} is there already: a golden database is made once")
    with mock.patch("os.urandom", lambda n: bytes(range(n))), EventLogSaver(path, clock=ticking()) as saver:
        FILLS[what](saver)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
