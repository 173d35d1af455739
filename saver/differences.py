"""Storing a value as what differs from its parent's: by reference, as a difference, or whole.

The value that was given is the truth: a difference is made from its serialised bytes and the parent's, and is stored
only if it is smaller. Keyframes bound what reading costs: differences since the last one never outweigh it, and it and
they never weigh more than twice what the value does. What a list has grown by is no difference in this sense, as long
as it is still in it; but when that came in many small steps, it is stored once more in one piece, since reading a
record takes as long as reading some kilobytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..eventlog.delta import (
    COST_OF_DIFFERENCE,
    STEPS_GATHERED,
    Chain,
    Run,
    chain_in_full,
    common_ends,
    dict_edit,
    weight,
    weight_of_difference,
    weight_of_keys,
)
from ..eventlog.record import patch_frame
from ..eventlog.resolve import MAX_PATCH_DEPTH
from ..eventlog.value import Carried, DictOf, Edit, Element, ListOf, Patch, Splice, Stored, bases_of_value
from .known import Known, KnownValue
from .parts import CIPHER_MARK, LIST, WHOLE, Parts
from .written import Written

__all__ = ["express", "express_all", "known_from_log"]

# Below, a patch gains less than it costs; above, both values would be held in memory for too long.
_MIN_PATCHED = 1_024
_MAX_PATCHED = 4 * 1024 * 1024
# What a checkpoint is read from may be so many times as large as it is; of small ones, so many bytes.
_MAX_READ_RATIO = 3
_MIN_READ_BYTES = 64 * 1024
_BYTES_OF_CARRIED = 10
# Of larger steps, their bytes take longer to read than their records.
_MAX_BYTES_A_STEP = 4_096


def known_from_log(parts: Parts, chain: Chain, at: int, read: Mapping[int, int]) -> KnownValue:
    """Give what is known of a value that was read; `read` are bytes of the events that its checkpoint was read from."""
    begun = 0 if chain.run is None or chain.run.at is None else chain.run.at
    return KnownValue(at, parts, chain, sum(size for position, size in read.items() if position <= begun))


def express_all(
    values: Sequence[tuple[str, Parts, KnownValue | None]], known: Known | None
) -> tuple[list[tuple[str, Stored]], list[tuple[str, KnownValue]], int]:
    """Give how a checkpoint's values are stored, and what is then known of them.

    Args:
        values: by name, and what is known of the parent's, if that has one to compare with.
        known: what is known of the parent.

    Returns:
        Both by name, in the same order; and about how many bytes of events are read for the checkpoint, at most.

    Differences are small, but what they stand in may not be: another channel's value in the same event, or what else
    a task has written. When a checkpoint would be read from more than a few times its size, all of it is stored in
    full. That adds a part of what its steps have written since it was last done, however large it is.
    """
    stored: list[tuple[str, Stored]] = []
    now: list[tuple[str, KnownValue]] = []
    begun: list[int] = []
    gathered: dict[int, int] = {}
    size = own = 0
    bases: set[int] = set()
    for name, parts, before in values:
        size += parts.size
        if before is not None and known is not None and parts is before.parts:  # what most values are: seen at once
            base = known.position if before.at is None else before.at
            value: Stored = Carried(base)
            then = before if before.at is not None else KnownValue(base, parts, before.chain, before.read_bytes)
        else:
            value, then = express(parts, before, known)
        stored.append((name, value))
        now.append((name, then))
        kind = type(value)
        if kind is Carried:
            own += _BYTES_OF_CARRIED + len(name)
            bases.add(value.base)  # type: ignore[union-attr]
        elif kind is Splice or kind is Edit or kind is Patch:
            own += weight_of_difference(value)  # type: ignore[arg-type]
            bases |= bases_of_value(value)
            # Steps that have been gathered are not read any more, if nothing else needs them.
            if kind is Splice and value.base != known.at(before):  # type: ignore[union-attr,arg-type]
                gathered.setdefault(value.base, before.read_bytes)  # type: ignore[union-attr]
        else:
            own += parts.size
        if then.at is None and then.chain.run is not None and then.chain.run.at is None:
            begun.append(len(now) - 1)
    read_bytes = own
    if known is not None and bases:
        # About what is read up to the newest base, at most.
        read_bytes += sum(map(known.written.bytes_at, bases)) + gathered.get(max(bases), known.read_bytes)
        if read_bytes > _MAX_READ_RATIO * size + _MIN_READ_BYTES:
            return express_all([(name, parts, None) for name, parts, _ in values], None)
    for i in begun:
        name, then = now[i]
        now[i] = name, KnownValue(None, then.parts, then.chain, read_bytes)
    return stored, now, read_bytes


def express(parts: Parts, before: KnownValue | None, known: Known | None) -> tuple[Stored, KnownValue]:
    """Give how a value is stored, and what is then known of it.

    Args:
        parts: the value.
        before: what is known of the parent's, if that has one to compare with.
        known: what is known of the parent.
    """
    is_whole = parts.form is WHOLE
    # What an encrypting serializer is about to store is never a difference to what stands in the log in plain text, or
    # was encrypted otherwise.
    if (
        before is not None
        and known is not None
        and before.parts.form is parts.form
        and before.parts.cipher is parts.cipher
    ):
        base = known.position if before.at is None else before.at
        if _is_the_same(parts, before.parts):
            return Carried(base), KnownValue(base, parts, before.chain, before.read_bytes)
        # Small values, the versions maps of most graphs among them, are stored whole: seen at once.
        is_small = is_whole and len(parts.elements[0].data) < _MIN_PATCHED
        difference = None if is_small else _difference(parts, before, base, known.written)
        if difference is not None:
            chain = before.chain.then(difference, base, len(before.parts.elements), None)
            gathered = _gathered(parts, chain.run)
            if gathered is not None:
                difference, chain = gathered
            # Differences weigh at most as much as what they are to, and both together at most twice as much as what
            # they come to, which may have become smaller: so much more is read, and no more.
            if chain.since <= min(chain.keyframe, 2 * parts.size - chain.keyframe):
                return difference, KnownValue(None, parts, chain, before.read_bytes)
    if is_whole:
        return parts.stored(0), KnownValue(None, parts, Chain(parts.size))
    length = len(parts.elements) if parts.form is LIST else None
    return _in_full(parts), KnownValue(None, parts, chain_in_full(parts.size, length))


def _gathered(parts: Parts, run: Run | None) -> tuple[Splice, Chain] | None:
    """Give the difference that stores again, in one piece, what a list has grown by in many small steps.

    None as long as they are few, or not small: then reading them takes no longer than decoding what is in them.
    """
    if run is None or run.at is None or run.steps == 0 or run.steps % STEPS_GATHERED:
        return None
    added = range(run.length, len(parts.elements))
    if weight(parts.elements[run.length :]) > _MAX_BYTES_A_STEP * run.steps:
        return None
    splice = Splice(run.at, run.length, tuple(parts.stored(i) for i in added), 0)
    before = Chain(run.keyframe, run.since, run=run)
    return splice, before.then(splice, run.at, run.length, None)


def _is_the_same(parts: Parts, before: Parts) -> bool:
    if parts.form is WHOLE:
        one, other = parts.elements[0], before.elements[0]
        return one.data == other.data and one.tag == other.tag
    if parts.kept is not None:
        return parts.kept[0] == len(before.elements) == len(parts.elements)
    return parts.elements == before.elements and parts.keys == before.keys


def _in_full(parts: Parts) -> ListOf | DictOf:
    elements = tuple(parts.stored(i) for i in range(len(parts.elements))) if parts.encrypted else parts.elements
    if parts.form is LIST:
        return ListOf(elements)
    return DictOf(tuple(zip(parts.keys, elements, strict=True)))


def _difference(parts: Parts, before: KnownValue, base: int, written: Written) -> Splice | Edit | Patch | None:
    """Give the difference to the value at `base`; None if it is not of use."""
    if parts.form is WHOLE:
        return _patch(parts, before, base)
    elements = parts.elements
    if parts.form is LIST:
        prefix, suffix = parts.kept or common_ends(before.parts.elements, elements)
        end = len(elements) - suffix
        if COST_OF_DIFFERENCE + weight(elements[prefix:end]) >= parts.size:
            return None
        inserted = [_element(parts, i, written) for i in range(prefix, end)]
        return Splice(base, prefix, tuple(inserted), suffix)
    changed, removed, order = dict_edit(before.parts.keys, before.parts.elements, parts.keys, elements)
    keys = weight_of_keys([parts.keys[i] for i in changed]) + weight_of_keys(removed)
    if COST_OF_DIFFERENCE + weight([elements[i] for i in changed]) + keys >= parts.size:
        return None
    return Edit(base, tuple([(parts.keys[i], _element(parts, i, written)) for i in changed]), tuple(removed), order)


def _element(parts: Parts, index: int, written: Written) -> Element:
    """Give an element of a difference. What a task has written is not stored again."""
    if parts.cipher is not None:
        return parts.stored(index)  # encrypted anew
    made = parts.elements[index]
    return written.find(made) or made


def _patch(parts: Parts, before: KnownValue, base: int) -> Patch | None:
    new, old = parts.elements[0], before.parts.elements[0]
    if not (_MIN_PATCHED <= len(new.data) <= _MAX_PATCHED and _MIN_PATCHED <= len(old.data) <= _MAX_PATCHED):
        return None
    # What is encrypted has nothing in common with what was, however alike both were.
    if parts.encrypted or CIPHER_MARK in new.tag or old.tag != new.tag or before.chain.patches >= MAX_PATCH_DEPTH:
        return None
    frame = patch_frame(old.data, new.data)
    # A patch that is no small part of the value is mostly the value itself, compressed.
    if 4 * (COST_OF_DIFFERENCE + len(frame)) >= len(new.data):
        return None
    return Patch(base, new.tag, len(new.data), frame)
