"""Storing a value as what differs from its parent's: by reference, as a difference, or whole.

The value that was given is the truth: a difference is made from its serialised bytes and the parent's, and is stored
only if it is smaller. Keyframes bound what reading costs: differences since the last one never outweigh it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from langgraph.checkpoint.serde.base import SerializerProtocol

from ..eventlog.delta import (
    COST_OF_DIFFERENCE,
    common_ends,
    dict_edit,
    patch_frame,
    weight,
    weight_of_difference,
    weight_of_keys,
)
from ..eventlog.resolve import MAX_PATCH_DEPTH, Chain
from ..eventlog.value import Carried, DictOf, Edit, ListOf, Patch, Splice, Stored
from .parts import Fingerprint, Form, Parts

__all__ = ["Known", "KnownValue", "express", "known_from_log"]

# Below, a patch gains less than it costs; above, both values would be held in memory for too long.
_MIN_PATCHED = 1_024
_MAX_PATCHED = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class KnownValue:
    """What is known of a stored value, for the next one to be a difference to.

    Attributes:
        at: the event that stores it; None: the one that is being encoded.
        form, keys, fingerprints: of its parts.
        data: the bytes of a value in one piece, if a patch may be made against them.
        keyframe: what the last value stored in full weighs.
        since: what the differences since then weigh.
        patches: how many of these are patches.
    """

    at: int | None
    form: Form
    keys: tuple[str, ...]
    fingerprints: tuple[Fingerprint, ...]
    data: bytes | None
    keyframe: int
    since: int
    patches: int

    @property
    def memory(self) -> int:
        """About how many bytes it takes in memory."""
        return 200 * len(self.fingerprints) + weight_of_keys(self.keys) + len(self.data or b"")


@dataclass(frozen=True, slots=True)
class Known:
    """A checkpoint's values, channels' and its own maps'.

    Fingerprints made under one serializer say nothing under another: `serde` is the one.
    """

    serde: SerializerProtocol
    channels: Mapping[str, KnownValue]
    fields: Mapping[str, KnownValue]

    def stored_at(self, position: int) -> Known:
        """Give what is known once the event that was being encoded has been appended at a position."""

        def settled(values: Mapping[str, KnownValue]) -> dict[str, KnownValue]:
            return {name: replace(v, at=position) if v.at is None else v for name, v in values.items()}

        return Known(self.serde, settled(self.channels), settled(self.fields))

    @property
    def memory(self) -> int:
        """About how many bytes it takes in memory."""
        return 600 + sum(400 + value.memory for value in [*self.channels.values(), *self.fields.values()])


def known_from_log(parts: Parts, chain: Chain, at: int) -> KnownValue:
    """Give what is known of a value that was read."""
    return KnownValue(
        at, parts.form, parts.keys, parts.fingerprints, _patchable(parts), chain.keyframe, chain.since, chain.patches
    )


def express(parts: Parts, known: KnownValue | None) -> tuple[Stored, KnownValue]:
    """Give how a value is stored, given what is known of the parent's, and what is then known of it."""
    if known is not None and known.at is not None and known.form is parts.form:
        if (known.keys, known.fingerprints) == (parts.keys, parts.fingerprints):
            return Carried(known.at), known
        difference = _difference(parts, known, known.at)
        if difference is not None:
            since = known.since + weight_of_difference(difference)
            # Differences weigh at most as much as what they are to: so much more is read, and no more.
            if since <= known.keyframe:
                patches = known.patches + isinstance(difference, Patch)
                return difference, _known(parts, known.keyframe, since, patches)
    return _in_full(parts), _known(parts, parts.size, 0, 0)


def _known(parts: Parts, keyframe: int, since: int, patches: int) -> KnownValue:
    return KnownValue(None, parts.form, parts.keys, parts.fingerprints, _patchable(parts), keyframe, since, patches)


def _patchable(parts: Parts) -> bytes | None:
    if parts.form is not Form.WHOLE or parts.cipher is not None:
        return None
    data = parts.elements[0].data
    return data if _MIN_PATCHED <= len(data) <= _MAX_PATCHED else None


def _in_full(parts: Parts) -> Stored:
    elements = tuple(parts.stored(i) for i in range(len(parts.elements)))
    match parts.form:
        case Form.LIST:
            return ListOf(elements)
        case Form.DICT:
            return DictOf(tuple(zip(parts.keys, elements, strict=True)))
        case Form.WHOLE:
            return elements[0]


def _difference(parts: Parts, known: KnownValue, base: int) -> Splice | Edit | Patch | None:
    """Give the difference to the value at `base`; None if it is not of use."""
    match parts.form:
        case Form.LIST:
            prefix, suffix = common_ends(known.fingerprints, parts.fingerprints)
            inserted = range(prefix, len(parts.elements) - suffix)
            if not _is_of_use(parts, inserted):
                return None
            return Splice(base, prefix, tuple(parts.stored(i) for i in inserted), suffix)
        case Form.DICT:
            changed, removed, order = dict_edit(known.keys, known.fingerprints, parts.keys, parts.fingerprints)
            if not _is_of_use(parts, changed, removed):
                return None
            return Edit(base, tuple((parts.keys[i], parts.stored(i)) for i in changed), tuple(removed), order)
        case Form.WHOLE:
            return _patch(parts, known, base)


def _is_of_use(parts: Parts, changed: Sequence[int], removed: Sequence[str] = ()) -> bool:
    keys = weight_of_keys(parts.keys[i] for i in changed) if parts.keys else 0
    cost = COST_OF_DIFFERENCE + weight(parts.elements[i] for i in changed) + keys + weight_of_keys(removed)
    return cost < parts.size


def _patch(parts: Parts, known: KnownValue, base: int) -> Patch | None:
    new = _patchable(parts)
    tags_differ = known.fingerprints[0][0] != parts.fingerprints[0][0]
    if new is None or known.data is None or tags_differ or known.patches >= MAX_PATCH_DEPTH:
        return None
    frame = patch_frame(known.data, new)
    # A patch that is no small part of the value is mostly the value itself, compressed.
    if 4 * (COST_OF_DIFFERENCE + len(frame)) >= len(new):
        return None
    return Patch(base, parts.elements[0].tag, len(new), frame)
