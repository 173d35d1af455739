"""`audit`: everything that ever happened, in the order of the log."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph_eventlog.eventlog import EventLog
from langgraph_eventlog.eventlog.errors import ConfigError
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools import cli
from langgraph_eventlog.tools.auditing import replay as replaying
from langgraph_eventlog.tools.auditing.filters import AuditFilter
from langgraph_eventlog.tools.auditing.preview import preview, preview_of_change
from langgraph_eventlog.tools.auditing.replay import Follow, replay
from langgraph_eventlog.tools.opening import open_log

from .bounded import killed_if_it_takes_longer
from .erasing import erasing_before


@pytest.fixture
def entries(json_of: Any, shop: Path) -> list[dict[str, Any]]:
    """Everything in the shop's log."""
    found: list[dict[str, Any]] = json_of("audit", shop, lines=True)
    return found


def test_every_event_is_there_once_and_in_order(entries: list[dict[str, Any]], shop: Path) -> None:
    with EventLog(shop, read_only=True) as log:
        assert [entry["position"] for entry in entries] == list(range(1, log.head().position + 1))
    assert {entry["kind"] for entry in entries} == {"put", "put_writes", "thread", "copy", "delete_thread", "prune"}


def test_of_each_event_it_says_when_which_thread_run_and_node_and_what_it_changed(
    entries: list[dict[str, Any]],
) -> None:
    refund = [e for e in entries if e.get("thread_id") == "order-1" and e.get("nodes") == ["refund"]][-1]
    assert refund["recorded_at"].startswith("2026-01-01T00:")
    assert (refund["kind"], refund["source"], refund["run_id"]) == ("put", "loop", "run 2 of order-1")
    assert refund["carried"] == ["messages", "item"]
    changes = {change["channel"]: change for change in refund["changes"]}
    assert changes["ledger"] == {"channel": "ledger", "how": "keys", "set": {"refund": "40"}, "removed": []}
    assert changes["text"]["how"] == "changed"
    assert changes["text"]["before"].startswith("Quoted 40 euros")
    assert changes["text"]["value"].startswith("Refunded 40 euros")
    assert changes["branch:to:refund"]["how"] == "gone"


def test_deletions_prunes_and_copies_say_what_they_did(entries: list[dict[str, Any]], json_of: Any, shop: Path) -> None:
    [deleted] = [entry for entry in entries if entry["kind"] == "delete_thread"]
    assert (deleted["thread_id"], deleted["details"]) == ("gone", {"checkpoints": 6, "writes": 11})
    [prune] = [entry for entry in entries if entry["kind"] == "prune"]
    [removal] = prune["details"]["removals"]
    assert (removal["thread_id"], len(removal["removed"])) == ("long", 179)
    [copied] = json_of("audit", shop, "order-3-again", "--kind", "copy", lines=True)
    assert copied["details"]["source_thread_id"] == "order-3"
    assert copied["details"]["metadata"] == {"why": "try again"}


def test_each_filter_lets_through_what_it_says(entries: list[dict[str, Any]], shop: Path) -> None:
    def those(condition: Any) -> list[int]:
        return [entry["position"] for entry in entries if condition(entry)]

    def channels(entry: dict[str, Any]) -> set[str]:
        return {change["channel"] for change in entry.get("changes", ())}

    with open_log(shop) as log:

        def positions(thread: str | None = None, after: int = 0, limit: int | None = None, **where: Any) -> list[int]:
            return [e.position for e in replay(log, thread, after=after, limit=limit, where=AuditFilter(**where))]

        assert positions("order-2") == those(lambda e: e.get("thread_id") == "order-2")
        assert positions("long", kinds=["prune"]) == those(lambda e: e["kind"] == "prune")
        since, until = datetime(2026, 1, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 2, tzinfo=UTC)
        assert positions(since=since, until=until) == list(range(59, 119))
        assert positions(run="run 2 of order-1") == those(lambda e: e.get("run_id") == "run 2 of order-1") != []
        assert positions(node="price") == those(lambda e: "price" in e.get("nodes", ())) != []
        in_plan = those(lambda e: e.get("checkpoint_ns", "") == "plan" or "plan" in e.get("nodes", ()))
        assert positions(node="plan") == in_plan != []
        assert positions(channel="ledger") == those(lambda e: "ledger" in channels(e)) != []
        some = those(lambda e: e["kind"] in ("put", "copy") and e["position"] > 100)[:20]
        assert positions(kinds=["put", "copy"], after=100, limit=20) == some
        assert positions(limit=0) == []


def test_the_options_of_the_command_are_those_filters(entries: list[dict[str, Any]], json_of: Any, shop: Path) -> None:
    options = ("--since", "2026-01-01T00:30", "--until", "2026-01-01T01:20+00:00", "--kind", "put", "--after", "40")
    options += ("--run", "run 2 of order-3", "--node", "price", "--channel", "ledger", "--text", "90", "--limit", "5")
    [found] = json_of("audit", shop, *options, lines=True)
    assert found in entries
    assert (found["thread_id"], found["nodes"], found["kind"]) == ("order-3", ["price"], "put")


def test_text_is_found_in_what_was_new_also_in_a_thread_that_was_deleted(json_of: Any, run: Any, shop: Path) -> None:
    found = json_of("audit", shop, "--text", "HUNTER2", lines=True)
    assert {entry["thread_id"] for entry in found} == {"gone"}
    # The input, what was written of it, and the state that had it first: not every state that has it still.
    # The states come one after the other; where among them what was written comes, LangGraph's threads decide.
    assert sorted(entry["kind"] for entry in found) == ["put", "put", "put_writes"]
    assert [entry["step"] for entry in found if entry["kind"] == "put"] == [-1, 0]
    assert run("audit", shop, "--text", "no such text").stdout == ""
    [named] = json_of("audit", shop, "--text", "order 1", "--kind", "thread", lines=True)
    assert named["details"] == {"name": "Order 1", "metadata": {"customer": "c1", "hold": True}}


def test_values_come_whole_if_asked_for(json_of: Any, shop: Path) -> None:
    options = ("audit", shop, "order-1", "--channel", "text", "--limit", "1")
    [short] = json_of(*options, lines=True)
    [whole] = json_of(*options, "--values", lines=True)
    assert whole["changes"][0]["value"] == "Quoted 40 euros for the lamp. " * 20
    assert len(short["changes"][0]["value"]) == 120


def test_people_read_a_line_or_two_for_each_event(run: Any, shop: Path) -> None:
    shown = run("audit", shop, "order-2").stdout
    assert "messages + tool: 250" in shown
    assert "__interrupt__ <- " in shown
    assert "branch:to:" not in shown
    assert "\x1b" not in shown
    assert "order-2: " not in shown
    everything = run("audit", shop).stdout
    assert "source_thread_id: order-3" in everything
    assert "long: 179 checkpoints removed" in everything


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--at", "1"), "is about one thread"),
        (("--html", "x.html"), "is about one thread"),
        (("order-1", "--follow", "--at", "1"), "three different things"),
        (("order-1", "--at", "1", "--node", "agent"), "no other option"),
        (("--kind", "puts"), "is no kind of event"),
        (("--since", "tuesday"), "is no time"),
        (("order-4",), "ever was, about a thread"),
    ],
)
def test_what_makes_no_sense_is_refused(
    shop: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["audit", str(shop), *arguments]) == cli.EXIT_USAGE
    assert said in capsys.readouterr().err


def test_a_log_in_use_is_replayed_to_where_it_is(json_of: Any, busy_shop: Path) -> None:
    found = json_of("audit", busy_shop, "--node", "agent", "--text", "busy 0", lines=True)
    assert found == []
    for _ in range(50):  # until it has got so far
        found = json_of("audit", busy_shop, "busy-0", "--limit", "3", lines=True)
        kinds = [entry["kind"] for entry in found]
        if len(kinds) == 3:
            break
    assert len(kinds) == 3
    assert kinds[0] == "put"
    assert set(kinds) == {"put", "put_writes"}


@pytest.mark.parametrize("as_json", [True, False])
def test_following_shows_what_another_process_appends_until_it_is_interrupted(
    busy_shop: Path, *, as_json: bool
) -> None:
    command = [sys.executable, "-m", "langgraph_eventlog.tools", "audit", str(busy_shop), "--follow"]
    command += ["--json", "--kind", "put"] if as_json else ["--kind", "put"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        killed_if_it_takes_longer(process),
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        for _ in range(20):
            line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(timeout=60) == 130
        assert "Traceback" not in process.stderr.read()
    if as_json:
        began, now = json.loads(first), json.loads(line)
        assert now["position"] > began["position"]
        assert now["thread_id"].startswith("busy-")
    else:
        assert "  put  busy-" in first


def test_following_from_a_position_begins_there_and_may_end_after_so_many(json_of: Any, shop: Path) -> None:
    options = ("audit", shop, "gone", "--follow", "--after", "0", "--limit", "4")
    assert json_of(*options, lines=True) == json_of("audit", shop, "gone", "--limit", "4", lines=True)


def test_hostile_text_does_nothing_to_a_terminal(make_saver: Any, run: Any, tmp_path: Path) -> None:
    hostile = "\x1b]0;owned\x07[red]\u202ea\rb\u2028c"
    with make_saver(tmp_path / "hostile.db") as saver:
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {hostile: hostile}
        config = {"configurable": {"thread_id": hostile, "checkpoint_ns": hostile}}
        saver.put(config, checkpoint, {"source": hostile, "run_id": hostile}, {})
        saver.register_thread(hostile, name=hostile, metadata={hostile: hostile})
    for options in ((), (hostile, "--at", "1"), (hostile, "--at", "2")):
        shown = run("audit", tmp_path / "hostile.db", *options).stdout
        assert "[red]" in shown
        assert not set(shown) & set("\x1b\x07\u202e\r\u2028")


@pytest.mark.plain_file("it damages a record")
def test_a_damaged_event_is_named_and_the_replay_goes_on_behind_it(shop: Path) -> None:
    with open_log(shop) as log:
        position = next(e.position for e in replay(log, "order-3") if e.kind == "put" and e.step == 1)
    connection = apsw.Connection(str(shop))
    [(trigger,)] = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'event_never_changes'").fetchall()
    connection.execute("DROP TRIGGER event_never_changes")
    connection.execute("UPDATE event SET record = zeroblob(50) WHERE position = ?", (position,))
    connection.execute(trigger)
    connection.close()
    with open_log(shop) as log:
        found = list(replay(log))
        assert [entry.position for entry in found] == list(range(1, log.log.head().position + 1))
        [damaged] = [entry for entry in found if entry.kind == "damaged"]
        assert damaged.position == position
        assert "digest" in str(damaged.problem)
        # Its child is told, too, as one whose parent could not be read.
        assert any(entry.details == {"parent": "not found"} for entry in found)


def test_an_event_after_a_position_changes_the_same_as_in_a_replay_of_everything(shop: Path) -> None:
    with open_log(shop) as log:
        everything = {entry.position: entry for entry in replay(log)}
        for position in range(0, len(everything), 37):
            [entry] = replay(log, after=position, limit=1)
            assert entry.as_json(values=True) == everything[position + 1].as_json(values=True)


def test_an_unknown_kind_is_refused_by_the_library_too() -> None:
    with pytest.raises(ConfigError, match="is no kind of event"):
        AuditFilter(kinds=["Put"])


def test_a_preview_is_short_whatever_the_value() -> None:
    calls = [{"name": "price", "args": {"item": "lamp"}, "id": "1"}]
    assert preview(AIMessage("Let me see.", tool_calls=calls)) == "ai: Let me see. -> price(item=lamp)"
    assert preview([AIMessage([{"type": "text", "text": "a"}, {"type": "image_url"}])]) == "ai: a [image_url]"
    assert preview("a\n  b") == "a b"
    assert len(preview("x" * 10_000_000)) == 120
    assert preview({"a": [1, None]}) == '{"a": [1, null]}'
    before, after = preview_of_change("a" * 500 + "cat" + "b" * 500, "a" * 500 + "dog" + "b" * 500)
    assert "aaacatbbb" in before
    assert "aaadogbbb" in after
    assert max(len(before), len(after)) <= 60


def test_an_encrypted_log_is_replayed_with_its_key(run: Any, tmp_path: Path) -> None:
    try:
        with EventLogSaver(tmp_path / "secret.db", key="a passphrase") as saver:
            saver.register_thread("t", name="Secret")
    except ConfigError as e:
        pytest.skip(str(e))
    run("audit", tmp_path / "secret.db", code=3)
    assert "Secret" in run("audit", tmp_path / "secret.db", LANGGRAPH_EVENTLOG_KEY="a passphrase").stdout


def test_more_threads_than_are_asked_for_are_not_shown(json_of: Any, make_saver: Any, tmp_path: Path) -> None:
    """A deletion of runs, or a prune, in the whole log says of a thread what it did to that thread alone."""
    with make_saver(tmp_path / "two.db") as saver:
        for thread in ("a", "b"):
            config = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
            saver.put(config, empty_checkpoint(), {"run_id": "r"}, {})
        saver.delete_for_runs(["r"])
        saver.prune(["a", "b"], strategy="delete")
    [deleted] = json_of("audit", tmp_path / "two.db", "a", "--kind", "delete_for_runs", lines=True)
    assert [removal["thread_id"] for removal in deleted["details"]["removals"]] == ["a"]
    [deleted] = json_of("audit", tmp_path / "two.db", "--run", "r", "--kind", "delete_for_runs", lines=True)
    assert [removal["thread_id"] for removal in deleted["details"]["removals"]] == ["a", "b"]


def test_help_shows_every_option(run: Any) -> None:
    shown = run("audit", "--help", COLUMNS="200").stdout
    for option in (
        "--since",
        "--until",
        "--run",
        "--node",
        "--channel",
        "--text",
        "--kind",
        "--after",
        "--limit",
        "--at",
    ):
        assert option in shown
    for option in ("--follow", "--html", "--values", "--json", "--key-file", "--allow", "--allow-any"):
        assert option in shown
    assert os.linesep * 4 not in shown


@pytest.mark.parametrize("prune", [False, True])
@pytest.mark.parametrize("thread", [None, "order-1"])
@pytest.mark.parametrize(("page", "number"), [(1, 3), (1, 20), (4, 3), (64, 1)])
def test_what_is_erased_meanwhile_is_no_damage(
    shop: Path, monkeypatch: pytest.MonkeyPatch, page: int, number: int, thread: str | None, prune: bool
) -> None:
    monkeypatch.setattr(replaying, "_PAGE", page)
    monkeypatch.setattr(replaying, "_MAX_PAGE", page)
    with open_log(shop) as log:
        erased = erasing_before(monkeypatch, log, number, "order-1", prune=prune)
        entries = list(replay(log, thread))
    assert erased
    assert [entry.problem for entry in entries if entry.problem] == []
    # Each position once, as an event or as one that was erased.
    told = [p for e in entries for p in range(e.position, e.position + (e.size if e.kind == "erased" else 1))]
    assert told == sorted(set(told))
    assert thread is not None or told == list(range(1, told[-1] + 1))


def test_a_parent_that_is_remembered_and_was_erased_meanwhile_is_not_found(
    make_saver: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = make_saver(clock=clock)
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    # The second is stored as a difference to the first; the third refers to nothing.
    for n, value in enumerate([[f"element {i}" * 9 for i in range(50)], [f"element {i}" * 9 for i in range(51)], 3]):
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"], checkpoint["channel_versions"] = {"x": value}, {"x": n}
        config = saver.put(config, checkpoint, {"source": "loop", "step": n}, {"x": n})
        if n == 1:
            saver.put_writes(config, [("y", 1)], "task")
    third = saver.log.head().position
    last_recorded = [entry.recorded_at for entry in replay(saver)][-1]
    monkeypatch.setattr(replaying, "_PAGE", 1)
    monkeypatch.setattr(replaying, "_MAX_PAGE", 1)
    erased = erasing_before(monkeypatch, saver, third, "t", prune=True)
    entries = list(replay(saver, where=AuditFilter(since=last_recorded, kinds=["put"])))
    assert erased
    assert [(entry.position, entry.problem, entry.details) for entry in entries] == [
        (third, None, {"parent": "not found"})
    ]


def test_following_tells_what_was_erased_before_it_was_explained(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_log(shop) as log:
        head = log.log.head().position
        with Follow(log, "order-1", after=0) as following:
            before = [event.position for event in log.log.read(thread_id="order-1") if event.position <= head][:40]
            erased = erasing_before(monkeypatch, log, 2, "order-1")
            entries = list(itertools.islice(following, len(before)))
    assert erased
    assert [entry.position for entry in entries] == before
    assert all(entry.problem is None for entry in entries)
