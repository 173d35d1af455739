"""Which threads of a log are moved, and what they are to be called."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import apsw

from ...eventlog.errors import ConfigError, ThreadExistsError
from ...eventlog.event import Kind
from ...eventlog.sql import one_row
from ...saver import EventLogSaver

__all__ = ["check_free", "choose", "facts_of", "has_gone_on", "names_of", "renames", "wanted_metadata"]

_SINCE = f"""
SELECT 1 FROM event WHERE position > ? AND stream IN (SELECT stream FROM stream WHERE thread = ?)
  AND kind NOT IN ({Kind.RESTATE:d}, {Kind.RESTATE_WRITES:d}) LIMIT 1"""


def choose(
    saver: EventLogSaver, thread_ids: Collection[str] | None = None, *, where: Mapping[str, Any] | None = None
) -> list[str]:
    """Give the ids of threads: those that are named, and those whose registered metadata has all of `where`.

    Without either, all that are listed. One that was deleted can be named, and is not there otherwise.

    Raises:
        ConfigError: one that is named has never been there.
    """
    chosen = dict.fromkeys(thread_ids or ())
    with saver.log.database.reading() as connection:
        for thread_id in chosen:
            if saver.log.keys.find_thread(connection, thread_id) is None:
                raise ConfigError(f"there is no thread {thread_id!r} in {saver.path}")
    if where is not None or thread_ids is None:
        chosen |= dict.fromkeys(info.thread_id for info in saver.threads(metadata=where))
    return list(chosen)


def names_of(thread_ids: Collection[str], rename: Mapping[str, str] | None) -> dict[str, str]:
    """Give what each thread is to be called.

    Raises:
        ConfigError: a name is given to a thread that is not moved, or to two.
    """
    rename = rename or {}
    for old in rename:
        if old not in thread_ids:
            raise ConfigError(f"thread {old!r} is to be renamed, but is not among those that are moved")
    names = {old: rename.get(old, old) for old in thread_ids}
    seen: dict[str, str] = {}
    for old, new in names.items():
        if (other := seen.setdefault(new, old)) != old:
            raise ConfigError(f"threads {other!r} and {old!r} cannot both be called {new!r}")
    return names


def check_free(saver: EventLogSaver, connection: apsw.Connection, thread_ids: Collection[str]) -> None:
    """Check that a log has no threads of these ids: one that was deleted is not there.

    Raises:
        ThreadExistsError: it has one.
    """
    for thread_id in thread_ids:
        if facts_of(saver, connection, thread_id) is not None:
            raise ThreadExistsError(thread_id)


def facts_of(saver: EventLogSaver, connection: apsw.Connection, thread_id: str) -> tuple[int, int] | None:
    """Give when a thread began and was last active; None if it is not there."""
    thread = saver.log.keys.find_thread(connection, thread_id)
    row = None if thread is None else saver._core.views.threads.one(connection, thread)
    return None if row is None else (row.created_at, row.last_activity)


def has_gone_on(connection: apsw.Connection, thread: int | None, since: int) -> bool:
    """Tell whether anything has happened in a thread after a position; what compaction has stored anew is no news."""
    return one_row(connection, _SINCE, (since, thread)) is not None


def wanted_metadata(given: Sequence[str] | None) -> dict[str, Any] | None:
    """Read KEY=VALUE, as `threads` takes it; a value is JSON, or else text.

    Raises:
        ConfigError: one has no "=".
    """
    wanted: dict[str, Any] = {}
    for entry in given or ():
        key, is_there, value = entry.partition("=")
        if not is_there:
            raise ConfigError(f"metadata is named as KEY=VALUE, not {entry!r}")
        try:
            wanted[key] = json.loads(value)
        except ValueError:
            wanted[key] = value
    return wanted or None


def renames(given: Sequence[str] | None, thread_ids: Collection[str]) -> dict[str, str]:
    """Read OLD=NEW. An id may have a "=" in it: OLD is one of those given.

    Raises:
        ConfigError: none of them is.
    """
    found: dict[str, str] = {}
    for entry in given or ():
        ends = [i for i, character in enumerate(entry) if character == "=" and entry[:i] in thread_ids]
        if not ends:
            raise ConfigError(f"a thread that is moved gets another id with OLD=NEW, not {entry!r}")
        found[entry[: ends[0]]] = entry[ends[0] + 1 :]
    return found
