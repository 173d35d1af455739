"""The hash chain is what FORMAT.md section 7 says, recomputed here with nothing but hashlib."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph_eventlog.eventlog import Head
from langgraph_eventlog.eventlog.integrity import digest_of, genesis_link, inner_of, leaf_of, link_of

TRIES = settings(derandomize=True, database=None, deadline=None, max_examples=60)
DIGEST = bytes(32)


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def lp(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part


def i64(number: int) -> bytes:
    return lp(number.to_bytes(8, "big", signed=True))


ints = st.integers(-(2**63), 2**63 - 1)
texts = st.text(max_size=9)


@TRIES
@given(st.binary(max_size=30), ints, texts, texts, st.binary(min_size=32, max_size=32))
def test_hashes_are_those_of_the_format(record: bytes, number: int, thread_id: str, ns: str, link: bytes) -> None:
    assert digest_of(record) == sha(record)
    digest = sha(record)
    inner = sha(i64(number), lp(b"stream"), lp(thread_id.encode()), lp(ns.encode()), lp(digest))
    assert inner_of(recorded_at=number, address=(thread_id, ns), digest=digest) == inner
    assert inner_of(recorded_at=number, address=None, digest=digest) == sha(i64(number), lp(b"log"), lp(digest))
    leaf = sha(i64(number), i64(2), lp(inner))
    assert leaf_of(position=number, kind=2, inner=inner) == leaf
    assert link_of(link, leaf) == sha(link, leaf)
    created = number.to_bytes(8, "big", signed=True)
    assert genesis_link(log_id=link[:16], created_at=number) == sha(b"langgraph-eventlog", link[:16], created)


def test_no_two_addresses_hash_alike() -> None:
    """Lengths stand before the parts: what moves from one to the next is seen."""
    addresses: list[Any] = [None, ("", ""), ("a", ""), ("", "a"), ("ab", "c"), ("a", "bc"), ("log", ""), ("stream", "")]
    assert len({inner_of(recorded_at=1, address=address, digest=DIGEST) for address in addresses}) == len(addresses)
    assert len({leaf_of(position=p, kind=k, inner=DIGEST) for p in (1, 2) for k in (1, 2)}) == 4


def test_the_chain_in_a_file_is_the_one_that_anyone_can_recompute(filled: Any, helpers: Any) -> None:
    before = [e.link for e in filled.log.read()]
    with helpers.without_triggers(filled.path) as connection:
        helpers.recompute(connection)
    assert [e.link for e in filled.log.read()] == before
    assert filled.log.head() == Head(len(before), before[-1])


def test_a_head_is_written_and_read_as_text() -> None:
    head = Head(12, bytes(range(32)))
    assert str(head) == "12:" + bytes(range(32)).hex()
    assert Head.parse(str(head)) == Head.parse(f" {head}\n") == head
    assert Head.parse(str(Head(0, DIGEST))).position == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        "12:",
        ":" + "00" * 32,
        "-1:" + "00" * 32,
        "x:" + "00" * 32,
        "12:" + "00" * 31,
        "12:" + "00" * 33,
        "12:" + "zz" * 32,
        "1.5:" + "00" * 32,
    ],
)
def test_other_text_is_not_a_head(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  int() and fromhex() say what is wrong
        Head.parse(text)
