"""TokenUsage: exact totals per thread and run, from what real graphs write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph_eventlog.projections import TokenTotals, TokenUsage
from langgraph_eventlog.saver import EventLogSaver


def usage(input: int, output: int) -> dict[str, int]:
    return {"input_tokens": input, "output_tokens": output, "total_tokens": input + output}


def message(id: str | None, input: int, output: int, content: str = "hi") -> AIMessage:
    return AIMessage(content, id=id, usage_metadata=usage(input, output))  # type: ignore[arg-type]


def chat(saver: EventLogSaver, *answers: AIMessage) -> Any:
    """A graph whose model gives these answers in turn: two calls each time it is invoked."""
    model = GenericFakeChatModel(messages=iter(answers))

    def call(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("draft", call)
    builder.add_node("polish", call)
    builder.add_edge(START, "draft")
    builder.add_edge("draft", "polish")
    builder.add_edge("polish", END)
    return builder.compile(checkpointer=saver)


def run(thread: str, run_id: str) -> Any:
    return {"configurable": {"thread_id": thread}, "metadata": {"run_id": run_id}}


QUESTION = {"messages": [HumanMessage("?")]}


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("is_async", [False, True])
def test_totals_of_a_graph_are_exact(make_saver: Callable[..., EventLogSaver], durability: Any, is_async: bool) -> None:
    """With "exit", LangGraph stores no writes, and there is nothing to be counted."""
    tokens = TokenUsage()
    saver = make_saver(synchronous="NORMAL", projections=[tokens])
    graph = chat(saver, *(message(f"m{n}", 10**n, 2 * 10**n) for n in range(6)))
    for thread, run_id in (("t", "one"), ("t", "two"), ("u", "three")):
        config = run(thread, run_id)
        if is_async:
            asyncio.run(graph.ainvoke(QUESTION, config, durability=durability))
        else:
            graph.invoke(QUESTION, config, durability=durability)
    expected = [
        TokenTotals("t", "one", 2, 11, 22, 33),
        TokenTotals("t", "two", 2, 1_100, 2_200, 3_300),
        TokenTotals("u", "three", 2, 110_000, 220_000, 330_000),
    ]
    if durability == "exit":
        expected = []
    assert tokens.totals() == expected
    assert tokens.totals("t") == expected[:2]
    assert tokens.totals("nobody") == []
    saver.rebuild("token_usage")
    assert tokens.totals() == expected
    saver.close()
    again = TokenUsage()
    make_saver(projections=[again])
    assert again.totals() == expected


def test_a_log_written_without_it_gives_the_same(make_saver: Callable[..., EventLogSaver]) -> None:
    with make_saver() as saver:
        chat(saver, message("a", 1, 2), message("b", 3, 4)).invoke(QUESTION, run("t", "r"))
    tokens = TokenUsage()
    make_saver(projections=[tokens])
    assert tokens.totals() == [TokenTotals("t", "r", 2, 4, 6, 10)]


def test_a_message_that_is_written_again_counts_once_in_its_thread(
    make_saver: Callable[..., EventLogSaver], steps: Any
) -> None:
    """By its id; without one it counts each time. The first write is what counts."""
    tokens = TokenUsage()
    saver = make_saver(":memory:", projections=[tokens])
    steps.put(saver, "1", metadata={"run_id": "r"})
    steps.write(saver, "1", [("messages", [message("a", 1, 1)]), ("copy", message("a", 1, 1))])
    steps.write(saver, "1", [("messages", message("a", 100, 100, "edited"))], task="later")
    steps.put(saver, "2", metadata={"run_id": "s"}, parent="1")
    steps.write(saver, "2", [("messages", [message("a", 1, 1), message("b", 5, 5)])])
    steps.write(saver, "1", [("messages", [message("a", 1, 1)])], thread="u")
    assert tokens.totals() == [
        TokenTotals("t", "r", 1, 1, 1, 2),
        TokenTotals("t", "s", 1, 5, 5, 10),
        TokenTotals("u", "", 1, 1, 1, 2),
    ]
    steps.write(saver, "2", [("messages", [message(None, 1, 0)] * 3)], task="no ids")
    assert tokens.totals("t")[1] == TokenTotals("t", "s", 4, 8, 5, 13)


def test_writes_that_arrive_before_their_checkpoint_count_for_its_run(
    make_saver: Callable[..., EventLogSaver], steps: Any
) -> None:
    """With durability="async" they may; putting the checkpoint again with another run moves them."""
    tokens = TokenUsage()
    saver = make_saver(":memory:", projections=[tokens])
    steps.write(saver, "1", [("messages", message("a", 1, 2))])
    assert tokens.totals() == [TokenTotals("t", "", 1, 1, 2, 3)]
    steps.put(saver, "1", metadata={"run_id": "r"})
    assert tokens.totals() == [TokenTotals("t", "r", 1, 1, 2, 3)]
    steps.put(saver, "1", metadata={"run_id": "s"})
    assert tokens.totals() == [TokenTotals("t", "s", 1, 1, 2, 3)]


def test_usage_is_found_wherever_it_is(make_saver: Callable[..., EventLogSaver], steps: Any) -> None:
    tokens = TokenUsage()
    saver = make_saver(":memory:", projections=[tokens])
    nested = {
        "deep": [{"er": (message("a", 1, 0), {"x": [message("b", 2, 0)]})}],
        "plain": {"id": "c", "usage_metadata": usage(4, 0)},
    }
    steps.write(saver, "1", [("x", nested), ("y", {message("d", 8, 0).id: message("d", 8, 0)})])
    assert tokens.totals() == [TokenTotals("t", "", 4, 15, 0, 15)]


def test_values_that_hold_no_usage_are_passed_over(make_saver: Callable[..., EventLogSaver], steps: Any) -> None:
    """Odd ones as well: nothing in a value makes a put fail."""
    tokens = TokenUsage()
    saver = make_saver(":memory:", projections=[tokens])
    deep: Any = message("too deep", 1, 1)
    for _ in range(100):
        deep = [deep]
    odd = [
        None,
        b"\xc1\xff",
        "text",
        7,
        HumanMessage("?"),
        AIMessage("no usage"),
        {"usage_metadata": "none"},
        {"usage_metadata": 3},
    ]
    steps.write(saver, "1", [("x", value) for value in [*odd, odd, deep, {1: 2, None: 3}]])
    assert tokens.totals() == []
    counts = {"input_tokens": "many", "output_tokens": -5, "total_tokens": 2**60, "more": 1}
    steps.write(saver, "1", [("x", {"id": ["odd"], "usage_metadata": counts})], task="odd counts")
    assert tokens.totals() == [TokenTotals("t", "", 1, 0, 0, 0)]


def test_run_ids_are_text(make_saver: Callable[..., EventLogSaver], steps: Any) -> None:
    tokens = TokenUsage()
    saver = make_saver(":memory:", projections=[tokens])
    for n, run_id in enumerate([7, "lone \ud800"]):
        steps.put(saver, str(n), metadata={"run_id": run_id})
        steps.write(saver, str(n), [("x", message(str(n), 1, 1))])
    assert [total.run_id for total in tokens.totals()] == ["7", "lone ?"]


def test_encrypted_values_need_loads(make_saver: Callable[..., EventLogSaver], tmp_path: Any) -> None:
    serde = EncryptedSerializer.from_pycryptodome_aes(key=b"0123456789abcdef")
    blind, tokens = TokenUsage(), TokenUsage(loads=serde.loads_typed)
    for path, projection in (("blind.db", blind), ("seeing.db", tokens)):
        saver = make_saver(tmp_path / path, serde=serde, projections=[projection])
        chat(saver, message("a", 1, 2), message("b", 3, 4)).invoke(QUESTION, run("t", "r"))
    assert blind.totals() == []
    assert tokens.totals() == [TokenTotals("t", "r", 2, 4, 6, 10)]
    saver.rebuild("token_usage")
    assert tokens.totals() == [TokenTotals("t", "r", 2, 4, 6, 10)]
