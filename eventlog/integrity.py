"""Digest, leaf and link (FORMAT.md section 7): the hash chain over events. Pure functions.

A link stands for everything up to its event. Whoever kept one elsewhere, an anchor, can prove later that nothing
before it was changed, removed or added; the chain alone proves nothing against someone who recomputes all of it.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from struct import Struct

__all__ = ["HASH_BYTES", "digest_of", "genesis_link", "inner_of", "leaf_of", "link_of"]

HASH_BYTES = 32
# Persisted: do not change.
_GENESIS = b"langgraph-eventlog"

# Each part that is hashed has its length before it, so that no two lists of parts give the same bytes.
_LENGTH = Struct(">I")
_INNER = Struct(">Iq")  # recorded_at
_LEAF = Struct(">IqIqI")  # position, kind, and the length of the inner hash
_LOG = _LENGTH.pack(3) + b"log"
_STREAM = _LENGTH.pack(6) + b"stream"
_MAX_CACHED = 200  # characters
_HASH_LENGTH = _LENGTH.pack(HASH_BYTES)


def digest_of(record: bytes) -> bytes:
    """Hash a record."""
    return sha256(record).digest()


def inner_of(*, recorded_at: int, address: tuple[str, str] | None, digest: bytes) -> bytes:
    """Hash what may be forgotten of an event; `address` is (thread_id, checkpoint_ns), None for the whole log."""
    if address is None:
        about = _LOG
    else:
        about = _about_cached(*address) if len(address[0]) + len(address[1]) <= _MAX_CACHED else _about(*address)
    return sha256(_INNER.pack(8, recorded_at) + about + _HASH_LENGTH + digest).digest()


def _about(thread_id: str, checkpoint_ns: str) -> bytes:
    thread, ns = thread_id.encode(), checkpoint_ns.encode()
    return _STREAM + _LENGTH.pack(len(thread)) + thread + _LENGTH.pack(len(ns)) + ns


_about_cached = lru_cache(maxsize=1024)(_about)


def leaf_of(*, position: int, kind: int, inner: bytes) -> bytes:
    """Hash what stays known of an event for ever, and `inner_of` the rest."""
    return sha256(_LEAF.pack(8, position, 8, kind, HASH_BYTES) + inner).digest()


def link_of(previous: bytes, leaf: bytes) -> bytes:
    """Hash the link before, and an event's leaf, to the event's link."""
    return sha256(previous + leaf).digest()


def genesis_link(*, log_id: bytes, created_at: int) -> bytes:
    """Give the link before the first event."""
    return sha256(_GENESIS + log_id + created_at.to_bytes(8, "big", signed=True)).digest()
