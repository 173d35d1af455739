"""What a checkpoint changes: from how its values are stored where that says it, else by comparing with the parent's.

The rule, for each channel of a put whose parent can be read:

- carried (FORMAT.md section 5, kind 1), from the event that holds the parent's value: not changed.
- a splice or an edit of the parent's value: the elements, or keys, that it names.
- anything else - stored whole, as a keyframe, a patch, a difference to an earlier value than the parent's - is put
  together, and compared with the parent's: lists by what they have in common at both ends, dicts by their keys, others
  as a whole, all by their serialised bytes; under encryption, where the same bytes never come again, decoded.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import apsw

from ...eventlog.bounded import Bounded
from ...eventlog.delta import common_ends
from ...eventlog.event import Field, Put, PutWrites
from ...eventlog.log import EventLog
from ...eventlog.opened import OpenedRecord
from ...eventlog.plain import PlainDataError, unpack
from ...eventlog.resolve import ResolvedValues, Resolver, complete
from ...eventlog.value import Carried, Edit, Splice, Stored, Value, Whole
from ...saver.decoder import Decoder
from ...saver.pieces import MSGPACK, cut
from ..jsonable import jsonable
from .entry import ChannelChange

__all__ = ["PutChanges", "ValueReader", "in_parts"]

_MAX_BYTES_OF_RECORDS = 16 * 1024 * 1024
_MAX_BYTES_OF_VALUES = 48 * 1024 * 1024
_ENCRYPTED = "+"  # what an EncryptedSerializer has in its tags
PutChanges = tuple[tuple[ChannelChange, ...], tuple[str, ...]]


class ValueReader:
    """Reads values of any event, and remembers, within bounds, what they were put together from.

    Args:
        log: the log.
        decoder: decodes them.
    """

    def __init__(self, log: EventLog, decoder: Decoder) -> None:
        self._log = log
        self._records: Bounded[int, OpenedRecord] = Bounded(_MAX_BYTES_OF_RECORDS)
        self._values: ResolvedValues = Bounded(_MAX_BYTES_OF_VALUES)
        self.decoder = decoder

    def resolver(self, connection: apsw.Connection) -> Resolver:
        """Give what puts values together, for as long as the caller's transaction lasts."""
        opened = self._log.reader.opener(connection, self._records)

        def load(position: int, field: Field) -> Stored | None:
            record = opened(position)
            return None if record is None else record.stored(field)

        return Resolver(load, path=self._log.path, values=self._values)

    def open(self, connection: apsw.Connection, position: int) -> OpenedRecord | None:
        """Give an event's record; None if it is not there."""
        return self._log.reader.open(connection, position, self._records)

    def of_put(
        self, connection: apsw.Connection, position: int, put: Put, parent: tuple[int, Put] | None
    ) -> PutChanges:
        """Give what a put changes, and the names of the channels that it carries over.

        Args:
            connection: within a read transaction.
            position: of the event.
            put: what it holds.
            parent: the parent's position and what it holds; None: there is none, or it cannot be read.

        Raises:
            CorruptRecordError: something that it refers to is damaged.
        """
        resolver = self.resolver(connection)
        changes: list[ChannelChange] = []
        carried: list[str] = []
        before = {} if parent is None else parent[1].channels
        for name, stored in put.channels.items():
            old = before.get(name)
            if old is None or parent is None:
                value = self.decoder.value(resolver.channel(position, name, stored))
                changes.append(ChannelChange(name, "new", value=value))
                continue
            at = old.base if isinstance(old, Carried) else parent[0]
            if isinstance(stored, Carried) and stored.base == at:
                carried.append(name)
                continue
            is_now, was = resolver.channel(position, name, stored), resolver.channel(parent[0], name, old)
            change = self._said(name, stored, at, is_now, was) or self._compared(name, is_now, was)
            if change is None:
                carried.append(name)
            else:
                changes.append(change)
        changes += [ChannelChange(name, "gone") for name in before if name not in put.channels]
        return tuple(changes), tuple(carried)

    def of_writes(self, writes: PutWrites) -> tuple[ChannelChange, ...]:
        """Give what a put_writes writes."""
        return tuple(
            ChannelChange(w.channel, "written", value=self.decoder.value(complete(w.value)), idx=w.idx)
            for w in writes.writes
        )

    def _said(self, name: str, stored: Stored, at: int, now: Value, was: Value) -> ChannelChange | None:
        """Give the change that a difference to the parent's value is; None: it is none."""
        if isinstance(stored, Splice) and stored.base == at and isinstance(now, tuple) and isinstance(was, tuple):
            added = tuple(self.decoder.value(element) for element in now[stored.prefix : len(now) - stored.suffix])
            removed = len(was) - stored.prefix - stored.suffix
            return ChannelChange(name, "added", at=stored.prefix, added=added, removed=removed)
        if isinstance(stored, Edit) and stored.base == at and isinstance(now, dict):
            keys = {key: self.decoder.value(now[key]) for key, _ in stored.changed}
            return ChannelChange(name, "keys", keys_set=keys, keys_removed=stored.removed)
        return None

    def _compared(self, name: str, now: Value, was: Value) -> ChannelChange | None:
        """Give how two values differ; None if they do not."""
        one, other = self._parts(now), self._parts(was)
        if isinstance(one, list) and isinstance(other, list):
            keys, old_keys = [part.key for part in one], [part.key for part in other]
            if keys == old_keys:
                return None
            prefix, suffix = common_ends(old_keys, keys)
            added = tuple(part.get() for part in one[prefix : len(one) - suffix])
            return ChannelChange(name, "added", at=prefix, added=added, removed=len(other) - prefix - suffix)
        if isinstance(one, dict) and isinstance(other, dict):
            changed = {k: part.get() for k, part in one.items() if k not in other or other[k].key != part.key}
            removed = tuple(key for key in other if key not in one)
            is_same = not changed and not removed and list(one) == list(other)
            return None if is_same else ChannelChange(name, "keys", keys_set=changed, keys_removed=removed)
        if isinstance(one, _Part) and isinstance(other, _Part) and one.key == other.key:
            return None
        return ChannelChange(name, "changed", value=self.decoder.value(now), before=self.decoder.value(was))

    def _parts(self, value: Value) -> list[_Part] | dict[str, _Part] | _Part:
        parts = in_parts(value)
        if isinstance(parts, tuple):
            return [self._part(element) for element in parts]
        if isinstance(parts, dict):
            return {key: self._part(element) for key, element in parts.items()}
        if _ENCRYPTED not in parts.tag:
            return self._part(parts)
        decoded = self.decoder.value(parts)
        if type(decoded) is list:
            return [_decoded(element) for element in decoded]
        if type(decoded) is dict and all(type(key) is str for key in decoded):
            return {key: _decoded(element) for key, element in decoded.items()}
        return _decoded(decoded)

    def _part(self, element: Whole) -> _Part:
        if _ENCRYPTED in element.tag:
            return _decoded(self.decoder.value(element))
        return _Part((element.tag, element.data), partial(self.decoder.value, element))


class _Part(NamedTuple):
    """A value, or an element of one: what tells it from others, and what decodes it."""

    key: Any
    get: Callable[[], Any]


def _decoded(value: Any) -> _Part:
    return _Part(json.dumps(jsonable(value)), lambda: value)


def in_parts(value: Value) -> Value:
    """Give a list or dict, that was small enough to be stored in one piece, by its elements."""
    if not isinstance(value, Whole) or value.tag != MSGPACK:
        return value
    elements = cut(value.data)
    if elements is not None:
        return tuple(Whole(MSGPACK, element) for element in elements)
    items = cut(value.data, pairs=True)
    if items is None:
        return value
    try:
        keys = [unpack(key) for key in items[::2]]
    except PlainDataError:
        return value
    if not all(type(key) is str for key in keys) or len(set(keys)) != len(keys):
        return value
    return dict(zip(keys, (Whole(MSGPACK, element) for element in items[1::2]), strict=True))
