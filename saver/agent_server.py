"""A ready-made checkpointer for LangGraph's Agent Server (`langgraph dev`).

In langgraph.json:

    "checkpointer": {"path": "langgraph_eventlog.saver.agent_server.checkpointer"}

This dotted form, without a colon, is how the server finds what is installed; images get it as it is. `langgraph build`
from a uv.lock takes only a form with a colon, which to the server is a file: {"path": "./persistence.py:checkpointer"},
where the file says

    from langgraph_eventlog.saver.agent_server import checkpointer

The log's file is named by the environment variable LANGGRAPH_EVENTLOG_PATH, and is `langgraph-eventlog.db` in the
server's folder without it; LANGGRAPH_EVENTLOG_SYNCHRONOUS may be FULL (the default) or NORMAL;
LANGGRAPH_EVENTLOG_KEY is the passphrase of an encrypted one.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, cast

from ..eventlog.aio import run
from .saver import EventLogSaver

__all__ = ["DEFAULT_PATH", "KEY_VARIABLE", "PATH_VARIABLE", "SYNCHRONOUS_VARIABLE", "checkpointer"]

PATH_VARIABLE = "LANGGRAPH_EVENTLOG_PATH"
SYNCHRONOUS_VARIABLE = "LANGGRAPH_EVENTLOG_SYNCHRONOUS"
KEY_VARIABLE = "LANGGRAPH_EVENTLOG_KEY"
DEFAULT_PATH = "langgraph-eventlog.db"


@asynccontextmanager
async def checkpointer() -> AsyncIterator[EventLogSaver]:
    """Open the saver for the server's life; the server enters this once for each of its event loops.

    Raises:
        LogOpenError: and its kinds; ConfigError: an environment variable is not usable.
    """
    path = os.environ.get(PATH_VARIABLE) or DEFAULT_PATH
    synchronous = cast('Literal["FULL", "NORMAL"]', os.environ.get(SYNCHRONOUS_VARIABLE) or "FULL")
    # Opening reads and may write: not on the event loop, which the server watches for that.
    key = os.environ.get(KEY_VARIABLE) or None
    saver = await run(lambda: EventLogSaver(path, synchronous=synchronous, key=key))
    try:
        yield saver
    finally:
        await saver.aclose()
