"""LangGraph's checkpointer over the event log: the only place that knows LangGraph."""

from __future__ import annotations

from ..eventlog.rekeying import rekey
from .compaction.report import CompactionReport
from .compaction.retention import Retention
from .saver import EventLogSaver
from .threads import ThreadInfo
from .verifying import CheckpointFinding

__all__ = ["CheckpointFinding", "CompactionReport", "EventLogSaver", "Retention", "ThreadInfo", "rekey"]
