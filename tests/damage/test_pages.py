"""The bytes of the file and its WAL, damaged at random: a crash, a hang or too much memory would end the child process.

EVENTLOG_DAMAGE_CASES=3000 (and EVENTLOG_DAMAGE_SEED=5) look longer, and elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PAGES = Path(__file__).parent / "pages.py"
LONG = int(os.environ.get("EVENTLOG_DAMAGE_CASES", "0"))
SEED = os.environ.get("EVENTLOG_DAMAGE_SEED", "1")


def damage(part: str, cases: int, whole: Path, folder: Path) -> dict[str, int]:
    """Run a part of pages.py in a process of its own, and give what happened."""
    shutil.copy(whole, folder / "whole.db")
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", PAGES, part, folder, SEED, str(max(LONG, cases))],
        capture_output=True,
        text=True,
        timeout=1_200 + LONG,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
    outcomes: dict[str, int] = json.loads(done.stdout)
    assert outcomes["cases"] == (max(LONG, cases))
    return outcomes


def test_a_damaged_header_is_refused_or_makes_no_difference(whole: Path, tmp_path: Path) -> None:
    """Every bit of the first 100 bytes; the magic number and the application id are each refused by name."""
    outcomes = damage("header", 800, whole, tmp_path)
    assert outcomes["refused: NotAnEventLogError"] >= 20 * 8
    assert outcomes["refused: NewerFormatError"] > 0


def test_what_is_read_of_a_damaged_file_is_right_or_an_error_or_found_by_verify(whole: Path, tmp_path: Path) -> None:
    outcomes = damage("pages", 300, whole, tmp_path)
    assert min(outcomes["read: an error"], outcomes["found by verify()"], outcomes["read: as it was"]) > 0


def test_a_rebuild_repairs_projections_whose_pages_are_damaged(whole: Path, tmp_path: Path) -> None:
    damage("projections", 60, whole, tmp_path)


def test_a_damaged_wal_loses_the_last_commits_whole_and_only_an_anchor_tells(whole: Path, tmp_path: Path) -> None:
    outcomes = damage("wal", 80, whole, tmp_path)
    assert min(outcomes["nothing lost"], outcomes["commits lost, found against an anchor"]) > 0
