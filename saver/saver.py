"""EventLogSaver: LangGraph's checkpointer over the event log. The sync half, and what both halves share."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import apsw
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from ..eventlog.coverage import Coverage
from ..eventlog.errors import (
    BaseErasedError,
    ConfigError,
    CorruptRecordError,
    LogDamagedError,
    NotAnEventLogError,
    check_limit,
)
from ..eventlog.event import Head, PutWrites
from ..eventlog.finding import Finding
from ..eventlog.log import EventLog
from ..eventlog.steps import Steps
from .aio import AsyncTwins
from .compaction.methods import CompactionMethods
from .compaction.retention import Retention
from .config import Address, text, texts
from .copying import Copier
from .core import Core
from .decoding import Gatherer, build
from .delta_history import delta_channel_history
from .encoding import encode_put, encode_writes
from .filters import check_declared, compile_filter, index_keys
from .known import Key, Known
from .listing import Listing
from .removing import Decide, Remover
from .seeds import snapshots_alone, with_seeds
from .similar import likeness
from .threads import ThreadMethods
from .verifying import affected_checkpoints

__all__ = ["EventLogSaver"]

# So often a put reads its parent again because that was restated meanwhile; then it stores its values in full.
_MOST_LOOKS = 3


class EventLogSaver(AsyncTwins, ThreadMethods, CompactionMethods, BaseCheckpointSaver[str]):
    """Keeps a LangGraph agent's checkpoints in one SQLite file, as an append-only, hash-chained event log.

        with EventLogSaver("agent.db") as saver:
            graph = builder.compile(checkpointer=saver)

    One class for sync and async code (asyncio and trio), any number of threads, event loops and processes. Each
    state-changing call is one event, appended and projected in one transaction, durable when the call returns.

    Args:
        path: of the file, made with its folders if it is not there, for its owner only. ":memory:" and "" (a private
            temporary database) give a log that ends with close().
        serde: turns values into bytes; JsonPlusSerializer() unless given. `saver.serde` may be replaced later.
        synchronous: "FULL": an acknowledged put survives power loss. "NORMAL": it survives a crash of the process;
            power loss may take the last commits.
        busy_timeout_ms: how long to wait for other writers before a LogBusyError.
        read_only: never change the file.
        projections: a user's own, see langgraph_eventlog.projections.Projection.
        indexed_metadata: keys of metadata by which `list` is to find checkpoints of all threads fast, as it always does
            by run_id, step and source. With dots, a key names a field inside of fields. Text and numbers are indexed.
            The file remembers the keys, and whoever appends keeps their index; for a log that is there already, it is
            made now, in short transactions. With read_only, keys that the file does not have are not indexed.
        clock: gives the present, UTC, in microseconds since 1970-01-01.
        memory_bytes: how much may be remembered, per process, of the checkpoints that were put last, so that the next
            put serialises only what is new. 0: nothing; each put then reads its parent's values from the log.
        key: encrypts the whole file, metadata and ids included; needs apsw-sqlite3mc in the place of apsw. A str is a
            passphrase, 32 bytes are the key itself, which is faster. None: a file that is not encrypted.
            `langgraph_eventlog.saver.rekey` gives a file another.
        retention: which checkpoints are to be kept. Others are removed, and erased, in the background, a little at a
            time, while this saver is put to: see `compact` for doing it at once, and with a report.
        erase_deleted: whether the records of what this saver deletes or prunes are erased in the background, some
            seconds later: then nobody can look at them any more. False: they stay until `compact`, for auditors.

    Raises:
        ConfigError: a ValueError; an argument is not usable. With a key, also: this build of apsw cannot encrypt.
        LogOpenError: and its kinds NotAnEventLogError and NewerFormatError: `path` cannot be a log; what is there
            is left as it is.

    Every method raises an EventLogError of langgraph_eventlog.eventlog.errors when it fails, and then has changed
    nothing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        serde: SerializerProtocol | None = None,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
        busy_timeout_ms: int = 30_000,
        read_only: bool = False,
        projections: Sequence[Any] = (),
        indexed_metadata: Sequence[str] = (),
        clock: Callable[[], int] | None = None,
        memory_bytes: int = 64 * 1024 * 1024,
        key: str | bytes | None = None,
        retention: Retention | None = None,
        erase_deleted: bool = True,
    ) -> None:
        super().__init__(serde=serde)
        self._core = Core(
            path,
            synchronous=synchronous,
            busy_timeout_ms=busy_timeout_ms,
            read_only=read_only,
            projections=projections,
            indexed_metadata=check_declared(indexed_metadata),
            clock=clock,
            memory_bytes=memory_bytes,
            key=key,
            retention=retention,
            erase_deleted=erase_deleted,
        )

    @classmethod
    def from_conn_string(cls, conn_string: str, **options: Any) -> Self:
        """Open a log the way both official SQLite savers are opened: use the result with `with` or `async with`."""
        return cls(conn_string, **options)

    @property
    def path(self) -> str:
        """The file's absolute path, or ":memory:" or ""."""
        return self._core.log.path

    @property
    def log(self) -> EventLog:
        """The log itself: read, verify and follow it."""
        return self._core.log

    def setup(self) -> None:
        """Do nothing: opening has set everything up. It is here because programs call it on other savers."""
        self.log.database  # noqa: B018  raises if the saver is closed

    # The contract.

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Append a checkpoint, and give the config that names it.

        Everything in `channel_values` is kept, whatever `new_versions` says; a value whose serialised bytes are the
        parent's is stored by reference, one that is like it as a difference. The parent is the config's checkpoint_id.
        An id that is there already is replaced in what is read, not in the log.

        Raises:
            EncodingError: a value cannot be serialised; it says which.
        """
        return self.log.perform(self._put(config, checkpoint, metadata))

    def _put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata
    ) -> Steps[RunnableConfig]:
        address = Address.of(config)
        serde = self.serde  # once: it may be replaced meanwhile
        before = _key(address)
        generation = self.log.generation  # before anything is looked at
        known = None if before is None else self._known(before, address, serde, generation)
        looks = 0
        while True:
            if known is not None:
                known = self._with_seeds(known, address, checkpoint)
            encoded = encode_put(serde, config, address, checkpoint, metadata, known=known)
            try:
                recorded = yield encoded.event
                break
            except BaseErasedError:
                # Compaction was quicker: the parent may have been restated. It, or the next one, will not be for ever.
                looks += 1
                generation = self.log.generation
                again = before is not None and looks <= _MOST_LOOKS
                known = self._known_in_log(before, address, serde) if again and before is not None else None
        checkpoint_id: str = encoded.event.data.checkpoint_id  # type: ignore[union-attr]  # encode_put gives puts
        key = (address.thread_id, address.namespace, checkpoint_id)
        self._core.memory.known.remember(key, encoded.known(recorded.position, generation), parent=before)
        self._core.upkeep.put()
        return address.config(checkpoint_id)

    def _known(self, key: Key, address: Address, serde: SerializerProtocol, generation: int | None) -> Known | None:
        """Give what is known of the parent's values, reading them if this process did not put them."""
        known = self._core.memory.known.get(key, serde, generation)
        return self._known_in_log(key, address, serde) if known is None else known

    def _known_in_log(self, key: Key, address: Address, serde: SerializerProtocol) -> Known | None:
        """Read the parent's values.

        None if they are damaged, too: a graph that has its state in memory goes on, and it is stored in full.
        """
        try:
            with self.log.database.reading() as connection:
                row = self._core.find(connection, address)
                known = None if row is None else self._gatherer(connection).known(row, serde)
        except CorruptRecordError:
            return None
        if known is not None:
            self._core.memory.known.remember(key, known)
        return known

    def _with_seeds(self, known: Known, address: Address, checkpoint: Checkpoint) -> Known:
        """Add the snapshots that those of a checkpoint, if it has some, can be compared with; they are in the log."""
        alone = snapshots_alone(checkpoint.get("channel_values") or {}, known)
        if not alone:
            return known
        try:
            with self.log.database.reading() as connection:
                row = self._core.find(connection, address)
                if row is None:
                    return known
                ancestors = self._core.views.history.ancestors(connection, row)
                return with_seeds(known, ancestors, alone, self._gatherer(connection).known_channels)
        except LogDamagedError:  # a graph goes on: it is stored in full
            return known

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Append the writes of a task at a checkpoint, which need not be there yet.

        What is written again at the same (checkpoint, task, index) is ignored, except to LangGraph's special
        channels, which it replaces.

        Raises:
            EncodingError: a value cannot be serialised; it says which.
        """
        self.log.perform(self._put_writes(config, writes, task_id, task_path))

    def _put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> Steps[None]:
        serde, address = self.serde, Address.of(config)
        event, again = encode_writes(serde, address, writes, task_id, task_path)
        if not writes:
            return
        memory = self._core.memory
        like = likeness(event, writes)
        generation = self.log.generation  # before anything is looked at
        similar = None if like is None else memory.similar.find(like, generation)
        if similar is not None:
            event = event._replace(similar=similar, generation=similar.generation)
        try:
            recorded = yield event
        except BaseErasedError:
            generation = self.log.generation
            event = event._replace(similar=None)
            recorded = yield event
        if like is not None:
            memory.similar.remember(like, event, recorded, generation)
        key = _key(address)
        if key is not None and isinstance(recorded.data, PutWrites):
            memory.known.remember_written(key, serde, recorded.data, recorded.position, again)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Give the checkpoint that the config names, or the latest of its thread and namespace; None if there is none.

        One that was removed, but is kept because delta channels are rebuilt from it, is given to those who know its id:
        that is how LangGraph's own walk from parent to parent gets past it. It is not listed, and never the latest.

        Raises:
            CorruptRecordError: it, or something that it refers to, is damaged.
        """
        address = Address.of(config)
        with self.log.database.reading() as connection:
            row = self._core.find(connection, address)
            gathered = None if row is None else self._gatherer(connection).gather(row)
        if gathered is None:
            return None
        return build(self._core.memory.decoder(self.serde), gathered, address.given_thread_id, address.namespace)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield checkpoints, newest first by id, over threads and namespaces alike.

        Pages by key, and holds nothing between pages: a consumer may stop half-way, and anyone may put meanwhile.

        Args:
            config: None: all threads. Without checkpoint_ns: all namespaces. With a checkpoint_id: only that one.
            filter: on metadata; see `filters.compile_filter`. Through all threads, one on run_id, step, source or a key
                of `indexed_metadata` reads little else; any other goes through the metadata of all checkpoints.
            before: only ids below this config's checkpoint_id; without one it is ignored.
            limit: at most so many.

        Raises:
            ConfigError: a ValueError; limit is negative, or a filter key is not usable.
        """
        check_limit(limit)
        address = None if config is None else Address.of(config)
        before_id = ((before or {}).get("configurable") or {}).get("checkpoint_id")
        below = text(before_id, "checkpoint_id") if before_id else None
        matches = compile_filter(filter)
        self.log.database  # noqa: B018  raises now, not at the first checkpoint, if the saver is closed
        listing = Listing(self._core, self.serde, address, matches=matches, indexed=index_keys(filter), below=below)
        return listing.take(limit)

    def _gatherer(self, connection: apsw.Connection) -> Gatherer:
        return self._core.gatherer(connection, self._core.memory)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Give, for each channel, what the ancestors of a checkpoint wrote since the nearest that holds a value.

        That value, the seed, is given with them.

        Follows parents only; includes checkpoints that were deleted or pruned, but are kept for this.
        """
        if not channels:
            return {}
        address = Address.of(config)
        with self.log.database.reading() as connection:
            row = self._core.find(connection, address)
            gatherer = self._gatherer(connection)
            generations = () if row is None else self._core.views.history.generations(connection, row)
            found = delta_channel_history(gatherer, generations, channels)
        return found.decoded(self._core.memory.decoder(self.serde))

    # Deleting, copying.

    def delete_thread(self, thread_id: str) -> None:
        """Remove all of a thread; no error if it is not there. Its records are erased later: see `erase_deleted`."""
        self._remove(self._remover().delete_thread(text(thread_id, "thread_id")))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove the checkpoints, and their writes, whose metadata names one of the runs.

        That is done in all threads and namespaces.

        What surviving checkpoints need to rebuild their delta channels stays, out of sight.
        """
        # LangGraph takes NULs out of metadata, where run ids are looked for.
        ids = [run_id.replace("\0", "") for run_id in texts(run_ids, "run_ids")]
        self._remove(self._remover().delete_for_runs(ids))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Remove checkpoints of the threads.

        Args:
            thread_ids: of the threads; those that are not there are passed over.
            strategy: "keep_latest" keeps, in each namespace, the latest with its pending writes, and out of sight
                what its delta channels need; "delete" (to the Agent Server "delete_all") keeps nothing.

        Raises:
            ConfigError: the strategy is another.
        """
        strategy = {"delete_all": "delete"}.get(strategy, strategy)
        if strategy not in ("keep_latest", "delete"):
            raise ConfigError(f'strategy is "keep_latest" or "delete", not {strategy!r}')
        self._remove(self._remover().prune(texts(thread_ids, "thread_ids"), strategy))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy every checkpoint, namespace, write and parent link to a new thread, storing nothing twice.

        Deleting either later leaves the other whole. A source that is not there copies nothing.

        Raises:
            ThreadExistsError: the target has checkpoints already.
        """
        copier = Copier(self.log, self._core.views)
        self.log.transact(copier.copy(text(source_thread_id, "thread_id"), text(target_thread_id, "thread_id")))

    def _remover(self) -> Remover:
        return Remover(self.log, self._core.views)

    def _remove(self, decide: Decide) -> None:
        if self.log.transact(decide) is not None:
            self._core.upkeep.removed()

    def rebuild(self, projection: str | None = None, *, progress: Callable[[int, int], None] | None = None) -> None:
        """Make the built-in projections, or the user's of that name, anew from the log, while graphs go on.

        `progress` is told up to which position the built-in ones are made, and up to which they will be.

        Raises:
            ProjectionError: the user's failed, or cannot be rebuilt because events have been erased.
        """
        self._core.projector.rebuild(projection, progress)

    def verify(
        self,
        *,
        anchor: Head | None = None,
        anchors: Collection[Head] = (),
        quick: bool = False,
        coverage: Coverage | None = None,
    ) -> Iterator[Finding]:
        """Yield what `log.verify` does, and then a CheckpointFinding for every checkpoint that cannot be read for it.

        All others can be. Reads the file as if for the first time, whatever this saver has in memory. A `quick` check
        does not say which checkpoints are affected.
        """
        damaged = False
        for finding in self.log.verify(anchor=anchor, anchors=anchors, quick=quick, coverage=coverage):
            damaged = True
            yield finding
        if damaged and not quick:
            try:
                yield from affected_checkpoints(self._core)
            except (LogDamagedError, NotAnEventLogError) as e:
                yield Finding("sqlite", None, f"the list of checkpoints cannot go on: {e}")

    def get_next_version(self, current: str | int | float | None, channel: None = None) -> str:
        """Give the version after `current`: a string that sorts, with a random part to tell forks apart."""
        if current is None:
            number = 0
        elif isinstance(current, str):
            number = int(current.split(".")[0])
        else:
            number = int(current)
        return f"{number + 1:032}.{random.random():016}"

    # Closing.

    def close(self) -> None:
        """Close the log, for this saver and all its clones. Closing again does nothing."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<EventLogSaver {self.path!r}{' closed' if self.log.closed else ''}>"


def _key(address: Address) -> Key | None:
    if address.checkpoint_id is None:
        return None
    return address.thread_id, address.namespace, address.checkpoint_id
