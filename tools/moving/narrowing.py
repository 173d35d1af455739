"""Import events that stand in a log already, when some of what they tell of is taken to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .places import Places
from .provenance import KINDS, Ranges

__all__ = ["narrowed_import"]


def narrowed_import(array: list[Any], names: Mapping[str, str], places: Places, log_id: str) -> list[Any] | None:
    """Give an import event's array that tells of what comes along alone, where it stands now; None: nothing does.

    Args:
        array: as it is there.
        names: what the threads that come along are to be called.
        places: where their events stand now.
        log_id: of the log that it stands in.
    """
    source, imported, _, _, *more = array
    ranges, checkpoints, writes = Ranges(), 0, 0
    for first, last in (row[:2] for row in imported):
        for place in places.within(first, last):
            ranges.add(place.here, place.there)
            checkpoints += place.held < 0
            writes += max(place.held, 0)
    if not ranges.rows:
        return None
    if source.get("kind") in KINDS:
        source = {
            **source,
            **{key: places.composed(source.get(key)).rows for key in ("moved", "copied")},
            "ids": [[old, names[new]] for old, new in source.get("ids", []) if new in names],
            "through": [*source.get("through", []), log_id],
        }
        source["threads"] = len(source["ids"])
    return [source, [[first, last] for first, last in ranges.here()], checkpoints, writes, *more]
