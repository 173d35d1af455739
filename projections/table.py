"""What the built-in projections' tables have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar

from .ids import ABOVE_ALL_IDS

__all__ = ["ABOVE_ALL", "Table"]

# A (checkpoint_id, stream), the id as its key, that every other is below.
ABOVE_ALL = (ABOVE_ALL_IDS, 0)


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
        self.sql: Callable[[str], str] = lru_cache(maxsize=None)(lambda sql: sql.replace("@", suffix))
