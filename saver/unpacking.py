"""Values to objects as JsonPlusSerializer makes them, with less to do on the way to each message.

It finds a model's class by importing its module, and asks whether it may, for each object anew. Here the class is found
by the bytes that name it. The classes' own `__init__` hand on what they are given, from one to the next, to pydantic:
where that is all that they do, pydantic is given it at once. It validates the same fields in the same way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any, TypeGuard

import ormsgpack
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

from ..eventlog.value import Whole
from .models import BY_HEAD, EXT_MODEL
from .pieces import MSGPACK
from .serialising import load

__all__ = ["hands_on", "is_usual", "loader"]

# Of a msgpack array of four, and of a string of up to 31 bytes, what stands before the bytes of the string.
_BEFORE_MODULE = 2
_SHORT_STRING = 0xA0

Hook = Callable[[int, bytes], Any]
_new = object.__new__
_unpackb = ormsgpack.unpackb
_OPTIONS = ormsgpack.OPT_NON_STR_KEYS  # as the serializer's
_LOADS_TYPED = JsonPlusSerializer.loads_typed


def is_usual(serde: SerializerProtocol) -> TypeGuard[JsonPlusSerializer]:
    """Tell whether this is JsonPlusSerializer itself, and makes of msgpack what only that makes of it."""
    # Given a hook of its own, it makes of the bytes whatever that gives.
    return type(serde) is JsonPlusSerializer and not getattr(serde, "_custom_unpack_ext_hook", True)


def loader(serde: SerializerProtocol) -> Callable[[Whole], Any]:
    """Give what does as `serialising.load` with this serializer."""
    hook: Hook | None = getattr(serde, "_unpack_ext_hook", None)
    # Whoever has put something else in the place of what the serializer has wants to be asked.
    if hook is None or not is_usual(serde) or getattr(hook, "__module__", None) != JsonPlusSerializer.__module__:
        return partial(load, serde)
    if getattr(serde.loads_typed, "__func__", None) is not _LOADS_TYPED:
        return partial(load, serde)
    if _what_makes_them() != _MAKERS or any(names.get(name) is not cls for names, name, cls in _NAMED):
        return partial(load, serde)
    unpack = partial(_unpackb, ext_hook=partial(_made, hook), option=_OPTIONS)
    return partial(_load, unpack, serde)


def _load(unpack: Callable[[bytes], Any], serde: SerializerProtocol, value: Whole) -> Any:
    if value.tag == MSGPACK:
        try:
            return unpack(value.data)
        except Exception:  # noqa: S110  the serializer itself says what is wrong with it
            pass
    return load(serde, value)


def hands_on(cls: type[BaseModel]) -> bool:
    """Tell whether making a message of its fields is nothing but having pydantic validate them into a new object."""
    packages = (cls.__module__.partition(".")[0], "pydantic")
    inits = [base.__dict__["__init__"] for base in cls.__mro__[:-1] if "__init__" in base.__dict__]
    # Somebody else's, in the place of the class's own, is to be called.
    own = all(type(one) is FunctionType and one.__globals__["__name__"].partition(".")[0] in packages for one in inits)
    if (
        not own
        or cls.__new__ is not _new
        or type(cls).__call__ is not type.__call__
        or "content" not in cls.model_fields
    ):
        return False
    every = {name: object() for name in cls.model_fields}
    tries: tuple[dict[str, Any], ...] = (
        {"content": "x"},
        {"content": [{}]},
        {**every, "content": "x"},
        {**every, "content": [{}]},
    )
    return all(_handed_on(cls, fields) == fields for fields in tries)


def _handed_on(cls: type[BaseModel], fields: dict[str, Any]) -> dict[str, Any] | None:
    """Give what the class has pydantic validate if it is made of these fields; None if it does anything else."""
    found: list[dict[str, Any]] = []

    class Recording:
        def validate_python(self, data: dict[str, Any], *, self_instance: Any) -> Any:
            found.append(data)
            return self_instance

    made, recording = _new(cls), Recording()
    object.__setattr__(made, "__pydantic_validator__", recording)
    try:
        cls.__init__(made, **fields)
    except Exception:
        return None
    return found[0] if len(found) == 1 and made.__dict__ == {"__pydantic_validator__": recording} else None


def _made(hook: Hook, code: int, data: bytes) -> Any:
    """Make a model here, and anything else with the serializer's hook, what is in a model included."""
    if code == EXT_MODEL:
        try:
            name = _BEFORE_MODULE + data[1] - _SHORT_STRING
            cls = BY_HEAD.get(data[: name + 1 + data[name] - _SHORT_STRING])
            if cls is not None:
                fields = _unpackb(data, ext_hook=hook, option=_OPTIONS)[2]
                names = _HANDING_ON.get(cls)
                if names is None or not names.issuperset(fields):
                    return cls(**fields)
                made = _new(cls)
                if cls.__pydantic_validator__.validate_python(fields, self_instance=made) is made:
                    return made
        except Exception:  # noqa: S110  the serializer has other ways then
            pass
    return hook(code, data)


# The names of their fields. With others, which are extras, they may do whatever they like.
_HANDING_ON = {cls: frozenset(cls.model_fields) for cls in BY_HEAD.values() if hands_on(cls)}
_CLASSES = list({base for cls in _HANDING_ON for base in cls.__mro__})
# Under which name, in which module, the serializer finds each.
_NAMED = [(vars(sys.modules[cls.__module__]), cls.__name__, cls) for cls in BY_HEAD.values()]


def _what_makes_them() -> list[Any]:
    return [maker for cls in _CLASSES for maker in (cls.__init__, cls.__new__)]  # type: ignore[misc]


_MAKERS = _what_makes_them()
