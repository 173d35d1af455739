"""What a delta channel's snapshot is compared with: the one before, which an ancestor holds, and not the parent.

Between two snapshots no checkpoint holds the channel. Each snapshot holds all that the one before did, so that storing
each in full would make a file grow with the square of its thread's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace
from itertools import islice
from typing import Any

from langgraph.checkpoint.serde.jsonplus import EXT_DELTA_SNAPSHOT
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from ..eventlog.value import Whole
from ..projections.history import CheckpointRow
from .known import Known, KnownValue
from .pieces import MSGPACK

__all__ = ["serialised_snapshots_alone", "snapshots_alone", "with_seeds"]

# Of so many ancestors at most: it is a search that a put waits for.
_MOST_ANCESTORS = 1_024
# Where a msgpack extension has its type, by what its header begins with.
_TYPE_AT = {0xC7: 2, 0xC8: 3, 0xC9: 5}


def snapshots_alone(values: Mapping[Any, Any], known: Known) -> set[str]:
    """Name the channels of a checkpoint whose values are snapshots, and of which the parent has none."""
    if _DeltaSnapshot not in map(type, values.values()):
        return set()  # as nearly always
    return {
        name
        for name, value in list(values.items())
        if type(value) is _DeltaSnapshot and isinstance(name, str) and name not in known.channels
    }


def serialised_snapshots_alone(values: Mapping[str, Whole], known: Known) -> set[str]:
    """Do as `snapshots_alone` for values that are serialised, in one piece each. Of encrypted ones none is known."""
    return {name for name, value in values.items() if name not in known.channels and _is_snapshot(value)}


def _is_snapshot(value: Whole) -> bool:
    if value.tag != MSGPACK or not value.data:
        return False
    at = _TYPE_AT.get(value.data[0])
    return at is not None and value.data[at : at + 1] == bytes((EXT_DELTA_SNAPSHOT,))


# Gives what is known of those of some channels that a checkpoint holds, and how many bytes are read for it.
Look = Callable[[CheckpointRow, Set[str]], tuple[Mapping[str, KnownValue], int]]


def with_seeds(known: Known, ancestors: Iterable[CheckpointRow], channels: Set[str], look: Look) -> Known:
    """Give what is known of a parent, and of channels that it does not hold, what its nearest ancestor has that does.

    Args:
        known: of the parent.
        ancestors: the parent's, or the parent and its; the nearest first.
        channels: which.
        look: what tells of an ancestor.

    Raises:
        LogDamagedError: something on the way is damaged.
    """
    found: dict[str, KnownValue] = {}
    wanted, read_bytes = set(channels), known.read_bytes
    for ancestor in islice(ancestors, _MOST_ANCESTORS) if wanted else ():
        more, size = look(ancestor, wanted)
        found |= more
        read_bytes += size
        wanted -= more.keys()
        if not wanted:
            break
    return replace(known, channels={**known.channels, **found}, read_bytes=read_bytes) if found else known
