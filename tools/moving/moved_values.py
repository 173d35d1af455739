"""How values are stored when the events that they refer to stand elsewhere, or are not there any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import apsw

from ...eventlog.errors import CorruptRecordError
from ...eventlog.event import Field, put_of
from ...eventlog.log import EventLog
from ...eventlog.rewriting import with_values
from ...eventlog.value import Carried, DictOf, Edit, Element, ListOf, Patch, Slice, Splice, Stored, Value, Whole
from .places import Places

__all__ = ["MovedValues"]


class MovedValues:
    """Restates values so that they refer to where things stand now; what did not come along is stored in full.

    Args:
        source: the log that they are from.
        connection: to it, in a transaction that lasts as long as this is used.
        places: where things stand now.
    """

    def __init__(self, source: EventLog, connection: apsw.Connection, places: Places) -> None:
        self._path, self._places = source.path, places
        self._resolver = source.reader.resolver(connection)
        self._open = source.reader.opener(connection)

    def of_put(
        self, kind: int, array: list[Any], bases: tuple[int, ...], *, there: int, here: int
    ) -> tuple[list[Any], frozenset[int]]:
        """Give a put or restate that stood there and is to stand here, and what it refers to now."""
        return with_values(kind, array, bases, partial(self._value, there, here))

    def _value(self, there: int, here: int, field: Field, stored: Stored) -> Stored:
        if isinstance(stored, Carried | Splice | Edit | Patch):
            home = self._places.home(stored.base, field)
            if home is None:
                if isinstance(stored, Carried):
                    self._places.homes[stored.base, field] = here
                return _in_full(self._resolved(there, field, stored))
            stored = replace(stored, base=home)
        match stored:
            case Splice():
                return replace(stored, inserted=self._elements(stored.inserted))
            case ListOf():
                return ListOf(self._elements(stored.elements))
            case Edit():
                return replace(stored, changed=self._items(stored.changed))
            case DictOf():
                return DictOf(self._items(stored.items))
        return stored

    def _resolved(self, there: int, field: Field, stored: Stored) -> Value:
        if field.what == "channel":
            return self._resolver.channel(there, str(field.key), stored)
        opened = self._open(there)
        put = None if opened is None else put_of(opened.data())
        assert put is not None
        if field.what == "channel_versions":
            return self._resolver.channel_versions(there, put)
        return self._resolver.versions_seen(there, put)

    def _elements(self, elements: tuple[Element, ...]) -> tuple[Element, ...]:
        return tuple([self._element(e) if isinstance(e, Slice) else e for e in elements])

    def _items(self, items: tuple[tuple[str, Element], ...]) -> tuple[tuple[str, Element], ...]:
        return tuple([(key, self._element(e) if isinstance(e, Slice) else e) for key, e in items])

    def _element(self, element: Slice) -> Element:
        home = self._places.at(element.base)
        if home is not None:
            return replace(element, base=home)
        opened = self._open(element.base)
        value = None if opened is None else opened.stored(Field("write", element.slot))
        if not isinstance(value, Whole) or element.offset + element.length > len(value.data):
            raise CorruptRecordError(
                "it does not hold an element, as it should", path=self._path, position=element.base
            )
        return Whole(element.tag, value.data[element.offset : element.offset + element.length])


def _in_full(value: Value) -> Stored:
    if isinstance(value, Whole):
        return value
    return DictOf(tuple(value.items())) if isinstance(value, Mapping) else ListOf(value)
