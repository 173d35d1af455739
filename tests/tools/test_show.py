"""`show`: the state of a checkpoint, however it is named, and nothing run or hidden that a log holds."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from langgraph_eventlog.eventlog.errors import ConfigError
from langgraph_eventlog.projections.history import CheckpointRow
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.looking.naming import find_checkpoint, short_ids, thread_ids
from langgraph_eventlog.tools.looking.states import load_state

from .conftest import delete_and_compact, prune_and_compact

CONFIG: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


def put(saver: EventLogSaver, values: dict[str, Any], *, thread_id: str = "t", **checkpoint: Any) -> Any:
    config: Any = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
    return saver.put(config, {**empty_checkpoint(), "channel_values": values, **checkpoint}, {"step": 0}, {})


def meant(saver: EventLogSaver, thread_id: str, name: str | None = None) -> CheckpointRow:
    with saver.log.database.reading() as connection:
        return find_checkpoint(saver, connection, thread_id, name)


def test_the_command_shows_state_interrupt_and_what_is_next(run: Any, shop: Path) -> None:
    shown = run("show", shop, "order-2").stdout
    assert "(latest)" in shown
    assert "\nnext       refund\n" in shown
    assert "interrupt of refund" in shown
    assert "waits for an answer" in shown
    assert 'calls price({"item": "desk"})' in shown
    assert '"quote 2": 250' in shown
    assert "branch:to:" not in shown
    assert "branch:to:refund" in run("show", shop, "order-2", "--full").stdout


def test_the_document_holds_what_the_saver_gives(json_of: Any, shop: Path) -> None:
    document = json_of("show", shop, "order-2")
    with EventLogSaver(shop, read_only=True) as saver:
        found = saver.get_tuple({"configurable": {"thread_id": "order-2"}})
    assert found is not None
    values = found.checkpoint["channel_values"]
    assert document["checkpoint_id"] == found.checkpoint["id"]
    assert document["is_latest"] is True
    assert document["values"]["ledger"] == values["ledger"]
    assert [m["content"] for m in document["values"]["messages"]] == [m.content for m in values["messages"]]
    assert document["versions"] == found.checkpoint["channel_versions"]
    assert document["metadata"] == found.metadata
    [asked] = document["interrupts"]
    assert (asked["node"], asked["value"], asked["answers"]) == ("refund", {"approve": 250}, [])
    assert document["pending"] == []
    assert [one["node"] for one in document["next"]] == ["refund"]


def test_a_checkpoint_is_named_by_its_step_its_id_or_a_part_of_it(shop: Path) -> None:
    with EventLogSaver(shop, read_only=True) as saver:
        row = meant(saver, "order-1", "3")
        for name in (row.checkpoint_id, row.checkpoint_id[-8:], row.checkpoint_id[4:20]):
            assert meant(saver, "order-1", name) == row
        assert meant(saver, "order-1", "-1").parent_id is None
        assert meant(saver, "order-1") == meant(saver, "order-1", "10")
        for name in ("11", row.checkpoint_id[-3:], row.checkpoint_id + "0", "", row.checkpoint_id[:4], "latest"):
            with pytest.raises(ConfigError):
                meant(saver, "order-1", name)


def test_a_step_or_part_of_several_is_refused_with_their_ids(make_saver: Any) -> None:
    saver = make_saver(":memory:")
    ids = [f"1f0a1b2c-0000-6000-8000-00000000000{n}" for n in range(3)]
    for one in ids:
        put(saver, {}, id=one)
    for name in ("0", "1f0a1b2c"):
        with pytest.raises(ConfigError) as raised:
            meant(saver, "t", name)
        assert all(one in str(raised.value) for one in ids)


def test_an_id_that_looks_like_a_step_is_that_checkpoint(make_saver: Any) -> None:
    saver = make_saver(":memory:")
    put(saver, {"c": "by id"}, id="0")
    put(saver, {"c": "by step"}, id="abcd")
    assert meant(saver, "t", "0").checkpoint_id == "0"


def test_of_a_hidden_and_a_visible_checkpoint_the_visible_one_is_meant(shop: Path) -> None:
    with EventLogSaver(shop) as saver:
        hidden = meant(saver, "notes", "21")
        saver.prune(["notes"])
        assert meant(saver, "notes", "21").hidden
        assert meant(saver, "notes", hidden.checkpoint_id).hidden
        assert load_state(saver, "notes", "21").facts.hidden
        shared = hidden.checkpoint_id[:8]
        assert not meant(saver, "notes", shared).hidden


@pytest.mark.parametrize("change", [prune_and_compact, delete_and_compact])
@pytest.mark.parametrize(("thread_id", "step"), [("order-3", None), ("notes", None), ("notes", "19")])
def test_a_state_is_that_of_one_moment_whatever_is_removed_and_erased_meanwhile(
    interleaved: Any, thread_id: str, step: str | None, change: Any
) -> None:
    quiet, *found = interleaved(
        lambda saver: load_state(saver, thread_id, step), lambda saver: change(saver, thread_id)
    )
    assert quiet.facts.damage is None
    how = {name: delta.how for name, delta in quiet.deltas.items()}
    assert how == ({"notes": "appended"} if thread_id == "notes" else {})
    assert found
    for state in found:
        if change is delete_and_compact and isinstance(state, ConfigError):
            assert "there is no thread" in str(state)
            continue
        if step is not None and isinstance(state, ConfigError):
            assert "has no checkpoint" in str(state)
            continue
        assert state.facts.damage is None
        assert (state.values, state.deltas) == (quiet.values, quiet.deltas)
        assert (state.metadata, state.pending, state.is_latest) == (quiet.metadata, quiet.pending, quiet.is_latest)


def test_what_is_not_there_is_an_error_of_usage(run: Any, shop: Path) -> None:
    assert "of the steps -1 to 10" in run("show", shop, "order-1", "77", code=2).stderr
    assert "'ledger'" in run("show", shop, "order-1", "--channel", "nothing", code=2).stderr
    assert "holds no messages" in run("show", shop, "order-1", "--messages", "--channel", "item", code=2).stderr


def test_delta_channels_have_the_value_that_the_graph_gives_them(json_of: Any, run: Any, shop: Path) -> None:
    expected = [note for n in range(8) for note in (f"remember {n}", f"note {2 * n + 1}")]
    document = json_of("show", shop, "notes")
    assert document["values"] == {"notes": expected}
    assert document["deltas"]["notes"]["how"] == "appended"
    assert document["deltas"]["notes"]["snapshot"] == expected[:15]
    assert json_of("show", shop, "notes", "21", "--channel", "notes")["deltas"]["notes"]["how"] == "snapshot"
    assert "a delta channel" in run("show", shop, "notes").stdout


def test_the_conversation_alone_can_be_read(run: Any, json_of: Any, shop: Path) -> None:
    said = json_of("show", shop, "order-1", "--messages")["messages"]
    assert [one["role"] for one in said] == ["human", "ai", "tool", "ai"] * 2
    assert said[1]["calls"][0]["name"] == "price"
    assert said[2]["answers"] == said[1]["calls"][0]["id"]
    lines = run("show", shop, "order-1", "--messages").stdout.splitlines()
    assert lines[0] == "human    how much is it?"
    assert lines[-1] == "ai       The lamp costs 40 euros."


def test_answers_to_interrupts_and_errors_of_tasks_are_shown(make_saver: Any) -> None:
    saver = make_saver(":memory:")

    class State(TypedDict):
        name: str

    def ask(state: State) -> dict[str, Any]:
        first = interrupt("first name?")
        return {"name": f"{first} {interrupt('last name?')}"}

    def fail(state: State) -> dict[str, Any]:
        raise RuntimeError("no luck")

    builder = StateGraph(State).add_node("ask", ask).add_node("fail", fail)
    builder.add_edge(START, "ask").add_edge("ask", "fail").add_edge("fail", END)
    graph = builder.compile(checkpointer=saver)
    graph.invoke({"name": ""}, CONFIG)
    graph.invoke(Command(resume="Ada"), CONFIG)
    [asked] = load_state(saver, "t").interrupts
    assert (asked.node, asked.value, asked.answers) == ("ask", "last name?", ("Ada",))
    with pytest.raises(RuntimeError):
        graph.invoke(Command(resume="Lovelace"), CONFIG)
    state = load_state(saver, "t")
    assert state.values["name"] == "Ada Lovelace"
    assert ["no luck" in str(error) for error in state.errors.values()] == [True]
    assert [one.node for one in state.next] == ["fail"]
    assert state.pending == ()


def test_a_value_that_could_run_code_is_shown_as_not_decoded(
    run: Any, json_of: Any, make_saver: Any, tmp_path: Path
) -> None:
    marker = tmp_path / "was run"

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    class Pickling(JsonPlusSerializer):
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            return ("pickle", pickle.dumps(Evil())) if obj == "evil" else super().dumps_typed(obj)

    saver = make_saver(serde=Pickling())
    put(saver, {"bad": "evil", "good": "fine"})
    document = json_of("show", saver.path, "t")
    assert document["values"]["good"] == "fine"
    assert document["values"]["bad"]["undecoded"] == "pickle"
    assert "fine" in run("show", saver.path, "t").stdout
    assert not marker.exists()


def test_text_from_a_log_does_nothing_to_a_terminal(run: Any, make_saver: Any) -> None:
    saver = make_saver()
    hostile = "\x1b]0;title\x07\x1b[2J[bold]\u202e"
    put(
        saver,
        {"c\x1b[2J\nfake": hostile, "m": [{"role": "user\x1b[2J", "content": hostile}]},
        thread_id="t\x1b[2J\nfake",
    )
    saver.register_thread("t\x1b[2J\nfake", name=hostile)
    for verb in (
        ["threads"],
        ["history", "t\x1b[2J\nfake"],
        ["show", "t\x1b[2J\nfake"],
        ["diff", "t\x1b[2J\nfake"],
        ["stats"],
    ):
        shown = run(verb[0], saver.path, *verb[1:]).stdout
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "\nfake" not in shown


def test_thread_ids_are_found_by_their_beginning(shop: Path) -> None:
    with EventLogSaver(shop, read_only=True) as saver:
        assert thread_ids(saver, "order") == ["order-1", "order-2", "order-3", "order-3-again"]
        assert thread_ids(saver, "order-3-") == ["order-3-again"]
        assert thread_ids(saver, "gone") == []  # deleted
        assert thread_ids(saver, "", limit=2) == ["long", "notes"]


def test_ids_are_shortened_as_far_as_they_differ() -> None:
    ids = ["1f0a1b2c-3d4e-6000-8000-0", "1f0a1b2c-3d4f-6000-8000-0"]
    assert list(short_ids(ids).values()) == ["1f0a1b2c-3d4e", "1f0a1b2c-3d4f"]
    assert short_ids(["same" * 9 + "1", "same" * 9 + "2"]) == {f"{'same' * 9}{n}": f"{'same' * 9}{n}" for n in (1, 2)}
    assert short_ids([]) == {}


@pytest.mark.parametrize("key", ["", "another key 1234"])
@pytest.mark.parametrize("verb", [("show",), ("diff",), ("audit", "--at", "2")])
def test_fields_encrypted_by_langgraph_name_the_key_that_is_missing(
    run: Any, make_saver: Any, tmp_path: Path, verb: tuple[str, ...], key: str
) -> None:
    serde = EncryptedSerializer.from_pycryptodome_aes(key=b"0123456789abcdef")
    saver = make_saver(tmp_path / "encrypted.db", serde=serde)
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    for n in range(2):  # pending_sends: of LangGraph's older versions
        checkpoint = {**empty_checkpoint(), "id": f"{n}", "channel_values": {"x": n}, "pending_sends": []}
        config = saver.put(config, {**checkpoint, "channel_versions": {"x": n + 1}}, {"step": n}, {"x": n + 1})
    name, *rest = verb
    told = run(name, saver.path, "t", *rest, code=3, LANGGRAPH_AES_KEY=key).stderr
    assert "LANGGRAPH_AES_KEY" in told
    assert "Undecoded" not in told
    run(name, saver.path, "t", *rest, LANGGRAPH_AES_KEY="0123456789abcdef")
