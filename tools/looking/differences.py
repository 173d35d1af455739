"""What changed between two checkpoints, channel by channel: messages, keys, elements, lines of text."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from ...eventlog.errors import ConfigError
from ...projections.history import CheckpointRow
from ...saver import EventLogSaver
from ..at_one_moment import LogAtOneMoment
from ..jsonable import jsonable
from .messages import conversation, is_messages
from .naming import find_checkpoint, views_of
from .states import values_of

__all__ = ["Change", "ChannelDifference", "Difference", "difference", "differences"]

_CONTEXT_LINES = 3
# Beyond this many pairs of elements, the middle of two lists is not matched: all of it was replaced.
_MAX_PAIRS = 4_000_000
_MAX_DEPTH = 20


@dataclass(frozen=True, slots=True)
class Change:
    """Something that changed in a channel's value.

    Attributes:
        change: "added", "removed", "changed", or, of a message that is elsewhere in the list now, "moved".
        at: where: keys, and in lists indexes, from the outermost; in the value after, of what was removed in the one
            before. () is the value itself.
        id: of a message that has one.
        before, after: what was there; None if nothing was, or text is told by `diff`; of "moved", indexes.
        diff: of text, the lines of a unified diff; None: it is no text.
    """

    change: str
    at: tuple[str | int, ...]
    id: str | None = None
    before: Any = None
    after: Any = None
    diff: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ChannelDifference:
    """How a channel's value differs.

    Attributes:
        channel: its name.
        kind: "messages", "list", "dict", "text" or "value", as both are; "added" or "removed" if one is not there.
        changes: what changed, in order.
    """

    channel: str
    kind: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one checkpoint to another.

    Attributes:
        thread_id, checkpoint_ns: of both.
        a: id of the first; None: there is none, as before a thread's first checkpoint.
        b: id of the second.
        channels: those that differ, by name.
    """

    thread_id: str
    checkpoint_ns: str
    a: str | None
    b: str
    channels: tuple[ChannelDifference, ...]


def difference(
    saver: EventLogSaver, thread_id: str, a: str | None = None, b: str | None = None, *, checkpoint_ns: str = ""
) -> Difference:
    """Give what changed between two checkpoints of a thread.

    Args:
        saver: an open log.
        thread_id: the thread.
        a: the first, by its id, a part of it, or its step; None: the parent of `b`.
        b: the second; None: the latest.
        checkpoint_ns: the namespace of both.

    Raises:
        ConfigError: one of them is not there, or several are meant.
        CorruptRecordError: one of them, or something that it refers to, is damaged.
        DecodingError: the saver's serializer cannot read a value.
    """
    with saver.log.database.reading() as connection:
        second = find_checkpoint(saver, connection, thread_id, b, checkpoint_ns=checkpoint_ns)
        if a is None:
            first = _parent(saver, connection, second)
        else:
            first = find_checkpoint(saver, connection, thread_id, a, checkpoint_ns=checkpoint_ns)
        log = LogAtOneMoment(saver, connection)
        before = {} if first is None else values_of(log, thread_id, checkpoint_ns, first)
        after = values_of(log, thread_id, checkpoint_ns, second)
    return Difference(
        thread_id,
        checkpoint_ns,
        None if first is None else first.checkpoint_id,
        second.checkpoint_id,
        tuple(differences(before, after)),
    )


def _parent(saver: EventLogSaver, connection: apsw.Connection, row: CheckpointRow) -> CheckpointRow | None:
    if row.parent_id is None:
        return None
    parent = views_of(saver).history.one(connection, row.stream, row.parent_id)
    if parent is None:
        raise ConfigError(
            f"the parent of checkpoint {row.checkpoint_id!r}, {row.parent_id!r}, is not there any more: "
            "name both checkpoints that are to be compared"
        )
    return parent


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[ChannelDifference]:
    """Yield how values differ, by channel. 1, 1.0 and True are different; so are dicts in another order of keys."""
    for channel in sorted({*before, *after}):
        if channel not in before:
            yield ChannelDifference(channel, "added", (Change("added", (), after=after[channel]),))
        elif channel not in after:
            yield ChannelDifference(channel, "removed", (Change("removed", (), before=before[channel]),))
        else:
            old, new = before[channel], after[channel]
            kind = _kind(old, new)
            if changes := tuple(_changes(kind, (), old, new)):
                yield ChannelDifference(channel, kind, changes)


def _kind(old: Any, new: Any) -> str:
    if isinstance(old, str) and isinstance(new, str):
        return "text"
    if (is_messages(old) and (is_messages(new) or new == [])) or (is_messages(new) and old == []):
        return "messages"
    if isinstance(old, list | tuple) and type(old) is type(new) and not hasattr(old, "_asdict"):
        return "list"
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return "dict"
    return "value"


def _changes(kind: str, at: tuple[str | int, ...], old: Any, new: Any) -> Iterator[Change]:
    if old is new or _form(old) == _form(new):
        return
    match kind:
        case "text":
            yield Change("changed", at, diff=_text_diff(old, new))
        case "messages":
            yield from _of_messages(old, new)
        case "list":
            yield from _of_lists(at, old, new)
        case "dict":
            yield from _of_dicts(at, old, new)
        case _:
            yield Change("changed", at, before=old, after=new)


def _of_dicts(at: tuple[str | int, ...], old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Iterator[Change]:
    changed = False
    for key, value in old.items():
        if key not in new:
            changed = True
            yield Change("removed", (*at, _key(key)), before=value)
    for key, value in new.items():
        if key not in old:
            changed = True
            yield Change("added", (*at, _key(key)), after=value)
        elif _form(old[key]) != _form(value):
            changed = True
            inner = _kind(old[key], value)
            # Of lists inside of dicts, too, but messages are told apart in channels only.
            inner = "list" if inner == "messages" else inner if len(at) < _MAX_DEPTH else "value"
            yield from _changes(inner, (*at, _key(key)), old[key], value)
    if not changed:  # only their order, or what keys are
        yield Change("changed", at, before=old, after=new)


def _of_lists(at: tuple[str | int, ...], old: Sequence[Any], new: Sequence[Any]) -> Iterator[Change]:
    for tag, i1, i2, j1, j2 in _opcodes([_form(one) for one in old], [_form(one) for one in new]):
        paired = min(i2 - i1, j2 - j1) if tag == "replace" else 0
        for n in range(paired):
            yield Change("changed", (*at, j1 + n), before=old[i1 + n], after=new[j1 + n])
        for i in range(i1 + paired, i2):
            yield Change("removed", (*at, i), before=old[i])
        for j in range(j1 + paired, j2):
            yield Change("added", (*at, j), after=new[j])


def _of_messages(old: Sequence[Any], new: Sequence[Any]) -> Iterator[Change]:
    """Yield what changed: messages of one id are the same message."""
    ids_before, ids_after = _ids(old), _ids(new)
    if ids_before is None or ids_after is None:
        yield from _of_lists((), old, new)
        return
    for one, i in ids_before.items():
        if one not in ids_after:
            yield Change("removed", (i,), one, before=old[i])
    for one, j in ids_after.items():
        if one not in ids_before:
            yield Change("added", (j,), one, after=new[j])
        elif _form(old[ids_before[one]]) != _form(new[j]):
            yield _of_message(j, one, old[ids_before[one]], new[j])
    stayed = [one for one in ids_before if one in ids_after]
    for one, other in zip(stayed, (one for one in ids_after if one in ids_before), strict=True):
        if one != other:
            yield Change("moved", (ids_after[one],), one, before=ids_before[one], after=ids_after[one])


def _of_message(at: int, message_id: str, old: Any, new: Any) -> Change:
    (said_before, said_after) = conversation([old, new])
    diff = None if said_before.text == said_after.text else _text_diff(said_before.text, said_after.text)
    return Change("changed", (at,), message_id, before=old, after=new, diff=diff)


def _ids(messages: Sequence[Any]) -> dict[str, int] | None:
    """Give the index of each message by its id; None if not all have one of their own."""
    ids = {said.id: n for n, said in enumerate(conversation(messages))}
    return {one: n for one, n in ids.items() if one} if len(ids) == len(messages) and None not in ids else None


def _opcodes(old: list[str], new: list[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield what is not equal in two lists, as difflib does; of what is alike at both ends nothing is compared."""
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    middle_old, middle_new = old[start : len(old) - end], new[start : len(new) - end]
    if len(middle_old) * len(middle_new) > _MAX_PAIRS:
        yield "replace", start, len(old) - end, start, len(new) - end
        return
    matcher = difflib.SequenceMatcher(None, middle_old, middle_new, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag != "equal":
            yield tag, i1 + start, i2 + start, j1 + start, j2 + start


def _text_diff(old: str, new: str) -> tuple[str, ...]:
    before, after = old.split("\n"), new.split("\n")
    if len(before) * len(after) <= _MAX_PAIRS:
        # Without the two names of files that it begins with.
        return tuple(difflib.unified_diff(before, after, lineterm="", n=_CONTEXT_LINES))[2:]
    lines: list[str] = []
    for _, i1, i2, j1, j2 in _opcodes(before, after):
        lines.append(f"@@ -{i1 + 1},{i2 - i1} +{j1 + 1},{j2 - j1} @@")
        lines += [f"-{line}" for line in before[i1:i2]] + [f"+{line}" for line in after[j1:j2]]
    return tuple(lines)


def _key(key: Any) -> str | int:
    return key if isinstance(key, str | int) else repr(key)


def _form(value: Any) -> str:
    """Give what is equal for equal values only."""
    if isinstance(value, set | frozenset):
        return json.dumps(sorted(map(_form, value)))
    return json.dumps(jsonable(value), separators=(",", ":"))
