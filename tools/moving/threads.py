"""Copying, deleting and pruning threads that are there: what the saver passes over in silence is an error here.

A graph that deletes a thread twice has done nothing wrong. Somebody who types the name of one has made a mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...eventlog.errors import ConfigError
from ...saver import EventLogSaver
from ...saver.threads import ThreadInfo

__all__ = ["Pruned", "copy_thread", "delete_threads", "facts", "prune_threads", "threads_there"]

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Pruned:
    """A thread before and after it was pruned; `after` is None if it is gone."""

    before: ThreadInfo
    after: ThreadInfo | None


def threads_there(saver: EventLogSaver, thread_ids: Sequence[str]) -> list[ThreadInfo]:
    """Give threads, each once.

    Raises:
        ConfigError: some are not there; it says which.
    """
    found = {thread_id: saver.thread(thread_id) for thread_id in thread_ids}
    missing = [thread_id for thread_id, info in found.items() if info is None]
    if missing:
        named = ", ".join(map(repr, missing[:_SHOWN])) + (" ..." if len(missing) > _SHOWN else "")
        raise ConfigError(f"there is no thread {named} in {saver.path}: nothing was changed")
    return [info for info in found.values() if info is not None]


def copy_thread(saver: EventLogSaver, source: str, target: str) -> ThreadInfo:
    """Copy a thread, as the saver's `copy_thread` does; give the new one.

    Raises:
        ThreadExistsError: the target has checkpoints already.
        ConfigError: the source is not there, or has nothing that could be copied, or is the target.
    """
    if source == target:
        raise ConfigError(f"thread {source!r} cannot be copied onto itself: choose another id")
    threads_there(saver, [source])
    position = saver.log.head().position
    saver.copy_thread(source, target)
    made = saver.thread(target)
    if made is None or not any(True for _ in saver.log.read(after=position, thread_id=target, limit=1)):
        raise ConfigError(f"thread {source!r} has neither checkpoints nor writes: there is nothing to copy")
    return made


def delete_threads(saver: EventLogSaver, thread_ids: Sequence[str]) -> list[ThreadInfo]:
    """Delete threads, one event each; give what they were. Their bytes go when the log is compacted.

    Raises:
        ConfigError: one is not there; none was deleted.
    """
    threads = threads_there(saver, thread_ids)
    for info in threads:
        saver.delete_thread(info.thread_id)
    return threads


def prune_threads(
    saver: EventLogSaver, thread_ids: Sequence[str], *, strategy: Literal["keep_latest", "delete"]
) -> list[Pruned]:
    """Prune threads, as the saver's `prune` does, in one event. Bytes go when the log is compacted.

    Raises:
        ConfigError: one is not there; none was changed.
    """
    threads = threads_there(saver, thread_ids)
    saver.prune([info.thread_id for info in threads], strategy=strategy)
    return [Pruned(info, saver.thread(info.thread_id)) for info in threads]


def facts(info: ThreadInfo) -> dict[str, Any]:
    """Give how large a thread is, for results: thread_id, checkpoints, writes and bytes of its records."""
    return {
        "thread_id": info.thread_id,
        "checkpoints": info.checkpoints,
        "writes": info.writes,
        "bytes": info.bytes,
    }
