"""Anchors as documents: a position of a log and its link, when it was taken, and perhaps who says so.

A document is JSON:

| field | |
|---|---|
| anchor | "langgraph-eventlog/1": what this is |
| log_id | 32 hexadecimal digits: of which log |
| position | of the newest event when it was taken |
| link | 64 hexadecimal digits: the hash of everything up to that event |
| taken_at | ISO 8601, UTC, by the clock of who took it |
| public_key | 64 hexadecimal digits: the Ed25519 key to check the signature with; only if it is signed |
| signature | 128 hexadecimal digits: of `signed_bytes`; only if it is signed |

The public key in a document says by whom it claims to be signed. It proves nothing: compare with one that you trust.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...eventlog.errors import ConfigError
from ...eventlog.event import Head
from ...eventlog.log import EventLog

__all__ = ["Anchor", "parse_anchor", "read_anchor", "take_anchor"]

# Persisted: do not change.
_FORMAT = "langgraph-eventlog/1"
_LOG_ID_BYTES = 16
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_MAX_FILE_BYTES = 65_536
_MAX_QUOTED = 40


@dataclass(frozen=True, slots=True)
class Anchor:
    """A head that a log had.

    Attributes:
        head: position and link.
        log_id: of the log; None: it is not known.
        taken_at: as text, ISO 8601; None: it is not known.
        public_key: of who claims to have signed it, 32 bytes.
        signature: 64 bytes; None: it is not signed.
        source: where it was read from, for messages.
    """

    head: Head
    log_id: bytes | None = None
    taken_at: str | None = None
    public_key: bytes | None = None
    signature: bytes | None = None
    source: str | None = None

    def signed_bytes(self) -> bytes:
        """Give what a signature is of: five lines, each ended by a newline, in UTF-8.

        They are "langgraph-eventlog/1", log_id, position, link and taken_at, each as in the document.
        """
        assert self.log_id is not None
        lines = (_FORMAT, self.log_id.hex(), str(self.head.position), self.head.link.hex(), self.taken_at or "")
        return "".join(f"{line}\n" for line in lines).encode()

    def document(self) -> dict[str, Any]:
        """Give the JSON document."""
        assert self.log_id is not None
        made: dict[str, Any] = {
            "anchor": _FORMAT,
            "log_id": self.log_id.hex(),
            "position": self.head.position,
            "link": self.head.link.hex(),
            "taken_at": self.taken_at,
        }
        if self.signature is not None and self.public_key is not None:
            made |= {"public_key": self.public_key.hex(), "signature": self.signature.hex()}
        return made


def take_anchor(log: EventLog, *, now: datetime | None = None) -> Anchor:
    """Take an anchor of a log as it is now. It says nothing about what was changed before: verify the log first.

    Raises:
        LogDamagedError: the file does not say what its head is.
    """
    taken_at = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
    return Anchor(log.head(), log.log_id(), taken_at)


def parse_anchor(text: str) -> Anchor:
    """Read POSITION:LINK.

    Raises:
        ConfigError: it is something else.
    """
    try:
        return Anchor(Head.parse(text))
    except ValueError:
        raise ConfigError(
            f"{_beginning(text)} is no anchor: give POSITION:LINK, a number and 64 hexadecimal digits, as "
            "`anchor` prints them"
        ) from None


def read_anchor(path: Path) -> Anchor:
    """Read a document, or POSITION:LINK, from a file. A signature is not checked here.

    Raises:
        ConfigError: the file cannot be read, or is no anchor.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"the anchor file {path} cannot be read: {e}") from e
    if not text.lstrip().startswith("{"):
        try:
            return Anchor(parse_anchor(text.strip()).head, source=str(path))
        except ConfigError as e:
            raise ConfigError(f"{path} holds no anchor: {e}") from None
    try:
        return _from_document(json.loads(text), str(path))
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise ConfigError(f"{path} is no anchor: {e!r}. Give what `anchor --json` or `anchor --sign` prints") from e


def _from_document(document: dict[str, Any], source: str) -> Anchor:
    if document["anchor"] != _FORMAT:
        raise ValueError(f"the format {_beginning(str(document['anchor']))} is not known")
    position, taken_at = document["position"], document["taken_at"]
    if type(position) is not int or position < 0 or not isinstance(taken_at, str) or not _is_utf8(taken_at):
        raise ValueError("position is a number, 0 or more, and taken_at a text")
    signed = "signature" in document
    return Anchor(
        Head(position, _hex(document, "link", _KEY_BYTES)),
        _hex(document, "log_id", _LOG_ID_BYTES),
        taken_at,
        _hex(document, "public_key", _KEY_BYTES) if signed else None,
        _hex(document, "signature", _SIGNATURE_BYTES) if signed else None,
        source,
    )


def _is_utf8(text: str) -> bool:
    # JSON can spell halves of characters, which are no text: nothing can be signed with one.
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _beginning(text: str) -> str:
    """Quote a text, but for what is too long: a file that is no anchor may be anything, a key for instance."""
    return repr(text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}...")


def _hex(document: dict[str, Any], name: str, size: int) -> bytes:
    found = bytes.fromhex(document[name])
    if len(found) != size:
        raise ValueError(f"{name} has {len(found)} bytes, not {size}")
    return found
