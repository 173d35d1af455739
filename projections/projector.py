"""The projector: keeps every projection in step with the log, in the transaction of each append."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apsw

from ..eventlog.errors import ConfigError, LogDamagedError, NewerFormatError
from ..eventlog.event import RecordedEvent
from ..eventlog.finding import Finding
from ..eventlog.group_commit import GenerationChangedError
from ..eventlog.log import EventLog
from ..eventlog.sql import all_rows, the_row
from .builtin import BuiltIn
from .check import compare_with_rebuild
from .declaring import GENERATION, declare
from .projection import check_apart
from .rebuild import RebuildTakenOverError, create_tables, rebuild, record_versions, wait_for_another
from .registered import RegisteredProjection

__all__ = ["Projector"]

# CAST: what is damaged is a version that nobody knows, and rebuilt.
_VERSIONS = "SELECT name, CAST(schema_version AS INTEGER) FROM projection"


class Projector:
    """Follows one log with the built-in projections and a user's own.

    Args:
        projections: the user's; see `projection.Projection`.
        indexed_metadata: names of metadata keys to look checkpoints up by, besides those that the file has already.
    """

    def __init__(self, projections: Sequence[Any] = (), *, indexed_metadata: Sequence[str] = ()) -> None:
        self._indexed_metadata = tuple(indexed_metadata)
        self._registered = [RegisteredProjection(projection) for projection in projections]
        names = [registered.name for registered in self._registered]
        if len(set(names)) != len(names):
            raise ConfigError(f"two projections have the same name: {sorted(names)}")
        for name in names:
            check_apart(name, names)
        self._log: EventLog | None = None
        self._builtin: BuiltIn | None = None

    @property
    def views(self) -> BuiltIn:
        """The built-in projections, to read from."""
        assert self._builtin is not None
        return self._builtin

    def attach(self, log: EventLog) -> int:
        """Bring every projection up to date, and give the file's generation.

        Raises:
            NewerFormatError: a newer version of this library has changed their shape.
        """
        self._log = log
        views = BuiltIn(log.reader, log.keys)
        generation = self._check_read_only(log, views) if log.database.read_only else self._ensure_all(log, views)
        self._builtin = views  # not before it knows what the file declares: other threads append and list meanwhile
        for registered in self._registered:
            registered.attach(log)
        return generation

    def _ensure_all(self, log: EventLog, views: BuiltIn) -> int:
        while True:
            generation = self._ensure_builtin(log, views)
            try:
                return declare(log, views, self._indexed_metadata, generation)
            except GenerationChangedError:
                continue  # another process has changed the tables meanwhile: look again

    def _ensure_builtin(self, log: EventLog, views: BuiltIn) -> int:
        with log.database.reading() as connection:
            versions: dict[str, int] = dict(all_rows(connection, _VERSIONS))
            if self._is_up_to_date(log, views, versions):
                return self._look(connection, views)
        while True:
            with log.database.writing() as connection:
                versions = dict(all_rows(connection, _VERSIONS))
                up_to_date = self._is_up_to_date(log, views, versions)
                if not versions and log.reader.head(connection).position == 0:
                    create_tables(connection, views)
                    record_versions(connection, views)
                    up_to_date = True
                if up_to_date:
                    return self._look(connection, views)
            if wait_for_another(log):
                continue
            # If another takes over, it opened the file at the same time: it is waited for.
            with contextlib.suppress(RebuildTakenOverError):
                rebuild(log)

    def _look(self, connection: apsw.Connection, views: BuiltIn) -> int:
        views.metadata_index.look(connection)
        generation: int = the_row(connection, GENERATION)[0]
        return generation

    def _check_read_only(self, log: EventLog, views: BuiltIn) -> int:
        with log.database.reading() as connection:
            versions: dict[str, int] = dict(all_rows(connection, _VERSIONS))
            generation: int = the_row(connection, GENERATION)[0]
        if not self._is_up_to_date(log, views, versions):
            raise LogDamagedError(
                f"the projections of {log.path} are of an older version, and read_only=True does not rebuild them: "
                "open it once for writing"
            )
        return generation

    def _is_up_to_date(self, log: EventLog, views: BuiltIn, versions: dict[str, int]) -> bool:
        for table in views.tables:
            found = versions.get(table.name, 0)
            if found > table.schema_version:
                raise NewerFormatError(
                    f"the projection {table.name} of {log.path} has schema version {found}, and this library knows "
                    f"{table.schema_version}: upgrade langgraph-checkpoint-eventlog",
                    path=log.path,
                    found=found,
                    supported=table.schema_version,
                )
        return all(versions.get(table.name) == table.schema_version for table in views.tables)

    def apply(self, connection: apsw.Connection, event: RecordedEvent) -> None:
        """Take in an event in the transaction that appends it."""
        assert self._log is not None
        assert self._builtin is not None
        self._builtin.apply(connection, event)
        for registered in self._registered:
            registered.join(connection, self._log, event)

    def rebuild(self, name: str | None = None, progress: Callable[[int, int], None] | None = None) -> None:
        """Rebuild the built-in projections (None), or the user's of that name, from the log.

        `progress` is told up to which position the built-in ones are made, and up to which they will be.

        Raises:
            ConfigError: no projection of that name was given.
        """
        assert self._log is not None
        if name is None:
            rebuild(self._log, progress)
            return
        for registered in self._registered:
            if registered.name == name:
                registered.rebuild(self._log)
                return
        raise ConfigError(f"no projection {name!r} was given: there are {[r.name for r in self._registered]}")

    def catch_up(self) -> None:
        """Take into the user's projections what other processes have appended without them."""
        assert self._log is not None
        for registered in self._registered:
            registered.catch_up(self._log)

    @property
    def carrying(self) -> list[RegisteredProjection]:
        """Those of the user's projections that have facts to carry over an erasure."""
        return [registered for registered in self._registered if registered.can_carry]

    def verify(self, log: EventLog, progress: Callable[[int, int], None]) -> Iterator[Finding]:
        """Yield every difference between the built-in projections and a rebuild."""
        return compare_with_rebuild(log, progress)
