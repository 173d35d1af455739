"""Whose a checkpoint is: what its metadata says of its own thread, in copies and under new names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import apsw

from ...eventlog.log import EventLog
from ...eventlog.opened import OpenedRecord
from ...eventlog.rewriting import metadata_of
from ...projections.builtin import metadata_in_copy
from .places import Made, Places

__all__ = ["Belonging"]


class Belonging:
    """Gives metadata as a thread has it in the new log, and the events that copies can name so that it is that.

    Args:
        source: the log that the threads are from.
        connection: to it, in a transaction that lasts as long as this is used.
        places: where things stand now.
        names: what the threads are to be called.

    Attributes:
        renamed: whether any of them gets another id.
    """

    def __init__(self, source: EventLog, connection: apsw.Connection, places: Places, names: Mapping[str, str]) -> None:
        self._log, self._connection, self._places, self._names = source, connection, places, names
        self._open = source.reader.opener(connection)
        self.renamed = any(old != new for old, new in names.items())

    def change(self, owner: str, thread_id: str) -> Callable[[bytes], bytes]:
        """Give what makes of metadata in a record of one thread that which it is in another, under its new name."""

        def change(metadata: bytes) -> bytes:
            shown = metadata_in_copy(metadata, owner, thread_id)
            new = self._names[thread_id]
            return shown if new == thread_id else metadata_in_copy(shown, thread_id, new)

        return change

    def copied(self, thread_id: str, position: int) -> int | None:
        """Give the event that a copy can name for one, so that its metadata is what it was; None if there is none."""
        same = self._places.same(position)
        if same is not None and not self.renamed:
            return same
        opened = self._open(position)
        owner = self.owner(opened)
        if opened is None or owner is None:
            return None
        metadata = metadata_of(opened.kind, opened.array)
        wanted = self.change(owner, thread_id)(metadata)
        found = [] if same is None else [Made(same, owner)]
        for made in (*found, *self._places.made(position)):
            there = self.change(owner, made.thread_id)(metadata)
            if metadata_in_copy(there, self._names[made.thread_id], self._names[thread_id]) == wanted:
                return made.position
        return None

    def owner(self, opened: OpenedRecord | None) -> str | None:
        """Give the thread whose a record is."""
        if opened is None or opened.stream is None:
            return None
        address = self._log.keys.address(self._connection, opened.stream)
        return None if address is None else address[0]
