"""`python -m langgraph_eventlog.tools`, and the command `langgraph-eventlog`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line; give its exit code."""
    try:
        from .cli import run
    except ModuleNotFoundError as e:
        if e.name not in ("typer", "rich"):
            raise
        print(
            f"The command line needs {e.name}: install langgraph-checkpoint-eventlog with the extra 'tools'.",
            file=sys.stderr,
        )
        return 2
    return run()


if __name__ == "__main__":
    sys.exit(main())
