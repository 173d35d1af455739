"""`compact FILE`: gives back the space of what was removed, and removes what a retention policy lets go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..arguments import MOST, AsJson, KeyFile, LogFile, metadata_filter
from ..cli import EXIT_FOUND
from ..looking.reclaiming import anything_erased
from ..opening import open_log, open_log_to_change
from ..printing import print_json, progress, safe_line, say
from ..times import parse_age

if TYPE_CHECKING:
    from ...saver import CompactionReport, Retention

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Give space back"
EXAMPLES = """
`langgraph-eventlog compact agent.db --dry-run`

`langgraph-eventlog compact agent.db --keep-last 20 --keep-newer-than 30d --exempt hold=true`
"""


def command(
    file: LogFile,
    *,
    keep_last: Annotated[
        int | None,
        typer.Option(
            "--keep-last",
            metavar="N",
            max=MOST,
            help="Of each thread, keep the last N checkpoints of the graph itself.",
        ),
    ] = None,
    keep_newer_than: Annotated[
        str | None,
        typer.Option("--keep-newer-than", metavar="AGE", help="Keep checkpoints that are younger: 36h, 30d, 8w."),
    ] = None,
    idle_longer_than: Annotated[
        str | None,
        typer.Option(
            "--idle-longer-than", metavar="AGE", help="Remove whole threads in which nothing happened for so long."
        ),
    ] = None,
    exempt: Annotated[
        list[str] | None,
        typer.Option(
            "--exempt",
            metavar="KEY=VALUE",
            help="Leave threads alone whose registered metadata has this (a legal hold). May be given several times: "
            "those that have all of it are exempt.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and how many bytes; change nothing.")
    ] = False,
    vacuum: Annotated[
        bool,
        typer.Option(
            "--vacuum", help="Write the whole file anew at the end, so that no page holds remains of what was erased."
        ),
    ] = False,
    as_json: AsJson = False,
    key_file: KeyFile = None,
) -> None:
    """Erase the records of what was deleted, pruned or replaced, and give their space back to the file system.

    With --keep-last or --keep-newer-than, checkpoints that neither of them keeps are removed first; a thread that is
    not idle keeps its latest in any case, and everything that it needs to go on. Graphs go on meanwhile. What was
    erased cannot be had back; that it was, and when, stays in the log, and `verify` finds it whole. Exits with 1 if
    something is left to do, because somebody reads the log for instance.
    """
    policy = _policy(keep_last, keep_newer_than, idle_longer_than, exempt)
    log = open_log(file, key_file=key_file) if dry_run else open_log_to_change(file, key_file=key_file)
    with log, progress("compacting", None) as done:
        report = log.compact(policy, vacuum=vacuum, dry_run=dry_run, progress=done)
        has_erased = anything_erased(log.log)
    if as_json:
        print_json(_document(report))
    else:
        _say(report, has_erased=has_erased)
    if not (report.complete or report.dry_run):
        raise typer.Exit(EXIT_FOUND)


def _policy(
    keep_last: int | None, keep_newer_than: str | None, idle_longer_than: str | None, exempt: list[str] | None
) -> Retention | None:
    from ...eventlog.errors import ConfigError
    from ...saver import Retention

    policy = Retention(
        keep_last=keep_last,
        keep_newer_than=None if keep_newer_than is None else parse_age(keep_newer_than),
        idle_longer_than=None if idle_longer_than is None else parse_age(idle_longer_than),
        exempt=metadata_filter(exempt),
    )
    if not policy.keeps_everything:
        return policy
    if exempt:
        raise ConfigError("--exempt says which threads a policy leaves alone: give one, with --keep-last for instance")
    return None


def _document(report: CompactionReport) -> dict[str, Any]:
    document = {name: getattr(report, name) for name in report.__dataclass_fields__}
    document["events_erased"] = {kind.name.lower(): count for kind, count in report.events_erased.items()}
    return document


def _say(report: CompactionReport, *, has_erased: bool) -> None:
    would = "would be " if report.dry_run else ""
    kinds = ", ".join(f"{count:,} {kind.name.lower()}" for kind, count in report.events_erased.items())
    say(f"{report.threads_removed:,} threads and {report.checkpoints_removed:,} checkpoints {would}removed")
    say(f"{sum(report.events_erased.values()):,} events {would}erased{f' ({kinds})' if kinds else ''}")
    say(f"{report.bytes_erased:,} bytes of records {would}erased")
    if report.blocked_by:
        names = ", ".join(str(safe_line(name)) for name in report.blocked_by)
        say(f"not erased, because these projections have not seen it yet: {names}. Open the log once with them")
    if report.dry_run:
        return
    if report.restated:
        say(f"{report.restated:,} checkpoints and writes stored anew, because they referred to what went")
    say(f"{report.file_bytes_before:,} bytes of file before, {report.file_bytes_after:,} after")
    say(f"{report.transactions:,} transactions; the longest kept others waiting for {report.longest_hold_ms:.1f} ms")
    if report.pages_with_remains and has_erased:
        what = "have copies of records in unused parts, mostly of kept ones"
        say(f"{report.pages_with_remains:,} pages {what}: --vacuum writes the file anew")
    if not report.complete:
        say("Not complete, because somebody reads or appends: run it again")
