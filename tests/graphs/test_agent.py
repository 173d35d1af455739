"""A tool-calling agent whose process ends in the middle of a turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent, tools_condition
from langgraph.types import Command, interrupt
from langgraph_eventlog.saver import EventLogSaver

pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved")

ran: list[str] = []


@tool
def look_up(city: str) -> str:
    """Look up the weather."""
    ran.append(f"look_up {city}")
    return f"{city}: 21 degrees"


@tool
def book(city: str) -> str:
    """Book a trip, which a person has to approve."""
    answer = interrupt({"approve": city})
    ran.append(f"book {city} {answer}")
    return f"booked {city}" if answer == "yes" else f"not booked: {answer}"


class ScriptedModel(BaseChatModel):
    """Answers by what the last message is, so that a new process goes on where the script was."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> ScriptedModel:
        return self

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        last = messages[-1]
        place = f"ai-{len(messages)}"
        if isinstance(last, HumanMessage):
            calls = [
                {"name": "look_up", "args": {"city": last.content}, "id": f"{place}-1"},
                {"name": "book", "args": {"city": last.content}, "id": f"{place}-2"},
            ]
            message = AIMessage(content="", tool_calls=calls, id=place)
        else:
            said = [m.content for m in messages if isinstance(m, ToolMessage)][-2:]
            message = AIMessage(
                content=" / ".join(map(str, said)),
                id=place,
                usage_metadata={"input_tokens": len(messages), "output_tokens": 1, "total_tokens": len(messages) + 1},
            )
        return ChatResult(generations=[ChatGeneration(message=message)])


def hand_built(saver: Any) -> Any:
    model = ScriptedModel().bind_tools([look_up, book])
    graph = StateGraph(MessagesState)
    graph.add_node("agent", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([look_up, book]))
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", tools_condition)
    graph.add_edge("tools", "agent")
    return graph.compile(checkpointer=saver)


def prebuilt(version: str) -> Callable[[Any], Any]:
    return lambda saver: create_react_agent(ScriptedModel(), [look_up, book], checkpointer=saver, version=version)


AGENTS = {"hand-built": hand_built, "prebuilt v1": prebuilt("v1"), "prebuilt v2": prebuilt("v2")}


@pytest.fixture(params=AGENTS)
def agent(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    ran.clear()
    return AGENTS[request.param]


def asked(city: str) -> dict[str, Any]:
    return {"messages": [HumanMessage(city, id=f"human-{city}")]}


def said(state: dict[str, Any]) -> list[tuple[str, Any, str]]:
    return [(m.type, m.content, m.id if m.type != "tool" else m.tool_call_id) for m in state["messages"]]


CONFIG: Any = {"configurable": {"thread_id": "trip"}}


def test_an_interrupted_tool_call_resumes_in_a_new_process(agent: Any, reopen: Callable[[], EventLogSaver]) -> None:
    stopped = agent(reopen()).invoke(asked("Rome"), CONFIG)
    assert [i.value for i in stopped["__interrupt__"]] == [{"approve": "Rome"}]

    app = agent(reopen())
    waiting = app.get_state(CONFIG)
    assert waiting.next
    assert set(waiting.next) == {"tools"}
    assert [i.value for i in waiting.interrupts] == [{"approve": "Rome"}]

    final = app.invoke(Command(resume="yes"), CONFIG)
    assert final["messages"][-1].content == "Rome: 21 degrees / booked Rome"
    assert ran.count("book Rome yes") == 1
    assert agent(reopen()).get_state(CONFIG).values["messages"] == final["messages"]


def test_each_turn_of_a_conversation_sees_what_the_turns_before_it_said(
    agent: Any, reopen: Callable[[], EventLogSaver]
) -> None:
    memory = agent(InMemorySaver())
    for city, answer in [("Rome", "yes"), ("Oslo", "no"), ("Bonn", "yes"), ("Lima", "later")]:
        for app in (memory, agent(reopen())):
            app.invoke(asked(city), CONFIG)
        expected, found = (app.invoke(Command(resume=answer), CONFIG) for app in (memory, agent(reopen())))
        assert said(found) == said(expected)
        assert [m.model_dump() for m in found["messages"] if m.type == "ai"] == [
            m.model_dump() for m in expected["messages"] if m.type == "ai"
        ]
    assert len(found["messages"]) == 20


@pytest.mark.anyio
async def test_an_interrupted_tool_call_resumes_in_a_new_process_async(
    agent: Any, reopen: Callable[[], EventLogSaver]
) -> None:
    await agent(reopen()).ainvoke(asked("Rome"), CONFIG)
    app = agent(reopen())
    assert [i.value for i in (await app.aget_state(CONFIG)).interrupts] == [{"approve": "Rome"}]
    final = await app.ainvoke(Command(resume="too dear"), CONFIG)
    assert final["messages"][-1].content == "Rome: 21 degrees / not booked: too dear"
    assert (await agent(reopen()).aget_state(CONFIG)).values["messages"] == final["messages"]


def test_tools_of_one_message_that_finished_do_not_run_again_on_resume(reopen: Callable[[], EventLogSaver]) -> None:
    """Each tool call is a task of its own in a v2 agent: a lookup that is paid for is not paid for twice."""
    ran.clear()
    agent = AGENTS["prebuilt v2"]
    agent(reopen()).invoke(asked("Rome"), CONFIG)
    assert ran == ["look_up Rome"]
    saver = reopen()
    saver.prune(["trip"])
    agent(reopen()).invoke(Command(resume="yes"), CONFIG)
    assert ran == ["look_up Rome", "book Rome yes"]


def test_messages_edited_with_update_state_are_what_the_next_turn_sees(
    agent: Any, reopen: Callable[[], EventLogSaver]
) -> None:
    agent(reopen()).invoke(asked("Rome"), CONFIG)
    agent(reopen()).invoke(Command(resume="yes"), CONFIG)
    agent(reopen()).update_state(CONFIG, {"messages": [HumanMessage("Paris", id="human-Rome")]}, as_node="agent")
    state = agent(reopen()).get_state(CONFIG)
    assert [m.content for m in state.values["messages"] if m.type == "human"] == ["Paris"]
    assert len(state.values["messages"]) == 5
