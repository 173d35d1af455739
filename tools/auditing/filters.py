"""Which entries of a replay are wanted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from ...eventlog.errors import ConfigError
from ...eventlog.event import Kind
from .entry import AuditEntry
from .nodes import within
from .preview import texts_in

__all__ = ["KINDS", "AuditFilter"]

KINDS = frozenset({kind.name.lower() for kind in Kind} | {"erased", "damaged"})


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Says which entries are wanted: those that have all that is given. Times are UTC.

    Attributes:
        since: recorded then or later.
        until: recorded before then.
        run: the run's id: of a put or put_writes, see `AuditEntry.run_id`; of a delete_for_runs, one of those deleted.
        node: one of the nodes that ran or wrote, or that the namespace is within.
        channel: changed or written; of a put that carries it over, too, nothing is told.
        text: is in what the entry says is new, ignoring case: in any text of an added element, a set item, a value that
            was written or changed; or in a thread's name and metadata.
        kinds: see `KINDS`.

    Raises:
        ConfigError: a kind is none.
    """

    since: datetime | None = None
    until: datetime | None = None
    run: str | None = None
    node: str | None = None
    channel: str | None = None
    text: str | None = None
    kinds: Collection[str] | None = None

    def __post_init__(self) -> None:
        for kind in self.kinds or ():
            if kind not in KINDS:
                raise ConfigError(f"{kind!r} is no kind of event: there are {', '.join(sorted(KINDS))}")

    def may_admit(self, kind: str, recorded_at: datetime | None) -> bool:
        """Tell whether an entry of this kind and time may be wanted: what else it says need not be found out if not."""
        if self.kinds is not None and kind not in self.kinds:
            return False
        if recorded_at is None:
            return self.since is None and self.until is None
        return (self.since is None or recorded_at >= self.since) and (self.until is None or recorded_at < self.until)

    def admits(self, entry: AuditEntry) -> bool:
        """Tell whether an entry is wanted."""
        if not self.may_admit(entry.kind, entry.recorded_at):
            return False
        if self.run is not None and self.run != entry.run_id and self.run not in entry.details.get("run_ids", ()):
            return False
        if self.node is not None and self.node not in (*entry.nodes, *within(entry.checkpoint_ns)):
            return False
        if self.channel is not None and all(change.channel != self.channel for change in entry.changes):
            return False
        return self.text is None or self._has_text(entry, self.text.casefold())

    def _has_text(self, entry: AuditEntry, text: str) -> bool:
        values = [value for change in entry.changes for value in change.values()]
        if entry.kind == "thread":
            values.append(dict(entry.details))
        return any(text in found.casefold() for value in values for found in texts_in(value))
