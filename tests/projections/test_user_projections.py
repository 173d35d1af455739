"""Users' own projections: caught up when the log is opened, kept up in the transaction of each append."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from langgraph_eventlog.eventlog import (
    ConfigError,
    Kind,
    ProjectionError,
    RecordedEvent,
)
from langgraph_eventlog.projections import Projection
from langgraph_eventlog.saver import EventLogSaver


class Kinds(Projection):
    """Notes position and kind of every event, in the order in which it sees them."""

    name = "kinds"
    schema_version = 1

    def reset(self) -> None:
        self.db.execute(
            "CREATE TABLE kinds (seen INTEGER PRIMARY KEY, position INTEGER NOT NULL, kind INTEGER NOT NULL)"
        )
        self.db.execute("CREATE INDEX kinds_by_kind ON kinds (kind)")

    def apply(self, event: RecordedEvent) -> None:
        self.db.execute(
            "INSERT INTO kinds (position, kind) VALUES (:p, :k)", {"p": event.position, "k": int(event.kind)}
        )

    def rows(self) -> list[Any]:
        return self.query("SELECT position, kind FROM kinds ORDER BY seen")


def expected(saver: EventLogSaver) -> list[tuple[int, int]]:
    return [(event.position, int(event.kind)) for event in saver.log.read()]


class Scripted(Projection):
    """Runs whatever a test says, once it says so."""

    name = "scripted"
    schema_version = 1

    def __init__(self, *scripts: str, at_reset: tuple[str, ...] = ()) -> None:
        self.scripts = scripts
        self.at_reset = at_reset

    def reset(self) -> None:
        self.db.execute("CREATE TABLE scripted (n)")
        for sql in self.at_reset:
            self.db.execute(sql)

    def apply(self, event: RecordedEvent) -> None:
        self.db.execute("INSERT INTO scripted VALUES (?)", (event.position,))
        for sql in self.scripts:
            self.db.execute(sql)


@pytest.mark.parametrize("path", [None, ":memory:"])
def test_it_is_kept_up_with_every_kind_of_event(
    make_saver: Callable[..., EventLogSaver], steps: Any, path: Any
) -> None:
    """Each event once, in order."""
    kinds = Kinds()
    saver = make_saver(path, projections=[kinds])
    steps.everything(saver)
    assert kinds.rows() == expected(saver)
    assert {kind for _, kind in kinds.rows()} == set(Kind)
    assert (kinds.progress().behind, kinds.progress().position) == (0, saver.log.head().position)


def test_it_is_caught_up_when_the_log_is_opened(make_saver: Callable[..., EventLogSaver], steps: Any) -> None:
    """The whole log the first time, later only what it has not seen."""
    with make_saver() as saver:
        steps.everything(saver)
    first = Kinds()
    with make_saver(projections=[first]) as saver:
        assert first.rows() == expected(saver)
    with make_saver() as saver:
        steps.put(saver, "later")
    second = Kinds()
    saver = make_saver(projections=[second])
    assert second.rows() == expected(saver)
    assert len(second.rows()) == saver.log.head().position


def test_values_are_resolved_while_it_is_applied(make_saver: Callable[..., EventLogSaver], steps: Any) -> None:
    """References too, to the event at hand as well as to those before it, live and when it catches up."""

    class Sizes(Projection):
        name = "sizes"

        def reset(self) -> None:
            self.db.execute("CREATE TABLE sizes (position INTEGER, channel TEXT, bytes INTEGER)")

        def apply(self, event: RecordedEvent) -> None:
            for channel, value in self.db.values(event).items():
                self.db.execute("INSERT INTO sizes VALUES (?, ?, ?)", (event.position, channel, len(value.data)))

    live = Sizes()
    with make_saver(projections=[live]) as saver:
        steps.put(saver, "1", {"x": "a" * 20, "y": 1})
        steps.put(saver, "2", {"x": "a" * 20, "y": 2}, parent="1")
        found = live.query("SELECT channel, bytes FROM sizes WHERE position = 2 ORDER BY channel")
        assert found == [("x", 21), ("y", 1)]
        rows = live.query("SELECT * FROM sizes ORDER BY 1, 2")
        saver.rebuild("sizes")
        assert live.query("SELECT * FROM sizes ORDER BY 1, 2") == rows


@pytest.mark.parametrize("path", [None, ":memory:"])
def test_a_failing_apply_fails_the_put_and_leaves_no_trace(
    make_saver: Callable[..., EventLogSaver], steps: Any, path: Any
) -> None:
    """Neither in its tables, nor in the log, nor in another projection that had taken the event in."""
    kinds, scripted = Kinds(), Scripted()
    saver = make_saver(path, projections=[kinds, scripted])
    steps.put(saver, "1", {"x": 1})
    before = (saver.log.head(), steps.tables(saver.log), kinds.rows(), kinds.progress())
    scripted.scripts = ("INSERT INTO scripted VALUES (no_such_column)",)
    for call in (
        lambda: steps.put(saver, "2", {"x": "hunter2"}, parent="1"),
        lambda: steps.write(saver, "1", [("x", 1)], thread="a new thread"),
        lambda: saver.delete_thread("t"),
    ):
        with pytest.raises(ProjectionError) as raised:
            call()
        assert (raised.value.projection, raised.value.position) == ("scripted", 2)
        assert "scripted" in str(raised.value)
        assert "hunter2" not in str(raised.value)
        assert raised.value.__cause__ is not None
    assert (saver.log.head(), steps.tables(saver.log), kinds.rows(), kinds.progress()) == before
    assert scripted.query("SELECT n FROM scripted") == [(1,)]
    scripted.scripts = ()
    steps.put(saver, "2", {"x": 2}, parent="1")
    steps.put(saver, "1", thread="a new thread")
    assert kinds.rows() == expected(saver)
    assert scripted.query("SELECT n FROM scripted") == [(1,), (2,), (3,)]


def test_appends_that_fail_beside_others_that_do_not_never_mix_up_threads(
    make_saver: Callable[..., EventLogSaver], steps: Any
) -> None:
    """What a rolled back append had added, a thread's key for instance, is nobody's."""

    class Picky(Scripted):
        def apply(self, event: RecordedEvent) -> None:
            if (event.thread_id or "").startswith("bad"):
                raise ValueError

    saver = make_saver(synchronous="NORMAL", projections=[Picky()])
    unexpected: list[BaseException] = []

    def work(name: str) -> None:
        for n in range(30):
            thread = f"{name} {n}"
            try:
                steps.put(saver, "1", {"x": thread}, thread=thread)
            except ProjectionError:
                if name == "bad":
                    continue
                unexpected.append(AssertionError(thread))
            except BaseException as e:
                unexpected.append(e)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("good", "bad", "fine")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert unexpected == []
    for name in ("good", "fine"):
        for n in range(30):
            found = saver.get_tuple(steps.config(f"{name} {n}"))
            assert found is not None
            assert found.checkpoint["channel_values"] == {"x": f"{name} {n}"}
    assert saver.get_tuple(steps.config("bad 1")) is None


def test_what_another_process_appends_is_caught_up_in_bounded_batches(
    make_saver: Callable[..., EventLogSaver], steps: Any
) -> None:
    """At most 256 events in the transaction of a put; progress() says how far it is."""
    kinds = Kinds()
    saver = make_saver(synchronous="NORMAL", projections=[kinds])
    steps.put(saver, "0")
    done = steps.elsewhere(saver.path, "for n in range(600): put(f'{n:03}', n=n)")
    assert done.stdout == "well\n", done.stderr
    assert (kinds.progress().position, kinds.progress().head, kinds.progress().behind) == (1, 601, 600)
    progress = []
    for n in range(4):
        steps.put(saver, f"after {n}")
        progress.append((kinds.progress().position, kinds.progress().behind))
    assert progress == [(257, 345), (513, 90), (604, 0), (605, 0)]
    assert kinds.rows() == expected(saver)


def test_two_savers_with_the_same_projection_take_turns(make_saver: Callable[..., EventLogSaver], steps: Any) -> None:
    """Each event is applied once, by whichever appends."""
    one, two = Kinds(), Kinds()
    savers = [make_saver(synchronous="NORMAL", projections=[kinds]) for kinds in (one, two)]
    for n in range(10):
        steps.put(savers[n % 2], str(n))
    assert one.rows() == two.rows() == expected(savers[0])


class KindsTwo(Kinds):
    schema_version = 2

    def reset(self) -> None:
        self.db.execute("CREATE TABLE kinds (seen INTEGER PRIMARY KEY, position INTEGER, kind INTEGER, thread TEXT)")

    def apply(self, event: RecordedEvent) -> None:
        self.db.execute(
            "INSERT INTO kinds (position, kind, thread) VALUES (?, ?, ?)",
            (event.position, int(event.kind), event.thread_id),
        )


class KindsWithMore(Kinds):
    def reset(self) -> None:
        super().reset()
        self.db.execute("CREATE TABLE kinds_more (n)")
        self.db.execute("CREATE TABLE kinds_and_more (n)")


def test_a_new_schema_version_rebuilds_it_and_the_old_tables_are_gone(
    make_saver: Callable[..., EventLogSaver], steps: Any
) -> None:
    """A table of another projection, whose name only looks alike, stays."""

    class Lookalike(Kinds):
        name = "kindsx"

        def reset(self) -> None:
            self.db.execute("CREATE TABLE kindsx_more (n)")

        def apply(self, event: RecordedEvent) -> None:
            self.db.execute("INSERT INTO kindsx_more VALUES (1)")

    with make_saver(projections=[KindsWithMore(), Lookalike()]) as saver:
        steps.everything(saver)
    two = KindsTwo()
    saver = make_saver(projections=[two])
    assert two.rows() == expected(saver)
    names = two.query(
        "SELECT name FROM sqlite_schema WHERE name LIKE 'kinds%' AND type IN ('table', 'index') ORDER BY 1"
    )
    assert names == [("kinds",), ("kindsx_more",)]
    assert two.query("SELECT count(*) FROM kinds WHERE thread = 'a'") != [(0,)]
    assert two.query("SELECT count(*) FROM kindsx_more") == [(saver.log.head().position,)]


def test_an_older_program_is_refused_and_one_that_is_running_stops_taking_part(
    make_saver: Callable[..., EventLogSaver], steps: Any
) -> None:
    """It goes on appending: its projection just does not move any more from here."""
    old = Kinds()
    running = make_saver(projections=[old])
    steps.put(running, "1")
    two = KindsTwo()
    newer = make_saver(projections=[two])
    with pytest.raises(ProjectionError, match="Upgrade") as raised:
        EventLogSaver(running.path, projections=[Kinds()])
    assert raised.value.projection == "kinds"
    steps.put(running, "2")
    assert two.progress().behind == 1
    steps.put(newer, "3")
    assert two.rows() == expected(newer)
    assert two.query("SELECT count(*) FROM kinds WHERE thread = 't'") == [(3,)]


def test_a_version_that_fails_to_rebuild_leaves_the_tables_of_the_old_one(
    make_saver: Callable[..., EventLogSaver], steps: Any
) -> None:
    with make_saver(projections=[Kinds()]) as saver:
        steps.put(saver, "1")

    class Broken(KindsTwo):
        def reset(self) -> None:
            raise ValueError("broken")

    with pytest.raises(ProjectionError, match=r"reset\(\)"):
        EventLogSaver(saver.path, projections=[Broken()])
    kinds = Kinds()
    make_saver(projections=[kinds])
    assert kinds.rows() == [(1, 1)]


def named(name: Any, version: Any = 1) -> Projection:
    return type("Named", (Kinds,), {"name": name, "schema_version": version})()


@pytest.mark.parametrize(
    "name",
    [
        *("", "Upper", "with space", "a-b", "1st", "ümlaut", 'quo"te', None, 3, "a.b"),
        *(
            "event",
            "meta",
            "thread",
            "stream",
            "erased",
            "projection",
            "latest",
            "history",
            "threads",
            "pending_writes",
        ),
        *("history_of_mine", "threads_x", "event_more", "pending", "sqlite", "sqlite_x"),
    ],
)
def test_invalid_and_reserved_names_are_refused(tmp_path: Any, name: Any) -> None:
    with pytest.raises(ConfigError):
        EventLogSaver(tmp_path / "agent.db", projections=[named(name)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", [0, -1, None, "1", 1.5])
def test_invalid_versions_are_refused(tmp_path: Any, version: Any) -> None:
    with pytest.raises(ConfigError, match="schema_version"):
        EventLogSaver(tmp_path / "agent.db", projections=[named("mine", version)])


@pytest.mark.parametrize("names", [("mine", "mine"), ("mine", "mine_too"), ("mine_too", "mine")])
def test_two_projections_never_share_tables(
    make_saver: Callable[..., EventLogSaver], tmp_path: Any, names: tuple[str, str]
) -> None:
    """Not in a program, nor with one that another program keeps in the file: a reset would drop the other's tables."""
    with pytest.raises(ConfigError):
        EventLogSaver(tmp_path / "agent.db", projections=[named(name) for name in names])
    if names[0] != names[1]:
        first, second = (
            type("P", (Scripted,), {"name": n, "reset": lambda self: None, "apply": lambda *_: None})() for n in names
        )
        make_saver(projections=[first]).close()
        with pytest.raises(ConfigError):
            EventLogSaver(tmp_path / "agent.db", projections=[second])


@pytest.mark.parametrize("missing", ["reset", "apply"])
def test_a_class_without_its_methods_is_refused(tmp_path: Any, missing: str) -> None:
    plain = type("Plain", (), {"name": "plain", "schema_version": 1, "reset": print, "apply": print, missing: None})
    with pytest.raises(ConfigError, match=missing):
        EventLogSaver(tmp_path / "agent.db", projections=[plain()])


def test_a_plain_class_will_do(make_saver: Callable[..., EventLogSaver], steps: Any) -> None:
    class Plain:
        name = "plain"
        schema_version = 3
        db: Any

        def reset(self) -> None:
            self.db.execute("CREATE TABLE plain (position INTEGER)")

        def apply(self, event: RecordedEvent) -> None:
            self.db.execute("INSERT INTO plain VALUES (?)", (event.position,))

    plain = Plain()
    steps.put(make_saver(projections=[plain]), "1")
    assert plain.db.query("SELECT * FROM plain") == [(1,)]
    assert plain.db.progress().behind == 0


def test_read_only_it_is_read_as_it_is(make_saver: Callable[..., EventLogSaver], steps: Any) -> None:
    """Its progress says how old that is."""
    with make_saver(projections=[Kinds()]) as saver:
        steps.put(saver, "1")
    with make_saver() as saver:
        steps.put(saver, "2")
    kinds = Kinds()
    saver = make_saver(projections=[kinds], read_only=True)
    assert (kinds.rows(), kinds.progress().position, kinds.progress().behind) == ([(1, 1)], 1, 1)
    with pytest.raises(ProjectionError, match="open the log with it once for writing"):
        EventLogSaver(saver.path, projections=[named("never")], read_only=True)


def test_an_event_that_cannot_be_applied_says_where_when_catching_up(
    make_saver: Callable[..., EventLogSaver], steps: Any
) -> None:
    """What had been taken in before it stays; mended, it goes on from there."""
    with make_saver() as saver:
        for n in range(300):
            steps.put(saver, f"{n:03}")

    class Fussy(Kinds):
        def apply(self, event: RecordedEvent) -> None:
            if event.position == 280:
                raise ValueError("no")
            super().apply(event)

    with pytest.raises(ProjectionError, match="event 280") as raised:
        EventLogSaver(saver.path, projections=[Fussy()])
    assert raised.value.position == 280
    kinds = Kinds()
    with make_saver(projections=[kinds], read_only=True):
        assert kinds.progress().position == 256
    saver = make_saver(projections=[kinds := Kinds()])
    assert kinds.rows() == expected(saver)


def test_rebuilding_past_an_erasure_needs_carry(make_saver: Callable[..., EventLogSaver], steps: Any) -> None:
    """Without it, what came from the erased events would be lost without a word."""
    kinds = Kinds()
    saver = make_saver(projections=[kinds], clock=lambda: 1)
    for id in "123":
        steps.put(saver, id)
    saver.prune(["t"])
    steps.erase(saver, 1)
    rows = kinds.rows()
    with pytest.raises(ProjectionError, match="carry"):
        saver.rebuild("kinds")
    assert kinds.rows() == rows
    with pytest.raises(ProjectionError, match="carry"):
        EventLogSaver(saver.path, projections=[KindsTwo()])


def test_rebuilding_one_that_was_not_given_is_refused(file_saver: EventLogSaver) -> None:
    with pytest.raises(ConfigError, match="kinds"):
        file_saver.rebuild("kinds")
