"""A database of LangGraph's own PostgresSaver or AsyncPostgresSaver as a source of data; needs the extra `postgres`.

A checkpoint is a row of JSON whose larger values stand in checkpoint_blobs, one for each version of a channel. What
the official saver adds when it reads a checkpoint of before format 4, the tasks that its parent has sent, is added
here, too.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import TASKS

from ...eventlog.errors import ConfigError
from ...eventlog.event import PutWrites, Write
from ...eventlog.value import Whole
from ...saver.encoding import FRAME, OWN_PLACE, is_plain
from ...saver.intake import Taken
from ...saver.pieces import MSGPACK, array_of, list_of
from ...saver.serialised import SerialisedCheckpoint, SerialisedValue
from .errors import SourceError
from .source import Counts, SourceKey
from .taking_apart import metadata_of, microseconds, plain_value, unencrypted

__all__ = ["PostgresSource"]

_COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = ANY (current_schemas(false)) AND table_name = ANY (%s)"""
_TABLES: Final = ["checkpoints", "checkpoint_blobs", "checkpoint_writes"]
_SIZE = (
    "SELECT coalesce(sum(pg_total_relation_size(to_regclass(quote_ident(t)))), 0)::bigint FROM unnest(%s::text[]) AS t"
)
_COUNTS = """
SELECT (SELECT count(*) FROM (SELECT thread_id FROM checkpoints UNION SELECT thread_id FROM checkpoint_writes) AS t),
  (SELECT count(*) FROM checkpoints), (SELECT count(*) FROM checkpoint_writes)"""
_THREADS = """
SELECT thread_id FROM (
  SELECT thread_id, min(checkpoint_id COLLATE "C") AS first FROM checkpoints GROUP BY thread_id
  UNION ALL SELECT thread_id, min(checkpoint_id COLLATE "C") FROM checkpoint_writes GROUP BY thread_id) AS t
GROUP BY thread_id ORDER BY min(first), thread_id COLLATE "C" """
_KEYS = """
SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, true AS is_there FROM checkpoints WHERE thread_id = %(t)s
UNION ALL
SELECT DISTINCT checkpoint_ns, checkpoint_id, NULL, false FROM checkpoint_writes AS w
WHERE thread_id = %(t)s AND NOT EXISTS (
  SELECT 1 FROM checkpoints AS c
  WHERE c.thread_id = %(t)s AND c.checkpoint_ns = w.checkpoint_ns AND c.checkpoint_id = w.checkpoint_id)
ORDER BY 2, 1"""
_CHECKPOINT = """
SELECT checkpoint::text, metadata::text FROM checkpoints
WHERE thread_id = %s AND checkpoint_ns = %s AND checkpoint_id = %s"""
_BLOBS = """
SELECT b.channel, b.version, b.type, b.blob FROM unnest(%s::text[], %s::text[]) AS wanted (channel, version)
JOIN checkpoint_blobs AS b ON b.thread_id = %s AND b.checkpoint_ns = %s
  AND b.channel = wanted.channel AND b.version = wanted.version"""
_WRITES = """
SELECT task_id, {path}, idx, channel, type, blob FROM checkpoint_writes
WHERE thread_id = %s AND checkpoint_ns = %s AND checkpoint_id = %s
ORDER BY 2, 1, 3"""
_SENDS = """
SELECT type, blob FROM checkpoint_writes
WHERE thread_id = %s AND checkpoint_ns = %s AND checkpoint_id = %s AND channel = %s ORDER BY {path}, task_id, idx"""
_CACHE_BYTES = 32 * 1024 * 1024
_MIN_SIZE_APART = 65_536

# (channel, version)
_Version = tuple[str, str]


class PostgresSource:
    """A PostgresSaver's database, read in one read-only transaction. See `source.Source`.

    Args:
        dsn: the connection string, postgresql://...
        serde: that it was written with, if that is an EncryptedSerializer.

    Raises:
        ConfigError: psycopg is not installed.
        SourceError: it cannot be connected to, or is no such database.
    """

    def __init__(self, dsn: str, serde: SerializerProtocol) -> None:
        try:
            import psycopg
            from psycopg.rows import dict_row
        except ImportError:
            raise ConfigError(
                "importing from Postgres needs psycopg: pip install 'langgraph-checkpoint-eventlog[postgres]'"
            ) from None
        self._error: type[Exception] = psycopg.Error
        self._serde = serde
        self._place = ("", "")
        self._blobs: OrderedDict[_Version, tuple[SerialisedValue | None, int]] = OrderedDict()
        self._blob_bytes = 0
        try:
            # The official saver wants rows as dicts; and the transaction stays open: one state for everything.
            self._connection: Any = psycopg.connect(dsn, row_factory=dict_row)
        except psycopg.ProgrammingError:
            # Not quoted: what is wrong with it may be its password.
            raise SourceError("the connection string is none: write postgresql://USER:PASSWORD@HOST/DATABASE") from None
        except psycopg.Error as e:
            raise SourceError(f"the database cannot be connected to: {_first_line(e)}") from None
        try:
            self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self._connection.read_only = True
            self._path = self._look()
            self.size = int(self._rows(_SIZE, (_TABLES,))[0][0])
        except BaseException:
            self.close()
            raise

    def _look(self) -> str:
        columns: dict[str, set[str]] = {}
        for table, column in self._rows(_COLUMNS, (_TABLES,)):
            columns.setdefault(table, set()).add(column)
        if not columns.keys() >= set(_TABLES):
            raise SourceError(
                "the database is not one of LangGraph's PostgresSaver: it has no tables of that in its search_path"
            )
        if "checkpoint_id" not in columns["checkpoints"] or "version" not in columns["checkpoint_blobs"]:
            raise SourceError(
                "the database is one of ShallowPostgresSaver, which kept no history: it cannot be imported"
            )
        return "task_path" if "task_path" in columns["checkpoint_writes"] else "''::text"

    def describe(self) -> Mapping[str, Any]:
        """Say what it is: host and database, without user and password."""
        info = self._connection.info
        return {"kind": "postgres", "host": info.host, "port": info.port, "database": info.dbname, "bytes": self.size}

    def counts(self) -> Counts:
        """Count what there is."""
        return Counts(*self._rows(_COUNTS)[0])

    def threads(self) -> Iterator[str]:
        """Give the threads' ids, the oldest first."""
        return iter([thread_id for (thread_id,) in self._rows(_THREADS)])

    def keys(self, thread_id: str) -> Sequence[SourceKey]:
        """Give what there is in a thread, in the order of checkpoint ids."""
        keys = [
            SourceKey(ns, id_, parent or None, there) for ns, id_, parent, there in self._rows(_KEYS, {"t": thread_id})
        ]
        return sorted(keys, key=lambda key: (key.checkpoint_id, key.checkpoint_ns))

    def read(self, thread_id: str, key: SourceKey) -> tuple[Taken, int]:
        """Read a checkpoint with its writes."""
        where = (thread_id, key.checkpoint_ns, key.checkpoint_id)
        size, tasks = 0, dict[tuple[str, str], list[Write]]()
        for task_id, path, idx, channel, tag, blob in self._rows(_WRITES.format(path=self._path), where):
            size += len(blob)
            tasks.setdefault((task_id, path), []).append(Write(channel, idx, Whole(tag, bytes(blob))))
        writes = tuple(
            PutWrites(key.checkpoint_id, task_id, path, tuple(some)) for (task_id, path), some in tasks.items()
        )
        if not key.is_there:
            return Taken(thread_id, key.checkpoint_ns, key.checkpoint_id, None, writes, None), size
        ((text, metadata),) = self._rows(_CHECKPOINT, where)
        fields = json.loads(text)
        checkpoint, blob_bytes = self._checkpoint(thread_id, key, fields, metadata_of(metadata, key.checkpoint_id))
        active_at = microseconds(checkpoint.frame.get("ts"))
        taken = Taken(thread_id, key.checkpoint_ns, key.checkpoint_id, checkpoint, writes, active_at)
        return taken, size + len(text) + len(metadata) + blob_bytes

    def _checkpoint(
        self, thread_id: str, key: SourceKey, fields: dict[str, Any], metadata: bytes
    ) -> tuple[SerialisedCheckpoint, int]:
        versions = fields.get("channel_versions") or {}
        channels: dict[str, SerialisedValue] = {
            name: plain_value(value) for name, value in (fields.get("channel_values") or {}).items()
        }
        blobs, size = self._values(thread_id, key.checkpoint_ns, [(name, str(v)) for name, v in versions.items()])
        channels |= blobs
        if fields.get("v", 0) < 4 and key.parent_id is not None:
            where = (thread_id, key.checkpoint_ns, key.parent_id, TASKS)
            sends = [Whole(tag, bytes(blob)) for tag, blob in self._rows(_SENDS.format(path=self._path), where)]
            if sends:
                channels[TASKS] = _list_of([unencrypted(self._serde, send) for send in sends])
                versions = {**versions, TASKS: max(versions.values()) if versions else f"{1:032}.{0:016}"}
        frame: dict[str, Any] = {name: fields[name] for name in FRAME if name in fields and is_plain(fields[name])}
        rest = {name: value for name, value in fields.items() if name not in OWN_PLACE and name not in frame}
        return (
            SerialisedCheckpoint(
                checkpoint_id=key.checkpoint_id,
                parent_id=key.parent_id,
                metadata=metadata,
                channels=channels,
                channel_versions=versions,
                versions_seen=fields.get("versions_seen", {}),
                frame=frame,
                # The official saver parses it as plain JSON: no object is made of anything in it.
                rest=plain_value(rest) if rest else None,
            ),
            size,
        )

    def _values(
        self, thread_id: str, checkpoint_ns: str, wanted: Sequence[_Version]
    ) -> tuple[dict[str, SerialisedValue], int]:
        """Give the blobs of these versions of channels, where there are some, and how many bytes they take."""
        if self._place != (thread_id, checkpoint_ns):
            self._place, self._blob_bytes = (thread_id, checkpoint_ns), 0
            self._blobs.clear()
        missing = [version for version in wanted if version not in self._blobs]
        found: dict[_Version, tuple[SerialisedValue | None, int]] = dict.fromkeys(missing, (None, 0))
        if missing:
            names, versions = zip(*missing, strict=True)
            for channel, version, tag, blob in self._rows(_BLOBS, ([*names], [*versions], thread_id, checkpoint_ns)):
                if tag != "empty":
                    value = unencrypted(self._serde, Whole(tag, bytes(blob or b"")))
                    found[channel, version] = value, len(blob or b"")
        found |= {version: self._blobs[version] for version in wanted if version in self._blobs}
        for version in wanted:
            self._remember(version, found[version])
        values = {name: found[name, version][0] for name, version in wanted}
        size = sum(found[version][1] for version in missing)
        return {name: value for name, value in values.items() if value is not None}, size

    def _remember(self, version: _Version, blob: tuple[SerialisedValue | None, int]) -> None:
        if version in self._blobs:
            self._blobs.move_to_end(version)
            return
        self._blobs[version] = blob
        self._blob_bytes += blob[1]
        while self._blob_bytes > _CACHE_BYTES and len(self._blobs) > 1:
            _, (_, size) = self._blobs.popitem(last=False)
            self._blob_bytes -= size

    def check_unchanged(self) -> None:
        """Do nothing: a transaction sees one state."""

    def official(self, serde: SerializerProtocol) -> BaseCheckpointSaver[Any]:
        """Give a PostgresSaver that reads in the same transaction."""
        try:
            from langgraph.checkpoint.postgres import PostgresSaver
        except ImportError:
            raise ConfigError(
                "comparing needs LangGraph's own saver: pip install langgraph-checkpoint-postgres, or do not compare"
            ) from None
        return PostgresSaver(self._connection, serde=serde)

    def _rows(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        from psycopg.rows import tuple_row

        try:
            with self._connection.cursor(row_factory=tuple_row) as cursor:
                found: list[tuple[Any, ...]] = cursor.execute(sql, parameters).fetchall()
                return found
        except self._error as e:
            raise SourceError(f"the database cannot be read: {_first_line(e)}") from e

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _list_of(elements: Sequence[Whole]) -> SerialisedValue:
    """Give the list of values that were serialised one by one."""
    if any(element.tag != MSGPACK for element in elements):
        return tuple(elements)
    several = [element.data for element in elements]
    return Whole(MSGPACK, list_of(several) if len(several) < _MIN_SIZE_APART else array_of(len(several), several))


def _first_line(e: Exception) -> str:
    return str(e).strip().split("\n", 1)[0]
