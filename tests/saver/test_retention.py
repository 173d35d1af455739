"""Retention: which checkpoints a policy lets go, against a plain model of its rules, and how they go."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph_eventlog.eventlog.errors import ConfigError, CorruptRecordError
from langgraph_eventlog.eventlog.event import Kind, Prune
from langgraph_eventlog.saver import EventLogSaver, Retention
from langgraph_eventlog.saver.compaction import doomed, retaining
from langgraph_eventlog.saver.compaction.retaining import RetentionReport, apply_retention, doomed_by, preview_retention

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
NOW = 1_800_000_000_000_000
DAY_US = 86_400_000_000


def ts(age_days: float) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=NOW) - age_days * DAY).isoformat()


YOUNG = ts(0)


class Time:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


class Thread:
    """Puts and reads small checkpoints."""

    def __init__(self, saver: EventLogSaver, thread_id: str = "t") -> None:
        self.saver, self.thread_id = saver, thread_id

    def config(self, id: str | None = None, ns: str = "") -> Any:
        named = {"thread_id": self.thread_id, "checkpoint_ns": ns, "checkpoint_id": id}
        return {"configurable": {name: value for name, value in named.items() if value is not None}}

    def put(
        self,
        id: str,
        *,
        ns: str = "",
        parent: str | None = None,
        ts: Any = YOUNG,
        values: dict[str, Any] | None = None,
        versions: dict[str, Any] | None = None,
        **metadata: Any,
    ) -> None:
        values = {"x": f"{ns} {id}"} if values is None else values
        checkpoint = {
            "v": 4,
            "id": id,
            "ts": ts,
            "channel_values": values,
            "channel_versions": dict.fromkeys(values, id) if versions is None else versions,
            "versions_seen": {},
            "updated_channels": None,
        }
        if ts is None:
            del checkpoint["ts"]
        self.saver.put(self.config(parent, ns), checkpoint, metadata, {})  # type: ignore[arg-type]

    def write(self, id: str, *, ns: str = "", channel: str = "x") -> None:
        self.saver.put_writes(self.config(id, ns), [(channel, f"written at {id}")], f"task of {id}")

    def ids(self) -> dict[str, set[str]]:
        """What is listed, by namespace."""
        found: dict[str, set[str]] = {}
        for one in self.saver.list({"configurable": {"thread_id": self.thread_id}}):
            found.setdefault(one.config["configurable"]["checkpoint_ns"], set()).add(one.checkpoint["id"])
        return found

    def writes(self) -> set[tuple[str, str]]:
        """At which checkpoints there are writes, be the checkpoint there or not."""
        log, views = self.saver.log, self.saver._core.views
        with log.database.reading() as connection:
            thread = log.keys.find_thread(connection, self.thread_id) or 0
            return {
                (ns, row.checkpoint_id)
                for stream, ns in log.keys.streams_of(connection, thread)
                for row in views.pending_writes.of_stream(connection, stream)
            }


def retain(saver: EventLogSaver, policy: Retention, now: int = NOW) -> RetentionReport:
    """Apply a policy, as its preview says, so that applying it again does nothing."""
    preview = preview_retention(saver.log, saver._core.views, policy, now=now)
    before = saver.log.head()
    report = apply_retention(saver.log, saver._core.views, policy, now=now)
    counts = (report.threads_removed, report.checkpoints_removed, report.checkpoints_hidden, report.writes_removed)
    assert RetentionReport(*counts) == preview
    assert (saver.log.head() == before) == (report.positions == ())
    head = saver.log.head()
    assert apply_retention(saver.log, saver._core.views, policy, now=now) == RetentionReport()
    assert saver.log.head() == head
    assert all(event.data.strategy == "retention" for event in prunes(saver) if event.position in report.positions)
    assert {event.position for event in prunes(saver)} >= set(report.positions)
    return report


def prunes(saver: EventLogSaver) -> Iterator[Any]:
    return saver.log.read(kinds=[Kind.PRUNE])


# What a policy can be.


@pytest.mark.parametrize(
    "wrong",
    [
        {"keep_last": 0},
        {"keep_last": -1},
        {"keep_last": True},
        {"keep_last": 1.0},
        {"keep_last": "1"},
        {"keep_newer_than": timedelta()},
        {"keep_newer_than": -DAY},
        {"keep_newer_than": 30},
        {"keep_newer_than": datetime(2026, 1, 1)},
        {"keep_newer_than": False},
        {"idle_longer_than": timedelta()},
        {"idle_longer_than": -DAY},
        {"idle_longer_than": "90d"},
        {"exempt": {"not a key": 1}},
        {"exempt": {"key": object()}},
        {"exempt": ["key"]},
        {"exempt": None},
        {"exempt": {1: 1}},
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)) if "exempt" not in wrong else "key"):
        Retention(**wrong)


def test_a_policy_is_a_value_that_does_not_change() -> None:
    given = {"hold": {"case": [1]}}
    policy = Retention(2, DAY, 90 * DAY, given)
    given["hold"]["case"].append(2)
    assert policy == Retention(2, DAY, 90 * DAY, {"hold": {"case": [1]}})
    assert policy == pickle.loads(pickle.dumps(policy)) == copy.deepcopy(policy)
    assert hash(policy) == hash(copy.copy(policy))
    assert policy != Retention(2, DAY, 90 * DAY)
    with pytest.raises(AttributeError):
        policy.keep_last = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        policy.exempt["hold"] = 1  # type: ignore[index]


def test_what_an_event_records_of_a_policy_is_what_was_asked_for() -> None:
    assert Retention().as_plain() == {}
    assert Retention(keep_last=1).as_plain() == {"keep_last": 1}
    assert Retention(2, DAY, 90 * DAY, {"hold": True}).as_plain() == {
        "keep_last": 2,
        "keep_newer_than_us": DAY_US,
        "idle_longer_than_us": 90 * DAY_US,
        "exempt": {"hold": True},
    }


# Against a model.


@dataclass
class One:
    """A checkpoint of the model. A root is named by its id; None: none is named."""

    ns: str
    id: str
    root: str | None = None
    memory: str | None = None
    age: float | None = 0
    source: str = "loop"
    parent: str | None = None


@dataclass
class Story:
    """A thread's checkpoints, and writes at some that are not there; all recorded `recorded` days ago."""

    checkpoints: list[One] = field(default_factory=list)
    strays: list[tuple[str, str]] = field(default_factory=list)
    recorded: float = 0


MEMORY = "memory"
NAMESPACES = ["", "sub:1", "sub:2|deep:1", MEMORY, f"{MEMORY}|inner:1", f"{MEMORY}|other"]
ids = st.integers(10, 22).map(str)
ages = st.sampled_from([None, 0.0, 0.5, 2.0, 40.0])
ones = st.builds(
    One,
    ns=st.sampled_from([*NAMESPACES, "", ""]),
    id=ids,
    root=st.none() | ids,
    memory=st.none() | ids,
    age=ages,
    source=st.sampled_from(["loop", "update", "fork"]),
    parent=st.none() | ids,
)
stories = st.builds(
    Story,
    checkpoints=st.lists(ones, max_size=24, unique_by=lambda one: (one.ns, one.id)),
    strays=st.lists(st.tuples(st.sampled_from(NAMESPACES), ids), max_size=3),
    recorded=st.sampled_from([0.0, 2.0, 40.0]),
)
policies = st.builds(
    Retention,
    keep_last=st.none() | st.integers(1, 4),
    keep_newer_than=st.none() | st.sampled_from([DAY, 30 * DAY]),
    idle_longer_than=st.none() | st.sampled_from([DAY, 30 * DAY]),
)


def is_newer(age: float | None, story: Story, policy: Retention) -> bool:
    of_itself = story.recorded if age is None else age
    return policy.keep_newer_than is not None and of_itself * DAY < policy.keep_newer_than


def kept(policy: Retention, story: Story) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """The policy's rules, as plainly as they can be said: the checkpoints, and the stray writes, that stay."""
    there = {(one.ns, one.id) for one in story.checkpoints}
    strays = {stray for stray in story.strays if stray not in there}
    everything = there, strays
    if policy.idle_longer_than is not None and story.recorded * DAY > policy.idle_longer_than:
        return set(), set()
    roots = sorted((one for one in story.checkpoints if one.ns == ""), key=lambda one: one.id)
    if not roots or len(there) < 2 or (policy.keep_last is None and policy.keep_newer_than is None):
        return everything
    latest = roots[-1].id
    kept_roots = [
        one
        for place, one in enumerate(reversed(roots))
        if place == 0 or place < (policy.keep_last or 0) or is_newer(one.age, story, policy)
    ]
    kept_ids = {one.id for one in kept_roots}
    stays = {("", id) for id in kept_ids}
    bounds = kept_ids | {
        one.parent for one in kept_roots if one.parent is not None and one.source in ("update", "fork")
    }
    latest_of_memory = {}
    for ns in NAMESPACES:
        if ns and ":" not in ns:
            memories = sorted(one.id for one in story.checkpoints if one.ns == ns)
            if memories:
                latest_of_memory[ns] = memories[-1]
                stays.add((ns, memories[-1]))
            for bound in bounds:
                stays |= {(ns, id) for id in [m for m in memories if m < bound][-1:]}
    for one in story.checkpoints:
        if one.ns == "":
            continue
        if one.memory is not None and latest_of_memory.get(MEMORY) == one.memory:
            stays.add((one.ns, one.id))
        root = one.root
        if root is None:
            root = max((other.id for other in roots if other.id <= one.id), default=None)
        is_there = root in {other.id for other in roots}
        is_to_come = root is not None and root > latest
        if root in kept_ids or is_to_come or (not is_there and is_newer(one.age, story, policy)):
            stays.add((one.ns, one.id))
    return stays, {(ns, id) for ns, id in strays if id >= latest or is_newer(None, story, policy)}


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
@given(stories, policies)
def test_what_stays_is_what_the_rules_say(story: Story, policy: Retention) -> None:
    time = Time()
    with EventLogSaver(":memory:", clock=time) as saver:
        time.now = NOW - int(story.recorded * DAY_US)
        thread = Thread(saver)
        for one in story.checkpoints:
            named = {"": one.root, MEMORY: one.memory}
            parents = {ns: id for ns, id in named.items() if id is not None}
            made = "when it was" if one.age is None else ts(one.age)
            thread.put(one.id, ns=one.ns, parent=one.parent, ts=made, source=one.source, parents=parents)
            thread.write(one.id, ns=one.ns)
        for ns, id in story.strays:
            thread.write(id, ns=ns)
        checkpoints, strays = kept(policy, story)
        report = retain(saver, policy)
        assert {(ns, id) for ns, ids in thread.ids().items() for id in ids} == checkpoints
        assert thread.writes() == checkpoints | strays
        assert report.checkpoints_removed == len(story.checkpoints) - len(checkpoints)
        assert report.checkpoints_hidden == 0
        assert list(saver.log.verify()) == []


# Rules, one by one.


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def thread(make_saver: Callable[..., EventLogSaver], time: Time) -> Thread:
    return Thread(make_saver(clock=time))


def test_a_policy_that_asks_for_nothing_keeps_everything(thread: Thread, time: Time) -> None:
    thread.put("1")
    thread.put("2")
    assert retain(thread.saver, Retention(), NOW + 10**6 * DAY_US) == RetentionReport()


def test_keep_last_one_leaves_the_latest_with_its_writes(thread: Thread) -> None:
    for id in "123":
        thread.put(id)
        thread.write(id)
    report = retain(thread.saver, Retention(keep_last=1))
    assert (thread.ids(), thread.writes()) == ({"": {"3"}}, {("", "3")})
    assert report == RetentionReport(0, 2, 0, 2, (report.positions[0],))
    [event] = prunes(thread.saver)
    assert event.data == Prune("retention", (), event.data.removals)
    assert [(r.checkpoint_ns, r.removed, r.hidden) for r in event.data.removals] == [("", ("1", "2"), ())]


def test_what_is_kept_is_the_union_of_what_is_asked_for(thread: Thread) -> None:
    for id, age in (("1", 0), ("2", 9), ("3", 9), ("4", 9)):
        thread.put(id, ts=ts(age))
    retain(thread.saver, Retention(keep_last=2, keep_newer_than=DAY))
    assert thread.ids() == {"": {"1", "3", "4"}}


def test_branches_are_counted_together_by_id(thread: Thread) -> None:
    thread.put("1")
    for id, parent in (("2", "1"), ("3", "2"), ("4", "1"), ("5", "3")):
        thread.put(id, parent=parent)
    retain(thread.saver, Retention(keep_last=2))
    assert thread.ids() == {"": {"4", "5"}}


@pytest.mark.parametrize(
    ("own", "is_kept"),
    [
        (ts(0.5), True),
        (ts(2), False),
        (ts(0.5).replace("+00:00", "Z"), True),
        (ts(0.5).replace("+00:00", ""), True),  # without a zone it is UTC
        (ts(1.2).replace("+00:00", "-05:00"), True),  # which is five hours later
        ("9999-12-31T23:59:59-23:59", True),
        ("0001-01-01T00:00:00+23:59", False),
        ("some day", True),  # it was recorded just now
        (None, True),
        (17, True),
    ],
)
def test_age_is_by_the_checkpoints_own_time_and_else_by_when_it_was_recorded(
    thread: Thread, own: Any, is_kept: bool
) -> None:
    thread.put("1", ts=own)
    thread.put("2")
    retain(thread.saver, Retention(keep_newer_than=DAY))
    assert thread.ids() == {"": {"1", "2"} if is_kept else {"2"}}


def test_what_was_imported_is_as_old_as_it_was_though_it_was_recorded_now(thread: Thread) -> None:
    for n in range(4):
        thread.put(str(n), ts=ts(400 - n))
    retain(thread.saver, Retention(keep_newer_than=30 * DAY, idle_longer_than=90 * DAY))
    assert thread.ids() == {"": {"3"}}


def test_a_copy_is_as_old_as_what_was_copied(thread: Thread, time: Time) -> None:
    time.now = NOW - 9 * DAY_US
    for id in "12":
        thread.put(id, ts=None)
    time.now = NOW
    thread.saver.copy_thread("t", "copy")
    retain(thread.saver, Retention(keep_newer_than=DAY))
    assert thread.ids() == Thread(thread.saver, "copy").ids() == {"": {"2"}}


def test_idle_threads_go_whole_and_others_keep_their_latest(thread: Thread, time: Time) -> None:
    saver = thread.saver
    time.now = NOW - 9 * DAY_US
    for name in ("idle", "held", "registered", "active"):
        saver.register_thread(name, f"name of {name}", {"legal": {"hold": name == "held"}})
    for name in ("idle", "held", "active"):
        Thread(saver, name).put("1", ts=ts(9))
        Thread(saver, name).put("2", ts=ts(9), ns="sub:1", parents={"": "1"})
        Thread(saver, name).write("7")
    time.now = NOW
    Thread(saver, "active").write("1")
    policy = Retention(keep_newer_than=DAY, idle_longer_than=5 * DAY, exempt={"legal.hold": True})
    report = retain(saver, policy)
    assert {info.thread_id: info.name for info in saver.threads()} == {
        "held": "name of held",
        "active": "name of active",
    }
    assert Thread(saver, "idle").ids() == {}
    assert Thread(saver, "idle").writes() == set()
    assert Thread(saver, "held").ids() == Thread(saver, "active").ids() == {"": {"1"}, "sub:1": {"2"}}
    assert (report.threads_removed, report.checkpoints_removed, report.writes_removed) == (2, 2, 1)
    assert [event.data.deleted_threads for event in prunes(saver)] == [("idle",), ("registered",)]


def test_a_thread_is_idle_only_when_it_is_longer_than_asked_for(thread: Thread) -> None:
    thread.put("1")
    policy = Retention(idle_longer_than=DAY)
    assert retain(thread.saver, policy, NOW + DAY_US) == RetentionReport()
    assert retain(thread.saver, policy, NOW + DAY_US + 1).threads_removed == 1
    assert thread.ids() == {}


def test_an_idle_thread_goes_whatever_its_checkpoints_own_times_say(thread: Thread, time: Time) -> None:
    thread.put("1", ts=ts(-1000))
    retain(thread.saver, Retention(keep_newer_than=DAY, idle_longer_than=2 * DAY), NOW + 3 * DAY_US)
    assert thread.ids() == {}


def test_a_hold_whose_value_only_a_serializer_can_read_holds(thread: Thread) -> None:
    thread.saver.register_thread("t", metadata={"hold": {"for": [datetime(2026, 1, 1)]}})
    for id in "12":
        thread.put(id)
    assert retain(thread.saver, Retention(keep_last=1, exempt={"hold": {"for": ["2026"]}})) == RetentionReport()
    assert retain(thread.saver, Retention(keep_last=1, exempt={"other": 1})).checkpoints_removed == 1


def test_all_of_exempt_has_to_match(thread: Thread) -> None:
    saver = thread.saver
    for name, metadata in {"both": {"a": 1, "b": [2]}, "one": {"a": 1}, "wrong": {"a": "1", "b": [2]}}.items():
        saver.register_thread(name, metadata=metadata)
        for id in "12":
            Thread(saver, name).put(id)
    retain(saver, Retention(keep_last=1, exempt={"a": 1, "b": (2,)}))
    listed = {name: len(Thread(saver, name).ids()[""]) for name in ("both", "one", "wrong")}
    assert listed == {"both": 2, "one": 1, "wrong": 1}


def test_subgraphs_go_with_the_roots_that_they_name(thread: Thread) -> None:
    for n in range(1, 21):
        thread.put(f"{n:02}")
        thread.put(f"{n:02}a", ns=f"node:{n}", parents={"": f"{n:02}"})
        thread.put(f"{n:02}b", ns=f"node:{n}|deep:{n}", parents={"": f"{n:02}", f"node:{n}": f"{n:02}a"})
    retain(thread.saver, Retention(keep_last=2))
    assert thread.ids() == {
        "": {"19", "20"},
        "node:19": {"19a"},
        "node:20": {"20a"},
        "node:19|deep:19": {"19b"},
        "node:20|deep:20": {"20b"},
    }


def test_what_was_pruned_by_namespace_before_is_cleared_away(thread: Thread) -> None:
    """`prune` leaves the latest of each namespace; retention goes by what they name."""
    for n in range(1, 6):
        thread.put(f"{n}")
        thread.put(f"{n}a", ns=f"node:{n}", parents={"": f"{n}"})
    thread.saver.prune(["t"])
    assert len(thread.ids()) == 6
    retain(thread.saver, Retention(keep_last=3))
    assert thread.ids() == {"": {"5"}, "node:5": {"5a"}}


def test_a_subgraphs_checkpoint_that_is_there_before_the_graphs_own_stays(thread: Thread) -> None:
    """Puts are made in the background, and with durability="exit" the inner ones come first."""
    thread.put("1")
    thread.put("2")
    thread.put("3a", ns="node:3", parents={"": "3"})
    thread.write("3")
    retain(thread.saver, Retention(keep_last=1))
    assert thread.ids() == {"": {"2"}, "node:3": {"3a"}}
    assert thread.writes() == {("", "3")}


def delta_thread(thread: Thread, ids: str, seed_at: str) -> None:
    parent = None
    for id in ids:
        values = {"d": _DeltaSnapshot([id])} if id == seed_at else {}
        thread.put(id, parent=parent, values=values, versions={"d": id})
        thread.write(id, channel="d")
        parent = id


def test_ancestors_that_delta_channels_need_are_hidden_and_go_when_nothing_needs_them(thread: Thread) -> None:
    delta_thread(thread, "12345", seed_at="2")
    before = thread.saver.get_delta_channel_history(config=thread.config("5"), channels=["d"])
    report = retain(thread.saver, Retention(keep_last=1))
    assert (report.checkpoints_removed, report.checkpoints_hidden, report.writes_removed) == (1, 3, 1)
    assert thread.ids() == {"": {"5"}}
    assert thread.saver.get_delta_channel_history(config=thread.config("5"), channels=["d"]) == before
    thread.put("6", parent="5", values={"d": _DeltaSnapshot(["6"])}, versions={"d": "6"})
    report = retain(thread.saver, Retention(keep_last=1))
    assert (report.checkpoints_removed, report.checkpoints_hidden, report.writes_removed) == (4, 0, 4)


# How they go.


@pytest.mark.parametrize("portion", [1, 3])
def test_much_goes_in_several_transactions_each_of_which_leaves_all_readable(
    thread: Thread, monkeypatch: pytest.MonkeyPatch, portion: int
) -> None:
    monkeypatch.setattr(retaining, "_PORTION", portion)
    delta_thread(thread, "123456789", seed_at="4")
    thread.write("0", channel="d")
    saver, policy = thread.saver, Retention(keep_last=2)
    expected = [saver.get_delta_channel_history(config=thread.config(id), channels=["d"]) for id in "89"]
    views, append = saver._core.views, saver.log.transact

    def checked(decide: Any) -> Any:
        recorded = append(decide)
        assert [saver.get_delta_channel_history(config=thread.config(id), channels=["d"]) for id in "89"] == expected
        assert thread.ids()[""] >= {"8", "9"}
        return recorded

    monkeypatch.setattr(saver.log, "transact", checked)
    preview = preview_retention(saver.log, views, policy, now=NOW)
    report = apply_retention(saver.log, views, policy, now=NOW)
    # Hidden are 4 to 7; 1 to 3 go, and the writes at 0.
    assert (preview.checkpoints_hidden, preview.checkpoints_removed, preview.writes_removed) == (4, 3, 4)
    assert (report.checkpoints_hidden, report.checkpoints_removed, report.writes_removed) == (4, 3, 4)
    assert len(report.positions) == (8 if portion == 1 else 4)
    assert thread.ids() == {"": {"8", "9"}}


@pytest.mark.parametrize("times", [1, 3, 10])
def test_what_happens_to_a_thread_meanwhile_is_taken_in(
    thread: Thread, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Between looking and removing, somebody else puts; at last it is looked for in the transaction itself."""
    for id in "123":
        thread.put(id)
    saver, left = thread.saver, [times]
    append = saver.log.transact

    def late(decide: Any) -> Any:
        if left[0]:
            left[0] -= 1
            thread.put(f"4{9 - left[0]}")
        return append(decide)

    monkeypatch.setattr(saver.log, "transact", late)
    apply_retention(saver.log, saver._core.views, Retention(keep_last=1), now=NOW)
    latest = f"4{9 - left[0]}" if times > left[0] else "3"
    assert thread.ids() == {"": {latest}}


@pytest.mark.parametrize("meanwhile", ["active", "held", "deleted", "other"])
def test_a_thread_that_is_used_or_held_meanwhile_does_not_go(
    thread: Thread, time: Time, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    saver = thread.saver
    time.now = NOW - 9 * DAY_US
    thread.put("1")
    append, acted = saver.log.transact, list[bool]()

    def late(decide: Any) -> Any:
        if not acted:
            acted.append(True)
            if meanwhile == "active":
                time.now = NOW
                thread.write("1")
            elif meanwhile == "held":
                saver.register_thread("t", metadata={"hold": True})
            elif meanwhile == "deleted":
                saver.delete_thread("t")
            else:
                Thread(saver, "other").put("1")
        return append(decide)

    monkeypatch.setattr(saver.log, "transact", late)
    policy = Retention(idle_longer_than=DAY, exempt={"hold": True})
    report = apply_retention(saver.log, saver._core.views, policy, now=NOW)
    gone = meanwhile in ("other", "deleted")
    assert (thread.ids() == {}) == gone
    assert report.threads_removed == (1 if meanwhile == "other" else 0)


def test_threads_are_paged_and_progress_is_told(thread: Thread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doomed, "_PAGE", 3)
    saver = thread.saver
    for n in range(7):
        for id in "12":
            Thread(saver, f"{n}").put(id)
    told: list[tuple[int, int]] = []
    policy = Retention(keep_last=1)
    report = apply_retention(
        saver.log, saver._core.views, policy, now=NOW, progress=lambda done, total: told.append((done, total))
    )
    assert (report.checkpoints_removed, len(report.positions)) == (7, 7)
    assert told == [(3, 7), (6, 7), (7, 7)]


def test_without_an_age_no_checkpoint_is_read_where_nothing_goes(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    for id in "12345":
        thread.put(id)
    opened: list[int] = []
    Thread(thread.saver, "single").put("1")
    reader, read = thread.saver.log.reader, thread.saver.log.reader.open
    monkeypatch.setattr(
        reader,
        "open",
        lambda connection, position, *more: (opened.append(position), read(connection, position, *more))[1],
    )
    views = thread.saver._core.views
    assert apply_retention(thread.saver.log, views, Retention(keep_last=5), now=NOW) == RetentionReport()
    assert opened == []
    # With an age, those that are not kept anyway, each once though it is looked at and then removed.
    apply_retention(thread.saver.log, views, Retention(keep_last=3, keep_newer_than=DAY), now=NOW)
    assert opened == [1, 2]


def test_a_dry_run_on_a_log_that_can_only_be_read_gives_the_rows(make_saver: Callable[..., EventLogSaver]) -> None:
    thread = Thread(make_saver())
    delta_thread(thread, "1234", seed_at="2")
    other = Thread(thread.saver, "other")
    other.put("1")
    thread.saver.close()
    with EventLogSaver(thread.saver.path, read_only=True) as saver:
        [found] = doomed_by(saver.log, saver._core.views, Retention(keep_last=1), now=NOW)
    assert (found.thread_id, found.whole) == ("t", False)
    assert [row.checkpoint_id for row in found.removed] == ["1"]
    assert [row.checkpoint_id for row in found.hidden] == ["2", "3"]
    assert [(row.checkpoint_id, row.writes) for row in found.writes] == [("1", 1)]


def test_a_checkpoint_whose_age_cannot_be_read_stops_it(thread: Thread, make_saver: Any) -> None:
    for id in "123":
        thread.put(id)
    with thread.saver.log.database.writing() as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")]
        for name in names:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE event SET record = x'00' WHERE position = 2")
    make_saver.damaged(thread.saver.path)
    saver = thread.saver
    with pytest.raises(CorruptRecordError) as raised:
        apply_retention(saver.log, saver._core.views, Retention(keep_newer_than=DAY), now=NOW + 9 * DAY_US)
    assert raised.value.position == 2
    assert thread.saver.log.head().position == 3


def test_a_rebuild_gives_the_same_tables(thread: Thread, time: Time) -> None:
    delta_thread(thread, "12345", seed_at="2")
    time.now = NOW - 9 * DAY_US
    Thread(thread.saver, "idle").put("1")
    time.now = NOW
    retain(thread.saver, Retention(keep_last=2, idle_longer_than=DAY))
    before = thread.ids(), thread.writes()
    thread.saver.rebuild()
    assert (thread.ids(), thread.writes()) == before
