"""Which nodes ran, wrote, and are next: read from what a checkpoint holds, without the graph.

A node that an edge started leaves the versions that it has seen; what a task wrote names the node in its path. Sends
name theirs. Of tasks that a function called, only the node in which that happened is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..auditing import nodes
from ..auditing.nodes import is_triggered, nodes_that_saw

__all__ = ["TASKS", "Next", "is_inner", "mapping", "next_tasks", "node_of_path", "nodes_that_ran", "sends_in"]

TASKS = nodes.SENDS
_BRANCH = "branch:to:"
_JOIN = re.compile(r"join:(.+):([^:]+)")
_START = "__start__"


@dataclass(frozen=True, slots=True)
class Next:
    """A task that is to run next, as far as a checkpoint tells.

    Attributes:
        node: its node.
        why: "edge", "send" or "input".
        argument: what is sent to it, with a send.
    """

    node: str
    why: str
    argument: Any = None


def is_inner(channel: str) -> bool:
    """Tell whether a channel only starts nodes: LangGraph's own, which come and go at every step."""
    return channel.startswith(("branch:", "join:"))


def mapping(value: Any) -> Mapping[Any, Any]:
    """Give what should be a mapping, an empty one in the place of anything else: a log may hold anything."""
    return value if isinstance(value, Mapping) else {}


def nodes_that_ran(before: Any, after: Any, paths: Iterable[str], sends: Sequence[Any]) -> list[str]:
    """Give the nodes that ran between a checkpoint's parent and itself.

    Args:
        before: the parent's `versions_seen`; None: there is no parent.
        after: its own.
        paths: task paths of the writes at the parent.
        sends: the parent's, see `sends_in`.
    """
    ran = nodes_that_saw(mapping(after), mapping(before))
    # Who was sent to sees no channel's version.
    ran += [node for path in paths if not is_triggered(path) and (node := node_of_path(path, sends)) is not None]
    return sorted(set(ran))


def node_of_path(path: str, sends: Sequence[Any] = ()) -> str | None:
    """Give the node of a task from its path; None if that does not tell."""
    named = nodes.node_of_path(path)
    if not isinstance(named, int):
        return named
    node = getattr(sends[named], "node", None) if named < len(sends) else None
    return node if isinstance(node, str) else None


def sends_in(channel_values: Mapping[str, Any]) -> list[Any]:
    """Give the sends that a checkpoint holds, in the order in which their tasks are numbered."""
    held = channel_values.get(TASKS)
    # Older versions of LangGraph kept (seen, sends).
    if isinstance(held, tuple) and len(held) == 2 and isinstance(held[1], list):
        held = held[1]
    return list(held) if isinstance(held, list | tuple) else []


def next_tasks(checkpoint: Mapping[str, Any]) -> list[Next]:
    """Give what is to run after a checkpoint, as far as it tells: without the graph, not all of it may be known."""
    values = checkpoint["channel_values"]
    versions = mapping(checkpoint.get("channel_versions"))
    seen = checkpoint.get("versions_seen")
    found = [
        Next(send.node, "send", send.arg)
        for send in sends_in(values)
        if isinstance(getattr(send, "node", None), str) and hasattr(send, "arg")
    ]
    for channel, value in values.items():
        node = _triggered(channel, value)
        if node is not None and _is_news(versions.get(channel), _version_seen(seen, node, channel)):
            found.append(Next(node, "input" if channel == _START else "edge"))
    return found


def _triggered(channel: str, value: Any) -> str | None:
    """Give the node that a channel with a value starts."""
    if channel == _START:
        return _START
    if channel.startswith(_BRANCH):
        return channel.removeprefix(_BRANCH)
    join = _JOIN.fullmatch(channel)
    # A join waits for all of its nodes; those that have come are its value.
    if join is not None and isinstance(value, set | frozenset | list | tuple) and set(join[1].split("+")) <= set(value):
        return join[2]
    return None


def _version_seen(seen: Any, node: str, channel: str) -> Any:
    return mapping(mapping(seen).get(node)).get(channel)


def _is_news(version: Any, seen: Any) -> bool:
    if seen is None or version is None:
        return True
    try:
        return bool(version > seen)
    except TypeError:
        return bool(version != seen)
