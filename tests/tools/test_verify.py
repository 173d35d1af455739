"""`verify`: what tampering it finds without an anchor, and with one; through the real command."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest


def _tampering() -> Any:
    path = Path(__file__).with_name("tampering.py")
    spec = importlib.util.spec_from_file_location("tools_tampering", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tools_tampering"] = module
    spec.loader.exec_module(module)
    return module


tampering = _tampering()


def checked(run: Any, *arguments: Any, code: int = 0) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The findings and the result of `verify --json`."""
    lines = [json.loads(line) for line in run("verify", *arguments, "--json", code=code).stdout.splitlines()]
    assert [line["type"] for line in lines] == ["finding"] * (len(lines) - 1) + ["result"]
    assert lines[-1]["findings"] == len(lines) - 1
    return lines[:-1], lines[-1]


def anchor_of(run: Any, path: Path) -> str:
    anchor: str = run("anchor", path).stdout.strip()
    return anchor


def test_a_log_that_is_what_was_appended_has_no_findings(run: Any, shop: Path) -> None:
    findings, result = checked(run, shop)
    assert findings == []
    assert result["unproved"] == [[1, result["head"]["position"]]]
    assert result["proved"] == []
    assert result["events"] == result["head"]["position"]
    assert result["values"]["decoded"] > 1000
    assert result["values"]["passed_over"] == {}
    shown = run("verify", shop).stdout
    assert "nothing found" in shown
    assert "no anchor proves that nobody rewrote them" in shown
    assert checked(run, shop, "--quick")[1]["values"] is None


@pytest.mark.parametrize("what", list(tampering.TAMPERINGS))
def test_what_is_tampered_with_is_found_or_needs_an_anchor(run: Any, shop: Path, what: str) -> None:
    tamper, plain, quick, needs_anchor = tampering.TAMPERINGS[what]
    anchor = anchor_of(run, shop)
    before = shop.with_name("before.db")
    shutil.copy(shop, before)
    tamper(shop)

    findings, _ = checked(run, shop, code=1 if plain else 0)
    assert plain <= {finding["code"] for finding in findings}
    assert all("event" in f["message"] or f["code"] for f in findings)
    codes = {finding["code"] for finding in checked(run, shop, "--quick", code=1 if quick else 0)[0]}
    assert codes >= quick
    assert bool(codes) == bool(quick)

    found, result = checked(run, shop, "--quick", "--anchor", anchor, code=1 if quick or needs_anchor else 0)
    assert ("anchor" in {finding["code"] for finding in found}) == needs_anchor
    assert result["anchors"][0]["holds"] != needs_anchor
    assert checked(run, before, "--anchor", anchor)[1]["unproved"] == []


def test_findings_say_where(run: Any, shop: Path) -> None:
    position, _ = tampering.edited_record(shop)
    tampering.TAMPERINGS["a record edited"][0](shop)
    findings, _ = checked(run, shop, code=1)
    assert {finding["position"] for finding in findings if finding["code"] == "digest"} == {position}
    lost = [finding for finding in findings if finding["code"] == "checkpoint"]
    assert all(finding["checkpoint_id"] and finding["thread_id"] for finding in lost)
    assert f"[digest] event {position}: its record does not match its digest" in run("verify", shop, code=1).stdout


def test_an_anchor_proves_what_is_before_it_and_nothing_behind_it(run: Any, json_of: Any, shop: Path) -> None:
    """Somebody rewrites the newest events: an older anchor holds, and says how far."""
    anchor = anchor_of(run, shop)
    head = int(anchor.partition(":")[0])
    run("copy-thread", shop, "order-1", "again")
    run("copy-thread", shop, "order-1", "and-again")
    newer = anchor_of(run, shop)
    with tampering._HELPERS.without_triggers(shop) as connection:
        connection.execute("UPDATE event SET recorded_at = recorded_at + 1 WHERE position = ?", (head + 1,))
        tampering._HELPERS.recompute(connection)
    tampering.rebuild(shop)
    findings, result = checked(run, shop, "--anchor", anchor)
    assert findings == []
    assert (result["proved"], result["unproved"]) == ([[1, head]], [[head + 1, head + 2]])
    shown = run("verify", shop, "--quick", "--anchor", anchor).stdout
    assert f"events 1 to {head}: proved to be what they were when the anchor was taken" in shown
    assert f"events {head + 1} to {head + 2}: consistent in themselves" in shown
    findings, result = checked(run, shop, "--anchor", anchor, "--anchor", newer, code=1)
    assert [(f["code"], f["position"]) for f in findings] == [("anchor", head + 2)]
    assert [a["holds"] for a in result["anchors"]] == [True, False]
    assert result["proved"] == [[1, head]]


def test_an_older_copy_is_found_by_an_anchor_from_after_it_only(run: Any, shop: Path) -> None:
    older = shop.with_name("older.db")
    run("backup", shop, older)
    before = anchor_of(run, shop)
    run("delete-thread", shop, "order-1", "--yes")
    after = anchor_of(run, shop)
    shutil.copy(older, shop)
    assert checked(run, shop)[0] == []
    assert checked(run, shop, "--anchor", before)[0] == []
    findings, _ = checked(run, shop, "--anchor", after, code=1)
    assert "its tail has been cut off" in findings[0]["message"]


def test_a_damaged_event_leaves_what_an_anchor_proves_behind_it(run: Any, shop: Path) -> None:
    """The chain is broken at one event: from there to the anchor it is whole, and before it nothing ties to it."""
    anchor = anchor_of(run, shop)
    tampering.TAMPERINGS["an event backdated"][0](shop)
    findings, result = checked(run, shop, "--quick", "--anchor", anchor, code=1)
    assert [(f["code"], f["position"]) for f in findings] == [("link", tampering.AT)]
    assert result["proved"] == [[tampering.AT + 1, result["head"]["position"]]]
    assert result["unproved"] == [[1, tampering.AT]]


def test_a_log_in_use_is_verified_up_to_where_it_was(run: Any, busy_shop: Path) -> None:
    anchor = anchor_of(run, busy_shop)
    for options in ((), ("--quick",)):
        findings, result = checked(run, busy_shop, "--anchor", anchor, *options)
        assert findings == []
        assert result["proved"] == [[1, int(anchor.partition(":")[0])]]
    assert int(anchor_of(run, busy_shop).partition(":")[0]) > int(anchor.partition(":")[0])


def test_a_log_that_cannot_be_opened_for_its_damage_is_a_finding(run: Any, shop: Path) -> None:
    with apsw.Connection(str(shop)) as connection:
        connection.execute("DROP TRIGGER event_never_changes")
    connection.close()
    findings, result = checked(run, shop, code=1)
    assert [f["code"] for f in findings] == ["schema"]
    assert "event_never_changes" in findings[0]["message"]
    assert (result["head"], result["proved"], result["unproved"]) == (None, [], [])
    assert "event_never_changes" in run("verify", shop, code=1).stdout


def test_what_is_no_log_is_an_error(run: Any, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no log at all" * 1000)
    assert run("verify", "text.db", code=3).stdout == ""


def test_nothing_is_changed_by_it(run: Any, shop: Path) -> None:
    before = shop.read_bytes()
    run("verify", shop)
    assert shop.read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("--anchor", "7"),
        ("--anchor", "7:abc"),
        ("--anchor", f"-1:{'0' * 64}"),
        ("--anchor-file", "none.json"),
        ("--public-key", "none.pem"),
    ],
)
def test_what_is_no_anchor_is_refused(run: Any, shop: Path, arguments: tuple[str, ...]) -> None:
    assert run("verify", shop, *arguments, code=2).stdout == ""
