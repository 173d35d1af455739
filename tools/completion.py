"""Completing what is typed in a shell, from what a log holds."""

from __future__ import annotations

from pathlib import Path

import typer

__all__ = ["complete_thread"]


def complete_thread(context: typer.Context, incomplete: str) -> list[str]:
    """Give the ids of threads in the log named before that begin with what was typed. None, if anything is wrong."""
    try:
        from .looking.naming import thread_ids
        from .opening import open_log

        key_file = context.params.get("key_file")
        with open_log(str(context.params["file"]), key_file=None if key_file is None else Path(key_file)) as log:
            return thread_ids(log, incomplete)
    except Exception:  # a shell that is being typed into shows no errors
        return []
