"""Metadata filters: compared as values, in Python. An index may narrow down what is compared; no filter becomes SQL."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from ..eventlog.errors import ConfigError
from ..eventlog.plain import PlainDataError, pack
from ..projections.history import INDEXED
from ..projections.metadata import IndexKey, field, index_key, run_key

__all__ = ["Matches", "check_declared", "compile_filter", "index_keys", "needles"]

Matches = Callable[[Mapping[str, Any]], bool]

# The official savers' rule; they need it because their filters become SQL, and programs rely on the error.
_KEY = re.compile(r"[a-zA-Z0-9_.-]+")
# Only what compares as Python's own do: other types may find themselves equal to anything.
_INDEXED_TYPES = (str, int, float, bool)
# With which of these msgpack begins what is none of its own types: an object, or a large integer.
_EXTENSIONS = tuple(bytes([first]) for first in (0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8))


def compile_filter(filter: Mapping[str, Any] | None) -> Matches | None:
    """Give a predicate on metadata; None if there is nothing to filter by.

    Every key must match. A key names a field, or with dots a field inside of fields. None matches null and absent.
    Values compare as values: dicts whatever their order, lists and tuples alike, a UUID as its text, 1 not as "1".

    Raises:
        ConfigError: a key has other characters than letters, digits, `_`, `-` and `.`; or a value is nested too deeply.
    """
    if not filter:
        return None
    for key in filter:
        _check_key(key, "filter key")
    try:
        wanted = {key: _comparable(value) for key, value in filter.items()}
    except RecursionError:
        raise ConfigError("a filter's value is nested too deeply to be compared") from None

    def matches(metadata: Mapping[str, Any]) -> bool:
        return all(_equal(field(metadata, key), value) for key, value in wanted.items())

    return matches


def needles(filter: Mapping[str, Any] | None) -> list[tuple[bytes, ...]]:
    """Give what metadata that matches, packed by `plain.pack`, holds as it stands: of each tuple one, at least.

    What holds them may still not match. So most of what does not need not be unpacked.
    """
    found: list[tuple[bytes, ...]] = []
    for key, value in (filter or {}).items():
        wanted = _comparable(value)
        if wanted is None:
            continue  # also matches what is not there
        if "." in key:
            found.append((pack(key), pack(key.partition(".")[0])))
            continue
        forms = _packed_forms(wanted)
        found.append((pack(key),) if forms is None else tuple(pack(key) + form for form in (*forms, *_EXTENSIONS)))
    return found


def _packed_forms(wanted: Any) -> set[bytes] | None:
    """Give how plain values that are equal to one are packed; None if there may be many ways."""
    try:
        if type(wanted) is str:
            return {pack(wanted)}
        if type(wanted) in (int, float, bool):
            forms: list[Any] = [wanted]
            for kind in (int, float, bool):
                with contextlib.suppress(OverflowError, ValueError):  # infinity, NaN, a large integer
                    forms.append(kind(wanted))
            forms += [0.0, -0.0] if wanted == 0 else []
            return {pack(form) for form in forms if form == wanted}
    except PlainDataError:
        pass  # a large integer, or text that is none: compared one by one
    return None


def index_keys(filter: Mapping[str, Any] | None) -> dict[str, IndexKey]:
    """Give what of a filter an index can be asked for: its plain values, as their keys.

    A checkpoint that matches has, for each of them, that key or OTHER; one that has may still not match.
    """
    keys = {name: _index_key(name, _comparable(value)) for name, value in (filter or {}).items()}
    return {name: key for name, key in keys.items() if key is not None}


def _index_key(name: str, value: Any) -> IndexKey | None:
    if name == "run_id":  # as text, whatever it is: of these, only what is text can be equal to text
        return run_key({name: value}) if type(value) is str else None
    return index_key(value) if type(value) in _INDEXED_TYPES else None


def check_declared(keys: Iterable[str]) -> tuple[str, ...]:
    """Give the metadata keys that a user declares, each once, without those that are always indexed.

    Raises:
        ConfigError: it is no sequence, or one str, whose letters would be taken for keys; or no filter could name
            one of them.
    """
    if isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
        raise ConfigError(f"indexed_metadata is a sequence of keys, not {keys!r}")
    declared = list(keys)
    for key in declared:
        _check_key(key, "indexed_metadata key")
    return tuple(dict.fromkeys(key for key in declared if key not in INDEXED))


def _check_key(key: Any, what: str) -> None:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ConfigError(f"{what} {key!r}: only letters, digits, underscores, dots and hyphens, please")


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
