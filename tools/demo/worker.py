"""The process that runs the graphs, and that is killed. On its standard output it says what was acknowledged to it.

A line is written after put or put_writes has returned: so whatever has been said must be in the log, whenever the
process dies.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata

from ...saver import EventLogSaver
from .conversation import hold_conversations

__all__ = ["ReportingSaver", "main"]


class ReportingSaver(EventLogSaver):
    """Says on standard output what has been acknowledged, and stops for good after `hold_after` supersteps.

    Stopping is a safety net: on a machine so busy that the parent wakes up late, the kill still comes in the middle.
    """

    hold_after: int | None = None
    _supersteps = 0
    _lock = threading.Lock()

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Put, then say so."""
        result = super().put(config, checkpoint, metadata, new_versions)
        _say("put", result)
        if metadata.get("source") == "loop":
            self._count()
        return result

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Put the writes, then say so."""
        super().put_writes(config, writes, task_id, task_path)
        if writes:
            _say("put_writes", config, task_id)

    def _count(self) -> None:
        with self._lock:  # held while it stops: nobody else gets past
            self._supersteps += 1
            if self.hold_after is not None and self._supersteps >= self.hold_after:
                sys.stdin.read()  # ends only if the parent has gone
                os._exit(1)


def _say(what: str, config: RunnableConfig, *more: str) -> None:
    where = config["configurable"]
    line = json.dumps([what, where["thread_id"], where.get("checkpoint_ns", ""), where["checkpoint_id"], *more])
    os.write(1, f"{line}\n".encode())  # one write, unbuffered: a line is said whole, or not


def main() -> None:
    """Hold the conversations that the arguments name."""
    parser = argparse.ArgumentParser(description="Runs the demo's graphs; started by the demo.")
    parser.add_argument("path")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--questions", type=int, required=True)
    parser.add_argument("--hold-after", type=int)
    arguments = parser.parse_args()
    with ReportingSaver(arguments.path) as saver:
        saver.hold_after = arguments.hold_after
        hold_conversations(saver, threads=arguments.threads, questions=arguments.questions)


if __name__ == "__main__":
    main()
