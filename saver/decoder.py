"""Values through the serializer to objects, each new: decoded, or cloned if the same bytes were decoded before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ..eventlog.value import PLAIN_TAG, Value, Whole
from .clones import Clones
from .cloning import Maker
from .pieces import MSGPACK, array_of, cut
from .serialising import load_plain
from .unpacking import loader

__all__ = ["Decoder", "Given"]

# Smaller elements are no messages.
_MIN_BYTES_AN_ELEMENT = 64
_ELEMENTS_A_PIECE = 32
# So many messages are let go of, and then made: some 60 dicts, of which Python keeps 80 to use them again.
_CLONES_A_PIECE = 16
# By the bytes of it, of which the texts are shared: no more is held of one turn.
_MAX_BYTES_HELD = 4 * 1024 * 1024


class Given:
    """The clones that one reader was given last, so that they are not all let go of at once.

    Python's garbage collector counts what has been made and not been let go of: where thousands are made, and then the
    thousands before are dropped, it looks at all of them, again and again. Here those that the reader has dropped are
    let go of a few at a time, while a few of the next are made. The last ones the reader may still have in hand: it is
    those before them. What the reader keeps is not affected.
    """

    def __init__(self) -> None:
        self._now: list[Any] = []
        self._last: list[Any] = []
        self._old: list[Any] = []
        self._bytes_now = 0

    def turn(self) -> None:
        """Say that the reader has asked for more."""
        self._now, self._last, self._old = [], self._now, self._last
        self._bytes_now = 0

    def made(self, makers: Sequence[Maker], size: int) -> list[Any]:
        """Make clones of what is `size` bytes."""
        old, made = self._old, []
        for first in range(0, len(makers), _CLONES_A_PIECE):
            del old[-_CLONES_A_PIECE:]
            made += [maker() for maker in makers[first : first + _CLONES_A_PIECE]]
        self._bytes_now += size
        if self._bytes_now <= _MAX_BYTES_HELD:
            self._now += made
        return made


class Decoder:
    """Decodes with one serializer.

    Args:
        serde: the serializer.
        clones: of what it decoded before; None: everything is decoded.
        at_once: whether what is decoded is expected to be needed again.
        given: holds what is given for a while; None: nobody does.

    What is decoded, or cloned, shares nothing that can be changed with anything else. Every method raises DecodingError
    if the serializer cannot decode: another one made the bytes, with another key for instance; and LogDamagedError if
    plain data is damaged.
    """

    def __init__(
        self, serde: SerializerProtocol, clones: Clones | None, *, at_once: bool = False, given: Given | None = None
    ) -> None:
        self.serde = serde
        self._clones = clones
        self._at_once = at_once
        self._given = given

    @cached_property
    def _load(self) -> Callable[[Whole], Any]:
        # Not before something has to be decoded: mostly nothing has.
        return loader(self.serde)

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
            known = cast("list[Maker]", makers)
            if self._given is None:
                return [maker() for maker in known]
            return self._given.made(known, sum(map(len, several)))
        unknown = several
        if makers.count(None) < len(makers):
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
