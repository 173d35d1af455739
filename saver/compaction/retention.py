"""What is to be kept: a retention policy, which compaction follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from ...eventlog.errors import ConfigError
from ...eventlog.plain import PlainDataError, pack, unpack
from ...eventlog.value import Whole
from ...projections.metadata import field as found_field
from ..filters import compile_filter

__all__ = ["Retention"]

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Retention:
    """Says which checkpoints of each thread stay. Nothing that was asked for: everything stays.

    Whole threads go that have been idle for longer than `idle_longer_than`. Of the others, if `keep_last` or
    `keep_newer_than` is given, a checkpoint of the graph itself stays that is one of the last, or newer, or the latest
    of its thread: whatever the policy, a thread that is not idle can be gone on with. The latest is the one with the
    greatest id, which LangGraph's ids, made of the time, have in common with the one put last.

    What a run finds when it continues or resumes, and so what stays besides:

    - It loads the latest checkpoint of the graph, or the one that its config names, and that checkpoint's pending
      writes: results of tasks that are finished are not computed again, and answered interrupts stay answered. So a
      checkpoint that stays keeps all of its writes.
    - A subgraph that is a node, or is invoked in one, has a namespace for each invocation, "node:TASK", whose task id
      is made of the checkpoint at which the task is to run. Nobody else finds it. So its checkpoints stay as long as
      the graph's checkpoint that they name, in metadata["parents"][""].
    - A subgraph compiled with `checkpointer=True` remembers: its namespace, "node", has no task id, and it goes on
      from the latest checkpoint there. So that one always stays, and with it what subgraphs of its own left while they
      ran for it ("node|inner:TASK", which name it in metadata["parents"]["node"]): a step that is interrupted inside
      goes on where it was. Time travel to a checkpoint of the graph looks there for the newest one before it (for a
      checkpoint made by update_state, before its parent). So these stay, too.
    - A delta channel's value is rebuilt from what the ancestors wrote. So ancestors that one needs are not removed but
      hidden: they are not listed any more, and go once nothing needs them.

    A subgraph's checkpoint that names none of the graph's is taken to belong to the newest one at or before it. One
    whose graph's checkpoint is not there goes (with `keep_newer_than`, once it is itself old enough), unless that one
    would be newer than all there are: then it is still to come. So do writes at a checkpoint that is not there. A
    thread that has no checkpoint in the graph's own namespace, or only one in all, only goes whole.

    Args:
        keep_last: so many checkpoints of the graph itself, by their ids, whichever branches they are on. 1 is what
            others call a shallow saver.
        keep_newer_than: those whose own time (`ts`) is less than so long ago; when they were recorded, if they have
            none that can be read. So what was imported is as old as it was. A time without a zone is UTC.
        idle_longer_than: threads in which nothing was recorded for longer go whole: checkpoints, writes, name and
            metadata.
        exempt: threads whose registered metadata has all of this stay as they are, also if they are idle (a legal
            hold); by the rules of `list`'s filter. A value that only a serializer can read may be equal to anything.
            Empty: no thread is exempt.

    Raises:
        ConfigError: a ValueError; a number or a duration is not above 0, or is of another type; or `exempt` is not a
            mapping of keys that a filter can name to plain values.
    """

    keep_last: int | None = None
    keep_newer_than: timedelta | None = None
    idle_longer_than: timedelta | None = None
    exempt: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.keep_last is not None and (type(self.keep_last) is not int or self.keep_last < 1):
            raise ConfigError(f"keep_last is a whole number, 1 or more, not {self.keep_last!r}")
        for name in ("keep_newer_than", "idle_longer_than"):
            duration = getattr(self, name)
            if duration is not None and (not isinstance(duration, timedelta) or duration <= timedelta()):
                raise ConfigError(f"{name} is a timedelta above 0, not {duration!r}")
        # A copy of its own: what the policy says does not change.
        object.__setattr__(self, "exempt", MappingProxyType(_plain(self.exempt)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Be copied and pickled, though a mappingproxy cannot be."""
        return Retention, (self.keep_last, self.keep_newer_than, self.idle_longer_than, dict(self.exempt))

    @property
    def keep_newer_than_us(self) -> int | None:
        """The duration, in microseconds."""
        return _microseconds(self.keep_newer_than)

    @property
    def idle_longer_than_us(self) -> int | None:
        """The duration, in microseconds."""
        return _microseconds(self.idle_longer_than)

    @property
    def removes_checkpoints(self) -> bool:
        """Whether checkpoints of threads that are not idle may go."""
        return self.keep_last is not None or self.keep_newer_than is not None

    @property
    def keeps_everything(self) -> bool:
        """Whether nothing can go."""
        return not self.removes_checkpoints and self.idle_longer_than is None

    def exempts(self, metadata: Mapping[str, Any]) -> bool:
        """Tell whether a thread with this registered metadata, not decoded, is left alone."""
        return bool(self.exempt) and all(
            _holds_whole(found_field(metadata, key)) or _matches(metadata, key, value)
            for key, value in self.exempt.items()
        )

    def as_plain(self) -> dict[str, Any]:
        """Give what was asked for as plain data, durations in microseconds, as a compaction event records it."""
        asked = {
            "keep_last": self.keep_last,
            "keep_newer_than_us": self.keep_newer_than_us,
            "idle_longer_than_us": self.idle_longer_than_us,
            "exempt": unpack(pack(dict(self.exempt))) or None,
        }
        return {name: value for name, value in asked.items() if value is not None}


def _plain(exempt: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(exempt, Mapping):
        raise ConfigError(f"exempt is a mapping of metadata keys to values, not {exempt!r}")
    compile_filter(exempt)  # which refuses keys
    try:
        plain: dict[str, Any] = unpack(pack(dict(exempt)))
    except PlainDataError as e:
        raise ConfigError(f"exempt maps metadata keys to plain values, and not to this: {e}") from e
    return plain


def _matches(metadata: Mapping[str, Any], key: str, value: Any) -> bool:
    matches = compile_filter({key: value})
    return matches is None or matches(metadata)


def _holds_whole(value: Any) -> bool:
    """Tell whether only a serializer can read a value, or something inside of it."""
    if isinstance(value, Mapping):
        return any(map(_holds_whole, value.values()))
    return any(map(_holds_whole, value)) if isinstance(value, list) else isinstance(value, Whole)


def _microseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else duration // _MICROSECOND
