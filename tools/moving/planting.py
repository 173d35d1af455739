"""Appending what a transplant gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import apsw

from ...eventlog.appender import prepare
from ...eventlog.event import Carry, NewEvent
from ...saver import EventLogSaver
from .choosing import facts_of
from .transplanting import Moved

__all__ = ["Progress", "append_moved", "append_times", "times_of"]

# Called with how many events have been read, and how many there are at most.
Progress = Callable[[int, int], None]
_MAX_FACTS = 10_000


def append_moved(target: EventLogSaver, connection: apsw.Connection, moved: Iterable[Moved]) -> None:
    """Append events in the transaction at hand."""
    for prepared, recorded_at in moved:
        target.log.append_within(connection, prepared, recorded_at=recorded_at)


def times_of(
    source: EventLogSaver, connection: apsw.Connection, names: Mapping[str, str]
) -> dict[str, tuple[int, int]]:
    """Give when threads began and were last active, by their new names; those that are not there are left out."""
    times = {new: facts_of(source, connection, old) for old, new in names.items()}
    return {new: facts for new, facts in times.items() if facts is not None}


def append_times(target: EventLogSaver, connection: apsw.Connection, times: Mapping[str, tuple[int, int]]) -> None:
    """Carry what the events do not say any more of when threads began and were last active: some have been erased."""
    facts = [
        [thread_id, *wanted]
        for thread_id, wanted in times.items()
        if target.log.keys.find_thread(connection, thread_id) is not None
        and facts_of(target, connection, thread_id) != wanted
    ]
    for first in range(0, len(facts), _MAX_FACTS):
        carry = Carry("threads", facts[first : first + _MAX_FACTS])
        target.log.append_within(connection, prepare(NewEvent(carry)))
