"""The demo, as a user starts it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph_eventlog.eventlog import Head
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.demo import __main__ as demo
from langgraph_eventlog.tools.demo.report import print_changes, print_checks, print_history
from langgraph_eventlog.tools.demo.run import Check
from langgraph_eventlog.tools.demo.script import decide
from rich.console import Console

PROMISES = [
    "the first process was killed in the middle",
    "every append acknowledged to it is in the log",
    "every thread was finished, no superstep twice",
    "the end is that of the uninterrupted run",
    "verify finds nothing",
    "the tokens in the log are those of the messages",
]


TABLES = ("Threads", "History of ", "What the last steps of ", "Tokens, ", "Promises")
# What a terminal is told about how to show text: colours, cursor, erasing. It takes up no columns.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def command_of(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "langgraph_eventlog.tools.demo", *arguments]


def environment() -> dict[str, str]:
    own = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")}
    return {**own, "PYTHONIOENCODING": "utf-8", "TERM": "xterm"}


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command_of(*arguments), capture_output=True, encoding="utf-8", env=environment(), timeout=120, check=False
    )


def run_in_terminal(columns: int, *arguments: str) -> tuple[int, str]:
    """Run the demo in a terminal of so many columns; give its exit code and everything it printed there."""
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        process = subprocess.Popen(
            command_of(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=environment()
        )
    finally:
        os.close(theirs)
    said = b""
    with process:
        try:
            while chunk := os.read(ours, 65536):
                said += chunk
        except OSError:
            pass  # Linux's way to say that nobody has the terminal open any more
        finally:
            os.close(ours)
    return process.returncode, said.decode()


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
    commands = [line for line in lines if line.startswith("$ ")]
    assert [line.split()[2] for line in commands] == ["audit", "verify", "compact", "verify"]
    assert [line for line in lines[: lines.index(commands[0])] if len(line) > 100 and str(path) not in line] == []
    assert [line for line in lines[: lines.index(commands[0])] if line.endswith(" ")] == []
    for title in TABLES:
        [begin] = [n for n, line in enumerate(lines) if line.startswith(title)]
        assert lines[begin - 1] == "", title
        assert lines[begin - 2] != "", title
    with EventLogSaver(path) as saver:
        _, now = re.findall(r"^  (\d+:[0-9a-f]{64})$", result.stdout, re.MULTILINE)
        assert list(saver.log.verify(anchor=Head.parse(now))) == []
        assert max(info.checkpoints for info in saver.threads()) == 3  # compacted
        assert sorted(info.thread_id for info in saver.threads()) == ["reader-1", "reader-2"]


@pytest.mark.slow
def test_a_terminal_of_80_columns_shows_a_progress_bar_and_wraps_no_line() -> None:
    code, said = run_in_terminal(80, "--threads", "2", "--questions", "2")
    assert code == 0, said
    # A line of the terminal may be written over and over: each time is looked at.
    lines = [line.rstrip() for line in re.split(r"\r?\n|\r", CONTROL.sub("", said))]
    lines = lines[: next(n for n, line in enumerate(lines) if line.startswith("$ "))]
    said = "\n".join(lines)
    assert re.search(r"supersteps, first process +[━╸╺]+ +\d+/\d+", said), said
    assert re.search(r"supersteps, second process +[━╸╺]+ +(\d+)/\1 ", said), said
    assert [line for line in lines if len(line) > 80] == []
    [history] = re.findall(
        r"^History of reader-1: the newest (\d) of.*\n\n(.*)\n.*─.*\n((?:.+\n)+)", said, re.MULTILINE
    )
    assert history[1].split() == ["step", "source", "run", "messages", "the", "last", "message"]
    assert [row.split()[1] in ("loop", "input") for row in history[2].splitlines()] == [True] * int(history[0])
    promises = re.findall(r"^ ok +(.*\w)$", said, re.MULTILINE)
    assert [shown.startswith(promise) for shown, promise in zip(promises, PROMISES, strict=True)] == [True] * 6
    for first_column in ("reader-1", "reader-2"):
        assert len(re.findall(rf"^ {first_column} +[\d,]+ ", said, re.MULTILINE)) == 2  # threads, tokens


def test_a_history_has_checkpoint_ids_where_there_is_room_and_a_line_for_each_row(make_saver: Any) -> None:
    saver = make_saver(":memory:")
    messages = [AIMessage(f"{n} " + "long words " * 20, id=str(n)) for n in range(3)]
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    for n in range(3):
        checkpoint = {**empty_checkpoint(), "channel_values": {"messages": messages[: n + 1]}}
        config = saver.put(config, checkpoint, {"step": n, "source": "loop", "run_id": "question-1"}, {})
    id_of_latest = config["configurable"]["checkpoint_id"]
    for width, shown in ((80, False), (109, False), (110, True), (200, True)):
        for terminal in (False, True):
            console = Console(width=width, force_terminal=terminal, color_system=None, legacy_windows=False)
            with console.capture() as captured:
                print_history(console, saver, "t")
                print_changes(console, saver, "t")
            lines = captured.get().splitlines()
            assert (id_of_latest in captured.get()) == shown
            assert max(map(len, lines)) <= width
            assert [line.split()[:4] for line in lines if " loop " in line] == [
                [str(n), "loop", "question-1", found.checkpoint["id"] if shown else str(n + 1)]
                for n, found in zip((2, 1, 0), saver.list(None), strict=True)
            ]
            assert [line.split()[2:4] for line in lines if " + ai: " in line] == [["+", "ai:"]] * 2
            assert sum("long words" in line for line in lines) == 5  # none goes on in a second line


@pytest.mark.parametrize("installed", [True, False])
def test_the_official_saver_is_only_spoken_of_if_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], installed: bool
) -> None:
    statuses: list[str] = []
    status = Console.status
    monkeypatch.setattr(Console, "status", lambda self, text: (statuses.append(str(text)), status(self, text))[1])
    monkeypatch.setattr(demo, "official_is_installed", lambda: installed)
    monkeypatch.setattr(demo, "official_size", lambda **_: 12345)
    monkeypatch.setattr(sys, "argv", ["demo", "--threads", "1", "--questions", "1"])
    assert demo.main() == 0
    assert ("With SqliteSaver:  12,345 bytes, for the same run\n" in capsys.readouterr().out) == installed
    assert any("SqliteSaver" in text for text in statuses) == installed


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
