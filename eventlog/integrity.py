"""Digest, leaf and link (FORMAT.md section 7): the hash chain over events. Pure functions.

A link stands for everything up to its event. Whoever kept one elsewhere, an anchor, can prove later that nothing
before it was changed, removed or added; the chain alone proves nothing against someone who recomputes all of it.
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct

__all__ = ["HASH_BYTES", "digest_of", "genesis_link", "inner_of", "leaf_of", "link_of"]

HASH_BYTES = 32
# Persisted: do not change.
_GENESIS = b"langgraph-eventlog"

# Each part that is hashed has its length before it, so that no two lists of parts give the same bytes.
_LENGTH = Struct(">I")
_NUMBER = Struct(">Iq")
_TWO_NUMBERS = Struct(">IqIq")
_LOG = _LENGTH.pack(3) + b"log"
_STREAM = _LENGTH.pack(6) + b"stream"


def digest_of(record: bytes) -> bytes:
    """Hash a record."""
    return sha256(record).digest()


def inner_of(*, recorded_at: int, address: tuple[str, str] | None, digest: bytes) -> bytes:
    """Hash what may be forgotten of an event; `address` is (thread_id, checkpoint_ns), None for the whole log."""
    about = _LOG
    if address is not None:
        thread_id, checkpoint_ns = address[0].encode(), address[1].encode()
        about = _STREAM + _LENGTH.pack(len(thread_id)) + thread_id + _LENGTH.pack(len(checkpoint_ns)) + checkpoint_ns
    return sha256(_NUMBER.pack(8, recorded_at) + about + _LENGTH.pack(len(digest)) + digest).digest()


def leaf_of(*, position: int, kind: int, inner: bytes) -> bytes:
    """Hash what stays known of an event for ever, and `inner_of` the rest."""
    return sha256(_TWO_NUMBERS.pack(8, position, 8, kind) + _LENGTH.pack(len(inner)) + inner).digest()


def link_of(previous: bytes, leaf: bytes) -> bytes:
    """Hash the link before, and an event's leaf, to the event's link."""
    return sha256(previous + leaf).digest()


def genesis_link(*, log_id: bytes, created_at: int) -> bytes:
    """Give the link before the first event."""
    return sha256(_GENESIS + log_id + created_at.to_bytes(8, "big", signed=True)).digest()
