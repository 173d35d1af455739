"""Eight writers and four readers on one file, for as long as EVENTLOG_TORTURE_SECONDS says; see __main__.py.

`python tests/processes --seconds 60` is the long version.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = os.environ.get("EVENTLOG_TORTURE_SECONDS", "12")
FOLDER = Path(__file__).parent


@pytest.mark.slow
def test_many_processes_lose_nothing_and_nobody_is_told_that_the_database_is_locked() -> None:
    seed = str(random.randrange(1_000_000))
    command = [sys.executable, FOLDER, "--seconds", SECONDS, "--writers", "8", "--readers", "4", "--seed", seed]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=float(SECONDS) + 240)
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-5_000:]}"
    assert " 0 events appended" not in done.stdout
