"""Put_writes that are like earlier ones: a document written again with one sentence changed, say.

Such a one is stored as a patch to the earlier one's record. Which that may be is guessed from what is written to which
channel; the log decides, by what a patch saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..eventlog.body import encode_body
from ..eventlog.bounded import Bounded
from ..eventlog.event import NewEvent, PutWrites, RecordedEvent, Similar
from ..eventlog.value import Whole
from .known import is_earlier
from .parts import CIPHER_MARK

__all__ = ["MAX_KEYS", "Likeness", "SimilarWrites", "is_worth_it", "likeness"]

# Below, a patch saves little; above, making one takes long.
_MIN_BYTES = 4_096
_MAX_BYTES = 256 * 1024
MAX_KEYS: Final = 16

# The stream, and of each text, dict or the like that is written, the channel and the keys.
Likeness = tuple[str | None, str, tuple[tuple[str, tuple[str, ...]], ...]]


def likeness(event: NewEvent, writes: Sequence[tuple[str, Any]]) -> Likeness | None:
    """Give what put_writes that may be similar have in common; None if there is no use in looking for one."""
    if not is_worth_it(event):
        return None
    what: list[tuple[str, tuple[str, ...]]] = []
    for channel, value in writes:
        if isinstance(value, dict):
            keys = list(value)
            if len(keys) > MAX_KEYS or not all(isinstance(key, str) for key in keys):
                return None
            what.append((channel, tuple(keys)))
        elif isinstance(value, str | bytes):
            what.append((channel, ()))
    return (event.thread_id, event.checkpoint_ns, tuple(what)) if what else None


def is_worth_it(event: NewEvent) -> bool:
    """Tell whether a put_writes is large enough to be a patch to another, but not too large, and not encrypted."""
    assert isinstance(event.data, PutWrites)
    size = 0
    for write in event.data.writes:
        if not isinstance(write.value, Whole) or CIPHER_MARK in write.value.tag:
            return False
        size += len(write.value.data)
    return _MIN_BYTES <= size <= _MAX_BYTES


class SimilarWrites:
    """The last put_writes of each likeness that was stored in full. Usable from any thread.

    Args:
        max_bytes: what they may take together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._found: Bounded[Likeness, Similar] = Bounded(max_bytes)

    @property
    def used_bytes(self) -> int:
        """About how many bytes they take."""
        return self._found.used_bytes

    def find(self, like: Likeness, generation: int | None = None) -> Similar | None:
        """Give one of this likeness, and not of an earlier generation: that one may have been restated."""
        found = self._found.get(like)
        return None if found is None or is_earlier(found.generation, generation) else found

    def remember(self, like: Likeness, event: NewEvent, recorded: RecordedEvent, generation: int | None = None) -> None:
        """Take in a put_writes that has been appended, unless it is a patch itself: then it is much smaller.

        `generation` is the file's, before it was appended.
        """
        assert isinstance(event.data, PutWrites)
        before = event.similar
        if before is not None:
            written = sum(len(write.value.data) for write in event.data.writes if isinstance(write.value, Whole))
            if 3 * recorded.size * len(before.body) <= written * before.record_bytes:
                return
        body = encode_body(event.data, frozenset())
        self._found.add(like, Similar(recorded.position, body, recorded.size, generation), len(body) + 500)
