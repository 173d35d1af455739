"""What verify() yields."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        code: what it is, a word that stays the same: "digest", "link", "gap", "head", "anchor", "record", "base",
            "erased", "stream", "schema", "meta", "sqlite", "projection", "checkpoint".
        position: the event it is about, if it is about one.
        message: for people.
    """

    code: str
    position: int | None
    message: str

    def __str__(self) -> str:
        where = "" if self.position is None else f"event {self.position}: "
        return f"[{self.code}] {where}{self.message}"
