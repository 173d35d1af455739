"""What this process knows of values that are stored already, so that a put can refer to them.

Knows hashes, not values; says "the same" only of the same serialised bytes. Filled from what has been committed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from ..eventlog.value import Whole
from .serialising import dump

__all__ = ["Known", "Reuse", "SerialisedValue", "fingerprint_of", "serialise"]

_MAX_VALUES = 100_000

Fingerprint = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Known:
    """A checkpoint's values: for each channel what identifies it, and the event that stores it.

    Fingerprints made under one serializer say nothing under another: `serde` is the one.
    """

    serde: SerializerProtocol
    values: Mapping[str, tuple[Fingerprint, int]]


class Reuse:
    """The last checkpoints put or looked up, by (thread_id, checkpoint_ns, checkpoint_id).

    The least recently used go first.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a child process for instance."""
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str, str], Known] = OrderedDict()
        self._values = 0

    def get(self, key: tuple[str, str, str], serde: SerializerProtocol) -> Known | None:
        """Give what is known of a checkpoint under this very serializer."""
        with self._lock:
            known = self._known.get(key)
            if known is None or known.serde is not serde:
                return None
            self._known.move_to_end(key)
            return known

    def remember(self, key: tuple[str, str, str], known: Known) -> None:
        """Take in what has been committed."""
        with self._lock:
            old = self._known.pop(key, None)
            self._values += len(known.values) - (0 if old is None else len(old.values))
            self._known[key] = known
            while self._values > _MAX_VALUES and len(self._known) > 1:
                _, dropped = self._known.popitem(last=False)
                self._values -= len(dropped.values)


class SerialisedValue:
    """A channel's value, serialised; under encryption the ciphertext is made only if it is to be stored."""

    def __init__(self, plain: Whole, serde: SerializerProtocol) -> None:
        self._plain = plain
        self._cipher = serde.cipher if type(serde) is EncryptedSerializer else None
        # The mark keeps a plaintext base from being mistaken for what an encrypting serializer would store.
        self.fingerprint: Fingerprint = fingerprint_of(plain, mark="" if self._cipher is None else "+")

    def whole(self) -> Whole:
        """Give what is to be stored."""
        if self._cipher is None:
            return self._plain
        name, data = self._cipher.encrypt(self._plain.data)
        return Whole(f"{self._plain.tag}+{name}", data)


def serialise(serde: SerializerProtocol, value: Any, channel: str) -> SerialisedValue:
    """Serialise a channel's value, so that it can be compared before it is encrypted.

    Raises:
        EncodingError: it cannot be serialised.
    """
    # Exactly EncryptedSerializer: a subclass may do more than encrypt what its inner serializer made.
    inner = serde.serde if type(serde) is EncryptedSerializer else serde
    return SerialisedValue(dump(inner, value, channel), serde)


def fingerprint_of(whole: Whole, *, mark: str = "") -> Fingerprint:
    """Identify stored bytes."""
    return whole.tag + mark, sha256(whole.data).digest()
