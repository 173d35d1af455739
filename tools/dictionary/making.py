"""Makes a dictionary of samples: what they have in common, and zstd's tables for how they are written."""

from __future__ import annotations

import random

import zstandard

from ...eventlog.dictionaries import zstd_id
from .samples import samples, without_random_parts

__all__ = ["dictionary_1"]

_SEED = 1
_THREADS = 700
_SAMPLES = 6_000
_BYTES = 16_384
_SEGMENT_BYTES = 500
# What ends the header of a trained dictionary: the three offsets that a frame begins with.
_END_OF_HEADER = b"".join(offset.to_bytes(4, "little") for offset in (1, 4, 8))


def dictionary_1() -> bytes:
    """Give dictionary number 1, the same bytes each time; other versions of zstd or LangChain may give others."""
    chosen = samples(_SEED, _THREADS)
    random.Random(_SEED).shuffle(chosen)
    chosen = chosen[:_SAMPLES]
    # Ids belong into the tables, for records are half made of them, and not into the content, where they would be
    # of no use to anyone: so the tables are those of whole samples, and the content is that of what is left of them.
    header, _ = _trained(chosen)
    _, content = _trained([without_random_parts(sample) for sample in chosen])
    # What is most useful is at the end.
    return header + content[-(_BYTES - len(header)) :]


def _trained(chosen: list[bytes]) -> tuple[bytes, bytes]:
    trained = zstandard.train_dictionary(_BYTES, [*chosen], k=_SEGMENT_BYTES, d=8, dict_id=zstd_id(1), level=3)
    header, end, content = trained.as_bytes().partition(_END_OF_HEADER)
    return header + end, content
