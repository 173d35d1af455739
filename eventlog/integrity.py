"""Digest, leaf and link (FORMAT.md section 7): the hash chain over events. Pure functions.

A link stands for everything up to its event. Whoever kept one elsewhere, an anchor, can prove later that nothing
before it was changed, removed or added; the chain alone proves nothing against someone who recomputes all of it.
"""

from __future__ import annotations

from hashlib import sha256

__all__ = ["HASH_BYTES", "digest_of", "genesis_link", "inner_of", "leaf_of", "link_of"]

HASH_BYTES = 32
# Persisted: do not change.
_GENESIS = b"langgraph-eventlog"


def digest_of(record: bytes) -> bytes:
    """Hash a record."""
    return sha256(record).digest()


def inner_of(*, recorded_at: int, address: tuple[str, str] | None, digest: bytes) -> bytes:
    """Hash what may be forgotten of an event; `address` is (thread_id, checkpoint_ns), None for the whole log."""
    parts = [_integer(recorded_at)]
    if address is None:
        parts.append(b"log")
    else:
        parts += [b"stream", address[0].encode(), address[1].encode()]
    parts.append(digest)
    return _hash_of(parts)


def leaf_of(*, position: int, kind: int, inner: bytes) -> bytes:
    """Hash what stays known of an event for ever, and `inner_of` the rest."""
    return _hash_of([_integer(position), _integer(kind), inner])


def link_of(previous: bytes, leaf: bytes) -> bytes:
    """Hash the link before, and an event's leaf, to the event's link."""
    return sha256(previous + leaf).digest()


def genesis_link(*, log_id: bytes, created_at: int) -> bytes:
    """Give the link before the first event."""
    return sha256(_GENESIS + log_id + _integer(created_at)).digest()


def _hash_of(parts: list[bytes]) -> bytes:
    # Each part has its length before it, so that no two lists of parts give the same bytes.
    return sha256(b"".join([len(part).to_bytes(4, "big") + part for part in parts])).digest()


def _integer(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)
