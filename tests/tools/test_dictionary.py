"""The dictionary that ships is as good as what its script makes, and holds nothing of anyone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import zstandard
from langgraph_eventlog.tools.dictionary.making import dictionary_1
from langgraph_eventlog.tools.dictionary.samples import samples, without_random_parts

SHIPPED = files("langgraph_eventlog.eventlog.dictionaries").joinpath("1.zdict").read_bytes()


@pytest.fixture(scope="module")
def made() -> bytes:
    return dictionary_1()


def script(path: Path, *, hash_seed: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "langgraph_eventlog.tools.dictionary", str(path)]
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_the_script_makes_the_same_bytes_each_time(made: bytes, tmp_path: Path) -> None:
    result = script(tmp_path / "1.zdict", hash_seed=7)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "1.zdict").read_bytes() == made


@pytest.mark.slow
def test_what_the_script_makes_compresses_no_better_than_what_ships(made: bytes) -> None:
    """What ships is frozen, and what the script makes follows the events of today: they may drift apart a little."""

    def size(dictionary: bytes) -> int:
        data = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT)
        compressor = zstandard.ZstdCompressor(level=3, dict_data=data)
        return sum(len(compressor.compress(sample)) for sample in held_out)

    held_out = samples(1234, 60)
    assert size(SHIPPED) < 1.02 * size(made)
    assert size(SHIPPED) < 0.75 * sum(len(zstandard.ZstdCompressor(level=3).compress(sample)) for sample in held_out)


def test_the_script_replaces_no_file(tmp_path: Path) -> None:
    path = tmp_path / "1.zdict"
    path.write_bytes(SHIPPED)
    result = script(path)
    assert result.returncode != 0
    assert "give another path" in result.stderr
    assert path.read_bytes() == SHIPPED


def test_what_ships_holds_no_ids_no_times_and_no_keys() -> None:
    for pattern in (
        rb"[0-9a-f]{4}-[0-9a-f]{4}",
        rb"[0-9a-f]{8}-",
        rb"(?<!0)[1-9][0-9]{9,}",
        rb"\.0\.[0-9]{3}",
        rb"20[0-9]{2}-[0-9]{2}-[0-9]{2}T",
        rb"(?<![0-9a-f])(?!0{16})[0-9a-f]{16,}",
        rb"(?:call_|toolu_|msg_|chatcmpl-|fp_)[A-Za-z0-9]{10}",
    ):
        for found in re.findall(pattern, SHIPPED):
            # A version begins with zeros: the length of a str may stand before it, and the end of a word.
            assert re.fullmatch(rb"[1-9a-f]{0,2}0{12,}[0-9]*", found), (pattern, found)


def test_no_two_samples_share_what_is_random() -> None:
    """Of the same thread, too; or training would keep it."""
    seen: set[bytes] = set()
    for sample in samples(5, 20):
        ids = set(re.findall(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", sample))
        assert ids
        assert not ids & seen
        seen |= ids


def test_what_is_random_is_taken_out_and_the_rest_is_left() -> None:
    body = (
        b"id 526c0afc-4ba0-9397-5c21-04197bfe68ed at 2026-11-20T13:12:34.902748+00:00, "
        + b"0" * 31
        + b"2.0.8444218515250481"
    )
    assert without_random_parts(body) == b"id  at +00:00, " + b"0" * 31 + b"2.0."
    assert without_random_parts(b"call_lnf5n4kr8dME1jjCKRhNML6G9K and langchain_core") == b"call_ and langchain_core"
