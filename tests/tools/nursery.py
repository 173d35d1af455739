"""Processes that have imported everything already: the real command, without the second that importing takes.

    python nursery.py     reads a JSON line for each command, forks a process that runs it, and writes its exit code

Each command is a process of its own, with its own arguments, folder, environment and standard streams.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, NoReturn, Self

__all__ = ["Nursery"]


class Nursery:
    """Runs commands, one at a time."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def run(self, arguments: list[str], folder: Path, stdin: str | None) -> subprocess.CompletedProcess[str]:
        """Run the command; what it reads and writes goes through files."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as streams:
            asked = {"arguments": arguments, "folder": str(folder), "streams": streams, "environment": dict(os.environ)}
            Path(streams, "0").write_text(stdin or "", encoding="utf-8", errors="surrogateescape")
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            out, err = (Path(streams, name).read_text(encoding="utf-8") for name in "12")
        return subprocess.CompletedProcess(arguments, code, out, err)


def _serve() -> None:
    from langgraph_eventlog.tools import cli  # noqa: F401  which imports all verbs

    for heavy in ("looking.states", "auditing.replay", "moving.importing", "moving.extracting", "proving.verifying"):
        with contextlib.suppress(ModuleNotFoundError):
            __import__(f"langgraph_eventlog.tools.{heavy}")
    gc.freeze()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _be(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _be(asked: dict[str, Any]) -> NoReturn:
    """Be the command."""
    code = 70
    try:
        for fd, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY | os.O_CREAT), (2, os.O_WRONLY | os.O_CREAT)):
            opened = os.open(os.path.join(asked["streams"], str(fd)), flags, 0o600)
            os.dup2(opened, fd)
            os.close(opened)
        sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        warnings.simplefilter("error", ResourceWarning)
        sys.argv = ["langgraph-eventlog", *asked["arguments"]]
        from langgraph_eventlog.tools.__main__ import main

        try:
            code = main()
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else int(e.code is not None)
        gc.collect()  # whoever was not closed complains now
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code & 0xFF)


if __name__ == "__main__":
    _serve()
