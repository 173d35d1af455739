"""What the tests of the command line share: the real command in its own process, and logs that real graphs made."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph_eventlog.eventlog.errors import ConfigError
from langgraph_eventlog.saver import EventLogSaver

from .bounded import killed_if_it_takes_longer
from .erasing import changing_before
from .nursery import Nursery

SHOP = Path(__file__).with_name("shop.py")
OFFICIAL_SHOP = Path(__file__).with_name("official_shop.py")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """A process that forks commands: those of test_arguments.py and the README are started as users do it."""
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def run(tmp_path: Path, nursery: Nursery) -> Run:
    """Run the command in tmp_path, in a process of its own; its exit code must be the one expected."""

    def run_command(
        *arguments: str | Path, code: int = 0, stdin: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in arguments]
        # What Python itself looks at when it starts is for a new one.
        anew = "PYTHONPATH" in environment
        result = _started(words, stdin, environment) if anew else nursery.run(words, tmp_path, stdin, environment)
        assert result.returncode == code, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        assert "Exception ignored" not in result.stderr
        return result

    def _started(words: list[str], stdin: str | None, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", "-m", "langgraph_eventlog.tools", *words],
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            input=stdin,
            env={**os.environ, **environment},
            timeout=120,
            check=False,
        )

    return run_command


@pytest.fixture
def json_of(run: Run) -> Callable[..., Any]:
    """Run the command with --json; give the document, or the lines' documents."""

    def documents(*arguments: str | Path, lines: bool = False, code: int = 0) -> Any:
        out = run(*arguments, "--json", code=code).stdout
        return [json.loads(line) for line in out.splitlines()] if lines else json.loads(out)

    return documents


@pytest.fixture(scope="session")
def shop_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's log (see shop.py), made once for all tests: copy it before changing it."""
    path = tmp_path_factory.mktemp("shop") / "agent.db"
    subprocess.run([sys.executable, str(SHOP), str(path)], check=True, timeout=300)
    return path


@pytest.fixture
def shop(shop_once: Path, tmp_path: Path) -> Path:
    """A copy of the shop's log: tmp_path / "agent.db"."""
    path = tmp_path / "agent.db"
    shutil.copy(shop_once, path)
    return path


def prune_and_compact(saver: EventLogSaver, thread_id: str) -> None:
    """Leave a thread's latest checkpoint, stored anew."""
    saver.prune([thread_id])
    saver.compact()


def delete_and_compact(saver: EventLogSaver, thread_id: str) -> None:
    """Leave nothing of a thread."""
    saver.delete_thread(thread_id)
    saver.compact()


@pytest.fixture
def interleaved(shop_once: Path, tmp_path: Path) -> Callable[[Any, Any], list[Any]]:
    """Look at the shop's log while another changes it, once before each of the transactions that the looking takes.

    Give what is seen if nothing is changed, and then what is seen, or the ConfigError, with the change at each place.
    """

    def seen(look: Callable[[EventLogSaver], Any], change: Callable[[EventLogSaver], None]) -> list[Any]:
        with EventLogSaver(shop_once, read_only=True) as saver:
            found = [look(saver)]
        for before in itertools.count(1):
            path = tmp_path / f"changed before read {before}.db"
            shutil.copy(shop_once, path)
            with EventLogSaver(path) as saver, pytest.MonkeyPatch.context() as patch:
                reads = changing_before(patch, saver, before, change)
                try:
                    found.append(look(saver))
                except ConfigError as e:
                    found.append(e)
                if next(reads) <= before:  # it takes fewer: nothing was changed
                    return found[:-1]
        raise AssertionError

    return seen


@pytest.fixture
def busy_shop(shop: Path) -> Iterator[Path]:
    """The shop's log while another process appends to it."""
    command = [sys.executable, str(SHOP), str(shop), "--busy"]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
        killed_if_it_takes_longer(process),
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "appending\n"
        yield shop
        process.communicate("\n", timeout=60)
    assert process.returncode == 0


@pytest.fixture(scope="session")
def official_shop_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that LangGraph's own SqliteSaver made (see official_shop.py), made once: copy it before changing it."""
    path = tmp_path_factory.mktemp("official") / "checkpoints.sqlite"
    subprocess.run([sys.executable, str(OFFICIAL_SHOP), str(path)], check=True, timeout=300)
    return path


@pytest.fixture
def official_shop(official_shop_once: Path, tmp_path: Path) -> Path:
    """A copy of it: tmp_path / "checkpoints.sqlite"."""
    path = tmp_path / "checkpoints.sqlite"
    shutil.copy(official_shop_once, path)
    return path


@pytest.fixture
def killed_shop(tmp_path: Path) -> Path:
    """What is left when the official saver's process is killed: tmp_path / "killed" / "checkpoints.sqlite"."""
    path = tmp_path / "killed" / "checkpoints.sqlite"
    path.parent.mkdir()
    killed = subprocess.run([sys.executable, str(OFFICIAL_SHOP), str(path), "--kill"], timeout=300, check=False)
    assert killed.returncode < 0
    assert Path(f"{path}-wal").stat().st_size > 0
    return path
