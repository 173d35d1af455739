"""What the official SQLite saver needs for the same run, if it is installed."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

from .conversation import hold_conversations

__all__ = ["official_is_installed", "official_size"]


def official_is_installed() -> bool:
    """Tell whether there is an official SqliteSaver to compare with."""
    return importlib.util.find_spec("langgraph.checkpoint.sqlite") is not None


def official_size(*, threads: int, questions: int) -> int:
    """Hold the conversations on the official SqliteSaver, and give its file's size."""
    from langgraph.checkpoint.sqlite import SqliteSaver

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "official.db")
        with SqliteSaver.from_conn_string(str(path)) as saver:
            hold_conversations(saver, threads=threads, questions=questions)
        return path.stat().st_size
