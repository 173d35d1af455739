"""Waiting for a process, but not for ever."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .nursery import TIMEOUT_S

__all__ = ["killed_if_it_takes_longer"]


@contextmanager
def killed_if_it_takes_longer(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill the process if it has not ended in time: whoever reads what it says comes to the end of it then."""
    timer = threading.Timer(TIMEOUT_S, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
