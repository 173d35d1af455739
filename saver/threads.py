"""Knowing one's threads, which LangGraph's contract has no word for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import apsw
from langchain_core.runnables import RunnableConfig

from ..eventlog.aio import iterate, run
from ..eventlog.errors import ConfigError, check_limit
from ..eventlog.event import NewEvent, Thread
from ..eventlog.plain import pack, unpack
from ..projections.threads import ThreadRow
from .config import Address, text
from .copying import Copier
from .filters import Matches, compile_filter, needles
from .serialising import dump_metadata, load_metadata

if TYPE_CHECKING:
    from langgraph.checkpoint.serde.base import SerializerProtocol

    from .core import Core

__all__ = ["ThreadInfo", "ThreadMethods"]

_PAGE = 64
_MAX_PAGE = 1024
_SCANNED = 20_000  # threads at a time, when all are gone through
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ThreadInfo:
    """What there is to say of a thread.

    Attributes:
        thread_id: its id, as text.
        name: as registered; None if it was not.
        metadata: as registered; {} if it was not.
        created_at: when its first event was recorded, UTC.
        last_activity: when its last event was recorded, UTC.
        checkpoints: how many there are, over all namespaces.
        writes: how many writes are stored with them; one that was written again counts again.
        bytes: of all records these stand in, compressed; shared ones count for each thread that has them.
        latest_checkpoint_id, latest_step, latest_source: of the root namespace's latest checkpoint.
    """

    thread_id: str
    name: str | None
    metadata: dict[str, Any]
    created_at: datetime
    last_activity: datetime
    checkpoints: int
    writes: int
    bytes: int
    latest_checkpoint_id: str | None
    latest_step: int | None
    latest_source: str | None
    key: tuple[int, int] = field(repr=False, compare=False, default=(0, 0))


class ThreadMethods:
    """The part of the saver that is about threads."""

    _core: Core
    serde: SerializerProtocol

    def register_thread(
        self, thread_id: Any, name: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> ThreadInfo:
        """Give a thread a name and metadata, before or after it has checkpoints.

        Args:
            thread_id: any id; it compares as str().
            name: its new name; None leaves the one it has.
            metadata: merged key by key into what it has; a value of None takes the key away.

        Returns:
            The thread as it is now. Recorded as an event, unless nothing changes.
        """
        as_text = text(thread_id, "thread_id")
        if name is not None:
            name = text(name, "name")
        given = _plain(self.serde, metadata or {})

        def decide(connection: apsw.Connection) -> NewEvent | None:
            row = self._row(connection, as_text)
            old_metadata = {} if row is None or row.metadata is None else unpack(row.metadata)
            new_metadata = {k: v for k, v in {**old_metadata, **given}.items() if v is not None}
            new_name = name if name is not None or row is None else row.name
            # Compared as bytes: 1 and True are equal, and not the same. What was not registered is, now.
            registered = None if row is None or row.metadata is None else (row.name, pack(old_metadata))
            if registered == (new_name, pack(new_metadata)):
                return None
            return NewEvent(Thread(new_name, new_metadata), as_text)

        self._core.log.transact(decide)
        with self._core.log.database.reading() as connection:
            row = self._row(connection, as_text)
        if row is None:
            raise ConfigError(f"thread {as_text!r} was deleted while it was being registered")
        return self._info(row)

    def thread(self, thread_id: Any) -> ThreadInfo | None:
        """Give a thread that has been active or registered, and not deleted since; None if it is not there."""
        with self._core.log.database.reading() as connection:
            row = self._row(connection, text(thread_id, "thread_id"))
        return None if row is None else self._info(row)

    def threads(
        self,
        *,
        limit: int | None = None,
        before: ThreadInfo | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Iterator[ThreadInfo]:
        """Yield threads, the last active first.

        Pages by key, and holds nothing between pages. Threads that become active meanwhile, which brings them to the
        front, are not left out: if they have not been given by then, they are in the end.

        Args:
            limit: at most so many.
            before: only those less recently active than this one: the last of a page gives the next page.
            metadata: only those whose registered metadata matches, by the rules of `list`'s filter.
        """
        check_limit(limit)
        matches = compile_filter(metadata)
        self._core.log.database  # noqa: B018  raises now, not at the first thread, if the saver is closed
        below = None if before is None else before.key
        if matches is None:
            return islice(self._threads(limit, below), limit)
        return islice(self._matching_threads(matches, needles(metadata), below), limit)

    def _threads(self, limit: int | None, below: tuple[int, int] | None) -> Iterator[ThreadInfo]:
        size = _PAGE if limit is None else min(limit, _PAGE)
        first: tuple[int, int] | None = None
        given: set[int] = set()
        while size:
            with self._core.log.database.reading() as connection:
                rows = self._core.views.threads.page(connection, below=below, limit=size)
            yield from (self._info(row) for row in rows if row.thread not in given)
            given.update(row.thread for row in rows)
            if len(rows) < size:
                break
            if below is None:
                first = _key(rows[0])
            below = _key(rows[-1])
            size = min(2 * size, _MAX_PAGE)
        if first is not None:  # else they were all read at one moment, or are those below another page
            yield from map(self._info, self._active_since(first, given))

    def _active_since(self, first: tuple[int, int], given: Set[int]) -> list[ThreadRow]:
        """Give the threads that have come before what was the first, and were not given before."""
        found: list[ThreadRow] = []
        below: tuple[int, int] | None = None
        with self._core.log.database.reading() as connection:
            while rows := self._core.views.threads.page(connection, below=below, limit=_PAGE):
                newer = [row for row in rows if _key(row) > first]
                found += [row for row in newer if row.thread not in given]
                if len(newer) < len(rows):
                    break
                below = _key(rows[-1])
        return found

    def _matching_threads(
        self, matches: Matches, holding: Sequence[Sequence[bytes]], below: tuple[int, int] | None
    ) -> Iterator[ThreadInfo]:
        """Yield threads that match: found in one pass over what all of them are registered with, then put in order."""
        found = []
        last = 0
        while True:
            with self._core.log.database.reading() as connection:
                rows = self._core.views.threads.page_in_order(connection, last, _SCANNED, holding=holding)
            for thread, last_activity, metadata in rows:
                if matches(self._map(metadata)):
                    found.append((last_activity, thread))
            if len(rows) < _SCANNED:
                break
            last = rows[-1][0]
        found = sorted((key for key in found if below is None or key < below), reverse=True)
        for first in range(0, len(found), _PAGE):
            with self._core.log.database.reading() as connection:
                views = self._core.views.threads
                page = [views.one(connection, thread) for _, thread in found[first : first + _PAGE]]
            # It may have been deleted, or registered anew, since it was found.
            infos = [self._info(row) for row in page if row is not None]
            yield from (info for info in infos if matches(info.metadata))

    def fork_thread(
        self, config: RunnableConfig, target_thread_id: Any, metadata: Mapping[str, Any] | None = None
    ) -> RunnableConfig:
        """Start a new thread from a checkpoint, with its history up to there. Nothing is stored twice.

        A fork of a thread's end keeps its pending writes, so that an interrupted step goes on where it was; a fork
        from further back does the step after the checkpoint anew.

        Args:
            config: names the checkpoint; without a checkpoint_id, the latest.
            target_thread_id: the new thread's id.
            metadata: the new thread's registered metadata.

        Returns:
            The config of the checkpoint in the new thread.

        Raises:
            ThreadExistsError: the target has checkpoints already.
            ConfigError: there is no such checkpoint.
        """
        address = Address.of(config)
        target = text(target_thread_id, "target_thread_id")
        plain = None if metadata is None else _plain(self.serde, metadata)
        recorded = self._core.log.transact(Copier(self._core.log, self._core.views).fork(address, target, plain))
        assert recorded is not None
        point: str = recorded.data.from_checkpoint_id  # type: ignore[union-attr, assignment]  # a fork is a Copy from one
        return {
            "configurable": {
                "thread_id": target_thread_id,
                "checkpoint_ns": address.namespace,
                "checkpoint_id": point,
            }
        }

    async def aregister_thread(
        self, thread_id: Any, name: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> ThreadInfo:
        """Async `register_thread`."""
        return await run(self.register_thread, thread_id, name, metadata)

    async def athread(self, thread_id: Any) -> ThreadInfo | None:
        """Async `thread`."""
        return await run(self.thread, thread_id)

    async def athreads(
        self,
        *,
        limit: int | None = None,
        before: ThreadInfo | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[ThreadInfo]:
        """Async `threads`."""
        async for info in iterate(self.threads(limit=limit, before=before, metadata=metadata)):
            yield info

    async def afork_thread(
        self, config: RunnableConfig, target_thread_id: Any, metadata: Mapping[str, Any] | None = None
    ) -> RunnableConfig:
        """Async `fork_thread`."""
        return await run(self.fork_thread, config, target_thread_id, metadata)

    def _row(self, connection: apsw.Connection, thread_id: str) -> ThreadRow | None:
        thread = self._core.log.keys.find_thread(connection, thread_id)
        return None if thread is None else self._core.views.threads.one(connection, thread)

    def _map(self, packed: bytes | None) -> dict[str, Any]:
        """Give packed metadata; {} for what is no map, as no writer appends it: `verify` finds that."""
        found = {} if packed is None else load_metadata(self.serde, packed)
        return found if isinstance(found, dict) else {}

    def _info(self, row: ThreadRow) -> ThreadInfo:
        latest = self._map(row.latest_metadata)
        step, source = latest.get("step"), latest.get("source")
        return ThreadInfo(
            thread_id=row.thread_id,
            name=row.name,
            metadata=self._map(row.metadata),
            created_at=_time(row.created_at),
            last_activity=_time(row.last_activity),
            checkpoints=row.checkpoints,
            writes=row.writes,
            bytes=row.size,
            latest_checkpoint_id=row.latest_id,
            latest_step=step if isinstance(step, int) else None,
            latest_source=source if isinstance(source, str) else None,
            key=_key(row),
        )


def _key(row: ThreadRow) -> tuple[int, int]:
    """Give what threads are listed by."""
    return row.last_activity, row.thread


def _plain(serde: SerializerProtocol, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Give metadata as plain data, so that what cannot be serialised fails here, with its name."""
    plain: dict[str, Any] = unpack(dump_metadata(serde, metadata))
    return plain


def _time(microseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)  # a clock that was very wrong
