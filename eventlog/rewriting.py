"""Records that say the same in other words: with other positions, other thread ids, or fewer threads.

Pure functions over the arrays that bodies are (FORMAT.md section 4). What they are given has been decoded once, and so
is laid out as it should be. Elements that a later version has added stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .event import Field, Kind
from .value import Stored, bases_of_value, decode_value, encode_value

__all__ = [
    "as_put",
    "as_put_writes",
    "metadata_of",
    "narrowed_facts",
    "narrowed_removals",
    "with_copied",
    "with_metadata",
    "with_values",
]

Array = list[Any]
# Where a put's array has what may be changed; a restate's has one element before them.
_METADATA, _CHANNELS, _VERSIONS, _SEEN = 2, 3, 4, 5


def _first(kind: int) -> int:
    return 1 if kind == Kind.RESTATE else 0


def as_put(kind: int, array: Array, *, hidden: bool) -> tuple[Kind, Array]:
    """Give the put that holds the same checkpoint as a put or restate; if it is to be hidden, the restate."""
    put = array[_first(kind) :]
    return (Kind.RESTATE, [True, *put]) if hidden else (Kind.PUT, put)


def as_put_writes(array: Array) -> Array:
    """Give the put_writes that holds the same writes as a restate_writes."""
    return array[2:]


def metadata_of(kind: int, array: Array) -> bytes:
    """Give the metadata of a put or restate."""
    metadata: bytes = array[_first(kind) + _METADATA]
    return metadata


def with_metadata(kind: int, array: Array, change: Callable[[bytes], bytes]) -> Array:
    """Give a put or restate with other metadata."""
    changed = [*array]
    changed[_first(kind) + _METADATA] = change(metadata_of(kind, array))
    return changed


def with_values(
    kind: int, array: Array, bases: tuple[int, ...], change: Callable[[Field, Stored], Stored]
) -> tuple[Array, frozenset[int]]:
    """Give a put or restate whose values are stored in another way, and what they then refer to."""
    first = _first(kind)
    changed = [*array]
    channels = {
        name: change(Field("channel", name), decode_value(value, bases))
        for name, value in array[first + _CHANNELS].items()
    }
    versions = change(Field("channel_versions"), decode_value(array[first + _VERSIONS], bases))
    seen = change(Field("versions_seen"), decode_value(array[first + _SEEN], bases))
    needed: set[int] = set().union(*map(bases_of_value, (*channels.values(), versions, seen)))
    index = {base: i for i, base in enumerate(sorted(needed))}
    changed[first + _CHANNELS] = {name: encode_value(value, index) for name, value in channels.items()}
    changed[first + _VERSIONS] = encode_value(versions, index)
    changed[first + _SEEN] = encode_value(seen, index)
    return changed, frozenset(needed)


def with_copied(array: Array, source: str, change: Callable[[str, Array, bool], Array | None]) -> Array:
    """Give a copy from a thread of another id, of other events.

    Args:
        array: of the copy.
        source: the id of the thread that it is from.
        change: gives what stands for a row, of a checkpoint or of writes (False or True), in a namespace; None: the
            row goes. A namespace that has lost all of its rows goes with them.
    """
    changed = [*array]
    changed[1] = source
    changed[3] = []
    for stream in array[3]:
        ns, checkpoints, writes, *more = stream
        kept_writes = [row for row in (change(ns, row, True) for row in writes) if row is not None]
        kept = [row for row in (change(ns, row, False) for row in checkpoints) if row is not None]
        if kept or kept_writes or not (checkpoints or writes):
            changed[3].append([ns, kept, kept_writes, *more])
    return changed


def narrowed_removals(kind: int, array: Array, names: Mapping[str, str]) -> Array | None:
    """Give a delete_for_runs or prune that is about some threads only, by their new names; None if about none."""
    place = 2 if kind == Kind.PRUNE else 1
    changed = [*array]
    changed[place] = [[names[row[0]], *row[1:]] for row in array[place] if row[0] in names]
    deleted = []
    if kind == Kind.PRUNE:
        deleted = changed[1] = [names[thread_id] for thread_id in array[1] if thread_id in names]
    return changed if changed[place] or deleted else None


def narrowed_facts(array: Array, names: Mapping[str, str]) -> Array | None:
    """Give a carry that is about some threads only, by their new names; None if about none.

    What users' projections carry is theirs to read: it is about none.
    """
    if array[0] != "threads":
        return None
    facts = [[names[row[0]], *row[1:]] for row in array[1] if row[0] in names]
    return [array[0], facts, *array[2:]] if facts else None
