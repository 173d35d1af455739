"""The agent: a graph of a model and its tools, as one writes it for LangGraph with any checkpointer."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from .documentation import TOOLS
from .script import ScriptedModel

__all__ = ["AgentState", "build_agent"]


class AgentState(TypedDict):
    """The state: the messages, and the names of the topics that were read, repetitions included.

    `consulted` only grows, by plain addition: a step that was done twice would show.
    """

    messages: Annotated[list[AnyMessage], add_messages]
    consulted: Annotated[list[str], operator.add]


def build_agent(saver: BaseCheckpointSaver[Any]) -> CompiledStateGraph[AgentState, None, AgentState, AgentState]:
    """Compile the agent with a checkpointer."""
    model = ScriptedModel()

    def agent(state: AgentState) -> dict[str, Any]:
        reply = model.invoke(state["messages"])
        assert isinstance(reply, AIMessage)
        read = [call["args"]["name"] for call in reply.tool_calls if call["name"] == "read_topic"]
        return {"messages": [reply], "consulted": read} if read else {"messages": [reply]}

    builder = StateGraph(AgentState)
    builder.add_node("agent", agent)
    builder.add_node("tools", ToolNode(TOOLS, wrap_tool_call=_with_id))
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    return builder.compile(checkpointer=saver)


def _with_id(
    request: ToolCallRequest, execute: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
) -> ToolMessage | Command[Any]:
    """Name the tool's message after its call: otherwise it gets a random id, and no two runs could be compared."""
    result = execute(request)
    if isinstance(result, ToolMessage):
        result.id = f"{request.tool_call['id']}.result"
    return result
