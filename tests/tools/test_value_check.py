"""`verify` decodes every value, and tells one that is broken from one that it may not look into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph_eventlog.eventlog import Coverage, NewEvent, PutWrites, Whole, Write
from langgraph_eventlog.saver import EventLogSaver
from langgraph_eventlog.tools.opening import strict_serializer
from langgraph_eventlog.tools.proving.values import ValueCheck


def put(saver: EventLogSaver, step: int, **values: Any) -> None:
    config = {
        "configurable": {"thread_id": "t", "checkpoint_ns": "", **({"checkpoint_id": f"c{step - 1}"} if step else {})}
    }
    versions = dict.fromkeys(values, step)
    checkpoint = {
        "v": 4,
        "id": f"c{step}",
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": values,
        "channel_versions": versions,
        "versions_seen": {},
    }
    saver.put(config, checkpoint, {"step": step}, versions)  # type: ignore[arg-type]


def check(saver: EventLogSaver) -> tuple[list[Any], ValueCheck]:
    checking = ValueCheck(saver.log, strict_serializer(), Coverage())
    return list(checking.check()), checking


def write(value: Whole) -> NewEvent:
    return NewEvent(PutWrites("c0", "task", "", (Write("x", 0, value),)), "t")


@pytest.mark.parametrize(
    ("tag", "data"), [("msgpack", b"\xc1"), ("msgpack", b"\x92\x01"), ("json", b"{"), ("=", b"\xc1")]
)
def test_a_value_that_cannot_be_decoded_is_found(saver: EventLogSaver, tag: str, data: bytes) -> None:
    """Its record is what was appended: nothing but decoding it can tell."""
    put(saver, 0, x=1)
    recorded = saver.log.append(write(Whole(tag, data)))
    findings, checking = check(saver)
    assert [(f.code, f.position) for f in findings] == [("value", recorded.position)]
    assert "'x'" in findings[0].message
    assert checking.decoded > 0


def test_the_command_prints_such_a_value(run: Any, file_saver: EventLogSaver) -> None:
    file_saver.log.append(write(Whole("msgpack", b"\xc1")))
    assert "[value] event 1: the write to 'x' cannot be decoded" in run("verify", file_saver.path, code=1).stdout
    assert "nothing found" in run("verify", file_saver.path, "--quick").stdout


def test_what_may_not_be_looked_into_is_counted_and_no_finding(saver: EventLogSaver) -> None:
    for tag in ("pickle", "msgpack+aes", "somebody's", "msgpack+aes"):
        saver.log.append(write(Whole(tag, b"...")))
    findings, checking = check(saver)
    assert findings == []
    assert sorted(checking.passed_over.values()) == [1, 1, 2]


def test_no_code_of_a_value_is_run(saver: EventLogSaver, tmp_path: Path) -> None:
    import pickle

    class Hostile:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    saver.log.append(write(Whole("pickle", pickle.dumps(Hostile()))))
    check(saver)
    assert not (tmp_path / "ran").exists()


def test_every_piece_is_decoded_once(saver: EventLogSaver) -> None:
    """What is carried over, or kept of a list or a text, is not decoded again at each step."""
    text = "a long text that hardly changes. " * 200
    for step in range(50):
        put(saver, step, items=[f"item {n} {'x' * 50}" for n in range(step)], text=text, doc=text + str(step))
    _, checking = check(saver)
    assert 50 < checking.decoded < 50 * 8


def test_with_the_key_encrypted_values_are_looked_into(
    make_saver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGGRAPH_AES_KEY", "0123456789abcdef")
    saver = make_saver(serde=EncryptedSerializer.from_pycryptodome_aes())
    put(saver, 0, x=["secret"])
    findings, checking = check(saver)
    assert (findings, dict(checking.passed_over)) == ([], {})
    assert checking.decoded > 0
    for key in (None, "fedcba9876543210"):
        monkeypatch.setenv("LANGGRAPH_AES_KEY", key) if key else monkeypatch.delenv("LANGGRAPH_AES_KEY")
        findings, checking = check(saver)
        assert findings == []
        assert list(checking.passed_over) == ["encrypted, and no key that fits is set"]
