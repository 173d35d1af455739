"""Threads outlive their server: the log is what a new one goes on from."""

from __future__ import annotations

import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from langgraph_sdk.errors import NotFoundError

if TYPE_CHECKING:
    from .conftest import AgentServer

pytestmark = pytest.mark.slow

ASKED = ["Paris", "planned Paris"]
ANSWERED = [*ASKED, "answered yes", "acted"]


def left_waiting(server: AgentServer) -> str:
    """Give a thread whose run waits for an answer."""
    thread_id = server.new_thread()
    server.run(thread_id, "agent", input={"said": ["Paris"]})
    return thread_id


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_after_a_stop_a_new_server_has_the_threads_and_resumes_them(server: AgentServer, how: signal.Signals) -> None:
    thread_id = left_waiting(server)
    before = server.history(thread_id)
    server.stop(how)
    assert server.recorded(thread_id) == before
    # Every worker has an event loop, and so a saver, of its own.
    server.start(BG_JOB_ISOLATED_LOOPS="true")
    assert "Starting queue with isolated loops" in server.output
    assert server.client.threads.get(thread_id)["status"] == "interrupted"  # the runtime's own table, in .langgraph_api
    assert server.history(thread_id) == before
    assert server.run(thread_id, "agent", command={"resume": "yes"})["said"] == ANSWERED
    assert server.history(thread_id) == server.recorded(thread_id)


def test_after_a_kill_a_new_server_resumes_from_the_log(server: AgentServer) -> None:
    thread_id = left_waiting(server)
    before = server.history(thread_id)
    server.stop(signal.SIGKILL)
    assert server.recorded(thread_id) == before
    # The runtime writes its own table of threads down every few seconds. Let it have lost this one.
    shutil.rmtree(server.folder / ".langgraph_api")
    server.start()
    with pytest.raises(NotFoundError):
        server.client.threads.get_state(thread_id)
    server.client.threads.create(thread_id=thread_id, if_exists="do_nothing", graph_id="agent")
    assert server.history(thread_id) == before
    state = server.client.threads.get_state(thread_id)
    assert (state["values"]["said"], state["next"]) == (ASKED, ["ask"])
    assert state["tasks"][0]["interrupts"][0]["value"] == {"question": "Paris found?"}
    assert server.run(thread_id, "agent", command={"resume": "yes"})["said"] == ANSWERED


def test_a_run_that_was_killed_half_way_is_ended_by_a_new_server_from_the_step_it_was_at(
    server: AgentServer, until: Any
) -> None:
    thread_id = server.new_thread()
    run_id = server.client.runs.create(thread_id, "slow", input={"said": ["hang"]})["run_id"]
    until(lambda: server.client.threads.get_state(thread_id)["next"] == ["wait"], "in the node that hangs")
    before = server.history(thread_id)
    table = server.folder / ".langgraph_api" / ".langgraph_ops.pckl"
    running_at = time.time()
    until(lambda: table.exists() and table.stat().st_mtime > running_at, "the runtime's table of runs written down")
    server.stop(signal.SIGKILL)
    assert server.recorded(thread_id) == before
    server.start(LET_GO="1")
    server.client.runs.join(thread_id, run_id)
    assert server.said(thread_id) == ["hang", "began hang", "ended"]
    assert server.history(thread_id)[1:] == before
