"""Processes that have imported everything already: the real command, without the second that importing takes.

    python nursery.py           reads JSON lines, forks a process that runs the command of each, writes its exit code
    python nursery.py SOCKET    does so for whoever connects, with the streams it is sent: nursery_client.py

Each command is a process of its own, with its own arguments, folder, environment and standard streams.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, Self

__all__ = ["TIMEOUT_S", "Nursery", "nursery_at"]

# No process that a test waits for takes so long.
TIMEOUT_S = 120
CLIENT = Path(__file__).with_name("nursery_client.py")


class Nursery:
    """Runs commands, one at a time."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def run(
        self, arguments: list[str], folder: Path, stdin: str | None, environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run the command, `environment` added to this one's; what it reads and writes goes through files."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as streams:
            asked = {
                "arguments": arguments,
                "folder": str(folder),
                "streams": streams,
                "environment": {**os.environ, **environment},
            }
            Path(streams, "0").write_text(stdin or "", encoding="utf-8", errors="surrogateescape")
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            # Each answer is one line: none waits in Python's buffer.
            if not select.select([self._process.stdout], [], [], TIMEOUT_S)[0]:
                self._process.kill()
                raise TimeoutError(f"in {TIMEOUT_S} s, this has not ended: {arguments}")
            code = int(self._process.stdout.readline())
            out, err = (Path(streams, name).read_text(encoding="utf-8") for name in "12")
        return subprocess.CompletedProcess(arguments, code, out, err)


@contextlib.contextmanager
def nursery_at(path: Path) -> Iterator[str]:
    """Run a nursery at this socket; give the shell's words that make a command of what follows them."""
    with subprocess.Popen([sys.executable, __file__, str(path)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            # Without what is installed, Python is there at once.
            yield f'"{sys.executable}" -I -S "{CLIENT}" "{path}"'
        finally:
            process.terminate()


def _import_everything() -> None:
    from langgraph_eventlog.tools import cli  # noqa: F401  which imports all verbs

    for heavy in ("looking.states", "auditing.replay", "moving.importing", "moving.extracting", "proving.verifying"):
        with contextlib.suppress(ModuleNotFoundError):
            __import__(f"langgraph_eventlog.tools.{heavy}")
    gc.freeze()


def _serve() -> None:
    _import_everything()
    for line in sys.stdin:
        print(_run(json.loads(line)), flush=True)


def _serve_at(path: str) -> None:
    """Each who asks has a process of its own, which waits for the command: pipes connect several."""
    _import_everything()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        while True:
            asking, _ = server.accept()
            with asking:
                if os.fork() == 0:
                    server.close()
                    _, streams, _, _ = socket.recv_fds(asking, 1, 3)
                    with asking.makefile("rw", encoding="utf-8") as lines:
                        print(_run({**json.loads(lines.readline()), "fds": streams}), file=lines, flush=True)
                    os._exit(0)


def _run(asked: dict[str, Any]) -> int:
    """Run a command in a process of its own; give its exit code."""
    pid = os.fork()
    if pid == 0:
        _be(asked)
    for fd in asked.get("fds", ()):
        os.close(fd)  # or who is at the other end of a pipe would wait for this process, too
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _opened(folder: str) -> Iterator[int]:
    """Open what stands for the standard streams: files named 0, 1 and 2."""
    for fd, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY | os.O_CREAT), (2, os.O_WRONLY | os.O_CREAT)):
        yield os.open(os.path.join(folder, str(fd)), flags, 0o600)


def _be(asked: dict[str, Any]) -> NoReturn:
    """Be the command."""
    code = 70
    try:
        for fd, opened in enumerate(asked["fds"] if "fds" in asked else _opened(asked["streams"])):
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
    if len(sys.argv) > 1:
        _serve_at(sys.argv[1])
    else:
        _serve()
