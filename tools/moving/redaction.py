"""Taking values out of what is exported: each is replaced by a hash of it, {"redacted": "..."}.

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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...eventlog.errors import ConfigError

__all__ = ["Redaction", "salt_from"]

_SALT_BYTES = 32
# LangGraph's own channels, which hold what was given to others: the input for instance.
_OWN = "__"


class Redaction:
    """What is taken out of JSON documents.

    Args:
        rules: each "channel:NAME" (all values of that channel: in checkpoints, in writes, and in what LangGraph's own
            channels and the metadata hold under that name) or "key:NAME" (whatever stands under that key, or in that
            field of an object, at any depth; and the values of a channel of that name).
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

    def redacted(self, value: Any) -> dict[str, str]:
        """Give what stands in a value's place; the value is JSON."""
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        return {"redacted": hmac.new(self._salt, canonical, hashlib.sha256).hexdigest()}

    def of_channel(self, channel: str, value: Any) -> Any:
        """Give a channel's value, as JSON, without what is taken out."""
        if channel in self._channels or channel in self._keys:
            return self.redacted(value)
        # Which state keys an input, or what is sent to a task, sets, LangGraph's own channels hold by name.
        return self._without(value, self._keys | self._channels if channel.startswith(_OWN) else self._keys)

    def of_metadata(self, metadata: Any) -> Any:
        """Give metadata, as JSON, without what is taken out. That of old releases holds what channels were given."""
        return self._without(metadata, self._keys | self._channels)

    def of_other(self, document: Any) -> Any:
        """Give any other document without what is taken out."""
        return self._without(document, self._keys)

    def _without(self, document: Any, names: frozenset[str]) -> Any:
        if not names:
            return document
        if isinstance(document, list):
            return [self._without(item, names) for item in document]
        if not isinstance(document, dict):
            return document
        items = document.get("items")
        is_dict_of_others = len(document) == 1 and isinstance(items, list) and all(_is_pair(item) for item in items)
        if items and is_dict_of_others and "items" not in names:  # its keys are not all text: see `jsonable`
            return {"items": [[key, self._item(key, value, names)] for key, value in items]}
        return self._of(document, names)

    def _of(self, document: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
        return {key: self._item(key, value, names) for key, value in document.items()}

    def _item(self, key: Any, value: Any, names: frozenset[str]) -> Any:
        if isinstance(key, str) and key in names:
            return self.redacted(value)
        return self._without(value, names)


def _is_pair(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2


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
