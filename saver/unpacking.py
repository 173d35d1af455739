"""Values to objects as JsonPlusSerializer makes them, with less to look up on the way to each message.

It finds a model's class by importing its module, and asks whether it may, for each object anew: a tenth of what
decoding a chat takes. Here the class is found by the bytes that name it. The object itself is made the same way, by
the class, of the same fields.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeGuard

import ormsgpack
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ..eventlog.value import Whole
from .models import BY_HEAD, EXT_MODEL
from .pieces import MSGPACK
from .serialising import load

__all__ = ["is_usual", "loader"]

# Of a msgpack array of four, and of a string of up to 31 bytes, what stands before the bytes of the string.
_BEFORE_MODULE = 2
_SHORT_STRING = 0xA0

Hook = Callable[[int, bytes], Any]


def is_usual(serde: SerializerProtocol) -> TypeGuard[JsonPlusSerializer]:
    """Tell whether this is JsonPlusSerializer itself, and makes of msgpack what only that makes of it."""
    # Given a hook of its own, it makes of the bytes whatever that gives.
    return type(serde) is JsonPlusSerializer and not getattr(serde, "_custom_unpack_ext_hook", True)


def loader(serde: SerializerProtocol) -> Callable[[Whole], Any]:
    """Give what does as `serialising.load` with this serializer."""
    hook: Hook | None = getattr(serde, "_unpack_ext_hook", None)
    # Whoever has put another hook in the place of the serializer's wants to be asked.
    if hook is None or not is_usual(serde) or getattr(hook, "__module__", None) != JsonPlusSerializer.__module__:
        return partial(load, serde)
    unpack = partial(ormsgpack.unpackb, ext_hook=partial(_made, hook), option=ormsgpack.OPT_NON_STR_KEYS)
    return partial(_load, unpack, serde)


def _load(unpack: Callable[[bytes], Any], serde: SerializerProtocol, value: Whole) -> Any:
    if value.tag == MSGPACK:
        try:
            return unpack(value.data)
        except Exception:  # noqa: S110  the serializer itself says what is wrong with it
            pass
    return load(serde, value)


def _made(hook: Hook, code: int, data: bytes) -> Any:
    """Make a model here, and anything else with the serializer's hook, what is in a model included."""
    if code == EXT_MODEL:
        try:
            name = _BEFORE_MODULE + data[1] - _SHORT_STRING
            cls = BY_HEAD.get(data[: name + 1 + data[name] - _SHORT_STRING])
            if cls is not None:
                return cls(**ormsgpack.unpackb(data, ext_hook=hook, option=ormsgpack.OPT_NON_STR_KEYS)[2])
        except Exception:  # noqa: S110  the serializer has other ways then
            pass
    return hook(code, data)
