"""Listing checkpoints, newest first: page by page, with nothing held between pages."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from functools import total_ordering

import apsw
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol

from ..eventlog.sql import MAX_BYTES_A_PAGE
from ..projections.history import INDEXED, CheckpointRow, Indexed
from ..projections.metadata import IndexKey
from .config import Address
from .core import Core
from .decoder import Given
from .decoding import Gathered, build
from .filters import Matches
from .memory import Memory
from .serialising import load_metadata

__all__ = ["Listing"]

_PAGE = 8
_MAX_PAGE = 64
_FILTERED_PAGE = 16
_MAX_FILTERED_PAGE = 1024
# What one listing keeps of what its checkpoints share, until it ends.
_MEMORY_BYTES = 64 * 1024 * 1024
_SHARED = 64


class Listing:
    """One listing under way.

    Args:
        core: the log and its projections.
        serde: decodes what is found.
        address: the thread, namespace and checkpoint to keep to; None: everything.
        matches: a predicate on metadata; None: everything.
        indexed: what of it an index can be asked for; see `filters.index_keys`.
        below: only ids smaller than this.
    """

    def __init__(
        self,
        core: Core,
        serde: SerializerProtocol,
        address: Address | None,
        *,
        matches: Matches | None,
        indexed: Mapping[str, IndexKey],
        below: str | None,
    ) -> None:
        self._core = core
        self._serde = serde
        self._address = address
        self._matches = matches
        self._indexed = indexed
        self._like: dict[Indexed, IndexKey] = {name: indexed[name] for name in INDEXED if name in indexed}
        self._declared: str | None = None
        self._below = below
        # Where the last page of all threads ended. Streams are 1 and up, so that no row of the id `below` is below it.
        self._cursor = None if below is None else (below, -1)
        self._merge: list[_Candidate] | None = None
        self._done = False

    def take(self, limit: int | None) -> Iterator[CheckpointTuple]:
        """Yield up to `limit` checkpoints; each is decoded when its turn comes."""
        memory, own, given_last = self._core.memory, None, Given()
        given_so_far = 0
        # Who says how many reads on to the end: in as few pages as can be. A filter lets through fewer than are read.
        whole = limit is not None and self._matches is None
        size = _MAX_PAGE if whole else _PAGE if self._matches is None else _FILTERED_PAGE
        left = limit
        while not self._done and (left is None or left > 0):
            if whole and left is not None:
                size = min(size, left)
            # The newest few are looked at again and again: the saver's memory has them. What a longer listing goes
            # through would drive out of it what is needed, so it has its own, which is gone when it is.
            if own is None and (given_so_far >= _SHARED or memory.max_bytes < _MEMORY_BYTES):
                memory = own = Memory(_MEMORY_BYTES)
            decoder = memory.decoder(self._serde, at_once=limit != 1, given=given_last)
            with self._core.log.database.reading() as connection:
                gathered = self._page(connection, size, left, memory)
                streams = {found.row.stream for found in gathered}
                addresses = {stream: self._core.log.keys.address(connection, stream) for stream in streams}
            given_so_far += len(gathered)
            for found in gathered:
                thread_id, checkpoint_ns = addresses[found.row.stream] or ("", "")
                given = thread_id if self._address is None else self._address.given_thread_id
                yield build(decoder, found, given, checkpoint_ns)
                given_last.turn()
                if left is not None:
                    left -= 1
                    if left == 0:
                        return
            size = min(2 * size, _MAX_PAGE if self._matches is None else _MAX_FILTERED_PAGE)

    def _page(self, connection: apsw.Connection, size: int, left: int | None, memory: Memory) -> list[Gathered]:
        rows = self._rows(connection, size)
        if self._matches is not None:
            rows = [row for row in rows if self._matches(load_metadata(self._serde, row.metadata))]
        return self._core.gatherer(connection, memory).gather_page(self._not_too_large(rows[:left]))

    def _not_too_large(self, rows: list[CheckpointRow]) -> list[CheckpointRow]:
        """Leave what would make the page large to the next one, by the sizes of the records."""
        # What is merged looks to that itself; and one id has a checkpoint in each namespace, at most.
        if self._merge is not None or (self._address is not None and self._address.checkpoint_id is not None):
            return rows
        size = 0
        for n, row in enumerate(rows, 1):
            size += row.size
            if size >= MAX_BYTES_A_PAGE and n < len(rows):
                self._cursor, self._below, self._done = (row.checkpoint_id, row.stream), row.checkpoint_id, False
                return rows[:n]
        return rows

    def _rows(self, connection: apsw.Connection, size: int) -> list[CheckpointRow]:
        history, keys = self._core.views.history, self._core.log.keys
        if self._address is None:
            rows = self._rows_of_all(connection, size)
            self._done = len(rows) < size
            self._cursor = (rows[-1].checkpoint_id, rows[-1].stream) if rows else None
            return rows
        if self._address.checkpoint_id is not None:
            return self._rows_of_one_id(connection, self._address, self._address.checkpoint_id)
        if self._address.checkpoint_ns is not None:
            found = keys.find(connection, self._address.thread_id, self._address.checkpoint_ns)
            rows = [] if found is None else history.page_of_stream(connection, found[1], self._below, size, self._like)
            self._done = len(rows) < size
            self._below = rows[-1].checkpoint_id if rows else None
            return rows
        return self._merged(connection, self._address, size)

    def _rows_of_all(self, connection: apsw.Connection, size: int) -> list[CheckpointRow]:
        """Read one index: of the keys that the filter names, the one that tends to let through the fewest."""
        history, index = self._core.views.history, self._core.views.metadata_index
        if "run_id" in self._like:
            return history.page_by(connection, "run_id", self._like["run_id"], self._cursor, size)
        if self._declared is None and self._indexed.keys() - self._like.keys():
            # Asked of the file: other processes declare keys, too. Once declared, they stay.
            complete = [name for name, complete in index.declared(connection).items() if complete]
            self._declared = next((name for name in self._indexed if name in complete), None)
        if self._declared is not None:
            return index.page(connection, self._declared, self._indexed[self._declared], self._cursor, size)
        for column in INDEXED:
            if column in self._like:
                return history.page_by(connection, column, self._like[column], self._cursor, size)
        return history.page_of_all(connection, self._cursor, size)

    def _streams(self, connection: apsw.Connection, address: Address) -> list[tuple[int, str]]:
        keys = self._core.log.keys
        thread = keys.find_thread(connection, address.thread_id)
        streams = [] if thread is None else keys.streams_of(connection, thread)
        return [(stream, ns) for stream, ns in streams if address.checkpoint_ns in (None, ns)]

    def _rows_of_one_id(self, connection: apsw.Connection, address: Address, checkpoint_id: str) -> list[CheckpointRow]:
        self._done = True
        if self._below is not None and checkpoint_id >= self._below:
            return []
        streams = sorted((stream for stream, _ in self._streams(connection, address)), reverse=True)
        rows = (self._core.views.history.one(connection, stream, checkpoint_id) for stream in streams)
        return [row for row in rows if row is not None and not row.hidden]

    def _merged(self, connection: apsw.Connection, address: Address, size: int) -> list[CheckpointRow]:
        """Give a page over all namespaces of a thread.

        Merges the streams, each read through its own index: sorting them would read all of them again for each page.
        """
        page_of_stream = self._core.views.history.page_of_stream
        if self._merge is None:
            firsts = [
                page_of_stream(connection, stream, self._below, 1, self._like)
                for stream, _ in self._streams(connection, address)
            ]
            self._merge = [_Candidate(first[0]) for first in firsts if first]
            heapq.heapify(self._merge)
        rows: list[CheckpointRow] = []
        read = 0
        while self._merge and len(rows) < size and read < MAX_BYTES_A_PAGE:
            newest = self._merge[0].row
            rows.append(newest)
            read += newest.size
            following = page_of_stream(connection, newest.stream, newest.checkpoint_id, 1, self._like)
            if following:
                heapq.heapreplace(self._merge, _Candidate(following[0]))
            else:
                heapq.heappop(self._merge)
        self._done = not self._merge
        return self._still_there(connection, rows)

    def _still_there(self, connection: apsw.Connection, rows: list[CheckpointRow]) -> list[CheckpointRow]:
        """Read anew what earlier pages looked up ahead: it may have been replaced or removed since."""
        history = self._core.views.history
        found = (history.one(connection, row.stream, row.checkpoint_id) for row in rows)
        return [row for row in found if row is not None and not row.hidden]


@total_ordering
class _Candidate:
    """A stream's next checkpoint, ordered so that the newest comes first."""

    __slots__ = ("_key", "row")

    def __init__(self, row: CheckpointRow) -> None:
        self.row = row
        self._key = (row.checkpoint_id, row.stream)

    def __lt__(self, other: _Candidate) -> bool:
        return self._key > other._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Candidate) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)
