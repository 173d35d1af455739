"""Values in few words, for people: a message as who says what, anything else as its beginning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..jsonable import jsonable
from ..undecoded import Undecoded

__all__ = ["PREVIEW_CHARACTERS", "preview", "preview_of_change", "role_of", "said_in", "texts_in"]

PREVIEW_CHARACTERS = 120
_CUT = "..."
# What surrounds the place at which a text was changed.
_AROUND = 24


def preview(value: Any, limit: int = PREVIEW_CHARACTERS) -> str:
    """Give a value on one line, of at most so many characters.

    A message is "ai: what it says", several stand one after the other; a call of a tool is "-> tool(argument=value)".
    Text stands as it is, everything else as JSON (see `jsonable`). Nothing is made safe for a terminal or a page.
    """
    return _shortened(_shown(value), limit)


def _shown(value: Any) -> str:
    if isinstance(value, Undecoded):
        return str(value)
    if isinstance(value, str):
        return value
    role = role_of(value)
    if role is not None:
        return f"{role}: {said_in(value)}"
    if isinstance(value, list | tuple) and value and all(role_of(element) is not None for element in value):
        return " | ".join(map(_shown, value))
    return json.dumps(jsonable(value), ensure_ascii=False, separators=(", ", ": "))


def role_of(value: Any) -> str | None:
    """Give who says a message, "ai" for instance; None: it is no message."""
    fields = getattr(type(value), "model_fields", None)
    is_message = isinstance(fields, dict) and "content" in fields and "type" in fields
    return str(value.type) if is_message else None


def said_in(message: Any) -> str:
    """Give what a message says, and which tools it calls, as text."""
    content = message.content
    if isinstance(content, list):
        blocks = [_block(block) for block in content]
        content = " ".join(block for block in blocks if block)
    said = [str(content)] if content else []
    for call in getattr(message, "tool_calls", None) or ():
        arguments = ", ".join(f"{name}={_shown(value)}" for name, value in dict(call.get("args") or {}).items())
        said.append(f"-> {call.get('name')}({arguments})")
    return " ".join(said)


def _block(block: Any) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, Mapping):
        return str(block["text"]) if "text" in block else f"[{block.get('type', 'block')}]"
    return _shown(block)


def _shortened(text: str, limit: int) -> str:
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit and len(text) <= 4 * limit else line[: limit - len(_CUT)] + _CUT


def preview_of_change(before: Any, after: Any, limit: int = PREVIEW_CHARACTERS) -> tuple[str, str]:
    """Give two values in few words each: of two texts, the places that differ, and a little of what is around them."""
    if not isinstance(before, str) or not isinstance(after, str):
        return preview(before, limit), preview(after, limit)
    most = min(len(before), len(after))
    start = next((i for i in range(most) if before[i] != after[i]), most)
    end = next((i for i in range(most - start) if before[-1 - i] != after[-1 - i]), most - start)
    return _around(before, start, len(before) - end, limit), _around(after, start, len(after) - end, limit)


def _around(text: str, start: int, end: int, limit: int) -> str:
    first, last = max(0, start - _AROUND), min(len(text), end + _AROUND)
    shown = (_CUT if first else "") + text[first:last] + (_CUT if last < len(text) else "")
    return _shortened(shown, limit)


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in a value, as JSON has it: those of fields and items, keys too."""
    pending = [jsonable(value)]
    while pending:
        part = pending.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            yield from part
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)
