"""What checkpoints' metadata is looked up by: its fields, and the keys under which indexes hold their values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..eventlog.value import Whole
from .ids import to_key

__all__ = ["OTHER", "OTHER_SQL", "IndexKey", "field", "index_key", "run_key"]

IndexKey = str | int | float | bytes

# The key of every value that only a serializer can read: whatever is looked for, it may be equal to it. No other value
# has this key: bytes otherwise stand for text with lone surrogates, which is never empty.
OTHER = b""
OTHER_SQL = "x''"
# Longer texts share the key of their beginning: what is found by a key is always compared itself, too.
_MAX_TEXT = 256
_INT64 = 1 << 63


def field(metadata: Mapping[str, Any], name: str) -> Any:
    """Give a field, or with dots in its name a field inside of fields; None if it is absent.

    Of metadata that is not decoded, what only a serializer can read: a field inside of it is that `Whole` itself.
    """
    if name in metadata:
        return metadata[name]
    found: Any = metadata
    for part in name.split("."):
        if isinstance(found, Whole):
            return found
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def index_key(value: Any) -> IndexKey | None:
    """Give the key of a value; None if it has none: None itself, NaN, bytes, lists and dicts.

    What Python calls equal has the same key as SQLite compares keys, which finds 1 and 1.0 equal, and no number and
    text. Unequal values may share a key.
    """
    if isinstance(value, str):
        beginning = value[:_MAX_TEXT]
        if not beginning.isascii():
            try:
                beginning.encode()
            except UnicodeEncodeError:  # a lone surrogate, which no text of SQLite's holds
                return beginning.encode(errors="surrogatepass")
        return beginning
    if isinstance(value, int):  # a bool, too
        if -_INT64 <= value < _INT64:
            return int(value)
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return OTHER if isinstance(value, Whole) else None


def run_key(metadata: Mapping[str, Any]) -> bytes | None:
    """Give the key of the run that metadata names, an id, as text and whole: runs are deleted by it.

    OTHER and None as in `index_key`.
    """
    run_id = metadata.get("run_id")
    if isinstance(run_id, Whole):
        return OTHER
    if not isinstance(run_id, str | int):
        return None
    try:
        return to_key(str(run_id))
    except UnicodeEncodeError:
        return None  # an id with a lone surrogate cannot be asked for
