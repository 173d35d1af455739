"""The rules that drive a saver and the model side by side, and compare everything that can be read after each step."""

from __future__ import annotations

import copy
import itertools
import random
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import CheckpointTuple, get_checkpoint_metadata
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_eventlog.eventlog import ThreadExistsError
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.saver.compaction.compacting import Compactor
from langgraph_eventlog.saver.compaction.pacing import Pace

from ..saver.affected import Plan, named, pointed_at, restate
from .model import Exists, Model, Stream, Wrong
from .seeing import config_of, exact, key_of, mutate, same, seen, spoil, told
from .survivors import Survivors
from .values import (
    ABOUT,
    CHANNELS,
    CHAT,
    DECLARED,
    DELTAS,
    FIELDS,
    FILTERS,
    IDS,
    NAMESPACES,
    RUNS,
    TARGETS,
    TASKS,
    THREADS,
    batches,
    budgets,
    edits,
    from_list,
    parents,
    plans,
    some,
)

__all__ = ["SaverMachine"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SaverMachine(RuleBasedStateMachine):
    """A saver on a file that is reopened, and opened a second time, as it goes; they may take turns.

    What each remembers of what it has put is bounded: amply, tightly, or to nothing.
    """

    path = "agent.db"

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.model = Model()
        self.steps = 0
        self.skew = 0
        self.memory_bytes = 0
        self.savers: list[EventLogSaver] = []
        self.active = 0
        self.turn_about = False
        self.given: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.reading: Iterator[CheckpointTuple] | None = None

    def open(self) -> EventLogSaver:
        path = ":memory:" if self.path == ":memory:" else Path(self.folder.name, self.path)
        return EventLogSaver(
            path,
            synchronous="NORMAL",
            clock=lambda: self.now,
            indexed_metadata=DECLARED[self.steps % len(DECLARED)],
            memory_bytes=self.memory_bytes,
        )

    @property
    def now(self) -> int:
        return 1_767_225_600_000_000 + 1_000_000 * self.steps + self.skew

    @property
    def saver(self) -> EventLogSaver:
        return self.savers[self.active % len(self.savers)]

    def teardown(self) -> None:
        try:
            # At the end everything that may go, goes; and then the projections are made anew from what is left.
            if self.savers and not self.saver.log.closed:
                self.saver.compact()
                self.saver.rebuild()
                self.everything_that_is_listed()
                self.the_threads()
                self.the_history_of_delta_channels()
            findings = [finding for saver in self.savers for finding in saver.log.verify()]
            assert findings == []
        finally:
            for saver in self.savers:
                saver.close()
            self.folder.cleanup()

    def both(self, act: Callable[[], Any], tell: Callable[[int], Any]) -> Any:
        """Do the same with the saver and with the model: both refuse, or neither."""
        self.steps += 1
        self.active += self.turn_about
        try:
            expected = tell(self.now)
        except (Exists, Wrong) as refused:
            exists = isinstance(refused, Exists)
        else:
            return act(), expected
        with pytest.raises(ValueError) as caught:  # noqa: PT011  the texts are for people
            act()
        assert isinstance(caught.value, ThreadExistsError) == exists
        return None

    # Putting.

    def pick(self, stream: Stream, which: str | None, n: int) -> str | None:
        there = sorted(self.model.checkpoints.get(stream, {}))
        if which == "latest":
            return self.model.latest(stream)
        if which == "any":
            return there[n % len(there)] if there else None
        return IDS[n % len(IDS)] if which == "pool" else which

    def next_id(self, stream: Stream) -> str:
        numbers = [int(i) for i in self.model.checkpoints.get(stream, {}) if i.isdecimal() and len(i) == 3]
        return f"{max(numbers, default=-1) + 1:03}"

    def do_put(
        self,
        thread: Any,
        ns: str | None,
        parent: str | None,
        checkpoint_id: str,
        values: dict[str, Any],
        versions: Any,
        metadata: Any,
    ) -> None:
        stream = (str(thread), ns or "")
        config = config_of(thread, ns, parent)
        config["metadata"] = {"tenant": "acme", "step": 99, "thread_id": "not this"}
        config["configurable"]["user_id"] = "u\0"
        checkpoint = {
            "v": 4,
            "ts": f"2026-01-01T00:00:{self.steps % 60:02}+00:00",
            "id": checkpoint_id,
            "channel_values": values,
            "channel_versions": versions,
            "versions_seen": {"n": dict(versions)} if versions else {},
            "updated_channels": sorted(values) if self.steps % 3 else None,
            **({"more": [1, {2}]} if self.steps % 5 == 0 else {}),
        }
        merged = get_checkpoint_metadata(config, metadata)
        returned, _ = self.both(
            lambda: self.saver.put(config, checkpoint, metadata, dict(list(versions.items())[:1])),
            lambda now: self.model.put(*stream, parent or None, checkpoint, merged, now),
        )
        assert returned == config_of(thread, stream[1], checkpoint_id)
        metadata.clear()
        self.given[*stream, checkpoint_id] = checkpoint

    def of_parent(self, stream: Stream, parent: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The very objects that were put there, as a graph hands them on; and versions."""
        one = self.given.get((*stream, parent or ""))
        return ({}, {}) if one is None else (dict(one["channel_values"]), dict(one["channel_versions"]))

    @rule(
        thread=st.sampled_from(THREADS),
        ns=st.sampled_from(NAMESPACES),
        parent=parents,
        n=some,
        id_from=st.sampled_from(["next", "next", "any", "pool", "pool"]),
        m=some,
        edits=edits,
        fresh=st.sampled_from([False, False, False, True]),
        metadata=st.fixed_dictionaries(
            {"source": st.sampled_from(["loop", "fork"]), "step": st.integers(-1, 2)},
            optional={"run_id": st.sampled_from(RUNS)},
        ),
        fields=from_list(FIELDS),
        root=st.sampled_from(["latest", "any", "pool", None]),
    )
    def put(self, thread, ns, parent, n, id_from, m, edits, fresh, metadata, fields, root) -> None:
        stream = (str(thread), ns or "")
        parent_id = self.pick(stream, parent, n)
        checkpoint_id = (self.pick(stream, id_from, m) if id_from != "next" else None) or self.next_id(stream)
        values, versions = self.of_parent(stream, parent_id)
        if fresh:
            versions = {}
        for channel, how, value, versioned in edits:
            if how == "drop":
                values.pop(channel, None)
            elif how == "again":
                values[channel] = copy.deepcopy(values.get(channel, value))
            elif how == "set" or not mutate(values.get(channel), value):
                values[channel] = value
            if versioned:
                versions[channel] = f"{self.steps:05}.5"
        metadata |= {**fields, "thread_id": str(thread)}
        if stream[1]:
            metadata["parents"] = {"": root_id} if (root_id := self.pick((stream[0], ""), root, m)) else {}
        self.do_put(thread, ns, parent_id, checkpoint_id, values, versions, metadata)

    @initialize(plans=st.lists(plans, min_size=2, max_size=4), memory_bytes=budgets, turn_about=st.booleans())
    def begin(self, plans, memory_bytes, turn_about) -> None:
        self.memory_bytes, self.turn_about = memory_bytes, turn_about
        self.savers = [self.open() for _ in range(2 if turn_about and self.path != ":memory:" else 1)]
        for plan in plans:
            self.turns(plan)

    @rule(plan=plans)
    def turns(self, plan) -> None:
        """What a graph with delta channels does: writes at the latest checkpoint, then the next without values."""
        thread, ns, count, snapshot_at, runs, writes = plan
        stream = (thread, ns)
        for turn in range(count):
            latest = self.model.latest(stream)
            said = HumanMessage(f"turn {self.steps}", id=f"turn {self.steps}")
            written = [*copy.deepcopy(writes), ("messages", [copy.deepcopy(said)])]
            if latest is not None:
                self.put_writes(thread, ns, "latest", 0, [(f"task{turn}", "")], written)
            values, versions = self.of_parent(stream, latest)
            messages = values.get("messages")
            values["messages"] = [*(messages if isinstance(messages, list) else copy.deepcopy(CHAT)), said]
            values = {channel: value for channel, value in values.items() if channel not in DELTAS}
            versions |= dict.fromkeys(DELTAS, f"{self.steps:05}.5")
            if turn == snapshot_at:
                values[DELTAS[turn % 2]] = [value for _, value in copy.deepcopy(writes)]
            metadata = {"source": "loop", "step": self.steps, "run_id": runs[turn % len(runs)]}
            if ns and (root := self.model.latest((thread, ""))):
                metadata["parents"] = {"": root}
            self.do_put(thread, ns, latest, self.next_id(stream), values, versions, metadata)

    @rule(
        thread=st.sampled_from(THREADS),
        ns=st.sampled_from(NAMESPACES),
        which=st.sampled_from(["latest", "latest", "any", "pool"]),
        n=some,
        tasks=st.lists(st.sampled_from(TASKS), min_size=1, max_size=2),
        writes=batches,
    )
    def put_writes(self, thread, ns, which, n, tasks, writes) -> None:
        """At a checkpoint that is there, or one that comes later, or never."""
        stream = (str(thread), ns or "")
        checkpoint_id = self.pick(stream, which, n) or IDS[n % len(IDS)]
        for task in tasks:
            self.both(
                lambda task=task: self.saver.put_writes(config_of(thread, ns, checkpoint_id), writes, *task),
                lambda now, task=task: self.model.put_writes(*stream, checkpoint_id, task, writes, now),
            )
        for _, value in writes:
            mutate(value, 5)

    # Compacting: the model is not told, because nothing that it knows of changes.

    @rule(
        first=st.sampled_from([None, None, "prune", "delete a run", "delete a thread"]),
        which=some,
        thorough=st.booleans(),
        vacuum=st.sampled_from([False, False, False, True]),
        stop=st.sampled_from([None, None, 1, 2, 4]),
    )
    def compact(self, first, which, thorough, vacuum, stop) -> None:
        """All of it, or as far as a kill would let it get."""
        if first == "prune":
            self.prune([TARGETS[which % len(TARGETS)]], "keep_latest")
        elif first == "delete a run":
            self.delete_for_runs([str(RUNS[which % len(RUNS)])])
        elif first == "delete a thread":
            self.delete_thread(TARGETS[which % len(TARGETS)], sure=True)
        if stop is None:
            expected = self.saver.compact(thorough=thorough, dry_run=True)
            report = self.saver.compact(thorough=thorough, vacuum=vacuum)
            assert report.complete
            assert (report.events_erased, report.restated) == (expected.events_erased, expected.restated)
            assert self.saver.compact(thorough=thorough, dry_run=True).complete
        else:
            done = itertools.count(1)
            pace = Pace(clock=itertools.count(0, 0.002).__next__, sleep=lambda _: None)
            Compactor(self.saver._core, stopped=lambda: next(done) > stop, pace=pace).run()
        assert [*self.saver.log.verify()] == []

    # Removing and copying.

    @rule(thread=st.sampled_from(TARGETS), sure=st.sampled_from([False, False, True]))
    def delete_thread(self, thread, sure) -> None:
        if sure:  # else too much is deleted for the other rules to have something to work on
            self.both(lambda: self.saver.delete_thread(thread), lambda _: self.model.delete_thread(str(thread)))

    @rule(runs=st.lists(st.sampled_from(["r1", "r2", "3", "no run"]), min_size=1, max_size=2))
    def delete_for_runs(self, runs) -> None:
        with Survivors(self):
            self.both(lambda: self.saver.delete_for_runs(runs), lambda _: self.model.delete_for_runs(runs))

    @rule(
        threads=st.lists(st.sampled_from(TARGETS), min_size=1, max_size=2),
        strategy=st.sampled_from(["keep_latest"] * 7 + ["delete"]),
    )
    def prune(self, threads, strategy) -> None:
        with Survivors(self):
            names = [str(thread) for thread in threads]
            self.both(lambda: self.saver.prune(threads, strategy=strategy), lambda _: self.model.prune(names, strategy))

    @rule(source=st.sampled_from(TARGETS), to=st.sampled_from(TARGETS))
    def copy_thread(self, source, to) -> None:
        self.both(
            lambda: self.saver.copy_thread(source, to), lambda now: self.model.copy_thread(str(source), str(to), now)
        )

    @rule(
        thread=st.sampled_from(["t", "t", "u", "c", 7]),
        ns=st.sampled_from(NAMESPACES),
        which=st.sampled_from(["latest", None, "any", "any", "any", "pool"]),
        n=some,
        to=st.sampled_from(["c", "d", "e", "f", 9, "t"]),
        about=from_list([None, None, {}, {"a": 1}]),
    )
    def fork_thread(self, thread, ns, which, n, to, about) -> None:
        stream = (str(thread), ns or "")
        point = self.pick(stream, which, n)
        done = self.both(
            lambda: self.saver.fork_thread(config_of(thread, ns, point), to, about),
            lambda now: self.model.fork_thread(*stream, point, str(to), about, now),
        )
        if done is not None:
            assert done[0] == config_of(to, stream[1], done[1])

    @rule(
        thread=st.sampled_from(TARGETS), name=st.sampled_from([None, None, "Name", "", "Other"]), about=from_list(ABOUT)
    )
    def register_thread(self, thread, name, about) -> None:
        info, _ = self.both(
            lambda: self.saver.register_thread(thread, name, about),
            lambda now: self.model.register_thread(str(thread), name, about, now),
        )
        facts = self.model.facts[str(thread)]
        assert (info.thread_id, info.name, told(info.metadata)) == (str(thread), facts.name, told(facts.metadata))

    # The file, and who has it open.

    @precondition(lambda self: self.path != ":memory:")
    @rule(what=st.sampled_from(["reopen", "open another", "close one", "change"]), memory_bytes=budgets)
    def who_has_it_open(self, what, memory_bytes) -> None:
        self.active += 1
        self.memory_bytes = memory_bytes
        if what == "open another" and len(self.savers) < 3:
            self.savers.append(self.open())
        elif what in ("reopen", "close one"):
            self.stop_reading()
            for saver in self.savers if what == "reopen" else self.savers[:1]:
                saver.close()
            self.savers = [saver for saver in self.savers if not saver.log.closed] or [self.open()]

    @rule(what=st.sampled_from(["rebuild", "new serde", "clock goes on", "clock goes back", "clock is right"]))
    def housekeeping(self, what) -> None:
        match what:
            case "rebuild":
                self.saver.rebuild()
            case "new serde":
                self.saver.serde = JsonPlusSerializer()
            case _:
                # No two times are the same: which of two threads comes first would not be said.
                self.skew = {"clock goes on": 5_600_000, "clock goes back": -7_300_000, "clock is right": 0}[what]

    @rule(share=st.sampled_from([0, 0, 0.1, 0.3, 1]), seed=st.integers(0, 1000))
    def restate(self, share, seed) -> None:
        """What is kept, without what goes: any record may be said to go. The model is not told: nothing changes."""
        chance = random.Random(seed)
        also = {position for position in sorted(pointed_at(self.saver)) if chance.random() < share}
        plan = Plan.of(self.saver, also)
        result = restate(self.saver, plan)
        assert result.left == 0
        assert not pointed_at(self.saver) & plan.affected
        assert not named(self.saver) & (plan.affected | plan.gone)

    # Reading.

    @rule(finish=st.booleans())
    def read_on(self, finish) -> None:
        """An iterator may be left half-way, while everything goes on around it."""
        if self.reading is None:
            self.reading = self.saver.list(None)
            next(self.reading, None)
        elif finish:
            ids = [found.config["configurable"]["checkpoint_id"] for found in self.reading]
            assert ids == sorted(ids, reverse=True)
            self.stop_reading()

    def stop_reading(self) -> None:
        if self.reading is not None:
            self.reading.close()
            self.reading = None

    @rule(
        thread=st.sampled_from([None, *THREADS]),
        ns=st.sampled_from(NAMESPACES),
        which=st.sampled_from([None, None, "any", "pool", ""]),
        n=some,
        filter=st.none() | from_list(FILTERS),
        before=st.sampled_from(["absent", "absent", "empty", "id", "id"]),
        m=some,
        limit=st.none() | st.integers(-1, 12),
    )
    def list_some(self, thread, ns, which, n, filter, before, m, limit) -> None:
        """Every combination of arguments; among equal ids any order will do."""
        wanted = self.pick((str(thread), ns or ""), which, n)
        config = None if thread is None else config_of(thread, ns, wanted)
        before_id = IDS[m % len(IDS)] if m % 2 else f"{m // 2 % 12:03}"
        before_config = {"absent": None, "empty": {"configurable": {}}, "id": config_of("any", "", before_id)}[before]

        def expected() -> Any:
            if limit is not None and limit < 0:
                raise Wrong
            Model.matches({}, filter or {})
            return [
                (id_, of, within)
                for id_, of, within in self.model.visible()
                if (thread is None or (of == str(thread) and ns in (None, within) and wanted in (None, "", id_)))
                and (before != "id" or id_ < before_id)
                and Model.matches(self.model.checkpoints[of, within][id_].metadata, filter or {})
            ]

        done = self.both(
            lambda: [*self.saver.list(config, filter=filter, before=before_config, limit=limit)], lambda _: expected()
        )
        if done is None:
            return
        found, all_of_it = done
        keys = [key_of(one) for one in found]
        same([key[0] for key in keys], [key[0] for key in all_of_it][:limit])
        assert len(set(keys)) == len(keys)
        assert set(keys) <= set(all_of_it)
        for one, key in zip(found, keys, strict=True):
            same(seen(one), self.expected(key, given=thread))

    @rule(
        thread=st.sampled_from(TARGETS),
        size=st.integers(1, 3),
        about=st.sampled_from([None, {"a": 1}, {"a": None}, {"b.c": [1]}]),
    )
    def page_threads(self, thread, size, about) -> None:
        rows = [row for row in self.model.threads() if Model.matches(row[1].metadata, about or {})]
        found: Any = []
        while page := [*self.saver.threads(limit=size, before=found[-1] if found else None, metadata=about)]:
            found += page
        assert [info.thread_id for info in found] == [row[0] for row in rows]
        assert [*self.saver.threads(limit=0)] == []

    def expected(self, key: tuple[str, str, str], given: Any = None) -> tuple[str, ...]:
        """What `seen` gives of the checkpoint (id, thread, namespace)."""
        id_, thread, ns = key
        one = self.model.checkpoints[thread, ns][id_]
        given = thread if given is None else given
        config = config_of(given, ns, id_)
        parent = None if one.parent_id is None else config_of(given, ns, one.parent_id)
        pending = self.model.pending((thread, ns), id_)
        return seen(CheckpointTuple(config, one.checkpoint, one.metadata, parent, pending))  # type: ignore[arg-type]

    @invariant()
    def everything_that_is_listed(self) -> None:
        reader = self.savers[self.steps % len(self.savers)]
        found = [*reader.list(None)]
        keys = [key_of(one) for one in found]
        same([key[0] for key in keys], [key[0] for key in self.model.visible()])
        same(sorted(keys, reverse=True), self.model.visible())
        for one, key in zip(found, keys, strict=True):
            same(seen(one), self.expected(key))
            spoil(one)

    @invariant()
    def the_latest_and_some_others(self) -> None:
        reader = self.savers[self.steps % len(self.savers)]
        for thread, ns in [*self.model.streams(), ("t", "nowhere"), ("nobody", "")]:
            latest = self.model.latest((thread, ns))
            found = reader.get_tuple(config_of(thread, ns, "" if self.steps % 2 else None))
            same(found and seen(found), latest and self.expected((latest, thread, ns)))
            kept = self.model.checkpoints.get((thread, ns), {})
            ids = sorted(kept)
            # Hidden ones are given to those who know their id: LangGraph's own walk from parent to parent needs that.
            hidden = [id_ for id_ in ids if kept[id_].hidden]
            for id_ in [IDS[self.steps % len(IDS)], *ids[self.steps % 5 :: 5], *hidden[:3]]:
                found = reader.get_tuple(config_of(thread, ns, id_))
                same(found and seen(found), self.expected((id_, thread, ns)) if id_ in kept else None)

    @invariant()
    def the_threads(self) -> None:
        found = []
        for info in self.savers[self.steps % len(self.savers)].threads():
            latest = (info.latest_checkpoint_id, info.latest_step, info.latest_source)
            found.append(
                (
                    info.thread_id,
                    info.name,
                    told(info.metadata),
                    info.created_at,
                    info.last_activity,
                    info.checkpoints,
                    info.writes,
                    latest,
                )
            )
            assert (info.bytes > 0) == (info.checkpoints > 0 or info.writes > 0)
        rows = []
        for thread, facts, checkpoints, writes, latest_id in self.model.threads():
            about = {} if latest_id is None else self.model.checkpoints[thread, ""][latest_id].metadata
            times = [EPOCH + timedelta(microseconds=t) for t in (facts.created_at, facts.last_activity)]
            latest = (latest_id, about.get("step"), about.get("source"))
            rows.append((thread, facts.name, told(facts.metadata), *times, checkpoints, writes, latest))
        same(found, rows)

    @invariant()
    def the_history_of_delta_channels(self) -> None:
        for stream in self.model.streams():
            visible = [id_ for id_, one in sorted(self.model.checkpoints[stream].items()) if not one.hidden]
            for id_ in {None, *visible[self.steps % 3 :: 3]}:
                self.check_history(stream, id_)
        self.check_history(("t", ""), "not there")

    def check_history(self, stream: Stream, id_: str | None) -> None:
        found = self.history(stream, id_, CHANNELS)
        target = self.model.latest(stream) if id_ is None else id_
        same(found, {channel: exact(self.model.delta_history(stream, target, channel)) for channel in CHANNELS})

    def history(self, stream: Stream, id_: str | None, channels: Any) -> dict[str, str]:
        reader = self.savers[self.steps % len(self.savers)]
        found = reader.get_delta_channel_history(config=config_of(*stream, id_), channels=[*channels])
        assert found.keys() == set(channels)
        return {channel: exact({"writes": entry["writes"], **entry}) for channel, entry in found.items()}
