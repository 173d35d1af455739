"""`verify FILE`: whether the log is what was appended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ...eventlog.coverage import Coverage
from ...eventlog.errors import ConfigError, LogDamagedError
from ...eventlog.finding import Finding
from ..arguments import AsJson, KeyFile, LogFile
from ..bars import Bars
from ..opening import open_log, strict_serializer
from ..printing import print_json_line, say
from ..proving.anchors import Anchor, parse_anchor, read_anchor
from ..proving.signing import read_public_key
from ..proving.values import ValueCheck
from ..proving.verifying import verify

__all__ = ["EXAMPLES", "PANEL", "command"]

PANEL = "Prove"
EXAMPLES = (
    "`langgraph-eventlog verify agent.db --quick`\n\n"
    "`langgraph-eventlog verify agent.db --anchor-file monday.json --public-key auditor.pem.pub`"
)
_EXIT_FOUND = 1

Anchors = Annotated[
    list[str] | None,
    typer.Option(
        "--anchor",
        metavar="POSITION:LINK",
        help="What `anchor` printed before: prove that nothing up to there was changed. May be given several times.",
        show_default=False,
    ),
]
AnchorFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--anchor-file",
        metavar="FILE",
        help="The same, from a file that `anchor`, `anchor --json` or `anchor --sign` printed. May be given several "
        "times.",
        show_default=False,
    ),
]
PublicKey = Annotated[
    Path | None,
    typer.Option(
        "--public-key",
        metavar="PEM",
        help="Believe only anchor files that this Ed25519 key has signed.",
        show_default=False,
    ),
]
Quick = Annotated[
    bool,
    typer.Option(
        "--quick", help="Check chain and digests only: not SQLite's structures, what records say, tables or values."
    ),
]


def command(
    file: LogFile,
    *,
    anchor: Anchors = None,
    anchor_file: AnchorFiles = None,
    public_key: PublicKey = None,
    quick: Quick = False,
    as_json: AsJson = False,
    key_file: KeyFile = None,
) -> None:
    """Check that the log is what was appended to it: exit code 1, and every finding, if it is not."""
    if public_key is not None and not anchor_file:
        raise ConfigError("--public-key says who has to have signed an --anchor-file: give one")
    anchors = [parse_anchor(text) for text in anchor or ()] + [read_anchor(path) for path in anchor_file or ()]
    key = None if public_key is None else read_public_key(public_key)
    coverage, values, findings = Coverage(), None, 0
    try:
        with open_log(file, key_file=key_file) as log, Bars() as bars:
            coverage = Coverage(lambda part, done, total: bars.tell(f"checking {part}", done, total))
            values = None if quick else ValueCheck(log.log, strict_serializer(), coverage)
            for finding in verify(log, anchors=anchors, public_key=key, coverage=coverage, values=values, quick=quick):
                findings += 1
                bars.end()
                _print_finding(finding, as_json=as_json)
    except LogDamagedError as e:
        # So much that it cannot be opened: the schema is not that of a log, or a page of it cannot be read.
        findings += 1
        _print_finding(Finding("schema", None, str(e)), as_json=as_json)
    result = _result(file, anchors, coverage, values, findings=findings, quick=quick)
    if as_json:
        print_json_line(result)
    else:
        _print_result(result)
    if findings:
        raise typer.Exit(_EXIT_FOUND)


def _print_finding(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        print_json_line({"type": "finding", **asdict(finding)})
    else:
        say(finding)


def _result(
    file: Path, anchors: Sequence[Anchor], coverage: Coverage, values: ValueCheck | None, *, findings: int, quick: bool
) -> dict[str, Any]:
    head = coverage.head
    return {
        "type": "result",
        "file": str(file),
        "log_id": coverage.log_id.hex(),
        "head": None if head is None else {"position": head.position, "link": head.link.hex()},
        "quick": quick,
        "findings": findings,
        "events": coverage.events,
        "erased": coverage.erased,
        "anchors": [
            {
                "position": anchor.head.position,
                "link": anchor.head.link.hex(),
                "source": anchor.source,
                "taken_at": anchor.taken_at,
                "holds": anchor.head in coverage.held,
            }
            for anchor in anchors
        ],
        "proved": coverage.proved,
        "unproved": coverage.unproved,
        "values": None if values is None else {"decoded": values.decoded, "passed_over": dict(values.passed_over)},
    }


def _print_result(result: dict[str, Any]) -> None:
    say(f"{result['file']}: {result['events']:,} events, and {result['erased']:,} that were erased")
    for anchor in result["anchors"]:
        source = f" ({anchor['source']})" if anchor["source"] else ""
        say(f"anchor {anchor['position']}{source}: {'holds' if anchor['holds'] else 'DOES NOT HOLD'}")
    but = ", but for what is named above" if result["findings"] else ""
    for first, last in result["proved"]:
        say(f"events {first:,} to {last:,}: proved to be what they were when the anchor was taken{but}")
    for first, last in result["unproved"]:
        say(f"events {first:,} to {last:,}: consistent in themselves{but}; no anchor proves that nobody rewrote them")
    if result["values"]:
        for why, count in result["values"]["passed_over"].items():
            say(f"{count:,} values were not looked into: they are {why}")
    checked = "chain and digests" if result["quick"] else "chain, digests, records, tables and values"
    say(f"{checked}: {result['findings']:,} findings" if result["findings"] else f"{checked}: nothing found")
