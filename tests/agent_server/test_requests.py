"""What a client of the Agent Server can ask for works on the saver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langgraph_sdk.errors import NotFoundError, UnprocessableEntityError

if TYPE_CHECKING:
    from .conftest import AgentServer

pytestmark = pytest.mark.slow

ASKED = ["Paris", "planned Paris"]
ANSWERED = [*ASKED, "answered yes", "acted"]


def ask(server: AgentServer) -> str:
    """Give a thread whose run waits for an answer."""
    thread_id = server.new_thread()
    server.run(thread_id, "agent", input={"said": ["Paris"]})
    return thread_id


def test_a_run_stops_at_its_interrupt_and_goes_on_with_the_answer(server: AgentServer) -> None:
    thread_id = server.new_thread()
    values = server.run(thread_id, "agent", input={"said": ["Paris"]})
    assert values["said"] == ASKED
    assert values["__interrupt__"][0]["value"] == {"question": "Paris found?"}
    state = server.client.threads.get_state(thread_id)
    assert (state["values"]["said"], state["next"]) == (ASKED, ["ask"])
    assert state["tasks"][0]["interrupts"][0]["value"] == {"question": "Paris found?"}
    assert server.client.threads.get(thread_id)["status"] == "interrupted"

    values = server.run(thread_id, "agent", command={"resume": "yes"})
    assert values["said"] == ANSWERED
    assert server.client.threads.get_state(thread_id)["next"] == []
    assert server.client.threads.get(thread_id)["status"] == "idle"


def test_a_streamed_run_is_checkpointed_as_it_goes(server: AgentServer) -> None:
    thread_id = ask(server)
    parts = list(
        server.client.runs.stream(thread_id, "agent", command={"resume": "yes"}, stream_mode=["updates", "values"])
    )
    assert {part.event for part in parts} == {"metadata", "updates", "values"}
    assert [part.data for part in parts if part.event == "updates"] == [
        {"ask": {"said": ["answered yes"]}},
        {"act": {"said": ["acted"]}},
    ]
    assert server.said(thread_id) == ANSWERED


def test_the_history_is_whole_linked_and_the_logs(server: AgentServer) -> None:
    thread_id = ask(server)
    server.run(thread_id, "agent", command={"resume": "yes"})
    history = server.client.threads.get_history(thread_id, limit=100)
    assert [state["next"] for state in history] == [[], ["act"], ["ask"], ["tool"], ["plan"], ["__start__"]]
    assert [state["metadata"]["step"] for state in history] == [4, 3, 2, 1, 0, -1]
    ids = [state["checkpoint"]["checkpoint_id"] for state in history]
    assert ids == server.recorded(thread_id)
    parents = [state["parent_checkpoint"] and state["parent_checkpoint"]["checkpoint_id"] for state in history]
    assert parents == [*ids[1:], None]
    # The SDK's `before` goes where the server ignores it; the same, as the server documents it:
    older = server.client.http.get(f"/threads/{thread_id}/history", params={"limit": 2, "before": ids[1]})
    assert [state["checkpoint"]["checkpoint_id"] for state in older] == ids[2:4]
    then = server.client.threads.get_state(thread_id, checkpoint_id=ids[3])
    assert then["values"] == {"said": ASKED, "topic": "Paris"}


def test_the_subgraphs_checkpoints_are_in_their_own_namespace(server: AgentServer) -> None:
    thread_id = ask(server)
    with server.open_log() as saver:
        namespaces = {found.config["configurable"]["checkpoint_ns"] for found in saver.list(_config(thread_id))}
    assert {namespace.partition(":")[0] for namespace in namespaces} == {"", "tool"}


def test_updating_the_state_makes_a_checkpoint_that_runs_go_on_from(server: AgentServer) -> None:
    thread_id = ask(server)
    before = server.history(thread_id)
    updated = server.client.threads.update_state(thread_id, {"said": ["corrected"]}, as_node="ask")
    assert server.history(thread_id) == [updated["checkpoint"]["checkpoint_id"], *before]
    assert server.client.threads.get_state(thread_id)["next"] == ["act"]
    assert server.run(thread_id, "agent", input=None)["said"] == [*ASKED, "corrected", "acted"]


def test_a_run_can_fork_from_an_older_checkpoint(server: AgentServer) -> None:
    thread_id = ask(server)
    planned_at = server.history(thread_id)[1]
    server.run(thread_id, "agent", command={"resume": "yes"})
    before = server.history(thread_id)
    forked = server.run(thread_id, "agent", checkpoint_id=planned_at, input=None)
    assert forked["__interrupt__"][0]["value"] == {"question": "Paris found?"}
    assert server.run(thread_id, "agent", command={"resume": "no"})["said"] == [*ASKED, "answered no", "acted"]
    assert server.history(thread_id)[-len(before) :] == before
    assert server.history(thread_id) == server.recorded(thread_id)


def test_a_copied_thread_goes_on_by_itself(server: AgentServer) -> None:
    thread_id = ask(server)
    # The SDK's copy() gives nothing back; the server answers with the new thread.
    copy_id = server.client.http.post(f"/threads/{thread_id}/copy", json=None)["thread_id"]
    assert server.history(copy_id) == server.history(thread_id) == server.recorded(copy_id)
    assert server.run(copy_id, "agent", command={"resume": "yes"})["said"] == ANSWERED
    assert server.said(thread_id) == ASKED
    server.client.threads.delete(thread_id)
    assert server.said(copy_id) == ANSWERED


def test_a_deleted_thread_is_gone_and_no_other(server: AgentServer) -> None:
    thread_id, other_id = ask(server), ask(server)
    server.client.threads.delete(thread_id)
    with pytest.raises(NotFoundError):
        server.client.threads.get_state(thread_id)
    assert server.recorded(thread_id) == []
    assert server.recorded(other_id) == server.history(other_id) != []


def test_pruning_with_delete_removes_the_threads_named(server: AgentServer) -> None:
    first, second, other = ask(server), ask(server), ask(server)
    assert server.client.threads.prune([first, second]) == {"pruned_count": 2}
    assert server.recorded(first) == server.recorded(second) == []
    assert len(server.recorded(other)) == len(server.history(other)) == 4


def test_pruning_to_the_latest_while_the_server_runs_keeps_what_a_run_goes_on_from(server: AgentServer) -> None:
    thread_id = ask(server)
    # The in-memory runtime does not offer this strategy, whatever the checkpointer: it answers without asking it.
    with pytest.raises(UnprocessableEntityError, match="not supported in in-memory runtime"):
        server.client.threads.prune([thread_id], strategy="keep_latest")
    latest = server.history(thread_id)[0]
    with server.open_log() as saver:  # so it is another process that prunes, as a maintenance job would
        saver.prune([thread_id], strategy="keep_latest")
    assert server.history(thread_id) == [latest]
    assert server.run(thread_id, "agent", command={"resume": "yes"})["said"] == ANSWERED


def test_a_run_that_is_rolled_back_leaves_no_checkpoint(server: AgentServer, until: Any) -> None:
    thread_id = server.new_thread()
    server.run(thread_id, "slow", input={"said": ["one"]})
    before = server.history(thread_id)
    first = server.client.runs.create(thread_id, "slow", input={"said": ["hang"]})
    until(lambda: server.client.threads.get_state(thread_id)["next"] == ["wait"], "in the node that hangs")
    assert len(server.history(thread_id)) == len(before) + 3
    values = server.run(thread_id, "slow", input={"said": ["two"]}, multitask_strategy="rollback")
    assert values["said"] == ["one", "began one", "ended", "two", "began two", "ended"]
    history = server.history(thread_id)
    assert history[4:] == before
    assert history == server.recorded(thread_id)
    assert _of_run(server, first["run_id"]) == []
    assert first["run_id"] not in [run["run_id"] for run in server.client.runs.list(thread_id)]


def test_deleting_a_run_removes_its_checkpoints_only(server: AgentServer) -> None:
    thread_id = server.new_thread()
    server.run(thread_id, "slow", input={"said": ["one"]})
    first = server.client.runs.list(thread_id)[0]["run_id"]
    before = server.history(thread_id)
    server.run(thread_id, "slow", input={"said": ["two"]})
    after = server.history(thread_id)
    server.client.runs.delete(thread_id, first)
    assert server.history(thread_id) == after[: -len(before)] == server.recorded(thread_id)
    assert _of_run(server, first) == []
    assert server.said(thread_id) == ["one", "began one", "ended", "two", "began two", "ended"]


def test_a_delta_channel_is_rebuilt_from_the_log(server: AgentServer) -> None:
    thread_id = server.new_thread()
    server.run(thread_id, "notes", input={"notes": ["one"]})
    values = server.run(thread_id, "notes", input={"notes": ["two"]})
    assert values["notes"] == ["one", "noted one", "two", "noted two"]
    assert server.client.threads.get_state(thread_id)["values"] == values


def test_a_delta_channel_outlives_the_run_that_wrote_to_it(server: AgentServer) -> None:
    thread_id = server.new_thread()
    server.run(thread_id, "notes", input={"notes": ["one"]})
    first = server.client.runs.list(thread_id)[0]["run_id"]
    removed = server.history(thread_id)
    then = server.client.threads.get_state(thread_id)["values"]
    values = server.run(thread_id, "notes", input={"notes": ["two"]})
    server.client.runs.delete(thread_id, first)
    assert server.client.threads.get_state(thread_id)["values"] == values
    assert removed[0] not in server.history(thread_id)
    # Kept for those who walk from parent to parent, as the server does: to be had by its id, and nowhere else.
    assert server.client.threads.get_state(thread_id, checkpoint_id=removed[0])["values"] == then
    assert server.run(thread_id, "notes", input={"notes": ["three"]})["notes"] == [
        *values["notes"],
        "three",
        "noted three",
    ]


def test_a_delta_channel_outlives_pruning_to_the_latest(server: AgentServer) -> None:
    thread_id = server.new_thread()
    values = server.run(thread_id, "notes", input={"notes": ["one"]})
    with server.open_log() as saver:
        saver.prune([thread_id], strategy="keep_latest")
    assert len(server.history(thread_id)) == 1
    assert server.client.threads.get_state(thread_id)["values"] == values


def _config(thread_id: str) -> Any:
    return {"configurable": {"thread_id": thread_id}}


def _of_run(server: AgentServer, run_id: str) -> list[Any]:
    with server.open_log() as saver:
        return list(saver.list(None, filter={"run_id": run_id}))
