"""FORMAT.md says what the code does: its example, its tables, and a database kept since the format was new."""

from __future__ import annotations

import hashlib
import re
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest import mock

import apsw
import msgpack
import pytest
import zstandard
from langgraph_eventlog.eventlog import (
    Copy,
    EventLog,
    Kind,
    NewEvent,
    Put,
    PutWrites,
    Restate,
    Whole,
    Write,
    dictionaries,
    errors,
    looking,
    opening,
    record,
    value,
)
from langgraph_eventlog.eventlog import body as body_codec
from langgraph_eventlog.eventlog.event import ERASABLE
from langgraph_eventlog.eventlog.integrity import digest_of, genesis_link, inner_of, leaf_of, link_of
from langgraph_eventlog.saver import EventLogSaver

FORMAT = files("langgraph_eventlog.eventlog").joinpath("FORMAT.md").read_text(encoding="utf-8")
GOLDEN = Path(__file__).parents[1] / "golden" / "v1.db"
GOLDEN_DICTIONARY = GOLDEN.with_name("v1-dictionary.db")
DATA = PutWrites("c", "a", "", (Write("messages", 0, Whole("msgpack", msgpack.packb("hi"))),))
LOG_ID = bytes(range(16))
AT = 1_700_000_000_000_000


def section(number: int) -> str:
    found = re.search(rf"^## {number}\. .*?(?=^## |\Z)", FORMAT, re.MULTILINE | re.DOTALL)
    assert found
    return found.group()


def tables(text: str) -> list[list[list[str]]]:
    """Every table's rows, without heads; code marks taken off."""
    found = re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE)
    return [
        [[c.strip().strip("`") for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in t.splitlines()[2:]]
        for t in found
    ]


def parts(rows: list[list[str]], offset: int) -> bytes:
    """Put a table's hex together, checking that its offsets and sizes are right."""
    out = b""
    for at, size, _, digits in rows:
        data = bytes.fromhex(digits)
        assert (int(at), int(size)) == (offset + len(out), len(data))
        out += data
    return out


@pytest.fixture(scope="module")
def example() -> dict[str, bytes]:
    header, inside, hashes = tables(section(10))
    whole = parts(header, 0)
    body = parts(inside, 5)
    assert whole.endswith(body)
    assert len(whole) == 5 + len(body) == 38
    return {"record": whole, "body": body, **{name: bytes.fromhex(digits) for name, digits in hashes}}


def test_the_code_makes_the_example(example: dict[str, bytes]) -> None:
    body = body_codec.encode_body(DATA, frozenset())
    assert body == example["body"]
    assert record.encode(body) == example["record"]
    assert digest_of(example["record"]) == example["digest"]
    inner = inner_of(recorded_at=AT, address=("t", ""), digest=example["digest"])
    assert inner == example["inner"]
    assert leaf_of(position=1, kind=Kind.PUT_WRITES, inner=inner) == example["leaf"]
    assert genesis_link(log_id=LOG_ID, created_at=AT) == example["link(0)"]
    assert link_of(example["link(0)"], example["leaf"]) == example["link(1)"]


def test_the_code_reads_the_example(example: dict[str, bytes]) -> None:
    assert record.decode(example["record"]) == ((), example["body"])
    assert body_codec.decode_body(2, example["body"], ()) == DATA


def test_a_log_whose_first_event_is_the_examples_holds_it(example: dict[str, bytes], tmp_path: Path) -> None:
    with mock.patch("os.urandom", lambda n: bytes(range(n))), EventLog(tmp_path / "agent.db", clock=lambda: AT) as log:
        assert log.head().link == example["link(0)"]
        log.append(NewEvent(DATA, "t"))
        with log.database.reading() as connection:
            row = connection.execute("SELECT position, recorded_at, kind, record, digest, link FROM event").fetchall()
    assert row == [(1, AT, 2, example["record"], example["digest"], example["link(1)"])]
    assert "log_id `000102030405060708090a0b0c0d0e0f`" in section(10)


def test_a_reader_with_nothing_but_msgpack_and_sha256_reads_the_example(example: dict[str, bytes]) -> None:
    """Written from the page alone, without the code."""
    data = example["record"]
    assert (data[0], data[1], data[2]) == (1, 0, 0)
    size, count = data[3], data[4]
    body = data[5:]
    assert (len(body), count) == (size, 0)
    checkpoint_id, task_id, task_path, writes = msgpack.unpackb(body)
    assert (checkpoint_id, task_id, task_path) == ("c", "a", "")
    ((channel, idx, (kind, tag, payload)),) = writes
    assert (channel, idx, kind, tag, msgpack.unpackb(payload)) == ("messages", 0, 0, "msgpack", "hi")

    def sha(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    def lp(*given: bytes) -> bytes:
        return b"".join(len(x).to_bytes(4, "big") + x for x in given)

    def i64(number: int) -> bytes:
        return number.to_bytes(8, "big", signed=True)

    digest = sha(data)
    inner = sha(lp(i64(AT), b"stream", b"t", b"", digest))
    leaf = sha(lp(i64(1), i64(2), inner))
    genesis = sha(b"langgraph-eventlog" + LOG_ID + i64(AT))
    assert [digest, inner, leaf, genesis, sha(genesis + leaf)] == [
        example[name] for name in ("digest", "inner", "leaf", "link(0)", "link(1)")
    ]


def test_the_table_of_kinds_is_the_enum() -> None:
    (rows,) = [t for t in tables(section(4)) if len(t[0]) == 4]
    assert {int(row[0]): row[1] for row in rows} == {int(kind): kind.name.lower() for kind in Kind}
    assert "0 is never used, 13 to 255 are reserved" in section(4)
    assert max(Kind) == 12
    assert set(body_codec._DECODERS) == set(Kind)


def test_the_table_of_values_is_what_the_code_writes() -> None:
    kinds = [row for t in tables(section(5)) if len(t[0]) == 3 for row in t]
    assert [int(row[0]) for row in kinds] == list(range(7))
    assert kinds[0][1] == "[0, tag, data]"
    assert value.encode_value(Whole("t", b"d"), {}) == [0, "t", b"d"]
    assert kinds[1][1] == "[1, base]"
    assert value.encode_value(value.Carried(7), {7: 3}) == [1, 3]
    assert f"The tag `{value.PLAIN_TAG}` is the log's own" in section(5)


def test_the_table_of_the_record_has_the_codes_numbers() -> None:
    (layout, codec, dictionary, size, count, *_), _ = tables(section(3))
    assert layout[2] == f"layout: `{record._LAYOUT}"
    assert f"`{record._STORED}` the body as it is, `{record._ZSTD}` one zstd frame" in codec[2]
    assert dictionary[:2] == ["2", "1"]
    assert f"{record.MAX_BODY_BYTES:,}" in size[2]
    assert f"{record.MAX_BASES:,}" in count[2]


def test_the_table_of_dictionaries_is_that_of_the_files_that_ship() -> None:
    _, rows = tables(section(3))
    folder = files("langgraph_eventlog.eventlog.dictionaries")
    assert sorted(row[1] for row in rows) == sorted(f.name for f in folder.iterdir() if f.name.endswith(".zdict"))
    assert {int(row[0]): row[4] for row in rows} == dictionaries.SHA256
    for number, name, size, zstd_id, sha256 in rows:
        data = folder.joinpath(name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (int(size), sha256)
        assert zstandard.ZstdCompressionDict(data).dict_id() == int(zstd_id) == dictionaries.zstd_id(int(number))
        assert data[:4] == bytes.fromhex("37a430ec")
        assert "magic `37a430ec`" in section(3)


def test_the_page_says_which_bodies_the_writer_compresses_and_how() -> None:
    assert f"bodies below {record._MIN_COMPRESSED_BYTES} bytes" in section(3)
    assert f"for bodies of up to {record._MAX_DICTIONARY_BYTES:,} bytes" in section(3)
    assert f"a body of {record._MIN_REPETITIVE_BYTES:,} bytes or more" in section(3)


def test_the_table_of_identity_is_the_codes() -> None:
    text = section(1)
    assert f"0x{opening.APPLICATION_ID:X}" in text
    assert opening.APPLICATION_ID.to_bytes(4, "big") == b"LGEV"
    assert looking._JOURNAL_MAGIC.hex() in text
    assert re.search(rf"user_version`? \| `{opening.FORMAT_VERSION}`", text)


def test_the_tables_of_columns_are_those_of_the_schema() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute(opening._SCHEMA)
    meta, event = [[row[0] for row in t] for t in tables(section(2))]
    for table, columns in (("meta", meta), ("event", event)):
        assert columns == [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    for table in ("thread", "stream", "erased", "projection"):
        for row in connection.execute(f"PRAGMA table_info({table})"):
            assert f"`{row[1]}`" in section(2), (table, row[1])
    connection.close()


def test_every_error_is_in_the_tree_at_the_top_of_its_module() -> None:
    assert errors.__doc__ is not None
    assert set(re.findall(r"\w+Error\b", errors.__doc__)) - {"ValueError", "TypeError"} == set(errors.__all__)


# The golden database, made once by tests/golden/make.py.


@pytest.fixture
def old(tmp_path: Path, make_saver: Any) -> EventLogSaver:
    shutil.copy(GOLDEN, tmp_path / "v1.db")
    return make_saver(tmp_path / "v1.db")


@pytest.mark.plain_file("the golden databases are not encrypted")
def test_the_golden_database_verifies_from_its_birth_to_its_end(old: EventLogSaver) -> None:
    assert list(old.log.verify()) == []
    created = 1_767_225_601_000_000
    with old.log.database.reading() as connection:
        assert connection.execute("SELECT log_id, created_at FROM meta").fetchall() == [(LOG_ID, created)]
    assert old.log.head().position == 51
    assert str(old.log.head()) == "51:2d1cacf419685b368bee76894661695b96b6d69c980fbd955e6db7026fb9619c"


@pytest.mark.plain_file("the golden databases are not encrypted")
def test_the_golden_database_holds_every_kind_of_event_and_of_value(old: EventLogSaver) -> None:
    events = list(old.log.read())
    assert {e.kind for e in events} == set(Kind) - {Kind.RESTATE_WRITES}  # which are in another
    assert "".join(f"{e.kind:x}" for e in events) == "12121176611411253512111112111633b59a11b66128"
    with old.log.database.reading() as connection:
        erased = connection.execute("SELECT position, kind FROM erased ORDER BY position").fetchall()
        records = [row for (row,) in connection.execute("SELECT record FROM event").fetchall()]
    assert erased == [(17, 1), (18, 2), (20, 1), (33, 1), (37, 1), (38, 1), (39, 1)]
    assert {data[1] for data in records} == {record._STORED, record._ZSTD}
    puts = [e.data.put if isinstance(e.data, Restate) else e.data for e in events if isinstance(e.data, Put | Restate)]
    stored = [v for put in puts for v in body_codec.stored_values(put)]
    forms = (value.Whole, value.Carried, value.ListOf, value.Splice, value.DictOf, value.Edit, value.Patch)
    assert {type(v) for v in stored} == set(forms)
    sliced = {type(v) for v in stored for e in value._elements(v) if isinstance(e, value.Slice)}
    assert sliced == {value.ListOf, value.Splice, value.DictOf, value.Edit}
    written = {type(w.value) for e in events if isinstance(e.data, PutWrites) for w in e.data.writes}
    assert written == {value.Whole, value.ListOf, value.DictOf}
    hidden = [e.position for e in events if isinstance(e.data, Restate) and e.data.hidden]
    copied = [c for e in events if isinstance(e.data, Copy) for stream in e.data.streams for c in stream.checkpoints]
    assert [c for c in copied if c[2]] == [("c1", position, True) for position in hidden] * 2


@pytest.mark.plain_file("the golden databases are not encrypted")
def test_what_the_golden_database_holds_is_read_as_it_was_put(old: EventLogSaver) -> None:
    found = {
        (t.config["configurable"]["thread_id"], t.config["configurable"]["checkpoint_ns"], t.checkpoint["id"]): t
        for t in old.list(None)
    }
    assert sorted(found) == [
        *(("a", "", f"c{i}") for i in (1, 2, 3)),
        ("a", "child:1", "c1"),
        *(("copied", "", f"c{i}") for i in (1, 2, 3)),
        ("copied", "child:1", "c1"),
        ("copied twice", "", "c2"),
        ("copied, one hidden", "", "c2"),
        ("forked", "", "c1"),
        ("forked", "", "c2"),
        ("hidden", "", "c2"),
        ("imported", "", "c1"),
        ("last \U0001f600", "", "c9"),
        ("pruned", "", "c4"),
        ("restated", "", "c3"),
        ("runs", "", "c2"),
        *(("slices", "", f"s{i}") for i in (1, 2, 3)),
        *(("values", "", f"d{i}") for i in (1, 2, 3, 4, 5)),
    ]
    big = "x" * 300
    first, third = found["a", "", "c1"], found["a", "", "c3"]
    assert first.checkpoint["channel_values"] == {"messages": ["hello c1"], "big": big, "zero": "nul\0", "none": None}
    assert first.parent_config is None
    assert first.pending_writes == [
        ("task-1", "__error__", "bad"),
        ("task-1", "messages", "one"),
        ("task-1", "none", None),
    ]
    assert third.checkpoint == {
        "v": 4,
        "id": "c3",
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": {
            "messages": ["hello c3"],
            "big": big,
            "data": b"\x00\xff",
            "pair": [1, 2],
            "kept": {"k": {1, 2}},
        },
        "channel_versions": dict.fromkeys(("messages", "big", "data", "pair", "kept"), "1.0"),
        "versions_seen": {"agent": {"messages": "1.0"}},
        "updated_channels": ["big", "data", "kept", "messages", "pair"],
    }
    assert third.metadata == {"source": "loop", "step": 3, "run_id": "a-c3"}
    assert third.parent_config is not None
    assert third.parent_config["configurable"]["checkpoint_id"] == "c2"
    for ns, checkpoint_id in (("", "c1"), ("", "c2"), ("", "c3"), ("child:1", "c1")):
        one, copy = found["a", ns, checkpoint_id], found["copied", ns, checkpoint_id]
        assert (copy.checkpoint, copy.metadata, copy.pending_writes) == (
            one.checkpoint,
            one.metadata,
            one.pending_writes,
        )
    for thread_id in ("hidden", "copied, one hidden", "copied twice"):
        assert found[thread_id, "", "c2"].metadata == {"source": "loop", "step": 2, "thread_id": thread_id}
    pending = found["pruned", "", "c4"].pending_writes
    assert pending == [("task-3", "__resume__", "yes"), ("task-3", "__interrupt__", ["ask"])]
    assert found["pruned", "", "c4"].checkpoint["channel_values"]["big"] == big


@pytest.mark.plain_file("the golden databases are not encrypted")
def test_what_the_golden_database_holds_as_differences_is_read_as_it_was_put(old: EventLogSaver, golden: Any) -> None:
    def values(thread_id: str, checkpoint_id: str) -> Any:
        found = old.get_tuple(golden.config(thread_id, checkpoint_id))
        assert found is not None
        return found.checkpoint["channel_values"]

    def lines(count: int, text: str) -> list[str]:
        return [f"message {i}: " + text for i in range(count)]

    first = {f"key {i}": f"fact {i}: " + "def " * 10 for i in range(30)}
    second = {key: "changed" if key == "key 3" else fact for key, fact in first.items() if key != "key 5"}
    messages = lines(30, "abc " * 10)
    assert (values("values", "d1")["messages"], list(values("values", "d1")["profile"].items())) == (
        messages,
        list(first.items()),
    )
    messages[10] = "another tenth"
    assert values("values", "d2")["messages"] == values("values", "d3")["messages"] == [*messages, "one more"]
    assert list(values("values", "d2")["profile"].items()) == [("first of all", "new"), *second.items()]
    assert values("values", "d4")["messages"] == [*messages, "one more", "the last"]
    assert list(values("values", "d4")["profile"])[-1] == "last of all"
    story = "".join(f"Sentence {i} says that {i} times {i} is {i * i}. " for i in range(100))
    assert values("values", "d1")["story"] == story
    story = "It was so: " + story.replace("Sentence 50 ", "Sentence fifty ") + "The end."
    assert values("values", "d4")["story"] == values("values", "d5")["story"] == story
    fifth = old.get_tuple(golden.config("values", "d5"))
    assert fifth is not None
    expected = {f"channel {i}": f"2.{i}" for i in range(99)} | {"messages": "5.0"}
    assert fifth.checkpoint["channel_versions"] == expected
    assert values("slices", "s1") == {
        "messages": ["hello", "between", "world"],
        "profile": {"a": "hello", "b": "whole"},
    }
    assert values("slices", "s2") == {"messages": ["hello", "and so on", "new", "world"], "profile": {"a": "world"}}
    third = values("slices", "s3")
    assert (third["messages"], list(third["profile"].items())) == (
        ["hello", "and so on", "new", "world"],
        [("z", "z"), ("a", "world")],
    )
    assert values("restated", "c3")["messages"] == lines(20, "ghi " * 20)


@pytest.mark.plain_file("the golden databases are not encrypted")
def test_the_threads_of_the_golden_database_are_known(old: EventLogSaver) -> None:
    threads = {t.thread_id: t for t in old.threads()}
    newer = ["imported", "copied twice", "copied, one hidden", "hidden", "restated", "slices", "values"]
    assert list(threads) == [*newer, "last \U0001f600", "pruned", "runs", "forked", "copied", "a"]
    first = threads["a"]
    assert first.name == "first"
    assert first.metadata == {"owner": "ann", "tags": ["x", "y"], "note": "\ud800 lone\0", "big": -(2**100), "set": {1}}
    assert (first.checkpoints, first.writes, first.latest_checkpoint_id, first.latest_step) == (4, 4, "c3", 3)
    assert first.created_at.isoformat() == "2026-01-01T00:00:02+00:00"
    assert threads["forked"].metadata == {"from": "a"}


@pytest.mark.plain_file("the golden databases are not encrypted")
def test_the_golden_database_can_be_appended_to_and_rebuilt(old: EventLogSaver, golden: Any) -> None:
    golden.put(old, "a", "c4", "c3")
    old.delete_thread("copied")
    before = list(old.list(None))
    old.rebuild()
    assert list(old.list(None)) == before


@pytest.mark.plain_file("the golden databases are not encrypted")
def test_the_same_calls_today_give_the_same_events_and_checkpoints(
    old: EventLogSaver, golden: Any, make_saver: Any
) -> None:
    """Their bytes may differ with the serializer's version; what they say may not."""
    with mock.patch("os.urandom", lambda n: bytes(range(n))):
        new = make_saver(clock=golden.ticking())
    golden.fill_everything(new)
    events = [[(e.kind, e.thread_id, e.checkpoint_ns, e.recorded_at) for e in s.log.read()] for s in (old, new)]
    assert events[0] == events[1]
    assert list(old.list(None)) == list(new.list(None))
    assert [(t.thread_id, t.name, t.metadata, t.writes) for t in old.threads()] == [
        (t.thread_id, t.name, t.metadata, t.writes) for t in new.threads()
    ]


@pytest.mark.plain_file("the golden databases are not encrypted")
def test_the_golden_database_with_dictionaries_holds_what_the_one_without_does(
    old: EventLogSaver, tmp_path: Path, make_saver: Any
) -> None:
    shutil.copy(GOLDEN_DICTIONARY, tmp_path / "v1-dictionary.db")
    with_dictionaries = make_saver(tmp_path / "v1-dictionary.db")
    assert str(with_dictionaries.log.head()) == "51:0d34f790f4820c0716e04e03ba766ff1bcd22cbd53665454470aae686217e245"
    assert list(with_dictionaries.log.verify()) == []
    with with_dictionaries.log.database.reading() as connection:
        records = [row for (row,) in connection.execute("SELECT record FROM event").fetchall()]
    headers = {(data[1], data[2]) for data in records}
    assert headers == {(record._STORED, 0), (record._ZSTD, 0), (record._ZSTD, 1)}
    assert list(with_dictionaries.list(None)) == list(old.list(None))
    assert [t.latest_checkpoint_id for t in with_dictionaries.threads()] == [
        t.latest_checkpoint_id for t in old.threads()
    ]


@pytest.mark.plain_file("the golden databases are not encrypted")
def test_the_golden_database_of_similar_writes_is_read_as_it_was_put(
    golden: Any, tmp_path: Path, make_saver: Any
) -> None:
    shutil.copy(GOLDEN.with_name("v1-similar.db"), tmp_path / "v1-similar.db")
    saver = make_saver(tmp_path / "v1-similar.db")
    assert str(saver.log.head()) == "15:3c8d2f4c34cada0bcf86b3d4a67ca38ea0ecfe8e764719c93b0c7d75f38ebe56"
    assert list(saver.log.verify()) == []
    with saver.log.database.reading() as connection:
        codecs = [row[1] for (row,) in connection.execute("SELECT record FROM event").fetchall()]
    assert codecs.count(record._PATCH) == 6
    newest, *_, first = saver.list(golden.config("documents"))
    files = {f"{n}.txt": f"{n}: {golden.story(n)}" for n in range(4)}
    assert first.checkpoint["channel_values"] == {"files": files}
    assert newest.checkpoint["channel_values"] == {"files": {**files, "2.txt": f"2: {golden.story(49)}"}}
    assert first.pending_writes == [("task 1", "files", {"2.txt": f"2: {golden.story(7)}"})]


@pytest.mark.plain_file("the golden databases are not encrypted")
def test_the_golden_database_that_was_compacted_is_read_as_it_was_put(
    golden: Any, tmp_path: Path, make_saver: Any
) -> None:
    shutil.copy(GOLDEN.with_name("v1-compacted.db"), tmp_path / "v1-compacted.db")
    saver = make_saver(tmp_path / "v1-compacted.db")
    assert str(saver.log.head()) == "23:190061494425de76b656bdfe9174a4e582bedac4f738205401855347e44a823a"
    assert list(saver.log.verify()) == []
    with saver.log.database.reading() as connection:
        erased = connection.execute("SELECT kind, position FROM erased ORDER BY position").fetchall()
    assert erased == [(2, 2), (12, 6), (12, 7), (11, 10), (1, 13), (2, 14), (7, 15), (6, 16), (9, 19)]
    assert {kind for kind, _ in erased} == set(ERASABLE)
    assert "".join(f"{e.kind:x}" for e in saver.log.read()) == "1126ccb6359aa1"
    for thread_id in ("anew", "copied before", "copied after"):
        newest, first = saver.list(golden.config(thread_id))
        for n, found in ((1, first), (2, newest)):
            messages = ["one", "two", f"message {n} " * 20]
            assert found.checkpoint["channel_values"] == {"messages": messages, "big": "x" * 300}
            assert found.pending_writes == [
                (f"task-{n}", "__interrupt__", "?"),
                (f"task-{n}", "messages", f"six {n}"),
            ]
    assert [t.thread_id for t in saver.threads()] == ["afterwards", "copied after", "copied before", "anew"]
    saver.rebuild()
    assert [t.created_at.second for t in saver.threads()] == [24, 13, 6, 2]
