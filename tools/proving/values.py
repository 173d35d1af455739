"""Whether what the log holds can still be decoded: every stored piece of every value is, once, under the allowlist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from langgraph.checkpoint.serde.base import SerializerProtocol

from ...eventlog.coverage import Coverage
from ...eventlog.errors import CorruptRecordError
from ...eventlog.event import RecordedEvent, put_of, writes_of
from ...eventlog.finding import Finding
from ...eventlog.log import EventLog
from ...eventlog.plain import unpack
from ...eventlog.resolve import Resolver
from ...eventlog.value import PLAIN_TAG, Carried, DictOf, Edit, ListOf, Splice, Stored, Value, Whole

__all__ = ["ValueCheck"]

_PAGE = 128
_KNOWN = ("null", "bytes", "bytearray", "json", "msgpack", PLAIN_TAG)


class ValueCheck:
    """Decodes the values of a log.

    Args:
        log: whose records are what was appended: what is damaged in other ways is passed over.
        serde: decodes; it should allow nothing that runs code which the log names.
        coverage: is told how far it is, as "values".

    Attributes:
        decoded: how many pieces were: whole values, or the elements that were new in a list or dict.
        passed_over: how many could not be looked into, by why: encrypted under a key that is not at hand, say.
    """

    def __init__(self, log: EventLog, serde: SerializerProtocol, coverage: Coverage) -> None:
        self._log = log
        self._serde = serde
        self._coverage = coverage
        self.decoded = 0
        self.passed_over: Counter[str] = Counter()

    def check(self) -> Iterator[Finding]:
        """Yield a finding of code "value" for each piece that its serializer should be able to decode, and cannot.

        Holds no transaction while the caller has a finding.
        """
        after, more = 0, True
        while more:
            found: list[Finding] = []
            with self._log.database.reading() as connection:
                rows, more = self._log.reader.page(connection, after, _PAGE)
                resolver = self._log.reader.resolver(connection)
                for row in rows:
                    try:
                        event = self._log.reader.to_event(row)
                    except CorruptRecordError:
                        continue  # the check of records has found it
                    found += self._check(event, resolver)
                head = self._log.reader.head(connection).position
            after = rows[-1][0] if rows else after
            self._coverage.tell("values", after, head)
            yield from found

    def _check(self, event: RecordedEvent, resolver: Resolver) -> Iterator[Finding]:
        for what, pieces in self._values(event, resolver):
            for piece in pieces:
                why = self._why_not(piece)
                if why is not None:
                    yield Finding("value", event.position, f"{what} cannot be decoded: {why}")

    def _values(self, event: RecordedEvent, resolver: Resolver) -> Iterator[tuple[str, list[Whole]]]:
        """Yield each value that the event holds: what it is called, and the pieces of it that are new."""
        position, put, writes = event.position, put_of(event.data), writes_of(event.data)
        if writes is not None:
            for write in writes.writes:
                yield f"the write to {write.channel!r}", _pieces(write.value)
        if put is None:
            return
        try:
            for name, stored in put.channels.items():
                if not isinstance(stored, Carried):
                    yield f"the channel {name!r}", _new(stored, resolver.channel(position, name, stored))
            yield "channel_versions", _new(put.channel_versions, resolver.channel_versions(position, put))
            yield "versions_seen", _new(put.versions_seen, resolver.versions_seen(position, put))
        except CorruptRecordError:
            return  # so has it found this
        if put.rest is not None:
            yield "what else is in the checkpoint", [put.rest]

    def _why_not(self, piece: Whole) -> str | None:
        try:
            if piece.tag == PLAIN_TAG:
                unpack(piece.data)
            else:
                self._serde.loads_typed((piece.tag, piece.data))
        except Exception as e:  # a serializer raises anything, and stored bytes may be hostile
            if piece.tag not in _KNOWN:
                self.passed_over[_why_unknown(piece.tag)] += 1
                return None
            return f"{len(piece.data):,} bytes of {piece.tag!r}: {type(e).__name__}"
        self.decoded += 1
        return None


def _pieces(value: Value | Stored) -> list[Whole]:
    """Give all of a value, which holds nothing that refers to another event."""
    match value:
        case Whole():
            return [value]
        case ListOf(elements=elements):
            return [element for element in elements if isinstance(element, Whole)]
        case DictOf(items=items):
            return [element for _, element in items if isinstance(element, Whole)]
        case tuple():
            return [*value]
        case dict():
            return [*value.values()]
    return []


def _new(stored: Stored, value: Value) -> list[Whole]:
    """Give those pieces of a value that are not taken over from an earlier one."""
    if isinstance(stored, Carried):
        return []
    if isinstance(stored, Splice) and isinstance(value, tuple):
        return [*value[stored.prefix : stored.prefix + len(stored.inserted)]]
    if isinstance(stored, Edit) and isinstance(value, dict):
        return [value[key] for key, _ in stored.changed]
    return _pieces(value)


def _why_unknown(tag: str) -> str:
    if "+" in tag:
        return "encrypted, and no key that fits is set"
    if tag == "pickle":
        return "pickles, which could run any code"
    return "of a serializer that is not known here"
