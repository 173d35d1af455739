"""What a saver's callers may rely on, as dicts and lists: slow and plain, sharing no code with the saver.

Where the contract is silent (which ancestors stay hidden, what a fork takes along, what counts as registered) it says
what the saver does, so that a change of that is noticed. Knows nothing of how things are stored.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["SPECIAL", "Batch", "Exists", "Facts", "Kept", "Model", "Wrong", "is_internal"]

SPECIAL = {"__error__": -1, "__scheduled__": -2, "__interrupt__": -3, "__resume__": -4}
_KEY = re.compile(r"[A-Za-z0-9_.-]+")

Stream = tuple[str, str]


class Wrong(Exception):
    """The call is a ValueError."""


class Exists(Exception):
    """The call is a ThreadExistsError."""


@dataclass
class Kept:
    """A checkpoint; hidden ones serve as ancestors only."""

    parent_id: str | None
    checkpoint: dict[str, Any]
    metadata: dict[str, Any]
    hidden: bool = False

    @property
    def values(self) -> dict[str, Any]:
        return self.checkpoint["channel_values"]


@dataclass
class Batch:
    """One put_writes."""

    task_id: str
    task_path: str
    writes: list[tuple[str, Any]]


@dataclass
class Facts:
    """What is known of a thread besides its checkpoints."""

    created_at: int
    last_activity: int
    name: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    registered: bool = False


def is_internal(channel: str) -> bool:
    """LangGraph's own channels are never delta channels."""
    return channel.startswith(("__", "branch:to:"))


class Model:
    """All threads."""

    def __init__(self) -> None:
        self.checkpoints: dict[Stream, dict[str, Kept]] = {}
        self.batches: dict[Stream, dict[str, list[Batch]]] = {}
        self.facts: dict[str, Facts] = {}

    # What changes it. `now` is the time of the event; a call that changes nothing is no activity.

    def put(
        self,
        thread: str,
        ns: str,
        parent_id: str | None,
        checkpoint: dict[str, Any],
        metadata: dict[str, Any],
        now: int,
    ) -> None:
        kept = Kept(parent_id, copy.deepcopy(checkpoint), copy.deepcopy(metadata))
        self.checkpoints.setdefault((thread, ns), {})[checkpoint["id"]] = kept
        self._touch(thread, now)

    def put_writes(
        self, thread: str, ns: str, checkpoint_id: str, task: tuple[str, str], writes: list[tuple[str, Any]], now: int
    ) -> None:
        if not writes:
            return
        batch = Batch(*task, copy.deepcopy(writes))
        self.batches.setdefault((thread, ns), {}).setdefault(checkpoint_id, []).append(batch)
        self._touch(thread, now)

    def delete_thread(self, thread: str) -> None:
        self.facts.pop(thread, None)
        for streams in (self.checkpoints, self.batches):
            for stream in [stream for stream in streams if stream[0] == thread]:
                del streams[stream]

    def delete_for_runs(self, run_ids: Iterable[str]) -> None:
        wanted = set(run_ids)
        for stream, kept in self.checkpoints.items():
            going = {id_ for id_, one in kept.items() if _run_id(one.metadata) in wanted}
            if going:
                self._remove(stream, going)

    def prune(self, threads: Iterable[str], strategy: str) -> None:
        for thread in threads:
            if strategy == "delete":
                self.delete_thread(thread)
                continue
            for stream in [stream for stream in self.checkpoints if stream[0] == thread]:
                self._remove(stream, self.checkpoints[stream].keys() - {self.latest(stream)})

    def copy_thread(self, source: str, target: str, now: int) -> None:
        streams = [s for s in self._streams() if s[0] == source and (self.checkpoints.get(s) or self.batches.get(s))]
        if source == target or not streams:
            return
        self._check_free(target)
        for stream in streams:
            self._take_along(stream, target, set(self.checkpoints.get(stream, {})), set(self.batches.get(stream, {})))
        self._touch(target, now)

    def fork_thread(
        self, thread: str, ns: str, checkpoint_id: str | None, target: str, metadata: dict[str, Any] | None, now: int
    ) -> str:
        """Give the id of the checkpoint that was forked from."""
        if thread == target:
            raise Wrong
        self._check_free(target)
        point = checkpoint_id or self.latest((thread, ns))
        kept = self.checkpoints.get((thread, ns), {})
        if point not in kept or kept[point].hidden:
            raise Wrong
        root = point if ns == "" else _root_named(kept[point])
        if root not in self.checkpoints.get((thread, ""), {}):
            root = None
        roots = self._lineage((thread, ""), root)
        for stream in [s for s in self.checkpoints if s[0] == thread]:
            if stream[1] == "":
                ids, left_behind = set(roots), self._unless_childless(stream, root)
            elif stream[1] == ns:
                ids, left_behind = set(self._lineage(stream, point)), self._unless_childless(stream, point)
            else:
                # What subgraphs did during the steps that go along; the step after the fork's end is done anew.
                anew = self._unless_childless((thread, ""), root)
                ids = {i for i, one in self.checkpoints[stream].items() if _root_named(one) in set(roots) - {anew}}
                left_behind = None
            if not ids:
                continue
            written = set(self.batches.get(stream, {}))
            if ids != set(self.checkpoints[stream]) or left_behind is not None:
                written &= ids  # with all checkpoints of a namespace go the writes that wait for theirs
            self._take_along(stream, target, ids, written - {left_behind})
        self._touch(target, now)
        if metadata is not None:
            self.facts[target].metadata, self.facts[target].registered = copy.deepcopy(metadata), True
        return point

    def register_thread(self, thread: str, name: str | None, metadata: dict[str, Any] | None, now: int) -> None:
        old = self.facts.get(thread)
        merged = {**({} if old is None else old.metadata), **copy.deepcopy(metadata or {})}
        merged = {key: value for key, value in merged.items() if value is not None}
        new_name = name if name is not None or old is None else old.name
        if old is not None and old.registered and (old.name, _by_key(old.metadata)) == (new_name, _by_key(merged)):
            return
        self._touch(thread, now)
        facts = self.facts[thread]
        facts.name, facts.metadata, facts.registered = new_name, merged, True

    # What is read.

    def streams(self) -> list[Stream]:
        return sorted(stream for stream, kept in self.checkpoints.items() if kept)

    def latest(self, stream: Stream) -> str | None:
        return max((id_ for id_, one in self.checkpoints.get(stream, {}).items() if not one.hidden), default=None)

    def visible(self) -> list[tuple[str, str, str]]:
        """(checkpoint_id, thread, namespace) of all that list(None) gives, newest first; ties in any order."""
        return sorted(
            ((i, *stream) for stream, kept in self.checkpoints.items() for i, one in kept.items() if not one.hidden),
            reverse=True,
        )

    def pending(self, stream: Stream, checkpoint_id: str) -> list[tuple[str, str, Any]]:
        """(task_id, channel, value): special channels replace, others keep the first; by task path, task, index."""
        won: dict[tuple[str, int], tuple[str, str, Any]] = {}
        for batch in self.batches.get(stream, {}).get(checkpoint_id, []):
            for place, (channel, value) in enumerate(batch.writes):
                idx = SPECIAL.get(channel, place)
                if idx < 0 or (batch.task_id, idx) not in won:
                    won[batch.task_id, idx] = (batch.task_path, channel, value)
        ordered = sorted((path, task, idx, channel, value) for (task, idx), (path, channel, value) in won.items())
        return [(task, channel, value) for _, task, _, channel, value in ordered]

    def ancestors(self, stream: Stream, checkpoint_id: str) -> Iterator[str]:
        """Nearest first, each once, up to one that is not there. A cycle ends where it would come round."""
        kept = self.checkpoints.get(stream, {})
        seen = {checkpoint_id}
        at = kept[checkpoint_id].parent_id
        while at in kept and at not in seen:
            seen.add(at)
            yield at
            at = kept[at].parent_id

    def delta_history(self, stream: Stream, checkpoint_id: str | None, channel: str) -> dict[str, Any]:
        kept = self.checkpoints.get(stream, {})
        newest_first: list[list[tuple[str, str, Any]]] = []
        seed: dict[str, Any] = {}
        for ancestor in self.ancestors(stream, checkpoint_id) if checkpoint_id in kept else ():
            newest_first.append([write for write in self.pending(stream, ancestor) if write[1] == channel])
            if channel in kept[ancestor].values:
                seed["seed"] = kept[ancestor].values[channel]
                break
        return {"writes": [write for batch in reversed(newest_first) for write in batch], **seed}

    def threads(self) -> list[tuple[str, Facts, int, int, str | None]]:
        """(thread, facts, checkpoints, writes, latest id of the root namespace), the last active first."""
        rows = []
        for thread, facts in self.facts.items():
            mine = [s for s in self._streams() if s[0] == thread]
            checkpoints = sum(not one.hidden for s in mine for one in self.checkpoints.get(s, {}).values())
            writes = sum(len(b.writes) for s in mine for of in self.batches.get(s, {}).values() for b in of)
            if checkpoints or writes or facts.registered:
                rows.append((thread, facts, checkpoints, writes, self.latest((thread, ""))))
        return sorted(rows, key=lambda row: row[1].last_activity, reverse=True)

    def delta_candidates(self, stream: Stream, checkpoint_id: str) -> set[str]:
        """Channels that may have to be rebuilt: with a version but no value; without any versions, all there are."""
        one = self.checkpoints[stream][checkpoint_id]
        named = set(one.checkpoint["channel_versions"])
        if not named:
            for other in self.checkpoints[stream].values():
                named |= set(other.values)
            for batches in self.batches.get(stream, {}).values():
                named |= {channel for batch in batches for channel, _ in batch.writes}
        return {name for name in named - set(one.values) if not is_internal(name)}

    @staticmethod
    def matches(metadata: dict[str, Any], wanted: dict[str, Any]) -> bool:
        """Tell whether a filter lets metadata through.

        Raises:
            Wrong: a key is not usable.
        """
        if not all(_KEY.fullmatch(key) for key in wanted):
            raise Wrong
        return all(_field(metadata, key) == value for key, value in wanted.items())

    # How.

    def _streams(self) -> list[Stream]:
        return sorted(self.checkpoints.keys() | self.batches.keys())

    def _touch(self, thread: str, now: int) -> None:
        self.facts.setdefault(thread, Facts(now, now)).last_activity = now

    def _remove(self, stream: Stream, going: set[str]) -> None:
        """Take checkpoints away, and what was hidden before; hide what survivors' delta channels need of them."""
        kept = self.checkpoints[stream]
        survivors = {id_ for id_, one in kept.items() if id_ not in going and not one.hidden}
        needed: set[str] = set()
        for id_ in survivors:
            needed |= self._needed_by(stream, id_) - survivors
        for id_ in kept.keys() - survivors:
            kept[id_].hidden = True
        for id_ in kept.keys() - survivors - needed:
            del kept[id_]
            self.batches.get(stream, {}).pop(id_, None)

    def _needed_by(self, stream: Stream, checkpoint_id: str) -> set[str]:
        """The ancestors up to the farthest that adds something to the history of some channel."""
        kept = self.checkpoints[stream]
        lineage = list(self.ancestors(stream, checkpoint_id))
        farthest = 0
        for channel in self.delta_candidates(stream, checkpoint_id):
            for distance, ancestor in enumerate(lineage, start=1):
                batches = self.batches.get(stream, {}).get(ancestor, [])
                # Also a write that lost a conflict: keeping one too many is allowed, and every saver may choose.
                if channel in kept[ancestor].values or any(channel == c for b in batches for c, _ in b.writes):
                    farthest = max(farthest, distance)
                if channel in kept[ancestor].values:
                    break
        return set(lineage[:farthest])

    def _lineage(self, stream: Stream, checkpoint_id: str | None) -> list[str]:
        return [] if checkpoint_id is None else [checkpoint_id, *self.ancestors(stream, checkpoint_id)]

    def _unless_childless(self, stream: Stream, checkpoint_id: str | None) -> str | None:
        """A fork's end goes without its writes if something came of them."""
        children = [one for one in self.checkpoints.get(stream, {}).values() if one.parent_id == checkpoint_id]
        return checkpoint_id if children else None

    def _check_free(self, target: str) -> None:
        for stream in self._streams():
            if stream[0] == target and (self.checkpoints.get(stream) or any(self.batches.get(stream, {}).values())):
                raise Exists

    def _take_along(self, stream: Stream, target: str, ids: set[str], written: set[str]) -> None:
        source, ns = stream
        for id_ in ids:
            one = copy.deepcopy(self.checkpoints[stream][id_])
            if one.metadata.get("thread_id") == source:
                one.metadata["thread_id"] = target
            self.checkpoints.setdefault((target, ns), {})[id_] = one
        for id_ in written:
            self.batches.setdefault((target, ns), {})[id_] = copy.deepcopy(self.batches[stream][id_])


def _run_id(metadata: dict[str, Any]) -> str | None:
    run_id = metadata.get("run_id")
    return None if run_id is None else str(run_id)


def _root_named(one: Kept) -> str | None:
    return one.metadata.get("parents", {}).get("")


def _field(metadata: dict[str, Any], key: str) -> Any:
    if key in metadata:
        return metadata[key]
    found: Any = metadata
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _by_key(metadata: dict[str, Any]) -> str:
    return repr(sorted(metadata.items()))  # repr: 1, 1.0 and True are different things to have been told
