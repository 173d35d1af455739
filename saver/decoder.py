"""Values through the serializer to objects, each new: decoded, or cloned if the same bytes were decoded before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ..eventlog.value import PLAIN_TAG, Value, Whole
from .clones import Clones
from .cloning import Maker
from .pieces import MSGPACK, array_of, cut
from .serialising import load_plain
from .unpacking import loader

__all__ = ["Decoder"]

# Smaller elements are no messages.
_MIN_BYTES_AN_ELEMENT = 64
_ELEMENTS_A_PIECE = 32


class Decoder:
    """Decodes with one serializer.

    Args:
        serde: the serializer.
        clones: of what it decoded before; None: everything is decoded.
        at_once: whether what is decoded is expected to be needed again.

    What is decoded, or cloned, shares nothing that can be changed with anything else. Every method raises DecodingError
    if the serializer cannot decode: another one made the bytes, with another key for instance; and LogDamagedError if
    plain data is damaged.
    """

    def __init__(self, serde: SerializerProtocol, clones: Clones | None, *, at_once: bool = False) -> None:
        self.serde = serde
        self._clones = clones
        self._load = loader(serde)
        self._at_once = at_once

    def value(self, value: Value) -> Any:
        """Give the object that a value stands for; plain data as well as what the serializer made."""
        if isinstance(value, tuple):
            return self._list(value)
        if isinstance(value, dict):
            return {key: self.value(element) for key, element in value.items()}
        return load_plain(value.data) if value.tag == PLAIN_TAG else self.whole(value)

    def whole(self, value: Whole) -> Any:
        """Give the object that the serializer made the bytes of."""
        if self._clones is None or value.tag != MSGPACK:
            return self._load(value)
        maker = self._clones.maker(value.data)
        if maker is not None:
            return maker()
        # What a task wrote, a list of one message or a few, is mostly the end of the next checkpoint's list.
        if self._at_once and (elements := _few_elements(value.data)) is not None:
            return self._list_of(elements, self._clones)
        decoded = self._load(value)
        self._clones.learn((value.data,), (decoded,), at_once=self._at_once)
        return decoded

    def _list(self, elements: tuple[Whole, ...]) -> list[Any]:
        # Only of this very serializer is it known that its bytes are msgpack.
        several = [element.data for element in elements if element.tag == MSGPACK]
        if type(self.serde) is not JsonPlusSerializer or len(several) < len(elements):
            return [self.value(element) for element in elements]
        if self._clones is None or sum(map(len, several)) < _MIN_BYTES_AN_ELEMENT * len(several):
            return self._decoded(several)
        return self._list_of(several, self._clones)

    def _list_of(self, several: Sequence[bytes], clones: Clones) -> list[Any]:
        makers = clones.makers(several)
        if None not in makers:
            return [maker() for maker in cast("list[Maker]", makers)]
        unknown = [data for data, maker in zip(several, makers, strict=True) if maker is None]
        decoded = self._decoded(unknown)
        clones.learn(unknown, decoded, at_once=self._at_once)
        if len(unknown) == len(several):
            return decoded
        rest = iter(decoded)
        return [next(rest) if maker is None else maker() for maker in makers]

    def _decoded(self, several: Sequence[bytes]) -> list[Any]:
        # A msgpack array is its length and its elements: decoded in pieces, a list takes half as long as element by
        # element. In one piece, it would be put together in memory that the process does not have yet.
        decoded: list[Any] = []
        for first in range(0, len(several), _ELEMENTS_A_PIECE):
            some = several[first : first + _ELEMENTS_A_PIECE]
            decoded += self._load(Whole(MSGPACK, array_of(len(some), some)))
        return decoded


def _few_elements(data: bytes) -> list[bytes] | None:
    """Cut a short list into the bytes of its elements; None if it is no list, or long, or one of small things."""
    count = data[0] & 0x0F if data and data[0] & 0xF0 == 0x90 else 0  # msgpack's form for up to 15
    return cut(data) if count and len(data) >= _MIN_BYTES_AN_ELEMENT * count else None
