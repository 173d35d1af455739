"""Opening logs for the command line: read-only unless asked, and without running code that a file names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ..eventlog.encryption import Key
from ..eventlog.errors import ConfigError, LogOpenError
from ..eventlog.looking import Found, look
from ..saver import EventLogSaver
from .undecoded import UndecodedSerializer

__all__ = ["key_from", "open_log", "open_log_to_change", "strict_serializer"]

_KEY_BYTES = 32


def open_log(
    path: str | os.PathLike[str],
    *,
    key_file: Path | None = None,
    allow: Sequence[str] | None = None,
    allow_any: bool = False,
) -> EventLogSaver:
    """Open a log to look at: nothing is changed, and other processes may be using it.

    Args:
        path: of the log.
        key_file: see `key_from`.
        allow: classes to decode besides those that LangGraph holds safe, each as "module:Class".
        allow_any: decode any class, which runs whatever code the log names.

    Values that are not decoded come as `Undecoded`. With LANGGRAPH_AES_KEY set, values under LangGraph's
    EncryptedSerializer are decrypted.

    Raises:
        ConfigError: an entry of `allow` is not MODULE:CLASS, or the key file cannot be one.
        LogOpenError: there is no log at `path`.
    """
    serde = UndecodedSerializer(strict_serializer(allow=allow, allow_any=allow_any))
    _check_there(path)
    return EventLogSaver(path, serde=serde, read_only=True, key=key_from(key_file))


def open_log_to_change(path: str | os.PathLike[str], *, key_file: Path | None = None, **options: Any) -> EventLogSaver:
    """Open a log that is there, to append to. Values are not decoded in ways that run code.

    Raises:
        ConfigError: the key file cannot be one.
        LogOpenError: there is no log at `path`: none is made.
    """
    key = key_from(key_file)
    # Opening to write would make a log where there is none, in an empty file for instance. To open it read-only first
    # would be too much: that refuses a log whose projections opening it to write mends.
    _check_there(path)
    if look(os.fspath(path), Key.of(key)) is not Found.LOG:
        raise LogOpenError(f"there is no log at {os.fspath(path)}: the file is empty", path=os.fspath(path))
    # What a command does not say that it erases, it leaves to the next compaction.
    return EventLogSaver(path, serde=strict_serializer(), key=key, erase_deleted=False, **options)


def _check_there(path: str | os.PathLike[str]) -> None:
    if not Path(path).is_file():
        raise LogOpenError(f"there is no log at {os.fspath(path)}", path=os.fspath(path))


def strict_serializer(*, allow: Sequence[str] | None = None, allow_any: bool = False) -> SerializerProtocol:
    """Give a serializer that makes objects of the classes that LangGraph holds safe, and of those allowed, only.

    Raises:
        ConfigError: an entry of `allow` is not MODULE:CLASS.
    """
    allowed: list[tuple[str, ...]] = []
    for entry in allow or ():
        module, _, name = entry.partition(":")
        if not module or not name:
            raise ConfigError(f"--allow takes MODULE:CLASS, not {entry!r}")
        allowed.append((module, name))
    serde: SerializerProtocol = JsonPlusSerializer(allowed_msgpack_modules=True if allow_any else allowed or None)
    if os.environ.get("LANGGRAPH_AES_KEY"):
        try:
            serde = EncryptedSerializer.from_pycryptodome_aes(serde)
        except (ImportError, ValueError) as e:
            raise ConfigError(f"LANGGRAPH_AES_KEY is set, but values cannot be decrypted with it: {e}") from e
    return serde


def key_from(key_file: Path | None) -> str | bytes | None:
    """Give the key of an encrypted log: what the file holds, or the environment's passphrase, or None.

    A file of exactly 32 bytes holds the key itself, any other a passphrase as text.

    Raises:
        ConfigError: the file cannot be read, or is no text.
    """
    if key_file is None:
        return os.environ.get("LANGGRAPH_EVENTLOG_KEY") or None
    try:
        held = key_file.read_bytes()
        return held if len(held) == _KEY_BYTES else held.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"the key file {key_file} cannot be used: {e}") from e
