"""Values that a viewer cannot, or must not, decode: they stay what they are, and the rest stays visible."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

__all__ = ["Undecoded", "UndecodedSerializer"]


@dataclass(frozen=True, slots=True)
class Undecoded:
    """A value that was not decoded.

    Attributes:
        tag: what its serializer called it.
        size: of its bytes.
        why: it was not decoded; does not quote it.
        sha256: of its bytes, in hexadecimal: tells whether it is the same as another.
    """

    tag: str
    size: int
    why: str
    sha256: str

    def __str__(self) -> str:
        return f"<{self.size:,} bytes of {self.tag}: {self.why}>"


class UndecodedSerializer(SerializerProtocol):
    """Another serializer that never fails to decode: what that cannot read becomes an `Undecoded`."""

    def __init__(self, serde: SerializerProtocol) -> None:
        self.serde = serde

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Serialise as the other does."""
        return self.serde.dumps_typed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Decode as the other does, if it can."""
        tag, stored = data
        try:
            return self.serde.loads_typed(data)
        except Exception as e:  # a serializer raises anything, and stored bytes may be hostile
            if "+" in tag:
                why = "encrypted"
            elif tag == "pickle":
                why = "a pickle, which could run any code"
            else:
                why = f"not readable by this serializer ({type(e).__name__})"
            return Undecoded(tag, len(stored), why, hashlib.sha256(stored).hexdigest())
