"""`export --jsonl`: what auditors get, with what it takes to recompute the chain, and without what is redacted."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import itertools
import json
import stat
import struct
from pathlib import Path
from typing import Any

import apsw
import pytest
from langgraph_eventlog.eventlog import ConfigError
from langgraph_eventlog.eventlog.database import Database
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.moving import jsonl
from langgraph_eventlog.tools.moving.jsonl import event_lines
from langgraph_eventlog.tools.moving.redaction import Redaction, salt_from
from langgraph_eventlog.tools.moving.walking import Selection
from langgraph_eventlog.tools.opening import open_log

from .erasing import erasing_before
from .official_shop import chat, make_official_shop, of


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def lp(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def number(n: int) -> bytes:
    return lp(struct.pack(">q", n))


def recompute(lines: list[dict[str, Any]]) -> str:
    """Recompute the chain from the lines alone, as the page says; check each link; give the last."""
    header, *rest = lines
    link = bytes.fromhex(header["link_before"])
    for position, line in enumerate(rest, header["first"]):
        assert line["position"] == position
        if line["type"] == "event":
            if line["thread_id"] is None:
                about = lp(b"log")
            else:
                about = lp(b"stream") + lp(line["thread_id"].encode()) + lp(line["checkpoint_ns"].encode())
            told = number(line["recorded_at"]) + about + lp(bytes.fromhex(line["digest"]))
            inner = hashlib.sha256(told).digest()
        else:
            inner = bytes.fromhex(line["inner"])
        leaf = hashlib.sha256(number(position) + number(line["kind"]) + lp(inner)).digest()
        link = hashlib.sha256(link + leaf).digest()
        if "link" in line:
            assert line["link"] == link.hex()
    return link.hex()


def test_there_is_a_line_for_each_event_and_the_chain_can_be_recomputed(
    run: Any, shop: Path, tmp_path: Path, make_saver: Any
) -> None:
    run("export", shop, "out.jsonl", "--jsonl")
    lines = lines_of(tmp_path / "out.jsonl")
    head = make_saver().log.head()
    assert lines[0]["head"] == {"position": head.position, "link": head.link.hex()}
    assert [line["position"] for line in lines[1:]] == list(range(1, head.position + 1))
    assert recompute(lines) == head.link.hex()
    assert stat.S_IMODE((tmp_path / "out.jsonl").stat().st_mode) == 0o600
    kinds = {line["event"] for line in lines[1:]}
    assert {"put", "put_writes", "delete_thread", "prune", "copy", "thread"} <= kinds


def test_a_list_that_has_grown_shows_what_was_added(run: Any, shop: Path) -> None:
    lines = [
        json.loads(line) for line in run("export", shop, "-", "--jsonl", "--thread", "order-1").stdout.splitlines()
    ]
    puts = [line["data"] for line in lines[1:] if line["event"] == "put"]
    grown = [put["channels"]["messages"] for put in puts if "list_of" in put["channels"].get("messages", {})]
    assert [message["content"] for change in grown for message in change["inserted"]][-1] == "The lamp costs 40 euros."
    assert all(change["kept_last"] == 0 for change in grown)
    assert any("same_as" in value for put in puts for value in put["channels"].values())


def test_one_thread_with_stubs_proves_the_chain_and_shows_no_other(run: Any, shop: Path, make_saver: Any) -> None:
    out = run("export", shop, "-", "--jsonl", "--thread", "order-1", "--stubs").stdout
    lines = [json.loads(line) for line in out.splitlines()]
    assert {line["type"] for line in lines[1:]} == {"event", "other"}
    assert recompute(lines) == make_saver().log.head().link.hex()
    assert "hunter2" not in out
    assert "order-2" not in out


def test_a_range_continues_the_chain_where_it_begins(run: Any, shop: Path, tmp_path: Path) -> None:
    run("export", shop, "all.jsonl", "--jsonl")
    run("export", shop, "some.jsonl", "--jsonl", "--from", "11", "--to", "20")
    some = lines_of(tmp_path / "some.jsonl")
    assert some[1:] == lines_of(tmp_path / "all.jsonl")[11:21]
    assert recompute(some) == some[-1]["link"]


def test_erased_events_are_lines_too(tmp_path: Path, make_saver: Any) -> None:
    saver = make_saver()
    make_saver.damaged(saver.path)  # an event is erased here without the compaction that says so
    saver.put_writes(of("t", checkpoint_id="1"), [("a", "secret")], "task")
    saver.delete_thread("t")
    chat(saver, "t", 2)
    links = [line["link"] for line in event_lines(saver) if line["type"] == "event"]
    with saver.log.database.writing() as connection:
        from langgraph_eventlog.eventlog.integrity import inner_of

        event = next(saver.log.read(limit=1))
        inner = inner_of(recorded_at=event.recorded_at, address=("t", ""), digest=event.digest)
        connection.execute("INSERT INTO erased VALUES (1, 2, ?)", (inner,))
        connection.execute("DELETE FROM event WHERE position = 1")
    lines = list(event_lines(saver))
    assert (lines[1]["type"], lines[1]["position"]) == ("erased", 1)
    assert recompute(lines) == links[-1]
    assert "secret" not in json.dumps(lines)


@pytest.mark.plain_file("it damages a record in the file")
def test_a_damaged_record_is_a_line_and_gives_exit_code_1(run: Any, shop: Path, tmp_path: Path) -> None:
    connection = apsw.Connection(str(shop))
    (position,) = connection.execute("SELECT max(position) FROM event WHERE kind = 1").fetchone()
    triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("UPDATE event SET record = CAST(x'0100' || zeroblob(9) AS BLOB) WHERE position = ?", (position,))
    for _, sql in triggers:
        connection.execute(sql)
    connection.close()
    assert "1 records are damaged" in run("export", shop, "out.jsonl", "--jsonl", code=1).stdout
    (line,) = [line for line in lines_of(tmp_path / "out.jsonl") if "damaged" in line]
    assert line["position"] == position


def test_checkpoints_are_shown_whole(run: Any, make_saver: Any) -> None:
    saver = make_saver()
    make_official_shop(saver)
    out = run("export", saver.path, "-", "--jsonl", "--checkpoints", "--thread", "order-2").stdout
    header, *lines = [json.loads(line) for line in out.splitlines()]
    assert header["type"] == "log"
    by_id = {line["checkpoint_id"]: line for line in lines}
    listed = list(saver.list({"configurable": {"thread_id": "order-2"}}))
    assert set(by_id) == {one.config["configurable"]["checkpoint_id"] for one in listed}
    latest = by_id[saver.get_tuple(of("order-2")).checkpoint["id"]]
    values = latest["checkpoint"]["channel_values"]
    assert [message["content"] for message in values["messages"]][-1] == "The desk costs 250 euros."
    assert {write["channel"] for write in latest["pending_writes"]} == {"__interrupt__"}
    event = next(saver.log.read(after=latest["position"] - 1, limit=1))
    assert (latest["digest"], latest["link"]) == (event.digest.hex(), event.link.hex())


def test_what_is_redacted_is_nowhere(run: Any, shop: Path, tmp_path: Path) -> None:
    for mode in ([], ["--checkpoints"]):
        path = tmp_path / f"out{len(mode)}.jsonl"
        rules = ["--redact", "channel:messages", "--redact", "key:customer", "--redact", "key:ledger"]
        run("export", shop, path, "--jsonl", *mode, *rules)
        text = path.read_text()
        for secret in ("hunter2", "how much is it?", "The lamp costs", '"c1"', "quote 2"):
            assert secret not in text
        assert lines_of(path)[0]["redacted"] == rules[1::2]
        assert '"redacted":"' in text
        assert '"item"' in text
    assert recompute(lines_of(tmp_path / "out0.jsonl"))


def test_equal_values_have_equal_hashes_under_one_salt_and_others_under_another(
    run: Any, shop: Path, tmp_path: Path
) -> None:
    def exported(*more: Any) -> list[Any]:
        out = run("export", shop, "-", "--jsonl", "--checkpoints", "--redact", "channel:item", *more).stdout
        lines = [json.loads(line) for line in out.splitlines()][1:]
        return [line["checkpoint"]["channel_values"].get("item") for line in lines if line["type"] == "checkpoint"]

    salt = tmp_path / "salt"
    one, same, other = exported("--salt-file", salt), exported("--salt-file", salt), exported()
    assert one == same
    assert one != other
    assert stat.S_IMODE(salt.stat().st_mode) == 0o600
    # Who has the salt can prove what a value was.
    digest = hmac.new(salt.read_bytes().strip(), b'"lamp"', hashlib.sha256).hexdigest()
    assert {"redacted": digest} in one
    assert len({item["redacted"] for item in one if item is not None}) == 3


def test_rules_reach_keys_at_any_depth_and_inputs() -> None:
    redaction = Redaction(["channel:messages", "key:password"], salt=b"s" * 16)
    gone = redaction.redacted("x")
    assert redaction.of_channel("messages", "x") == gone
    assert redaction.of_channel("other", {"messages": "x", "a": [{"password": "x"}]}) == {
        "messages": "x",
        "a": [{"password": gone}],
    }
    # What an input sets stands in one of LangGraph's own channels.
    assert redaction.of_channel("__start__", {"messages": "x"}) == {"messages": gone}
    assert redaction.of_other({"writes": {"node": {"messages": "x"}}}) == {"writes": {"node": {"messages": gone}}}
    assert redaction.of_other({1: {"password": "x"}, "password": "x"}) == {
        "items": [[1, {"password": gone}], ["password", gone]]
    }
    assert redaction.of_channel("password", "x") == gone
    assert redaction.redacted({"a": 1, "b": 2}) == redaction.redacted({"b": 2, "a": 1})


@pytest.mark.parametrize("rule", ["messages", "channel:", "thread:x", ""])
def test_a_rule_that_is_none_is_refused(rule: str) -> None:
    with pytest.raises(ConfigError, match="--redact takes"):
        Redaction([rule])


def test_a_salt_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "salt").write_text("short\n")
    with pytest.raises(ConfigError, match="could be found by trying"):
        salt_from(tmp_path / "salt")


def test_options_of_jsonl_are_refused_without_it(run: Any, shop: Path, tmp_path: Path) -> None:
    for option in (["--redact", "key:x"], ["--checkpoints"], ["--stubs"], ["--salt-file", "salt"]):
        assert f"{option[0]} is for --jsonl" in run("export", shop, "out", *option, code=2).stderr
    assert not (tmp_path / "salt").exists()
    assert not (tmp_path / "out").exists()


@dataclasses.dataclass
class Thing:
    """A class that nobody allows."""

    number: int


def test_values_of_unknown_classes_are_data_and_no_objects(tmp_path: Path, make_saver: Any) -> None:
    saver = make_saver()
    checkpoint = {"v": 4, "ts": "", "id": "1", "channel_versions": {}, "versions_seen": {}}
    saver.put(of("t"), {**checkpoint, "channel_values": {"x": Thing(1)}}, {}, {})
    with open_log(tmp_path / "agent.db") as log:
        (_, line) = event_lines(log)
    assert line["data"]["channels"]["x"] == {"value": {"number": 1}}


def test_a_log_in_use_is_exported_up_to_where_it_was(run: Any, busy_shop: Path, tmp_path: Path) -> None:
    run("export", busy_shop, "out.jsonl", "--jsonl")
    lines = lines_of(tmp_path / "out.jsonl")
    assert recompute(lines) == lines[0]["head"]["link"]
    assert lines[-1]["position"] == lines[0]["head"]["position"]
    with EventLogSaver(busy_shop, read_only=True) as saver:
        assert saver.log.head().position >= lines[-1]["position"]


@pytest.mark.parametrize(("page", "number"), [(512, 1), (512, 2), (512, 3), (7, 3), (7, 20), (7, 60), (1, 200)])
def test_what_is_erased_meanwhile_is_told_once_and_the_chain_holds(
    shop: Path, monkeypatch: pytest.MonkeyPatch, page: int, number: int
) -> None:
    monkeypatch.setattr(jsonl, "_PAGE", page)
    with open_log(shop) as log:
        erased = erasing_before(monkeypatch, log, number, "long", "order-1")
        lines = list(event_lines(log))
    assert erased
    head = lines[0]["head"]
    assert [line["position"] for line in lines[1:]] == list(range(1, head["position"] + 1))
    assert recompute(lines) == head["link"]
    assert not any("damaged" in line for line in lines)


def test_one_thread_that_is_erased_meanwhile_leaves_the_chain_whole(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "_PAGE", 10)
    with open_log(shop) as log:
        erased = erasing_before(monkeypatch, log, 3, "order-1")
        lines = list(event_lines(log, selection=Selection(thread_id="order-1"), stubs=True))
    assert erased
    assert recompute(lines) == lines[0]["head"]["link"]
    assert {line["type"] for line in lines[1:]} == {"event", "other", "erased"}
    assert not any("damaged" in line for line in lines)


def test_a_page_ends_where_what_it_shows_is_large(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_log(shop) as log:
        expected = list(event_lines(log))
        monkeypatch.setattr(jsonl, "MAX_BYTES_A_PAGE", 1000)
        lines = event_lines(log)
        found = list(itertools.islice(lines, 2))
        pages = 0

        def count() -> None:
            nonlocal pages
            pages += 1

        reading = Database.reading
        monkeypatch.setattr(Database, "reading", lambda database: count() or reading(database))
        found += lines
    assert found == expected
    assert pages > 20
