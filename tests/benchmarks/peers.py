"""The savers that are compared: how each is opened, and how large its file is."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph_eventlog.saver import EventLogSaver

__all__ = ["POSTGRES", "Peer", "available", "open_async", "open_peer"]

POSTGRES = "EVENTLOG_BENCH_POSTGRES"


class Peer:
    """A saver that is open.

    Args:
        name: "ours", "sqlite" (the official ones, sync or async), "memory", "postgres".
        saver: itself.
        path: of its file, if it has one.
        connection: to look at the size of the database through, if it is not ours.
    """

    def __init__(self, name: str, saver: Any, path: Path | None = None, connection: Any = None) -> None:
        self.name, self.saver, self.path, self._connection = name, saver, path, connection
        self.config: Any = None  # where the work has got to

    def size_now(self) -> int | None:
        """Give the file's size as if the WAL had just been folded in: what SQLite counts as the database's pages."""
        if self.name == "ours":
            with self.saver.log.database.reading() as connection:
                return int(connection.pragma("page_count")) * int(connection.pragma("page_size"))
        if self.name == "sqlite" and self._connection is not None:
            (pages,), (size,) = (
                self._connection.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "page_size")
            )
            return int(pages) * int(size)
        return None

    def size_closed(self) -> int | None:
        """Give the size of the files after closing: SQLite folds the WAL in then."""
        if self.path is None:
            return None
        return sum(
            Path(f"{self.path}{end}").stat().st_size for end in ("", "-wal") if Path(f"{self.path}{end}").exists()
        )


def available() -> list[str]:
    """Name the savers that can be compared here."""
    postgres = bool(os.environ.get(POSTGRES)) and find_spec("langgraph.checkpoint.postgres") is not None
    return ["ours", "sqlite", "memory", *(["postgres"] if postgres else [])]


@contextmanager
def open_peer(name: str, folder: Path, synchronous: Any) -> Iterator[Peer]:
    """Open a saver, with this setting of `synchronous` where there is one."""
    path = folder / f"{name}.db"
    if name == "ours":
        with EventLogSaver(path, synchronous=synchronous) as ours:
            yield Peer(name, ours, path)
    elif name == "sqlite":
        with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
            official = SqliteSaver(connection)
            official.setup()
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            yield Peer(name, official, path, connection)
    elif name == "memory":
        yield Peer(name, InMemorySaver())
    else:
        with _postgres(synchronous) as saver:
            yield Peer(name, saver)


@contextmanager
def _postgres(synchronous: str) -> Iterator[Any]:
    """Open a PostgresSaver in a schema of its own, which is dropped at the end."""
    import psycopg
    from langgraph.checkpoint.postgres import PostgresSaver
    from psycopg.rows import dict_row

    schema = f"eventlog_bench_{uuid.uuid4().hex}"
    with psycopg.connect(
        os.environ[POSTGRES], autocommit=True, prepare_threshold=0, row_factory=dict_row
    ) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        try:
            connection.execute(f"SET search_path TO {schema}")
            connection.execute(f"SET synchronous_commit TO {'on' if synchronous == 'FULL' else 'off'}")
            saver = PostgresSaver(connection)
            saver.setup()
            yield saver
        finally:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")


@asynccontextmanager
async def open_async(name: str, folder: Path, synchronous: Any) -> AsyncIterator[Peer]:
    """Open a saver for async code."""
    path = folder / f"{name}.db"
    if name == "ours":
        async with EventLogSaver(path, synchronous=synchronous) as ours:
            yield Peer(name, ours, path)
    elif name == "sqlite":
        async with AsyncSqliteSaver.from_conn_string(str(path)) as official:
            await official.setup()
            await official.conn.execute(f"PRAGMA synchronous = {synchronous}")
            yield Peer(name, official, path)
    else:
        yield Peer(name, InMemorySaver())
