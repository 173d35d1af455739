"""Runs LangGraph's own Agent Server, `langgraph dev`, on the saver, in a temporary copy of the folder `project`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from langgraph_eventlog.saver import EventLogSaver
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

T = TypeVar("T")

DEADLINE_S = 60
PROJECT = Path(__file__).parent / "project"

# What the server logs when the checkpointer lacks a method, blocks the event loop, or fails.
COMPLAINTS = (
    "Custom checkpointer missing",
    "Custom checkpointer does not",
    "BlockingError",
    "Blocking call",
    "Traceback",
)


def until(condition: Callable[[], T | None], what: str) -> T:
    """Poll another process, which can be asked but does not tell, until `condition` gives something."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"in {DEADLINE_S} s: not {what}"
        time.sleep(0.05)
    return found


class AgentServer:
    """One project folder, its log, and the server that runs in it, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "kept" / "agent.db"
        self.log_path = folder.with_suffix(".log")
        self.client: SyncLangGraphClient
        self._process: subprocess.Popen[bytes] | None = None
        shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__"))

    @property
    def output(self) -> str:
        """All that the server has written, over all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self, **environment: str) -> None:
        """Start it, and wait until it answers."""
        langgraph = Path(sys.executable).with_name("langgraph")
        assert langgraph.exists(), "the test extra has langgraph-cli[inmem]"
        port = _free_port()
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LANGGRAPH_", "LANGSMITH_", "LANGCHAIN_"))
        }
        quiet = {  # off the network: no tracing, no look-up of newer versions, no usage statistics
            "LANGSMITH_TRACING": "false",
            "LANGGRAPH_NO_VERSION_CHECK": "true",
            "LANGGRAPH_CLI_NO_ANALYTICS": "1",
            "LOG_COLOR": "false",
            "NO_PROXY": "127.0.0.1",
        }
        self.path.parent.mkdir(exist_ok=True)
        with self.log_path.open("ab") as output:
            self._process = subprocess.Popen(
                [langgraph, "dev", "--no-browser", "--no-reload", "--port", str(port), "--n-jobs-per-worker", "4"],
                cwd=self.folder,
                env={**inherited, **quiet, "LANGGRAPH_EVENTLOG_PATH": str(self.path), **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its process group can be killed without ours
            )
        url = f"http://127.0.0.1:{port}"
        until(lambda: self._answers(url), "answering at /ok")
        self.client = get_sync_client(url=url, api_key=None)

    def _answers(self, url: str) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the server ended with {self._process.returncode}"
        with suppress(httpx.TransportError):
            return httpx.get(f"{url}/ok", timeout=5, trust_env=False).is_success
        return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal, and wait until it has ended."""
        assert self._process is not None
        self.client.close()
        self._process.send_signal(how)
        self._process.wait(DEADLINE_S)
        self.kill()  # what is left of its group

    def kill(self) -> None:
        """Kill the server and all that it started; nothing if it does not run."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def open_log(self) -> EventLogSaver:
        """Open the server's file from here; the server may be running."""
        return EventLogSaver(self.path)

    def check(self) -> None:
        """The server used the saver and never complained about it, and its file verifies, projections and all."""
        output = self.output
        assert "Using custom checkpointer: EventLogSaver" in output
        assert [line for line in output.splitlines() if any(text in line for text in COMPLAINTS)] == []
        with self.open_log() as saver:
            assert saver.log.head().position > 0
            assert list(saver.log.verify()) == []

    # What several tests do.

    def new_thread(self) -> str:
        """Create a thread."""
        return self.client.threads.create()["thread_id"]

    def run(self, thread_id: str, graph: str, **arguments: Any) -> Any:
        """Run a graph to its end, or to its interrupt, and give its values."""
        return self.client.runs.wait(thread_id, graph, **arguments)

    def said(self, thread_id: str) -> list[str]:
        """Give what the thread's state holds."""
        return self.client.threads.get_state(thread_id)["values"]["said"]

    def history(self, thread_id: str) -> list[str]:
        """Give the ids of a thread's checkpoints, newest first."""
        found = self.client.threads.get_history(thread_id, limit=100)
        return [state["checkpoint"]["checkpoint_id"] for state in found]

    def recorded(self, thread_id: str) -> list[str]:
        """Give the ids that the log's projections have for the same thread."""
        config: Any = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
        with self.open_log() as saver:
            return [found.checkpoint["id"] for found in saver.list(config)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentServer]:
    """A server of the module's own, running; checked at the end."""
    server = AgentServer(tmp_path_factory.mktemp("server") / "project")
    try:
        try:
            server.start()
            yield server
            server.stop()
        finally:
            server.kill()
        server.check()
    except BaseException:
        print(server.output)
        raise


@pytest.fixture(name="until")
def until_fixture() -> Callable[[Callable[[], Any], str], Any]:
    """Wait for something to become true in another process."""
    return until


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show the server's log with a test that failed."""
    report = yield
    server = getattr(item, "funcargs", {}).get("server")
    if isinstance(server, AgentServer) and report.failed:
        report.sections.append(("agent server log", server.output))
    return report
