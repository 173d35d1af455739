"""Delta channels: their values put together again from what was written, as far as that is possible without the graph.

A DeltaChannel's value is what its reducer, which only the graph knows, makes of a snapshot and all writes since. Most
reducers append to a list, merge messages by their ids, or merge dicts: that is what is done here, and said.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from ...projections.history import CheckpointRow
from ...saver.removing import may_be_delta
from ..at_one_moment import LogAtOneMoment
from .tasks import mapping

__all__ = ["DeltaValue", "delta_values", "rebuild_value"]

_COUNTERS = "counters_since_delta_snapshot"
_OVERWRITE = "__overwrite__"


@dataclass(frozen=True, slots=True)
class DeltaValue:
    """The value of a delta channel.

    Attributes:
        value: put together; None if `how` is.
        how: "snapshot" (stored as it is), "appended", "messages merged", "keys merged", "united" (of sets);
            None: that cannot be known without the channel's reducer. What was written is in `writes`.
        snapshot: the value that was stored last; None: none was.
        writes: what was written since, the oldest first.
    """

    value: Any
    how: str | None
    snapshot: Any
    writes: tuple[Any, ...]


def delta_values(log: LogAtOneMoment, row: CheckpointRow, found: CheckpointTuple) -> dict[str, DeltaValue]:
    """Give the values of a checkpoint's delta channels, which it mostly does not hold itself.

    Args:
        log: the transaction that the checkpoint was read in.
        row: the checkpoint's.
        found: the checkpoint.

    A channel is taken for one if LangGraph counts its steps in the metadata, or its last stored value is a snapshot.

    Raises:
        CorruptRecordError: something that they are put together from is damaged.
    """
    values = found.checkpoint["channel_values"]
    whole = {
        name: DeltaValue(value.value, "snapshot", value.value, ())
        for name, value in values.items()
        if isinstance(value, _DeltaSnapshot)
    }
    counted = set(mapping(mapping(found.metadata).get(_COUNTERS)))
    versions = mapping(found.checkpoint["channel_versions"])
    candidates = [name for name in versions if isinstance(name, str) and name not in values and may_be_delta(name)]
    if not candidates:
        return whole
    histories = log.delta_histories(row, candidates)
    for name, history in histories.items():
        seed = history.get("seed")
        if isinstance(seed, _DeltaSnapshot) or (name in counted and (seed is not None or history["writes"])):
            base = seed.value if isinstance(seed, _DeltaSnapshot) else seed
            whole[name] = rebuild_value(base, [value for _, _, value in history["writes"]])
    return whole


def rebuild_value(snapshot: Any, writes: Sequence[Any]) -> DeltaValue:
    """Put a value together from a snapshot (None: there is none) and what was written since."""
    base, rest = snapshot, list(writes)
    for n, written in enumerate(writes):
        is_overwrite, value = _overwritten(written)
        if is_overwrite:
            base, rest = value, list(writes[n + 1 :])
    value, how = _folded(base, rest)
    return DeltaValue(value, how, snapshot, tuple(writes))


def _folded(base: Any, writes: list[Any]) -> tuple[Any, str | None]:
    if not writes:
        return base, "snapshot"
    if base is None:
        base = next((type(written)() for written in writes if isinstance(written, list | dict | set)), None)
    if isinstance(base, dict) and all(isinstance(written, dict) for written in writes):
        return {key: value for part in (base, *writes) for key, value in part.items()}, "keys merged"
    if isinstance(base, set) and all(isinstance(written, set | frozenset | list | tuple) for written in writes):
        return base.union(*writes), "united"
    if base is not None and not isinstance(base, list):
        return None, None
    parts = [list(written) if isinstance(written, list | tuple) else [written] for written in writes]
    if base is None and not any(isinstance(written, BaseMessage) for written in writes):
        return None, None
    base = base or []
    items = [*base, *(item for part in parts for item in part)]
    # What has no id would be given one, another at each look.
    if items and all(isinstance(item, BaseMessage) and item.id is not None for item in items):
        with contextlib.suppress(ValueError):  # a removal of what is not there
            return _merged(base, parts), "messages merged"
    return items, "appended"


def _merged(base: list[Any], parts: list[list[Any]]) -> Any:
    from langgraph.graph.message import add_messages

    merged: Any = list(base)
    for part in parts:
        merged = add_messages(merged, part)
    return merged


def _overwritten(written: Any) -> tuple[bool, Any]:
    """Tell whether what was written replaces all, and by what."""
    if type(written).__name__ == "Overwrite" and hasattr(written, "value"):
        return True, written.value
    if isinstance(written, dict) and set(written) == {_OVERWRITE}:
        return True, written[_OVERWRITE]
    if isinstance(written, dict) and set(written) == {"value", "type"} and written["type"] == _OVERWRITE:
        return True, written["value"]
    return False, None
