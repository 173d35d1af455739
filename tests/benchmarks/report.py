"""The table of figures, for a terminal, for Markdown and for programs."""

from __future__ import annotations

from typing import Any

from measure import Figure, Run
from rich.table import Table
from rich.text import Text

__all__ = ["as_json", "markdown", "table"]

_HEADINGS = ("work", "unit", "ours", "official", "in memory", "ratio", "floor", "reached")
_FLOORS = {"limit": "at most {:g}", "least": "at least {:g}"}


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _row(figure: Figure, postgres: bool) -> list[str]:
    alone = figure.is_ours_alone
    official = "" if alone else _number(figure.of("sqlite"))
    floor = "" if figure.floor is None else _FLOORS.get(figure.better, "{:g}x").format(figure.floor)
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}x" if figure.ratio < 10 else f"{figure.ratio:.0f}x"
    values = [_number(figure.of("ours")), official, "" if alone else _number(figure.of("memory"))]
    if postgres:
        values.append("" if alone else _number(figure.of("postgres")))
    return [figure.title, figure.unit, *values, ratio, floor, {None: "", True: "yes", False: "no"}[figure.met]]


def _rows(run: Run) -> tuple[list[str], list[list[str]]]:
    postgres = any("postgres" in figure.rounds for figure in run.figures)
    headings = list(_HEADINGS)
    if postgres:
        headings.insert(5, "Postgres")
    return headings, [_row(figure, postgres) for figure in run.figures]


def table(run: Run) -> Table:
    """Give the table for a terminal."""
    headings, rows = _rows(run)
    result = Table(title="Medians; ratio: how many times better than the official SQLite saver we are")
    for n, heading in enumerate(headings):
        result.add_column(heading, justify="left" if n < 2 else "right", overflow="fold")
    for figure, row in zip(run.figures, rows, strict=True):
        colour = {None: "", True: "green", False: "yellow"}[figure.met]
        result.add_row(*row[:-1], Text(row[-1], style=colour))
    return result


def markdown(run: Run) -> str:
    """Give the table as Markdown."""
    headings, rows = _rows(run)
    lines = [headings, ["---"] * 2 + ["---:"] * (len(headings) - 3) + ["---"], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def as_json(run: Run) -> list[dict[str, Any]]:
    """Give all that was measured."""
    return [
        {
            "work": figure.work,
            "title": figure.title,
            "unit": figure.unit,
            "against": figure.against,
            "better": figure.better,
            "rounds": figure.rounds,
            "ratio": figure.ratio,
            "floor": figure.floor,
            "reached": figure.met,
        }
        for figure in run.figures
    ]
