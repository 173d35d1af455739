"""`anchor`, and anchors that are signed: only those of the key given count, and only for the log they are of."""

from __future__ import annotations

import json
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from langgraph_eventlog.eventlog import ConfigError, EventLog, Head
from langgraph_eventlog.tools.proving.anchors import Anchor, parse_anchor, read_anchor, take_anchor
from langgraph_eventlog.tools.proving.signing import (
    is_signed_by,
    make_key,
    read_private_key,
    read_public_key,
    sign,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def signed(log: EventLog, tmp_path: Path) -> Anchor:
    make_key(tmp_path / "key.pem")
    return sign(take_anchor(log, now=NOW), read_private_key(tmp_path / "key.pem"))


def test_an_anchor_is_the_head(run: Any, json_of: Any, shop: Path) -> None:
    shown = run("anchor", shop).stdout
    document = json_of("anchor", shop)
    assert shown == f"{document['position']}:{document['link']}\n"
    assert set(document) == {"anchor", "log_id", "position", "link", "taken_at"}


def test_a_signed_anchor_is_checked_by_its_public_key(run: Any, shop: Path, tmp_path: Path) -> None:
    assert run("anchor", "--new-key", "auditor.pem").stdout == "auditor.pem.pub\n"
    assert stat.S_IMODE((tmp_path / "auditor.pem").stat().st_mode) == 0o600
    (tmp_path / "monday.json").write_text(run("anchor", shop, "--sign", "auditor.pem").stdout)
    shown = run("verify", shop, "--quick", "--anchor-file", "monday.json", "--public-key", "auditor.pem.pub").stdout
    assert "(monday.json): holds" in shown
    run("anchor", "--new-key", "auditor.pem", code=2)
    run("anchor", "--new-key", "other.pem")
    shown = run(
        "verify", shop, "--quick", "--anchor-file", "monday.json", "--public-key", "other.pem.pub", code=1
    ).stdout
    assert "the signature is not by the key given" in shown
    assert "no anchor proves" in shown


def test_an_anchor_of_another_log_proves_nothing(run: Any, shop: Path, tmp_path: Path, make_saver: Any) -> None:
    (tmp_path / "shop.json").write_text(run("anchor", shop, "--json").stdout)
    other = make_saver(tmp_path / "other.db")
    other.register_thread("t")
    assert "it is of the log" in run("verify", other.path, "--anchor-file", "shop.json", code=1).stdout


def test_openssl_makes_keys_and_checks_signatures(run: Any, shop: Path, tmp_path: Path) -> None:
    """Whoever audits needs nothing of ours to check who signed."""

    def openssl(*arguments: str) -> str:
        return subprocess.run(
            ["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    openssl("genpkey", "-algorithm", "ed25519", "-out", "key.pem")
    openssl("pkey", "-in", "key.pem", "-pubout", "-out", "public.pem")
    text = run("anchor", shop, "--sign", "key.pem").stdout
    (tmp_path / "a.json").write_text(text)
    run("verify", shop, "--quick", "--anchor-file", "a.json", "--public-key", "public.pem")
    d = json.loads(text)
    lines = [d["anchor"], d["log_id"], str(d["position"]), d["link"], d["taken_at"]]
    (tmp_path / "signed").write_text("".join(f"{line}\n" for line in lines))
    (tmp_path / "signature").write_bytes(bytes.fromhex(d["signature"]))
    verified = openssl(
        *("pkeyutl", "-verify", "-pubin", "-inkey", "public.pem"), *("-rawin", "-in", "signed", "-sigfile", "signature")
    )
    assert "Verified Successfully" in verified


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("log_id", "00" * 16),
        ("position", 7),
        ("link", "00" * 32),
        ("taken_at", "2027-01-01T00:00:00+00:00"),
        ("signature", "00" * 64),
    ],
)
def test_a_changed_field_breaks_the_signature(signed: Anchor, tmp_path: Path, field: str, value: Any) -> None:
    key = read_public_key(tmp_path / "key.pem.pub")
    path = tmp_path / "anchor.json"
    path.write_text(json.dumps(signed.document()))
    assert is_signed_by(read_anchor(path), key)
    path.write_text(json.dumps({**signed.document(), field: value}))
    assert not is_signed_by(read_anchor(path), key)


def test_the_key_that_a_document_names_is_not_what_is_believed(signed: Anchor, tmp_path: Path) -> None:
    make_key(tmp_path / "mallory.pem")
    forged = sign(signed, read_private_key(tmp_path / "mallory.pem"))
    assert not is_signed_by(forged, read_public_key(tmp_path / "key.pem.pub"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]",
        b"\xff",
        b"7:abc",
        b'{"anchor": "another/1"}',
        b'{"anchor": "langgraph-eventlog/1", "log_id": "00", "position": 1, "link": "00", "taken_at": ""}',
        b'{"anchor": "langgraph-eventlog/1", "log_id": 1, "position": true, "link": [], "taken_at": 5}',
        b'{"a":' * 30_000,
    ],
)
def test_a_file_that_is_no_anchor_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "anchor.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        read_anchor(path)


def test_a_file_may_hold_what_anchor_prints(tmp_path: Path) -> None:
    head = Head(3, bytes(range(32)))
    (tmp_path / "anchor").write_text(f"{head}\n")
    assert read_anchor(tmp_path / "anchor").head == parse_anchor(str(head)).head == head


def test_a_key_may_have_a_passphrase(signed: Anchor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGGRAPH_EVENTLOG_SIGN_PASSPHRASE", "correct horse")
    make_key(tmp_path / "locked.pem")
    assert b"ENCRYPTED" in (tmp_path / "locked.pem").read_bytes()
    again = sign(signed, read_private_key(tmp_path / "locked.pem"))
    assert is_signed_by(again, read_public_key(tmp_path / "locked.pem.pub"))
    read_private_key(tmp_path / "key.pem")  # one without needs none
    for wrong in ("", "another"):
        monkeypatch.setenv("LANGGRAPH_EVENTLOG_SIGN_PASSPHRASE", wrong)
        with pytest.raises(ConfigError):
            read_private_key(tmp_path / "locked.pem")


def test_a_key_of_another_kind_is_refused(signed: Anchor, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        read_private_key(tmp_path / "key.pem.pub")
    with pytest.raises(ConfigError):
        read_public_key(tmp_path / "key.pem")
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "x25519", "-out", "x.pem"], cwd=tmp_path, check=True, timeout=60
    )
    with pytest.raises(ConfigError, match="another kind"):
        read_private_key(tmp_path / "x.pem")


def test_an_anchor_needs_a_log(run: Any, tmp_path: Path) -> None:
    run("anchor", "--sign", "x.pem", code=2)
    run("anchor", "none.db", code=3)
    assert list(tmp_path.iterdir()) == []


def test_an_anchor_file_that_cannot_be_one_is_an_error_that_does_not_quote_it(
    run: Any, shop: Path, tmp_path: Path
) -> None:
    anchor = json.loads(run("anchor", shop, "--json").stdout)
    key = tmp_path / "auditor.pem"
    run("anchor", "--new-key", key)
    surrogate = tmp_path / "surrogate.json"
    signed = {**anchor, "taken_at": "\ud800", "public_key": "00" * 32, "signature": "00" * 64}
    surrogate.write_text(json.dumps(signed))
    told = run("verify", shop, "--anchor-file", surrogate, "--public-key", f"{key}.pub", code=2).stderr
    assert "taken_at" in told
    long = tmp_path / "long.txt"
    for content in ("x" * 41 + "secret", json.dumps({**anchor, "anchor": "x" * 41 + "secret"})):
        long.write_text(content)
        told = run("verify", shop, "--anchor-file", long, code=2).stderr
        assert "long.txt" in told
        assert "secret" not in told
