"""The fuzzer's corpus, and inputs made of it: only errors of this project's come out. The long version: `fuzz.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph_eventlog.eventlog import CorruptRecordError, Kind, body, opened, value

from . import fuzz
from .fuzz import CORPUS, TARGETS, Fuzzer, Input, attempt, load_corpus, main, run

MAX_CORPUS_BYTES = 300_000


def test_every_input_that_is_kept_is_decoded_or_refused() -> None:
    outcomes = {given: attempt(given) for given in load_corpus()}
    for target in TARGETS:
        assert any(decoded for given, decoded in outcomes.items() if given.target == target), target


def test_the_corpus_is_small_and_has_every_kind() -> None:
    names = [path.name for path in CORPUS.iterdir()]
    assert sum(path.stat().st_size for path in CORPUS.iterdir()) < MAX_CORPUS_BYTES
    for kind in Kind:
        assert any(name.startswith(f"body-{kind.name.lower()}-") for name in names), kind
    for form in ("whole", "carried", "listof", "splice", "dictof", "edit", "patch"):
        assert any(name.startswith(f"value-{form}-") for name in names), form
    for codec in ("put-11", "put_writes-00", "patch"):
        assert any(name.startswith(f"record-{codec}-") for name in names), codec


def test_damaged_inputs_are_decoded_or_refused() -> None:
    counts, failure = run(Fuzzer(load_corpus(), 1), 40_000)
    assert failure is None, failure
    assert min(counts.values()) > 50
    assert len(counts) == 2 * len(TARGETS)


@pytest.mark.parametrize("target", list(TARGETS))
def test_arbitrary_bytes_are_decoded_or_refused(target: str) -> None:
    @settings(derandomize=True, database=None, deadline=None, max_examples=300)
    @given(st.binary(max_size=200))
    def tried(data: bytes) -> None:
        attempt(Input(target, data))

    tried()


def test_the_same_seed_makes_the_same_inputs() -> None:
    one, two = Fuzzer(load_corpus(), 5), Fuzzer(load_corpus(), 5)
    assert [one.next() for _ in range(200)] == [two.next() for _ in range(200)]


def tried_until_failure(inputs: int = 20_000) -> Input | None:
    _, failure = run(Fuzzer(load_corpus(), 2), inputs)
    return failure


def test_a_digest_that_is_not_checked_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Anything(bytes):
        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = bytes.__hash__

    monkeypatch.setattr(opened, "digest_of", lambda _: Anything())
    failure = tried_until_failure()
    assert failure is not None
    assert failure.target == "record"


def test_a_type_that_is_not_checked_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_checked", lambda found, kind: found)
    monkeypatch.setattr(value, "_count", lambda number: number)
    assert tried_until_failure() is not None


def test_an_input_that_fails_is_kept_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for one in load_corpus()[::8]:
        fuzz.keep(one, tmp_path, "seed")
    assert main(["--inputs", "500", "--seed", "3", "--corpus", str(tmp_path)]) == 0
    assert "500 inputs" in capsys.readouterr().out
    monkeypatch.setattr(
        fuzz, "TARGETS", {name: (decode, (CorruptRecordError,)) for name, (decode, _) in TARGETS.items()}
    )
    assert main(["--inputs", "500", "--seed", "3", "--corpus", str(tmp_path)]) == 1
    assert len(list(tmp_path.glob("*-failed-*.bin"))) == 1
    assert len(load_corpus(tmp_path)) == len(load_corpus()[::8]) + 1
