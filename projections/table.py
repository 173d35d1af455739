"""What the built-in projections' tables have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from itertools import product
from typing import Any, ClassVar

from ..eventlog.errors import LogDamagedError
from .ids import ABOVE_ALL_IDS

__all__ = ["ABOVE_ALL", "OR_NULL", "RowTypes", "Table", "check_progress", "check_row", "row_types"]

# A (checkpoint_id, stream), the id as its key, that every other is below.
ABOVE_ALL = (ABOVE_ALL_IDS, 0)

# What the columns of a row may be.
RowTypes = frozenset[tuple[type, ...]]
OR_NULL = type(None)


def row_types(*columns: type | tuple[type, ...]) -> RowTypes:
    """Say what a row holds: for each column its type, or its types."""
    return frozenset(product(*[column if isinstance(column, tuple) else (column,) for column in columns]))


def check_row(row: Iterable[Any], types: RowTypes) -> None:
    """Check what SQLite gave: STRICT lets nothing else in, but a flipped bit in a row's header changes what it reads.

    Raises:
        LogDamagedError: a column holds what it cannot hold.
    """
    if tuple(map(type, row)) not in types:
        raise LogDamagedError("a row of a projection is damaged: it holds what it cannot hold. rebuild() mends that")


def check_progress(*, is_further: bool) -> None:
    """Check that a page of a table is further than the one before: whoever reads to the end would never get there.

    Raises:
        LogDamagedError: it is not.
    """
    if not is_further:
        raise LogDamagedError("rows of a projection are not in their order. rebuild() mends that")


@cache
def _named(suffix: str, sql: str) -> str:
    return sql.replace("@", suffix)


class Table:
    """A table of a built-in projection, or with a suffix the shadow in which it is being rebuilt.

    Ids go in and come out as texts; the table holds their keys (`ids.to_key`).

    SQL is written with `@` behind table names, where the suffix goes: a constant of this package, never input.

    Attributes:
        name: of the projection and its table.
        schema_version: add 1 when the table, or what events do to it, changes: files are then rebuilt when opened.
        key: the columns of the primary key, in order.
        ddl: makes the table. Indexes are UNIQUE constraints, because those are renamed with it.
        derived: says in SQL which rows are what the log gives; others are still being made.
    """

    name: ClassVar[str]
    schema_version: ClassVar[int]
    key: ClassVar[str]
    ddl: ClassVar[str]
    derived: ClassVar[str] = "1"

    def __init__(self, suffix: str = "") -> None:
        self.suffix = suffix
        # Gives the SQL for this table or its shadow; of as many texts as there are constants.
        self.sql: Callable[[str], str] = partial(_named, suffix)
