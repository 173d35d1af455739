"""Values as the log stores them (FORMAT.md section 5). Pure; knows nothing of what a value means.

`Whole` is what a serializer made. `Carried` says that the same channel of an earlier put holds it.
The kinds 2 to 6 are specified in FORMAT.md, and not written yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PLAIN_TAG", "Carried", "Stored", "ValueFormatError", "Whole", "decode_value", "encode_value"]

# Persisted: do not change.
PLAIN_TAG = "="
_WHOLE = 0
_CARRIED = 1


class ValueFormatError(ValueError):
    """A stored value is not laid out as FORMAT.md says."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A value as its serializer gave it: type tag and bytes."""

    tag: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Carried:
    """What the same channel holds in the put at position `base`, which stores it itself."""

    base: int


Stored = Whole | Carried


def encode_value(value: Stored, base_index: Mapping[int, int]) -> list[Any]:
    """Give the array that stands in a body. `base_index` tells where each base stands in the record's header."""
    if isinstance(value, Whole):
        return [_WHOLE, value.tag, value.data]
    return [_CARRIED, base_index[value.base]]


def decode_value(array: Any, bases: tuple[int, ...]) -> Stored:
    """Read the array that stands in a body.

    Raises:
        ValueFormatError: it is not one that this version knows, or names a base that is not in the header.
    """
    match array:
        # Exact types: True == 1 == 1.0, but they are other bytes.
        case [kind, str() as tag, bytes() as data] if type(kind) is int and kind == _WHOLE:
            return Whole(tag, data)
        case [kind, index] if type(kind) is type(index) is int and kind == _CARRIED and 0 <= index < len(bases):
            return Carried(bases[index])
    raise ValueFormatError("a value has a kind or form that this version does not know")
