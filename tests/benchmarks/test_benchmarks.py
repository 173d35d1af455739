"""The benchmarks still run: each work, in its smallest size, measures us and those whom we are compared with.

What the figures are is not looked at: they say nothing at this size, and times say nothing in a test.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

HARNESS = Path(__file__).parent
COMPARED = {"chat", "threads", "read", "many", "documents", "async", "delta", "graph"}
OURS_ALONE = {"growth", "lookup", "memory", "compaction"}
ALONE = {"limit", "least"}


def run_benchmarks(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "EVENTLOG_BENCH_POSTGRES"}
    command = [sys.executable, str(HARNESS), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)


@dataclass(frozen=True)
class Ran:
    figures: list[dict[str, Any]]
    output: str
    folder: Path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """All works, once."""
    folder = tmp_path_factory.mktemp("benchmarks")
    (folder / "databases").mkdir()
    options = ["--json", folder / "f.json", "--markdown", folder / "f.md", "--svg", folder / "svg"]
    done = run_benchmarks("--smallest", *options, "--folder", folder / "databases")
    assert done.returncode == 0, done.stderr
    return Ran(json.loads((folder / "f.json").read_text()), done.stdout, folder)


def test_every_work_yields_figures(ran: Ran) -> None:
    assert {figure["work"] for figure in ran.figures} == COMPARED | OURS_ALONE


def test_every_comparison_has_a_figure_of_ours_and_of_the_official_saver(ran: Ran) -> None:
    for figure in ran.figures:
        if figure["work"] in COMPARED:
            assert {"ours", "sqlite"} <= figure["rounds"].keys(), figure
            assert all(value > 0 for values in figure["rounds"].values() for value in values), figure
            # Only files, and what reads them in a new process, have nothing to compare in memory.
            assert ("memory" in figure["rounds"]) != (figure["unit"] == "kB" or "new process" in figure["title"])
        else:
            assert figure["rounds"].keys() == {"ours"}, figure


def test_a_ratio_above_one_says_that_ours_is_better(ran: Ran) -> None:
    ratios = 0
    for figure in ran.figures:
        if figure["better"] not in ALONE:
            ours, theirs = figure["rounds"]["ours"][0], figure["rounds"]["sqlite"][0]
            expected = ours / theirs if figure["unit"] == "pairs/s" else theirs / ours
            assert math.isclose(figure["ratio"], expected), figure
            if figure["floor"] is not None:
                assert figure["reached"] == (expected >= figure["floor"]), figure
                ratios += 1
    assert ratios >= 20


def test_a_limit_is_kept_by_what_is_below_it_and_what_is_asked_for_at_least_by_what_is_above(ran: Ran) -> None:
    judged = [figure for figure in ran.figures if figure["better"] in ALONE and figure["floor"] is not None]
    assert {figure["better"] for figure in judged} == ALONE
    for figure in judged:
        value, floor = figure["rounds"]["ours"][0], figure["floor"]
        assert figure["reached"] == (value <= floor if figure["better"] == "limit" else value >= floor), figure


def test_what_has_no_floor_is_not_judged(ran: Ran) -> None:
    unjudged = [figure for figure in ran.figures if figure["floor"] is None]
    assert unjudged
    for figure in unjudged:
        assert figure["reached"] is None, figure


def test_the_tables_show_every_figure(ran: Ran) -> None:
    rows = (ran.folder / "f.md").read_text().splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [figure["title"] for figure in ran.figures]
    for figure in ran.figures:
        assert figure["title"] in ran.output


def test_the_pictures_are_svg_with_a_curve_for_each_saver(ran: Ran) -> None:
    for picture, savers in (("file-size", {"ours", "sqlite"}), ("put-latency", {"ours", "sqlite", "memory"})):
        root = ElementTree.parse(ran.folder / "svg" / f"{picture}.svg").getroot()
        curves = [path for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("d", "").count("L") > 3]
        assert {path.get("class") for path in curves} == savers


def test_the_databases_are_removed(ran: Ran) -> None:
    assert list((ran.folder / "databases").iterdir()) == []


def test_works_can_be_chosen(tmp_path: Path) -> None:
    done = run_benchmarks("--smallest", "--only", "documents", "--json", tmp_path / "f.json")
    assert done.returncode == 0, done.stderr
    assert {figure["work"] for figure in json.loads((tmp_path / "f.json").read_text())} == {"documents"}


def test_a_work_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    done = run_benchmarks("--only", "everything")
    assert done.returncode == 2
    assert "documents" in done.stderr


def run_script(name: str, *arguments: str) -> tuple[dict[str, list[str]], str]:
    """Give the rows of the table that a script prints, and all that it prints."""
    command = [sys.executable, str(HARNESS / name), *arguments]
    environment = {**os.environ, "COLUMNS": "140"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True, env=environment)
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in done.stdout.splitlines() if "│" in line]
    return {row[0]: row[1:] for row in rows if row[0]}, done.stdout


def number(cell: str) -> int:
    return int(cell.replace(",", ""))


@pytest.mark.parametrize("work", ["chat", "threads", "documents"])
def test_the_parts_of_a_put_are_shown_and_add_up(work: str) -> None:
    rows, _ = run_script("phases.py", work, "--steps", "32")
    parts = {name: [number(row[0]), number(row[2])] for name, row in rows.items()}
    assert len(parts) == 10
    for column in (0, 1):
        *of_it, whole, official, calls = (figures[column] for figures in parts.values())
        assert min(*of_it, official, calls) > 0
        # Medians of parts do not add up exactly.
        assert 0.5 < sum(of_it) / whole < 1.5


def test_what_a_put_cannot_take_less_than_is_shown(tmp_path: Path) -> None:
    rows, output = run_script("limits.py", "--steps", "32", "--folder", str(tmp_path))
    for call in (0, 1):
        sql, serializer, others, together, ours, official = (number(row[call]) for row in rows.values())
        assert min(sql, others, ours, official) > 0
        assert (serializer > 0) == (call == 0)  # what a put holds is serialised already
        assert abs(sql + serializer + others - together) <= 2  # each is rounded
    assert re.search(r"10,000 bytes: [\d,]+ us at the end of a file, [\d,]+ us within one", output)
    assert not list(tmp_path.iterdir())
