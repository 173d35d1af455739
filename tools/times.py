"""Reading points in time and ages from the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from ..eventlog.errors import ConfigError

__all__ = ["parse_age", "parse_time", "recorded_time"]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_LONGEST = timedelta(days=365_000)  # about a thousand years
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_age(text: str) -> timedelta:
    """Read an age: a number and a unit, 90s, 15m, 36h, 30d or 2w.

    Raises:
        ConfigError: it is something else, or longer than about a thousand years.
    """
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is no age: write a number and a unit, for instance 90s, 15m, 36h, 30d or 2w")
    try:
        age = timedelta(**{_UNITS[found[2]]: float(found[1])})
    except OverflowError:
        age = timedelta.max
    if age > _LONGEST:
        raise ConfigError(f"{text!r} is longer than can be reckoned with")
    return age


def parse_time(text: str, *, now: datetime | None = None) -> datetime:
    """Read a point in time: ISO 8601 (UTC unless it says otherwise), or an age, which counts back from now.

    Raises:
        ConfigError: it is neither, or further away than can be reckoned with.
    """
    if _AGE.fullmatch(text.strip()):
        return (now or datetime.now(UTC)) - parse_age(text)
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(
            f"{text!r} is no time: write 2026-01-31, 2026-01-31T12:00+01:00 (UTC without an offset), or an age, as 2h"
        ) from None
    try:
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except OverflowError:
        raise ConfigError(f"{text!r} is, in UTC, outside of the years 1 to 9999") from None


def recorded_time(recorded_at: int) -> datetime:
    """Give the time that an event's `recorded_at` is, UTC."""
    return _EPOCH + timedelta(microseconds=recorded_at)
