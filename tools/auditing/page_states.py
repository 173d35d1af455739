"""The states that a page shows: each value once, however many checkpoints hold it."""

from __future__ import annotations

import json
from typing import Any

from ...eventlog.errors import EventErasedError
from ...eventlog.event import put_of
from ...eventlog.value import Value, Whole
from ...saver import EventLogSaver
from ..jsonable import jsonable
from .changes import in_parts
from .explaining import Explainer
from .preview import role_of, said_in

__all__ = ["PageStates"]

_MOST_CHARACTERS = 4_000
_MOST_ELEMENTS = 1_000
_BYTES_OF_REFERENCE = 6
_BYTES_OF_CHANNEL = 24

# Of a value in few words: [what it is, its text]; of a message, what it is is its role.
Shown = tuple[str, str]


class PageStates:
    """Gives states of a log's checkpoints, as references to a pool of values, while there is room.

    One state adds at most about a quarter of all there is room for: what is more is named as left out.

    Args:
        saver: the log.
        max_bytes: what the states and the pool may take, about.

    Attributes:
        pool: [what it is, text] of each value.
    """

    def __init__(self, saver: EventLogSaver, max_bytes: int) -> None:
        self._saver = saver
        self._reader = Explainer(saver).reader
        self._left = self._least = max_bytes
        self._max_bytes_a_state = max_bytes // 4
        self._too_much: int | None = None
        self._known: dict[tuple[str, bytes], int] = {}
        self.pool: list[Shown] = []

    def state(self, position: int) -> dict[str, Any] | None:
        """Give what the checkpoint at a position holds, by channel; None: there is no room any more.

        Each is a list ["list", reference ...], ["dict", [key, reference] ...] or ["value", reference].

        Raises:
            EventErasedError: it is not there any more.
            CorruptRecordError: it, or what it refers to, is damaged.
        """
        if self._left <= 0:
            return None
        with self._saver.log.database.reading() as connection:
            # Its record may be known still, when what that refers to has been erased with it.
            if self._saver.log.reader.recorded_at(connection, position) is None:
                raise EventErasedError(path=self._saver.path, position=position)
            opened = self._reader.open(connection, position)
            put = None if opened is None else put_of(opened.data())
            if put is None:
                return {}
            values = self._reader.resolver(connection).all_channels(position, put)
        self._least = self._left - self._max_bytes_a_state
        shown = {name: self._shown(value) for name, value in values.items()}
        self._left -= sum(_BYTES_OF_CHANNEL + _BYTES_OF_REFERENCE * len(value) for value in shown.values())
        return shown

    def _shown(self, value: Value) -> list[Any]:
        parts = in_parts(value)
        if isinstance(parts, tuple):
            # The last are those that people want to see, if there is no room for all.
            newest_first = [self._reference(element) for element in parts[: -_MOST_ELEMENTS - 1 : -1]]
            more = len(parts) - _MOST_ELEMENTS
            before = [] if more <= 0 else [self._add(("more", f"{more:,} more before these"))]
            return ["list", *before, *reversed(newest_first)]
        if isinstance(parts, dict):
            items = [[key, self._reference(element)] for key, element in list(parts.items())[:_MOST_ELEMENTS]]
            if len(parts) > _MOST_ELEMENTS:
                items.append(["...", self._add(("more", f"and {len(parts) - _MOST_ELEMENTS:,} more"))])
            return ["dict", *items]
        return ["value", self._reference(parts)]

    def _reference(self, element: Whole) -> int:
        key = element.tag, element.data
        found = self._known.get(key)
        if found is not None:
            return found
        if self._left <= self._least:
            if self._too_much is None:
                self._too_much = self._add(("more", "left out: too much for one page"))
            return self._too_much
        self._known[key] = self._add(_shown(self._reader.decoder.value(element)))
        return self._known[key]

    def _add(self, shown: Shown) -> int:
        self._left -= len(json.dumps(shown))
        self.pool.append(shown)
        return len(self.pool) - 1


def _shown(value: Any) -> Shown:
    role = role_of(value)
    if role is not None:
        return role, _cut(said_in(value))
    if isinstance(value, str):
        return "text", _cut(value)
    return "json", _cut(json.dumps(jsonable(value), ensure_ascii=False, indent=1))


def _cut(text: str) -> str:
    more = len(text) - _MOST_CHARACTERS
    return text if more <= 0 else f"{text[:_MOST_CHARACTERS]}... ({more:,} characters more)"
