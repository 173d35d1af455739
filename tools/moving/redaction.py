"""Taking values out of what is exported: each is replaced by a hash of it, {"redacted": "..."}.

It is done on the objects, before they become JSON: a form of `jsonable` cannot be taken for a dict that looks like it.
And it fails closed: with any rule, an object that there is no form for is not shown by its repr, which cannot be looked
into, and of what was not decoded no hash is shown that is not salted.

The hash is HMAC-SHA-256, of the value's canonical JSON, under a salt. So equal values of one export (or of several with
the same salt) can be seen to be equal; who has the salt can prove later what a value was; and without it, nobody can
find one by trying likely values.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from ...eventlog.errors import ConfigError
from ..jsonable import Shower, jsonable
from ..undecoded import Undecoded

__all__ = ["Redaction", "salt_from"]

_SALT_BYTES = 32
# LangGraph's own channels, which hold what was given to others: the input for instance.
_OWN = "__"


class Redaction:
    """What is taken out of values that are shown as JSON. Every method takes objects.

    Args:
        rules: each "channel:NAME" (all values of that channel: in checkpoints, in writes, and in what LangGraph's own
            channels, what is sent to tasks, and metadata hold under that name) or "key:NAME" (whatever stands under
            that key, or in that field of an object, at any depth; and the values of a channel of that name).
        salt: keep it secret; None: a random one, that nobody gets to know.

    Raises:
        ConfigError: a rule is neither.
    """

    def __init__(self, rules: Sequence[str] = (), *, salt: bytes | None = None) -> None:
        self.rules = tuple(dict.fromkeys(rules))
        self._salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
        channels, keys = set[str](), set[str]()
        for rule in self.rules:
            kind, _, name = rule.partition(":")
            if kind not in ("channel", "key") or not name:
                raise ConfigError(f"--redact takes channel:NAME or key:NAME, not {rule!r}")
            (channels if kind == "channel" else keys).add(name)
        self._channels, self._keys = frozenset(channels), frozenset(keys)
        names = self._keys | self._channels
        everywhere = _Redacting(names, self.redacted) if names else Shower()
        # What is sent to a task holds values of channels under their names, wherever it stands.
        in_channels = _Redacting(self._keys, self.redacted, of_sent=everywhere) if names else Shower()
        self._everywhere, self._in_channels = everywhere, in_channels
        self._nowhere = _Redacting(frozenset(), self.redacted) if names else Shower()

    def redacted(self, value: Any) -> dict[str, str]:
        """Give what stands in a value's place."""
        canonical = json.dumps(jsonable(value), sort_keys=True, separators=(",", ":")).encode()
        return {"redacted": hmac.new(self._salt, canonical, hashlib.sha256).hexdigest()}

    def takes_out(self, channel: str) -> bool:
        """Tell whether a channel's values are taken out as wholes: then their keys are not shown, either."""
        return channel in self._channels or channel in self._keys

    def of_channel(self, channel: str, value: Any) -> Any:
        """Give a channel's value, as JSON, without what is taken out."""
        if self.takes_out(channel):
            return self.redacted(value)
        # Which state keys an input, or what is sent to a task, sets, LangGraph's own channels hold by name.
        return (self._everywhere if channel.startswith(_OWN) else self._in_channels).shown(value)

    def of_versions(self, versions: Any) -> Any:
        """Give versions of channels, as JSON: under a channel's name stands none of its values."""
        return self._nowhere.shown(versions)

    def of_other(self, value: Any) -> Any:
        """Give anything else, as JSON, without what is taken out: metadata for instance.

        That of old releases, and their pending sends, hold what channels were given.
        """
        return self._everywhere.shown(value)


class _Redacting(Shower):
    """Shows values without what stands under some names.

    Args:
        names: of keys and fields.
        redacted: gives what stands in a value's place.
        of_sent: shows what is sent to a task.
    """

    def __init__(self, names: frozenset[str], redacted: Callable[[Any], Any], *, of_sent: Shower | None = None) -> None:
        self._names = names
        self._redacted = redacted
        self._of_sent = of_sent

    def item(self, key: Any, value: Any, depth: int) -> Any:
        """Give a hash of what stands under one of the names."""
        return self._redacted(value) if _name(key) in self._names else self.shown(value, depth)

    def sent(self, arg: Any, depth: int) -> Any:
        """Give what is sent to a task."""
        return self.item("arg", arg, depth) if self._of_sent is None else self._of_sent.sent(arg, depth)

    def undecoded(self, value: Undecoded) -> Any:
        """Give what it is, without a hash that could be found by trying."""
        return {"undecoded": value.tag, "size": value.size, "why": value.why}

    def other(self, value: Any) -> Any:
        """Give what it is, not what it holds."""
        return {"not_shown": type(value).__name__}


def _name(key: Any) -> str:
    """Give a key as a rule names it."""
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, bytes):
        return key.decode(errors="replace")
    return str(key) if isinstance(key, str | int) else ""


def salt_from(path: Path) -> bytes:
    """Give the salt that a file holds; if it is not there, it is made, for its owner only, with a random one.

    Raises:
        ConfigError: it cannot be read or made, or holds too little.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        pass
    except OSError as e:
        raise ConfigError(f"the salt cannot be kept in {path}: {e.strerror}") from None
    else:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_SALT_BYTES) + "\n")
    try:
        salt = path.read_bytes().strip()
    except OSError as e:
        raise ConfigError(f"the salt in {path} cannot be read: {e.strerror}") from None
    if len(salt) < _SALT_BYTES // 2:
        raise ConfigError(
            f"{path} holds a salt of {len(salt)} bytes: values could be found by trying. Give it 16 or more"
        )
    return salt
