"""How a value differs from an earlier one: pure functions over sequences and bytes; nothing here reads or writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .value import Edit, Element, Patch, Splice, Value, Whole

__all__ = [
    "COST_OF_DIFFERENCE",
    "COST_OF_ELEMENT",
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


def weight(elements: Iterable[Element]) -> int:
    """Give about how many bytes elements take in a record."""
    total = 0
    for e in elements:
        total += COST_OF_ELEMENT
        if type(e) is Whole:
            total += len(e.data)
    return total


def weight_of_keys(keys: Iterable[str]) -> int:
    """Give about how many bytes a dict's keys take in a record."""
    return sum(len(key) for key in keys)


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
