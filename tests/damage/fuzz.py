"""Decodes hostile bytes: records, bodies of every kind, values of every kind, plain data, ids.

    python tests/damage/fuzz.py --inputs 1000000 --seed 7

Inputs are made of those in `corpus`, by damaging their bytes, and what those are compressed from. Each is decoded, or
refused with an error of this project's: anything else is a failure, is kept in `corpus`, and is tried again by every
run of the tests. What was decoded is encoded and decoded again, and must come out as it was. A damaged record with the
digest of the one that it was made of must never be decoded.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from langgraph_eventlog.eventlog import (
    CorruptRecordError,
    Kind,
    LogDamagedError,
    Put,
    PutWrites,
    Whole,
    Write,
    opened,
    plain,
    record,
    value,
)
from langgraph_eventlog.eventlog import body as body_codec
from langgraph_eventlog.eventlog.event import Field, stored_in
from langgraph_eventlog.eventlog.integrity import digest_of
from langgraph_eventlog.eventlog.resolve import Resolver
from langgraph_eventlog.projections.ids import from_key, to_key

__all__ = ["CORPUS", "TARGETS", "Fuzzer", "Input", "attempt", "load_corpus", "main"]

CORPUS = Path(__file__).parent / "corpus"
POSITION = 1_000
HANG_S = 60
# What a run may take beyond what it began with, at most: hostile sizes are refused before they are allocated.
MEMORY_BYTES = 256 * 1024 * 1024
_LARGEST_SEED = 1_500
_SEEDS_EACH = 3


class Input(NamedTuple):
    """What is decoded, as what, and what it was made of: the record of a `record` whose digest it must not pass for."""

    target: str
    data: bytes
    origin: bytes | None = None


class NotRefusedError(AssertionError):
    """Something came out that must not."""


# What is fuzzed: each takes bytes, and raises what it may raise.

EMPTY = Whole("=", b"\x80")
WHOLE = Whole("msgpack", b"some text that is patched " * 9)
LIST = value.ListOf(tuple(Whole("t", b"%d" % n) for n in range(5)))
DICT = value.DictOf(tuple((f"k{n}", Whole("t", b"%d" % n)) for n in range(5)))
BASES = (1, 2, 3, 4, 5, 6, 7, 8)


def _put(stored: value.Stored) -> Put:
    return Put("c", None, b"\x80", {"x": stored}, EMPTY, EMPTY, {})


EVENTS = {
    1: _put(LIST),
    2: _put(DICT),
    3: _put(WHOLE),
    4: PutWrites("c", "task", "", (Write("x", 0, WHOLE), Write("x", 1, LIST))),
    5: _put(value.Splice(1, 2, (Whole("t", b"new"),), 1)),
    6: _put(value.Edit(2, (("k9", Whole("t", b"new")),), ("k1",), (4, 3, 2, 1, 0))),
    7: _put(value.Carried(5)),
    8: _put(value.ListOf((value.Slice("t", 4, 0, 5, 4),))),
}
BASE_ROW = (2, 1, record.encode(body_codec.encode_body(EVENTS[4], frozenset())))


def decode_record(data: bytes) -> None:
    """The first byte is the event's kind."""
    kind, given = data[0] if data else 0, data[1:]
    base = (*BASE_ROW, digest_of(BASE_ROW[2]))
    record.base_of_patch(given)
    found = opened.OpenedRecord("log", POSITION, (kind, 1, given, digest_of(given)), base)
    for field in (Field("channel", "x"), Field("channel_versions"), Field("versions_seen"), Field("write", 0)):
        with contextlib.suppress(CorruptRecordError):
            found.stored(field)
    decoded = found.data()
    bases = body_codec.bases_of(decoded)
    again = record.encode(body_codec.encode_body(decoded, bases), bases)
    _same(opened.OpenedRecord("log", POSITION, (kind, 1, again, digest_of(again))).data(), decoded)


def decode_body(data: bytes) -> None:
    """The first byte is the kind, the second how many bases it has."""
    kind, count, body = data[0] if data else 0, data[1] % 9 if len(data) > 1 else 0, data[2:]
    decoded = body_codec.decode_body(kind, body, BASES[:count])
    bases = body_codec.bases_of(decoded)
    _same(body_codec.decode_body(kind, body_codec.encode_body(decoded, bases), tuple(sorted(bases))), decoded)


def decode_value(data: bytes) -> None:
    """The first byte is how many bases there are. What is decoded is resolved, too."""
    count = data[0] % 9 if data else 0
    stored = value.decode_value(plain.unpack(data[1:]), BASES[:count])
    index = {base: place for place, base in enumerate(BASES)}
    _same(value.decode_value(value.encode_value(stored, index), BASES), stored)
    resolver = Resolver(lambda position, field: stored_in(EVENTS.get(position), field), path="log")
    resolver.channel(9, "x", stored)


def decode_plain(data: bytes) -> None:
    """Metadata, for instance."""
    decoded = plain.unpack(data)
    packed = plain.pack(decoded)
    _same(plain.pack(plain.unpack(packed)), packed)


def decode_id(data: bytes) -> None:
    """An id in a projection."""
    decoded = from_key(data)
    _same(from_key(to_key(decoded)), decoded)


def _same(found: object, expected: object) -> None:
    # A NaN is not equal to itself.
    if found != expected and "nan" not in repr(expected):
        raise NotRefusedError("what was decoded is not what it is when it is encoded and decoded again")


TARGETS: dict[str, tuple[Callable[[bytes], None], tuple[type[Exception], ...]]] = {
    "record": (decode_record, (CorruptRecordError,)),
    "body": (decode_body, (body_codec.BodyFormatError,)),
    "value": (decode_value, (value.ValueFormatError, plain.PlainDataError, CorruptRecordError)),
    "plain": (decode_plain, (plain.PlainDataError,)),
    "id": (decode_id, (LogDamagedError,)),
}


def attempt(given: Input) -> bool:
    """Decode it; tell whether anything came out. What it may not raise, it raises."""
    decode, allowed = TARGETS[given.target]
    if given.origin is not None and given.data[1:] != given.origin[1:]:
        row = (given.origin[0], 1, given.data[1:], digest_of(given.origin[1:]))
        try:
            opened.OpenedRecord("log", POSITION, row, (*BASE_ROW, digest_of(BASE_ROW[2])))
        except CorruptRecordError:
            pass
        else:
            raise NotRefusedError("a damaged record was taken for what was appended")
    try:
        decode(given.data)
    except allowed:
        return False
    return True


# How inputs are made.

_BYTES = (
    b"\x00\x01\x7f\x80\xfe\xff\x28\xb5\xc0\xc1\xc4\xc6\xc7\xc9\xcb\xcf\xd3\xd6\xd9\xdb\xdc\xdd\xde\xdf\x90\x9f\xa0\xbf"
)
_NUMBERS = (
    *(n.to_bytes(size, "big") for size in (2, 4, 8) for n in (0, 1, (1 << 8 * size) - 1, 1 << 8 * size - 1)),
    *(b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x02", b"\xff\xff\x03", b"\x80\x00"),
    *(b"\xdd\xff\xff\xff\xff", b"\xdf\x7f\xff\xff\xff", b"\xdb\x20\x00\x00\x00", b"\xc6\xff\xff\xff\xff"),
    *(b"\xd6\xff\x00\x00\x00\x00", b"\xc7\x05\x02-1234", b"\xc7\x02\x01\x91\xc0", b"\xcb\x7f\xf8" + bytes(6)),
)


class Fuzzer:
    """Makes inputs of a corpus, by chance."""

    def __init__(self, corpus: Sequence[Input], seed: object) -> None:
        self._corpus = [given for given in corpus if given.data]
        self._chance = random.Random(f"fuzz {seed}")

    def next(self) -> Input:
        """Give another input."""
        chance = self._chance
        if chance.random() < 0.02:
            return Input(chance.choice([*TARGETS]), chance.randbytes(chance.randrange(40)))
        target, origin, _ = chance.choice(self._corpus)
        if target == "record":
            if chance.random() < 0.5 and (inside := self._inside(origin)) is not None:
                return Input(target, inside)
            return Input(target, self._mutated(origin), origin)
        return Input(target, self._mutated(origin))

    def _inside(self, data: bytes) -> bytes | None:
        """Damage what a record is compressed from, and compress that again."""
        try:
            bases, body = record.decode(data[1:])
        except record.RecordFormatError:
            return None
        return data[:1] + record.encode(self._mutated(body), bases)

    def _mutated(self, data: bytes) -> bytes:
        for _ in range(self._chance.choice((1, 1, 1, 2, 3, 6))):
            data = self._once(data)
        return data

    def _once(self, data: bytes) -> bytes:
        chance = self._chance
        at = chance.randrange(len(data) + 1)
        length = chance.choice((1, 1, 2, 4, 9, 40))
        match chance.randrange(9):
            case 0 | 1 if data:
                at %= len(data)
                return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
            case 2:
                return data[:at] + bytes([chance.choice(_BYTES)]) + data[at + 1 :]
            case 3:
                number = chance.choice(_NUMBERS)
                return data[:at] + number + data[at + chance.choice((0, len(number))) :]
            case 4:
                return data[:at] + data[at + length :]
            case 5:
                return data[:at] + chance.randbytes(length) + data[at:]
            case 6:
                return data[:at] + data[at : at + length] * chance.choice((2, 2, 3, 50)) + data[at + length :]
            case 7:  # a part of another
                other = chance.choice(self._corpus).data
                start = chance.randrange(len(other))
                return data[:at] + other[start : start + 2 * length] + data[at + chance.choice((0, 2 * length)) :]
            case _:
                return data[:at]


def load_corpus(folder: Path = CORPUS) -> list[Input]:
    """Read the inputs that are kept: their names begin with what they are decoded as."""
    return [Input(path.name.split("-")[0], path.read_bytes()) for path in sorted(folder.glob("*.bin"))]


def keep(given: Input, folder: Path, name: str) -> Path:
    """Write an input down."""
    path = folder / f"{given.target}-{name}-{hashlib.sha256(given.data).hexdigest()[:8]}.bin"
    path.write_bytes(given.data)
    return path


def make_corpus(folder: Path) -> None:
    """Write down inputs that are valid: of every kind, from the log that the other tests damage."""
    from langgraph_eventlog.saver import EventLogSaver
    from logs import make

    taken: Counter[tuple[str, object]] = Counter()

    def take(target: str, what: object, data: bytes) -> None:
        if len(data) <= _LARGEST_SEED and taken[target, what] < _SEEDS_EACH:
            taken[target, what] += 1
            keep(Input(target, data), folder, str(what).lower())

    with tempfile.TemporaryDirectory() as temporary:
        make(Path(temporary) / "log.db")
        with EventLogSaver(Path(temporary) / "log.db") as saver:
            with saver.log.database.reading() as connection:
                rows = connection.execute("SELECT position, kind, record FROM event").fetchall()
            for event, (_, kind, given) in zip(saver.log.read(), rows, strict=True):
                take("record", f"{Kind(kind).name}-{given[1]}{given[2]}", bytes([kind]) + given)
                bases = tuple(sorted(body_codec.bases_of(event.data)))
                body = body_codec.encode_body(event.data, frozenset(bases))
                take("body", Kind(kind).name, bytes([kind, len(bases)]) + body)
                index = {base: place for place, base in enumerate(bases)}
                for stored in body_codec.stored_values(event.data):
                    packed = plain.pack(value.encode_value(stored, index))
                    take("value", type(stored).__name__, bytes([len(bases)]) + packed)
                if isinstance(event.data, Put):
                    take("plain", "metadata", event.data.metadata)
    for stored in [stored_in(data, Field("channel", "x")) for data in EVENTS.values()]:
        if stored is not None:
            take(
                "value",
                "resolved",
                b"\x08" + plain.pack(value.encode_value(stored, {b: i for i, b in enumerate(BASES)})),
            )
    new = WHOLE.data.replace(b"text", b"words", 3)
    patch = value.Patch(3, WHOLE.tag, len(new), record.patch_frame(WHOLE.data, new))
    take("value", "patch", b"\x03" + plain.pack(value.encode_value(patch, {3: 2})))
    similar = PutWrites("c", "task", "", (Write("x", 0, Whole(WHOLE.tag, new)), Write("x", 1, LIST)))
    base_body = body_codec.encode_body(EVENTS[4], frozenset())
    patched = record.encode_patch(body_codec.encode_body(similar, frozenset()), 4, base_body, at_most=1_000)
    assert patched is not None
    take("record", "patch", bytes([Kind.PUT_WRITES]) + patched)
    everything = [
        None,
        True,
        -1,
        2**63,
        2**70,
        -(2**80),
        1.5,
        float("inf"),
        "\ud800 lone",
        b"\0\xff",
        [[]],
        {"k": {1: 2}},
    ]
    take("plain", "everything", plain.pack([*everything, Whole("t", b"data")]))
    for text in (
        "",
        "c1",
        "1f1e4e40-cd1e-6a11-8001-255cee37e394",
        "1f1e4e40-cd1e-6a11-8001-255cee37e394?",
        "\U0001f600",
    ):
        take("id", f"{len(text)}", to_key(text))


def run(fuzzer: Fuzzer, inputs: int, *, each: Callable[[], None] = lambda: None) -> tuple[Counter[str], Input | None]:
    """Try so many inputs; give how many of each target came to something, and the first that failed, if one did."""
    counts: Counter[str] = Counter()
    for _ in range(inputs):
        given = fuzzer.next()
        try:
            counts[f"{given.target}: {'decoded' if attempt(given) else 'refused'}"] += 1
        except Exception:
            traceback.print_exc()
            return counts, given
        each()
    return counts, None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the fuzzer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", default="1", help="another seed makes other inputs (default: %(default)s)")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="where inputs are kept")
    parser.add_argument("--make-corpus", action="store_true", help="write down valid inputs of every kind, and stop")
    options = parser.parse_args(argv)
    if options.make_corpus:
        options.corpus.mkdir(exist_ok=True)
        make_corpus(options.corpus)
        return 0
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    fuzzer, failed = Fuzzer(load_corpus(options.corpus), options.seed), 0
    columns = "fuzzing", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    counts: Counter[str] = Counter()
    with Progress(*columns) as progress:
        task = progress.add_task("", total=options.inputs)
        done = 0
        while done < options.inputs and failed == 0:
            faulthandler.dump_traceback_later(HANG_S, exit=True, file=sys.__stderr__)
            some = min(2_000, options.inputs - done)
            found, failure = run(fuzzer, some)
            counts += found
            done += some
            progress.update(task, completed=done)
            if failure is not None:
                failed = 1
                print(
                    f"kept as {keep(failure, options.corpus, 'failed')}; the seed was {options.seed}", file=sys.stderr
                )
    faulthandler.cancel_dump_traceback_later()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    took = time.monotonic() - began
    for what, count in sorted(counts.items()):
        print(f"{what:20} {count:>10,}")
    print(
        f"{sum(counts.values()):,} inputs in {took:,.0f} s, seed {options.seed}; memory grew by {grown / 1e6:,.0f} MB"
    )
    if grown > MEMORY_BYTES:
        print(f"more memory was taken than {MEMORY_BYTES:,} bytes", file=sys.stderr)
        return 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
