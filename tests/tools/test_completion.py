"""Completion in a shell: verbs, options, and the ids of threads in the log that was typed before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

VERB = "langgraph-eventlog"


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    """Run a script in bash, with the command on the PATH."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    commands = tmp_path / "bin"
    commands.mkdir()
    command = commands / VERB
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m langgraph_eventlog.tools "$@"\n')
    command.chmod(0o755)

    def run(script: str) -> str:
        env = {**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
        result = subprocess.run(
            [bash, "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        return result.stdout

    return run


def completed(line: str) -> str:
    """A script that loads what --show-completion shows, and completes a line as bash does at the tab key."""
    words = line.split(" ")
    return f"""
eval "$({VERB} --show-completion bash 2>/dev/null || {VERB} --show-completion)"
complete -p {VERB} >/dev/null
COMP_WORDS=({" ".join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}
$(complete -p {VERB} | sed 's/.*-F \\([^ ]*\\).*/\\1/') {VERB}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def test_verbs_and_thread_ids_complete_in_bash(shell: Any, shop: Path) -> None:
    assert shop.name == "agent.db"
    assert shell(completed(f"{VERB} hist")).split() == ["history"]
    assert shell(completed(f"{VERB} show agent.db order-3")).split() == ["order-3", "order-3-again"]


def test_a_log_that_cannot_be_opened_completes_to_nothing(shell: Any, tmp_path: Path) -> None:
    (tmp_path / "other.db").write_bytes(b"no log")
    assert shell(completed(f"{VERB} show other.db or")).split() == []
    assert shell(completed(f"{VERB} history none.db or")).split() == []
    assert not (tmp_path / "none.db").exists()
