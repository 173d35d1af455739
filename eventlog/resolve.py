"""Putting values together from what they were stored as: following differences to the value that was stored whole.

Pure, given a function that reads a value as it is stored. Iterative, because chains may be long; every size is checked
before anything of it is made, because stored bytes may be hostile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, cast

from .bounded import Bounded
from .delta import Chain, chain_in_full, weight_of_value
from .errors import CorruptRecordError
from .event import Field, Put
from .record import MAX_BODY_BYTES, RecordFormatError, decompress
from .value import Carried, DictOf, Edit, Element, ListOf, Patch, Slice, Splice, Stored, Value, Whole

__all__ = ["MAX_PATCH_DEPTH", "ResolvedValues", "Resolver", "complete"]

# Persisted: do not change. Writers stay below; readers refuse what is beyond.
MAX_PATCH_DEPTH = 32

_Difference = Splice | Edit | Patch
_DIFFERENCES = (Splice, Edit, Patch)  # isinstance() with a union is slow, and this is asked for each difference
Load = Callable[[int, Field], Stored | None]

_VERSIONS = Field("channel_versions")
_SEEN = Field("versions_seen")


class _UnfitError(ValueError):
    """What a value refers to does not fit it."""


class _Pending(NamedTuple):
    """An element that stands elsewhere, and the event that says so."""

    position: int
    slice: Slice


# A value while differences are being applied to it.
_Work = Whole | list[Whole | _Pending] | dict[str, Whole | _Pending]


class _Resolved(NamedTuple):
    """What a value came to; `size` is its weight in bytes."""

    value: Value
    chain: Chain
    size: int


# What values came to, by position and field.
ResolvedValues = Bounded[tuple[int, Field], _Resolved]
_MAX_BYTES = 64 * 1024 * 1024
# What an element takes in memory beside its bytes, about: of small ones, that is most of it.
_MEMORY_OF_ELEMENT = 130


class Resolver:
    """Resolves values, and remembers what they came to: what is carried, or differed from, is not resolved again.

    Args:
        load: gives a value as the event at a position stores it, None if it is not there. May raise.
        path: of the log, for error messages.
        values: what is remembered; None: only what this resolver has resolved.

    Every method raises CorruptRecordError if the value refers to what is not there, or does not fit it.
    """

    def __init__(self, load: Load, *, path: str, values: ResolvedValues | None = None) -> None:
        self._load = load
        self._path = path
        self._values: ResolvedValues = Bounded(_MAX_BYTES) if values is None else values

    def channel(self, position: int, name: str, stored: Stored) -> Value:
        """Give a channel's value in the put at `position`."""
        return self._resolve(position, Field("channel", name), stored)

    def channel_versions(self, position: int, put: Put) -> Value:
        """Give the channel_versions of a put."""
        return self._resolve(position, _VERSIONS, put.channel_versions)

    def versions_seen(self, position: int, put: Put) -> Value:
        """Give the versions_seen of a put."""
        return self._resolve(position, _SEEN, put.versions_seen)

    def all_channels(self, position: int, put: Put) -> dict[str, Value]:
        """Give all channels' values, which together have a limit, too."""
        values: dict[str, Value] = {}
        size = 0
        for name, stored in put.channels.items():
            resolved = self._checked(position, Field("channel", name), stored)
            values[name] = resolved.value
            size += resolved.size
            if size > MAX_BODY_BYTES:
                raise CorruptRecordError("its values are together too large", path=self._path, position=position)
        return values

    def chain(self, position: int, name: str, stored: Stored) -> Chain:
        """Tell how a channel's value in the put at `position` is stored."""
        return self._chain(position, Field("channel", name), stored)

    def chain_of_versions(self, position: int, put: Put) -> tuple[Chain, Chain]:
        """Tell how channel_versions and versions_seen of a put are stored."""
        return (
            self._chain(position, _VERSIONS, put.channel_versions),
            self._chain(position, _SEEN, put.versions_seen),
        )

    def _chain(self, position: int, field: Field, stored: Stored) -> Chain:
        return self._checked(position, field, stored).chain

    def _resolve(self, position: int, field: Field, stored: Stored) -> Value:
        return self._checked(position, field, stored).value

    def _checked(self, position: int, field: Field, stored: Stored) -> _Resolved:
        if isinstance(stored, Whole):
            return _in_full(position, stored)
        try:
            return self._follow(position, field, stored)
        except _UnfitError as e:
            name = " ".join(str(part) for part in field if part != "")
            raise CorruptRecordError(f"the value of {name}: {e}", path=self._path, position=position) from e

    def _follow(self, position: int, field: Field, stored: Stored) -> _Resolved:
        # Down to a value that needs no other, or is known already; then up again, difference by difference.
        differences: list[tuple[int, _Difference]] = []
        while (found := self._values.get((position, field))) is None:
            if isinstance(stored, _DIFFERENCES):
                differences.append((position, stored))
            elif not isinstance(stored, Carried):
                found = self._remember(position, field, _in_full(position, self._complete(position, stored)))
                break
            position, stored = self._base(position, stored.base, field)
        if not differences:
            return found
        value, chain, _ = found
        # Changed in place, and only the outcome is kept: a copy for each difference would take memory and time for
        # all of them.
        work: _Work = list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, dict) else value
        for at, difference in reversed(differences):
            if chain.patches >= MAX_PATCH_DEPTH and isinstance(difference, Patch):
                raise _UnfitError(f"more than {MAX_PATCH_DEPTH} patches in a row")
            length = len(work) if isinstance(work, list) else 0
            work = self._apply(at, difference, work)
            chain = chain.then(difference, difference.base, length, at)
        resolved = self._settled(work)
        now = _Resolved(resolved, chain, weight_of_value(resolved))
        return self._remember(differences[0][0], field, now)

    def _remember(self, position: int, field: Field, resolved: _Resolved) -> _Resolved:
        count = 1 if isinstance(resolved.value, Whole) else len(resolved.value)
        self._values.add((position, field), resolved, resolved.size + _MEMORY_OF_ELEMENT * count)
        return resolved

    def _base(self, position: int, base: int, field: Field) -> tuple[int, Stored]:
        stored = self._load(base, field) if base < position else None
        if stored is None or type(stored) is Carried:
            raise _UnfitError(f"event {base} does not store it, as it should")
        return base, stored

    def _complete(self, position: int, stored: Whole | ListOf | DictOf) -> Value:
        if isinstance(stored, Whole):
            return stored
        if isinstance(stored, ListOf):
            return tuple(self._elements(position, stored.elements))
        elements = self._elements(position, tuple(element for _, element in stored.items))
        return dict(zip((key for key, _ in stored.items), elements, strict=True))

    def _elements(self, position: int, elements: Sequence[Element]) -> Collection[Whole]:
        return self._fetched(_pending(position, elements))

    def _settled(self, work: _Work) -> Value:
        # Not before: what a later difference has replaced need not be read.
        if isinstance(work, list):
            return tuple(self._fetched(work))
        if isinstance(work, dict):
            return dict(zip(work, self._fetched(work.values()), strict=True))
        return work

    def _fetched(self, elements: Collection[Whole | _Pending]) -> Collection[Whole]:
        if _Pending not in set(map(type, elements)):
            return cast("Collection[Whole]", elements)
        # Many slices may be of the same few bytes: what they come to is checked before it is made.
        if sum([element.slice.length for element in elements if type(element) is _Pending]) > MAX_BODY_BYTES:
            raise _UnfitError("its elements are together too large")
        return [self._slice(element) if type(element) is _Pending else element for element in elements]  # type: ignore[misc]

    def _slice(self, pending: _Pending) -> Whole:
        position, element = pending
        value = self._load(element.base, Field("write", element.slot)) if element.base < position else None
        if not isinstance(value, Whole) or element.offset + element.length > len(value.data):
            raise _UnfitError(f"event {element.base} does not hold an element of it, as it should")
        return Whole(element.tag, value.data[element.offset : element.offset + element.length])

    def _apply(self, position: int, difference: _Difference, work: _Work) -> _Work:
        if isinstance(difference, Splice) and isinstance(work, list):
            # Without the first check, each splice of a hostile chain could double the list.
            if difference.prefix + difference.suffix > len(work):
                raise _UnfitError("it keeps more elements than there are")
            work[difference.prefix : len(work) - difference.suffix] = _pending(position, difference.inserted)
            return work
        if isinstance(difference, Edit) and isinstance(work, dict):
            return self._edit(position, difference, work)
        if isinstance(difference, Patch) and isinstance(work, Whole) and work.tag == difference.tag:
            return Whole(difference.tag, _unpatch(difference, work.data))
        raise _UnfitError(f"event {difference.base} holds it in another form")

    def _edit(self, position: int, edit: Edit, work: dict[str, Whole | _Pending]) -> dict[str, Whole | _Pending]:
        for key in edit.removed:
            if work.pop(key, None) is None:
                raise _UnfitError("it loses a key that is not there")
        changed = _pending(position, [element for _, element in edit.changed])
        work.update(zip((key for key, _ in edit.changed), changed, strict=True))
        if edit.order is None:
            return work
        items = list(work.items())
        if len(edit.order) != len(items):
            raise _UnfitError("its order is of another length")
        return dict(items[i] for i in edit.order)


def _pending(position: int, elements: Sequence[Element]) -> Sequence[Whole | _Pending]:
    if Slice not in set(map(type, elements)):
        return cast("Sequence[Whole]", elements)
    return [element if isinstance(element, Whole) else _Pending(position, element) for element in elements]


def _in_full(position: int, value: Value) -> _Resolved:
    size = weight_of_value(value)
    return _Resolved(value, chain_in_full(size, len(value) if isinstance(value, tuple) else None, position), size)


def complete(stored: Stored) -> Value:
    """Give a value that refers to nothing, as those of a put_writes are.

    Raises:
        ValueError: it does refer to something.
    """
    match stored:
        case Whole():
            return stored
        case ListOf(elements) if all(isinstance(e, Whole) for e in elements):
            return tuple(e for e in elements if isinstance(e, Whole))
        case DictOf(items) if all(isinstance(e, Whole) for _, e in items):
            return {key: e for key, e in items if isinstance(e, Whole)}
    raise ValueError("a value of a put_writes refers to nothing")


def _unpatch(patch: Patch, base: bytes) -> bytes:
    if patch.size > MAX_BODY_BYTES:
        raise _UnfitError("a patch declares too many bytes")
    try:
        return decompress(patch.frame, patch.size, base=base)
    except RecordFormatError as e:
        raise _UnfitError(f"a patch is damaged: {e}") from e
