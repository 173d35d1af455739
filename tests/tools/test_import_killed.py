"""`import` stopped anywhere: run again, it goes on, and in the end all is as if it had not been stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langgraph_eventlog.eventlog import Kind
from langgraph_eventlog.tools.moving import importing
from langgraph_eventlog.tools.moving.importing import import_from, open_source
from langgraph_eventlog.tools.opening import strict_serializer

from .official_shop import chat, everything, official, threads_of

# Kills itself at the n-th call of a function, before or after it.
STOPPED = """
import os, signal, sys
from langgraph_eventlog.saver import intake
from langgraph_eventlog.tools.moving import importing
from langgraph_eventlog.tools.cli import run
cls, name, when, left = {"transaction": (intake._Transaction, "_append", "before", int(sys.argv[2])),
                         "committed": (intake.Intake, "append", "after", int(sys.argv[2]))}[sys.argv[1]]
importing._MAX_EVENTS = 8
real = getattr(cls, name)
def stopped(*args, **kwargs):
    global left
    left -= 1
    if left == 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*args, **kwargs)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(cls, name, stopped)
sys.exit(run(["import", *sys.argv[3:]]))
"""


def stop(source: Path, log: Path, where: str, n: int) -> bool:
    """Begin an import, and kill it; tell whether it was killed before it had ended."""
    command = [sys.executable, "-c", STOPPED, where, str(n), str(source), str(log)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode < 0


def imported(saver: Any) -> None:
    """Check that each put and put_writes was declared as imported, once, in the transaction that appended it."""
    events = list(saver.log.read())
    named = [
        n for e in events if e.kind == Kind.IMPORT for first, last in e.data.imported for n in range(first, last + 1)
    ]
    assert named == [event.position for event in events if event.kind in (Kind.PUT, Kind.PUT_WRITES)]


@pytest.mark.parametrize(("where", "moments"), [("committed", (1, 2, 5)), ("transaction", (1, 13, 40))])
def test_killed_and_run_again_it_goes_on(
    json_of: Any, official_shop: Path, tmp_path: Path, make_saver: Any, where: str, moments: tuple[int, ...]
) -> None:
    log = tmp_path / "agent.db"
    so_far = 0
    for n in moments:
        assert stop(official_shop, log, where, n)
        saver = make_saver()
        now = sum(event.kind in (Kind.PUT, Kind.PUT_WRITES) for event in saver.log.read())
        assert now >= so_far  # what was there stays
        so_far = now
        imported(saver)
        saver.close()
    done = json_of("import", official_shop, "agent.db")
    assert done["differences"] == []
    assert 0 < done["checkpoints"] < done["there"]["checkpoints"]
    saver, theirs = make_saver(), official(official_shop)
    imported(saver)
    threads = list(threads_of(official_shop))
    assert everything(saver, threads) == everything(theirs, threads)
    theirs.conn.close()
    assert json_of("import", official_shop, "agent.db")["checkpoints"] == 0


def test_a_transaction_that_fails_leaves_nothing_and_the_next_try_goes_on(
    official_shop: Path, make_saver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    serde = strict_serializer()
    saver = make_saver(serde=serde)
    real, left = saver.log.append_within, 20

    def failing(*args: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError("the disk is on fire")
        return real(*args)

    monkeypatch.setattr(saver.log, "append_within", failing)
    monkeypatch.setattr(importing, "_MAX_EVENTS", 8)
    with open_source(official_shop, serde) as source:
        with pytest.raises(OSError, match="on fire"):
            import_from(source, saver)
        imported(saver)
        assert saver.log.head().position > 0
        done = import_from(source, saver)
    assert done.differences == []
    imported(saver)


PEAK = """
import os, resource, sys
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.moving.importing import import_from, open_source
from langgraph_eventlog.tools.opening import strict_serializer
import langgraph.checkpoint.sqlite
serde = strict_serializer()
with open_source(sys.argv[1], serde) as source, EventLogSaver(sys.argv[2], serde=serde) as saver:
    now = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit = now + int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    done = import_from(source, saver)
    assert done.differences == [], done.differences
    print(done.checkpoints)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc, to know how much memory is in use")
def test_a_file_larger_than_memory_is_imported(tmp_path: Path, make_saver: Any) -> None:
    """The file is 320 MB; 192 MB more than what Python and the libraries take must do."""
    path = tmp_path / "large.sqlite"
    theirs = official(path)
    theirs.conn.execute("PRAGMA synchronous = OFF")
    for n in range(3):
        chat(theirs, f"thread-{n}", 150, words=1_200)
    theirs.conn.close()
    assert path.stat().st_size > 256 * 1024 * 1024
    command = [sys.executable, "-c", PEAK, str(path), str(tmp_path / "agent.db"), str(192 * 1024 * 1024)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env={**os.environ})
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout == "450\n"
    make_saver()  # is verified
