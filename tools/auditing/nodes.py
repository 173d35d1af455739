"""Which nodes of a graph ran: LangGraph does not store that, but it can be told from what it does store.

A task's path says it of put_writes: LangGraph 1.x gives "~__pregel_pull, NODE" to a node that was triggered by its
channels; "~__pregel_push, N, ..." to the N-th `Send`, from 0, among the `__pregel_tasks` of the checkpoint; and
"~__pregel_push, ~__pregel_pull, NODE, ..." to a task that NODE called (the functional API). Of a put, the nodes are
those whose `versions_seen` are not the parent's, and those that the parent's `__pregel_tasks` are sent to. Older
versions name the nodes in the checkpoint's metadata, as `writes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["SENDS", "is_triggered", "node_of_path", "nodes_in_metadata", "nodes_sent_to", "nodes_that_saw", "within"]

# The channel that holds what was sent.
SENDS = "__pregel_tasks"
_BUMPS = "__snapshot_bumps__"
# What stands among the nodes of versions_seen and is none.
_NO_NODES = frozenset({"__input__", "__interrupt__", _BUMPS})
_PULLED = "~__pregel_pull, "
_CALLED = re.compile(r"(?:~__pregel_push, )+~__pregel_pull, (.*?)(?:, \d{10})+", re.S)
_SENT = re.compile(r"(?:~__pregel_push, )+(\d{10})(?:, \d{10})*")


def is_triggered(task_path: str) -> bool:
    """Tell whether a task is of a node that was triggered by its channels: then it is in versions_seen, too."""
    return task_path.startswith(_PULLED)


def node_of_path(task_path: str) -> str | int | None:
    """Give the node that a task's path names; a number: the node that so many-th Send names; None: it names none."""
    if is_triggered(task_path):
        return task_path.removeprefix(_PULLED)
    called = _CALLED.fullmatch(task_path)
    if called is not None:
        return called[1]
    sent = _SENT.fullmatch(task_path)
    return None if sent is None else int(sent[1])


def nodes_sent_to(sends: Any) -> list[str]:
    """Give the nodes that a checkpoint's `__pregel_tasks`, decoded, are sent to, in their order."""
    found = sends if isinstance(sends, list) else []
    return [str(getattr(send, "node", "")) for send in found]


def nodes_that_saw(seen: Any, before: Any) -> list[str]:
    """Give the nodes whose versions_seen are not what they were in the parent's, both decoded."""
    if not isinstance(seen, Mapping) or not isinstance(before, Mapping):
        return []
    return [
        node
        for node in seen
        if node not in _NO_NODES and (node not in before or _read(seen, node) != _read(before, node))
    ]


def _read(seen: Mapping[str, Any], node: str) -> dict[str, Any]:
    """Give the versions that a node really read.

    Storing a delta channel's snapshot gives it another version, and notes under `__snapshot_bumps__` who had read
    which one before: nobody ran for that.
    """
    versions, bumps = seen[node], seen.get(_BUMPS)
    if not isinstance(versions, Mapping) or not isinstance(bumps, Mapping):
        return dict(versions) if isinstance(versions, Mapping) else {"": versions}
    read = dict(versions)
    for channel, version in versions.items():
        if bumps.get(f"{node}|{channel}") == version:
            read[channel] = bumps.get(f"{node}:{channel}")
    return {channel: version for channel, version in read.items() if version is not None}


def nodes_in_metadata(metadata: Mapping[str, Any]) -> list[str]:
    """Give the nodes that a checkpoint's metadata names as those whose writes made it, as LangGraph did before 1.0."""
    writes = metadata.get("writes")
    return [str(node) for node in writes] if isinstance(writes, Mapping) and metadata.get("source") == "loop" else []


def within(checkpoint_ns: str | None) -> Iterable[str]:
    """Give the nodes that a namespace is within: of "plan:1|check:2", plan and check."""
    return [part.partition(":")[0] for part in (checkpoint_ns or "").split("|") if part]
