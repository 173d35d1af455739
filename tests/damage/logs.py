"""The log that is damaged: every kind of event and value, delta channels; and what can be read of it."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import apsw
from langgraph_eventlog.eventlog import CorruptRecordError, EventLogError, RecordedEvent
from langgraph_eventlog.projections.ids import from_key
from langgraph_eventlog.saver import EventLogSaver

GOLDEN = Path(__file__).parents[1] / "golden" / "make.py"
ALL_CHECKPOINTS = " UNION ALL ".join(
    f"SELECT thread_id, checkpoint_ns, checkpoint_id FROM {table} JOIN stream USING (stream) JOIN thread USING (thread)"
    for table in ("history", "history_recent")
)


class Name(NamedTuple):
    """Which checkpoint."""

    thread: str
    ns: str
    id: str


def golden() -> ModuleType:
    """tests/golden/make.py."""
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fill(saver: EventLogSaver) -> None:
    """Append every kind of event and value, patches of put_writes, and a thread with delta channels."""
    make = golden()
    make.fill_everything(saver)
    make.fill_similar(saver)
    make.fill_restated(saver)
    for thread in ("delta", "delta 2"):
        for n in range(1, 8):
            values = {"turn": n, **({"log": [f"all until {n}"]} if n == 3 else {})}
            checkpoint = {
                **make.checkpoint(f"e{n}", **values),
                "channel_versions": {"turn": f"{n}.0", "log": f"{n}.0", "rare": "1.0", "branch:to:node": "1.0"},
            }
            parent = {1: None, 6: "e2", 7: "e5"}.get(n, f"e{n - 1}")
            saver.put(make.config(thread, parent), checkpoint, {"step": n, "owner": "ann"}, {})
            writes = [("log", [f"turn {n}"]), *([("rare", n)] if n == 1 else [])]
            saver.put_writes(make.config(thread, f"e{n}"), writes, f"task {n}")
    saver.copy_thread("delta 2", "delta 3")
    saver.prune(["delta 2"])
    # What was put last stands in a table of its own.
    make.put(saver, "newest", "c1")
    make.put(saver, "newest", "c2", "c1")


def make(path: Path) -> None:
    """Make the log."""
    with EventLogSaver(path, clock=golden().ticking(), synchronous="NORMAL", indexed_metadata=["owner"]) as saver:
        fill(saver)


def config(name: Name) -> Any:
    """The config of a checkpoint."""
    return {"configurable": {"thread_id": name.thread, "checkpoint_ns": name.ns, "checkpoint_id": name.id}}


@contextlib.contextmanager
def untriggered(path: Path) -> Iterator[apsw.Connection]:
    """Someone with write access, who takes the triggers away and puts them back: only data differs afterwards."""
    connection = apsw.Connection(str(path))
    try:
        connection.pragma("synchronous", "OFF")
        with connection:
            triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            yield connection
            for _, sql in triggers:
                connection.execute(sql)
    finally:
        connection.close()


class Truth:
    """What can be read of the log as long as it is whole."""

    def __init__(self, path: Path) -> None:
        with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            rows = connection.execute(ALL_CHECKPOINTS).fetchall()
        self.names = [Name(thread, ns, from_key(key)) for thread, ns, key in rows]
        with EventLogSaver(path) as saver:
            self.tuples = {name: saver.get_tuple(config(name)) for name in self.names}
            assert None not in self.tuples.values()
            self.listed = [described(found) for found in saver.list(None)]
            self.threads = list(saver.threads())
            self.events = {event.position: event for event in saver.log.read()}
            self.lost_channels = {name: self._channels(name) for name in self.names}
            self.histories = {
                name: saver.get_delta_channel_history(config=config(name), channels=channels)
                for name, channels in self.lost_channels.items()
            }
            self.head = saver.log.head()

    def _channels(self, name: Name) -> list[str]:
        """The channels that may be delta channels: a version, but no value."""
        checkpoint = self.tuples[name].checkpoint  # type: ignore[union-attr]
        versioned = set(checkpoint["channel_versions"]) - set(checkpoint["channel_values"])
        return sorted(channel for channel in versioned if not channel.startswith(("branch:to:", "__")))


def described(found: Any) -> Any:
    """A checkpoint's values, and no projection's: these have a digest."""
    return found.config, found.checkpoint, found.pending_writes, found.parent_config, found.metadata


class Seen:
    """What a saver that has never read it reads of a damaged log: values, or one of our errors."""

    def __init__(self, saver: EventLogSaver, truth: Truth, *, everything: bool = True) -> None:
        self.failed: dict[Name, EventLogError] = {}
        self.missing: list[Name] = []
        self.different: list[Name] = []
        self.lost: dict[Name, list[str]] = {}
        self.events: dict[int, RecordedEvent] = {}
        self.corrupt: dict[int, CorruptRecordError] = {}
        self.errors: list[EventLogError] = []
        for name in truth.names:
            self._look(saver, truth, name)
        if everything:
            self._read(saver)
            self._list(saver, truth)

    @property
    def as_it_was(self) -> bool:
        """Whether nothing that was read differs from the truth, or is missing; errors apart."""
        return not (self.missing or self.different)

    def _look(self, saver: EventLogSaver, truth: Truth, name: Name) -> None:
        try:
            found = saver.get_tuple(config(name))
        except EventLogError as e:
            self.failed[name] = e
            return
        if found is None:
            self.missing.append(name)
            return
        if found != truth.tuples[name]:
            self.different.append(name)
        channels = truth.lost_channels[name]
        if self._histories(saver, truth, name, channels) is None:
            each = {channel: self._histories(saver, truth, name, [channel]) for channel in channels}
            self.lost[name] = [channel for channel, found in each.items() if found is None]

    def _histories(self, saver: EventLogSaver, truth: Truth, name: Name, channels: list[str]) -> Any:
        try:
            found = saver.get_delta_channel_history(config=config(name), channels=channels)
        except EventLogError:
            return None
        if found != {channel: truth.histories[name][channel] for channel in channels}:
            self.different.append(name)
        return found

    def _read(self, saver: EventLogSaver) -> None:
        """Go on behind each damaged event."""
        position = 0
        while True:
            try:
                for event in saver.log.read(after=position):
                    self.events[event.position] = event
                    position = event.position
                return
            except CorruptRecordError as e:
                if e.position <= position or e.position in self.corrupt:
                    return  # a position that is damaged itself: there is no going on behind it
                self.corrupt[e.position] = e
                position = e.position
            except EventLogError as e:
                self.errors.append(e)
                return

    def _list(self, saver: EventLogSaver, truth: Truth) -> None:
        try:
            if [described(found) for found in saver.list(None)] != truth.listed or list(
                saver.threads()
            ) != truth.threads:
                self.different.append(Name("", "", "list"))
        except EventLogError as e:
            self.errors.append(e)
