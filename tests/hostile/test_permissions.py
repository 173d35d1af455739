"""What is made is its owner's alone, from the first moment, whatever the umask; what is there is left as it is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph_eventlog.eventlog import EventLog, LogOpenError
from langgraph_eventlog.saver import EventLogSaver

FILE, FOLDER = 0o600, 0o700


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


def modes(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*")}


def test_files_and_folders_are_their_owners_whatever_the_umask(tmp_path: Path, umask: int, tools: Any) -> None:
    with EventLogSaver(tmp_path / "a" / "b" / "agent.db") as saver:
        tools.fill(saver)
        expected = {"a": FOLDER, "a/b": FOLDER}
        expected |= {f"a/b/agent.db{suffix}": FILE for suffix in ("", "-wal", "-shm")}
        assert modes(tmp_path) == expected
        saver.rebuild()
        assert modes(tmp_path) == expected


def test_there_is_no_moment_in_which_they_are_wider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked after each call of the operating system's that makes or changes something."""
    seen: list[dict[str, int]] = []

    def noting(name: str) -> None:
        real = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            result = real(*args, **options)
            seen.append(modes(tmp_path))
            return result

        monkeypatch.setattr(os, name, call)

    for name in ("open", "mkdir", "chmod", "fchmod", "close"):
        noting(name)
    old = os.umask(0)
    try:
        EventLog(tmp_path / "a" / "b" / "agent.db").close()
    finally:
        os.umask(old)
    assert seen[-1].keys() == {"a", "a/b", "a/b/agent.db"}
    for each in seen:
        assert all(mode in (FILE, FOLDER) for mode in each.values())


@pytest.mark.parametrize("mode", [0o640, 0o666, 0o600])
def test_what_is_there_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    """An empty file, and a log; its WAL is as it is."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o755)
    path = folder / "agent.db"
    path.touch()
    path.chmod(mode)
    for _ in range(2):
        with EventLogSaver(path) as saver:
            saver.register_thread("t")
            assert modes(tmp_path) == {"shared": 0o755} | {
                f"shared/agent.db{suffix}": mode for suffix in ("", "-wal", "-shm")
            }


def test_a_file_in_the_way_of_a_folder_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(LogOpenError, match="cannot be created"):
        EventLog(tmp_path / "a" / "b" / "agent.db")
