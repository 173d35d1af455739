"""Checking a log against FORMAT.md section 9: findings are yielded, never raised.

Memory does not grow with the log, but for a bit for each position up to the last one erased, and for the streams that
copies made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

import apsw

from .chain import ChainCheck
from .coverage import Coverage
from .database import Database
from .event import Head
from .finding import Finding
from .integrity import genesis_link
from .opening import APPLICATION_ID, FORMAT_VERSION, expected_schema, folded
from .reader import EventReader
from .sql import all_rows, one_row, the_row

__all__ = ["verify_log"]

_META = "SELECT id, head, link, log_id, created_at FROM meta"
# Keys are given in order, and never taken away.
_LAST_KEYS = "SELECT (SELECT coalesce(max(stream), 0) FROM stream), (SELECT coalesce(max(thread), 0) FROM thread)"
_UNUSED_STREAMS = """
SELECT s.stream FROM stream AS s NOT INDEXED
WHERE s.stream <= ? AND NOT EXISTS (SELECT 1 FROM event AS e WHERE e.stream = s.stream) LIMIT 1000"""
_UNUSED_THREADS = """
SELECT t.thread FROM thread AS t NOT INDEXED
WHERE t.thread <= ? AND NOT EXISTS (SELECT 1 FROM stream AS s WHERE s.thread = t.thread) LIMIT 1000"""
_STREAM_KEY = """
SELECT stream FROM stream AS s JOIN thread AS t USING (thread) WHERE t.thread_id = ? AND s.checkpoint_ns = ?"""
_SCHEMA = """
SELECT type, CAST(name AS BLOB), CAST(tbl_name AS BLOB), rootpage, CAST(sql AS BLOB) FROM sqlite_schema"""
_PROJECTIONS = "SELECT CAST(name AS BLOB) FROM projection"


def verify_log(
    database: Database, reader: EventReader, *, anchors: Collection[Head], quick: bool, coverage: Coverage
) -> Iterator[Finding]:
    """Check the file's structure, the events up to the present head, and the chain; and that it has the anchors.

    Reads in batches, with no transaction held between them, so that it can run beside writers.

    Args:
        database: the log.
        reader: of its events.
        anchors: heads that it had.
        quick: only the chain and what it is made of: SQLite's own check is left out, and records that hold values are
            hashed, but not decoded.
        coverage: is told what is done.
    """
    with database.reading() as connection:
        found = [] if quick else list(_check_sqlite(connection))
        found += _check_file(connection)
        metas = all_rows(connection, _META)
        last_stream, last_thread = the_row(connection, _LAST_KEYS)
    yield from found
    if len(metas) != 1:
        yield Finding("meta", None, f"the table meta has {len(metas)} rows, not one")
        return
    _, head, head_link, log_id, created_at = metas[0]
    if [type(value) for value in metas[0][1:]] != [int, bytes, bytes, int]:
        yield Finding("meta", None, "the table meta holds what it cannot hold")
        return
    coverage.log_id = log_id
    link = genesis_link(log_id=log_id, created_at=created_at)
    chain = ChainCheck(database, reader, head=head, link=link, anchors=anchors, quick=quick, coverage=coverage)
    yield from chain.check()
    if chain.link != head_link:
        yield Finding("head", head, "the chain does not end in the link that the table meta holds")
    yield from chain.check_anchors()
    with database.reading() as connection:
        found = list(_check_streams(connection, chain.copied_streams, last_stream, last_thread))
    yield from found


def _check_sqlite(connection: apsw.Connection) -> Iterator[Finding]:
    try:
        for (line,) in connection.execute("PRAGMA integrity_check(100)"):
            if line != "ok":
                yield Finding("sqlite", None, line)
    except (apsw.Error, UnicodeDecodeError) as e:
        yield Finding("sqlite", None, f"SQLite's own check stopped: {type(e).__name__}")


def _check_file(connection: apsw.Connection) -> Iterator[Finding]:
    expected = {"application_id": APPLICATION_ID, "user_version": FORMAT_VERSION, "auto_vacuum": 2, "encoding": "UTF-8"}
    for name, value in expected.items():
        found = connection.pragma(name)
        if found != value:
            yield Finding("schema", None, f"{name} is {found!r}, not {value!r}")
    yield from _check_schema(connection)


def _check_schema(connection: apsw.Connection) -> Iterator[Finding]:
    def text(value: bytes | None) -> str:
        return "" if value is None else value.decode(errors="replace")

    rows = [
        (kind, text(name), text(table), root, text(sql))
        for kind, name, table, root, sql in all_rows(connection, _SCHEMA)
    ]
    found = {name: (kind, table, folded(sql)) for kind, name, table, _, sql in rows}
    expected = expected_schema()
    for name, entry in expected.items():
        if found.get(name) != entry:
            yield Finding("schema", None, f"{name} is {'missing' if name not in found else 'changed'} in the schema")
    owners = [text(name) for (name,) in all_rows(connection, _PROJECTIONS)]
    for kind, name, table, root, sql in rows:
        log_table, own = table in expected, any(table == owner or table.startswith(f"{owner}_") for owner in owners)
        automatic = kind == "index" and not sql and name.startswith(f"sqlite_autoindex_{table}_")
        belongs = name in expected or (automatic and (log_table or own)) or (own and kind in ("table", "index"))
        if not belongs:
            yield Finding("schema", None, f"the {kind} {name} on {table} does not belong there")
        elif (kind in ("table", "index")) != (root > 0):
            yield Finding("schema", None, f"the {kind} {name} is not where it should be in the file")


def _check_streams(
    connection: apsw.Connection, copied: set[tuple[str, str]], last_stream: int, last_thread: int
) -> Iterator[Finding]:
    # Of later ones nothing is known: the events that made them were not looked at.
    if one_row(connection, "SELECT 1 FROM erased LIMIT 1"):
        return  # whose stream an erased event had is not known any more
    used = set()
    for address in copied:
        # A hostile copy may name what cannot be stored: no stream is called that.
        with contextlib.suppress(UnicodeEncodeError):
            used |= {row[0] for row in connection.execute(_STREAM_KEY, address)}
    for (stream,) in connection.execute(_UNUSED_STREAMS, (last_stream,)):
        if stream not in used:
            yield Finding("stream", None, f"stream {stream} is used by no event")
    for (thread,) in connection.execute(_UNUSED_THREADS, (last_thread,)):
        yield Finding("stream", None, f"thread {thread} is used by no stream")
