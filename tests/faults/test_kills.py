"""SIGKILL while putting, rebuilding, compacting and reopening: nothing acknowledged is lost, and the log is whole.

`python tests/faults kills --rounds 2000` does more, and says how many.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from .killing import kill_rounds

ROUNDS = int(os.environ.get("EVENTLOG_TORTURE_KILLS", "200"))

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL, nor fork()")


def test_a_killed_process_takes_nothing_with_it_that_was_acknowledged(in_memory: Path) -> None:
    done = list(kill_rounds(ROUNDS, int(os.environ.get("EVENTLOG_TORTURE_SEED", "0")), in_memory / "log"))
    assert len(done) == ROUNDS
    assert sum(killed.acknowledged for killed in done) > ROUNDS  # they did get to work
