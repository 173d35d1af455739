"""Which checkpoints of one thread a retention policy keeps; `Retention` says the rules, and why."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...eventlog.errors import LogDamagedError
from ...eventlog.plain import PlainDataError, unpack
from ...projections.history import CheckpointRow
from .retention import Retention

__all__ = ["Keeping"]

# In LangGraph's namespaces, what a task's id stands behind.
_TASK_ID = ":"
# A run that is sent to one of these looks for its subgraphs' memories before the parent.
_FORKS = ("update", "fork")

IsNewer = Callable[[CheckpointRow], bool]


class Keeping:
    """What is kept of a thread that is not idle.

    Args:
        policy: which removes checkpoints.
        namespaces: the checkpoints that are to be seen of each namespace, by id.
        is_newer: tells whether a checkpoint is newer than the policy's age; asked as seldom as possible.
    """

    def __init__(
        self, policy: Retention, namespaces: Mapping[str, Sequence[CheckpointRow]], is_newer: IsNewer | None
    ) -> None:
        self._namespaces = namespaces
        self._is_newer = is_newer
        rows = namespaces.get("", ())
        self._roots = [row.checkpoint_id for row in rows]
        last = rows[-(policy.keep_last or 1) :]
        self._kept = {row.checkpoint_id: row for row in last}
        if is_newer is not None:
            older = rows[: len(rows) - len(last)]
            self._kept |= {row.checkpoint_id: row for row in older if is_newer(row)}
        # The latest of each subgraph with a memory, by (namespace, id), as others name it.
        self._memories = {(ns, rows[-1].checkpoint_id) for ns, rows in namespaces.items() if _remembers(ns) and rows}

    def is_past(self, id_: str) -> bool:
        """Tell whether a checkpoint that is not there is older than the latest of the graph: it will not come now."""
        return bool(self._roots) and id_ < self._roots[-1]

    def doomed(self) -> dict[str, set[str]]:
        """Give the ids of those that are not kept, by namespace; only namespaces that have such."""
        if not self._roots:
            return {}
        doomed = {"": {id_ for id_ in self._roots if id_ not in self._kept}}
        bounds = self._bounds()
        for ns, rows in self._namespaces.items():
            if ns == "":
                continue
            kept = self._remembered([row.checkpoint_id for row in rows], bounds) if _remembers(ns) else set()
            doomed[ns] = {row.checkpoint_id for row in rows if row.checkpoint_id not in kept and not self._is_kept(row)}
        return {ns: ids for ns, ids in doomed.items() if ids}

    def _bounds(self) -> list[str]:
        """Give the ids before which time travel to a kept checkpoint looks for memories."""
        bounds = set(self._kept)
        for row in self._kept.values():
            if row.parent_id is not None and _metadata(row).get("source") in _FORKS:
                bounds.add(row.parent_id)
        return sorted(bounds)

    @staticmethod
    def _remembered(ids: list[str], bounds: list[str]) -> set[str]:
        """Give what is kept of a memory whatever it names: the latest, and the newest before each bound."""
        places = {bisect_left(ids, bound) - 1 for bound in bounds} | {len(ids) - 1}
        return {ids[place] for place in places if place >= 0}

    def _is_kept(self, row: CheckpointRow) -> bool:
        """Tell whether a subgraph's checkpoint is kept for one that it names, or for its age."""
        parents = _metadata(row).get("parents")
        named: dict[Any, Any] = parents if isinstance(parents, dict) else {}
        if any(isinstance(id_, str) and (ns, id_) in self._memories for ns, id_ in named.items()):
            return True
        root = named.get("")
        if not isinstance(root, str):
            place = bisect_right(self._roots, row.checkpoint_id) - 1
            root = self._roots[place] if place >= 0 else None
        if root is not None:
            if root in self._kept or root > self._roots[-1]:
                return True
            place = bisect_left(self._roots, root)
            if self._roots[place] == root:
                return False
        return self._is_newer is not None and self._is_newer(row)


def _remembers(ns: str) -> bool:
    return ns != "" and _TASK_ID not in ns


def _metadata(row: CheckpointRow) -> dict[str, Any]:
    try:
        metadata: dict[str, Any] = unpack(row.metadata)
    except PlainDataError as e:
        raise LogDamagedError(
            f"metadata of checkpoint {row.checkpoint_id!r} in the projection history is damaged: rebuild() mends that"
        ) from e
    return metadata
