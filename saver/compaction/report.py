"""What a compaction reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...eventlog.event import Kind

__all__ = ["CompactionReport", "ProgressTold"]

# Is told (done, of how many): events looked at and events erased. Both grow; at the end they are equal.
ProgressTold = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What a compaction has done, or with `dry_run` would do.

    Attributes:
        dry_run: whether nothing has been changed.
        rounds: how many times the log was looked through: what is stored anew is erased in the next.
        threads_removed: threads that the policy let go whole; 0 without one.
        checkpoints_removed: checkpoints that the policy let go; 0 without one.
        checkpoints_hidden: checkpoints that the policy let go, but surviving ones need; 0 without one. They are not
            listed any more, and go once nothing needs them.
        events_erased: how many, by what they are. A dry run leaves out what users' projections have carried
            (`Kind.CARRY`): it is replaced when they carry again.
        bytes_erased: of their records, compressed as they were.
        restated: how many checkpoints, and put_writes, were stored anew, because they referred to what was to go.
        bytes_restated: of their new records; of a dry run, of the ones they have now.
        file_bytes_before, file_bytes_after: of the file.
        wal_bytes_before, wal_bytes_after: of its WAL. Not 0 afterwards if somebody reads or appends.
        pages_with_remains: pages in whose unused part copies of what SQLite has moved stand: mostly of what is kept, of
            what was erased perhaps. 0 with `vacuum=True`, which leaves none of what was erased, and for a private log.
            None: that cannot be told, because the file is encrypted, or the WAL in use.
        transactions: how many write transactions it took.
        longest_hold_ms: the longest that one of them kept others from appending.
        longest_wait_ms: the longest that one of them waited for others.
        blocked_by: names of users' projections that have not seen yet some of what was to go: it stays until a program
            has opened the log with them.
        complete: whether nothing is left to do. If not: somebody reads (then the WAL still holds what was erased), a
            projection blocks, it was stopped, or others were too quick; do it again.
        seconds: how long it took.
    """

    dry_run: bool = False
    rounds: int = 0
    threads_removed: int = 0
    checkpoints_removed: int = 0
    checkpoints_hidden: int = 0
    events_erased: Mapping[Kind, int] = field(default_factory=dict)
    bytes_erased: int = 0
    restated: int = 0
    bytes_restated: int = 0
    file_bytes_before: int = 0
    file_bytes_after: int = 0
    wal_bytes_before: int = 0
    wal_bytes_after: int = 0
    pages_with_remains: int | None = None
    transactions: int = 0
    longest_hold_ms: float = 0.0
    longest_wait_ms: float = 0.0
    blocked_by: tuple[str, ...] = ()
    complete: bool = False
    seconds: float = 0.0
