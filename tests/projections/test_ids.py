"""Ids as keys: the order of the texts, byte by byte, and back again."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langgraph_eventlog.eventlog import LogDamagedError
from langgraph_eventlog.projections.ids import ABOVE_ALL_IDS, from_key, to_key

UUIDS = [
    "00000000-0000-0000-0000-000000000000",
    "00000000-0000-0000-0000-000000000001",
    "1ef4f797-8335-6428-8001-8a1503f9b875",
    "1ef4f797-8335-6428-8001-8a1503f9b876",
    "99999999-9999-9999-9999-999999999999",
    "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
]
CHARACTERS = st.sampled_from("\0,-./09:@AFG`afg\x7f\u00e9\uffff\U0001f600")
uuids = st.one_of(st.sampled_from(UUIDS), st.uuids().map(str))


@st.composite
def near_uuids(draw: st.DrawFn) -> str:
    """A UUID cut off, gone on with, with a character changed, put in or left out; or in another spelling."""
    text = draw(uuids)
    place = draw(st.integers(0, 36))
    character = draw(CHARACTERS)
    return draw(
        st.sampled_from(
            [
                text[:place],
                text[:place] + character,
                text[:place] + character + text[place:],
                text[:place] + character + text[place + 1 :],
                text[:place] + text[place + 1 :],
                text + character,
                text[:place].upper() + text[place:],
                text.replace("-", ""),
                f"{{{text}}}",
                f"{text}\n",
            ]
        )
    )


ids = st.one_of(uuids, near_uuids(), st.text(CHARACTERS, max_size=3), st.text(max_size=40).filter(lambda s: _fits(s)))


def _fits(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


@settings(max_examples=3000)
@given(ids, ids)
@example("", "\0")
@example("00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-00000000000")
@example("ffffffff-ffff-ffff-ffff-ffffffffffff", "ffffffff-ffff-ffff-ffff-ffffffffffff\0")
@example("1ef4f797-8335-6428-8001-8a1503f9b87", "1ef4f797-8335-6428-8001-8a1503f9b86f")
@example("1ef4f797.", "1ef4f797-ffff-ffff-ffff-ffffffffffff")
def test_keys_are_in_the_order_of_the_texts(one: str, other: str) -> None:
    assert (to_key(one) < to_key(other)) == (one < other)
    assert (to_key(one) == to_key(other)) == (one == other)
    assert to_key(one) < ABOVE_ALL_IDS


@settings(max_examples=3000)
@given(ids)
def test_a_key_leads_back_to_its_text(text: str) -> None:
    assert from_key(to_key(text)) == text


@given(st.uuids(), near_uuids())
def test_a_uuid_takes_seventeen_bytes(one: uuid.UUID, other: str) -> None:
    assert to_key(str(one)) == b"\x01" + one.bytes
    # A text of 16 characters below all UUIDs takes as many, but begins otherwise.
    short = len(to_key(other)) == 17 and to_key(other)[:1] == b"\x01"
    assert short == (other in {str(one), _canonical(other)})


def _canonical(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


@pytest.mark.parametrize(
    "key", [b"", b"\x00\xff", b"\x01", b"\x01" + bytes(15), b"\x01" + bytes(16) + b"\x02a", b"\x02a"]
)
def test_what_is_no_key_is_damage(key: bytes) -> None:
    with pytest.raises(LogDamagedError, match="verify"):
        from_key(key)
