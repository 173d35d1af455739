"""What is redacted is nowhere in the export, in whatever form it is shown."""

import operator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph.store.base import Item
from langgraph.types import Send
from langgraph_eventlog.saver import EventLogSaver

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class State(TypedDict):
    secret: dict[str, Any]
    other: Annotated[list[str], operator.add]
    basket: dict[str, Any]
    item: Any


def begin(state: State) -> dict[str, Any]:
    return {
        "secret": {f"leak-key-{n}@mail": "leak-value " * 20 for n in range(40)},
        "basket": {"items": [[{"ssn": "leak-in-items"}, 2], [{"ssn": "leak-in-items-too"}, 1]]},
        "item": Item(value={"ssn": "leak-in-item"}, key="k", namespace=("n",), created_at=NOW, updated_at=NOW),
    }


def shorten(state: State) -> dict[str, Any]:
    return {"secret": dict(list(state["secret"].items())[3:])}


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    graph = StateGraph(State)
    graph.add_node("begin", begin)
    graph.add_node("shorten", shorten)
    graph.add_node("end", lambda state: {"other": ["done"]})
    graph.add_edge(START, "begin")
    graph.add_edge("begin", "shorten")
    sent = [Send("end", {"secret": {"x": "leak-that-was-sent"}, "ssn": "leak-that-was-sent-too"})]
    graph.add_conditional_edges("shorten", lambda _: sent, ["end"])
    path = tmp_path / "leaky.db"
    with EventLogSaver(path, erase_deleted=False) as saver:
        saver.register_thread("t", metadata={"ssn": "leak-in-metadata"})
        compiled = graph.compile(checkpointer=saver)
        compiled.invoke({"secret": {"i": "leak-in-the-input"}, "other": []}, {"configurable": {"thread_id": "t"}})  # type: ignore[typeddict-item]
    return path


@pytest.mark.parametrize("how", [[], ["--checkpoints"]], ids=["events", "checkpoints"])
def test_what_is_redacted_is_nowhere_in_whatever_form_it_is_shown(run: Any, leaky: Path, how: list[str]) -> None:
    whole = run("export", leaky, "-", "--jsonl", *how).stdout
    assert "leak-value" in whole
    assert "leak-that-was-sent" in whole
    shown = run("export", leaky, "-", "--jsonl", *how, "--redact", "channel:secret", "--redact", "key:ssn").stdout
    assert "leak" not in shown.replace("leaky.db", "")
    assert "done" in shown
