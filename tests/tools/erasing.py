"""What somebody else does to a log while it is read, deleting and erasing threads: at a moment that a test says."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langgraph_eventlog.eventlog.database import Database
from langgraph_eventlog.saver import EventLogSaver

__all__ = ["changing_before", "erasing_before"]


def changing_before(
    monkeypatch: pytest.MonkeyPatch, saver: EventLogSaver, number: int, change: Callable[[EventLogSaver], object]
) -> Iterator[int]:
    """Have another saver change the log before the saver's read transaction of that number, from now on.

    Give what counts those transactions.
    """
    reading, numbers = Database.reading, itertools.count(1)

    def counted(database: Database) -> Any:
        if database is saver.log.database and next(numbers) == number:
            with EventLogSaver(saver.path, erase_deleted=False) as other:
                change(other)
        return reading(database)

    monkeypatch.setattr(Database, "reading", counted)
    return numbers


def erasing_before(
    monkeypatch: pytest.MonkeyPatch, saver: EventLogSaver, number: int, *threads: str, prune: bool = False
) -> list[str]:
    """Delete, or prune, and erase threads before the saver's read transaction of that number, from now on.

    Give what will hold their names when it is done.
    """
    erased: list[str] = []

    def erase(other: EventLogSaver) -> None:
        if prune:
            other.prune(threads)
        else:
            for thread in threads:
                other.delete_thread(thread)
        other.compact()
        erased.extend(threads)

    changing_before(monkeypatch, saver, number, erase)
    return erased
