"""Where the tests of faults work: a sync is only counted there, so a folder in memory is as good, and quicker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .runner import folder_in_memory


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory; `tmp_path`, where there is none."""
    parent = folder_in_memory()
    if parent is None:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="eventlog-faults-", dir=parent) as folder:
        yield Path(folder)
