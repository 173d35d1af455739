"""What the tests of damage share: one log, damaged in copies."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from langgraph_eventlog.saver import EventLogSaver

from .logs import Truth, make


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed log, all of it in the main file."""
    path = tmp_path_factory.mktemp("whole") / "whole.db"
    make(path)
    assert not Path(f"{path}-wal").exists()
    return path


@pytest.fixture(scope="session")
def truth(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """What can be read of it."""
    copy = tmp_path_factory.mktemp("truth") / "log.db"
    shutil.copy(whole, copy)
    return Truth(copy)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Callable[[], Path]:
    """Give a copy of the log, another file each time: a saver may still have the one before open."""
    numbers = itertools.count()

    def copied() -> Path:
        return Path(shutil.copy(whole, tmp_path / f"log{next(numbers)}.db"))

    return copied


@pytest.fixture
def opened() -> Iterator[Callable[[Path], EventLogSaver]]:
    """Open savers that have read nothing yet; each closes the one before, the last is closed at the end."""
    savers: list[EventLogSaver] = []

    def open_(path: Path) -> EventLogSaver:
        while savers:
            savers.pop().close()
        savers.append(EventLogSaver(path, synchronous="NORMAL", busy_timeout_ms=500))
        return savers[-1]

    yield open_
    while savers:
        savers.pop().close()
