"""Values of a state as text for people: laid out, cut where they are long, and harmless to a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rich.text import Text

from .jsonable import jsonable
from .looking.messages import Said, conversation, is_messages
from .printing import safe, safe_line

__all__ = ["cut", "one_line", "said_text", "value_text"]

_MAX_LINES = 12
_MAX_CHARACTERS = 1_500
_MAX_LINE = 100
_COLOURS = {"human": "bold cyan", "ai": "bold green", "tool": "bold yellow", "system": "bold magenta"}
_INDENT = "         "


def value_text(value: Any, *, full: bool = False) -> Text:
    """Give a value laid out: messages as a conversation, text as it is, anything else as JSON; cut unless `full`."""
    if is_messages(value):
        said = conversation(value)
        left_out = 0 if full else max(0, len(said) - _MAX_LINES)
        told = [Text(f"... {left_out:,} messages before these: --full shows them", "dim")] if left_out else []
        return Text("\n").join([*told, *(said_text(one, full=full) for one in said[left_out:])])
    text = value if isinstance(value, str) else json.dumps(jsonable(value), indent=2, ensure_ascii=False)
    return safe(text if full else cut(text))


def said_text(said: Said, *, full: bool = True) -> Text:
    """Give a message: who, and beside it what was said; calls of tools each on a line."""
    role = Text(f"{safe_line(said.role).plain[: len(_INDENT) - 1]:{len(_INDENT)}}", _COLOURS.get(said.role, "bold"))
    lines = list(_lines(said, full=full)) or [Text("(nothing)", "dim")]
    return Text.assemble(role, Text("\n" + _INDENT).join(lines))


def _lines(said: Said, *, full: bool) -> Iterable[Text]:
    if said.name:
        yield Text.assemble((safe_line(f"({said.name})").plain, "dim"))
    if said.text:
        for line in (said.text if full else cut(said.text)).split("\n"):
            yield safe(line)
    for call in said.calls:
        args = call["args"]
        given = args if isinstance(args, str) else json.dumps(jsonable(args), ensure_ascii=False)
        shown = f"{call['name']}({given})"
        yield Text.assemble(("calls ", "dim"), safe(shown if full else one_line(shown, 5 * _MAX_LINE)))
    if said.tokens is not None:
        yield Text(f"{said.tokens[0]:,} tokens in, {said.tokens[1]:,} out", "dim")


def one_line(value: Any, length: int = _MAX_LINE) -> str:
    """Give a value in one line, cut where it is longer."""
    if is_messages(value):
        text = "; ".join(f"{said.role}: {said.text or _called(said)}" for said in conversation(value))
    else:
        text = value if isinstance(value, str) else json.dumps(jsonable(value), ensure_ascii=False)
    text = " ".join(text[: 4 * length].split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _called(said: Said) -> str:
    return ", ".join(f"calls {call['name']}" for call in said.calls)


def cut(text: str) -> str:
    """Give the beginning of a text, and how much more there is."""
    shown = "\n".join(text.split("\n", _MAX_LINES)[:_MAX_LINES])[:_MAX_CHARACTERS]
    left = len(text) - len(shown)
    return text if left <= 0 else f"{shown}\n... {left:,} characters more: --full shows them"
