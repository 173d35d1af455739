"""The worked example of a user projection: tokens used, per thread and run, from the messages that tasks write.

Reads `usage_metadata` (LangChain's) out of what put_writes events hold, without building any object: msgpack is
walked as plain data, so nothing in the log can make this run code. Values under another serializer, an encrypting one
for instance, need its `loads`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgpack

from ..eventlog.event import Carry, Put, PutWrites, RecordedEvent
from ..eventlog.plain import PlainDataError, unpack
from ..eventlog.value import Whole
from .projection import Projection

__all__ = ["TokenTotals", "TokenUsage"]

_MAX_DEPTH = 64
_TABLES = ("token_usage", "token_usage_seen", "token_usage_run")


@dataclass(frozen=True, slots=True)
class TokenTotals:
    """What a run of a thread has used; `run_id` is "" for writes whose checkpoint names no run."""

    thread_id: str
    run_id: str
    messages: int
    input_tokens: int
    output_tokens: int
    total_tokens: int


class TokenUsage(Projection):
    """Counts tokens per thread and run.

    A message counts once, however often it is written again: by its id within the thread (messages without an id
    count each time). The run is the one in the metadata of the checkpoint that the writes belong to, which is often
    put after them: hence the sums by checkpoint, and the run looked up when they are read.

    Deleting takes nothing back: what was used was used. So a message id that comes again in a thread, even in one made
    anew under a deleted thread's id, is not counted again.

    With durability="exit" LangGraph stores no writes but those of interrupted steps: nothing else is counted then.

    Args:
        loads: turns (tag, data) into an object, for what is not plain msgpack: `saver.serde.loads_typed` for instance.
    """

    name = "token_usage"
    schema_version = 1

    def __init__(self, loads: Callable[[tuple[str, bytes]], Any] | None = None) -> None:
        self._loads = loads

    def reset(self) -> None:
        """Make the tables."""
        self.db.execute(
            "CREATE TABLE token_usage (thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL, "
            "checkpoint_id TEXT NOT NULL, messages INTEGER NOT NULL, input_tokens INTEGER NOT NULL, "
            "output_tokens INTEGER NOT NULL, total_tokens INTEGER NOT NULL, "
            "PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)) STRICT, WITHOUT ROWID"
        )
        self.db.execute(
            "CREATE TABLE token_usage_seen (thread_id TEXT NOT NULL, message_id TEXT NOT NULL, "
            "PRIMARY KEY (thread_id, message_id)) STRICT, WITHOUT ROWID"
        )
        self.db.execute(
            "CREATE TABLE token_usage_run (thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL, "
            "checkpoint_id TEXT NOT NULL, run_id TEXT NOT NULL, "
            "PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)) STRICT, WITHOUT ROWID"
        )

    def apply(self, event: RecordedEvent) -> None:
        """Note the run of a put; count what a put_writes holds; put back what was carried."""
        if isinstance(event.data, Carry):
            if event.data.projection == self.name:
                self._put_back(event.data.facts)
        elif isinstance(event.data, Put):
            run_id = unpack(event.data.metadata).get("run_id")
            if run_id is not None:
                self.db.execute(
                    "INSERT OR REPLACE INTO token_usage_run VALUES (?, ?, ?, ?)",
                    (event.thread_id, event.checkpoint_ns, event.data.checkpoint_id, _text(run_id)),
                )
        elif isinstance(event.data, PutWrites):
            self._count(event, event.data)

    def carry(self) -> dict[str, list[list[Any]]]:
        """Give every row: the messages that have been counted, too, so that none is counted again."""
        return {table: [[*row] for row in self.db.execute(f"SELECT * FROM {table}")] for table in _TABLES}

    def _put_back(self, facts: dict[str, list[list[Any]]]) -> None:
        if facts == self.carry():
            return  # as when the facts have just been carried
        for table in _TABLES:
            self.db.execute(f"DELETE FROM {table}")
            for row in facts[table]:
                places = ", ".join("?" * len(row))
                self.db.execute(f"INSERT INTO {table} VALUES ({places})", row)

    def _count(self, event: RecordedEvent, data: PutWrites) -> None:
        found = [usage for w in data.writes if isinstance(w.value, Whole) for usage in self._usages(w.value)]
        for message_id, usage in found:
            if message_id is not None:
                self.db.execute(
                    "INSERT OR IGNORE INTO token_usage_seen VALUES (?, ?)", (event.thread_id, _text(message_id))
                )
                if self.db.execute("SELECT changes()").fetchone() == (0,):
                    continue
            counts = [_count_of(usage, key) for key in ("input_tokens", "output_tokens", "total_tokens")]
            self.db.execute(
                "INSERT INTO token_usage VALUES (?, ?, ?, 1, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET messages = messages + 1, "
                "input_tokens = input_tokens + excluded.input_tokens, "
                "output_tokens = output_tokens + excluded.output_tokens, "
                "total_tokens = total_tokens + excluded.total_tokens",
                (event.thread_id, event.checkpoint_ns, data.checkpoint_id, *counts),
            )

    def _usages(self, value: Whole) -> Iterator[tuple[Any, dict[Any, Any]]]:
        if value.tag == "msgpack":
            try:
                yield from _walk(_unpack(value.data), 0)
            except (ValueError, TypeError, RecursionError, PlainDataError):
                return  # not what LangGraph's serializer makes: nothing to count
        elif self._loads is not None and value.data:
            yield from _walk(self._loads((value.tag, value.data)), 0)

    def totals(self, thread_id: str | None = None) -> list[TokenTotals]:
        """Give what was used, of all threads or of one, by thread and run."""
        rows = self.query(
            "SELECT u.thread_id, coalesce(r.run_id, '') AS run, sum(u.messages), sum(u.input_tokens), "
            "sum(u.output_tokens), sum(u.total_tokens) "
            "FROM token_usage AS u LEFT JOIN token_usage_run AS r USING (thread_id, checkpoint_ns, checkpoint_id) "
            "WHERE ?1 IS NULL OR u.thread_id = ?1 GROUP BY u.thread_id, run ORDER BY u.thread_id, run",
            (None if thread_id is None else str(thread_id),),
        )
        return [TokenTotals(*row) for row in rows]


def _unpack(data: bytes) -> Any:
    # Extension types are msgpack inside; what they would construct is of no interest.
    return msgpack.unpackb(
        data, ext_hook=lambda _, inner: _unpack(inner), strict_map_key=False, unicode_errors="surrogatepass"
    )


def _walk(found: Any, depth: int) -> Iterator[tuple[Any, dict[Any, Any]]]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(found, dict):
        usage = found.get("usage_metadata")
        if isinstance(usage, dict):
            yield found.get("id"), usage
            return
        for value in found.values():
            yield from _walk(value, depth + 1)
    elif isinstance(found, list | tuple):
        for value in found:
            yield from _walk(value, depth + 1)
    elif isinstance(usage := getattr(found, "usage_metadata", None), dict):
        yield getattr(found, "id", None), usage


def _count_of(usage: dict[Any, Any], key: str) -> int:
    count = usage.get(key)
    return count if isinstance(count, int) and 0 <= count < 1 << 53 else 0


def _text(value: Any) -> str:
    return str(value).encode(errors="replace").decode()
