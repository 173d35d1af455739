"""Any value of a state as JSON, in one documented way, whatever it is.

| value | JSON |
|---|---|
| a LangChain message | {"type": "ai", "content": ..., ...}: its fields, without those that are empty |
| a pydantic model, a dataclass, a named tuple | its fields |
| bytes | {"base64": "..."} |
| a dict with keys that are not all text | {"items": [[key, value], ...]} |
| a tuple, set, deque ... | an array |
| a date or time | ISO 8601 |
| NaN and infinities | {"float": "nan"} |
| a Send | {"send": node, "arg": ...}, and "timeout" if it has one |
| what was not decoded | {"undecoded": tag, "size": bytes, "why": ..., "sha256": ...} |
| anything else | {"repr": its repr} |

Where something is redacted (moving/redaction.py), what was not decoded is shown without its sha256, and instead of any
repr stands {"not_shown": the name of its type}.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from collections import deque
from collections.abc import Mapping
from datetime import date, datetime, time
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from langgraph.checkpoint.serde.types import SendProtocol

from .undecoded import Undecoded

__all__ = ["Shower", "jsonable"]

_MAX_DEPTH = 200
_MAX_REPR = 1000
_ARRAYS = (list, tuple, set, frozenset, deque)
_SCALARS = (int, float, bytes, bytearray, memoryview, date, time, UUID, PurePath)


def jsonable(value: Any) -> Any:
    """Give what json.dumps takes. Nothing of a value's own is run but what its fields and repr take."""
    return _shower.shown(value)


class Shower:
    """Shows values as `jsonable` says. Who leaves something out says so in the methods that others override."""

    def shown(self, value: Any, depth: int = 0) -> Any:
        """Give a value as JSON; `depth` is how deep it stands in what is shown."""
        if value is None or isinstance(value, bool | str) or type(value) is int:
            return value
        if depth > _MAX_DEPTH:
            return {"repr": "nested too deep to be shown"}
        if isinstance(value, Undecoded):
            return self.undecoded(value)
        fields = _fields(value)
        if fields is not None:
            return {str(k): self.item(k, v, depth + 1) for k, v in fields.items()}
        if isinstance(value, Mapping):
            if all(isinstance(k, str) for k in value):
                return {k: self.item(k, v, depth + 1) for k, v in value.items()}
            return {"items": [[self.shown(k, depth + 1), self.item(k, v, depth + 1)] for k, v in value.items()]}
        if isinstance(value, _ARRAYS):
            return [self.shown(v, depth + 1) for v in value]
        if isinstance(value, Enum):
            return self.shown(value.value, depth + 1)
        if isinstance(value, _SCALARS):
            return _scalar(value)
        if isinstance(value, SendProtocol) and not isinstance(value, type):
            timeout = getattr(value, "timeout", None)
            sent = {"send": self.shown(value.node, depth + 1), "arg": self.sent(value.arg, depth + 1)}
            return sent if timeout is None else {**sent, "timeout": self.shown(timeout, depth + 1)}
        return self.other(value)

    def item(self, key: Any, value: Any, depth: int) -> Any:
        """Give what stands under a key of a dict, or in a field of an object."""
        return self.shown(value, depth)

    def sent(self, arg: Any, depth: int) -> Any:
        """Give what is sent to a task."""
        return self.item("arg", arg, depth)

    def undecoded(self, value: Undecoded) -> Any:
        """Give what was not decoded."""
        return {"undecoded": value.tag, "size": value.size, "why": value.why, "sha256": value.sha256}

    def other(self, value: Any) -> Any:
        """Give an object that there is no form for."""
        return {"repr": _repr(value)}


_shower = Shower()


def _scalar(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, int):
        return int(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value)


def _fields(value: Any) -> Mapping[str, Any] | None:
    """Give the fields of an object that has some."""
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return dict(zip(getattr(value, "_fields", ()), value, strict=False))
    model_fields = getattr(type(value), "model_fields", None)
    if not isinstance(model_fields, dict):
        return None
    held = {**vars(value), **(getattr(value, "__pydantic_extra__", None) or {})}
    if "content" in held and "type" in held:  # a message: most of its fields are empty
        held = {
            "type": held.pop("type"),
            **{k: v for k, v in held.items() if k == "content" or v not in (None, [], {})},
        }
    return held


def _repr(value: Any) -> str:
    try:
        shown = repr(value)
    except Exception as e:
        shown = f"<{type(value).__name__}, whose repr raises {type(e).__name__}>"
    return shown if len(shown) <= _MAX_REPR else f"{shown[:_MAX_REPR]}..."
