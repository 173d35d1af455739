"""Metadata filters: compared as values, in Python; nothing of a filter ever becomes SQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from ..eventlog.errors import ConfigError

__all__ = ["Matches", "compile_filter"]

Matches = Callable[[Mapping[str, Any]], bool]

# The official savers' rule; they need it because their filters become SQL, and programs rely on the error.
_KEY = re.compile(r"[a-zA-Z0-9_.-]+")
_ABSENT = object()


def compile_filter(filter: Mapping[str, Any] | None) -> Matches | None:
    """Give a predicate on metadata; None if there is nothing to filter by.

    Every key must match. A key names a field, or with dots a field inside of fields. None matches null and absent.
    Values compare as
    values: dicts whatever their order, lists and tuples alike, a UUID as its text, 1 not as "1".

    Raises:
        ConfigError: a key has other characters than letters, digits, `_`, `-` and `.`.
    """
    if not filter:
        return None
    for key in filter:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise ConfigError(f"filter key {key!r}: only letters, digits, underscores, dots and hyphens, please")
    wanted = {key: _comparable(value) for key, value in filter.items()}

    def matches(metadata: Mapping[str, Any]) -> bool:
        return all(_equal(_field(metadata, key), value) for key, value in wanted.items())

    return matches


def _field(metadata: Mapping[str, Any], key: str) -> Any:
    if key in metadata:
        return metadata[key]
    found: Any = metadata
    for part in key.split("."):
        found = found.get(part, _ABSENT) if isinstance(found, Mapping) else _ABSENT
        if found is _ABSENT:
            return None
    return found


def _comparable(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_comparable(item) for item in value]
    if isinstance(value, dict):
        return {key: _comparable(item) for key, item in value.items()}
    return str(value) if isinstance(value, UUID) else value


def _equal(found: Any, wanted: Any) -> bool:
    try:
        return bool(_comparable(found) == wanted)
    except Exception:
        return False  # an object whose comparison fails is not equal
