"""Checkpoint and run ids as the projections hold them: bytes, of which a UUID's are less than half of its text.

Ids recur in every table and index. Their keys compare, byte by byte, exactly as the texts do by code point: a UUID's
key is its 16 bytes, and any other text's key is that of the greatest UUID below it, followed by the text.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache

from ..eventlog.errors import LogDamagedError

__all__ = ["ABOVE_ALL_IDS", "from_key", "to_key"]

# Greater than every key.
ABOVE_ALL_IDS = b"\xff"
_BELOW_UUIDS, _UUID = b"\x00", b"\x01"
_BESIDES = b"\x01"
_UUID_SIZE = len(_UUID) + 16
_MAX_CACHED = 80
_GREATEST = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_DIGITS = "0123456789abcdef"


def to_key(text: str) -> bytes:
    """Give an id's key; only canonical UUIDs, in lower case and with hyphens, have short ones.

    Raises:
        UnicodeEncodeError: the id holds a lone surrogate.
    """
    return _to_key_cached(text) if len(text) <= _MAX_CACHED else _to_key(text)


def from_key(key: bytes) -> str:
    """Give the id of a key.

    Raises:
        LogDamagedError: it is no id's.
    """
    if type(key) is bytes:
        return _from_key_cached(key) if len(key) <= _MAX_CACHED else _from_key(key)
    raise _unreadable()  # a flipped bit in a row's header changes what SQLite reads


def _to_key(text: str) -> bytes:
    if _is_canonical(text):
        return _uuid_key(text)
    below = _uuid_below(text)
    return (_BELOW_UUIDS if below is None else _uuid_key(below) + _BESIDES) + text.encode()


def _from_key(key: bytes) -> str:
    try:
        if key[:1] == _BELOW_UUIDS:
            return key[1:].decode()
        if key[:1] == _UUID and len(key) == _UUID_SIZE:
            digits = key[1:].hex()
            return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        if key[:1] == _UUID and key[_UUID_SIZE : _UUID_SIZE + 1] == _BESIDES:
            return key[_UUID_SIZE + 1 :].decode()
    except UnicodeDecodeError:
        pass
    raise _unreadable()


def _unreadable() -> LogDamagedError:
    return LogDamagedError("a row of a projection is damaged: its id cannot be read. verify() lists all damage")


# A put hands the same few ids to several tables. Long ones, which nobody needs, are not kept in memory.
_to_key_cached = lru_cache(maxsize=4096)(_to_key)
_from_key_cached = lru_cache(maxsize=4096)(_from_key)


def _is_canonical(text: str) -> bool:
    """Tell whether a text is a UUID in lower case, with hyphens where they belong."""
    # Faster than a regular expression: each checkpoint has an id that was never seen before.
    digits = text.replace("-", "")
    if len(text) != len(_GREATEST) or len(digits) != 32 or text[8:24:5] != "----":
        return False
    try:
        return bytes.fromhex(digits).hex() == digits
    except ValueError:
        return False


def _uuid_key(text: str) -> bytes:
    return _UUID + bytes.fromhex(text.replace("-", ""))


def _uuid_below(text: str) -> str | None:
    """Give the greatest canonical UUID below a text that is none."""
    # The last place at which a UUID with the same beginning can have a smaller character; the greatest ones follow.
    found = None
    for place, (character, greatest) in enumerate(zip(text, _GREATEST, strict=False)):
        allowed = "-" if greatest == "-" else _DIGITS
        smaller = bisect_left(allowed, character)
        if smaller:
            found = text[:place] + allowed[smaller - 1] + _GREATEST[place + 1 :]
        if character not in allowed:
            return found
    return text[: len(_GREATEST)] if len(text) > len(_GREATEST) else found
