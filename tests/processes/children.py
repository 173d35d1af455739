"""Processes that a test talks to, line by line; and small checkpoints, for them and for the tests.

A child imports this module, too: it has `put`, `write`, `say` and `hear` at hand.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Child", "aput", "config", "hear", "put", "say", "threads_of", "write"]

_WAIT_S = 60


def config(thread: str, id: str | None = None) -> Any:
    named = {"thread_id": thread, "checkpoint_ns": ""}
    return {"configurable": named if id is None else {**named, "checkpoint_id": id}}


def checkpoint(id: str, **values: Any) -> Any:
    return {"v": 4, "id": id, "ts": "", "channel_values": values, "channel_versions": {}, "versions_seen": {}}


def put(saver: Any, thread: str, id: str = "1", parent: str | None = None, **values: Any) -> None:
    saver.put(config(thread, parent), checkpoint(id, **values), {}, {})


async def aput(saver: Any, thread: str, id: str = "1", parent: str | None = None, **values: Any) -> None:
    await saver.aput(config(thread, parent), checkpoint(id, **values), {}, {})


def write(saver: Any, thread: str, task: str, value: Any = 1) -> None:
    saver.put_writes(config(thread, "1"), [("x", value)], task)


def threads_of(saver: Any) -> list[str]:
    """The thread of each event, in order."""
    return [str(event.thread_id) for event in saver.log.read()]


# A child's side.


def say(line: str) -> None:
    print(line, flush=True)


def hear() -> str:
    return sys.stdin.readline().rstrip("\n")


class Child:
    """A process that runs `code`, with `arguments` in sys.argv; what it warns of, ResourceWarnings too, is an error.

    At the end of the block it has to have ended well, or to have been killed.
    """

    def __init__(self, code: str, *arguments: object) -> None:
        self._code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from children import *\n{code}"
        self._arguments = arguments
        self._killed = False

    def __enter__(self) -> Child:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error::ResourceWarning", "-c", self._code, *map(str, self._arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def hear(self) -> str:
        """Wait for what it says next; "" if it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def wait_until_stopped(self) -> None:
        """Wait for the SIGSTOP that it sends to itself."""
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), "it has ended"

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._killed = True
        self._process.kill()
        self._process.wait(_WAIT_S)

    def end(self) -> None:
        """Wait for its end."""
        output, _ = self._process.communicate(timeout=_WAIT_S)
        assert self._process.returncode == 0 or self._killed, f"exit code {self._process.returncode}: {output}"

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self.end()
            return
        self.kill()
        self._process.communicate()
