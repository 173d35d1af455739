"""How a value differs from an earlier one: pure functions over sequences and bytes; nothing here reads or writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .value import Edit, Element, Patch, Slice, Splice, Value, Whole

__all__ = [
    "COST_OF_DIFFERENCE",
    "COST_OF_ELEMENT",
    "STEPS_GATHERED",
    "Chain",
    "Run",
    "chain_in_full",
    "common_ends",
    "dict_edit",
    "weight",
    "weight_of_difference",
    "weight_of_keys",
    "weight_of_value",
]

# What a difference costs beside its bytes, about: its share of a row, and reading one more.
COST_OF_DIFFERENCE = 250
COST_OF_ELEMENT = 12
# What so many steps have added to a list is stored again, in one piece: reading a hundred records of a few hundred
# bytes takes longer than decoding what is in them.
STEPS_GATHERED = 32


# Neither of these is ever changed. But each put makes several, and a frozen one takes several times as long to make, a
# named tuple twice.
@dataclass(slots=True)
class Run:
    """What a list has grown by in small steps, and what it was before them.

    Attributes:
        at: the event that stores what it was; None: the one that stores the value itself.
        length: of the list then.
        keyframe: of the chain then.
        since: of the chain then.
        steps: how many have followed.
    """

    at: int | None
    length: int
    keyframe: int
    since: int = 0
    steps: int = 0


@dataclass(slots=True)
class Chain:
    """What a value is read from.

    Attributes:
        keyframe: what was stored in full weighs, the last keyframe and what a list has grown by since.
        since: what else is read weighs: differences, their share of rows.
        patches: how many of the differences are patches.
        run: of a list.
    """

    keyframe: int
    since: int = 0
    patches: int = 0
    run: Run | None = None

    def then(self, difference: Splice | Edit | Patch, base: int, length: int, at: int | None) -> Chain:
        """Give what the value is read from that the difference makes of this one.

        Args:
            difference: to the value that is read from this.
            base: the event that stores that value.
            length: of that value, if it is a list.
            at: the event that stores the difference; None: not known yet.
        """
        patches = self.patches + (type(difference) is Patch)
        if type(difference) is not Splice:
            return Chain(self.keyframe, self.since + weight_of_difference(difference), patches)
        inserted = difference.inserted
        if difference.suffix or difference.prefix != length:
            since = self.since + weight_of_difference(difference)
            run = Run(at, difference.prefix + len(inserted) + difference.suffix, self.keyframe, since)
            return Chain(self.keyframe, since, patches, run)
        begun = self.run
        assert begun is not None
        at_first = base if begun.at is None else begun.at
        run = Run(at_first, begun.length, begun.keyframe, begun.since, begun.steps + 1)
        if Slice in map(type, inserted):
            return Chain(self.keyframe, self.since + weight_of_difference(difference), patches, run)
        # Nothing of it is read in vain, as long as the list keeps it.
        keyframe, since = self.keyframe + weight(inserted), self.since + COST_OF_DIFFERENCE
        if len(inserted) >= STEPS_GATHERED:
            run = Run(at, length + len(inserted), keyframe, since)
        return Chain(keyframe, since, patches, run)


def chain_in_full(size: int, length: int | None, at: int | None = None) -> Chain:
    """Give what a value is read from that is stored in full.

    Args:
        size: its weight.
        length: of a list that is stored by its elements; None: it is no such list.
        at: the event that stores it; None: not known yet.
    """
    return Chain(size, run=None if length is None else Run(at, length, size))


def weight(elements: Iterable[Element]) -> int:
    """Give about how many bytes elements take in a record."""
    sizes = [len(e.data) if type(e) is Whole else 0 for e in elements]
    return sum(sizes) + COST_OF_ELEMENT * len(sizes)


def weight_of_keys(keys: Iterable[str]) -> int:
    """Give about how many bytes a dict's keys take in a record."""
    return sum(map(len, keys))


def weight_of_value(value: Value) -> int:
    """Give about how many bytes a value takes in a record, in full."""
    if isinstance(value, Whole):
        return weight((value,))
    if isinstance(value, dict):
        return weight(value.values()) + weight_of_keys(value)
    return weight(value)


def weight_of_difference(difference: Splice | Edit | Patch) -> int:
    """Give what a difference weighs against the value that it is to: its bytes, and the events that it is read from."""
    if isinstance(difference, Patch):
        return COST_OF_DIFFERENCE + len(difference.frame)
    if isinstance(difference, Splice):
        elements: Sequence[Element] = difference.inserted
        others = 0
    else:
        elements = [element for _, element in difference.changed]
        keys = weight_of_keys(key for key, _ in difference.changed) + weight_of_keys(difference.removed)
        others = keys + 3 * len(difference.order or ())
    total, elsewhere = COST_OF_DIFFERENCE + others, set()
    for element in elements:
        total += COST_OF_ELEMENT
        if isinstance(element, Whole):
            total += len(element.data)
        elif element.base not in elsewhere:
            elsewhere.add(element.base)
            total += COST_OF_DIFFERENCE
    return total


def common_ends(old: Sequence[Any], new: Sequence[Any]) -> tuple[int, int]:
    """Give how many elements two sequences begin with alike, and how many of what is left they end with alike."""
    shorter = min(len(old), len(new))
    prefix = 0
    while prefix < shorter and old[prefix] == new[prefix]:
        prefix += 1
    suffix = 0
    while suffix < shorter - prefix and old[-1 - suffix] == new[-1 - suffix]:
        suffix += 1
    return prefix, suffix


def dict_edit(
    old_keys: Sequence[str], old: Sequence[Any], new_keys: Sequence[str], new: Sequence[Any]
) -> tuple[list[int], list[str], tuple[int, ...] | None]:
    """Give what makes the new dict of the old one.

    Args:
        old_keys: the old dict's keys, in their order.
        old: what identifies their values.
        new_keys: the new dict's keys, in their order.
        new: what identifies their values.

    Returns:
        The places in `new` that are set, the keys that are removed, and the permutation that is needed afterwards.
    """
    if old_keys == new_keys:
        # Most are the same objects: that is quickly seen.
        return [i for i, value in enumerate(new) if value is not old[i] and value != old[i]], [], None
    before = dict(zip(old_keys, old, strict=True))
    after = set(new_keys)
    missing = object()
    found = [before.get(key, missing) for key in new_keys]
    changed = [i for i, value in enumerate(found) if value is not new[i] and value != new[i]]
    removed = [key for key in old_keys if key not in after]
    kept = [key for key in old_keys if key in after]
    edited = kept + [new_keys[i] for i in changed if new_keys[i] not in before]
    if edited == list(new_keys):
        return changed, removed, None
    places = {key: i for i, key in enumerate(edited)}
    return changed, removed, tuple(places[key] for key in new_keys)
