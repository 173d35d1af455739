"""Clones of decoded objects that nothing tells from what decoding their bytes again would give.

Known is how to clone LangChain's messages and documents, exactly those classes, a delta channel's snapshot of such,
and what JSON is made of. Of anything else there are no clones: it is decoded again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgpack
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from pydantic import BaseModel

from .models import EXT_MODEL, MODELS, make_from_template, make_model

__all__ = ["Maker", "clone_of_plain", "maker_of"]

# Makes an object, a new one at each call.
Maker = Callable[[], Any]
_Parts = tuple[tuple[Any, Maker], ...]

# Immutable, and exactly these: what inherits from them may have attributes.
_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
_NAMES = frozenset((model.__module__, model.__qualname__) for model in MODELS)
# JsonPlusSerializer's mark of a delta channel's snapshot.
_EXT_SNAPSHOT = 7
# Of models in models; what is deeper is decoded again.
_MAX_DEPTH = 4


class _UnknownError(Exception):
    """It is not known how to make an exact clone."""


def maker_of(decoded: Any, data: bytes) -> tuple[Maker, int] | None:
    """Give what makes clones of an object that JsonPlusSerializer has decoded from msgpack bytes.

    And how many lists, dicts and models are in it. None if there are no clones, or if decoding again is as fast. The
    object itself may change afterwards.
    """
    try:
        # The bytes, too, because the object does not show whether the serializer warned, or refused something in it:
        # it would do so again. Of these models it never does.
        _, models = _unpacked(data, _MAX_DEPTH)
        if not models:
            return None
        seen: list[int] = []
        maker = _maker(decoded, seen)
    except (_UnknownError, RecursionError):
        return None
    # What is in it twice would be two objects in a clone.
    return (maker, len(seen)) if len(set(seen)) == len(seen) else None


def clone_of_plain(value: Any) -> Any:
    """Give a copy of None, bools, numbers, strings, and of lists and dicts of such."""
    if type(value) is dict:
        return {key: clone_of_plain(item) for key, item in value.items()}
    return [clone_of_plain(item) for item in value] if type(value) is list else value


def _unpacked(data: bytes, depth: int) -> tuple[Any, int]:
    """Unpack msgpack without making objects of it; tell how many models are in it, which are all that is not plain."""
    models = 0

    def model(code: int, payload: bytes) -> None:
        nonlocal models
        if code not in (EXT_MODEL, _EXT_SNAPSHOT) or depth == 0:
            raise _UnknownError
        inner, inside = _unpacked(payload, depth - 1)
        if code == _EXT_SNAPSHOT:
            models += inside
        elif type(inner) is list and tuple(inner[:2]) in _NAMES:
            models += 1
        else:
            raise _UnknownError

    try:
        unpacked = msgpack.unpackb(data, ext_hook=model, strict_map_key=False, unicode_errors="surrogatepass")
    except (ValueError, TypeError, RecursionError) as e:
        raise _UnknownError from e
    return unpacked, models


def _maker(value: Any, seen: list[int]) -> Maker:
    """Give the maker of clones; `seen` takes the ids of the mutable objects on the way."""
    kind = type(value)
    if kind in _SCALARS:
        return _none if value is None else partial(_same, value)
    seen.append(id(value))
    if kind is dict:
        return _dict_maker(value, seen)
    if kind is list:
        return _list_maker(value, seen)
    if kind in MODELS:
        return _model_maker(value, seen)
    if kind is _DeltaSnapshot:
        return partial(_make_snapshot, _maker(value.value, seen))
    raise _UnknownError


def _dict_maker(value: dict[Any, Any], seen: list[int]) -> Maker:
    if not value:
        return dict
    template, parts = _dict_parts(value, seen)
    return partial(_make_dict, template, parts) if parts else template.copy


def _dict_parts(value: dict[Any, Any], seen: list[int]) -> tuple[dict[Any, Any], _Parts]:
    if not _SCALARS.issuperset(map(type, value)):
        raise _UnknownError
    template = value.copy()
    if _SCALARS.issuperset(map(type, value.values())):
        return template, ()
    parts = tuple([(key, _maker(item, seen)) for key, item in value.items() if type(item) not in _SCALARS])
    for key, _ in parts:
        template[key] = None
    return template, parts


def _list_maker(value: list[Any], seen: list[int]) -> Maker:
    if not value:
        return list
    template = value.copy()
    if _SCALARS.issuperset(map(type, value)):
        return template.copy
    parts = tuple([(i, _maker(item, seen)) for i, item in enumerate(value) if type(item) not in _SCALARS])
    for i, _ in parts:
        template[i] = None
    return partial(_make_list, template, parts)


def _model_maker(value: BaseModel, seen: list[int]) -> Maker:
    extra, private = _maker(value.__pydantic_extra__, seen), _maker(value.__pydantic_private__, seen)
    names = value.__pydantic_fields_set__.copy()
    template, parts = _dict_parts(value.__dict__, seen)
    if value.__pydantic_extra__ == {} and value.__pydantic_private__ is None:
        return partial(make_from_template, type(value), template, parts, names)
    return partial(_make_model, type(value), template, parts, (extra, names, private))


# The makers' inside: templates hold None where a part is made anew. They are many, and partial() makes the fewest
# objects of them for the garbage collector to look at.


def _none() -> None:
    return None


def _same(value: Any) -> Any:
    return value


def _make_dict(template: dict[Any, Any], parts: _Parts) -> dict[Any, Any]:
    made = template.copy()
    for key, make in parts:
        made[key] = make()
    return made


def _make_list(template: list[Any], parts: _Parts) -> list[Any]:
    made = template.copy()
    for i, make in parts:
        made[i] = make()
    return made


def _make_snapshot(make: Maker) -> _DeltaSnapshot:
    return _DeltaSnapshot(make())


def _make_model(
    cls: type[BaseModel], template: dict[str, Any], parts: _Parts, rest: tuple[Maker, set[str], Maker]
) -> BaseModel:
    extra, names, private = rest
    fields = template.copy()
    for name, make in parts:
        fields[name] = make()
    return make_model(cls, fields, extra(), names.copy(), private())
