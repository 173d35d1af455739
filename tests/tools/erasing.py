"""Threads that are deleted and erased by somebody else while a log is read, at a moment that a test says."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from langgraph_eventlog.eventlog.database import Database
from langgraph_eventlog.saver import EventLogSaver

__all__ = ["erasing_before"]


def erasing_before(
    monkeypatch: pytest.MonkeyPatch, saver: EventLogSaver, number: int, *threads: str, prune: bool = False
) -> list[str]:
    """Delete, or prune, and erase threads before the saver's read transaction of that number, from now on.

    Give what will hold their names when it is done.
    """
    reading, numbers = Database.reading, itertools.count(1)
    erased: list[str] = []

    def counted(database: Database) -> Any:
        if database is saver.log.database and next(numbers) == number:
            with EventLogSaver(saver.path, erase_deleted=False) as other:
                if prune:
                    other.prune(threads)
                else:
                    for thread in threads:
                        other.delete_thread(thread)
                other.compact()
            erased.extend(threads)
        return reading(database)

    monkeypatch.setattr(Database, "reading", counted)
    return erased
