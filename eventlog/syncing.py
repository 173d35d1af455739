"""Putting a file, or what a folder says of its files, on the disk."""

from __future__ import annotations

import os

__all__ = ["sync"]


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file's bytes are on the disk; of a folder, until the names in it are.

    Raises:
        OSError: it is not there, or the system failed to.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
