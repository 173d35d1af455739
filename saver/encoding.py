"""LangGraph's put and put_writes turned into events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    Checkpoint,
    CheckpointMetadata,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ..eventlog.body import bases_of
from ..eventlog.errors import ConfigError, EncodingError, RecordTooLargeError
from ..eventlog.event import NewEvent, Put, PutWrites, Write
from ..eventlog.record import MAX_BASES, MAX_BODY_BYTES
from ..eventlog.value import Whole
from .config import Address, text
from .differences import express_all
from .known import Known, KnownValue
from .models import MODELS
from .parts import Parts, parts_of_plain
from .serialising import dump, dump_metadata
from .taking_apart import IMMUTABLE, take_apart

__all__ = [
    "FIELDS",
    "FRAME",
    "OWN_PLACE",
    "EncodedPut",
    "assemble",
    "encode_put",
    "encode_writes",
    "field_before",
    "is_plain",
]

# Fields of a checkpoint that get a place of their own in the record; the others go into `rest`.
OWN_PLACE: Final = frozenset({"id", "channel_values", "channel_versions", "versions_seen"})
FIELDS: Final = ("channel_versions", "versions_seen")
# In the order in which they are stored: what is put alike is stored alike.
FRAME: Final = ("v", "ts", "updated_channels")
_MIN_FIELD_BYTES = 64
_PLAIN_TYPES = frozenset({str, int, float, type(None)})
_STR = frozenset({str})


class EncodedPut(NamedTuple):
    """A put, encoded, and what is known of its values once it has been appended."""

    event: NewEvent
    serde: SerializerProtocol
    channels: Mapping[str, KnownValue]
    fields: Mapping[str, KnownValue]
    read_bytes: int

    def known(self, position: int, generation: int | None = None) -> Known:
        """Give what is known of the checkpoint, which has been appended at a position.

        `generation` is the file's before it was encoded; of what it refers to, it is known already.
        """
        known_under = self.event.generation
        generation = generation if known_under is None else known_under
        return Known(self.serde, position, self.channels, self.fields, self.read_bytes, generation)


def encode_put(
    serde: SerializerProtocol,
    config: RunnableConfig,
    address: Address,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    *,
    known: Known | None,
) -> EncodedPut:
    """Encode a put.

    Everything in `channel_values` is stored, whatever the versions say: by reference where `known`, the parent's
    values, has the same; as a difference to the parent's where that is smaller; else in full.

    Raises:
        EncodingError: a value cannot be serialised.
        ConfigError: an id is missing or cannot be stored.
    """
    given: Any = checkpoint
    if not given.get("id"):
        raise ConfigError("the checkpoint has no id")
    values: list[tuple[str, Parts, KnownValue | None]] = []
    written = None if known is None else known.written
    size = 0
    # A copy of the dict: with durability="async" the graph may go on while this is being encoded.
    for channel, value in dict(given.get("channel_values") or {}).items():
        if not isinstance(channel, str):
            raise _not_called_by_a_str(channel)
        before = None if known is None else known.channels.get(channel)
        parts = take_apart(serde, value, channel, None if before is None else before.parts, written)
        size += parts.size
        if size > MAX_BODY_BYTES:  # as differences it might still be stored, but not be read
            raise RecordTooLargeError(size=size, limit=MAX_BODY_BYTES)
        values.append((channel, parts, before))
    frame = {name: given[name] for name in FRAME if name in given and is_plain(given[name])}
    rest = {name: value for name, value in given.items() if name not in OWN_PLACE and name not in frame}
    encoded = assemble(
        serde,
        address,
        checkpoint_id=text(given["id"], "the checkpoint's id"),
        metadata=dump_metadata(serde, _with_plain_run_id(get_checkpoint_metadata(config, metadata or {}))),
        values=values,
        fields=[(field, parts_of_plain(serde, given.get(field, {}), field)) for field in FIELDS],
        frame=frame,
        rest=dump(serde, rest, "checkpoint") if rest else None,
        known=known,
    )
    return encoded or encode_put(serde, config, address, checkpoint, metadata, known=None)


def assemble(
    serde: SerializerProtocol,
    address: Address,
    *,
    checkpoint_id: str,
    metadata: bytes,
    values: list[tuple[str, Parts, KnownValue | None]],
    fields: Sequence[tuple[str, Parts]],
    frame: Mapping[str, Any],
    rest: Whole | None,
    known: Known | None,
) -> EncodedPut | None:
    """Encode a put whose values have been taken apart: each as what differs from the parent's, where that is smaller.

    Args:
        serde: that made the values.
        address: of the put; its checkpoint_id is the parent's.
        checkpoint_id: the checkpoint's.
        metadata: packed plain data.
        values: the channels' values, and what is known of the parent's. The fields' are added to the list.
        fields: channel_versions and versions_seen.
        frame: the fields that are plain.
        rest: all others, serialised.
        known: what is known of the parent's values.

    None: with `known`, it would refer to more events than a record can. Without, it does not.
    """
    values += [(field, parts, field_before(known, field, parts)) for field, parts in fields]
    stored, now, read_bytes = express_all(values, known)
    channels, own = stored[: -len(FIELDS)], stored[-len(FIELDS) :]
    put = Put(
        checkpoint_id=checkpoint_id,
        parent_id=address.checkpoint_id,
        metadata=metadata,
        channels=dict(channels),
        channel_versions=own[0][1],
        versions_seen=own[1][1],
        frame=frame,
        rest=rest,
    )
    # So many events are referred to only by tens of thousands of channels, or tasks: they are counted only then.
    if known is not None and len(channels) + len(known.written) > MAX_BASES - 2 and len(bases_of(put)) > MAX_BASES:
        return None
    generation = None if known is None else known.generation
    event = NewEvent(put, address.thread_id, address.namespace, generation=generation)
    return EncodedPut(event, serde, dict(now[: -len(FIELDS)]), dict(now[-len(FIELDS) :]), read_bytes)


def field_before(known: Known | None, field: str, parts: Parts) -> KnownValue | None:
    """Give what is known of one of the parent's own maps, if a child's is to be compared with it."""
    # A reference to a map of a few bytes is no smaller, and keeps another event from being erased.
    return known.fields.get(field) if known is not None and parts.size >= _MIN_FIELD_BYTES else None


def encode_writes(
    serde: SerializerProtocol,
    address: Address,
    writes: Sequence[tuple[str, Any]],
    task_id: str,
    task_path: str,
) -> tuple[NewEvent, list[tuple[int, tuple[Any, ...]]]]:
    """Give the event of a put_writes, and what of it the next put need not serialise again: see `Written.add`.

    Raises:
        EncodingError: a value cannot be serialised.
        ConfigError: an id is missing or cannot be stored.
    """
    if address.checkpoint_id is None:
        raise ConfigError('put_writes needs to know the checkpoint: {"configurable": {"checkpoint_id": "..."}}')
    # Exactly this serializer: of others it is not known what they make of a value, and its bytes are not taken again.
    known_serde = type(serde) is JsonPlusSerializer
    recorded: list[Write] = []
    again: list[tuple[int, tuple[Any, ...]]] = []
    for idx, (channel, value) in enumerate(writes):
        if not isinstance(channel, str):
            raise _not_called_by_a_str(channel)
        given, kind = value, type(value)
        if known_serde:
            if kind is list:
                given = value[:]  # a copy: what is looked at is what is serialised
                if given and MODELS.issuperset(map(type, given)):
                    again.append((idx, ()))
            elif kind is dict:
                given = value.copy()
                if given and IMMUTABLE.issuperset(map(type, given.values())):
                    again.append((idx, tuple(given.values())))
            elif kind in MODELS:
                again.append((idx, ()))
        recorded.append(Write(channel, WRITES_IDX_MAP.get(channel, idx), dump(serde, given, channel)))
    data = PutWrites(address.checkpoint_id, str(task_id), str(task_path), tuple(recorded))
    return NewEvent(data, address.thread_id, address.namespace), again


def _not_called_by_a_str(channel: Any) -> EncodingError:
    # Not quoted: if arguments were mixed up, it is what was to be written.
    name = f"<{type(channel).__name__}>"
    return EncodingError(f"channel {name} is not called by a str. Nothing was appended", channel=name)


def _with_plain_run_id(metadata: CheckpointMetadata) -> CheckpointMetadata:
    """Give a run id that is a UUID object, as LangChain's configs have it, as text: runs are found by it."""
    run_id: Any = metadata.get("run_id")
    return {**metadata, "run_id": str(run_id)} if isinstance(run_id, UUID) else metadata


def is_plain(value: Any) -> bool:
    """Tell whether a field of a checkpoint can stand in the frame: text, a number, None, or a list of texts."""
    if isinstance(value, list):
        return _STR.issuperset(map(type, value))
    return type(value) in _PLAIN_TYPES
