"""Threads that are taken into another log are there what they were, whatever was done to them before."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import rule
from langgraph_eventlog.eventlog.event import NewEvent, Restate, put_of
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.moving import merging
from langgraph_eventlog.tools.moving.checking import check_provenance
from langgraph_eventlog.tools.moving.extracting import extract
from langgraph_eventlog.tools.moving.merging import merge

from .machine import SaverMachine
from .moved import compare, keys_kept
from .test_model import effort, take_everything_apart
from .values import TARGETS, plans

NAMES = sorted({str(thread) for thread in TARGETS})


class MovingMachine(SaverMachine):
    """Takes some threads into other logs in between, under other names, too; and compares."""

    @rule(
        chosen=st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True),
        rename=st.booleans(),
        all_of_it=st.sampled_from([False, False, True]),
    )
    def move(self, chosen: Sequence[str], rename: bool, all_of_it: bool) -> None:
        with self.saver.log.database.reading() as connection:
            ids = [name for name in chosen if self.saver.log.keys.find_thread(connection, name) is not None]
        if not ids:
            return
        new = {ids[0]: f"new {ids[0]}", ids[-1]: "t"} if rename else {}
        new = {old: name for old, name in new.items() if name not in ids}
        names = {old: new.get(old, old) for old in ids}
        clock: Any = lambda: self.now  # noqa: E731
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "extracted.db")
            assert extract(self.saver, path, ids, rename=new, check=True, clock=clock).threads == names
            assert [*Path(folder).iterdir()] == [path]
            with (
                EventLogSaver(path) as extracted,
                EventLogSaver(Path(folder, "merged.db"), clock=clock, indexed_metadata=["a.b"]) as merged,
            ):
                self.check(self.saver, extracted, names)
                keys_kept(self.saver, extracted)
                merged.register_thread("here before", metadata={"a": 1})
                size = 10_000 if all_of_it else 1
                with mock.patch.object(merging, "_MAX_EVENTS", size):
                    merge(merged, self.saver, ids, rename=new)
                    assert merge(merged, self.saver, ids, rename=new).threads == {}
                    self.check(self.saver, merged, names)
                # What was taken out can be taken on.
                with EventLogSaver(Path(folder, "again.db"), clock=clock) as again:
                    back = {name: old for old, name in names.items() if name != old}
                    merge(again, merged, [*names.values()], rename=back)
                    self.check(merged, again, {new: old for old, new in names.items()})
                    compare(self.saver, again, {old: old for old in names})

    @rule(plan=plans, how=st.sampled_from(["fork", "copy"]), too=st.lists(st.sampled_from(NAMES), max_size=2))
    def move_without_its_source(self, plan: Any, how: str, too: list[str]) -> None:
        """What goes on from a copy is made of what the other thread holds, which does not come along."""
        thread, ns, *more = plan
        target = next(name for name in ("c", "d", "e", "f", "9", "u", "t") if name != thread)
        if how == "fork":
            self.delete_thread(target, True)
            self.fork_thread(thread, ns, "latest", 0, target, None)
        else:
            self.delete_thread(target, True)
            self.copy_thread(thread, target)
        self.turns((target, ns, *more))
        self.copy_thread(target, "a copy of a copy")
        self.move([target, "a copy of a copy", *(name for name in too if name not in (thread, target))], False, True)
        self.delete_thread("a copy of a copy", True)

    def check(self, source: EventLogSaver, target: EventLogSaver, names: dict[str, str]) -> None:
        compare(source, target, names)
        assert [*target.log.verify()] == []
        assert [*check_provenance(target, source)] == []

    @rule(thread=st.sampled_from(NAMES), n=st.integers(0, 1000))
    def restate_one(self, thread: str, n: int) -> None:
        """The same checkpoint in other bytes, as compaction makes them; nobody but the log can tell."""
        log, views = self.saver.log, self.saver._core.views
        with log.database.reading() as connection:
            key = log.keys.find_thread(connection, thread)
            rows = [
                (ns, row)
                for stream, ns in ([] if key is None else log.keys.streams_of(connection, key))
                for row in views.history.of_stream(connection, stream)
            ]
            if not rows:
                return
            ns, row = rows[n % len(rows)]
            put = put_of(log.reader.data(connection, row.position)[1])  # type: ignore[index]
        assert put is not None
        # As the record has it: what is carried is carried still. The metadata is the row's.
        stored = put._replace(metadata=row.metadata)
        log.append(NewEvent(Restate(bool(row.hidden), stored), thread, ns))


TestMoving = MovingMachine.TestCase
TestMoving.settings = effort(12)


class TestMovingDifferences(MovingMachine.TestCase):
    """The same with everything taken apart, and stored as differences however small."""

    settings = effort(8)

    def setUp(self) -> None:
        take_everything_apart(self)
