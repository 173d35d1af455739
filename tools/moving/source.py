"""What data can be imported from: a reader of another saver's storage, thread by thread, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.base import SerializerProtocol

from ...saver.intake import Taken

__all__ = ["Counts", "Source", "SourceKey", "parents_first"]


class Counts(NamedTuple):
    """How much there is."""

    threads: int
    checkpoints: int
    writes: int


class SourceKey(NamedTuple):
    """Names a checkpoint of a thread, or writes whose checkpoint is not there: then `is_there` is False."""

    checkpoint_ns: str
    checkpoint_id: str
    parent_id: str | None
    is_there: bool = True


class Source(Protocol):
    """Reads another saver's storage, and never changes it. Everything is seen as it was at one moment.

    Attributes:
        size: bytes that it takes there.
    """

    size: int

    def describe(self) -> Mapping[str, Any]:
        """Say what it is, for the record: plain data, without passwords."""

    def counts(self) -> Counts:
        """Count what there is."""

    def threads(self) -> Iterable[str]:
        """Give the threads' ids, those first whose ids of checkpoints are least: the oldest."""

    def keys(self, thread_id: str) -> Sequence[SourceKey]:
        """Give what there is in a thread, in the order of checkpoint ids."""

    def read(self, thread_id: str, key: SourceKey) -> tuple[Taken, int]:
        """Read a checkpoint with its writes; and give how many bytes that takes in the source."""

    def check_unchanged(self) -> None:
        """Raise a SourceError if what has been read may not have been the state of one moment."""

    def official(self, serde: SerializerProtocol) -> BaseCheckpointSaver[Any]:
        """Give the official saver on the same data, reading only.

        Raises:
            ConfigError: it is not installed.
        """

    def close(self) -> None:
        """Close it."""

    def __enter__(self) -> Self:
        """Use it in a `with` block."""

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        """Close it."""


def parents_first(keys: Sequence[SourceKey]) -> Iterator[SourceKey]:
    """Yield the keys in their order, but each after its parent: ids need not grow from parent to child."""
    there = {(key.checkpoint_ns, key.checkpoint_id): key for key in keys}
    done: set[tuple[str, str]] = set()
    for key in keys:
        lineage: list[SourceKey] = []
        at: SourceKey | None = key
        while at is not None and (at.checkpoint_ns, at.checkpoint_id) not in done:
            done.add((at.checkpoint_ns, at.checkpoint_id))  # at once: parents may go round in a circle
            lineage.append(at)
            at = None if at.parent_id is None else there.get((at.checkpoint_ns, at.parent_id))
        yield from reversed(lineage)
