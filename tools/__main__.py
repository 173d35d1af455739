"""`python -m langgraph_eventlog.tools`, and the command `langgraph-eventlog`."""

from __future__ import annotations

import os
import sys
from typing import TextIO

__all__ = ["main"]


def _nowhere() -> TextIO:
    # Open for as long as the process is, as its own are.
    return open(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8", closefd=False)


def main() -> int:
    """Run the command line; give its exit code."""
    # Where they were closed, there are none: what is printed goes nowhere then.
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    try:
        from .cli import run

        return run()
    except KeyboardInterrupt:  # before typer looks after it
        return 130
    except ModuleNotFoundError as e:
        if e.name not in ("typer", "rich"):
            raise
        print(
            f"The command line needs {e.name}: install langgraph-checkpoint-eventlog with the extra 'tools'.",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
