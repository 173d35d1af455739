"""Declaring metadata keys to look checkpoints up by: what is there already is taken in, in short transactions.

Not in one: a log of a million checkpoints takes many seconds, in which nobody else could append. So a key is first
noted as incomplete, and meta.generation raised: from then on every append keeps it. Then `history` is gone through in
batches, and the key noted as complete, upon which listings use it. A kill leaves it incomplete; whoever declares it
next begins again, over what is there.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from ..eventlog.group_commit import GenerationChangedError
from ..eventlog.log import EventLog
from ..eventlog.sql import the_row
from .builtin import BuiltIn
from .metadata_index import BELOW_ALL
from .rebuild import NEXT_GENERATION

__all__ = ["GENERATION", "declare"]

_BATCH = 500
GENERATION = "SELECT generation FROM meta"


def declare(log: EventLog, views: BuiltIn, names: Sequence[str], generation: int) -> int:
    """Add the keys that the file does not have, complete those that are not, and give the file's generation.

    Raises:
        GenerationChangedError: it was not `generation`: nothing is known of the tables, which may be others now.
    """
    index = views.metadata_index
    missing = [name for name in names if name not in index.names]
    incomplete = [name for name in names if not index.names.get(name)]
    after: tuple[int, bytes] | None = BELOW_ALL if incomplete else None
    while after is not None:
        with log.database.writing() as connection:
            _check(connection, generation)
            if missing:
                index.declare(connection, missing)
                generation = the_row(connection, NEXT_GENERATION)[0]
                missing = []
            after = index.take_in(connection, incomplete, after, _BATCH)
            if after is None:
                index.complete(connection, incomplete)
    return generation


def _check(connection: apsw.Connection, generation: int) -> None:
    if the_row(connection, GENERATION)[0] != generation:
        raise GenerationChangedError
