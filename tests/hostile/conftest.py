"""What the tests with hostile input share: markers to search for, and a log that has them everywhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import Checkpoint
from langgraph_eventlog.saver import EventLogSaver

RAW_KEY = bytes(range(100, 132))
PASSPHRASE = "correct horse & battery? staple=100% 'ö'"


def config(thread: str, id: str | None = None, ns: str = "", **more: Any) -> Any:
    named = {"thread_id": thread, "checkpoint_ns": ns, **({} if id is None else {"checkpoint_id": id})}
    return {"configurable": named, **more}


def checkpoint(id: str, values: dict[str, Any]) -> Checkpoint:
    return {
        "v": 4,
        "id": id,
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": values,
        "channel_versions": dict.fromkeys(values, id),
        "versions_seen": {},
        "updated_channels": None,
    }


def fill(saver: EventLogSaver) -> None:
    """Use every place that takes a text of the caller's: each text begins with MARK."""
    where = config("MARKthread", ns="MARKns", metadata={"MARKkey": "MARKmetadata"})
    put = saver.put(where, checkpoint("MARKid", {"MARKchannel": "MARKvalue"}), {"run_id": "MARKrun"}, {})  # type: ignore[typeddict-unknown-key]
    saver.put_writes(put, [("MARKchannel", "MARKwrite")], "MARKtask", "MARKpath")
    saver.register_thread("MARKthread", "MARKname", {"MARKuser": "MARKinfo"})


def marks() -> list[bytes]:
    names = "thread ns key metadata id channel value run write task path name user info".split()  # noqa: SIM905
    return [f"MARK{name}".encode() for name in names]


def run_python(code: str, *args: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def bytes_beside(path: str | Path) -> dict[str, bytes]:
    """Every file that belongs to a log, and what is in it."""
    path = Path(path)
    return {p.name: p.read_bytes() for p in path.parent.iterdir() if p.name.startswith(path.name)}


@pytest.fixture(scope="session")
def tools() -> Any:
    """The functions above: tests are not a package, and cannot import them."""
    return _Tools()


class _Tools:
    RAW_KEY = RAW_KEY
    PASSPHRASE = PASSPHRASE
    config = staticmethod(config)
    checkpoint = staticmethod(checkpoint)
    fill = staticmethod(fill)
    marks = staticmethod(marks)
    run_python = staticmethod(run_python)
    bytes_beside = staticmethod(bytes_beside)


@pytest.fixture(params=["passphrase", "raw"])
def key(request: pytest.FixtureRequest) -> str | bytes:
    """A key of each kind."""
    return PASSPHRASE if request.param == "passphrase" else RAW_KEY


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., EventLogSaver]]:
    """Open savers on tmp_path / "agent.db" with just the options given; those that are open are verified and closed."""
    savers: list[EventLogSaver] = []

    def opened(path: Path | None = None, **options: Any) -> EventLogSaver:
        savers.append(EventLogSaver(path or tmp_path / "agent.db", **{"key": None, **options}))
        return savers[-1]

    yield opened
    try:
        for saver in savers:
            assert saver.log.closed or list(saver.log.verify()) == []
    finally:
        for saver in savers:
            saver.close()
