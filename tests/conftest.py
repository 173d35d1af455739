"""Fixtures: every log that a test opens is verified when the test ends, projections against a rebuild included."""

from __future__ import annotations

import os
import runpy
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph_eventlog.eventlog import EventLog, Import, NewEvent
from langgraph_eventlog.saver import EventLogSaver

# With EVENTLOG_TEST_KEY every log is encrypted, those of processes that tests start, too.
KEYED = Path(__file__).parent / "keyed"
IS_KEYED = bool(os.environ.get("EVENTLOG_TEST_KEY"))
if IS_KEYED:
    runpy.run_path(str(KEYED / "sitecustomize.py"))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(KEYED), *filter(None, [os.environ.get("PYTHONPATH")])])


def pytest_configure() -> None:
    """Let SIGINT interrupt, here and in what tests start, if it was ignored: so a shell starts what runs behind it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what looks into a file past the log, if that is encrypted."""
    for item in items:
        if IS_KEYED and (marker := item.get_closest_marker("plain_file")) is not None:
            item.add_marker(pytest.mark.skip(reason=f"with a key: {marker.args[0]}"))


class SaverFactory:
    """Opens savers, and at the end verifies and closes every log that was opened.

    Unless the test damaged it on purpose.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._savers: list[EventLogSaver] = []
        self._damaged: set[str] = set()

    def __call__(self, path: str | Path | None = None, **options: Any) -> EventLogSaver:
        # What is deleted stays in the log, however slow the machine, unless the test is about that.
        options.setdefault("erase_deleted", False)
        saver = EventLogSaver(self._folder / "agent.db" if path is None else path, **options)
        self._savers.append(saver)
        return saver

    def damaged(self, path: str | Path) -> None:
        """Say that this log does not verify, on purpose."""
        self._damaged.add(str(path))

    def finish(self) -> None:
        try:
            self._verify()
        finally:
            for saver in self._savers:
                saver.close()

    def _verify(self) -> None:
        checked: set[str] = set()
        for saver in self._savers:
            path = saver.path
            private = path in (":memory:", "")
            if path not in self._damaged and (private or path not in checked):
                checked.add(path)
                if not saver.log.closed:
                    assert list(saver.log.verify()) == []
                elif not private and Path(path).exists():
                    with EventLogSaver(path) as again:
                        assert list(again.log.verify()) == []


@pytest.fixture
def make_saver(tmp_path: Path) -> Iterator[SaverFactory]:
    """Open savers on tmp_path / "agent.db", or on the path given; all are verified and closed at the end."""
    factory = SaverFactory(tmp_path)
    yield factory
    factory.finish()


@pytest.fixture(params=["file", ":memory:"])
def saver(request: pytest.FixtureRequest, make_saver: SaverFactory) -> EventLogSaver:
    """A saver on a file, and one in memory; verified and closed at the end."""
    return make_saver() if request.param == "file" else make_saver(":memory:")


@pytest.fixture
def settle() -> Callable[[EventLogSaver], None]:
    """Append an event that changes nothing: all rows of checkpoints are in `history` then, none in `history_recent`."""

    def settle(saver: EventLogSaver) -> None:
        saver.log.append(NewEvent(Import({}, (), 0, 0)))

    return settle


@pytest.fixture
def file_saver(make_saver: SaverFactory) -> EventLogSaver:
    """A saver on a file; verified and closed at the end."""
    return make_saver()


@pytest.fixture
def log(file_saver: EventLogSaver) -> EventLog:
    """The log of a saver on a file."""
    return file_saver.log


@pytest.fixture
def clock() -> Callable[[], int]:
    """A clock that begins at 2026-01-01 and goes on by one second at each look."""
    now = 1_767_225_600_000_000

    def tick() -> int:
        nonlocal now
        now += 1_000_000
        return now

    return tick
