"""What vouches that objects have not changed in place, without looking at their bytes: a module in C, if it is there.

A witness holds the objects that it has seen, and everything that they consist of. So nothing of that can be destroyed,
and its address says which object it is. An object is what it was if it is of the same type, has the same dict, and in
that, and in every dict and list inside, the very same keys and values stand in the same order: down to what nothing can
ever change in place, which is exactly None, a bool, an int, a float, a str or bytes. An object that consists of
anything else, or has extras, is not covered, nor is one that is very large or deep, or contains itself. Where Python
counts the changes of each dict, one is what it was if it has not been changed: its keys and values are not looked at.

Seeing objects and packing their states is one call into C, during which nothing else can change them, as is looking at
them again: no Python code runs, of this thread, of another, or of a finaliser that the garbage collector calls. So the
packed states are those that were seen, even if they change, and change back, at any other moment.

Without the module, which takes a compiler to install, and under a Python without the GIL, there are no witnesses: then
states are packed, and compared, at each put.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

if TYPE_CHECKING:
    from ._witness import Witness

__all__ = ["NO_OBJECTS"]


def _no_objects() -> Witness | None:
    try:
        from ._witness import Witness
    except ImportError:
        return None
    return Witness(BaseModel.__dict__["__pydantic_extra__"])


# The one that others are made of; None: there are none.
NO_OBJECTS = _no_objects()
