"""Comparing two savers checkpoint by checkpoint, decoded, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ...saver.config import config_of

__all__ = ["Difference", "Place", "Readable", "compare"]

# thread_id, checkpoint_ns, checkpoint_id
Place = tuple[str, str, str]
_serde = JsonPlusSerializer(allowed_msgpack_modules=None)


class Difference(NamedTuple):
    """A checkpoint that two savers do not give alike; `what` of it."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str
    what: str


class Readable(Protocol):
    """A saver, or what reads checkpoints as one does."""

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Give the checkpoint that the config names."""


def compare(
    one: Readable,
    other: Readable,
    places: Iterable[Place],
    *,
    done: Callable[[int], None] = lambda _: None,
) -> Iterable[Difference]:
    """Yield what differs between the checkpoint tuples that two savers give.

    Configs, metadata, parents, pending writes in their order and every value are compared, as decoded, by type and
    value: 1 is not True.

    Args:
        one: a saver. What one gives must not change meanwhile, or that is a difference.
        other: another; both with the same serializer, or what they decode differs.
        places: of the checkpoints.
        done: is called with how many have been compared.
    """
    for n, (thread_id, checkpoint_ns, checkpoint_id) in enumerate(places, 1):
        config = config_of(thread_id, checkpoint_ns, checkpoint_id)
        what = _difference(_get(one, config), _get(other, config))
        if what is not None:
            yield Difference(thread_id, checkpoint_ns, checkpoint_id, what)
        done(n)


def _get(saver: Readable, config: RunnableConfig) -> CheckpointTuple | str | None:
    try:
        return saver.get_tuple(config)
    except Exception as e:  # a saver raises anything: what cannot be read is a difference, and the others go on
        return f"it cannot be read by {type(saver).__name__}: {type(e).__name__}: {e}"


def _difference(one: CheckpointTuple | str | None, other: CheckpointTuple | str | None) -> str | None:
    for found in (one, other):
        if isinstance(found, str):
            return found
    if not isinstance(one, CheckpointTuple) or not isinstance(other, CheckpointTuple):
        return None if one is other else "it is not there in one of them"
    if one.config != other.config or (one.parent_config or None) != (other.parent_config or None):
        return "its config or parent"
    if not _same(one.metadata, other.metadata):
        return "its metadata"
    if not _same([list(write) for write in one.pending_writes or ()], [list(w) for w in other.pending_writes or ()]):
        return "its pending writes"
    ours, theirs = dict(one.checkpoint), dict(other.checkpoint)
    values, other_values = ours.pop("channel_values", None), theirs.pop("channel_values", None)
    for field in sorted({*ours, *theirs}):
        if field not in ours or field not in theirs or not _same(ours[field], theirs[field]):
            return f"its {field}"
    if not isinstance(values, dict) or not isinstance(other_values, dict):
        return None if _same(values, other_values) else "its channel_values"
    for channel in [*values, *(name for name in other_values if name not in values)]:
        if channel not in values or channel not in other_values:
            return f"channel {channel!r}, which only one of them has"
        if not _same(values[channel], other_values[channel]):
            return f"channel {channel!r}"
    return None


def _same(one: Any, other: Any) -> bool:
    """Tell whether two decoded values are the same: what serialises alike is, NaN included."""
    try:
        return _serde.dumps_typed(one) == _serde.dumps_typed(other) or _equal_whatever_order(one, other)
    except Exception:
        return bool(one == other)


def _equal_whatever_order(one: Any, other: Any) -> bool:
    """Tell whether two dicts hold the same under each key: a database may have sorted them."""
    if type(one) is not dict or type(other) is not dict or one.keys() != other.keys():
        return False
    return all(_same(value, other[key]) for key, value in one.items())
