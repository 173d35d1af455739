"""A ready-made checkpointer for LangGraph's Agent Server (`langgraph dev`). In langgraph.json:

    "checkpointer": {"path": "langgraph_eventlog.saver.agent_server.checkpointer"}

This dotted form, without a colon, is the one that both the server loads from an installed package and `langgraph build` leaves as it is.
The form with a colon is for files: {"path": "./persistence.py:checkpointer"}, in a project that wants options of its own.

The file is named by the environment variable LANGGRAPH_EVENTLOG_PATH, and is `langgraph-eventlog.db` in the server's folder without it;
LANGGRAPH_EVENTLOG_SYNCHRONOUS may be FULL (the default) or NORMAL.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple

from ..eventlog.aio import run
from .config import Address
from .decoding import build
from .saver import EventLogSaver

__all__ = ["DEFAULT_PATH", "PATH_VARIABLE", "SYNCHRONOUS_VARIABLE", "AgentServerEventLogSaver", "checkpointer"]

PATH_VARIABLE = "LANGGRAPH_EVENTLOG_PATH"
SYNCHRONOUS_VARIABLE = "LANGGRAPH_EVENTLOG_SYNCHRONOUS"
DEFAULT_PATH = "langgraph-eventlog.db"


class _ParentId(str):
    """A parent's id, in a config that was handed out: equal to the plain one. It does not outlive a trip over the network."""

    __slots__ = ()


class AgentServerEventLogSaver(EventLogSaver):
    """An EventLogSaver that keeps its promises behind the adapter that the server puts around a checkpointer."""

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Give what EventLogSaver gives, and checkpoints out of sight to those who come by a parent_config.

        The adapter does not pass `get_delta_channel_history` on: LangGraph's general one follows parent_config from get_tuple to
        get_tuple, and would lose the delta channels of threads of which a run was deleted, or which were pruned. A client's configs
        come as JSON, so that clients do not see what was removed.
        """
        found = super().get_tuple(config) or self._out_of_sight(config)
        if found is None or found.parent_config is None:
            return found
        configurable = found.parent_config["configurable"]
        parent = {**configurable, "checkpoint_id": _ParentId(configurable["checkpoint_id"])}
        return found._replace(parent_config={"configurable": parent})

    def _out_of_sight(self, config: RunnableConfig) -> CheckpointTuple | None:
        if not isinstance(config["configurable"].get("checkpoint_id"), _ParentId):
            return None
        address = Address.of(config)
        with self.log.database.reading() as connection:
            row = self._find(connection, address)
            gathered = None if row is None else self._gatherer(connection).gather(row)
        return None if gathered is None else build(self.serde, gathered, address.given_thread_id, address.namespace)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Prune; the server's word for "delete" is "delete_all"."""
        super().prune(thread_ids, strategy="delete" if strategy == "delete_all" else strategy)


@asynccontextmanager
async def checkpointer() -> AsyncIterator[AgentServerEventLogSaver]:
    """Open the saver for the server's life; the server enters this once for each of its event loops.

    Raises:
        LogOpenError: and its kinds; ConfigError: an environment variable is not usable.
    """
    path = os.environ.get(PATH_VARIABLE) or DEFAULT_PATH
    synchronous = cast('Literal["FULL", "NORMAL"]', os.environ.get(SYNCHRONOUS_VARIABLE) or "FULL")
    # Opening reads and may write: not on the event loop, which the server watches for that.
    saver = await run(lambda: AgentServerEventLogSaver(path, synchronous=synchronous))
    try:
        yield saver
    finally:
        await saver.aclose()
