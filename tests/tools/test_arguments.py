"""Arguments that make no sense, and surroundings that are not as usual: an exit code and a message, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langgraph_eventlog.eventlog import ConfigError
from langgraph_eventlog.tools.times import parse_age, parse_time

COMMAND = f"{sys.executable} -W error::ResourceWarning -m langgraph_eventlog.tools"
HUGE = "99999999999999999999999"


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line in which L is the command; fails if any part of it does."""
    script = f'set -o pipefail; L() {{ {COMMAND} "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "agent.db", "--since", "999999d"),
        ("audit", "agent.db", "--until", "0001-01-01T00:00+14:00"),
        ("audit", "agent.db", "order-1", "--at", "9999-12-31T23:59-14:00"),
        ("audit", "agent.db", "--after", HUGE),
        ("audit", "agent.db", "--limit", HUGE),
        ("threads", "agent.db", "--limit", HUGE),
        ("history", "agent.db", "order-1", "--limit", HUGE),
        ("stats", "agent.db", "--threads", HUGE),
        ("export", "agent.db", "-", "--jsonl", "--from", HUGE),
        ("compact", "agent.db", "--keep-last", HUGE),
        ("compact", "agent.db", "--keep-newer-than", "99999999d"),
    ],
)
def test_times_and_numbers_beyond_all_reason_are_refused(run: Any, shop: Path, arguments: tuple[str, ...]) -> None:
    before = shop.read_bytes()
    assert run(*arguments, code=2).stderr
    assert shop.read_bytes() == before


def test_the_greatest_number_is_one_that_works(json_of: Any, shop: Path) -> None:
    most = str(2**62)
    assert len(json_of("threads", shop, "--limit", most, lines=True)) > 3
    assert json_of("history", shop, "order-1", "--limit", most, lines=True)
    assert json_of("audit", shop, "--after", most, lines=True) == []
    assert json_of("audit", shop, "--limit", most, lines=True)


def test_times_at_the_ends_are_read_or_refused() -> None:
    assert parse_age("52000w").days == 364_000
    assert parse_time("9999-12-31T23:59").year == 9999
    for text in ("99999999d", "9" * 400 + "s"):
        with pytest.raises(ConfigError):
            parse_age(text)
        with pytest.raises(ConfigError):
            parse_time(text)


@pytest.mark.parametrize(
    "line",
    [r"show agent.db $'\xff'", r"show agent.db order-1 $'\xff'", r"history agent.db order-1 --namespace $'\xff'"],
)
def test_arguments_that_are_not_utf_8_are_refused(shop: Path, line: str) -> None:
    done = shell(f"L {line}", shop.parent)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "is not UTF-8" in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "L verify agent.db --quick --json | true",
        "L --help | true",
        "L audit agent.db --json | head -1 > first",
        "L export agent.db - --jsonl | head -1 > first",
        "L threads none.db 2>&1 | true",
    ],
)
def test_a_closed_pipe_ends_it_quietly_as_the_signal_would(shop: Path, line: str) -> None:
    done = shell(line, shop.parent)
    assert done.returncode == 141, done.stderr
    assert done.stderr == ""


def test_a_full_disk_is_an_error(shop: Path) -> None:
    done = shell("L threads agent.db --json > /dev/full", shop.parent)
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_without_standard_output_it_still_tells_by_its_exit_code(shop: Path) -> None:
    for line, code in (
        ("L threads agent.db >&-", 0),
        ("L threads agent.db --json >&-", 0),
        ("L threads none.db >&-", 3),
        ("L threads none.db >&- 2>&-", 3),
        ("L audit agent.db order-1 --kind none >&-", 2),
    ):
        done = shell(line, shop.parent)
        assert done.returncode == code, line + done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception" not in done.stderr


def test_ctrl_c_while_it_starts_ends_it_with_130(tmp_path: Path) -> None:
    program = f"""
import os, runpy, sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == "langgraph_eventlog.tools.verbs.audit":
            os.kill(os.getpid(), {int(signal.SIGINT)})
sys.meta_path.insert(0, Stop())
sys.argv = ["langgraph-eventlog", "--help"]
runpy.run_module("langgraph_eventlog.tools", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120, env={**os.environ}
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_page_is_asked_for_in_a_way_that_makes_sense(run: Any, shop: Path, tmp_path: Path) -> None:
    assert "'--json'" in run("audit", shop, "order-1", "--html", "--json", code=2).stderr
    assert "--html" in run("audit", shop, "order-1", "--html", "page.html", "--json", code=2).stderr
    missing = tmp_path / "none" / "page.html"
    assert f"'{missing}'" in run("audit", shop, "order-1", "--html", missing, code=3).stderr
    assert not {path.name for path in tmp_path.iterdir()} - {"agent.db", "agent.db-wal", "agent.db-shm"}


def test_a_thread_that_is_not_there_yet_can_be_followed(shop: Path) -> None:
    done = shell("L audit agent.db order-9 --follow --limit 0", shop.parent)
    assert (done.returncode, done.stdout) == (0, "")
    assert "'order-9' yet: waiting" in done.stderr
