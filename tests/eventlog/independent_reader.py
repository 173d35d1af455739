"""A reader of the log, written from FORMAT.md alone: the standard library, msgpack and zstandard, no code of ours.

It reads the whole file into memory, checks what section 9 says of events, and gives what is there. It never shares
code, or a copy of SQLite, with what it checks: never use it on a file that this process has open through apsw.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import zstandard

# FORMAT.md section 3: number -> (zstd's id, size, SHA-256), and where the files are.
DICTIONARIES = {1: (32769, 16368, "62a7ded6fe370eacaf86b4ec8ccdc5dcc6c620314050039aed53d888f6d9b7c5")}
FOLDER = Path(__file__).parents[2] / "eventlog" / "dictionaries"

PUT, PUT_WRITES, DELETE_THREAD, DELETE_FOR_RUNS, PRUNE, COPY, THREAD, IMPORT, CARRY, COMPACTION = range(1, 11)
RESTATE, RESTATE_WRITES = 11, 12
MAX_BYTES = 536_870_912
MAX_PATCHES = 32
KINDS_OF_BASES = {3: (2, 3), 5: (4, 5), 6: (0, 6)}

# (tag, data); a list of such; a dict of such.
Opaque = tuple[str, bytes]
Value = Opaque | list[Opaque] | dict[str, Opaque]
# A stream's address and the checkpoint's id.
Key = tuple[str, str, str]


class FormatError(Exception):
    """The file is not what FORMAT.md says."""


@dataclass
class Event:
    """An event that was not erased; `values` of a put or restate, by ("channels", name), ("versions", ""), ..."""

    position: int
    recorded_at: int
    kind: int
    thread_id: str | None
    checkpoint_ns: str | None
    digest: bytes
    link: bytes
    bases: list[int]
    body: list[Any]
    values: dict[tuple[str, str], Value] = field(default_factory=dict)
    kinds: dict[tuple[str, str], int] = field(default_factory=dict)
    patches: dict[tuple[str, str], int] = field(default_factory=dict)
    writes: list[tuple[str, int, Value]] = field(default_factory=list)

    @property
    def put(self) -> list[Any]:
        """The elements of a put."""
        return self.body[1:] if self.kind == RESTATE else self.body

    @property
    def put_writes(self) -> list[Any]:
        """The elements of a put_writes."""
        return self.body[2:] if self.kind == RESTATE_WRITES else self.body


@dataclass
class Checkpoint:
    """A checkpoint that is there."""

    event: Event
    hidden: bool
    metadata: dict[str, Any]


@dataclass
class Facts:
    """What is known of a thread."""

    created_at: int
    last_activity: int
    name: str | None = None
    metadata: dict[str, Any] | None = None


@dataclass
class Log:
    """A log, read."""

    log_id: bytes = b""
    head: int = 0
    link: bytes = b""
    events: dict[int, Event] = field(default_factory=dict)
    erased: dict[int, int] = field(default_factory=dict)
    checkpoints: dict[Key, Checkpoint] = field(default_factory=dict)
    puts_of_writes: dict[Key, dict[tuple[int, int], Event]] = field(default_factory=dict)
    threads: dict[str, Facts] = field(default_factory=dict)

    def writes(self, key: Key) -> list[tuple[str, str, Value]]:
        """A checkpoint's writes as (task_id, channel, value), in their order."""
        found: dict[tuple[str, int], tuple[str, str, int, str, Value]] = {}
        for _, event in sorted(self.puts_of_writes.get(key, {}).items()):
            _, task_id, task_path, *_ = event.put_writes
            for channel, idx, value in event.writes:
                if idx < 0 or (task_id, idx) not in found:
                    found[task_id, idx] = (task_path, task_id, idx, channel, value)
        return [(w[1], w[3], w[4]) for w in sorted(found.values(), key=lambda w: w[:3])]


def read_log(path: str | Path) -> Log:
    """Read and check a log that nobody is writing.

    Raises:
        FormatError: it is not what it should be.
    """
    with contextlib.closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True)) as connection:
        return _read(connection)


def _check(condition: object, what: str) -> None:
    if not condition:
        raise FormatError(what)


def _read(connection: sqlite3.Connection) -> Log:
    identity = {"application_id": 0x4C474556, "user_version": 1, "journal_mode": "wal"}
    for pragma, expected in {**identity, "auto_vacuum": 2, "encoding": "UTF-8"}.items():
        _check(connection.execute(f"PRAGMA {pragma}").fetchone() == (expected,), pragma)
    rows = connection.execute("SELECT head, link, log_id, created_at FROM meta").fetchall()
    _check(len(rows) == 1, "meta has one row")
    log = Log()
    log.head, last_link, log.log_id, created_at = rows[0]
    threads = dict(connection.execute("SELECT thread, thread_id FROM thread"))
    streams = {
        s: (threads[t], ns) for s, t, ns in connection.execute("SELECT stream, thread, checkpoint_ns FROM stream")
    }
    stubs = {p: (kind, inner) for p, kind, inner in connection.execute("SELECT position, kind, inner FROM erased")}
    columns = "position, recorded_at, kind, stream, record, digest, link"
    events = {row[0]: row for row in connection.execute(f"SELECT {columns} FROM event")}
    _check(not set(stubs) & set(events), "no event is both there and erased")
    _check(sorted({*stubs, *events}) == list(range(1, log.head + 1)), "positions are 1 to the head")
    _check(log.head not in stubs, "the newest event is there")
    log.link = _sha(b"langgraph-eventlog" + log.log_id + _int(created_at))
    declared: list[int] = []
    for position in range(1, log.head + 1):
        if position in stubs:
            kind, inner = stubs[position]
            _check(kind in (PUT, PUT_WRITES, COPY, THREAD, CARRY, RESTATE, RESTATE_WRITES), "of a kind that is erased")
            log.erased[position] = kind
        else:
            event, inner = _event(events[position], streams, lambda base, at=position: _body_of_base(events, base, at))
            kind = event.kind
            log.events[position] = event
            if kind == COMPACTION:
                ranges = [p for first, last in event.body[1] for p in range(first, last + 1)]
                _check(all(p < position for p in ranges), "a compaction names what came before it")
                declared += ranges
        log.link = _sha(log.link + _sha(_lp(_int(position), _int(kind), inner)))
        if position in events:
            _check(log.link == log.events[position].link, f"link of event {position}")
    _check(log.link == last_link, "the chain ends in meta's link")
    _check(sorted(declared) == sorted(stubs), "each erased position is declared once")
    for event in log.events.values():
        _resolve(log, event)
        _apply(log, event)
    return log


# Section 7.


def _sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _int(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)


def _lp(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _event(
    row: tuple[Any, ...], streams: dict[int, tuple[str, str]], base_body: Callable[[int], bytes]
) -> tuple[Event, bytes]:
    position, recorded_at, kind, stream, record, digest, link = row
    _check(_sha(record) == digest, f"digest of event {position}")
    _check(1 <= kind <= 12, f"kind of event {position}")
    _check(stream is None or stream in streams, f"stream of event {position}")
    address = None if stream is None else streams[stream]
    where = _lp(b"log") if address is None else _lp(b"stream", *(text.encode() for text in address))
    bases, packed = _record(record, base_body if kind == PUT_WRITES else None)
    body = unpack(packed)
    _check(kind in (PUT, RESTATE) or not bases or (record[1] == 2 and len(bases) == 1), "who has bases")
    _check(all(base < position for base in bases), "bases come before")
    thread_id, checkpoint_ns = (None, None) if address is None else address
    event = Event(position, recorded_at, kind, thread_id, checkpoint_ns, digest, link, bases, body)
    return event, _sha(_lp(_int(recorded_at)) + where + _lp(digest))


# Section 3.


def _body_of_base(events: dict[int, tuple[Any, ...]], base: int, position: int) -> bytes:
    _check(base in events and base < position and events[base][2] == PUT_WRITES, "a patch is to an earlier put_writes")
    return _record(events[base][4], None)[1]


def _record(record: bytes, base_body: Callable[[int], bytes] | None) -> tuple[list[int], bytes]:
    """Give bases and body; without `base_body`, the record may be no patch."""
    _check(record[0] == 1 and record[1] in ((0, 1) if base_body is None else (0, 1, 2)), "layout and codec are known")
    _check(record[2] == 0 or (record[2] in DICTIONARIES and record[1] == 1), "the dictionary is known")
    size, at = _varint(record, 3)
    count, at = _varint(record, at)
    _check(size <= MAX_BYTES and count <= 65_535, "limits")
    bases: list[int] = []
    for _ in range(count):
        step, at = _varint(record, at)
        _check(step > 0, "bases ascend")
        bases.append(step + (bases[-1] if bases else 0))
    body = record[at:]
    if record[1] == 1:
        number = record[2]
        zstd_id = DICTIONARIES[number][0] if number else 0
        body = _decompress(body, size, zstandard.ZstdDecompressor(dict_data=_dictionary(number)), zstd_id)
    if record[1] == 2:
        _check(base_body is not None and len(bases) == 1, "a patch is to one event")
        assert base_body is not None
        raw = zstandard.ZstdCompressionDict(base_body(bases[0]), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        body = _decompress(body, size, zstandard.ZstdDecompressor(dict_data=raw))
    _check(len(body) == size, "the body's size")
    return bases, body


def _dictionary(number: int) -> zstandard.ZstdCompressionDict | None:
    if number == 0:
        return None
    zstd_id, size, sha256 = DICTIONARIES[number]
    data = (FOLDER / f"{number}.zdict").read_bytes()
    _check((len(data), _sha(data).hex()) == (size, sha256), "the dictionary's file")
    _check(data[:8] == bytes.fromhex("37a430ec") + zstd_id.to_bytes(4, "little"), "a zstd dictionary of that id")
    return zstandard.ZstdCompressionDict(data)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for i in range(10):
        byte = data[at + i]
        number |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            _check((byte or i == 0) and number < 1 << 63, "a varint in its shortest form")
            return number, at + i + 1
    raise FormatError("a varint of more than ten bytes")


def _decompress(frame: bytes, size: int, decompressor: zstandard.ZstdDecompressor, zstd_id: int = 0) -> bytes:
    parameters = zstandard.get_frame_parameters(frame)
    _check(frame[:4] == bytes.fromhex("28b52ffd"), "a zstd frame")
    _check(parameters.content_size == size and parameters.has_checksum, "a zstd frame's size and checksum")
    _check(parameters.dict_id == zstd_id, "a zstd frame's dictionary")
    return decompressor.decompress(frame, allow_extra_data=False)


def unpack(data: bytes) -> Any:
    """Read plain data; a serialised object is an ("object", tag, data)."""

    def extension(code: int, payload: bytes) -> Any:
        _check(code in (1, 2), "an extension type of ours")
        return int(payload) if code == 2 else ("object", *unpack(payload))

    return msgpack.unpackb(data, ext_hook=extension, strict_map_key=False, unicode_errors="surrogatepass")


# Section 5.


def _resolve(log: Log, event: Event) -> None:
    for base in event.bases:
        _check(base in log.events, f"base {base} of event {event.position} is there")
    if event.kind in (PUT_WRITES, RESTATE_WRITES):
        for channel, idx, stored in event.put_writes[3]:
            _check(stored[0] in (0, 2, 4), "writes refer to nothing")
            event.writes.append((channel, idx, _value(log, event, ("", ""), stored)))
    if event.kind not in (PUT, RESTATE):
        return
    put = event.put
    fields = {("channels", name): stored for name, stored in put[3].items()}
    fields |= {("versions", ""): put[4], ("seen", ""): put[5]}
    # Bases come before, and events are resolved in order: what a value refers to is resolved already.
    for name, stored in fields.items():
        event.values[name] = _value(log, event, name, stored)
        event.kinds[name] = stored[0]


def _value(log: Log, event: Event, name: tuple[str, str], stored: list[Any]) -> Value:
    def elements(given: list[Any]) -> list[Opaque]:
        return [_element(log, event, e) for e in given]

    match stored:
        case [0, tag, data]:
            return tag, data
        case [1, base]:
            found = log.events[event.bases[base]]
            _check(found.kinds.get(name) in (0, 2, 3, 4, 5, 6), "what is carried is stored by its base")
            return found.values[name]
        case [2, given]:
            return elements(given)
        case [3, base, prefix, given, suffix]:
            old = _base(log, event, name, 3, base)
            assert isinstance(old, list)
            _check(min(prefix, suffix) >= 0 and prefix + suffix <= len(old), "no more is kept than there is")
            return old[:prefix] + elements(given) + old[len(old) - suffix :]
        case [4, items]:
            return {key: _element(log, event, e) for key, e in items}
        case [5, base, changed, removed, order]:
            old = _base(log, event, name, 5, base)
            assert isinstance(old, dict)
            _check(set(removed) <= set(old), "removed keys are there")
            new = {key: e for key, e in old.items() if key not in removed}
            new |= {key: _element(log, event, e) for key, e in changed}
            if order is None:
                return new
            _check(sorted(order) == list(range(len(new))), "a permutation")
            return dict(list(new.items())[i] for i in order)
        case [6, base, tag, size, frame]:
            old = _base(log, event, name, 6, base)
            assert isinstance(old, tuple)
            event.patches[name] = log.events[event.bases[base]].patches.get(name, 0) + 1
            _check(old[0] == tag and event.patches[name] <= MAX_PATCHES and size <= MAX_BYTES, "a patch that fits")
            raw = zstandard.ZstdCompressionDict(old[1], dict_type=zstandard.DICT_TYPE_RAWCONTENT)
            return tag, _decompress(frame, size, zstandard.ZstdDecompressor(dict_data=raw))
    raise FormatError("a value of an unknown kind")


def _base(log: Log, event: Event, name: tuple[str, str], kind: int, index: int) -> Value:
    found = log.events[event.bases[index]]
    _check(found.kinds.get(name) in KINDS_OF_BASES[kind], f"a value of kind {kind} has a base that fits")
    return found.values[name]


def _element(log: Log, event: Event, element: list[Any]) -> Opaque:
    match element:
        case [tag, data]:
            return tag, data
        case [tag, base, slot, offset, length]:
            found = log.events[event.bases[base]]
            _check(found.kind == PUT_WRITES and found.body[3][slot][2][0] == 0, "a slice of a whole write")
            data = found.body[3][slot][2][2]
            _check(min(offset, length) >= 0 and offset + length <= len(data), "a slice within the data")
            return tag, data[offset : offset + length]
    raise FormatError("an element of an unknown form")


# Section 4.


def _apply(log: Log, event: Event) -> None:
    thread_id, ns, body = event.thread_id or "", event.checkpoint_ns or "", event.body
    match event.kind:
        case 1:  # put
            log.checkpoints[thread_id, ns, body[0]] = _checkpoint(event, thread_id)
            _touch(log, event)
        case 11:  # restate
            log.checkpoints[thread_id, ns, body[1]] = _checkpoint(event, thread_id, hidden=body[0])
            log.threads.setdefault(thread_id, Facts(event.recorded_at, event.recorded_at))
        case 2:  # put_writes
            log.puts_of_writes.setdefault((thread_id, ns, body[0]), {})[event.position, 0] = event
            _touch(log, event)
        case 12:  # restate_writes
            log.puts_of_writes.setdefault((thread_id, ns, body[2]), {})[body[0], body[1]] = event
            log.threads.setdefault(thread_id, Facts(event.recorded_at, event.recorded_at))
        case 3:  # delete_thread
            _delete(log, thread_id)
        case 4:  # delete_for_runs
            _remove(log, body[1])
        case 5:  # prune
            for deleted in body[1]:
                _delete(log, deleted)
            _remove(log, body[2])
        case 6:  # copy
            _copy(log, event)
        case 7:  # thread
            facts = _touch(log, event)
            facts.name, facts.metadata = body[0], body[1]
        case 9 if body[0] == "threads":  # carry
            for name, created_at, last_activity in body[1]:
                facts = log.threads.setdefault(name, Facts(0, 0))
                facts.created_at, facts.last_activity = created_at, last_activity


def _checkpoint(event: Event, thread_id: str, *, hidden: bool = False) -> Checkpoint:
    metadata = unpack(event.put[2])
    if metadata.get("thread_id") == event.thread_id:
        metadata["thread_id"] = thread_id
    return Checkpoint(event, hidden, metadata)


def _touch(log: Log, event: Event) -> Facts:
    facts = log.threads.setdefault(event.thread_id or "", Facts(event.recorded_at, event.recorded_at))
    facts.last_activity = event.recorded_at
    return facts


def _copy(log: Log, event: Event) -> None:
    target, ordinal = event.thread_id or "", 0
    for ns, checkpoints, writes in event.body[3]:
        for checkpoint_id, position, hidden in checkpoints:
            if _is_there(log, event, position, (PUT, RESTATE)):
                log.checkpoints[target, ns, checkpoint_id] = _checkpoint(log.events[position], target, hidden=hidden)
        for checkpoint_id, position in writes:
            if _is_there(log, event, position, (PUT_WRITES, RESTATE_WRITES)):
                places = log.puts_of_writes.setdefault((target, ns, checkpoint_id), {})
                places[event.position, ordinal] = log.events[position]
            ordinal += 1
    facts = _touch(log, event)
    if event.body[4] is not None:
        facts.metadata = event.body[4]


def _is_there(log: Log, event: Event, position: int, kinds: tuple[int, ...]) -> bool:
    kind = log.erased[position] if position in log.erased else log.events[position].kind
    _check(position < event.position and kind in kinds, "what is copied came before")
    return position not in log.erased


def _remove(log: Log, removals: list[Any]) -> None:
    for thread_id, ns, removed, hidden in removals:
        for checkpoint_id in removed:
            log.checkpoints.pop((thread_id, ns, checkpoint_id), None)
            log.puts_of_writes.pop((thread_id, ns, checkpoint_id), None)
        for checkpoint_id in hidden:
            if found := log.checkpoints.get((thread_id, ns, checkpoint_id)):
                found.hidden = True


def _delete(log: Log, thread_id: str) -> None:
    log.threads.pop(thread_id, None)
    log.checkpoints = {key: found for key, found in log.checkpoints.items() if key[0] != thread_id}
    log.puts_of_writes = {key: found for key, found in log.puts_of_writes.items() if key[0] != thread_id}
