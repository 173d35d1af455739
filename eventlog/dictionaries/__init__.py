"""The dictionaries that small records are compressed with (FORMAT.md section 3), by their numbers.

Each is made from synthetic samples by `tools/dictionary`, never from users' data, and is frozen: records that were
written with it are read with it for ever.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

import zstandard

__all__ = ["SHA256", "dictionary", "zstd_id"]

# Persisted: do not change; a better dictionary gets the next number.
SHA256 = {1: "62a7ded6fe370eacaf86b4ec8ccdc5dcc6c620314050039aed53d888f6d9b7c5"}


def zstd_id(number: int) -> int:
    """Give the id by which zstd's frames name the dictionary of this number; 0, none, for 0."""
    return 0 if number == 0 else 0x8000 + number


def dictionary(number: int) -> zstandard.ZstdCompressionDict:
    """Read a dictionary, one of SHA256.

    Raises:
        ImportError: the installation is damaged; records must be neither written nor read with it.
    """
    data = files(__package__).joinpath(f"{number}.zdict").read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256[number]:
        raise ImportError(
            f"dictionary {number} has SHA-256 {found} in place of {SHA256[number]}: install this package again"
        )
    return zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_FULLDICT)
