"""What a few hostile bytes declare is refused before it is allocated: in a child process that may take 200 MB more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ALLOWED_BYTES = 200 * 1024 * 1024

BOMBS = Path(__file__).parent / "bombs.py"


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory as Linux does")
def test_hostile_sizes_and_depths_are_refused_before_anything_is_allocated() -> None:
    done = subprocess.run(
        [sys.executable, BOMBS, str(ALLOWED_BYTES)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
    assert int(done.stdout) >= 30
