"""Putting chats one after the other, without an end, while something else is done to the log."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

from langgraph_eventlog.saver import EventLogSaver
from material import Thread, chat, thread_config

__all__ = ["put_until"]

_STEPS = 60


def put_until(saver: EventLogSaver, stop: threading.Event, begun: Callable[[], None]) -> list[tuple[float, float]]:
    """Put chats as LangGraph does, until told to stop; give when each put began, and how many seconds it took.

    The clock is `time.perf_counter`, which the processes of a machine have in common. The first chat is not counted;
    `begun` is called after it.
    """
    took: list[tuple[float, float]] = []
    for n in itertools.count():
        thread = Thread(17, n)
        config: Any = thread_config(thread.thread_id)
        for count, step in enumerate(chat(thread, _STEPS)):
            if stop.is_set() and n:
                return took
            if count:
                saver.put_writes(config, step.writes, step.task_id)
            began = time.perf_counter()
            config = saver.put(config, step.checkpoint, step.metadata, step.new_versions)
            if n:
                took.append((began, time.perf_counter() - began))
        if n == 0:
            begun()
    raise AssertionError
