"""What the command line prints: tables and colours for people, JSON for programs, complaints on stderr.

Everything from a log may be hostile: it is shown with control characters made visible, and never read as markup.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .jsonable import jsonable

__all__ = [
    "complain",
    "console",
    "print_json",
    "print_json_line",
    "progress",
    "progress_of_steps",
    "safe",
    "safe_line",
    "say",
    "table",
]

_PLAIN_WIDTH = 120  # where there is no terminal
# All controls but newline and tab, and what changes the direction of text.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHOWN_AFTER_S = 1.0


def safe(value: Any) -> Text:
    """Give something from a log as text that does nothing to a terminal but be shown."""
    return Text(_UNSAFE.sub(lambda m: m[0].encode("unicode_escape").decode(), str(value)))


def safe_line(value: Any) -> Text:
    """Do as `safe`, and show line breaks and tabs as they are written in JSON: for names, which are one line."""
    return Text(safe(value).plain.replace("\n", "\\n").replace("\t", "\\t"))


def console() -> Console:
    """Give what prints for people: colours on a terminal only, and as wide as that; no markup."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)


def say(value: Any) -> None:
    """Print a line, whatever is in it, for people; a long one is not broken."""
    console().print(safe(value), soft_wrap=True)


def table(*columns: str, title: str | None = None) -> Table:
    """Give an empty table. The name of a column of numbers begins with ">"."""
    made = Table(box=box.SIMPLE, title=title, title_justify="left", pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return made


def print_json(document: Any) -> None:
    """Print one JSON document, indented. Any value of a state is shown in some way: see `jsonable`."""
    sys.stdout.write(json.dumps(jsonable(document), indent=2) + "\n")


def print_json_line(document: Any) -> None:
    """Print a document as one line of JSON Lines, at once."""
    sys.stdout.write(json.dumps(jsonable(document), separators=(",", ":")) + "\n")
    sys.stdout.flush()


def complain(error: BaseException) -> None:
    """Say on stderr what went wrong."""
    Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(Text("error: ", "bold red") + safe(error))


@contextlib.contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Callable[..., None]]:
    """Show a progress bar on stderr, if that is a terminal, once a second has passed.

    What is yielded is called with how much has been done since the beginning, and of how much if that is known now.
    """
    if not sys.stderr.isatty():
        yield lambda amount, of=None: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(description, total=total)
    began, shown = time.monotonic(), False

    def done(amount: float, of: float | None = None) -> None:
        nonlocal shown
        if not shown and time.monotonic() - began > _SHOWN_AFTER_S:
            bar.start()
            shown = True
        bar.update(task, completed=amount, total=total if of is None else of)

    try:
        yield done
    finally:
        if shown:
            bar.stop()


@contextlib.contextmanager
def progress_of_steps() -> Iterator[Callable[[str, float, float], None]]:
    """Show a progress bar for each of several steps, as `progress` does.

    What is yielded is called with the step that is under way, how much of it has been done, and how much there is.
    """
    with contextlib.ExitStack() as step:
        under_way: str | None = None
        done: Callable[[float], None] = lambda _: None  # noqa: E731  it is replaced by what a step gives

        def tell(what: str, amount: float, total: float) -> None:
            nonlocal under_way, done
            if what != under_way:
                step.close()
                under_way, done = what, step.enter_context(progress(what, total))
            done(amount)

        yield tell
