"""The files of LangGraph's own SqliteSaver and AsyncSqliteSaver: their schema, and reading them as a source of data.

All releases since 1.0 made the same two tables, `writes` first without the column task_path. Checkpoints are one blob
each, JSON in the first releases and msgpack since; metadata is JSON.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import apsw
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.base import SerializerProtocol

from ...eventlog.errors import ConfigError
from ...eventlog.event import PutWrites, Write
from ...eventlog.value import Whole
from ...saver.intake import Taken
from .errors import SourceError
from .source import Counts, SourceKey
from .sqlite_snapshot import SqliteSnapshot
from .taking_apart import metadata_of, microseconds, take_checkpoint_apart

__all__ = ["SCHEMA", "SqliteSource", "official_on"]

# What SqliteSaver 3.1 makes.
SCHEMA: Final = """
CREATE TABLE checkpoints (
    thread_id TEXT NOT NULL,
    checkpoint_ns TEXT NOT NULL DEFAULT '',
    checkpoint_id TEXT NOT NULL,
    parent_checkpoint_id TEXT,
    type TEXT,
    checkpoint BLOB,
    metadata BLOB,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)
);
CREATE TABLE writes (
    thread_id TEXT NOT NULL,
    checkpoint_ns TEXT NOT NULL DEFAULT '',
    checkpoint_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    task_path TEXT NOT NULL DEFAULT '',
    idx INTEGER NOT NULL,
    channel TEXT NOT NULL,
    type TEXT,
    value BLOB,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
);
"""

_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table'"
_COUNTS = """
SELECT (SELECT count(*) FROM (SELECT thread_id FROM checkpoints UNION SELECT thread_id FROM writes)),
  (SELECT count(*) FROM checkpoints), (SELECT count(*) FROM writes)"""
_THREADS = """
SELECT thread_id FROM (
  SELECT thread_id, min(checkpoint_id) AS first FROM checkpoints GROUP BY thread_id
  UNION ALL SELECT thread_id, min(checkpoint_id) FROM writes GROUP BY thread_id)
GROUP BY thread_id ORDER BY min(first), thread_id"""
_KEYS = """
SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, 1 FROM checkpoints WHERE thread_id = ?1
UNION ALL
SELECT DISTINCT checkpoint_ns, checkpoint_id, NULL, 0 FROM writes AS w WHERE thread_id = ?1 AND NOT EXISTS (
  SELECT 1 FROM checkpoints AS c
  WHERE c.thread_id = ?1 AND c.checkpoint_ns = w.checkpoint_ns AND c.checkpoint_id = w.checkpoint_id)
ORDER BY 2, 1"""
_CHECKPOINT = """
SELECT type, checkpoint, metadata FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"""
_WRITES = """
SELECT task_id, %s, idx, channel, type, value FROM writes
WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ? ORDER BY 2, 1, 3"""


class SqliteSource:
    """A SqliteSaver's or AsyncSqliteSaver's file, which is not changed. See `source.Source`.

    Args:
        path: of the file. No other connection of this process may have it open.
        serde: that it was written with, if that is an EncryptedSerializer.

    Raises:
        SourceError: it is no such file, or cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], serde: SerializerProtocol) -> None:
        self._serde = serde
        self._snapshot = SqliteSnapshot(path)
        self._connection = self._snapshot.connection
        self.size = self._snapshot.size
        try:
            self._has_task_path = self._look()
        except BaseException:
            self.close()
            raise

    def _look(self) -> bool:
        path = self._snapshot.path
        try:
            tables = {name for (name,) in self._connection.execute(_TABLES)}
            if not {"checkpoints", "writes"} <= tables:
                raise SourceError(f"{path} is not a file of LangGraph's SqliteSaver: it has no tables of that")
            columns = {row[1] for row in self._connection.execute("PRAGMA table_info(writes)")}
            own = {row[1] for row in self._connection.execute("PRAGMA table_info(checkpoints)")}
        except apsw.Error as e:
            raise SourceError(f"{path} cannot be read: {e}") from e
        if "checkpoint_ns" not in columns or "type" not in own:
            raise SourceError(
                f"{path} was made by a SqliteSaver from before langgraph-checkpoint-sqlite 1.0, which later ones "
                "cannot read, either"
            )
        return "task_path" in columns

    def describe(self) -> Mapping[str, Any]:
        """Say what it is."""
        return {"kind": "sqlite", "path": self._snapshot.path, "bytes": self.size}

    def counts(self) -> Counts:
        """Count what there is."""
        return Counts(*self._rows(_COUNTS)[0])

    def threads(self) -> Iterator[str]:
        """Give the threads' ids, the oldest first."""
        found = [thread_id for (thread_id,) in self._rows(_THREADS)]
        if other := [thread_id for thread_id in found if not isinstance(thread_id, str)]:
            raise SourceError(
                f"{self._snapshot.path} holds what cannot be imported: the thread id {other[0]!r} is not text"
            )
        return iter(found)

    def keys(self, thread_id: str) -> Sequence[SourceKey]:
        """Give what there is in a thread, in the order of checkpoint ids."""
        return [
            SourceKey(ns, checkpoint_id, parent_id or None, bool(is_there))
            for ns, checkpoint_id, parent_id, is_there in self._rows(_KEYS, (thread_id,))
        ]

    def read(self, thread_id: str, key: SourceKey) -> tuple[Taken, int]:
        """Read a checkpoint with its writes."""
        where = (thread_id, key.checkpoint_ns, key.checkpoint_id)
        path = "task_path" if self._has_task_path else "''"
        size, tasks = 0, dict[tuple[str, str], list[Write]]()
        for task_id, task_path, idx, channel, tag, value in self._rows(_WRITES % path, where):
            self._check_texts(thread_id, key, tag, task_id, task_path, channel)
            data = _bytes(value)
            size += len(data)
            tasks.setdefault((task_id, task_path), []).append(Write(channel, idx, Whole(tag, data)))
        writes = tuple(
            PutWrites(key.checkpoint_id, task_id, task_path, tuple(some))
            for (task_id, task_path), some in tasks.items()
        )
        if not key.is_there:
            return Taken(thread_id, key.checkpoint_ns, key.checkpoint_id, None, writes, None), size
        ((tag, blob, metadata),) = self._rows(_CHECKPOINT, where)
        self._check_texts(thread_id, key, tag)
        blob = _bytes(blob)
        checkpoint = take_checkpoint_apart(
            self._serde,
            Whole(tag, blob),
            checkpoint_id=key.checkpoint_id,
            parent_id=key.parent_id,
            metadata=metadata_of(metadata, key.checkpoint_id),
        )
        size += len(blob) + len(metadata or b"")
        active_at = microseconds(checkpoint.frame.get("ts"))
        return Taken(thread_id, key.checkpoint_ns, key.checkpoint_id, checkpoint, writes, active_at), size

    def _check_texts(self, thread_id: str, key: SourceKey, *found: Any) -> None:
        if not all(isinstance(one, str) for one in (thread_id, key.checkpoint_ns, key.checkpoint_id, *found)):
            raise SourceError(
                f"{self._snapshot.path} holds what cannot be imported: of checkpoint {key.checkpoint_id!r} of thread "
                f"{thread_id!r}, an id, a channel or the type of a value is not text"
            )

    def check_unchanged(self) -> None:
        """Raise a SourceError if the file has been changed since it was opened."""
        self._snapshot.check_unchanged()

    def official(self, serde: SerializerProtocol) -> BaseCheckpointSaver[Any]:
        """Give a SqliteSaver that reads the same state of the file."""
        return official_on(self._connection, serde, has_task_path=self._has_task_path)

    def _rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, bindings).fetchall()
        except (apsw.Error, UnicodeDecodeError) as e:
            self._snapshot.check_unchanged()
            raise SourceError(f"{self._snapshot.path} cannot be read: {e}") from e

    def close(self) -> None:
        """Close it."""
        self._snapshot.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _bytes(value: bytes | str | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def official_on(connection: Any, serde: SerializerProtocol, *, has_task_path: bool = True) -> BaseCheckpointSaver[Any]:
    """Give a SqliteSaver that reads through a connection of apsw, and sets nothing up.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from langgraph.checkpoint.sqlite import SqliteSaver
    except ImportError:
        raise ConfigError(
            "comparing needs LangGraph's own saver: pip install langgraph-checkpoint-sqlite, or do not compare"
        ) from None
    saver = SqliteSaver(connection, serde=serde)
    saver.is_setup = True
    saver._has_task_path = has_task_path
    return saver
