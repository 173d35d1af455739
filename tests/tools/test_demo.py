"""The demo, as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.demo.report import print_checks
from langgraph_eventlog.tools.demo.run import Check
from langgraph_eventlog.tools.demo.script import decide
from rich.console import Console

PROMISES = [
    "the first process was killed in the middle of the run",
    "every append acknowledged to it before the kill is in the log",
    "every thread was resumed and finished, no superstep twice",
    "the result equals that of an uninterrupted run on InMemorySaver",
    "verify finds nothing",
    "the token count, taken from the log alone, is that of the messages",
]


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "langgraph_eventlog.tools.demo", *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=120, check=False)


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_keeps_every_promise_and_leaves_a_log_that_verifies(tmp_path: Path) -> None:
    path = tmp_path / "demo.db"
    result = run_demo("--threads", "2", "--questions", "2", "--path", str(path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    for promise in PROMISES:
        assert [line for line in lines if line.startswith("ok ") and promise in line], result.stdout
    assert lines[-1] == "Everything is as promised."
    assert "\x1b" not in result.stdout  # not a terminal: no colours, no bar
    with EventLogSaver(path) as saver:
        assert f"Anchor now:          {saver.log.head()}" in lines
        assert sorted(info.thread_id for info in saver.threads()) == ["reader-1", "reader-2"]
        assert list(saver.log.verify()) == []


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious.txt"
    path.write_text("precious")
    result = run_demo("--path", str(path))
    assert (result.returncode, path.read_text()) == (2, "precious")
    assert "exists" in result.stderr


def test_a_broken_promise_is_printed_as_such() -> None:
    console = Console(width=100, force_terminal=False)
    with console.capture() as captured:
        print_checks(console, [Check("all is [well]", False, "it is not"), Check("the rest is", True, "yes")])
    assert "FAILED  all is [well]  it is not" in captured.get()
    assert "ok      the rest is    yes" in captured.get()


def test_the_scripted_model_decides_by_what_its_tools_found() -> None:
    question = "What should I read about import?"
    assert decide(question, [])[1] == [("find_topics", {"word": "import"})]
    found = "import (9), atom-literals (2)"
    assert decide(question, [found])[1] == [("read_topic", {"name": "import"})]
    assert decide(question, [found, "Imports\n***\n\nOne. Two."])[1] == [("read_topic", {"name": "atom-literals"})]
    said, calls = decide(question, [found, "Imports\n***\n\nOne. Two.", "Literals\n***\n\nThree. Four."])
    assert (said, calls) == ("Read these. import: One. atom-literals: Three.", [])
    assert decide(question, ["none"]) == ("Read these. ", [])
